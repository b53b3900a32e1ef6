package connpoint

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/causeway-gateway/causeway/channel"
)

// Ports towards servers are used by how much goes on at a time, and not by how many devices ask or how often: a thousand
// devices behind one connection point must not use its ports up.
func TestManyRequestsOfManyDevicesTakeFewConnections(t *testing.T) {
	const requests, devices, atATime = 2000, 40, 16
	var mu sync.Mutex
	ports := make(map[string]bool)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") }))
	srv.Config.ConnState = func(c net.Conn, s http.ConnState) {
		if s == http.StateNew {
			mu.Lock()
			ports[c.RemoteAddr().String()] = true
			mu.Unlock()
		}
	}
	srv.Start()
	t.Cleanup(srv.Close)
	b := newBench(t, srv.URL, nil)
	var who [devices]*channel.InboundPrincipal
	for i := range who {
		who[i] = b.ca.evidence(t, fmt.Sprint("pc-", i))
	}
	var work sync.WaitGroup
	for k := range atATime {
		work.Go(func() {
			for n := range requests / atATime {
				in := b.request("GET", "/app/x")
				in.who = who[(k+n)%devices]
				b.serve(in)
				in.wantAnswer(t, 200, "ok")
			}
		})
	}
	work.Wait()
	mu.Lock()
	defer mu.Unlock()
	if len(ports) > atATime {
		t.Errorf("%d requests of %d devices took %d connections, want at most the %d that go on at a time", requests, devices, len(ports), atATime)
	}
	t.Logf("%d requests took %d connections", requests, len(ports))
}
