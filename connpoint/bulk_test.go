package connpoint

import (
	"bytes"
	"strings"
	"testing"

	"github.com/causeway-gateway/causeway/channel"
	"github.com/causeway-gateway/causeway/signed"
)

// Large bodies move to connections of their own, which come by the same transport as the channel.
func TestLargeBodiesMoveToBulkConnections(t *testing.T) {
	for _, transport := range channel.Transports {
		t.Run(string(transport), func(t *testing.T) {
			s := newSite(t, echoServer(t).URL)
			i := s.newInstance(0, "i-1", s.ca, testService)
			g := s.gateway("gw", i)
			g.ServicePort = s.newFront(i, s.ca, false).port()
			s.doc.Gateways = []signed.Gateway{g}
			s.publish()
			a := s.agent()
			a.Transports, a.MaxInFlight = []channel.Transport{transport}, 7
			run(t, a)
			await(t, "two connections", func() bool { return i.connections() == 2 })
			body := bytes.Repeat([]byte("0123456789abcdef"), 256<<10) // 4 MiB
			await(t, "a body that moves", func() bool {
				d, err := s.exchange(i, "POST", "/app/echo", body, true)
				if err != nil || !bytes.Equal(d.body.Bytes(), body) {
					t.Fatalf("%d of %d bytes came back: %v", d.body.Len(), len(body), err)
				}
				return a.Status().Channels[0].Bulk.Moved > 0
			})
			i.mu.Lock()
			defer i.mu.Unlock()
			bulk := 0
			for _, h := range i.hellos {
				if h.MaxInFlight != 7 {
					t.Errorf("a hello says %d requests at a time, want 7", h.MaxInFlight)
				}
				if h.Plane == channel.PlaneBulk {
					bulk++
				}
			}
			if bulk == 0 {
				t.Error("no bulk connection came")
			}
			if st := a.Status().Channels[0]; st.Requests == 0 || st.BytesIn == 0 || strings.Contains(st.State, "Dis") {
				t.Errorf("status says %+v", st)
			}
		})
	}
}
