package keyvault

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/causeway-gateway/causeway/fabric/azure"
	"github.com/causeway-gateway/causeway/fabric/state"
)

// Kinds of objects, as they stand in paths. A key is the public half of the certificate of its name, and is not kept apart.
const (
	secrets      = "secrets"
	certificates = "certificates"
	keys         = "keys"
)

// Azure's bounds of what is in a vault.
const (
	mostValueBytes = 25_600 // of a secret
	mostTags       = 15
	mostTagBytes   = 256
	mostVersions   = 500 // of one object
)

// An object is a secret or a certificate with all its versions.
type object struct {
	Name       string    `json:"name"` // as it was first written
	Versions   []string  `json:"versions"`
	Managed    bool      `json:"managed,omitempty"` // a secret that belongs to the certificate of its name
	Deleted    time.Time `json:"deleted,omitzero"`
	PurgeAfter time.Time `json:"purgeAfter,omitzero"`
	Policy     policy    `json:"policy,omitzero"` // of a certificate
}

func (o *object) latest() string { return o.Versions[len(o.Versions)-1] }

// A version is what of one version is not secret.
type version struct {
	ID          string            `json:"id"`
	Enabled     bool              `json:"enabled"`
	NotBefore   int64             `json:"nbf,omitempty"` // seconds; 0 for none
	Expires     int64             `json:"exp,omitempty"`
	Created     int64             `json:"created"`
	Updated     int64             `json:"updated"`
	ContentType string            `json:"contentType,omitempty"`
	Tags        map[string]string `json:"tags,omitempty"`
	Certificate []byte            `json:"cer,omitempty"` // DER
}

// newID returns the 32 hexadecimal digits of a version.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// objectName is what a secret or a certificate may be called.
var objectName = regexp.MustCompile(`^[0-9a-zA-Z-]{1,127}$`)

// A shelf is where the objects of one kind of one vault lie.
type shelf struct {
	tx    *state.Tx
	vault *Vault
	kind  string
	now   time.Time
}

func (h shelf) key(parts ...string) string {
	return h.vault.UID + "/" + h.kind + "/" + strings.ToLower(strings.Join(parts, "/"))
}

// of is the shelf of another kind in the same vault.
func (h shelf) of(kind string) shelf { h.kind = kind; return h }

// get returns an object, deleted or not.
func (h shelf) get(name string) (o object, ok bool, err error) {
	ok, err = h.tx.Get(objectBucket, h.key(name), &o)
	return o, ok, err
}

// live returns an object that is not deleted.
func (h shelf) live(name string) (o object, err error) {
	o, ok, err := h.get(name)
	if err == nil && (!ok || !o.Deleted.IsZero()) {
		err = h.notFound(name, false)
	}
	return o, err
}

// gone returns one that is.
func (h shelf) gone(name string) (o object, err error) {
	o, ok, err := h.get(name)
	if err == nil && (!ok || o.Deleted.IsZero()) {
		err = h.notFound(name, true)
	}
	return o, err
}

var singular = map[string]string{secrets: "Secret", certificates: "Certificate", keys: "Key"}

func (h shelf) notFound(name string, deleted bool) error {
	kind, what := singular[h.kind], "A "+strings.ToLower(singular[h.kind])
	if deleted {
		return azure.Errorf(http.StatusNotFound, "Deleted"+kind+"NotFound", "Deleted %s not found: %s", kind, name)
	}
	return azure.Errorf(http.StatusNotFound, kind+"NotFound", "%s with (name/id) %s was not found in this key vault. If you recently deleted this %s you may be able to recover it using the correct recovery command. "+
		"For help resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125182", what, name, strings.ToLower(kind))
}

// version returns a version of an object, the latest for "".
func (h shelf) version(o *object, id string) (v version, err error) {
	if id == "" {
		id = o.latest()
	}
	if !slices.Contains(o.Versions, strings.ToLower(id)) {
		return v, h.notFound(o.Name+"/"+id, false)
	}
	_, err = h.tx.Get(versionBucket, h.key(o.Name, id), &v)
	return v, err
}

// add makes a new version, and the object if there is none.
func (h shelf) add(name string, v version, value []byte, managed bool) (o object, err error) {
	o, ok, err := h.get(name)
	switch {
	case err != nil:
		return o, err
	case ok && !o.Deleted.IsZero():
		e := azure.Errorf(http.StatusConflict, "Conflict", "%s %s is currently in a deleted but recoverable state, and its name cannot be reused; in this state, the %s can only be recovered or purged.",
			singular[h.kind], name, strings.ToLower(singular[h.kind]))
		return o, inner{e, "ObjectIsDeletedButRecoverable"}
	case ok && o.Managed != managed:
		return o, o.unlike(managed)
	case !ok:
		o = object{Name: name, Managed: managed}
	case len(o.Versions) >= mostVersions:
		return o, bad("BadParameter", "%s %s has %d versions, which is the most.", singular[h.kind], name, mostVersions)
	}
	o.Versions = append(o.Versions, v.ID)
	if err := h.tx.Put(objectBucket, h.key(name), o); err != nil {
		return o, err
	}
	if value != nil {
		if err := h.tx.PutSealed(valueBucket, h.key(name, v.ID), value); err != nil {
			return o, err
		}
	}
	return o, h.tx.Put(versionBucket, h.key(name, v.ID), v)
}

// unlike refuses to take an object for one that belongs to a certificate, or the other way round.
func (o *object) unlike(managed bool) error {
	if managed {
		return azure.Errorf(http.StatusConflict, "Conflict", "There is a secret %s that does not belong to a certificate, so no certificate can have its name.", o.Name)
	}
	return forbidden("SecretManagedByKeyVault", "The secret %s belongs to the certificate of its name, and is changed with it alone.", o.Name)
}

// bury deletes an object softly.
func (h shelf) bury(o *object) error {
	o.Deleted = h.now.UTC()
	o.PurgeAfter = o.Deleted.AddDate(0, 0, h.vault.Retention)
	return h.tx.Put(objectBucket, h.key(o.Name), o)
}

// recover undoes bury.
func (h shelf) recover(o *object) error {
	o.Deleted, o.PurgeAfter = time.Time{}, time.Time{}
	return h.tx.Put(objectBucket, h.key(o.Name), o)
}

// purge removes an object for good.
func (h shelf) purge(name string) error {
	for _, bucket := range []string{versionBucket, valueBucket} {
		if err := h.tx.DeletePrefix(bucket, h.key(name)+"/"); err != nil {
			return err
		}
	}
	_, err := h.tx.Delete(objectBucket, h.key(name))
	return err
}

// sweepObjects purges what was deleted in live vaults, and whose time has passed.
func (s *Service) sweepObjects(ctx context.Context, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cfg.State.Update(ctx, func(tx *state.Tx) error {
		for _, v := range s.vaults {
			for _, kind := range []string{secrets, certificates} {
				h := shelf{tx, v, kind, now}
				for e, err := range tx.Scan(objectBucket, h.key(""), "") {
					if err != nil {
						return err
					}
					var o object
					if _, err := tx.Get(objectBucket, e.Key, &o); err != nil {
						return err
					}
					if !o.Deleted.IsZero() && now.After(o.PurgeAfter) {
						if err := h.purge(o.Name); err != nil {
							return err
						}
					}
				}
			}
		}
		return nil
	})
}

// An inner error has a second code, in "innererror", as Key Vault's have.
type inner struct {
	error
	code string
}

func (e inner) Unwrap() error { return e.error }

func forbidden(code, format string, args ...any) error {
	return inner{azure.Errorf(http.StatusForbidden, "Forbidden", format, args...), code}
}
