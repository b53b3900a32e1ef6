package gateway

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/channel"
	"github.com/causeway-gateway/causeway/internal/http1/http1test"
	"github.com/causeway-gateway/causeway/policy"
	"github.com/causeway-gateway/causeway/signed"
)

// A corpusServer remembers what reached it, as a server would have seen it.
type corpusServer struct {
	got      chan http1test.Meaning
	complete chan bool // whether the body was read to its end
}

func runCorpus(t *testing.T) (*instance, *corpusServer) {
	in := run(t)
	in.apply(func(doc *signed.GatewayDocument) {
		doc.ServiceName = http1test.ServiceName
		doc.Publications = []policy.Publication{{Name: http1test.Server, Rules: []policy.Rule{{Path: "/"}}}}
	})
	srv := &corpusServer{make(chan http1test.Meaning, 1), make(chan bool, 1)}
	in.backend.serve(func(_ context.Context, r *seenRequest, d channel.DeviceSide) error {
		m := http1test.Meaning{Method: string(r.head.Method), Target: string(r.head.Target), Host: string(r.head.Host)}
		for _, f := range r.head.Fields {
			switch string(f.Name) {
			case "Host", "Content-Length":
			default:
				m.Fields = append(m.Fields, http1test.Field{Name: string(f.Name), Value: string(f.Value)})
			}
		}
		var failed error
		if r.Body != nil {
			var b []byte
			b, failed = io.ReadAll(r.Body)
			m.Body = string(b)
			if failed == nil && r.Trailers != nil {
				for line := range strings.SplitSeq(strings.TrimSuffix(string(r.Trailers()), "\r\n"), "\r\n") {
					if name, value, ok := strings.Cut(line, ": "); ok {
						m.Trailers = append(m.Trailers, http1test.Field{Name: name, Value: value})
					}
				}
			}
		}
		srv.got <- m
		srv.complete <- failed == nil
		if failed != nil {
			return failed
		}
		return d.Answer(head("200 OK"), nil, true)
	})
	return in, srv
}

// saw compares what the server saw with what the corpus wants. Order is compared per name: HTTP/2 keeps no other.
func (s *corpusServer) saw(t *testing.T, c *http1test.Case, ordered bool) {
	t.Helper()
	select {
	case got := <-s.got:
		complete := <-s.complete
		if c.Code != causeway.CodeNone {
			t.Fatalf("reached the server as %+v", got)
		}
		if c.BodyFails {
			if complete {
				t.Errorf("server saw a complete request: %+v", got)
			}
			return
		}
		if !same(got, c.Want, ordered) {
			t.Errorf("server saw %+v\nwant %+v", got, c.Want)
		}
	default:
		if c.Code == causeway.CodeNone {
			t.Error("request did not reach the server")
		}
	}
}

func same(got, want http1test.Meaning, ordered bool) bool {
	show := func(m http1test.Meaning) string {
		fields := ""
		for _, f := range m.Fields {
			fields += fmt.Sprintf("%s=%q;", canonical(f.Name, ordered), f.Value)
		}
		return fmt.Sprintf("%s %s %s %q %s %v", m.Method, m.Target, m.Host, m.Body, fields, m.Trailers)
	}
	if !ordered {
		sortFields(got.Fields)
		sortFields(want.Fields)
	}
	return show(got) == show(want)
}

func canonical(name string, ordered bool) string {
	if ordered {
		return name
	}
	return strings.ToLower(name)
}

func sortFields(f []http1test.Field) {
	for i := range f {
		for j := i; j > 0 && strings.ToLower(f[j].Name) < strings.ToLower(f[j-1].Name); j-- {
			f[j], f[j-1] = f[j-1], f[j]
		}
	}
}

func TestHTTP1ReadsTheCorpus(t *testing.T) {
	in, srv := runCorpus(t)
	cfg := in.clientTLS(in.deviceCA.issue("pc-1"))
	for _, c := range http1test.Corpus() {
		t.Run(c.Name, func(t *testing.T) {
			d := in.dialTLS(cfg)
			defer d.c.Close()
			d.t = t
			go io.WriteString(d.c, c.Raw) // the gateway may answer and close before it has read all
			method, _, _ := strings.Cut(c.Raw, " ")
			r := d.receive(method)
			if r.StatusCode == 100 {
				r = d.receive(method)
			}
			switch {
			case c.Code != causeway.CodeNone:
				if c.Code.Status() != r.StatusCode || method != "HEAD" && !strings.Contains(r.body, c.Code.String()) {
					t.Errorf("answer %d %q, want %s", r.StatusCode, r.body, c.Code)
				}
				if !c.Policy && !d.closed() {
					t.Error("connection goes on behind a request that nobody understands")
				}
			case c.BodyFails:
				if r.StatusCode != 400 || !d.closed() {
					t.Errorf("answer %d %q", r.StatusCode, r.body)
				}
			case r.StatusCode != 200:
				t.Errorf("answer %d %q", r.StatusCode, r.body)
			}
			srv.saw(t, &c, true)
		})
	}
}

