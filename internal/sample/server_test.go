package sample

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T) *httptest.Server {
	t.Helper()
	srv := httptest.NewServer((&Server{Logger: slog.New(slog.DiscardHandler)}).Handler())
	t.Cleanup(srv.Close)
	return srv
}

func ask(t *testing.T, srv *httptest.Server, method, path, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, srv.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Causeway-Device-Id", "laptop-7")
	resp, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func TestEndpointsAnswerUnderBothNames(t *testing.T) {
	srv := start(t)
	sum := sha256.Sum256([]byte("an inventory"))
	for _, tt := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"GET", "/", "", 200, "hello laptop-7"},
		{"POST", "/checkin", "{}", 200, `"device":"laptop-7"`},
		{"CCM_POST", "/CCM_System/request", "<Msg/>", 200, `"next_checkin_seconds":900`},
		{"GET", "/policy", "", 200, `"version":1`},
		{"GET", "/SMS_MP/.sms_aut?SITESIGNCERT", "", 200, `"version":1`},
		{"PUT", "/inventory", "an inventory", 200, hex.EncodeToString(sum[:])},
		{"BITS_POST", "/CCM_Incoming/{1234}", "an inventory", 200, `"bytes":12`},
		{"GET", "/notifications?wait=1ms", "", 200, "[]"},
		{"GET", "/BGB?wait=1ms", "", 200, "[]"},
		{"GET", "/notifications?wait=16m", "", 400, "at most 15m"},
		{"GET", "/notifications?after=x", "", 400, "want a number"},
		{"POST", "/notifications", strings.Repeat("x", maxNoteBytes+1), 400, "too long"},
		{"GET", "/nothing", "", 404, ""},
	} {
		status, text := ask(t, srv, tt.method, tt.path, tt.body)
		if status != tt.status || !strings.Contains(text, tt.want) {
			t.Errorf("%s %s = %d %q, want %d with %q", tt.method, tt.path, status, text, tt.status, tt.want)
		}
	}
}

func TestLongPollAnswersWhenNewsArrives(t *testing.T) {
	srv := start(t)
	got := make(chan string, 1)
	go func() {
		_, text := ask(t, srv, "GET", "/notifications?wait=1m", "")
		got <- text
	}()
	ask(t, srv, "POST", "/notifications", "restart please")
	if text := <-got; !strings.Contains(text, "restart please") {
		t.Errorf("long-poll = %q, want the notification", text)
	}
}

func TestOldNewsIsForgotten(t *testing.T) {
	var n news
	for i := range maxNotes + 5 {
		n.add(fmt.Sprint(i))
	}
	notes, _ := n.after(0)
	if len(notes) != maxNotes || notes[0].Seq != 6 {
		t.Errorf("after(0) = %d notes from %d, want %d from 6", len(notes), notes[0].Seq, maxNotes)
	}
}

func TestEventsStream(t *testing.T) {
	srv := start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, "GET", srv.URL+"/events", nil)
	resp, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Scan()
	ask(t, srv, "POST", "/notifications", "news")
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "data: ") {
			if !strings.Contains(lines.Text(), `"text":"news"`) {
				t.Errorf("event = %q, want the notification", lines.Text())
			}
			return
		}
	}
	t.Error("the stream ended without the notification")
}

func TestSocketEchoes(t *testing.T) {
	srv := start(t)
	c, _, err := websocket.Dial(t.Context(), srv.URL+"/socket", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	if err := c.Write(t.Context(), websocket.MessageText, []byte("over and back")); err != nil {
		t.Fatal(err)
	}
	if _, got, err := c.Read(t.Context()); err != nil || string(got) != "over and back" {
		t.Errorf("echo = %q, %v", got, err)
	}
	c.Close(websocket.StatusNormalClosure, "")
}
