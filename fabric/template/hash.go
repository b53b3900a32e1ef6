package template

import (
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"math/bits"
	"strings"
)

// hash64 is the hash below uniqueString and templateHash: MurmurHash3 as Azure has it, with two lanes of 32 bits. It is
// published with Azure.Deployments.Expression (MIT).
func hash64(data []byte) uint64 {
	const c1, c2 = 0x239b961b, 0xab0e9789
	var h1, h2 uint32
	n := uint32(len(data))
	for ; len(data) >= 8; data = data[8:] {
		h1 ^= bits.RotateLeft32(binary.LittleEndian.Uint32(data)*c1, 15) * c2
		h1 = (bits.RotateLeft32(h1, 19)+h2)*5 + 0x561ccd1b
		h2 ^= bits.RotateLeft32(binary.LittleEndian.Uint32(data[4:])*c2, 17) * c1
		h2 = (bits.RotateLeft32(h2, 13)+h1)*5 + 0x0bcaa747
	}
	if len(data) > 0 {
		var rest [8]byte
		copy(rest[:], data)
		h1 ^= bits.RotateLeft32(binary.LittleEndian.Uint32(rest[:])*c1, 15) * c2
		if len(data) > 4 {
			h2 ^= bits.RotateLeft32(binary.LittleEndian.Uint32(rest[4:])*c2, 17) * c1
		}
	}
	h1 ^= n
	h2 ^= n
	h1 += h2
	h2 += h1
	h1, h2 = mix32(h1), mix32(h2)
	h1 += h2
	h2 += h1
	return uint64(h2)<<32 | uint64(h1)
}

func mix32(h uint32) uint32 {
	h ^= h >> 16
	h *= 0x85ebca6b
	h ^= h >> 13
	h *= 0xc2b2ae35
	return h ^ h>>16
}

// uniqueString returns 13 characters that stand for the texts: five bits each, from the top.
func uniqueString(texts []string) string {
	const alphabet = "abcdefghijklmnopqrstuvwxyz234567"
	h := hash64([]byte(strings.Join(texts, "-")))
	var out [13]byte
	for i := range out {
		out[i] = alphabet[h>>59]
		h <<= 5
	}
	return string(out[:])
}

// guidNamespace is the namespace of guid(), which makes UUIDs of version 5 (RFC 9562).
var guidNamespace = [16]byte{0x11, 0xfb, 0x06, 0xfb, 0x71, 0x2d, 0x4d, 0xdd, 0x98, 0xc7, 0xe7, 0x1b, 0xbd, 0x58, 0x88, 0x30}

// nameGUID returns the GUID that stands for the texts.
func nameGUID(texts []string) string {
	h := sha1.New()
	h.Write(guidNamespace[:])
	h.Write([]byte(strings.Join(texts, "-")))
	u := h.Sum(nil)[:16]
	u[6] = u[6]&0x0f | 5<<4
	u[8] = u[8]&0x3f | 0x80
	return formatGUID(u)
}

func formatGUID(u []byte) string {
	x := hex.EncodeToString(u)
	return x[:8] + "-" + x[8:12] + "-" + x[12:16] + "-" + x[16:20] + "-" + x[20:]
}
