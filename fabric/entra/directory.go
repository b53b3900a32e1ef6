package entra

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/causeway-gateway/causeway/fabric/azure"
	"github.com/causeway-gateway/causeway/fabric/state"
)

// Buckets of the state.
const (
	applicationBucket = "entra.application"
	principalBucket   = "entra.principal"
	keyBucket         = "entra.key"
)

// Most of what a directory holds.
const (
	maxApplications = 2000
	maxCredentials  = 50 // of one application
	maxNameBytes    = 256
)

// A Config is what a directory is made of.
type Config struct {
	State     *state.Store
	Now       func() time.Time
	Log       *slog.Logger
	Tenant    string                     // GUID
	Authority string                     // where devices of the tenant log in, "https://login.example:8443", without a slash at its end
	Resource  func(resource string) bool // whether tokens may be asked for it, such as "https://management.example"
}

// An Application is an app registration.
type Application struct {
	Object    string     `json:"id"`
	App       string     `json:"appId"`
	Name      string     `json:"displayName"`
	Created   time.Time  `json:"created"`
	Passwords []Password `json:"passwords,omitempty"`
	Keys      []Key      `json:"keys,omitempty"`
}

// A Password is a client secret, as far as it is kept.
type Password struct {
	ID     string    `json:"keyId"`
	Name   string    `json:"displayName"`
	Hint   string    `json:"hint"` // its first three characters
	SHA256 []byte    `json:"sha256"`
	From   time.Time `json:"startDateTime"`
	Until  time.Time `json:"endDateTime"`
}

// A Key is a certificate whose key signs client assertions.
type Key struct {
	ID    string    `json:"keyId"`
	Name  string    `json:"displayName"`
	DER   []byte    `json:"key"`
	From  time.Time `json:"startDateTime"`
	Until time.Time `json:"endDateTime"`
}

// Types of service principals.
const (
	typeApplication     = "Application"
	typeManagedIdentity = "ManagedIdentity"
)

// A ServicePrincipal is who an application, or a managed identity, is in the tenant.
type ServicePrincipal struct {
	Object   string    `json:"id"`
	App      string    `json:"appId"`
	Name     string    `json:"displayName"`
	Type     string    `json:"servicePrincipalType"`
	Resource string    `json:"resource,omitempty"` // ARM id of a managed identity
	Disabled bool      `json:"disabled,omitempty"`
	Admin    bool      `json:"admin,omitempty"` // may change the directory
	Created  time.Time `json:"created"`
}

// A Directory is the tenant. It is safe for concurrent use.
type Directory struct {
	cfg Config

	mu           sync.RWMutex // guards the fields below
	applications map[string]*Application
	principals   map[string]*ServicePrincipal // by object id
	byApp        map[string]*ServicePrincipal // by application id
	keys         []*signingKey                // the newest first
	throttle     throttle
}

// Open reads the directory, and makes its signing key when there is none.
func Open(ctx context.Context, cfg Config) (*Directory, error) {
	d := &Directory{cfg: cfg, applications: make(map[string]*Application), principals: make(map[string]*ServicePrincipal), byApp: make(map[string]*ServicePrincipal)}
	err := cfg.State.View(ctx, func(tx *state.Tx) error {
		if err := each(tx, applicationBucket, func(a *Application) { d.applications[a.Object] = a }); err != nil {
			return err
		}
		return each(tx, principalBucket, d.takeLocked) // nobody else has it yet
	})
	if err == nil {
		err = d.loadKeys(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("directory: %w", err)
	}
	return d, nil
}

func each[V any](tx *state.Tx, bucket string, take func(*V)) error {
	for e, err := range tx.Scan(bucket, "", "") {
		if err != nil {
			return err
		}
		v := new(V)
		if _, err := tx.Get(bucket, e.Key, v); err != nil {
			return err
		}
		take(v)
	}
	return nil
}

func (d *Directory) takeLocked(p *ServicePrincipal) {
	d.principals[p.Object], d.byApp[p.App] = p, p
}

// Tenant returns the tenant's GUID.
func (d *Directory) Tenant() string { return d.cfg.Tenant }

// Errors of changes to the directory.
var (
	errName     = errors.New("a display name of 1 to 256 printable bytes is expected")
	ErrFull     = errors.New("the directory holds as many objects as it may")
	errNotThere = errors.New("there is no such object in the directory")
	errExists   = errors.New("another object of the directory has this name or value")
	errBadKey   = errors.New("a certificate with an RSA key of 2048 bits or more is expected")
	errDates    = errors.New("the end lies before the start, or in the past")
)

func checkName(name string) error {
	if name == "" || len(name) > maxNameBytes || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == 0xfffd }) {
		return errName
	}
	return nil
}

