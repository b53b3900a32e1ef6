package sample

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"
)

const (
	// maxNotes bounds what posted notifications can make the server hold; older ones are forgotten.
	maxNotes = 100
	// maxNoteBytes bounds one of them.
	maxNoteBytes = 4 << 10
	// defaultWait and maxWait bound a long-poll. Devices of the product wait up to 15 minutes.
	defaultWait = 10 * time.Minute
	maxWait     = 15 * time.Minute
	// beat keeps event streams alive through middle boxes that forget silent connections.
	beat = 15 * time.Second
)

type note struct {
	Seq  int       `json:"seq"`
	Time time.Time `json:"time"`
	Text string    `json:"text"`
}

// news are the newest notifications, with a channel that is closed when another one comes.
type news struct {
	mu    sync.Mutex // guards the fields below
	notes []note
	last  int
	fresh chan struct{}
}

func (n *news) add(text string) note {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.last++
	added := note{n.last, time.Now().UTC(), text}
	n.notes = append(n.notes, added)
	if len(n.notes) > maxNotes {
		n.notes = append([]note(nil), n.notes[1:]...)
	}
	if n.fresh != nil {
		close(n.fresh)
		n.fresh = nil
	}
	return added
}

// after returns what came after seq, and a channel that tells when there is more.
func (n *news) after(seq int) ([]note, <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.fresh == nil {
		n.fresh = make(chan struct{})
	}
	for i, note := range n.notes {
		if note.Seq > seq {
			return append([]note(nil), n.notes[i:]...), n.fresh
		}
	}
	return []note{}, n.fresh
}

func (s *Server) notify(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxNoteBytes))
	if err != nil {
		http.Error(w, "the notification is too long or was cut short", http.StatusBadRequest)
		return
	}
	answer(w, s.news.add(string(text)))
}

// notifications is a long-poll: it answers when there is news after ?after, or with an empty list after ?wait.
func (s *Server) notifications(w http.ResponseWriter, r *http.Request) {
	after, wait, err := pollArguments(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	over := time.NewTimer(wait)
	defer over.Stop()
	for {
		notes, fresh := s.news.after(after)
		if len(notes) > 0 {
			answer(w, notes)
			return
		}
		select {
		case <-fresh:
		case <-over.C:
			answer(w, notes)
			return
		case <-r.Context().Done():
			return
		}
	}
}

func pollArguments(r *http.Request) (after int, wait time.Duration, err error) {
	wait = defaultWait
	q := r.URL.Query()
	if s := q.Get("after"); s != "" {
		if after, err = strconv.Atoi(s); err != nil {
			return 0, 0, fmt.Errorf("after: want a number")
		}
	}
	if s := q.Get("wait"); s != "" {
		if wait, err = time.ParseDuration(s); err != nil || wait < 0 || wait > maxWait {
			return 0, 0, fmt.Errorf("wait: want a duration such as 30s, at most %v", maxWait)
		}
	}
	return after, wait, nil
}

// events streams the news as server-sent events, with a comment now and then while there is none.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	rc := http.NewResponseController(w)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	after, _ := strconv.Atoi(r.Header.Get("Last-Event-Id"))
	io.WriteString(w, ": welcome\n\n")
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for {
		notes, fresh := s.news.after(after)
		for _, n := range notes {
			data, _ := json.Marshal(n)
			fmt.Fprintf(w, "id: %d\ndata: %s\n\n", n.Seq, data)
			after = n.Seq
		}
		if rc.Flush() != nil {
			return
		}
		select {
		case <-fresh:
		case <-tick.C:
			io.WriteString(w, ": still here\n\n")
		case <-r.Context().Done():
			return
		}
	}
}