// An h2Device is a raw HTTP/2 client: it says what no library would.
type h2Device struct {
	t    *testing.T
	c    *tls.Conn
	fr   *http2.Framer
	enc  *hpack.Encoder
	buf  bytes.Buffer
	next uint32
}

func (in *instance) dialHTTP2(t *testing.T, certs ...tls.Certificate) *h2Device {
	t.Helper()
	cfg := in.clientTLS(certs...)
	cfg.NextProtos = []string{"h2"}
	c, err := tls.Dial("tcp", in.devices.Addr().String(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(4 * longWait))
	d := &h2Device{t: t, c: c, next: 1}
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	d.fr = http2.NewFramer(c, c)
	d.fr.SetMaxReadFrameSize(1 << 20)
	d.fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	d.enc = hpack.NewEncoder(&d.buf)
	if err := d.fr.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	return d
}

type h2Field struct{ name, value string }

// open sends a request head and returns the stream's number.
func (d *h2Device) open(end bool, fields ...h2Field) uint32 {
	d.t.Helper()
	d.buf.Reset()
	for _, f := range fields {
		if err := d.enc.WriteField(hpack.HeaderField{Name: f.name, Value: f.value}); err != nil {
			d.t.Fatal(err)
		}
	}
	id := d.next
	d.next += 2
	block := d.buf.Bytes()
	first := block[:min(len(block), 16<<10)]
	if err := d.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: first, EndStream: end, EndHeaders: len(first) == len(block)}); err != nil {
		d.t.Fatal(err)
	}
	for rest := block[len(first):]; len(rest) > 0; {
		part := rest[:min(len(rest), 16<<10)]
		rest = rest[len(part):]
		if err := d.fr.WriteContinuation(id, len(rest) == 0, part); err != nil {
			d.t.Fatal(err)
		}
	}
	return id
}

// An h2Reply is how one stream ended.
type h2Reply struct {
	status   string
	informed map[string]string // of 1xx
	fields   map[string]string
	trailers map[string]string
	body     string
	reset    bool // the stream was reset or the connection ended
	code     http2.ErrCode
}

func (d *h2Device) receive(id uint32) (r h2Reply) {
	d.t.Helper()
	r.informed, r.fields, r.trailers = map[string]string{}, map[string]string{}, map[string]string{}
	for {
		f, err := d.fr.ReadFrame()
		if err != nil {
			r.reset = true
			return r
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				_ = d.fr.WriteSettingsAck()
			}
		case *http2.PingFrame:
			if !f.IsAck() {
				_ = d.fr.WritePing(true, f.Data)
			}
		case *http2.GoAwayFrame:
			r.code = f.ErrCode
		case *http2.RSTStreamFrame:
			if f.StreamID == id && f.ErrCode != http2.ErrCodeNo {
				r.reset, r.code = true, f.ErrCode
				return r
			}
		case *http2.MetaHeadersFrame:
			if f.StreamID != id {
				continue
			}
			into := r.fields
			switch status := f.PseudoValue("status"); {
			case status == "":
				into = r.trailers
			case status[0] == '1':
				into = r.informed
			}
			for _, h := range f.Fields {
				if h.Name == ":status" {
					r.status = h.Value
					continue
				}
				if v, ok := into[h.Name]; ok {
					h.Value = v + "\n" + h.Value
				}
				into[h.Name] = h.Value
			}
			if f.StreamEnded() {
				return r
			}
		case *http2.DataFrame:
			if f.StreamID != id {
				continue
			}
			r.body += string(f.Data())
			if n := uint32(len(f.Data())); n > 0 {
				_ = d.fr.WriteWindowUpdate(0, n)
				_ = d.fr.WriteWindowUpdate(id, n)
			}
			if f.StreamEnded() {
				return r
			}
		}
	}
}

func h2request(method, authority, path string, fields ...h2Field) []h2Field {
	return append([]h2Field{{":method", method}, {":scheme", "https"}, {":authority", authority}, {":path", path}}, fields...)
}

func TestHTTP2ReadsTheCorpus(t *testing.T) {
	in, srv := runCorpus(t)
	cert := in.deviceCA.issue("pc-1")
	for _, c := range http1test.Corpus() {
		if c.H2 == nil {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			d := in.dialHTTP2(t, cert)
			defer d.c.Close()
			var fields []h2Field
			for _, f := range c.H2.Fields {
				fields = append(fields, h2Field{strings.ToLower(f.Name), f.Value})
			}
			id := d.open(c.H2.Body == "", h2request(c.H2.Method, c.H2.Authority, c.H2.Path, fields...)...)
			if c.H2.Body != "" {
				_ = d.fr.WriteData(id, true, []byte(c.H2.Body))
			}
			r := d.receive(id)
			if c.Code == causeway.CodeNone {
				if r.status != "200" {
					t.Errorf("answer %+v", r)
				}
			} else if !r.reset && (r.status != fmt.Sprint(c.Code.Status()) || c.H2.Method != "HEAD" && !strings.Contains(r.body, c.Code.String())) {
				t.Errorf("answer %+v, want %s", r, c.Code)
			}
			srv.saw(t, &c, false)
		})
	}
}
