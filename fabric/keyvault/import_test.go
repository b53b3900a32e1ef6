package keyvault

import (
	"bytes"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"strings"
	"testing"
)

func TestImportsThatAreRefused(t *testing.T) {
	f := newFixture(t)
	p, other, small := newPair(t, "a", elliptic.P256()), newPair(t, "b", elliptic.P256()), newPair(t, "c", elliptic.P224())
	key, cert := p.pem(t)
	otherKey, _ := other.pem(t)
	smallKey, smallCert := small.pem(t)
	policy := func(contentType string) map[string]any {
		return map[string]any{"secret_props": map[string]string{"contentType": contentType}}
	}
	for want, body := range map[string]map[string]any{
		"iterations":             {"value": slowPFX(t, p)},
		"neither a PFX":          {"value": "AAAA"},
		"or its password":        {"value": p.pfx(t, "right"), "pwd": "wrong"},
		"no private key":         {"value": cert, "policy": policy(typePEM)},
		"or more than one":       {"value": key + otherKey + cert, "policy": policy(typePEM)},
		"does not belong":        {"value": otherKey + cert, "policy": policy(typePEM)},
		"an EC key on P-256":     {"value": smallKey + smallCert, "policy": policy(typePEM)},
		"more certificates":      {"value": key + strings.Repeat(cert, mostChain+1), "policy": policy(typePEM)},
		"and the policy's":       {"value": key + cert},
		"x-pkcs12, and the poli": {"value": p.pfx(t, ""), "policy": policy(typePEM)},
		"cannot be exported":     {"value": p.pfx(t, ""), "policy": map[string]any{"key_props": map[string]bool{"exportable": false}}},
		"is not the JSON":        {"value": 1},
	} {
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		a := f.do("manager", "POST", "/certificates/c/import", string(text))
		f.want(a, 400, "BadParameter")
		if !strings.Contains(a.Error.Message, want) {
			t.Errorf("message %q, want %q", a.Error.Message, want)
		}
	}
	f.want(f.do("manager", "GET", "/certificates/c", ""), 404, "CertificateNotFound")
	f.want(f.do("manager", "GET", "/secrets/c", ""), 404, "SecretNotFound")
}

// slowPFX is a PFX that asks for two thousand million iterations.
func slowPFX(t *testing.T, p pair) string {
	t.Helper()
	der, err := base64.StdEncoding.DecodeString(p.pfx(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	const iterations = "\x02\x02\x08\x00" // 2048
	at := bytes.LastIndex(der, []byte(iterations))
	if at < 0 {
		t.Fatal("the PFX has no iterations")
	}
	// The lengths of what it lies in change with it: MacData is the last of the outermost SEQUENCE.
	mac := len(der) - 2 - 0x47
	if der[mac] != 0x30 || der[mac+1] != 0x47 {
		t.Fatalf("no MacData: %x", der[mac:])
	}
	der = append(append(bytes.Clone(der[:at]), 2, 4, 0x7f, 0xff, 0xff, 0xff), der[at+4:]...)
	der[mac+1] += 2
	length := binary.BigEndian.Uint16(der[2:])
	binary.BigEndian.PutUint16(der[2:], length+2)
	return base64.StdEncoding.EncodeToString(der)
}

func FuzzReadImport(f *testing.F) {
	p := newPair(f, "a", elliptic.P256())
	key, cert := p.pem(f)
	f.Add(key+cert, "")
	f.Add(p.pfx(f, "password"), "password")
	f.Add("-----BEGIN CERTIFICATE-----\n", "")
	f.Fuzz(func(t *testing.T, value, password string) {
		if i, contentType, err := readImport(value, password); err == nil && (i.leaf == nil || i.key == nil || i.policy(contentType).KeyType == "") {
			t.Errorf("an import without certificate, key or kind: %+v", i)
		}
	})
}
