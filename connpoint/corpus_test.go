package connpoint

import (
	"io"
	"net"
	"strings"
	"testing"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/channel"
	"github.com/causeway-gateway/causeway/internal/http1/http1test"
)

// The server keeps the connection open behind its bytes: the head itself must tell, not the end that follows it.
func TestNoAnswerOfTheCorpusReachesTheDevice(t *testing.T) {
	for _, tt := range http1test.BadAnswers() {
		t.Run(tt.Name, func(t *testing.T) {
			srv := newRawServer(t, func(s *rawServer, _ int, c net.Conn) {
				s.readHead(c)
				io.WriteString(c, tt.Raw)
				s.readHead(c) // until the other side gives up
			})
			b := newBench(t, srv.url(), nil)
			in := b.do("GET", "/app/x")
			in.wantRefused(t, causeway.CodeConnectorBadAnswer, channel.Final)
			if len(in.informs) > 0 {
				t.Errorf("the device saw %q", in.informs)
			}
			if s := b.pool().state(); s.open != 0 {
				t.Errorf("%d connections are still open after a bad answer", s.open)
			}
		})
	}
}

func TestNoCutAnswerOfTheCorpusLooksComplete(t *testing.T) {
	for _, tt := range http1test.CutAnswers() {
		head, rest, _ := strings.Cut(tt.Raw, "\r\n\r\n")
		head += "\r\n\r\n"
		t.Run("at once/"+tt.Name, func(t *testing.T) {
			b := newBench(t, answeringOnce(t, tt.Raw).url(), nil)
			wantCut(t, b, b.do("GET", "/app/x"))
		})
		t.Run("after the head/"+tt.Name, func(t *testing.T) {
			b, in := cutAfter(t, head, rest)
			wantCut(t, b, in)
		})
	}
}

// wantCut fails the test unless the device saw no end of the answer and the server's connection is gone.
func wantCut(t *testing.T, b *bench, in *fakeInbound) {
	t.Helper()
	if in.last || in.refusals != 1 || in.refused != causeway.CodeConnectorBadAnswer {
		t.Errorf("answer %q, body %q, last %v, refused %d times with %v; want it refused or aborted", in.answer, in.data.String(), in.last, in.refusals, in.refused)
	}
	if s := b.pool().state(); s.open != 0 {
		t.Errorf("%d connections are still open", s.open)
	}
}
