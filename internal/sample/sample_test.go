package sample

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ask sends one request to h as device, without a network.
func ask(h http.Handler, method, target, device, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if device != "" {
		r.Header.Set(deviceHeader, device)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestStatuses(t *testing.T) {
	for _, tt := range []struct {
		name, method, target, device, body string
		want                               int
	}{
		{"front page", "GET", "/", "pc-1", "", 200},
		{"front page for nobody", "GET", "/", "", "", 200},
		{"check-in", "POST", "/checkin", "pc-1", `{"os":"debian"}`, 200},
		{"check-in without identity", "POST", "/checkin", "", `{}`, 403},
		{"check-in that is not JSON", "POST", "/checkin", "pc-1", `os=debian`, 400},
		{"check-in with two values", "POST", "/checkin", "pc-1", `{} {}`, 400},
		{"check-in too large", "POST", "/checkin", "pc-1", `{"a":"` + strings.Repeat("x", maxCheckInBytes) + `"}`, 413},
		{"policy", "GET", "/policy", "pc-1", "", 200},
		{"inventory before an upload", "GET", "/inventory", "pc-1", "", 404},
		{"wait that is no number", "GET", "/notifications?wait=soon", "pc-1", "", 400},
		{"wait too long", "GET", "/notifications?wait=601", "pc-1", "", 400},
		{"nothing to tell", "GET", "/notifications", "pc-1", "", 204},
		{"note for a stranger", "POST", "/notify/pc-9", "pc-1", `{}`, 404},
		{"no such page", "GET", "/nothing", "pc-1", "", 404},
		{"wrong method", "DELETE", "/policy", "pc-1", "", 405},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := ask(Handler(), tt.method, tt.target, tt.device, tt.body).Code; got != tt.want {
				t.Errorf("%s %s = %d, want %d", tt.method, tt.target, got, tt.want)
			}
		})
	}
}

func TestFrontNamesTheDevice(t *testing.T) {
	if body := ask(Handler(), "GET", "/", "pc-1", "").Body.String(); !strings.Contains(body, "You are pc-1.") {
		t.Errorf("front page does not name the device:\n%s", body)
	}
}

func TestPolicyIsNotSentTwice(t *testing.T) {
	h := Handler()
	etag := ask(h, "GET", "/policy", "pc-1", "").Header().Get("ETag")
	for _, list := range []string{etag, "W/" + etag, `"x", ` + etag, "*"} {
		r := httptest.NewRequest("GET", "/policy", nil)
		r.Header.Set(deviceHeader, "pc-1")
		r.Header.Set("If-None-Match", list)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusNotModified || w.Body.Len() != 0 {
			t.Errorf("If-None-Match %s: %d with %d bytes, want 304 with none", list, w.Code, w.Body.Len())
		}
	}
}

func TestInventoryKeepsSizeAndHash(t *testing.T) {
	h := Handler()
	body := strings.Repeat("inventory", 10_000)
	sum := sha256.Sum256([]byte(body))
	for _, method := range []string{"POST", "PUT"} {
		if w := ask(h, method, "/inventory", "pc-1", body); w.Code != http.StatusCreated {
			t.Fatalf("%s /inventory = %d, want 201", method, w.Code)
		}
	}
	var rec receipt
	if err := json.Unmarshal(ask(h, "GET", "/inventory", "pc-1", "").Body.Bytes(), &rec); err != nil {
		t.Fatal(err)
	}
	if rec.Bytes != int64(len(body)) || rec.SHA256 != hex.EncodeToString(sum[:]) {
		t.Errorf("receipt %d %s, want %d %x", rec.Bytes, rec.SHA256, len(body), sum)
	}
}

// zeros is an endless body that costs no memory.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestInventoryOverTheLimitIsRefused(t *testing.T) {
	h := Handler()
	r := httptest.NewRequest("PUT", "/inventory", io.LimitReader(zeros{}, maxInventoryBytes+1))
	r.Header.Set(deviceHeader, "pc-1")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("64 MiB + 1 = %d, want 413", w.Code)
	}
	if got := ask(h, "GET", "/inventory", "pc-1", "").Code; got != http.StatusNotFound {
		t.Errorf("a refused upload left a receipt: %d", got)
	}
}

