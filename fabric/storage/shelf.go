package storage

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"github.com/causeway-gateway/causeway/fabric/state"
	"github.com/causeway-gateway/causeway/internal/durable"
)

// A shelf keeps the contents of blobs: one folder for each container, in it files that are written once. Names are ids
// of ours, never anything that a client said.
type shelf struct {
	dir string

	// gate closes the gap between learning a file's name from the index and pinning it: whoever looks holds it shared,
	// and whoever removes takes it whole once the index has forgotten the file.
	gate sync.RWMutex

	mu     sync.Mutex // guards the fields below
	pins   map[file]int
	doomed map[file]bool // removed when the last reader has gone
}

// A file is one on the shelf.
type file struct{ container, id string }

var isID = regexp.MustCompile(`^[0-9a-f]{32}$`)

func openShelf(dir string) (*shelf, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return &shelf{dir: dir, pins: make(map[file]int), doomed: make(map[file]bool)}, durable.SyncDir(filepath.Dir(dir))
}

func (s *shelf) path(f file) string { return filepath.Join(s.dir, f.container, f.id) }

// create makes an empty file, which sync and the index make lasting.
func (s *shelf) create(container string) (file, *os.File, error) {
	folder := filepath.Join(s.dir, container)
	err := os.Mkdir(folder, 0o700)
	if err == nil {
		err = durable.SyncDir(s.dir)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return file{}, nil, err
	}
	f := file{container, newID()}
	h, err := os.OpenFile(s.path(f), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	return f, h, err
}

// sync puts a written file on disk, with its name, and closes it.
func (s *shelf) sync(f file, h *os.File) error {
	if err := errors.Join(h.Sync(), h.Close()); err != nil {
		return err
	}
	return durable.SyncDir(filepath.Join(s.dir, f.container))
}

// pin keeps files on disk for a reader until release. The caller holds gate shared since before it learned their names.
func (s *shelf) pin(files []file) (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range files {
		s.pins[f]++
	}
	return func() { s.unpin(files) }
}

func (s *shelf) unpin(files []file) {
	var free []file
	s.mu.Lock()
	for _, f := range files {
		if s.pins[f]--; s.pins[f] > 0 {
			continue
		}
		delete(s.pins, f)
		if s.doomed[f] {
			delete(s.doomed, f)
			free = append(free, f)
		}
	}
	s.mu.Unlock()
	s.unlink(free)
}

// remove takes files away that the index names no more; those that are being read when their readers have gone.
func (s *shelf) remove(files ...file) {
	if len(files) == 0 {
		return
	}
	var free []file
	s.gate.Lock()
	s.mu.Lock()
	for _, f := range files {
		if s.pins[f] > 0 {
			s.doomed[f] = true
		} else {
			free = append(free, f)
		}
	}
	s.mu.Unlock()
	s.gate.Unlock()
	s.unlink(free)
}

// unlink may fail: nothing names the files, and New removes what stays.
func (s *shelf) unlink(files []file) {
	for _, f := range files {
		_ = os.Remove(s.path(f))
	}
}

// removeContainers takes away the folders of containers that are gone. Readers within lose what they have not opened.
func (s *shelf) removeContainers(ids ...string) error {
	var errs []error
	for _, id := range ids {
		errs = append(errs, os.RemoveAll(filepath.Join(s.dir, id)))
	}
	return errors.Join(errs...)
}

// blockLifetime is how long Azure keeps blocks that nobody commits.
const blockLifetime = 7 * 24 * time.Hour

// sweep forgets old uncommitted blocks, and removes files that the index does not name.
func (s *Service) sweep(ctx context.Context) error {
	entries, err := os.ReadDir(s.shelf.dir)
	if err != nil {
		return err
	}
	known := make(map[string]bool)
	err = s.State.Update(ctx, func(tx *state.Tx) error {
		for _, a := range s.accounts {
			err := eachContainer(tx, a.ID, "", func(c *container) (bool, error) {
				known[c.ID] = true
				return true, forgetOldBlocks(tx, c.ID, s.Now().Add(-blockLifetime))
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	for _, e := range entries {
		switch {
		case err != nil:
			return err
		case !isID.MatchString(e.Name()): // not ours
		case known[e.Name()]:
			err = s.sweepContainer(ctx, e.Name())
		default:
			err = s.shelf.removeContainers(e.Name())
		}
	}
	return err
}

func (s *Service) sweepContainer(ctx context.Context, container string) error {
	named := make(map[string]bool)
	err := s.State.View(ctx, func(tx *state.Tx) error {
		for e, err := range tx.Scan(contentBucket, container+"/", "") {
			var list []segment
			if err = errors.Join(err, decode(e, &list)); err != nil {
				return err
			}
			for _, g := range list {
				named[g.File] = true
			}
		}
		for e, err := range tx.Scan(blockBucket, container+"/", "") {
			var b block
			if err = errors.Join(err, decode(e, &b)); err != nil {
				return err
			}
			named[b.File] = true
		}
		return nil
	})
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(filepath.Join(s.shelf.dir, container))
	for _, e := range entries {
		if isID.MatchString(e.Name()) && !named[e.Name()] {
			err = errors.Join(err, os.Remove(s.shelf.path(file{container, e.Name()})))
		}
	}
	return err
}
