package storage

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"github.com/causeway-gateway/causeway/fabric/azure"
	"github.com/causeway-gateway/causeway/fabric/state"
)

// Settings are what an account's owner decides.
type Settings struct {
	AllowSharedKeyAccess  bool   `json:"allowSharedKeyAccess"`
	AllowBlobPublicAccess bool   `json:"allowBlobPublicAccess"`
	MinimumTLSVersion     string `json:"minimumTlsVersion"` // "TLS1_2" or "TLS1_3"; empty means the first
}

// An Account is a storage account.
type Account struct {
	Settings
	Name       string       `json:"name"`
	Resource   string       `json:"resource"` // its id
	Created    time.Time    `json:"created"`
	KeyCreated [2]time.Time `json:"keyCreated"`
}

// A Key is one of the two that an account has.
type Key struct {
	Name    string // "key1", "key2"
	Value   string // base64
	Created time.Time
}

// account is what the data plane needs of one. It does not change.
type account struct {
	Account
	ID         string   `json:"id"`
	resource   azure.ID // Account.Resource
	keys       [2][]byte
	delegation []byte // what user delegation keys are made of
	usage      *usage
}

// usage is what an account did since New.
type usage struct{ requests, ingress, egress atomic.Int64 }

// Usage is what metrics are made of. All but Capacity count from the start of the service.
type Usage struct {
	Capacity, Blobs           int64
	Requests, Ingress, Egress int64
}

var (
	isAccountName = regexp.MustCompile(`^[a-z0-9]{3,24}$`)
	keyNames      = [2]string{"key1", "key2"}
	tlsVersions   = map[string]uint16{"TLS1_2": tls.VersionTLS12, "TLS1_3": tls.VersionTLS13}
)

const delegationName = "delegation"

// CheckName says why no account can be made with a name: that it is none, or that it is taken.
func (s *Service) CheckName(name string) error {
	if !isAccountName.MatchString(name) {
		return azure.Errorf(http.StatusBadRequest, "AccountNameInvalid", "%s is not a valid storage account name. Storage account name must be between 3 and 24 characters in length and use numbers and lower-case letters only.", name)
	}
	if _, err := s.account(name); err == nil {
		return azure.Errorf(http.StatusConflict, "StorageAccountAlreadyTaken", "The storage account named %s is already taken.", name)
	}
	return nil
}

