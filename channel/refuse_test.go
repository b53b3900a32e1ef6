package channel

import (
	"io"
	"testing"
	"time"

	"github.com/causeway-gateway/causeway"
)

// TestRefusalEndsTheBody has a handler refuse a request while another goroutine of it waits for a body that stands still, as
// when the server ends its connection during an upload. Nothing more comes for a stream that was reset, and nobody says so.
func TestRefusalEndsTheBody(t *testing.T) {
	b := newBed(t, PoolConfig{})
	p := b.join("cp", func(in *Inbound) {
		body := in.Body()
		reading, read := make(chan struct{}), make(chan error, 1)
		go func() {
			_, err := io.ReadFull(body, make([]byte, 1))
			close(reading)
			if err == nil {
				_, err = io.ReadFull(body, make([]byte, 1))
			}
			read <- err
		}()
		<-reading
		in.Refuse(causeway.CodeConnectorServerReset, Delivered)
		if err := <-read; err == nil {
			t.Error("a body went on behind a refusal")
		}
	}, SessionConfig{})
	pr, pw := io.Pipe()
	defer pw.Close()
	go func() { _, _ = pw.Write([]byte("x")) }()
	if got := codeOf(t, b.pool.Exchange(t.Context(), post(pr, -1), &recorder{})); got != causeway.CodeConnectorServerReset {
		t.Errorf("code %v", got)
	}
	waitFor(t, "no stream is left", func() bool { return p.session.Status().Streams == 0 })
}

// TestEndEndsWhatWaitsForTheGateway has another goroutine end an exchange whose handler waits for more of a body, or to send
// more of an answer, and then say why.
func TestEndEndsWhatWaitsForTheGateway(t *testing.T) {
	for name, wait := range map[string]func(in *Inbound) error{
		"body": func(in *Inbound) error {
			_, err := io.ReadFull(in.Body(), make([]byte, 100))
			return err
		},
		"answer": func(in *Inbound) error {
			err := in.Answer([]byte(okHead), nil, false)
			for err == nil {
				err = in.Data(make([]byte, 10_000), false)
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, PoolConfig{})
			interrupted := make(told, 1)
			p := b.join("cp", func(in *Inbound) {
				in.OnGone(interrupted)
				ended := make(chan struct{})
				time.AfterFunc(50*time.Millisecond, func() {
					in.End()
					close(ended)
				})
				if wait(in) == nil || !in.Gone() {
					t.Error("the exchange went on")
				}
				<-ended
				in.Refuse(causeway.CodeConnectorRequestTimeout, Final)
			}, SessionConfig{})
			pr, pw := io.Pipe()
			defer pw.Close()
			go func() { _, _ = pw.Write([]byte("x")) }()
			slow := &stuck{let: make(chan struct{})}
			done := make(chan error, 1)
			go func() { done <- b.pool.Exchange(t.Context(), post(pr, -1), slow) }()
			waitFor(t, "an end", func() bool { return len(interrupted) == 1 })
			waitFor(t, "no stream is left", func() bool { return p.session.Status().Streams == 0 })
			close(slow.let)
			_ = pw.Close() // the exchange waits for who reads the body
			if err := <-done; codeOf(t, err) != causeway.CodeConnectorRequestTimeout {
				t.Errorf("the gateway heard %v", err)
			}
		})
	}
}
