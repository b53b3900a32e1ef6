package console

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/causeway-gateway/causeway"
)

// An apiError is an error on its way from the site to the command that asked. Callers of the admin API are the
// site's own user, so the cause goes along.
type apiError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// The sentinels that cross the socket. What is not listed arrives as a plain failure.
var codes = []struct {
	code   string
	err    error
	status int
}{
	{"not_found", causeway.ErrNotFound, http.StatusNotFound},
	{"usage", causeway.ErrUsage, http.StatusBadRequest},
}

// fail answers with what went wrong.
func fail(w http.ResponseWriter, err error) {
	e := apiError{Code: "failed", Message: err.Error(), Hint: causeway.Hint(err)}
	status := http.StatusInternalServerError
	for _, c := range codes {
		if errors.Is(err, c.err) {
			e.Code, status = c.code, c.status
			break
		}
	}
	writeError(w, status, e)
}

func writeError(w http.ResponseWriter, status int, e apiError) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(e) // the caller is gone: nobody to tell
}

// remote is an apiError that has arrived: the same words, and the sentinel behind them again.
type remote struct {
	message  string
	sentinel error
}

func (r remote) Error() string { return r.message }
func (r remote) Unwrap() error { return r.sentinel }

// err makes the error that the site meant.
func (e apiError) err() error {
	r := remote{message: e.Message}
	for _, c := range codes {
		if c.code == e.Code {
			r.sentinel = c.err
		}
	}
	if e.Hint != "" {
		return causeway.WithHint(r, "%s", e.Hint)
	}
	return r
}
