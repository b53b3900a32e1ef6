package sample

import (
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// tick is how often an event stream says the time, so that a watcher sees bytes arrive one by one.
const tick = time.Second

// stream sends server-sent events until the device leaves.
func (s *server) stream(w http.ResponseWriter, r *http.Request) {
	if _, _, ok := s.deviceOf(w, r); !ok {
		return
	}
	events, leave, err := s.events.join()
	if err != nil {
		fail(w, http.StatusServiceUnavailable, err)
		return
	}
	defer leave()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	flush := http.NewResponseController(w).Flush
	every := time.NewTicker(tick)
	defer every.Stop()
	for {
		if err := flush(); err != nil {
			return
		}
		select {
		case e := <-events:
			fmt.Fprintf(w, "event: %s\ndata: %s\n\n", e.kind, e.data)
		case now := <-every.C:
			fmt.Fprintf(w, "event: time\ndata: %s\n\n", now.UTC().Format(time.RFC3339))
		case <-r.Context().Done():
			return
		}
	}
}

// echo sends every WebSocket message back. It asks for no Origin: it does nothing in anybody's name.
func (s *server) echo(w http.ResponseWriter, r *http.Request) {
	if _, _, ok := s.deviceOf(w, r); !ok {
		return
	}
	c, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return // Accept has answered
	}
	defer c.CloseNow()
	for {
		kind, p, err := c.Read(r.Context())
		if err != nil {
			return
		}
		if err := c.Write(r.Context(), kind, p); err != nil {
			return
		}
	}
}

// event is one thing that happened, in one line.
type event struct{ kind, data string }

// broadcaster gives each event to all who listen; one who does not keep up misses some.
type broadcaster struct {
	mu   sync.Mutex
	subs map[chan event]struct{}
}

func (b *broadcaster) join() (<-chan event, func(), error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.subs) >= maxSubscribers {
		return nil, nil, errors.New("too many listeners")
	}
	if b.subs == nil {
		b.subs = make(map[chan event]struct{})
	}
	c := make(chan event, 16)
	b.subs[c] = struct{}{}
	return c, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.subs, c)
	}, nil
}

func (b *broadcaster) send(kind, data string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.subs {
		select {
		case c <- event{kind, data}:
		default:
		}
	}
}
