//go:build !race

package channel

import (
	"encoding/binary"
	"io"
	"log/slog"
	"testing"
	"time"
)

// TestSmallInboundRequestsAllocateNothing keeps garbage off the path of small requests at the connection point.
func TestSmallInboundRequestsAllocateNothing(t *testing.T) {
	near, far := tcpPair(t)
	s := &Session{link: newLink(near, slog.New(slog.DiscardHandler), newBudget(0), time.Hour, time.Hour), work: make(chan *Inbound),
		cfg: SessionConfig{MaxStreams: 10, MaxPrincipals: 10}, leaving: make(chan struct{}), acked: make(chan struct{}),
		principals: map[uint32]*InboundPrincipal{1: {}}}
	head, body := []byte(okHead), make([]byte, 1024)
	gone := make(told, 1)
	served := make(chan error, 1)
	go func() {
		served <- s.Serve(t.Context(), handlerFunc(func(in *Inbound) {
			in.OnGone(gone)
			if p, ok := in.Whole(); !ok || string(p) != "body" {
				t.Errorf("body %q, whole %v", p, ok)
			}
			in.OnGone(nil)
			_ = in.Answer(head, body, true)
		}))
	}()
	const request = "POST / HTTP/1.1\r\nHost: x\r\n\r\n"
	payload := append(append(appendOpenHeader(nil, openHeader{principal: 1, attempt: 1, bodyBytes: 4, headBytes: len(request)}), request...), "body"...)
	open := append(appendFrameHeader(nil, frameHeader{typ: frameOpen, fin: true, length: len(payload)}), payload...)
	answer := make([]byte, frameHeaderBytes+4+len(head)+len(body))
	ping := make([]byte, frameHeaderBytes+8)
	if _, err := io.ReadFull(far, ping); err != nil {
		t.Fatal(err)
	}
	id := uint32(0)
	got := testing.AllocsPerRun(1000, func() {
		id++
		binary.BigEndian.PutUint32(open, id)
		if _, err := far.Write(open); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(far, answer); err != nil {
			t.Fatal(err)
		}
	})
	if answer[4] != byte(frameAnswer)|flagFin || binary.BigEndian.Uint32(answer) != id {
		t.Errorf("answered with % x", answer[:frameHeaderBytes])
	}
	if got > 0 { // AllocsPerRun rounds down: what happens now and then is not counted
		t.Errorf("%v allocations for each small request, want none", got)
	}
	far.Close()
	<-served
}