// CreateAccount makes an account with two keys. If the resource has it already, its settings are changed alone.
func (s *Service) CreateAccount(ctx context.Context, name string, resource azure.ID, settings Settings) (Account, error) {
	if !isAccountName.MatchString(name) {
		return Account{}, s.CheckName(name)
	}
	if err := settings.complete(); err != nil {
		return Account{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.accounts[name]; old != nil {
		if !old.resource.Equal(resource) {
			return Account{}, azure.Errorf(http.StatusConflict, "StorageAccountAlreadyTaken", "The storage account named %s is already taken.", name)
		}
		return s.setLocked(ctx, old, settings)
	}
	now := s.Now().UTC()
	a := &account{Account: Account{settings, name, resource.String(), now, [2]time.Time{now, now}}, ID: newID(), resource: resource,
		keys: [2][]byte{newKey(), newKey()}, delegation: newKey(), usage: new(usage)}
	return a.Account, s.saveLocked(ctx, a, keyNames[0], keyNames[1], delegationName)
}

func newKey() []byte {
	key := make([]byte, 64)
	_, _ = rand.Read(key) // does not fail
	return key
}

func (t *Settings) complete() error {
	if t.MinimumTLSVersion == "" {
		t.MinimumTLSVersion = "TLS1_2"
	}
	if tlsVersions[t.MinimumTLSVersion] == 0 {
		return azure.Errorf(http.StatusBadRequest, "InvalidRequestPropertyValue", "The value '%s' for the property 'minimumTlsVersion' is not one of TLS1_2, TLS1_3.", t.MinimumTLSVersion)
	}
	return nil
}

// SetAccount changes an account's settings.
func (s *Service) SetAccount(ctx context.Context, name string, settings Settings) (Account, error) {
	if err := settings.complete(); err != nil {
		return Account{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.accounts[name]
	if old == nil {
		return Account{}, errNoAccount(name)
	}
	return s.setLocked(ctx, old, settings)
}

func (s *Service) setLocked(ctx context.Context, old *account, settings Settings) (Account, error) {
	a := *old
	a.Settings = settings
	return a.Account, s.saveLocked(ctx, &a)
}

// RegenerateKey replaces one of the two keys.
func (s *Service) RegenerateKey(ctx context.Context, name, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.accounts[name]
	if old == nil {
		return errNoAccount(name)
	}
	a := *old
	for i, n := range keyNames {
		if strings.EqualFold(n, key) {
			a.keys[i], a.KeyCreated[i] = newKey(), s.Now().UTC()
			return s.saveLocked(ctx, &a, n)
		}
	}
	return azure.Errorf(http.StatusBadRequest, "InvalidRequestPropertyValue", "The value '%s' for the property 'keyName' is not one of key1, key2.", key)
}

// RevokeDelegation ends all user delegation keys of an account, with the signatures made by them.
func (s *Service) RevokeDelegation(ctx context.Context, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.accounts[name]
	if old == nil {
		return errNoAccount(name)
	}
	a := *old
	a.delegation = newKey()
	return s.saveLocked(ctx, &a, delegationName)
}

// saveLocked makes a the account, and writes those of its secrets that are named.
func (s *Service) saveLocked(ctx context.Context, a *account, secrets ...string) error {
	err := s.State.Update(ctx, func(tx *state.Tx) error {
		for _, name := range secrets {
			if err := tx.PutSealed(secretBucket, a.Name+"/"+name, *a.secret(name)); err != nil {
				return err
			}
		}
		return tx.Put(accountBucket, a.Name, a)
	})
	if err == nil {
		s.accounts[a.Name] = a
	}
	return err
}

func (a *account) secret(name string) *[]byte {
	switch name {
	case keyNames[0]:
		return &a.keys[0]
	case keyNames[1]:
		return &a.keys[1]
	}
	return &a.delegation
}

// DeleteAccount removes an account with all that is in it.
func (s *Service) DeleteAccount(ctx context.Context, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.accounts[name]
	if a == nil {
		return errNoAccount(name)
	}
	var gone []string
	err := s.State.Update(ctx, func(tx *state.Tx) (err error) {
		if gone, err = forgetContainers(tx, a.ID); err != nil {
			return err
		}
		_, err = tx.Delete(accountBucket, name)
		return errors.Join(err, forgetTables(tx, a.ID), tx.DeletePrefix(secretBucket, name+"/"))
	})
	if err != nil {
		return err
	}
	delete(s.accounts, name)
	return s.shelf.removeContainers(gone...)
}

// Account returns an account.
func (s *Service) Account(name string) (Account, error) {
	a, err := s.account(name)
	if err != nil {
		return Account{}, err
	}
	return a.Account, nil
}

// Endpoints returns the URLs of an account's planes, each with a slash at its end.
func (s *Service) Endpoints(name string) (blob, table string) {
	return endpoint(name, s.BlobHost), endpoint(name, s.TableHost)
}

func endpoint(account, host string) string { return "https://" + account + "." + host + "/" }

// Keys returns an account's keys.
func (s *Service) Keys(name string) ([]Key, error) {
	a, err := s.account(name)
	if err != nil {
		return nil, err
	}
	var keys []Key
	for i, n := range keyNames {
		keys = append(keys, Key{n, base64.StdEncoding.EncodeToString(a.keys[i]), a.KeyCreated[i]})
	}
	return keys, nil
}

// Usage counts what an account holds, and what went in and out.
func (s *Service) Usage(ctx context.Context, name string) (u Usage, err error) {
	a, err := s.account(name)
	if err != nil {
		return u, err
	}
	u = Usage{Requests: a.usage.requests.Load(), Ingress: a.usage.ingress.Load(), Egress: a.usage.egress.Load()}
	err = s.State.View(ctx, func(tx *state.Tx) error {
		return eachContainer(tx, a.ID, "", func(c *container) (bool, error) {
			for e, err := range tx.Scan(blobBucket, c.ID+"/", "") {
				var b blob
				if err = errors.Join(err, decode(e, &b)); err != nil {
					return false, err
				}
				u.Blobs, u.Capacity = u.Blobs+1, u.Capacity+b.Size
			}
			return true, nil
		})
	})
	return u, err
}

func (s *Service) account(name string) (*account, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if a := s.accounts[name]; a != nil {
		return a, nil
	}
	return nil, errNoAccount(name)
}

func errNoAccount(name string) error {
	return azure.Errorf(http.StatusNotFound, "ResourceNotFound", "The storage account '%s' was not found.", name)
}

func (s *Service) loadAccounts(ctx context.Context) error {
	return s.State.View(ctx, func(tx *state.Tx) error {
		for e, err := range tx.Scan(accountBucket, "", "") {
			a := &account{usage: new(usage)}
			if err = errors.Join(err, decode(e, a)); err != nil {
				return err
			}
			if err := a.loadSecrets(tx); err != nil {
				return err
			}
			if a.resource, err = azure.ParseID(a.Resource); err != nil {
				return err
			}
			s.accounts[a.Name] = a
		}
		return nil
	})
}

func (a *account) loadSecrets(tx *state.Tx) error {
	for _, name := range []string{keyNames[0], keyNames[1], delegationName} {
		secret, ok, err := tx.GetSealed(secretBucket, a.Name+"/"+name)
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("account %s has no %s", a.Name, name)
		}
		*a.secret(name) = secret
	}
	return nil
}
