package gateway

import (
	"fmt"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/channel"
	"github.com/causeway-gateway/causeway/internal/http1"
)

// framing is how the answer's body is delimited towards a HTTP/1.1 device.
type framing uint8

const (
	frameNone   framing = iota // no body
	frameLength                // Content-Length
	frameChunks                // chunked
	frameClose                 // the end of the connection, for HTTP/1.0
)

// An answer checks what comes back over the channel: both HTTP versions pass it on through here.
type answer struct {
	head    http1.Response
	started bool
	ended   bool
	sent    int64
}

// forget makes the answer ready for another.
func (a *answer) forget() { a.started, a.ended, a.sent = false, false, 0 }

// start parses the head strictly once more: the connection point is trusted, its server is not.
func (a *answer) start(c *call, head, body []byte, last bool) error {
	if a.started {
		return fmt.Errorf("second answer head")
	}
	if err := a.head.Parse(head, c.method, http1.Limits{MaxHeadBytes: c.s.limits.MaxAnswerHeadBytes, MaxFields: maxAnswerFields}); err != nil {
		return err
	}
	switch {
	case a.head.Informational():
		return causeway.Refuse(causeway.CodeConnectorBadAnswer, "status %d as the final answer", a.head.Status)
	case a.head.Status == 101 && (!c.out.Upgrade || !http1.EqualFold(a.head.Upgrade, "websocket")):
		return causeway.Refuse(causeway.CodeConnectorBadAnswer, "101 that nobody asked for")
	case a.large(last) && c.out.Idempotent && c.s.exchanger.MemoryTight():
		return &causeway.Refusal{Code: causeway.CodeOverloaded, Reason: "the rest is kept for small answers", Err: channel.ErrNoMemory, RetryAfter: time.Second}
	}
	if err := a.count(len(body), last); err != nil {
		return &causeway.Refusal{Code: causeway.CodeConnectorBadAnswer, Err: err}
	}
	a.started = true
	return nil
}

// smallAnswerBytes is the largest body that passes while memory is tight. It fits the window that every answer has, and
// devices that do not read theirs cannot fill the rest of the budget with it as fast as with files.
const smallAnswerBytes = 16 << 10

// large reports whether an answer may hold more memory for a slow device than a small one. Who asked for something that
// is not to be done twice gets his answer all the same.
func (a *answer) large(last bool) bool {
	length := a.head.ContentLength
	return !last && a.head.Status != 101 && !a.head.NoBody && (length < 0 || length > smallAnswerBytes)
}

// maxAnswerFields bounds the header fields of an answer.
const maxAnswerFields = 200

// count keeps the body to the length that the head declared: neither more nor, at the end, less.
func (a *answer) count(n int, last bool) error {
	a.sent += int64(n)
	a.ended = last
	if a.head.Status == 101 {
		return nil
	}
	if a.head.NoBody {
		if a.sent > 0 {
			return fmt.Errorf("%d body bytes where none can be", a.sent)
		}
		return nil
	}
	if want := a.head.ContentLength; want >= 0 && (a.sent > want || last && a.sent < want) {
		return fmt.Errorf("%d body bytes, Content-Length %d", a.sent, want)
	}
	return nil
}
