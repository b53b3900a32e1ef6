package keyvault

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
)

// attributes are those of a version, as they go over the wire. Times are seconds.
type attributes struct {
	Enabled     *bool  `json:"enabled,omitempty"`
	NotBefore   *int64 `json:"nbf,omitempty"`
	Expires     *int64 `json:"exp,omitempty"`
	Created     int64  `json:"created,omitempty"`
	Updated     int64  `json:"updated,omitempty"`
	Recovery    string `json:"recoveryLevel,omitempty"`
	Recoverable int    `json:"recoverableDays,omitempty"`
}

// apply changes a version as attributes and tags say; nil leaves it.
func (v *version) apply(a *attributes, tags map[string]string) error {
	if a != nil {
		if a.Enabled != nil {
			v.Enabled = *a.Enabled
		}
		if a.NotBefore != nil {
			v.NotBefore = *a.NotBefore
		}
		if a.Expires != nil {
			v.Expires = *a.Expires
		}
	}
	if v.NotBefore != 0 && v.Expires != 0 && v.Expires <= v.NotBefore {
		return bad("BadParameter", "Property expires is not after the property not-before.")
	}
	if tags != nil {
		if len(tags) > mostTags {
			return bad("BadParameter", "There are %d tags, and %d are allowed.", len(tags), mostTags)
		}
		for name, value := range tags {
			if len(name) > mostTagBytes || len(value) > mostTagBytes {
				return bad("BadParameter", "A tag has more than %d characters.", mostTagBytes)
			}
		}
		v.Tags = tags
	}
	return nil
}

func optional(n int64) *int64 {
	if n == 0 {
		return nil
	}
	return &n
}

func (q *request) attributes(v *version) *attributes {
	level := "Recoverable"
	if q.vault.Retention < mostRetentionDays {
		level = "CustomizedRecoverable"
	}
	if !q.vault.Protected {
		level += "+Purgeable"
	}
	return &attributes{&v.Enabled, optional(v.NotBefore), optional(v.Expires), v.Created, v.Updated, level, q.vault.Retention}
}

// A bundle is a secret or a certificate as it is shown. What does not belong to the kind is left out.
type bundle struct {
	Value       *string           `json:"value,omitempty"`
	ID          string            `json:"id"`
	KeyID       string            `json:"kid,omitempty"`
	SecretID    string            `json:"sid,omitempty"`
	Thumbprint  string            `json:"x5t,omitempty"`
	Certificate string            `json:"cer,omitempty"`
	ContentType string            `json:"contentType,omitempty"`
	Managed     bool              `json:"managed,omitempty"`
	Attributes  *attributes       `json:"attributes"`
	Tags        map[string]string `json:"tags,omitempty"`
	Policy      any               `json:"policy,omitempty"`
	RecoveryID  string            `json:"recoveryId,omitempty"`
	DeletedDate int64             `json:"deletedDate,omitempty"`
	PurgeDate   int64             `json:"scheduledPurgeDate,omitempty"`
}

// show makes a bundle of a version. With whole, it has what only the whole of a certificate has.
func (q *request) show(h shelf, o *object, v *version, whole bool) bundle {
	b := bundle{ID: q.uri(h.kind, o.Name, v.ID), Attributes: q.attributes(v), Tags: v.Tags}
	switch h.kind {
	case secrets:
		b.ContentType, b.Managed = v.ContentType, o.Managed
		if o.Managed {
			b.KeyID = q.uri(keys, o.Name, v.ID)
		}
	case certificates:
		b.Thumbprint = thumbprint(v.Certificate)
		if whole {
			b.KeyID, b.SecretID = q.uri(keys, o.Name, v.ID), q.uri(secrets, o.Name, v.ID)
			b.Certificate = base64.StdEncoding.EncodeToString(v.Certificate)
			b.Policy = q.showPolicy(o, v)
		}
	}
	if !o.Deleted.IsZero() {
		b.RecoveryID = q.uri("deleted"+h.kind, o.Name)
		b.DeletedDate, b.PurgeDate = o.Deleted.Unix(), o.PurgeAfter.Unix()
	}
	return b
}

