package entra

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// maxAssertionLife bounds how long an assertion may be good for. It may be used more than once meanwhile, as Microsoft's
// own clients do.
const maxAssertionLife = 24 * time.Hour

// assertionClaims are those that RFC 7523 asks for.
type assertionClaims struct {
	Audience  audience `json:"aud"`
	Issuer    string   `json:"iss"`
	Subject   string   `json:"sub"`
	Expires   *float64 `json:"exp"`
	NotBefore *float64 `json:"nbf"`
}

// An audience is one string, or several.
type audience []string

func (a *audience) UnmarshalJSON(b []byte) error {
	var one string
	if err := json.Unmarshal(b, &one); err == nil {
		*a = audience{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(a))
}

// checkAssertion says whether an assertion is signed by a certificate of the application, for us and for now.
func (d *Directory) checkAssertion(a *Application, r *http.Request, form map[string]string) error {
	if form["client_assertion_type"] != assertionType {
		return missing("client_assertion_type")
	}
	text := form["client_assertion"]
	if len(text) > maxTokenBytes {
		return malformed()
	}
	signed, err := jose.ParseSignedCompact(text, []jose.SignatureAlgorithm{jose.RS256, jose.PS256})
	if err != nil {
		return failed(http.StatusUnauthorized, "invalid_client", 50027, "JWT token is invalid or malformed.")
	}
	body, err := verifyAssertion(a, signed, d.cfg.Now())
	if err != nil {
		return err
	}
	var c assertionClaims
	if json.Unmarshal(body, &c) != nil || c.Expires == nil {
		return failed(http.StatusUnauthorized, "invalid_client", 50027, "JWT token is invalid or malformed.")
	}
	now := float64(d.cfg.Now().Unix())
	skew := clockSkew.Seconds()
	switch {
	case !strings.EqualFold(c.Issuer, a.App) || !strings.EqualFold(c.Subject, a.App):
		return failed(http.StatusUnauthorized, "invalid_client", 700021, "Client assertion application identifier doesn't match 'client_id' parameter.")
	case !d.addressed(c.Audience, r):
		return failed(http.StatusUnauthorized, "invalid_client", 700023, "Client assertion audience claim does not match Realm issuer.")
	case now > *c.Expires+skew, c.NotBefore != nil && now < *c.NotBefore-skew:
		return failed(http.StatusUnauthorized, "invalid_client", 700024, "Client assertion is not within its valid time range.")
	case *c.Expires > now+maxAssertionLife.Seconds()+skew:
		return failed(http.StatusUnauthorized, "invalid_client", 700024, "Client assertion is valid for too long a time.")
	}
	return nil
}

// verifyAssertion checks the signature by the certificate that the header names.
func verifyAssertion(a *Application, signed *jose.JSONWebSignature, now time.Time) ([]byte, error) {
	header := signed.Signatures[0].Protected
	old, _ := header.ExtraHeaders["x5t"].(string)
	strong, _ := header.ExtraHeaders["x5t#S256"].(string)
	for _, k := range a.Keys {
		cert, err := x509.ParseCertificate(k.DER)
		if err != nil || !named(cert, old, strong) {
			continue
		}
		if now.Before(cert.NotBefore) || now.After(cert.NotAfter) {
			return nil, wrongAssertion("The key was expired.")
		}
		body, err := signed.Verify(cert.PublicKey)
		if err != nil {
			return nil, wrongAssertion("The signature is not valid.")
		}
		return body, nil
	}
	return nil, wrongAssertion("The key was not found.")
}

// urlSafe makes base64url of base64, which Azure's own client libraries write although RFC 7515, 4.1.7 has the other.
var urlSafe = strings.NewReplacer("+", "-", "/", "_", "=", "")

// named reports whether the thumbprints of a header are those of a certificate. One is enough, and none is wrong.
func named(cert *x509.Certificate, old, strong string) bool {
	sum1, sum256 := sha1.Sum(cert.Raw), sha256.Sum256(cert.Raw)
	matches := func(text string, sum []byte) bool {
		got, err := base64.RawURLEncoding.DecodeString(urlSafe.Replace(text))
		return err == nil && subtle.ConstantTimeCompare(got, sum) == 1
	}
	return (old != "" || strong != "") && (old == "" || matches(old, sum1[:])) && (strong == "" || matches(strong, sum256[:]))
}

// addressed reports whether an assertion is for us: for a token endpoint, or for the tenant.
func (d *Directory) addressed(to audience, r *http.Request) bool {
	base := d.base(r)
	for _, a := range to {
		switch strings.TrimRight(a, "/") {
		case base, base + "/v2.0", base + "/oauth2/token", base + "/oauth2/v2.0/token":
			return true
		}
	}
	return false
}

// decimal is a number as version 1 writes it.
func decimal(n int64) string { return strconv.FormatInt(n, 10) }
