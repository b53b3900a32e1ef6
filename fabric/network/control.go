package network

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/internal/handoff"
)

// The control socket carries one JSON object a message. The supervisor asks, the balancer answers in order.
//
//	{"id":1,"op":"add","slot":0,"instance":"…"} + the hand-over end    {"id":1,"channel":"127.0.0.1:10124"}
//	{"id":2,"op":"remove","slot":0,"instance":"…"}                    {"id":2,"error":"…","not_found":true}
//	{"id":3,"op":"status"}                                           {"id":3,"status":{…}}

// maxControlBytes bounds one message; a status of 16 instances is a tenth of it.
const maxControlBytes = 64 << 10

// controlTimeout is how long the supervisor waits for an answer when its context sets no limit.
const controlTimeout = 5 * time.Second

type controlRequest struct {
	ID       uint64              `json:"id"`
	Op       string              `json:"op"`
	Slot     causeway.Slot       `json:"slot"`
	Instance causeway.InstanceID `json:"instance,omitempty"`
}

type controlAnswer struct {
	ID       uint64  `json:"id"`
	Error    string  `json:"error,omitempty"`
	NotFound bool    `json:"not_found,omitempty"`
	Channel  string  `json:"channel,omitempty"`
	Status   *Status `json:"status,omitempty"`
}

// serveControl answers until ctx ends or the supervisor's end is closed. It takes f over.
func (b *Balancer) serveControl(ctx context.Context, f *os.File) error {
	socket, err := handoff.NewSocket(f)
	if err != nil {
		return fmt.Errorf("control: %w", err)
	}
	defer socket.Close()
	defer context.AfterFunc(ctx, func() { socket.Close() })()
	buf := make([]byte, maxControlBytes+1)
	for {
		n, passed, err := socket.Read(buf)
		switch {
		case errors.Is(err, handoff.ErrMalformed):
			b.log().Warn("malformed control message")
			continue
		case err != nil:
			return nil // the supervisor is gone, or we are to stop
		}
		answer := b.control(ctx, buf[:n], passed)
		if err := reply(socket, answer); err != nil {
			b.log().Warn("control answer is lost", "err", err)
		}
	}
}

// control carries out one request. It consumes the passed file.
func (b *Balancer) control(ctx context.Context, message []byte, passed *os.File) controlAnswer {
	var req controlRequest
	err := json.Unmarshal(message, &req)
	if passed != nil && (err != nil || req.Op != "add") {
		passed.Close()
	}
	answer := controlAnswer{ID: req.ID}
	switch {
	case err != nil:
	case req.Op == "add" && passed == nil:
		err = errors.New("add without a hand-over end")
	case req.Op == "add":
		addr, addErr := b.Add(ctx, req.Slot, req.Instance, passed)
		if err = addErr; err == nil {
			answer.Channel = addr.String()
		}
	case req.Op == "remove":
		err = b.Remove(req.Slot, req.Instance)
	case req.Op == "status":
		s := b.Status()
		answer.Status = &s
	default:
		err = fmt.Errorf("unknown operation %q", req.Op)
	}
	if err != nil {
		answer.Error, answer.NotFound = err.Error(), errors.Is(err, causeway.ErrNotFound)
	}
	return answer
}

func reply(socket *handoff.Socket, answer controlAnswer) error {
	message, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	return socket.Write(message, nil)
}

// A Control is the supervisor's end of one balancer's control socket. Its methods may be called from many goroutines;
// they ask one after the other.
type Control struct {
	socket *handoff.Socket

	mu   sync.Mutex // held for a question and its answer; guards the fields below
	last uint64
	buf  []byte
}

// NewControl takes f over, one end of a handoff.Pair whose other end the balancer inherits. It closes f in every case.
func NewControl(f *os.File) (*Control, error) {
	socket, err := handoff.NewSocket(f)
	if err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	return &Control{socket: socket, buf: make([]byte, maxControlBytes+1)}, nil
}

// Add gives the balancer an instance and returns the address of its channel port. end stays the caller's.
func (c *Control) Add(ctx context.Context, n causeway.Slot, id causeway.InstanceID, end *os.File) (channel string, err error) {
	answer, err := c.ask(ctx, controlRequest{Op: "add", Slot: n, Instance: id}, end)
	return answer.Channel, err
}

// Remove takes an instance away. It is causeway.ErrNotFound if the balancer does not have it in that slot.
func (c *Control) Remove(ctx context.Context, n causeway.Slot, id causeway.InstanceID) error {
	_, err := c.ask(ctx, controlRequest{Op: "remove", Slot: n, Instance: id}, nil)
	return err
}

// Status asks for a snapshot.
func (c *Control) Status(ctx context.Context) (Status, error) {
	answer, err := c.ask(ctx, controlRequest{Op: "status"}, nil)
	if err != nil || answer.Status == nil {
		return Status{}, err
	}
	return *answer.Status, nil
}

// Close tells the balancer to stop.
func (c *Control) Close() error { return c.socket.Close() }

func (c *Control) ask(ctx context.Context, req controlRequest, pass *os.File) (controlAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last++
	req.ID = c.last
	message, err := json.Marshal(req)
	if err != nil {
		return controlAnswer{}, err
	}
	if err := c.socket.Write(message, pass); err != nil {
		return controlAnswer{}, fmt.Errorf("balancer: %s: %w", req.Op, err)
	}
	answer, err := c.await(ctx, req.ID)
	if err != nil {
		return controlAnswer{}, fmt.Errorf("balancer: %s: %w", req.Op, err)
	}
	return answer, answer.err()
}

// await reads until the answer to id comes; an earlier one is of a question that nobody waits for any more.
func (c *Control) await(ctx context.Context, id uint64) (controlAnswer, error) {
	c.socket.SetReadDeadline(time.Time{})
	stop := context.AfterFunc(ctx, func() { c.socket.SetReadDeadline(time.Now()) })
	defer stop()
	for {
		n, passed, err := c.socket.Read(c.buf)
		if passed != nil {
			passed.Close() // the balancer has nothing to give
		}
		switch {
		case ctx.Err() != nil:
			return controlAnswer{}, ctx.Err()
		case errors.Is(err, handoff.ErrMalformed):
			continue
		case err != nil:
			return controlAnswer{}, handoff.ErrGone
		}
		var answer controlAnswer
		if json.Unmarshal(c.buf[:n], &answer) == nil && answer.ID == id {
			return answer, nil
		}
	}
}

func (a controlAnswer) err() error {
	switch {
	case a.Error == "":
		return nil
	case a.NotFound:
		return fmt.Errorf("balancer: %w", causeway.ErrNotFound)
	}
	return fmt.Errorf("balancer: %s", a.Error)
}
