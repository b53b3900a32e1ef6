package cli

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/signed"
	"github.com/causeway-gateway/causeway/siteca"
)

func TestBadGatewaySettingsAreNamed(t *testing.T) {
	const good = "site: s\ngateway: g\ninstance: i\ncertificate_file: c\nkey_file: k\ndrain_timeout: 1s\n"
	siteKey := "site_key: " + signed.PublicKey{1}.String() + "\n"
	for _, tt := range []struct{ line, want, hint string }{
		{"devices_listen: foo", "line 7, devices_listen: \"foo\" is not an address", "127.0.0.1:9090"},
		{"devices_listen: \":443\"", "line 7, devices_listen: \":443\" is not an address", "0.0.0.0:443"},
		{"slot: 99", "line 7, slot: 99 is not one of 0-15", "exported for"},
		{"log_level: chatty", "line 7, log_level: \"chatty\" is not a level", "choose debug"},
		{"user: -1", "line 7, user: -1 is no user id", "id -u"},
		{"limits: {max_handshakes: -1}", "line 7, limits.max_handshakes: -1 is not between", "1 or more"},
		{"site_key: abc", "line 7, site_key: ", "export"},
		{"access_log_every: -3", "line 7, access_log_every: -3 is below 0", "0, or no such line"},
	} {
		text := good + tt.line + "\n"
		if !strings.HasPrefix(tt.line, "site_key:") {
			text += siteKey
		}
		path := filepath.Join(t.TempDir(), "config.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var c gatewayConfig
		if err := readConfig(path, &c); err != nil {
			t.Fatalf("%s: %v", tt.line, err)
		}
		err := c.check(path)
		if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), tt.want) ||
			!strings.Contains(causeway.Hint(err), tt.hint) || !errors.Is(err, causeway.ErrUsage) {
			t.Errorf("%s: %v, hint %q", tt.line, err, causeway.Hint(err))
		}
	}
}

func TestFilesOfAGatewayThatAreNotThereAreNamed(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "config.yaml")
	text := "site: s\nsite_key: " + signed.PublicKey{1}.String() + "\ngateway: g\ninstance: i\ncertificate_file: nix.crt\nkey_file: " + dir + "\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var c gatewayConfig
	if err := readConfig(path, &c); err != nil {
		t.Fatal(err)
	}
	if err := c.check(path); err != nil {
		t.Fatal(err)
	}
	err := c.checkFiles(path)
	if err == nil || !strings.Contains(err.Error(), "line 5, certificate_file: stat "+filepath.Join(dir, "nix.crt")) ||
		!strings.Contains(err.Error(), "line 6, key_file: "+dir+" is a folder") || !errors.Is(err, causeway.ErrUsage) {
		t.Errorf("checkFiles = %v", err)
	}
}

// What no gateway would believe is told before one is asked.
func TestAConnectionPointWithTheCertificateOfAnotherIsNamed(t *testing.T) {
	ca, err := siteca.New("Causeway test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	issued, err := ca.IssueConnectionPoint("s", "cp-1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "config.yaml")
	for _, tt := range []struct {
		site, id, certificate string
		want                  bool
	}{
		{"s", "cp-1", string(issued.CertPEM), false},
		{"s", "cp-9", string(issued.CertPEM), true},
		{"other", "cp-1", string(issued.CertPEM), true},
		{"s", "cp-9", "not yet written", false},
	} {
		text := "site: " + tt.site + "\nsite_key: " + signed.PublicKey{1}.String() + "\nid: " + tt.id + "\nconnection_id: c\ncertificate_file: c.crt\nkey_file: c.key\ndocuments_dir: d\n"
		err := errors.Join(os.WriteFile(path, []byte(text), 0o600), os.WriteFile(filepath.Join(dir, "c.crt"), []byte(tt.certificate), 0o600))
		if err != nil {
			t.Fatal(err)
		}
		var c connectionPointConfig
		if err := readConfig(path, &c); err != nil {
			t.Fatal(err)
		}
		err = c.check(path)
		if told := err != nil && strings.Contains(err.Error(), "line 3, id: the certificate in "); told != tt.want || (err != nil) != tt.want {
			t.Errorf("%s of %s: check = %v", tt.id, tt.site, err)
		}
	}
}

func TestSeveralBadGatewaySettingsAreToldInOneOrder(t *testing.T) {
	c := gatewayConfig{DevicesListen: "a", ChannelsListen: "b", HealthListen: "c", Limits: gatewayLimits{-1, -1, -1}}
	text := c.check("config.yaml").Error()
	for range 20 {
		if again := c.check("config.yaml").Error(); again != text {
			t.Fatalf("two orders:\n%s\n%s", text, again)
		}
	}
}

func TestBadSiteKeyOfAConnectionPointIsNamed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte("site: s\nsite_key: abc\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := connectionPointConfig{SiteKey: "abc"}
	if err := c.check(path); err == nil || !strings.Contains(err.Error(), path+", line 2, site_key: ") {
		t.Errorf("the fault is %v", err)
	}
}
