package signed

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/causeway-gateway/causeway/internal/durable"
)

// A Store holds the last good document of each kind, in memory and in a folder:
//
//	<kind>.json           the newest
//	<kind>.json.previous  the one before, for the day the newest is damaged on disk
//	site-key.<n>.json     the n-th rotation of the site's key
//
// It never goes back to a lower generation than it has seen. It is safe for concurrent use.
type Store struct {
	dir string // "": memory only

	mu   sync.Mutex
	keys *KeySet
	held map[string]held
}

type held struct {
	raw    []byte
	header Header
}

// OpenStore reads a folder, which is made if it is missing. Damaged, forged or foreign files are passed over; err
// is about the folder, and problems are what an operator should hear of. With dir "" nothing is kept on disk.
func OpenStore(dir string, root PublicKey) (s *Store, problems []error, err error) {
	s = &Store{dir: dir, keys: NewKeySet(root), held: map[string]held{}}
	if dir == "" {
		return s, nil, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, err
	}
	if err := durable.RemoveTemps(dir); err != nil {
		// A role may only read the folder that its site writes.
		problems = append(problems, err)
	}
	_, more := s.Reload()
	return s, append(problems, more...), nil
}

// Keys returns the keys in force.
func (s *Store) Keys() *KeySet {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys
}

// Raw returns the document of the kind as it was signed, or nil.
func (s *Store) Raw(kind string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held[kind].raw
}

// Header returns the header of the document of the kind; its generation is 0 if there is none.
func (s *Store) Header(kind string) Header {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held[kind].header
}

// Open decodes the document of the kind. Without one the error wraps fs.ErrNotExist.
func (s *Store) Open(kind string, into any) (Header, error) {
	s.mu.Lock()
	raw, keys := s.held[kind].raw, s.keys
	s.mu.Unlock()
	if raw == nil {
		return Header{}, fmt.Errorf("%s document: %w", kind, fs.ErrNotExist)
	}
	return Open(raw, kind, keys, into)
}

// Put takes a document over: verified, newer than the one held, and on disk before Put returns. The very document
// that is held already is no error. Judge the payload (Open) before: what Put took over is the last good one.
func (s *Store) Put(raw []byte) (Header, error) {
	kind, err := KindOf(raw)
	if err != nil {
		return Header{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if kind == KindSiteKey {
		return s.putKeyLocked(raw)
	}
	h, err := s.acceptableLocked(raw, kind)
	if err != nil || h == s.held[kind].header {
		return h, err
	}
	if err := s.writeLocked(kind, raw); err != nil {
		return Header{}, err
	}
	s.held[kind] = held{bytes.Clone(raw), h}
	return h, nil
}

// acceptableLocked judges a document against the keys and against what is held.
func (s *Store) acceptableLocked(raw []byte, kind string) (Header, error) {
	have := s.held[kind]
	if have.raw != nil && bytes.Equal(raw, have.raw) {
		return have.header, nil // the usual answer to Reload, at no cost
	}
	b, err := open(raw, kind, s.keys)
	if err != nil {
		return Header{}, err
	}
	h := b.header()
	if err := h.Newer(have.header.Generation); err != nil {
		return Header{}, err
	}
	return h, nil
}

func (s *Store) putKeyLocked(raw []byte) (Header, error) {
	longer, err := s.keys.Follow(raw)
	if err != nil {
		return Header{}, err
	}
	doc, _, err := unframe(raw)
	if err != nil {
		return Header{}, err
	}
	b, err := parseBody(doc)
	if err != nil || longer == s.keys {
		return b.header(), err
	}
	if s.dir != "" {
		if err := durable.WriteFile(s.keyPath(len(s.keys.keys)), raw); err != nil {
			return Header{}, err
		}
	}
	s.keys = longer
	return b.header(), nil
}

// writeLocked keeps the file in place as the previous one and writes the new one.
func (s *Store) writeLocked(kind string, raw []byte) error {
	if s.dir == "" {
		return nil
	}
	if old := s.held[kind].raw; old != nil {
		if err := durable.WriteFile(s.path(kind)+previousSuffix, old); err != nil {
			return err
		}
	}
	return durable.WriteFile(s.path(kind), raw)
}

// Reload reads the folder again and takes over what is newer. It returns the kinds that changed, site-key among
// them, and what was wrong with files that were passed over.
func (s *Store) Reload() (changed []string, problems []error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dir == "" {
		return nil, nil
	}
	before := s.keys
	if err := s.reloadKeysLocked(); err != nil {
		problems = append(problems, err)
	}
	if s.keys != before {
		changed = append(changed, KindSiteKey)
	}
	for _, kind := range []string{KindGateway, KindConnectionPoint} {
		took, err := s.reloadLocked(kind)
		if took {
			changed = append(changed, kind)
		}
		if err != nil {
			problems = append(problems, err)
		}
	}
	return changed, problems
}

func (s *Store) reloadKeysLocked() error {
	for {
		path := s.keyPath(len(s.keys.keys))
		raw, err := ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		longer, err := s.keys.Follow(raw)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if longer == s.keys {
			return fmt.Errorf("%s: %w: names no new key", path, ErrContent)
		}
		s.keys = longer
	}
}

// reloadLocked takes the newest acceptable file of the kind. The previous one counts only while nothing is held:
// on a start whose newest file is damaged.
func (s *Store) reloadLocked(kind string) (took bool, problem error) {
	paths := []string{s.path(kind)}
	if s.held[kind].raw == nil {
		paths = append(paths, s.path(kind)+previousSuffix)
	}
	var problems []error
	for _, path := range paths {
		raw, err := ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			problems = append(problems, err)
			continue
		}
		h, err := s.acceptableLocked(raw, kind)
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", path, err))
			continue
		}
		if h == s.held[kind].header {
			return false, errors.Join(problems...)
		}
		s.held[kind] = held{raw, h}
		return true, errors.Join(problems...)
	}
	return false, errors.Join(problems...)
}

const previousSuffix = ".previous"

func (s *Store) path(kind string) string { return filepath.Join(s.dir, kind+".json") }

func (s *Store) keyPath(n int) string {
	return filepath.Join(s.dir, fmt.Sprintf("%s.%d.json", KindSiteKey, n))
}
