package azure

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// An Error is what Azure Resource Manager, Key Vault and Microsoft Graph answer with when they refuse. Its JSON is that
// of https://github.com/microsoft/api-guidelines (code, message, target, details).
type Error struct {
	Status     int           `json:"-"` // of the answer; 0 within details
	Code       string        `json:"code"`
	Message    string        `json:"message"`
	Target     string        `json:"target,omitempty"`
	Details    []*Error      `json:"details,omitempty"`
	RetryAfter time.Duration `json:"-"`
}

// Errorf returns an error with a status and Azure's code for it.
func Errorf(status int, code, format string, args ...any) *Error {
	return &Error{Status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Within returns the error with others as its details.
func (e *Error) Within(details ...error) *Error {
	c := *e
	for _, d := range details {
		c.Details = append(c.Details, AsError(d))
	}
	return &c
}

// errInternal says nothing of what went wrong: whoever asks may be anybody.
var errInternal = &Error{Status: http.StatusInternalServerError, Code: "InternalServerError", Message: "The operation could not be completed."}

// AsError returns what of err may be told to whoever asked: the Error in its chain, else that something went wrong.
func AsError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return errInternal
}

// envelope is how an error stands in an answer.
type envelope struct {
	Error *Error `json:"error"`
}

// WriteError answers with an error.
func WriteError(w http.ResponseWriter, err error) {
	e := AsError(err)
	if e.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int((e.RetryAfter+time.Second-1)/time.Second)))
	}
	status := e.Status
	if status == 0 {
		status = http.StatusInternalServerError
	}
	WriteJSON(w, status, envelope{e})
}

// WriteJSON answers with a value.
func WriteJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil { // a value of ours that JSON has no words for
		status, body = http.StatusInternalServerError, []byte(`{"error":{"code":"InternalServerError","message":"The answer could not be written."}}`)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
