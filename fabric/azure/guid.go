package azure

import (
	"crypto/rand"
	"encoding/hex"
	"regexp"
)

// NewGUID returns a random GUID (RFC 9562, 5.4), as Azure writes them.
func NewGUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return GUID(b)
}

// GUID writes bytes as a GUID that looks like a random one.
func GUID(b [16]byte) string {
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	x := hex.EncodeToString(b[:])
	return x[:8] + "-" + x[8:12] + "-" + x[12:16] + "-" + x[16:20] + "-" + x[20:]
}

var guidForm = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// IsGUID reports whether a text is a GUID, in any case.
func IsGUID(text string) bool { return guidForm.MatchString(text) }
