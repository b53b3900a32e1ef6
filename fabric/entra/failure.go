package entra

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/causeway-gateway/causeway/fabric/azure"
)

// A failure is what the token endpoint answers with when it refuses: RFC 6749 with Entra's numbers
// (https://learn.microsoft.com/entra/identity-platform/reference-error-codes).
type failure struct {
	status  int
	kind    string // RFC 6749's error
	number  int    // AADSTS…
	message string
}

func (f *failure) Error() string { return fmt.Sprintf("AADSTS%d: %s", f.number, f.message) }

func failed(status int, kind string, number int, format string, args ...any) *failure {
	return &failure{status, kind, number, fmt.Sprintf(format, args...)}
}

func malformed() *failure {
	return failed(http.StatusBadRequest, "invalid_request", 9002313, "Invalid request. Request is malformed or invalid.")
}

func missing(parameter string) *failure {
	return failed(http.StatusBadRequest, "invalid_request", 900144, "The request body must contain the following parameter: '%s'.", parameter)
}

func wrongSecret(app string) *failure {
	return failed(http.StatusUnauthorized, "invalid_client", 7000215, "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '%s'.", app)
}

func expiredSecret(app string) *failure {
	return failed(http.StatusUnauthorized, "invalid_client", 7000222, "The provided client secret keys for app '%s' are expired.", app)
}

func wrongAssertion(why string) *failure {
	return failed(http.StatusUnauthorized, "invalid_client", 700027, "The certificate with identifier used to sign the client assertion is not registered on application, or the assertion failed signature validation. [Reason - %s]", why)
}

// write answers with the failure, in Entra's shape.
func (f *failure) write(w http.ResponseWriter, now time.Time) {
	trace := azure.NewGUID()
	if f.status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", strconv.Itoa(int(throttleTime/time.Second)))
	}
	azure.WriteJSON(w, f.status, struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
		Codes       []int  `json:"error_codes"`
		Timestamp   string `json:"timestamp"`
		Trace       string `json:"trace_id"`
		Correlation string `json:"correlation_id"`
	}{f.kind, fmt.Sprintf("%v Trace ID: %s", f, trace), []int{f.number}, now.UTC().Format("2006-01-02 15:04:05Z"), trace, azure.NewGUID()})
}
