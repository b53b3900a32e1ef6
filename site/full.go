package site

import (
	"errors"
	"fmt"

	"modernc.org/sqlite"

	"github.com/causeway-gateway/causeway"
)

// Result codes of SQLite for a disk that is full. It notices a full one, too, when it cannot write or cannot make room
// for its shared memory, and then only speaks of input and output.
const (
	sqliteFull         = 13
	sqliteIOErrWrite   = 10 | 3<<8
	sqliteIOErrShmSize = 10 | 19<<8
)

// spaceError says where space is needed, when that is what an error of the database means.
func spaceError(dir string, err error) error {
	e, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		return err
	}
	switch e.Code() {
	case sqliteFull:
		return causeway.WithHint(fullError{fmt.Errorf("no space left in %s", dir), err}, "free some there, then run it again")
	case sqliteIOErrWrite, sqliteIOErrShmSize:
		return causeway.WithHint(fullError{fmt.Errorf("%s cannot be written", dir), err}, "see whether space is left there: df -h %s", dir)
	}
	return err
}

// A fullError says what an error means; the database's own words stay behind it.
type fullError struct {
	error
	cause error
}

func (f fullError) Unwrap() error { return f.cause }