func TestLongPollIsWokenByANote(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := Handler()
		start := time.Now()
		answer := make(chan *httptest.ResponseRecorder)
		go func() { answer <- ask(h, "GET", "/notifications?wait=600", "pc-1", "") }()
		time.Sleep(time.Minute)
		if w := ask(h, "POST", "/notify/pc-1", "admin", `{"do":"check-in"}`); w.Code != http.StatusAccepted {
			t.Fatalf("notify = %d, want 202", w.Code)
		}
		w := <-answer
		if !strings.Contains(w.Body.String(), `{"do":"check-in"}`) || time.Since(start) != time.Minute {
			t.Errorf("after %v: %d %s", time.Since(start), w.Code, w.Body)
		}
	})
}

func TestLongPollEndsEmpty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		if w := ask(Handler(), "GET", "/notifications?wait=600", "pc-1", ""); w.Code != 204 || time.Since(start) != maxWait {
			t.Errorf("%d after %v, want 204 after %v", w.Code, time.Since(start), maxWait)
		}
	})
}

func TestMemoryIsBounded(t *testing.T) {
	s := newServer(time.Now)
	for i := range maxDevices {
		if _, err := s.device(fmt.Sprint(i)); err != nil {
			t.Fatalf("device %d: %v", i, err)
		}
	}
	if got := ask(s.routes(), "POST", "/checkin", "one-more", "{}").Code; got != http.StatusServiceUnavailable {
		t.Errorf("device over the limit = %d, want 503", got)
	}
	for i := range 2 * maxNotesPerDevice {
		if err := s.leave("7", json.RawMessage(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	notes := s.devices["7"].notes
	if len(notes) != maxNotesPerDevice || string(notes[0]) != fmt.Sprint(maxNotesPerDevice) {
		t.Errorf("%d notes from %s on, want the last %d", len(notes), notes[0], maxNotesPerDevice)
	}
	var b broadcaster
	for range maxSubscribers {
		if _, _, err := b.join(); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := b.join(); err == nil {
		t.Error("a listener over the limit was let in")
	}
	b.send("check-in", "7") // nobody reads: must not block
	for range 20 {
		b.send("check-in", "7")
	}
}

func TestEventsArriveAsTheyHappen(t *testing.T) {
	srv := httptest.NewServer(Handler())
	defer srv.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, "GET", srv.URL+"/events", nil)
	req.Header.Set(deviceHeader, "pc-1")
	resp, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	go ask(srv.Config.Handler, "POST", "/checkin", "pc-2", "{}")
	for sc := bufio.NewScanner(resp.Body); sc.Scan(); {
		if sc.Text() == "data: pc-2" {
			return
		}
	}
	t.Error("the stream ended without the event")
}

func TestEcho(t *testing.T) {
	srv := httptest.NewServer(Handler())
	defer srv.Close()
	c, _, err := websocket.Dial(t.Context(), srv.URL+"/echo", &websocket.DialOptions{HTTPHeader: http.Header{deviceHeader: {"pc-1"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	want := bytes.Repeat([]byte("causeway"), 1000)
	if err := c.Write(t.Context(), websocket.MessageBinary, want); err != nil {
		t.Fatal(err)
	}
	if _, got, err := c.Read(t.Context()); err != nil || !bytes.Equal(got, want) {
		t.Errorf("echo: %d bytes, %v; want %d", len(got), err, len(want))
	}
}

func TestManagementPointNames(t *testing.T) {
	h := Handler()
	for _, tt := range []struct {
		method, target, body string
		want                 int
	}{
		{"CCM_POST", "/ccm_system/request", "<Msg/>", 200},
		{"CCM_POST", "/CCM_System/request", "<Msg/>", 200},
		{"BITS_POST", "/CCM_Incoming/{42}/inventory.dat", "inventory", 201},
		{"GET", "/SMS_MP/.sms_aut?MPLIST", "", 200},
		{"GET", "/sms_mp/.sms_aut?MPLIST2&CM1", "", 200},
		{"GET", "/sms_mp/.sms_aut?nothing", "", 404},
		{"GET", "/bgb", "", 204},
	} {
		if got := ask(h, tt.method, tt.target, "pc-1", tt.body).Code; got != tt.want {
			t.Errorf("%s %s = %d, want %d", tt.method, tt.target, got, tt.want)
		}
	}
}
