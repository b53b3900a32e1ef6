package channel

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Every frame starts with eight bytes: stream (4), type and flags (1), payload length (3), all big endian.
const frameHeaderBytes = 8

const (
	// maxFrameBytes bounds the payload that one frame can make the other side hold: an answer head of
	// maxHeadBytes and a piece of body behind it.
	maxFrameBytes = 128 << 10
	// maxDataBytes is the most body that one frame carries, so that small frames wait for little.
	maxDataBytes = 32 << 10
	// maxHeadBytes bounds a request or answer head on the channel.
	maxHeadBytes = 64 << 10
	// maxDocumentBytes bounds a signed document put together from its frames.
	maxDocumentBytes = 4 << 20
	// maxHelloDocuments bounds how many documents may come before a hello.
	maxHelloDocuments = 4
)

// frameType is the low seven bits of a frame's fifth byte.
type frameType uint8

// The frames, in the order a session meets them. Stream 0 is the session itself.
//
//	connection point → gateway   document        piece of a signed document, flagFin on its last
//	connection point → gateway   hello           JSON Hello
//	gateway → connection point   welcome         JSON Welcome
//	gateway → connection point   refuse          code (2), in place of a welcome
//	gateway → connection point   applied         JSON: kind, generation, error of a document
//	both, any time               ping, pong      8 opaque bytes, echoed
//	both, any time               leave           kind (1): 0 announces, 1 acknowledges
//	gateway → connection point   principal       number (4), proof kind (1), length of source (1), source, evidence
//	gateway → connection point   principalClose  number (4)
//	gateway → connection point   open            see openHeader; head, first bytes of the body
//	gateway → connection point   data            body; also raw bytes after 101
//	connection point → gateway   inform          a 1xx head
//	connection point → gateway   answer          head length (4), head, first bytes of the body
//	connection point → gateway   data            body
//	both                         trailers        field lines; ends its direction
//	both                         window          bytes (4) the other side may send beyond what it may already
//	both                         reset           code (2), delivery (1); ends both directions
//	connection point → gateway   offer           number (4) of a bulk connection that the request's body may move to
//	both                         move            number (4) of the bulk connection on which this direction goes on
//
// A bulk connection carries, after its hello and welcome:
//
//	both                         data, trailers  of the stream that moved to it, at most maxBulkBytes each
//	both, any time               ping            empty, not answered
//	gateway → connection point   free            empty: the stream is done, the connection may serve another
//
// flagFin on open, data, answer and trailers ends the direction it travels in.
const (
	frameDocument       frameType = 1
	frameHello          frameType = 2
	frameWelcome        frameType = 3
	frameRefuse         frameType = 4
	frameApplied        frameType = 5
	framePing           frameType = 6
	framePong           frameType = 7
	frameLeave          frameType = 8
	framePrincipal      frameType = 9
	framePrincipalClose frameType = 10
	frameOpen           frameType = 16
	frameData           frameType = 17
	frameInform         frameType = 18
	frameAnswer         frameType = 19
	frameTrailers       frameType = 20
	frameWindow         frameType = 21
	frameReset          frameType = 22
	frameOffer          frameType = 23
	frameMove           frameType = 24
	frameFree           frameType = 25

	// frameOptional and above are skipped by who does not know them: the room for later versions.
	// An unknown frame below it is an error, because ignoring it would change what the stream means.
	frameOptional frameType = 0x40

	flagFin = 0x80
)

// errProtocol is what a peer gets its connection closed for.
var errProtocol = errors.New("protocol violation")

func violation(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errProtocol, fmt.Sprintf(format, args...))
}

type frameHeader struct {
	stream uint32
	typ    frameType
	fin    bool
	length int
}

func appendFrameHeader(dst []byte, h frameHeader) []byte {
	t := byte(h.typ)
	if h.fin {
		t |= flagFin
	}
	dst = binary.BigEndian.AppendUint32(dst, h.stream)
	return append(dst, t, byte(h.length>>16), byte(h.length>>8), byte(h.length))
}

// parseFrameHeader reads the eight bytes and refuses what no peer may send.
func parseFrameHeader(b *[frameHeaderBytes]byte) (frameHeader, error) {
	h := frameHeader{
		stream: binary.BigEndian.Uint32(b[:4]),
		typ:    frameType(b[4] &^ flagFin),
		fin:    b[4]&flagFin != 0,
		length: int(b[5])<<16 | int(b[6])<<8 | int(b[7]),
	}
	if h.length > maxFrameBytes {
		return h, violation("frame of %d bytes, type %d", h.length, h.typ)
	}
	return h, nil
}

// openHeader is the fixed part of an open frame.
//
//	request id (16) · principal (4) · attempt (1) · flags (1) · body bytes (8, two's complement) · head length (4)
type openHeader struct {
	id        [16]byte
	principal uint32
	attempt   uint8
	upgrade   bool
	bodyBytes int64
	headBytes int
}

const (
	openHeaderBytes = 16 + 4 + 1 + 1 + 8 + 4
	openFlagUpgrade = 1
)

func appendOpenHeader(dst []byte, o openHeader) []byte {
	var flags byte
	if o.upgrade {
		flags |= openFlagUpgrade
	}
	dst = append(dst, o.id[:]...)
	dst = binary.BigEndian.AppendUint32(dst, o.principal)
	dst = append(dst, o.attempt, flags)
	dst = binary.BigEndian.AppendUint64(dst, uint64(o.bodyBytes))
	return binary.BigEndian.AppendUint32(dst, uint32(o.headBytes))
}

func parseOpenHeader(p []byte) (o openHeader, rest []byte, err error) {
	if len(p) < openHeaderBytes {
		return o, nil, violation("open frame of %d bytes", len(p))
	}
	copy(o.id[:], p)
	o.principal = binary.BigEndian.Uint32(p[16:])
	o.attempt = p[20]
	o.upgrade = p[21]&openFlagUpgrade != 0
	o.bodyBytes = int64(binary.BigEndian.Uint64(p[22:]))
	n := binary.BigEndian.Uint32(p[30:])
	rest = p[openHeaderBytes:]
	switch {
	case n == 0 || n > maxHeadBytes || int(n) > len(rest):
		return o, nil, violation("open frame with a head of %d bytes in %d", n, len(rest))
	case o.bodyBytes < -1:
		return o, nil, violation("open frame with a body of %d bytes", o.bodyBytes)
	case o.attempt < 1 || o.attempt > 2:
		return o, nil, violation("attempt %d", o.attempt)
	}
	o.headBytes = int(n)
	return o, rest, nil
}

// splitAnswer divides an answer frame into head and body.
func splitAnswer(p []byte) (head, body []byte, err error) {
	if len(p) < 4 {
		return nil, nil, violation("answer frame of %d bytes", len(p))
	}
	n := binary.BigEndian.Uint32(p)
	if n == 0 || n > maxHeadBytes || int(n) > len(p)-4 {
		return nil, nil, violation("answer frame with a head of %d bytes in %d", n, len(p))
	}
	return p[4 : 4+n], p[4+n:], nil
}
