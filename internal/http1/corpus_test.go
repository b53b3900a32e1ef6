package http1

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/internal/http1/http1test"
)

// errSilent is what a connection that stays open without a word would be waiting for.
var errSilent = errors.New("connection is open and silent")

func openConn(raw string) io.Reader {
	return io.MultiReader(strings.NewReader(raw), iotest.ErrReader(errSilent))
}

func TestCorpus(t *testing.T) {
	names := map[string]bool{}
	for _, c := range http1test.Corpus() {
		if names[c.Name] {
			t.Errorf("two cases are named %q", c.Name)
		}
		names[c.Name] = true
		t.Run(c.Name, func(t *testing.T) {
			// In one piece and byte by byte: where the network cuts must make no difference.
			runCase(t, &c, openConn(c.Raw))
			runCase(t, &c, iotest.OneByteReader(openConn(c.Raw)))
		})
	}
}

func runCase(t *testing.T, c *http1test.Case, conn io.Reader) {
	t.Helper()
	rd, r := NewReader(conn), &Request{}
	err := rd.ReadRequest(r, Limits{})
	if c.Code != causeway.CodeNone && !c.Policy {
		if err == nil || causeway.CodeOf(err) != c.Code || errors.Is(err, errSilent) {
			t.Fatalf("got %v, want %v", err, c.Code)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if c.Policy {
		return
	}
	b := rd.Body(r.BodyBytes, r.Chunked, 0)
	body, err := io.ReadAll(b)
	if c.BodyFails {
		if causeway.CodeOf(err) != causeway.CodeBadRequest || b.Done() {
			t.Fatalf("body: got %q, %v, want a refusal", body, err)
		}
		return
	}
	if err != nil || !b.Done() {
		t.Fatalf("body: %v", err)
	}
	compareMeaning(t, r, string(body), b.Trailers(), &c.Want)
}

func compareMeaning(t *testing.T, r *Request, body string, trailers []Field, want *http1test.Meaning) {
	t.Helper()
	if string(r.Method) != want.Method || string(r.Target) != want.Target || string(r.Host) != want.Host || body != want.Body {
		t.Errorf("got %s %s for %s with body %q, want %s %s for %s with %q", r.Method, r.Target, r.Host, body,
			want.Method, want.Target, want.Host, want.Body)
	}
	var kept []Field
	for i := range r.Fields {
		if r.Inward(&r.Fields[i]) {
			kept = append(kept, r.Fields[i])
		}
	}
	compareFields(t, "fields", kept, want.Fields)
	compareFields(t, "trailers", trailers, want.Trailers)
}

func compareFields(t *testing.T, what string, got []Field, want []http1test.Field) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: got %d, want %d", what, len(got), len(want))
		return
	}
	for i, f := range got {
		if string(f.Name) != want[i].Name || string(f.Value) != want[i].Value {
			t.Errorf("%s: got %q: %q, want %q: %q", what, f.Name, f.Value, want[i].Name, want[i].Value)
		}
	}
}
