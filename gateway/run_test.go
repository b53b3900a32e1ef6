package gateway

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/causeway-gateway/causeway/channel"
)

func testLogger(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

func TestNewNamesTheMissingField(t *testing.T) {
	in := prepare(t)
	good := Config{Devices: in.devices, Channels: in.channels, Certificates: in.certificates, Documents: in.documents, Site: testSite,
		Gateway: testGateway, Instance: testInstance}
	for name, change := range map[string]func(*Config){
		"Devices": func(c *Config) { c.Devices = nil }, "Channels": func(c *Config) { c.Channels = nil }, "Certificates": func(c *Config) { c.Certificates = nil },
		"Documents": func(c *Config) { c.Documents = nil }, "Site": func(c *Config) { c.Site = "" }, "Gateway": func(c *Config) { c.Gateway = "" },
		"Instance": func(c *Config) { c.Instance = "" }, "Slot": func(c *Config) { c.Slot = 16 }, "MaxStreams": func(c *Config) { c.Limits.MaxStreams = -1 },
		"Drain": func(c *Config) { c.Timeouts.Drain = -1 },
	} {
		c := good
		change(&c)
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: %v", name, err)
		}
	}
}

func TestStopFinishesWhatIsUnderWay(t *testing.T) {
	in := run(t, func(c *Config) { c.Timeouts.Farewell = 4 * time.Second })
	hold, held := make(chan struct{}), make(chan struct{}, 3)
	in.backend.serve(func(ctx context.Context, r *seenRequest, d channel.DeviceSide) error {
		held <- struct{}{}
		<-hold
		return answerOK(ctx, r, d)
	})
	busy, idle, late := in.dial("pc-1"), in.dial("pc-2"), in.dial("pc-4")
	h2 := in.dialHTTP2(t, in.deviceCA.issue("pc-3"))
	busy.send(get("/app/"))
	stream := h2.open(true, h2request("GET", testName, "/app/")...)
	<-held
	<-held
	in.stop()
	waitFor(t, in.draining.Load)
	late.send(get("/app/")) // on its way when the device could not know yet
	<-held
	if in.parting.Load() {
		t.Error("idle connections end at once")
	}
	if _, err := idle.br.ReadByte(); err != io.EOF { // which TLS says after close_notify alone
		t.Errorf("idle connection: %v, want a farewell", err)
	}
	waitFor(t, func() bool {
		c, err := net.Dial("tcp", in.devices.Addr().String())
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	if in.healthy() {
		t.Error("health says 200 while stopping")
	}
	close(hold)
	r := busy.receive("GET")
	r.wants(t, 200, 0)
	if !r.Close {
		t.Error("answer does not say that the connection ends")
	}
	late.receive("GET").wants(t, 200, 0)
	if r := h2.receive(stream); r.status != "200" || r.reset {
		t.Errorf("HTTP/2: %+v", r)
	}
	if err := <-in.done; err != nil {
		t.Errorf("Run: %v", err)
	}
	in.done <- nil
}

func TestStopCutsWhatTakesTooLong(t *testing.T) {
	in := run(t, func(c *Config) { c.Timeouts.Drain = 100 * time.Millisecond })
	ended := make(chan struct{}, 2)
	held := make(chan struct{}, 2)
	in.backend.serve(func(ctx context.Context, r *seenRequest, d channel.DeviceSide) error {
		held <- struct{}{}
		<-ctx.Done()
		ended <- struct{}{}
		return ctx.Err()
	})
	d, h2 := in.dial("pc-1"), in.dialHTTP2(t, in.deviceCA.issue("pc-3"))
	d.send(get("/app/"))
	stream := h2.open(true, h2request("GET", testName, "/app/")...)
	<-held
	<-held
	in.stop()
	<-ended
	<-ended
	if err := <-in.done; err != nil {
		t.Errorf("Run: %v", err)
	}
	in.done <- nil
	if !d.closed() || !h2.receive(stream).reset {
		t.Error("connections stay open")
	}
}

func TestLostListenerEndsRun(t *testing.T) {
	in := prepare(t)
	in.apply(nil)
	in.devices.Close()
	err := in.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "devices listener") {
		t.Errorf("Run: %v", err)
	}
}

func TestHealthPortAnswersOnePath(t *testing.T) {
	ln := listen(t)
	in := run(t, func(c *Config) { c.Health = ln })
	status := func(method, path string) int {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+ln.Addr().String()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		tr := &http.Transport{DisableKeepAlives: true}
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	for _, tt := range []struct {
		method, path string
		want         int
	}{{"GET", "/health", 200}, {"GET", "/", 404}, {"GET", "/metrics", 404}, {"GET", "/status", 404}, {"POST", "/health", 405}, {"GET", "/app/", 404}} {
		if got := status(tt.method, tt.path); got != tt.want {
			t.Errorf("%s %s: %d, want %d", tt.method, tt.path, got, tt.want)
		}
	}
	in.wasReady.Store(false)
	in.backend.mu.Lock()
	in.backend.notReady = true
	in.backend.mu.Unlock()
	if got := status("GET", "/health"); got != 503 {
		t.Errorf("without a channel: %d", got)
	}
}

func TestAdminSurface(t *testing.T) {
	in := run(t)
	in.dial("pc-1").ask(get("/app/")).wants(t, 200, 0)
	in.dialTLS(in.clientTLS()).ask(get("/app/"))
	waitFor(t, func() bool { return in.inFlight.Load() == 0 })
	ask := func(method, path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		in.AdminHandler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, path, nil))
		return w
	}
	for _, path := range []string{"/livez", "/readyz"} {
		if w := ask("GET", path); w.Code != 200 {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	if w := ask("POST", "/status"); w.Code != 405 {
		t.Errorf("POST /status: %d", w.Code)
	}
	var st Status
	if err := json.Unmarshal(ask("GET", "/status").Body.Bytes(), &st); err != nil || st.State != "ready" || st.Instance != testInstance || st.Configuration.Generation != 1 || len(st.Endpoints) != 5 {
		t.Errorf("status %+v, err %v", st, err)
	}
	metrics := ask("GET", "/metrics").Body.String()
	for _, want := range []string{
		`causeway_gateway_requests_total{class="2xx"} 1`, `causeway_gateway_requests_total{class="4xx"} 1`,
		`causeway_gateway_refusals_total{code="CMGService_ClientCertificateRequired"} 1`, "causeway_gateway_document_generation 1",
		"causeway_gateway_request_duration_seconds_count 1", `causeway_gateway_server_requests_total{path="/",server="app"} 1`,
		`causeway_gateway_server_body_bytes_total{direction="answer",path="/",server="app"}`, "causeway_gateway_channel_memory_used_bytes 4096",
		`causeway_gateway_tls_handshakes_total{result="ok"} 2`, "causeway_gateway_requests_in_flight 0",
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("metrics lack %q", want)
		}
	}
	in.backend.mu.Lock()
	in.backend.notReady = true
	in.backend.mu.Unlock()
	if w := ask("GET", "/readyz"); w.Code != 503 {
		t.Errorf("/readyz without a channel: %d", w.Code)
	}
}

func TestSummaryLinesHaveTheKnownForm(t *testing.T) {
	in := run(t)
	d := in.dial("pc-1")
	d.ask("POST /app/x HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 4\r\n\r\nbody").wants(t, 200, 0)
	d.ask(get("/app/y")).wants(t, 200, 0)
	waitFor(t, func() bool { return in.inFlight.Load() == 0 })
	in.traffic.summarise(t.Context(), in.log)
	in.traffic.summarise(t.Context(), in.log)
	const want = `RequestUri: https://gateway.test/app/ RequestCount: 2 RequestSize: 4 Bytes ResponseCount: 2 ResponseSize: 16 Bytes AverageElapsedTime: `
	if got := strings.Count(in.logs.String(), want); got != 1 {
		t.Errorf("%d such lines in %q", got, in.logs.String())
	}
}

func TestAccessLogIsSampled(t *testing.T) {
	in := run(t, func(c *Config) { c.AccessLogEvery = 3 })
	d := in.dial("pc-1")
	for range 9 {
		d.ask(get("/app/x?secret")).wants(t, 200, 0)
	}
	waitFor(t, func() bool { return strings.Count(in.logs.String(), "msg=request ") == 3 })
	if strings.Contains(in.logs.String(), "secret") {
		t.Error("log holds a query")
	}
}
