package site

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/internal/seal"
	"github.com/causeway-gateway/causeway/signed"
	"github.com/causeway-gateway/causeway/siteca"
)

// Names of the store's files in its folder.
const (
	databaseFile = "site.db"
	sealKeyFile  = "seal.key"
)

// Store is an open site store. Its methods may be called from any goroutine.
type Store struct {
	dir    string
	db     *sql.DB
	sealer *seal.Sealer
	now    func() time.Time

	id        causeway.SiteID
	key       signed.Key
	siteCA    *siteca.Authority
	deviceCA  *siteca.Authority
	closeOnce sync.Once
}

// Open opens the store in dir, and makes it, with its keys, when there is none. dir must exist and be owner-only.
// now is the clock; nil means time.Now. One process at a time may have a store open for writing; its owner sees to it.
func Open(ctx context.Context, dir string, now func() time.Time) (*Store, error) {
	if now == nil {
		now = time.Now
	}
	path := filepath.Join(dir, databaseFile)
	_, err := os.Stat(path)
	fresh := errors.Is(err, os.ErrNotExist)
	if err != nil && !fresh {
		return nil, fmt.Errorf("site store: %w", err)
	}
	sealer, err := seal.Open(filepath.Join(dir, sealKeyFile), fresh)
	if err != nil {
		return nil, fmt.Errorf("site store: %w", err)
	}
	// SQLite gives its other files the mode of this one.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("site store: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("site store: %w", err)
	}
	dsn, err := dataSource(path)
	if err != nil {
		return nil, fmt.Errorf("site store: %w", err)
	}
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, fmt.Errorf("site store %s: %w", path, err)
	}
	db.SetMaxOpenConns(1) // writers take turns anyway, and a reader never sees half a change
	s := &Store{dir: dir, db: db, sealer: sealer, now: now}
	err = s.migrate(ctx)
	if err == nil {
		err = s.load(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("site store %s: %w", path, spaceError(dir, err)), db.Close())
	}
	return s, nil
}

// dataSource names the database to the driver. It is a URI, so a path may hold what a URI uses for itself.
func dataSource(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path // a drive letter
	}
	u := url.URL{Scheme: "file", Path: path, RawQuery: "_txlock=immediate&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)" +
		"&_pragma=busy_timeout(5000)&_pragma=foreign_keys(1)"}
	return u.String(), nil
}

// Close closes the store.
func (s *Store) Close() (err error) {
	s.closeOnce.Do(func() { err = s.db.Close() })
	return err
}

// ID returns the site's id, made with the store.
func (s *Store) ID() causeway.SiteID { return s.id }

// PublicKey returns the key that verifies the site's documents.
func (s *Store) PublicKey() signed.PublicKey { return s.key.Public() }

// SiteCA signs connection points and, where none is given, the service certificate.
func (s *Store) SiteCA() *siteca.Authority { return s.siteCA }

// DeviceCA signs the site's own device certificates.
func (s *Store) DeviceCA() *siteca.Authority { return s.deviceCA }

// migrations bring a store of version i to version i+1. They are only ever added to.
var migrations = []string{`
CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE secret (name TEXT PRIMARY KEY, sealed BLOB NOT NULL) STRICT;
CREATE TABLE gateway (name TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT;
CREATE TABLE connection_point (id TEXT PRIMARY KEY, connection_id TEXT NOT NULL, created TEXT NOT NULL) STRICT;
CREATE TABLE server (name TEXT PRIMARY KEY, body TEXT NOT NULL, client_key BLOB) STRICT;
CREATE TABLE device_ca (thumbprint TEXT PRIMARY KEY, name TEXT NOT NULL, certificate BLOB NOT NULL) STRICT;
CREATE TABLE certificate (serial TEXT PRIMARY KEY, kind TEXT NOT NULL, subject TEXT NOT NULL, thumbprint TEXT NOT NULL,
	not_after TEXT NOT NULL, issued TEXT NOT NULL) STRICT;
CREATE TABLE audit (seq INTEGER PRIMARY KEY, time TEXT NOT NULL, by TEXT NOT NULL, action TEXT NOT NULL,
	subject TEXT NOT NULL, detail TEXT NOT NULL, previous TEXT NOT NULL, hash TEXT NOT NULL UNIQUE) STRICT;
`, `
CREATE TABLE block (body TEXT PRIMARY KEY, reason TEXT NOT NULL, created TEXT NOT NULL) STRICT;
`}

