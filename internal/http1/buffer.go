package http1

import "sync"

// Buffers come in three sizes: most heads fit the first, every request head the second, every answer head the third.
var bufferSizes = [...]int{4 << 10, DefaultMaxHeadBytes + 4<<10, DefaultMaxAnswerHeadBytes + 4<<10}

var bufferPools = [len(bufferSizes)]sync.Pool{}

// takeBuffer returns a buffer of at least n bytes.
func takeBuffer(n int) *[]byte {
	for i, size := range bufferSizes {
		if n <= size {
			if b, ok := bufferPools[i].Get().(*[]byte); ok {
				return b
			}
			b := make([]byte, size)
			return &b
		}
	}
	b := make([]byte, n) // limits above the defaults
	return &b
}

// giveBuffer takes back what takeBuffer lent.
func giveBuffer(b *[]byte) {
	for i, size := range bufferSizes {
		if len(*b) == size {
			bufferPools[i].Put(b)
			return
		}
	}
}
