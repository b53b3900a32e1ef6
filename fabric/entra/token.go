package entra

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/causeway-gateway/causeway/fabric/azure"
)

const (
	tokenLife         = time.Hour
	identityTokenLife = 24 * time.Hour
	clockSkew         = 5 * time.Minute
	// maxTokenBytes bounds a token that is verified; ours have about one KiB.
	maxTokenBytes = 16 << 10
)

// claims are those of an access token for an application (version 1.0 of Entra's tokens).
type claims struct {
	Audience   string `json:"aud"`
	Issuer     string `json:"iss"`
	IssuedAt   int64  `json:"iat"`
	NotBefore  int64  `json:"nbf"`
	Expires    int64  `json:"exp"`
	App        string `json:"appid"`
	AppAuth    string `json:"appidacr"` // 1: secret, 2: certificate
	IDProvider string `json:"idp"`
	TokenType  string `json:"idtyp"`
	Object     string `json:"oid"`
	Subject    string `json:"sub"`
	Tenant     string `json:"tid"`
	Unique     string `json:"uti"`
	Version    string `json:"ver"`
	Resource   string `json:"xms_mirid,omitempty"` // of a managed identity
}

// How an application proved who it is.
const (
	bySecret      = "1"
	byCertificate = "2"
)

// issue makes a token for a principal.
func (d *Directory) issue(p ServicePrincipal, resource, proof string, life time.Duration) (token string, expires time.Time, err error) {
	now := d.cfg.Now().UTC().Truncate(time.Second)
	expires = now.Add(life)
	c := claims{Audience: resource, Issuer: d.issuer(), IssuedAt: now.Unix(), NotBefore: now.Unix(), Expires: expires.Unix(), App: p.App, AppAuth: proof, IDProvider: d.issuer(), TokenType: "app",
		Object: p.Object, Subject: p.Object, Tenant: d.cfg.Tenant, Unique: azure.NewGUID(), Version: "1.0", Resource: p.Resource}
	body, err := json.Marshal(c)
	if err != nil {
		return "", expires, err
	}
	k := d.signer()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: k.key, KeyID: k.id}}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", expires, err
	}
	signed, err := signer.Sign(body)
	if err != nil {
		return "", expires, err
	}
	token, err = signed.CompactSerialize()
	return token, expires, err
}

// issuer is how tokens name the directory.
func (d *Directory) issuer() string { return d.cfg.Authority + "/" + d.cfg.Tenant + "/" }

func unauthorized(code, message string) error {
	return azure.Errorf(http.StatusUnauthorized, code, "%s", message)
}

// Verify returns who a token is for. It is an azure.TokenVerifier. Principals that were disabled or deleted are nobody from
// that moment on.
func (d *Directory) Verify(token string, audiences ...string) (azure.Principal, error) {
	c, err := d.open(token)
	if err != nil {
		return azure.Principal{}, unauthorized("InvalidAuthenticationToken", "The access token is invalid.")
	}
	now := d.cfg.Now()
	switch {
	case !strings.EqualFold(c.Tenant, d.cfg.Tenant) || c.Issuer != d.issuer():
		return azure.Principal{}, unauthorized("InvalidAuthenticationTokenTenant", "The access token is from the wrong issuer.")
	case !intended(c.Audience, audiences):
		return azure.Principal{}, unauthorized("InvalidAuthenticationTokenAudience", "The access token has been obtained for wrong audience or resource.")
	case now.Unix() > c.Expires+int64(clockSkew/time.Second):
		return azure.Principal{}, unauthorized("ExpiredAuthenticationToken", "The access token expiry UTC time is earlier than current UTC time.")
	case now.Unix() < c.NotBefore-int64(clockSkew/time.Second):
		return azure.Principal{}, unauthorized("InvalidAuthenticationToken", "The access token is not valid yet.")
	}
	p, ok := d.Principal(c.Object)
	if !ok || p.Disabled || p.App != c.App {
		return azure.Principal{}, unauthorized("InvalidAuthenticationToken", "The principal of the access token is not known or disabled.")
	}
	return azure.Principal{Tenant: d.cfg.Tenant, Object: p.Object, App: p.App, Type: "ServicePrincipal"}, nil
}

// open checks the signature.
func (d *Directory) open(token string) (c claims, err error) {
	if len(token) > maxTokenBytes {
		return c, errNotThere
	}
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return c, err
	}
	key, err := d.publicKey(signed.Signatures[0].Protected.KeyID)
	if err != nil {
		return c, err
	}
	body, err := signed.Verify(key)
	if err != nil {
		return c, err
	}
	return c, json.Unmarshal(body, &c)
}

// intended reports whether a token for one audience will do for any of several.
func intended(audience string, wanted []string) bool {
	for _, w := range wanted {
		if w != "" && sameResource(audience, w) {
			return true
		}
	}
	return false
}

// sameResource compares resources as Entra does: in any case, with or without a slash at the end.
func sameResource(a, b string) bool {
	return strings.EqualFold(strings.TrimRight(a, "/"), strings.TrimRight(b, "/"))
}

// Challenge is the WWW-Authenticate of a 401 of Azure Resource Manager and of storage.
func (d *Directory) Challenge(resource string) string {
	c := `Bearer authorization_uri="` + d.cfg.Authority + "/" + d.cfg.Tenant + `"`
	if resource != "" {
		c += `, resource_id="` + resource + `"`
	}
	return c
}