// CreateApplication registers an application.
func (d *Directory) CreateApplication(ctx context.Context, name string) (Application, error) {
	if err := checkName(name); err != nil {
		return Application{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.applications) >= maxApplications {
		return Application{}, ErrFull
	}
	a := &Application{Object: azure.NewGUID(), App: azure.NewGUID(), Name: name, Created: d.cfg.Now().UTC()}
	return *a, d.keepApplicationLocked(ctx, a)
}

func (d *Directory) keepApplicationLocked(ctx context.Context, a *Application) error {
	err := d.cfg.State.Update(ctx, func(tx *state.Tx) error { return tx.Put(applicationBucket, a.Object, a) })
	if err == nil {
		d.applications[a.Object] = a
	}
	return err
}

// Application returns one by its object id.
func (d *Directory) Application(object string) (Application, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	a := d.applications[strings.ToLower(object)]
	if a == nil {
		return Application{}, false
	}
	return *a, true
}

// Applications lists those that keep says yes to, by name.
func (d *Directory) Applications(keep func(*Application) bool) []Application {
	d.mu.RLock()
	defer d.mu.RUnlock()
	var all []Application
	for _, a := range d.applications {
		if keep(a) {
			all = append(all, *a)
		}
	}
	slices.SortFunc(all, func(a, b Application) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Object, b.Object))
	})
	return all
}

// changeApplication has change work on a copy, and keeps it.
func (d *Directory) changeApplication(ctx context.Context, object string, change func(a *Application) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	old := d.applications[strings.ToLower(object)]
	if old == nil {
		return errNotThere
	}
	a := *old
	a.Passwords, a.Keys = slices.Clone(a.Passwords), slices.Clone(a.Keys)
	if err := change(&a); err != nil {
		return err
	}
	return d.keepApplicationLocked(ctx, &a)
}

// secretBytes is the entropy of a client secret.
const secretBytes = 30

// AddPassword makes a client secret, and returns it this once. Zero times stand for now and in two years.
func (d *Directory) AddPassword(ctx context.Context, object, name string, from, until time.Time) (p Password, secret string, err error) {
	now := d.cfg.Now().UTC()
	if from.IsZero() {
		from = now
	}
	if until.IsZero() {
		until = from.AddDate(2, 0, 0)
	}
	if !until.After(from) || !until.After(now) || len(name) > maxNameBytes {
		return Password{}, "", errDates
	}
	raw := make([]byte, secretBytes)
	_, _ = rand.Read(raw) // never fails
	secret = base64.RawURLEncoding.EncodeToString(raw)
	sum := sha256.Sum256([]byte(secret))
	p = Password{ID: azure.NewGUID(), Name: name, Hint: secret[:3], SHA256: sum[:], From: from.UTC(), Until: until.UTC()}
	err = d.changeApplication(ctx, object, func(a *Application) error {
		if len(a.Passwords) >= maxCredentials {
			return ErrFull
		}
		a.Passwords = append(a.Passwords, p)
		return nil
	})
	if err != nil {
		return Password{}, "", err
	}
	return p, secret, nil
}

// RemovePassword takes a client secret back.
func (d *Directory) RemovePassword(ctx context.Context, object, id string) error {
	return d.changeApplication(ctx, object, func(a *Application) error {
		n := len(a.Passwords)
		a.Passwords = slices.DeleteFunc(a.Passwords, func(p Password) bool { return strings.EqualFold(p.ID, id) })
		if len(a.Passwords) == n {
			return errNotThere
		}
		return nil
	})
}

// SetKeys replaces the certificates that sign the application's assertions.
func (d *Directory) SetKeys(ctx context.Context, object string, keys []Key) error {
	for i := range keys {
		cert, err := x509.ParseCertificate(keys[i].DER)
		if err != nil || !strongRSA(cert) || len(keys[i].Name) > maxNameBytes {
			return errBadKey
		}
		keys[i].ID = cmp.Or(keys[i].ID, azure.NewGUID())
		keys[i].From, keys[i].Until = cert.NotBefore.UTC(), cert.NotAfter.UTC()
	}
	if len(keys) > maxCredentials {
		return ErrFull
	}
	return d.changeApplication(ctx, object, func(a *Application) error { a.Keys = keys; return nil })
}

// Rename changes an application's name.
func (d *Directory) Rename(ctx context.Context, object, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	return d.changeApplication(ctx, object, func(a *Application) error { a.Name = name; return nil })
}

// DeleteApplication removes an application with its service principal. Their tokens end with them.
func (d *Directory) DeleteApplication(ctx context.Context, object string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.applications[strings.ToLower(object)]
	if a == nil {
		return errNotThere
	}
	p := d.byApp[a.App]
	err := d.cfg.State.Update(ctx, func(tx *state.Tx) error {
		if p != nil {
			if _, err := tx.Delete(principalBucket, p.Object); err != nil {
				return err
			}
		}
		_, err := tx.Delete(applicationBucket, a.Object)
		return err
	})
	if err != nil {
		return err
	}
	delete(d.applications, a.Object)
	if p != nil {
		delete(d.principals, p.Object)
		delete(d.byApp, p.App)
	}
	return nil
}

