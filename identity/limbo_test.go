package identity

import (
	"bufio"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

type limboCase struct {
	ID             string     `json:"id"`
	ValidationKind string     `json:"validation_kind"`
	Trusted        []string   `json:"trusted_certs"`
	Untrusted      []string   `json:"untrusted_intermediates"`
	Peer           string     `json:"peer_certificate"`
	Time           *time.Time `json:"validation_time"`
	Expected       string     `json:"expected_result"`
	PeerName       struct {
		Kind  string `json:"kind"`
		Value string `json:"value"`
	} `json:"expected_peer_name"`
}

// TestLimbo runs vectors that nobody of us wrote through the Verifier. Those made for servers are judged as they
// are, but for the usage asked of the leaf. What they expect of host names is asked of the standard library, because a
// client certificate is not matched with a name.
func TestLimbo(t *testing.T) {
	cases := limboCases(t)
	differences := limboDifferences(t)
	for _, c := range cases {
		t.Run(c.ID, func(t *testing.T) {
			usage := x509.ExtKeyUsageServerAuth
			if c.ValidationKind == "CLIENT" {
				usage = x509.ExtKeyUsageClientAuth
			}
			got, why := c.judge(usage)
			reason, listed := differences[c.ID]
			delete(differences, c.ID)
			switch {
			case got == c.Expected && listed:
				t.Errorf("listed as a difference, but the verdict is %s as expected (%s)", got, why)
			case got != c.Expected && !listed:
				t.Errorf("verdict %s, want %s (%s)", got, c.Expected, why)
			case listed && !strings.HasPrefix(reason, got+" "):
				t.Errorf("verdict %s, listed as %q", got, reason)
			}
		})
	}
	for id := range differences {
		t.Errorf("differences.txt lists %s, which is no case", id)
	}
}

// TestLimboServerCertificatesAreNoDevices puts the same server chains to the Verifier as it is used: only those that
// carry client authentication by name, beside server authentication, may pass.
func TestLimboServerCertificatesAreNoDevices(t *testing.T) {
	for _, c := range limboCases(t) {
		if c.ValidationKind == "CLIENT" {
			continue
		}
		if got, _ := c.judge(x509.ExtKeyUsageClientAuth); got == "FAILURE" {
			continue
		}
		leaf, err := x509.ParseCertificate(derOf(c.Peer))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth) {
			t.Errorf("%s: admitted as a device", c.ID)
		}
	}
}

func (c *limboCase) judge(usage x509.ExtKeyUsage) (verdict, why string) {
	var trust Trust
	for _, text := range c.Trusted {
		trust.CAs = append(trust.CAs, CA{Name: "limbo", Certificate: derOf(text)})
	}
	v, err := NewVerifier(trust)
	if err != nil {
		return "FAILURE", err.Error()
	}
	v.usage = usage
	chain := [][]byte{derOf(c.Peer)}
	for _, text := range c.Untrusted {
		chain = append(chain, derOf(text))
	}
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC) // where the vector says "now"
	if c.Time != nil {
		now = *c.Time
	}
	d, err := v.Verify(chain, now)
	if err != nil {
		return "FAILURE", err.Error()
	}
	if c.PeerName.Kind == "DNS" || c.PeerName.Kind == "IP" {
		if err := d.Leaf.VerifyHostname(c.PeerName.Value); err != nil {
			return "FAILURE", err.Error()
		}
	}
	return "SUCCESS", ""
}

func derOf(text string) []byte {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil
	}
	return block.Bytes
}

func limboCases(t *testing.T) []limboCase {
	t.Helper()
	b, err := os.ReadFile("testdata/x509-limbo/limbo.json")
	if err != nil {
		t.Fatal(err)
	}
	var suite struct {
		Cases []limboCase `json:"testcases"`
	}
	if err := json.Unmarshal(b, &suite); err != nil {
		t.Fatal(err)
	}
	if len(suite.Cases) != 208 {
		t.Fatalf("%d cases, want 208", len(suite.Cases))
	}
	return suite.Cases
}

// limboDifferences reads lines of "id: VERDICT because …".
func limboDifferences(t *testing.T) map[string]string {
	t.Helper()
	f, err := os.Open("testdata/x509-limbo/differences.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	list := map[string]string{}
	for s := bufio.NewScanner(f); s.Scan(); {
		if line := s.Text(); line != "" && line[0] != '#' {
			id, reason, ok := strings.Cut(line, ": ")
			if !ok || list[id] != "" {
				t.Fatalf("differences.txt: bad line %q", line)
			}
			list[id] = reason
		}
	}
	return list
}
