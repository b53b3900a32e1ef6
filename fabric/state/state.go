// Package state keeps what the fabric knows in one SQLite file: JSON values by bucket and key.
//
//	Open ─► Store ─ Update(ctx, func(tx))  durable when it returns, all of it or nothing
//	               └ View(ctx, func(tx))    one moment, whatever is written meanwhile
//
// Keys are ordered by their bytes. Secrets are sealed (PutSealed) with a key in a file beside it.
package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/causeway-gateway/causeway/internal/seal"
)

const (
	databaseFile = "fabric.db"
	sealKeyFile  = "seal.key"
)

// format is the version of what lies in the file. A newer one is not opened.
const format = 1

// A Store is an open file. It is safe for concurrent use.
type Store struct {
	write, read *sql.DB
	sealer      *seal.Sealer
	mu          sync.Mutex // updates take turns
}

// Open opens the store in dir, and makes it when there is none. dir must exist and be owner-only. One process at a time
// may have a store open; its owner sees to it.
func Open(ctx context.Context, dir string) (*Store, error) {
	path := filepath.Join(dir, databaseFile)
	_, err := os.Stat(path)
	fresh := errors.Is(err, os.ErrNotExist)
	if err != nil && !fresh {
		return nil, fmt.Errorf("fabric state: %w", err)
	}
	sealer, err := seal.Open(filepath.Join(dir, sealKeyFile), fresh)
	if err != nil {
		return nil, fmt.Errorf("fabric state: %w", err)
	}
	// SQLite gives its other files the mode of this one.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("fabric state: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("fabric state: %w", err)
	}
	s := &Store{sealer: sealer}
	if s.write, err = openDatabase(path, "_txlock=immediate", 1); err == nil {
		err = s.prepare(ctx)
	}
	if err == nil {
		s.read, err = openDatabase(path, "_txlock=deferred&_pragma=query_only(1)", 4)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("fabric state %s: %w", path, err), s.Close())
	}
	return s, nil
}

func openDatabase(path, options string, connections int) (*sql.DB, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if path = filepath.ToSlash(path); !strings.HasPrefix(path, "/") {
		path = "/" + path // a drive letter
	}
	u := url.URL{Scheme: "file", Path: path, RawQuery: options + "&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=busy_timeout(5000)"}
	db, err := sql.Open("sqlite", u.String())
	if err == nil {
		db.SetMaxOpenConns(connections)
		db.SetMaxIdleConns(connections)
	}
	return db, err
}

// prepare makes the table of a new file, and refuses one that a later version wrote.
func (s *Store) prepare(ctx context.Context) error {
	var version int
	if err := s.write.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	switch {
	case version > format:
		return fmt.Errorf("it was written by a later version (format %d, this one knows %d)", version, format)
	case version == format:
		return nil
	}
	_, err := s.write.ExecContext(ctx, `BEGIN IMMEDIATE;
CREATE TABLE entry (bucket TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (bucket, key)) STRICT, WITHOUT ROWID;
PRAGMA user_version = 1;
COMMIT`)
	return err
}

// Close closes the store.
func (s *Store) Close() error {
	var errs []error
	for _, db := range []*sql.DB{s.read, s.write} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}

// Update changes the store by f. When it returns nil, all of it is on disk; when f or the disk fails, or ctx ends before,
// none is. Updates
// take turns, so f must not wait for anything, nor call Update.
func (s *Store) Update(ctx context.Context, f func(tx *Tx) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.with(ctx, s.write, f)
}

// View reads the store as it is at one moment.
func (s *Store) View(ctx context.Context, f func(tx *Tx) error) error { return s.with(ctx, s.read, f) }

func (s *Store) with(ctx context.Context, db *sql.DB, f func(tx *Tx) error) error {
	t, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("fabric state: %w", err)
	}
	committed := false
	defer func() {
		if !committed { // f failed, or panics
			_ = t.Rollback()
		}
	}()
	if err := f(&Tx{ctx, t, s}); err != nil {
		return err
	}
	if err := t.Commit(); err != nil {
		return fmt.Errorf("fabric state: %w", err)
	}
	committed = true
	return nil
}

// A Tx is a view of the store, or a change that is being made. It ends with the function that got it.
type Tx struct {
	ctx   context.Context // of the Update or View
	tx    *sql.Tx
	store *Store
}

// Get reads a value into what into points to. ok is false, and into untouched, when there is none.
func (t *Tx) Get(bucket, key string, into any) (ok bool, err error) {
	raw, ok, err := t.raw(bucket, key)
	if err != nil || !ok {
		return false, err
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return false, fmt.Errorf("fabric state: %s/%s: %w", bucket, key, err)
	}
	return true, nil
}

