package causeway

import (
	"errors"
	"fmt"
	"time"
)

// Sentinels that the command line turns into exit statuses and hints.
var (
	// ErrUsage marks an error in how a command was called.
	ErrUsage = errors.New("usage")
	// ErrNotFound marks a name that does not exist.
	ErrNotFound = errors.New("not found")
	// ErrNotRunning says that no site answers for the state folder.
	ErrNotRunning = errors.New("no running site")
	// ErrNoChannel says that no connection point has a live channel to this instance.
	ErrNoChannel = errors.New("no connection point online")
)

// hinted carries the next step beside the cause.
type hinted struct {
	error
	hint string
}

func (h hinted) Unwrap() error { return h.error }

// WithHint attaches what the reader can do about err: a command to run, a setting to change, a page to read.
func WithHint(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return hinted{err, fmt.Sprintf(format, args...)}
}

// Hint returns the outermost hint attached to err, or "".
func Hint(err error) string {
	if h, ok := errors.AsType[hinted](err); ok {
		return h.hint
	}
	return ""
}

// A Refusal is an answer of ours instead of the server's. Code goes to the device; Reason and Err stay with us,
// because they can name inside hosts.
type Refusal struct {
	Code       Code
	Reason     string        // for our logs: what was wrong, with which value
	Err        error         // the cause, if there is one
	RetryAfter time.Duration // zero: no Retry-After header
}

func (r *Refusal) Error() string {
	switch {
	case r.Err != nil && r.Reason != "":
		return fmt.Sprintf("%s: %s: %v", r.Code, r.Reason, r.Err)
	case r.Err != nil:
		return fmt.Sprintf("%s: %v", r.Code, r.Err)
	case r.Reason != "":
		return fmt.Sprintf("%s: %s", r.Code, r.Reason)
	}
	return r.Code.String()
}

func (r *Refusal) Unwrap() error { return r.Err }

// Refuse makes a Refusal whose reason is formatted.
func Refuse(code Code, format string, args ...any) *Refusal {
	return &Refusal{Code: code, Reason: fmt.Sprintf(format, args...)}
}

// CodeOf returns the code of the first Refusal in err's chain, or CodeInternalError.
func CodeOf(err error) Code {
	if r, ok := errors.AsType[*Refusal](err); ok {
		return r.Code
	}
	return CodeInternalError
}
