package identity

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Evidence of a certificate proof, as it crosses the channel:
//
//	count        1 byte, 1 to MaxChainCertificates
//	count times  length  2 bytes, big endian, at least 1
//	             DER     length bytes
//
// There is one encoding per chain: what DecodeEvidence accepts, EncodeEvidence writes again byte for byte.

// ErrEvidence says that bytes are not the evidence of a certificate proof.
var ErrEvidence = errors.New("bad evidence")

// EncodeEvidence writes a chain, leaf first. A chain beyond the limits of this package, which no Verifier
// admits either, gives nil.
func EncodeEvidence(chainDER [][]byte) []byte {
	if !withinLimits(chainDER) {
		return nil
	}
	b := make([]byte, 0, evidenceBytes(chainDER))
	b = append(b, byte(len(chainDER)))
	for _, der := range chainDER {
		b = binary.BigEndian.AppendUint16(b, uint16(len(der)))
		b = append(b, der...)
	}
	return b
}

// DecodeEvidence reads what EncodeEvidence wrote. The result shares b's memory.
func DecodeEvidence(b []byte) ([][]byte, error) {
	if len(b) > MaxEvidenceBytes {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrEvidence, len(b), MaxEvidenceBytes)
	}
	if len(b) == 0 || b[0] == 0 || b[0] > MaxChainCertificates {
		return nil, fmt.Errorf("%w: no certificate count of 1 to %d", ErrEvidence, MaxChainCertificates)
	}
	chain := make([][]byte, 0, b[0])
	rest := b[1:]
	for i := range cap(chain) {
		if len(rest) < 2 {
			return nil, fmt.Errorf("%w: certificate %d of %d is missing", ErrEvidence, i+1, cap(chain))
		}
		n := int(binary.BigEndian.Uint16(rest))
		rest = rest[2:]
		if n == 0 || n > len(rest) {
			return nil, fmt.Errorf("%w: certificate %d has length %d where %d bytes are left", ErrEvidence, i+1, n, len(rest))
		}
		chain = append(chain, rest[:n:n])
		rest = rest[n:]
	}
	if len(rest) != 0 {
		return nil, fmt.Errorf("%w: %d bytes behind the last certificate", ErrEvidence, len(rest))
	}
	return chain, nil
}

func evidenceBytes(chainDER [][]byte) int {
	n := 1
	for _, der := range chainDER {
		n += 2 + len(der)
	}
	return n
}

// withinLimits says whether a chain has evidence at all. With MaxEvidenceBytes at 64 KiB every length fits its
// two bytes.
func withinLimits(chainDER [][]byte) bool {
	if len(chainDER) == 0 || len(chainDER) > MaxChainCertificates || evidenceBytes(chainDER) > MaxEvidenceBytes {
		return false
	}
	for _, der := range chainDER {
		if len(der) == 0 {
			return false
		}
	}
	return true
}
