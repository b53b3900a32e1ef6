package channel

import (
	"io"
	"time"

	"github.com/causeway-gateway/causeway"
)

// A Request is one device request on its way inward.
type Request struct {
	ID        causeway.RequestID
	Principal *Principal

	// Head is a complete HTTP/1.1 request head as package http1 writes it: start line, Host, field lines, empty
	// line. It carries no Transfer-Encoding; Content-Length stands in it exactly when BodyBytes >= 0 and the
	// request has a body. It must stay unchanged until Exchange returns.
	Head []byte

	// BodyBytes is the length of the body: 0 for none, -1 when it is not known beforehand.
	BodyBytes int64
	// Body is nil when there is none. It is read once, and only after a channel was chosen, so its first Read is
	// the moment to send 100 Continue. With Upgrade it is read only after the server answered 101. Close must make
	// a blocked Read return: Exchange calls it when the exchange ends before the body does.
	Body io.ReadCloser
	// Trailers, when set, is called after Body ended and returns field lines to send behind it.
	Trailers func() []byte

	Upgrade    bool // the device asks to switch protocols
	Idempotent bool // a second delivery does no harm (RFC 9110 9.2.2)

	AnswerTimeout time.Duration // to the head of the answer, counted from the last body byte sent; zero means 120 s
}

// DeviceSide takes the answer to one request. Its methods are called in order from the goroutine that called
// Exchange; a slow one holds back this exchange alone. An error from any of them cancels the exchange.
type DeviceSide interface {
	// Informational passes on a 1xx head other than 100 and 101. At most 8 come.
	Informational(head []byte) error
	// Answer starts the answer: a complete HTTP/1.1 response head (101 included) without Transfer-Encoding, whose
	// Content-Length is the length of the body if that is known, and the first bytes of the body. last says that
	// these are all. The slices are valid during the call only.
	Answer(head, body []byte, last bool) error
	// Data passes on more of the body; p is valid during the call only, and empty only when last is set.
	Data(p []byte, last bool) error
	// Trailers ends the answer with field lines, in place of a last Data.
	Trailers(fields []byte) error
}

// A Handler serves the requests that arrive at the connection point. It runs on a goroutine of its own, and must end
// the exchange with a last Answer, Data or Trailers or with Refuse; one that returns without is refused for it. in and
// all that came from it belong to somebody else once Handle has returned.
type Handler interface {
	Handle(in *Inbound)
}

// An Interrupter is told that nobody waits for an answer any more: the device is gone or the session was lost.
// Interrupt comes on the goroutine that found out, so it must not wait for anything.
type Interrupter interface {
	Interrupt()
}

// Delivery says what became of a request that ends without an answer, as the request contract defines it.
type Delivery uint8

const (
	// NotDelivered: not one byte was handed to a connection towards a server. It goes to another channel set.
	NotDelivered Delivery = iota
	// Delivered: the server may have seen it, and no answer byte came. Idempotent requests without a body
	// are retried once.
	Delivered
	// Final: it is not to be tried again: policy refused it, or an answer came that cannot be used.
	Final
)