func (q *request) showPolicy(o *object, v *version) any {
	p := o.Policy
	key := map[string]any{"exportable": p.Exportable, "kty": p.KeyType, "reuse_key": false}
	if p.KeyBits > 0 {
		key["key_size"] = p.KeyBits
	}
	if p.Curve != "" {
		key["crv"] = p.Curve
	}
	return map[string]any{
		"id": q.uri(certificates, o.Name, "policy"), "key_props": key, "secret_props": map[string]string{"contentType": p.ContentType},
		"x509_props": map[string]any{"subject": p.Subject}, "issuer": map[string]string{"name": "Unknown"}, "attributes": map[string]any{"enabled": true, "created": v.Created, "updated": v.Updated},
	}
}

// mostPage is how many items a list has at most at a time, and how many it has when nothing is said.
const mostPage = 25

// A list is a page of items with a link to the next.
type list struct {
	Value []bundle `json:"value"`
	Next  *string  `json:"nextLink"`
}

// pageSize reads maxresults.
func (q *request) pageSize() (int, error) {
	text := q.URL.Query().Get("maxresults")
	if text == "" {
		return mostPage, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > mostPage {
		return 0, bad("BadParameter", "The maxresults is not a number of 1 to %d.", mostPage)
	}
	return n, nil
}

// from reads where a page begins: what a link of ours says.
func (q *request) from() (string, error) {
	token := q.URL.Query().Get("$skiptoken")
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(raw) > 512 {
		return "", bad("BadParameter", "The $skiptoken is not one of this list.")
	}
	return string(raw), nil
}

// next links to the page that begins at key.
func (q *request) next(key string, size int) *string {
	query := q.URL.Query()
	query.Set("$skiptoken", base64.RawURLEncoding.EncodeToString([]byte(key)))
	query.Set("maxresults", strconv.Itoa(size))
	link := q.service.URI(q.vault.Name) + joined(q.parts) + "?" + query.Encode()
	return &link
}

func joined(parts []string) string {
	out := ""
	for i, p := range parts {
		if i > 0 {
			out += "/"
		}
		out += p
	}
	return out
}

// objects lists the objects of a kind, live or deleted, by their latest version.
func (q *request) objects(kind string, deleted bool) (int, any, error) {
	size, err := q.pageSize()
	if err != nil {
		return 0, nil, err
	}
	from, err := q.from()
	if err != nil {
		return 0, nil, err
	}
	out := list{Value: []bundle{}}
	err = q.view(kind, func(h shelf) error {
		for e, err := range h.tx.Scan(objectBucket, h.key(""), h.key(from)) {
			if err != nil {
				return err
			}
			var o object
			if err := json.Unmarshal(e.Value, &o); err != nil {
				return err
			}
			if o.Deleted.IsZero() == deleted {
				continue
			}
			if len(out.Value) == size {
				out.Next = q.next(o.Name, size)
				return nil
			}
			v, err := h.version(&o, "")
			if err != nil {
				return err
			}
			b := q.show(h, &o, &v, false)
			b.ID = q.uri(kind, o.Name)
			if b.KeyID != "" {
				b.KeyID = q.uri(keys, o.Name)
			}
			out.Value = append(out.Value, b)
		}
		return nil
	})
	return http.StatusOK, out, err
}

// versions lists the versions of an object, the newest first.
func (q *request) versions(kind string) (int, any, error) {
	name, err := q.name()
	if err != nil {
		return 0, nil, err
	}
	size, err := q.pageSize()
	if err != nil {
		return 0, nil, err
	}
	from, err := q.from()
	if err != nil {
		return 0, nil, err
	}
	out := list{Value: []bundle{}}
	err = q.view(kind, func(h shelf) error {
		o, err := h.live(name)
		if err != nil {
			return err
		}
		begun := from == ""
		for i := len(o.Versions) - 1; i >= 0; i-- {
			if begun = begun || o.Versions[i] == from; !begun {
				continue
			}
			if len(out.Value) == size {
				out.Next = q.next(o.Versions[i], size)
				return nil
			}
			v, err := h.version(&o, o.Versions[i])
			if err != nil {
				return err
			}
			out.Value = append(out.Value, q.show(h, &o, &v, false))
		}
		return nil
	})
	return http.StatusOK, out, err
}
