package connpoint

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"

	"github.com/causeway-gateway/causeway"
)

// appendTrace appends the W3C trace context: the incoming one with us as parent if it is valid, else one whose trace
// is the request's own id. tracestate goes along only with the traceparent it belongs to.
func appendTrace(dst []byte, parents int, parent, state []byte, id causeway.RequestID) []byte {
	var span [8]byte
	binary.BigEndian.PutUint64(span[:], rand.Uint64()|1) // an all-zero span is invalid
	dst = append(dst, "Traceparent: 00-"...)
	valid := parents == 1 && validTraceparent(parent)
	if valid {
		dst = append(dst, parent[3:35]...)
	} else {
		dst = hex.AppendEncode(dst, id[:])
	}
	dst = append(dst, '-')
	dst = hex.AppendEncode(dst, span[:])
	dst = append(dst, '-')
	if !valid {
		return append(dst, "00\r\n"...)
	}
	dst = append(dst, parent[53:55]...)
	dst = append(dst, "\r\n"...)
	if len(state) > 0 && len(state) <= maxTracestateBytes {
		dst = append(dst, "Tracestate: "...)
		dst = append(dst, state...)
		dst = append(dst, "\r\n"...)
	}
	return dst
}

// maxTracestateBytes is what the standard obliges us to pass on; more may be dropped as a whole.
const maxTracestateBytes = 512

// validTraceparent knows version 00: 00-<32 hex>-<16 hex>-<2 hex>, lower case, neither id all zero.
func validTraceparent(p []byte) bool {
	if len(p) != 55 || string(p[:3]) != "00-" || p[35] != '-' || p[52] != '-' {
		return false
	}
	return lowerHex(p[3:35], true) && lowerHex(p[36:52], true) && lowerHex(p[53:55], false)
}

func lowerHex(p []byte, nonZero bool) bool {
	zero := true
	for _, c := range p {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
		zero = zero && c == '0'
	}
	return !nonZero || !zero
}
