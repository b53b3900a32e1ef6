package connpoint

import (
	"bytes"
	"testing"

	"github.com/causeway-gateway/causeway/channel"
	"github.com/causeway-gateway/causeway/signed"
)

// BenchmarkTransports carries bodies both ways at once; what differs is the way between the two ends.
func BenchmarkTransports(b *testing.B) {
	for _, transport := range channel.Transports {
		for _, size := range []int{0, 8 << 20} {
			name := string(transport) + "/small"
			if size > 0 {
				name = string(transport) + "/large"
			}
			b.Run(name, func(b *testing.B) {
				s := newSite(b, echoServer(b).URL)
				i := s.newInstance(0, "i-1", s.ca, testService)
				g := s.gateway("gw", i)
				g.ServicePort = s.newFront(i, s.ca, false).port()
				s.doc.Gateways = []signed.Gateway{g}
				s.publish()
				a := s.agent()
				a.Logger, a.Transports = quietLogger(), []channel.Transport{transport}
				run(b, a)
				await(b, "two connections", func() bool { return i.connections() == 2 })
				body := bytes.Repeat([]byte{'x'}, size)
				b.SetBytes(int64(size))
				for b.Loop() {
					if d, err := s.exchange(i, "POST", "/app/echo", body, true); err != nil || d.body.Len() != size {
						b.Fatalf("%d bytes came back: %v", d.body.Len(), err)
					}
				}
			})
		}
	}
}
