package storage

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causeway-gateway/causeway/fabric/azure"
	"github.com/causeway-gateway/causeway/fabric/state"
)

// Buckets of the state. Keys below a container or table begin with its id, which is never used again.
const (
	accountBucket   = "storage.account"   // account
	secretBucket    = "storage.secret"    // account/key1, account/key2, account/delegation; sealed
	containerBucket = "storage.container" // account's id/container
	blobBucket      = "storage.blob"      // container's id/blob
	contentBucket   = "storage.content"   // container's id/content's id
	stagedBucket    = "storage.staged"    // container's id/blob: what is known of its uncommitted blocks
	tableBucket     = "storage.table"     // account's id/table in lower case
	entityBucket    = "storage.entity"    // table's id/partition/row, with a byte between these that keys do not have
	blockBucket     = "storage.block"     // container's id/hash of the blob/block's id
)

// Config is what a Service is made of.
type Config struct {
	State *state.Store
	Dir   string // where the contents of blobs lie; made when it is not there

	// What follows the account in the names of hosts, with the port that clients use: "blob.storage.example:9443".
	BlobHost, TableHost string
	Authority           string // the directory's URL with its tenant, told to whoever comes without a good token

	Verify  azure.TokenVerifier
	Allowed azure.Authorizer
	Now     func() time.Time // nil means time.Now
	Log     *slog.Logger     // nil means slog.Default()
}

// A Service holds the storage accounts. It is safe for concurrent use.
type Service struct {
	Config
	shelf *shelf
	tick  atomic.Int64 // the last one given out

	mu       sync.RWMutex        // guards accounts
	accounts map[string]*account // immutable, replaced when something changes
}

// New opens the accounts in the state, and removes what a crash has left of unfinished writes. Nobody else may use the
// folder.
func New(ctx context.Context, c Config) (*Service, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	s := &Service{Config: c, accounts: make(map[string]*account)}
	var err error
	if s.shelf, err = openShelf(c.Dir); err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	if err := s.loadAccounts(ctx); err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	if err := s.sweep(ctx); err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	return s, nil
}

func (c *Config) check() error {
	switch {
	case c.State == nil:
		return errors.New("config: State is missing")
	case c.Dir == "":
		return errors.New("config: Dir is missing")
	case c.BlobHost == "" || c.TableHost == "":
		return errors.New("config: BlobHost and TableHost are needed")
	case c.Verify == nil || c.Allowed == nil:
		return errors.New("config: Verify and Allowed are needed")
	}
	return nil
}

// BlobHandler serves the accounts' blobs.
func (s *Service) BlobHandler() http.Handler {
	return &plane{Service: s, kind: 'b', name: "blob", host: s.BlobHost, read: nameBlob, route: s.routeBlob, fail: failXML}
}

// TableHandler serves the accounts' tables.
func (s *Service) TableHandler() http.Handler {
	return &plane{Service: s, kind: 't', name: "table", host: s.TableHost, read: nameTable, route: s.routeTable, fail: failJSON}
}

// ticksToUnix is 1970 as Azure counts time: in tenths of a microsecond from the first day of the year 1.
const ticksToUnix = 621355968000000000

// stamp returns the time, later than any that it returned before, so that an ETag made of it is new.
func (s *Service) stamp() time.Time {
	now := s.Now().UnixNano() / 100
	for {
		last := s.tick.Load()
		next := max(now, last+1)
		if s.tick.CompareAndSwap(last, next) {
			return time.Unix(0, next*100).UTC()
		}
	}
}

// etagOf makes an ETag of a stamp, without its quotes.
func etagOf(t time.Time) string { return fmt.Sprintf("0x%X", t.UnixNano()/100+ticksToUnix) }

// newID names what must never be mixed up with anything before: 32 hexadecimal digits.
func newID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // does not fail
	return hex.EncodeToString(b)
}

// page bounds how much one answer lists.
func page(asked, most int) int {
	if asked <= 0 || asked > most {
		return most
	}
	return asked
}

// decode reads an entry of a scan. One of a scan that failed has no value.
func decode(e state.Entry, into any) error {
	if e.Value == nil {
		return nil
	}
	if err := json.Unmarshal(e.Value, into); err != nil {
		return fmt.Errorf("%s: %w", e.Key, err)
	}
	return nil
}

// orElse returns the first error that is one.
func orElse(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
