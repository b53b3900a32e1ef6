package keyvault

import (
	"crypto/elliptic"
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

func FuzzReadImport(f *testing.F) {
	p := newPair(f, "a", elliptic.P256())
	key, cert := p.pem(f)
	f.Add(key+cert, "")
	f.Add(p.pfx(f, "password"), "password")
	f.Add("-----BEGIN CERTIFICATE-----\n", "")
	f.Fuzz(func(t *testing.T, value, password string) {
		i, contentType, err := readImport(value, password)
		if err != nil {
			return
		}
		secret, err := i.secret(contentType)
		if err != nil {
			t.Fatal(err)
		}
		again, _, err := readImport(secret, "")
		if err != nil || !again.leaf.Equal(i.leaf) || len(again.chain) != len(i.chain) {
			t.Errorf("what is kept is not what was imported: %v", err)
		}
	})
}
