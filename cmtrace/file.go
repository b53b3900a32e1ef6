package cmtrace

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// DefaultMaxBytes is where a log file is rotated unless its owner says otherwise.
const DefaultMaxBytes = 5 << 20

// A File is a log file that is renamed to .lo_ when it is full, as ConfigMgr does; the one before is then gone.
// Each Write is one record: it is never split over two files, and one that fails leaves nothing of itself behind.
type File struct {
	path string
	max  int64

	mu     sync.Mutex // guards the fields below
	f      *os.File   // nil after a failed rotation: the next Write tries again
	size   int64
	closed bool
}

// OpenFile opens or makes a log file. maxBytes 0 means DefaultMaxBytes.
func OpenFile(path string, maxBytes int64) (*File, error) {
	if maxBytes <= 0 {
		maxBytes = DefaultMaxBytes
	}
	f := &File{path: path, max: maxBytes}
	return f, f.openLocked()
}

// openLocked opens the file and mends what a crash left: a last line without its end.
func (f *File) openLocked() error {
	file, err := os.OpenFile(f.path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		return errors.Join(err, file.Close())
	}
	f.f, f.size = file, info.Size()
	if f.size == 0 {
		return nil
	}
	var last [1]byte
	if _, err := file.ReadAt(last[:], f.size-1); err == nil && last[0] != '\n' {
		n, err := file.WriteString("\r\n")
		f.size += int64(n)
		return err
	}
	return nil
}

// Write appends one record.
func (f *File) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return 0, os.ErrClosed
	}
	if f.f != nil && f.size > 0 && f.size+int64(len(p)) > f.max {
		f.rotateLocked()
	}
	if f.f == nil {
		if err := f.openLocked(); err != nil {
			return 0, err
		}
	}
	n, err := f.f.Write(p)
	if err != nil && n > 0 {
		// A full disk takes part of a record. Half a line would swallow the next one.
		if f.f.Truncate(f.size) == nil {
			n = 0
		}
	}
	f.size += int64(n)
	return n, err
}

// rotateLocked moves the full file away; Write makes the next one. Where the folder forbids that, the file goes on
// to twice its size and then begins again: losing old lines is better than losing new ones or filling the disk.
func (f *File) rotateLocked() {
	if f.size > 2*f.max && f.f.Truncate(0) == nil {
		f.size = 0
		return
	}
	// Windows renames closed files only. What a failed Close could lose was reported by Write.
	f.f.Close()
	f.f, f.size = nil, 0
	os.Rename(f.path, RotatedName(f.path))
}

// RotatedName returns where the records before those in path are: CMGService.lo_ for CMGService.log.
func RotatedName(path string) string {
	if ext := filepath.Ext(path); ext == ".log" {
		return strings.TrimSuffix(path, ext) + ".lo_"
	}
	return path + ".lo_"
}

// Close closes the file. Writes after it fail.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	f.closed = true
	if f.f == nil {
		return nil
	}
	return f.f.Close()
}