// CreateServicePrincipal makes the principal of an application, by its application id.
func (d *Directory) CreateServicePrincipal(ctx context.Context, app string) (ServicePrincipal, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	app = strings.ToLower(app)
	if d.byApp[app] != nil {
		return ServicePrincipal{}, errExists
	}
	for _, a := range d.applications {
		if a.App == app {
			return d.addPrincipalLocked(ctx, ServicePrincipal{App: app, Name: a.Name, Type: typeApplication})
		}
	}
	return ServicePrincipal{}, errNotThere
}

// CreateManagedIdentity makes the principal of a managed identity, which is named by its ARM resource. When there is one
// already, that one is returned.
func (d *Directory) CreateManagedIdentity(ctx context.Context, name, resource string) (ServicePrincipal, error) {
	if err := checkName(name); err != nil {
		return ServicePrincipal{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range d.principals {
		if p.Type == typeManagedIdentity && strings.EqualFold(p.Resource, resource) {
			return *p, nil
		}
	}
	return d.addPrincipalLocked(ctx, ServicePrincipal{App: azure.NewGUID(), Name: name, Type: typeManagedIdentity, Resource: resource})
}

func (d *Directory) addPrincipalLocked(ctx context.Context, p ServicePrincipal) (ServicePrincipal, error) {
	if len(d.principals) >= maxApplications {
		return p, ErrFull
	}
	p.Object, p.Created = azure.NewGUID(), d.cfg.Now().UTC()
	return p, d.keepPrincipalLocked(ctx, &p)
}

func (d *Directory) keepPrincipalLocked(ctx context.Context, p *ServicePrincipal) error {
	err := d.cfg.State.Update(ctx, func(tx *state.Tx) error { return tx.Put(principalBucket, p.Object, p) })
	if err == nil {
		d.takeLocked(p)
	}
	return err
}

// Principal returns one by its object id.
func (d *Directory) Principal(object string) (ServicePrincipal, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	p := d.principals[strings.ToLower(object)]
	if p == nil {
		return ServicePrincipal{}, false
	}
	return *p, true
}

// Principals lists those that keep says yes to, by name.
func (d *Directory) Principals(keep func(*ServicePrincipal) bool) []ServicePrincipal {
	d.mu.RLock()
	defer d.mu.RUnlock()
	var all []ServicePrincipal
	for _, p := range d.principals {
		if keep(p) {
			all = append(all, *p)
		}
	}
	slices.SortFunc(all, func(a, b ServicePrincipal) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Object, b.Object))
	})
	return all
}

// Enable lets a principal get and use tokens, or not, from this moment on.
func (d *Directory) Enable(ctx context.Context, object string, enabled bool) error {
	return d.changePrincipal(ctx, object, func(p *ServicePrincipal) { p.Disabled = !enabled })
}

// MakeAdmin lets a principal change the directory.
func (d *Directory) MakeAdmin(ctx context.Context, object string) error {
	return d.changePrincipal(ctx, object, func(p *ServicePrincipal) { p.Admin = true })
}

func (d *Directory) changePrincipal(ctx context.Context, object string, change func(*ServicePrincipal)) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	old := d.principals[strings.ToLower(object)]
	if old == nil {
		return errNotThere
	}
	p := *old
	change(&p)
	return d.keepPrincipalLocked(ctx, &p)
}

// DeletePrincipal removes a principal. Its tokens end with it.
func (d *Directory) DeletePrincipal(ctx context.Context, object string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.principals[strings.ToLower(object)]
	if p == nil {
		return errNotThere
	}
	err := d.cfg.State.Update(ctx, func(tx *state.Tx) error { _, err := tx.Delete(principalBucket, p.Object); return err })
	if err == nil {
		delete(d.principals, p.Object)
		delete(d.byApp, p.App)
	}
	return err
}

// checkSecret says whether a client secret is one of the application's.
func (a *Application) checkSecret(secret string, now time.Time) error {
	sum := sha256.Sum256([]byte(secret))
	var found *Password
	for i := range a.Passwords {
		if subtle.ConstantTimeCompare(a.Passwords[i].SHA256, sum[:]) == 1 {
			found = &a.Passwords[i]
		}
	}
	switch {
	case found == nil:
		return wrongSecret(a.App)
	case now.After(found.Until):
		return expiredSecret(a.App)
	case now.Before(found.From):
		return wrongSecret(a.App)
	}
	return nil
}