// migrate makes the tables, and the keys of a new site.
func (s *Store) migrate(ctx context.Context) error {
	var version int
	if err := s.db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	if version > len(migrations) {
		return causeway.WithHint(fmt.Errorf("was written by a newer version (schema %d, this program knows %d)", version, len(migrations)),
			"use the newer program, or restore a backup from before it")
	}
	for ; version < len(migrations); version++ {
		err := s.transact(ctx, func(tx *sql.Tx) error {
			if _, err := tx.ExecContext(ctx, migrations[version]); err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", version+1)); err != nil {
				return err
			}
			if version == 0 {
				return s.create(ctx, tx)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("schema %d: %w", version+1, err)
		}
	}
	return nil
}

// create gives a new site its id and keys.
func (s *Store) create(ctx context.Context, tx *sql.Tx) error {
	id := newGUID()
	key, err := signed.NewKey()
	if err != nil {
		return err
	}
	keyPEM, err := key.MarshalPEM()
	if err != nil {
		return err
	}
	if err := errors.Join(setSetting(ctx, tx, settingSite, id), setSetting(ctx, tx, settingGeneration, "0"),
		s.putSecret(ctx, tx, secretDocumentKey, keyPEM),
		s.createAuthority(ctx, tx, secretSiteCA, "Causeway site "+id[:8]+" CA"),
		s.createAuthority(ctx, tx, secretDeviceCA, "Causeway site "+id[:8]+" device CA")); err != nil {
		return err
	}
	return s.audit(ctx, tx, record{By: "causeway", Action: "site.create", Subject: id})
}

func (s *Store) createAuthority(ctx context.Context, tx *sql.Tx, name, commonName string) error {
	a, err := siteca.New(commonName, s.now())
	if err != nil {
		return err
	}
	key, err := a.MarshalKey()
	if err != nil {
		return err
	}
	return errors.Join(setSetting(ctx, tx, name, string(a.CertPEM())), s.putSecret(ctx, tx, name, key))
}

// load reads what never changes while the store is open.
func (s *Store) load(ctx context.Context) error {
	return s.read(ctx, func(tx *sql.Tx) error {
		id, err := setting(ctx, tx, settingSite)
		if err != nil {
			return err
		}
		s.id = causeway.SiteID(id)
		keyPEM, err := s.secret(ctx, tx, secretDocumentKey)
		if err != nil {
			return err
		}
		if s.key, err = signed.ParseKeyPEM(keyPEM); err != nil {
			return err
		}
		if s.siteCA, err = s.loadAuthority(ctx, tx, secretSiteCA); err != nil {
			return err
		}
		s.deviceCA, err = s.loadAuthority(ctx, tx, secretDeviceCA)
		return err
	})
}

func (s *Store) loadAuthority(ctx context.Context, tx *sql.Tx, name string) (*siteca.Authority, error) {
	certPEM, err := setting(ctx, tx, name)
	if err != nil {
		return nil, err
	}
	key, err := s.secret(ctx, tx, name)
	if err != nil {
		return nil, err
	}
	cert, err := parseCertificate([]byte(certPEM))
	if err != nil {
		return nil, err
	}
	return siteca.Load(cert.Raw, key)
}

// transact runs f in a transaction of its own.
func (s *Store) transact(ctx context.Context, f func(tx *sql.Tx) error) (err error) {
	defer func() { err = spaceError(s.dir, err) }()
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := f(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// read runs f on one consistent view of the store.
func (s *Store) read(ctx context.Context, f func(tx *sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	return errors.Join(f(tx), tx.Rollback())
}

// Names of settings and secrets.
const (
	settingSite       = "site"
	settingGeneration = "generation"
	secretDocumentKey = "document-key"
	secretSiteCA      = "site-ca"
	secretDeviceCA    = "device-ca"
)

func setting(ctx context.Context, tx *sql.Tx, name string) (value string, err error) {
	err = tx.QueryRowContext(ctx, "SELECT value FROM setting WHERE name = ?", name).Scan(&value)
	if errors.Is(err, sql.ErrNoRows) {
		err = fmt.Errorf("setting %q is missing", name)
	}
	return value, err
}

func setSetting(ctx context.Context, tx *sql.Tx, name, value string) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO setting (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", name, value)
	return err
}

func (s *Store) secret(ctx context.Context, tx *sql.Tx, name string) ([]byte, error) {
	var sealed []byte
	if err := tx.QueryRowContext(ctx, "SELECT sealed FROM secret WHERE name = ?", name).Scan(&sealed); err != nil {
		return nil, fmt.Errorf("secret %q: %w", name, err)
	}
	return s.sealer.Open("secret/"+name, sealed)
}

func (s *Store) putSecret(ctx context.Context, tx *sql.Tx, name string, text []byte) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO secret (name, sealed) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET sealed = excluded.sealed",
		name, s.sealer.Seal("secret/"+name, text))
	return err
}

// newGUID returns a random UUID (RFC 9562, version 4).
func newGUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
