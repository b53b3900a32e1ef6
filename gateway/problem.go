package gateway

import (
	"net/http"
	"strconv"
	"time"

	"github.com/causeway-gateway/causeway"
)

// A problem is an answer of ours in place of the server's (RFC 9457). Nothing in it names what lies inside.
type problem struct {
	id         causeway.RequestID
	code       causeway.Code
	status     int
	retryAfter time.Duration
	close      bool // the connection ends behind it
}

// appendBody appends the body: type, title, status, code and request id, all of our own making, so that nothing
// needs escaping.
func (p *problem) appendBody(b []byte) []byte {
	b = append(b, `{"type":"about:blank","title":"`...)
	b = append(b, http.StatusText(p.status)...)
	b = append(b, `","status":`...)
	b = strconv.AppendInt(b, int64(p.status), 10)
	b = append(b, `,"code":"`...)
	b = append(b, p.code.String()...)
	b = append(b, `","request_id":"`...)
	b, _ = p.id.AppendText(b)
	return append(b, "\"}\n"...)
}

// retryAfterSeconds is the value of Retry-After: whole seconds, and never 0.
func (p *problem) retryAfterSeconds() int64 {
	return int64((p.retryAfter + time.Second - 1) / time.Second)
}