func (t *Tx) raw(bucket, key string) (value []byte, ok bool, err error) {
	err = t.tx.QueryRowContext(t.ctx, "SELECT value FROM entry WHERE bucket = ? AND key = ?", bucket, key).Scan(&value)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, false, nil
	case err != nil:
		return nil, false, fmt.Errorf("fabric state: %s/%s: %w", bucket, key, err)
	}
	return value, true, nil
}

// Put writes a value, in place of an older one.
func (t *Tx) Put(bucket, key string, value any) error {
	raw, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("fabric state: %s/%s: %w", bucket, key, err)
	}
	return t.putRaw(bucket, key, raw)
}

func (t *Tx) putRaw(bucket, key string, raw []byte) error {
	_, err := t.tx.ExecContext(t.ctx, "INSERT INTO entry (bucket, key, value) VALUES (?, ?, ?) ON CONFLICT (bucket, key) DO UPDATE SET value = excluded.value", bucket, key, raw)
	if err != nil {
		return fmt.Errorf("fabric state: %s/%s: %w", bucket, key, err)
	}
	return nil
}

// PutSealed writes a secret, encrypted for its place.
func (t *Tx) PutSealed(bucket, key string, secret []byte) error {
	return t.putRaw(bucket, key, t.store.sealer.Seal(place(bucket, key), secret))
}

// GetSealed reads what PutSealed wrote there.
func (t *Tx) GetSealed(bucket, key string) (secret []byte, ok bool, err error) {
	raw, ok, err := t.raw(bucket, key)
	if err != nil || !ok {
		return nil, false, err
	}
	secret, err = t.store.sealer.Open(place(bucket, key), raw)
	return secret, err == nil, err
}

// place names an entry to the sealer: a bucket's name has no slash.
func place(bucket, key string) string { return bucket + "/" + key }

// Delete removes a value. It reports whether there was one.
func (t *Tx) Delete(bucket, key string) (was bool, err error) {
	result, err := t.tx.ExecContext(t.ctx, "DELETE FROM entry WHERE bucket = ? AND key = ?", bucket, key)
	if err != nil {
		return false, fmt.Errorf("fabric state: %s/%s: %w", bucket, key, err)
	}
	n, err := result.RowsAffected()
	return n > 0, err
}

// DeletePrefix removes all values whose keys begin with prefix.
func (t *Tx) DeletePrefix(bucket, prefix string) error {
	_, err := t.tx.ExecContext(t.ctx, "DELETE FROM entry WHERE bucket = ? AND key >= ? AND substr(key, 1, ?) = ?", bucket, prefix, len([]rune(prefix)), prefix)
	if err != nil {
		return fmt.Errorf("fabric state: %s/%s: %w", bucket, prefix, err)
	}
	return nil
}

// An Entry is a key with its value as JSON.
type Entry struct {
	Key   string
	Value json.RawMessage
}

// pageEntries is how many entries a scan reads at a time, so that one may write in between.
const pageEntries = 256

// Scan yields the entries of a bucket whose keys begin with prefix, in the order of the keys, from the first that is not
// before from (empty: all). It may be left early, and the store may be changed by this Tx meanwhile.
func (t *Tx) Scan(bucket, prefix, from string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		least, inclusive := max(prefix, from), true
		for {
			page, err := t.page(bucket, least, inclusive)
			if err != nil {
				yield(Entry{}, err)
				return
			}
			for _, e := range page {
				if !strings.HasPrefix(e.Key, prefix) || !yield(e, nil) {
					return
				}
			}
			if len(page) < pageEntries {
				return
			}
			least, inclusive = page[len(page)-1].Key, false
		}
	}
}

func (t *Tx) page(bucket, least string, inclusive bool) (page []Entry, err error) {
	query := "SELECT key, value FROM entry WHERE bucket = ? AND key > ? ORDER BY key LIMIT ?"
	if inclusive {
		query = "SELECT key, value FROM entry WHERE bucket = ? AND key >= ? ORDER BY key LIMIT ?"
	}
	rows, err := t.tx.QueryContext(t.ctx, query, bucket, least, pageEntries)
	if err != nil {
		return nil, fmt.Errorf("fabric state: %s: %w", bucket, err)
	}
	defer rows.Close()
	for rows.Next() {
		var e Entry
		if err := rows.Scan(&e.Key, (*[]byte)(&e.Value)); err != nil {
			return nil, fmt.Errorf("fabric state: %s: %w", bucket, err)
		}
		page = append(page, e)
	}
	return page, rows.Err()
}
