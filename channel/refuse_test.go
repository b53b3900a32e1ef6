package channel

import (
	"io"
	"testing"

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
