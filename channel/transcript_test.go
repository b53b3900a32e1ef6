package channel

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/causeway-gateway/causeway"
)

// The transcript of version 1 holds what its first release sent, both ways, over one connection of the exchanges in
// playDevices. It is replayed to today's code in either role: both must go on understanding one another for as long as
// sites may run both. It was written by
//
//	go test ./channel -run TestRecordTranscript -record-transcript testdata/version-1.transcript
//
// and is not to be written again: a new version gets a transcript of its own.
const transcriptFile = "testdata/version-1.transcript"

var recordTranscript = flag.String("record-transcript", "", "write the transcript of this code's sessions to `file`")

// A said is one frame of a transcript: who sent it, and all its bytes.
type said struct {
	by byte // 'C' for the connection point, 'G' for the gateway
	frame
}

const (
	byConnectionPoint = 'C'
	byGateway         = 'G'
)

// A frame is one as it travels.
type frame struct {
	frameHeader
	payload []byte
}

func (f frame) bytes() []byte {
	f.length = len(f.payload)
	return append(appendFrameHeader(nil, f.frameHeader), f.payload...)
}

func readFrameFrom(r io.Reader) (f frame, err error) {
	var raw [frameHeaderBytes]byte
	if _, err = io.ReadFull(r, raw[:]); err != nil {
		return f, err
	}
	if f.frameHeader, err = parseFrameHeader(&raw); err != nil {
		return f, err
	}
	f.payload = make([]byte, f.length)
	_, err = io.ReadFull(r, f.payload)
	return f, err
}

func readTranscript(t *testing.T) (all []said) {
	t.Helper()
	data, err := os.ReadFile(transcriptFile)
	if err != nil {
		t.Fatal(err)
	}
	for r := bytes.NewReader(data); r.Len() > 0; {
		by, _ := r.ReadByte()
		f, err := readFrameFrom(r)
		if err != nil || by != byConnectionPoint && by != byGateway {
			t.Fatalf("%s: sender %q, %v, %d bytes before the end", transcriptFile, by, err, r.Len())
		}
		all = append(all, said{by, f})
	}
	return all
}

// pattern is n bytes that show where they belong.
func pattern(n int) []byte {
	b := make([]byte, 0, n+8)
	for i := 0; len(b) < n; i += 8 {
		b = fmt.Appendf(b, "%07x.", i)
	}
	return b[:n]
}

const (
	transcriptUpload   = 40 << 10 // more than an open frame carries
	transcriptDownload = 96 << 10 // more than the first window
)

// transcriptHandler is the connection point's end of playDevices.
func transcriptHandler(in *Inbound) {
	target := strings.Fields(string(in.Head()))[1]
	switch target {
	case "/small":
		_ = in.Answer([]byte(okHead), []byte("hello"), true)
	case "/echo":
		body, _ := io.ReadAll(in.Body())
		_ = in.Answer([]byte(okHead), body, true)
	case "/trailers":
		body, _ := io.ReadAll(in.Body())
		_ = in.Inform([]byte("HTTP/1.1 103 Early Hints\r\nLink: </style>\r\n\r\n"))
		_ = in.Answer([]byte(okHead), body, false)
		_ = in.AnswerTrailers(in.Trailers())
	case "/large":
		_ = in.Answer([]byte(okHead), pattern(transcriptDownload), true)
	case "/upgrade":
		_ = in.Answer([]byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"), nil, false)
		word := make([]byte, 4)
		if _, err := io.ReadFull(in.Body(), word); err == nil {
			_ = in.Data([]byte("pong"), false)
		}
		_, _ = io.Copy(io.Discard, in.Body())
		_ = in.Data([]byte("bye"), true)
	case "/refused":
		in.Refuse(causeway.CodeConnectorNotPublished, Final)
	case "/gone":
		_ = in.Answer([]byte(okHead), []byte("begun"), false)
		<-in.Context().Done()
	}
}

// playDevices makes the exchanges of the transcript over p, one after the other, and checks what devices get.
func playDevices(t *testing.T, p *Pool) {
	principal := NewPrincipal(1, []byte("the evidence"), "192.0.2.7:4711")
	number := byte(0)
	request := func(method, target string) *Request {
		number++
		return &Request{ID: causeway.RequestID{15: number}, Principal: principal, Idempotent: method == "GET",
			Head: []byte(method + " " + target + " HTTP/1.1\r\nHost: gateway.example\r\n\r\n")}
	}
	exchange := func(req *Request, dev *recorder) {
		t.Helper()
		if err := p.Exchange(t.Context(), req, dev); err != nil {
			t.Errorf("%s: %v", bytes.Fields(req.Head)[1], err)
		}
	}
	small := &recorder{}
	exchange(request("GET", "/small"), small)

	echo, upload := &recorder{}, request("POST", "/echo")
	upload.Body, upload.BodyBytes = io.NopCloser(bytes.NewReader(pattern(transcriptUpload))), transcriptUpload
	exchange(upload, echo)

	fields, chunked := &recorder{}, request("POST", "/trailers")
	chunked.Body, chunked.BodyBytes = io.NopCloser(strings.NewReader("chunk")), -1
	chunked.Trailers = func() []byte { return []byte("X-Sum: 1\r\n") }
	exchange(chunked, fields)

	large := &recorder{}
	exchange(request("GET", "/large"), large)

	upgrade := request("GET", "/upgrade")
	device, far := net.Pipe() // what the device sends after the 101
	defer device.Close()
	upgrade.Upgrade, upgrade.Body = true, far
	socket := &recorder{}
	socket.onAnswer = func() { go func() { _, _ = device.Write([]byte("ping")) }() }
	socket.onData = func() error {
		if strings.HasSuffix(socket.body.String(), "pong") {
			device.Close() // it has nothing more to say
		}
		return nil
	}
	exchange(upgrade, socket)

	err := p.Exchange(t.Context(), request("GET", "/refused"), &recorder{})
	if code := causeway.CodeOf(err); code != causeway.CodeConnectorNotPublished {
		t.Errorf("/refused: %v", err)
	}
	left := errors.New("device left")
	if err := p.Exchange(t.Context(), request("GET", "/gone"), &recorder{onData: func() error { return left }}); !errors.Is(err, left) {
		t.Errorf("/gone: %v", err)
	}
	principal.Close()
	for _, tt := range []struct {
		name string
		got  *recorder
		body string
	}{
		{"/small", small, "hello"}, {"/echo", echo, string(pattern(transcriptUpload))}, {"/trailers", fields, "chunk"},
		{"/large", large, string(pattern(transcriptDownload))}, {"/upgrade", socket, "pongbye"},
	} {
		if tt.got.body.String() != tt.body || !tt.got.done {
			t.Errorf("%s: the device got %d bytes of %d, to the end: %v", tt.name, tt.got.body.Len(), len(tt.body), tt.got.done)
		}
	}
	if fields.trailers != "X-Sum: 1\r\n" || len(fields.informs) != 1 {
		t.Errorf("/trailers: trailers %q, informational heads %q", fields.trailers, fields.informs)
	}
}

// transcriptHello introduces the connection point of the transcript.
func transcriptHello() Hello {
	return Hello{Site: "site", Gateway: "gateway", ConnectionPoint: "cp-1", ConnectionID: "connection-id", Slot: 3, Instance: "i-1",
		Set: "set", Index: 1, Count: 2, Software: "first", Documents: [][]byte{[]byte("document 1"), pattern(40 << 10)}}
}

const pushedDocument = "document 3"

// TestRecordTranscript writes a transcript when it is asked to.
func TestRecordTranscript(t *testing.T) {
	if *recordTranscript == "" {
		t.Skip("writes a file; only with -record-transcript")
	}
	var mu sync.Mutex
	var out bytes.Buffer
	// pass carries one direction and writes down what goes by, before it arrives.
	pass := func(by byte, to, from net.Conn) {
		defer to.Close()
		for {
			f, err := readFrameFrom(from)
			if err != nil {
				return
			}
			if f.typ != framePing && f.typ != framePong {
				mu.Lock()
				out.WriteByte(by)
				out.Write(f.bytes())
				mu.Unlock()
			}
			if _, err := to.Write(f.bytes()); err != nil {
				return
			}
		}
	}
	b := newBed(t, PoolConfig{})
	cp, cpFar := tcpPair(t)
	gwFar, gw := tcpPair(t)
	var passing sync.WaitGroup
	passing.Go(func() { pass(byConnectionPoint, gwFar, cpFar) })
	passing.Go(func() { pass(byGateway, cpFar, gwFar) })
	served := make(chan error, 2)
	go func() { served <- b.pool.Serve(t.Context(), gw, SlotPort) }()
	applied := make(chan Applied, 9)
	s, _, err := Connect(t.Context(), cp, transcriptHello(), SessionConfig{OnApplied: func(a Applied) { applied <- a }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	go func() { served <- s.Serve(ctx, handlerFunc(transcriptHandler)) }()
	waitFor(t, "channel up", b.pool.Ready)
	playDevices(t, b.pool)
	waitFor(t, "no stream left", func() bool { return s.Status().Streams == 0 })
	for range transcriptHello().Documents {
		<-applied
	}
	if err := s.Push([]byte(pushedDocument)); err != nil {
		t.Fatal(err)
	}
	<-applied
	stop()
	<-served
	<-served
	passing.Wait()
	if err := os.MkdirAll(filepath.Dir(*recordTranscript), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(*recordTranscript, out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// A replay is one end of a connection that says what a transcript says, and expects of the other end the same as was
// said then: the same frames in the same order, bodies cut as it likes, and in JSON what was there then.
type replay struct {
	t    *testing.T
	conn net.Conn
	as   byte // whose part it plays

	before  func() []byte        // what to say before each frame, if anything
	another func(frame) frame    // what to say in place of a frame, if anything
	on      map[frameType]func() // to be called before such a frame of the other end is awaited

	frames chan frame // of the other end, what is not about pings and credit

	mu     sync.Mutex // guards the fields below, and writing
	cond   *sync.Cond
	credit map[uint32]int
	ended  error

	// Owned by play.
	bodies map[uint32]*replayedBody
	resets map[uint32]bool // streams that this end has reset
}

// A replayedBody is what of a body the other end has sent, and what of it is expected by now.
type replayedBody struct {
	got, want []byte
	fin       bool
}

// replayPatience bounds every wait: what is waited for takes milliseconds, and a broken peer must not take minutes.
const replayPatience = 30 * time.Second

func newReplay(t *testing.T, conn net.Conn, as byte) *replay {
	r := &replay{t: t, conn: conn, as: as, on: map[frameType]func(){}, frames: make(chan frame, 1000), credit: map[uint32]int{},
		bodies: map[uint32]*replayedBody{}, resets: map[uint32]bool{}}
	r.cond = sync.NewCond(&r.mu)
	return r
}

// listen reads what the other end says, until it ends.
func (r *replay) listen() {
	for {
		f, err := readFrameFrom(r.conn)
		r.mu.Lock()
		switch {
		case err != nil:
			r.ended = err
			r.cond.Broadcast()
			r.mu.Unlock()
			close(r.frames)
			return
		case f.typ == framePing:
			_, _ = r.conn.Write(frame{frameHeader{typ: framePong}, f.payload}.bytes()) // the reader finds out
		case f.typ == frameWindow:
			r.credit[f.stream] += int(binary.BigEndian.Uint32(f.payload))
			r.cond.Broadcast()
		case f.typ == framePong:
		default:
			r.frames <- f
		}
		r.mu.Unlock()
	}
}

// play goes through the transcript.
func (r *replay) play(transcript []said) error {
	late := time.AfterFunc(replayPatience, func() { r.conn.Close() })
	defer late.Stop()
	for i, line := range transcript {
		var err error
		if line.by == r.as {
			err = r.say(line.frame)
		} else {
			if do := r.on[line.typ]; do != nil {
				do()
			}
			err = r.expect(line.frame)
		}
		if err != nil {
			return fmt.Errorf("line %d, type %d of stream %d by %c: %w", i, line.typ, line.stream, line.by, err)
		}
	}
	return nil
}

// say sends one frame, body bytes as soon as the other end grants them.
func (r *replay) say(f frame) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	need := 0
	switch f.typ {
	case frameData:
		need = len(f.payload)
	case frameAnswer:
		_, body, err := splitAnswer(f.payload)
		if err != nil {
			return err
		}
		r.credit[f.stream] += answerWindow
		need = len(body)
	case frameWindow:
		if f.stream == 0 {
			return errors.New("credit for stream 0")
		}
	case frameReset:
		r.resets[f.stream] = true
	}
	for need > 0 && r.credit[f.stream] < need && r.ended == nil {
		r.cond.Wait()
	}
	if r.ended != nil {
		return fmt.Errorf("the other end is gone: %w", r.ended)
	}
	r.credit[f.stream] -= need
	if r.another != nil {
		f = r.another(f)
	}
	out := f.bytes()
	if r.before != nil {
		out = append(r.before(), out...)
	}
	_, err := r.conn.Write(out)
	return err
}

// expect waits until the other end has said what f says.
func (r *replay) expect(f frame) error {
	switch f.typ {
	case frameWindow:
		return nil // how much it grants, and when, is its own affair
	case frameReset:
		if r.resets[f.stream] {
			return nil // it need not say so once more
		}
	case frameData:
		return r.expectBody(f.stream, f.payload, f.fin)
	}
	got, err := r.next()
	if err != nil {
		return err
	}
	if got.typ != f.typ || got.stream != f.stream {
		return fmt.Errorf("got type %d of stream %d", got.typ, got.stream)
	}
	switch f.typ {
	case frameHello, frameWelcome, frameApplied:
		return includes(got.payload, f.payload)
	case frameOpen:
		return r.expectOpen(got, f)
	case frameAnswer:
		return r.expectAnswer(got, f)
	case frameDocument:
		if got.fin != f.fin {
			return fmt.Errorf("last piece of a document: %v", got.fin)
		}
	}
	if !bytes.Equal(got.payload, f.payload) {
		return fmt.Errorf("got %q, want %q", got.payload, f.payload)
	}
	return nil
}

// next returns the next frame that is no body.
func (r *replay) next() (frame, error) {
	for {
		got, ok := <-r.frames
		if !ok {
			return got, fmt.Errorf("the other end is gone: %w", r.ended)
		}
		if got.typ != frameData && (got.typ != frameReset || !r.resets[got.stream]) {
			return got, nil
		}
		r.took(got.stream, got.payload, got.fin)
	}
}

func (r *replay) body(stream uint32) *replayedBody {
	if r.bodies[stream] == nil {
		r.bodies[stream] = &replayedBody{}
	}
	return r.bodies[stream]
}

func (r *replay) took(stream uint32, p []byte, fin bool) {
	b := r.body(stream)
	b.got, b.fin = append(b.got, p...), b.fin || fin
}

// expectBody waits until so much more of a body has come, and with fin until its end.
func (r *replay) expectBody(stream uint32, p []byte, fin bool) error {
	b := r.body(stream)
	b.want = append(b.want, p...)
	for len(b.got) < len(b.want) || fin && !b.fin {
		got, ok := <-r.frames
		if !ok {
			return fmt.Errorf("the other end is gone: %w", r.ended)
		}
		if got.typ != frameData {
			return fmt.Errorf("got type %d of stream %d in place of %d more bytes", got.typ, got.stream, len(b.want)-len(b.got))
		}
		r.took(got.stream, got.payload, got.fin)
	}
	if n := len(b.want); !bytes.Equal(b.got[:n], b.want) || fin && len(b.got) != n {
		return fmt.Errorf("a body of %d bytes differs from the %d that are expected", len(b.got), n)
	}
	return nil
}

func (r *replay) expectOpen(got, want frame) error {
	g, gotRest, err := parseOpenHeader(got.payload)
	w, wantRest, err2 := parseOpenHeader(want.payload)
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	if g != w || !bytes.Equal(gotRest[:g.headBytes], wantRest[:w.headBytes]) {
		return fmt.Errorf("got %+v %q, want %+v %q", g, gotRest[:g.headBytes], w, wantRest[:w.headBytes])
	}
	r.took(got.stream, gotRest[g.headBytes:], got.fin)
	return r.expectBody(want.stream, wantRest[w.headBytes:], want.fin)
}

func (r *replay) expectAnswer(got, want frame) error {
	head, body, err := splitAnswer(got.payload)
	wantHead, wantBody, err2 := splitAnswer(want.payload)
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	if !bytes.Equal(head, wantHead) {
		return fmt.Errorf("got head %q, want %q", head, wantHead)
	}
	r.took(got.stream, body, got.fin)
	return r.expectBody(want.stream, wantBody, want.fin)
}

// includes says what of the JSON object want is not in got.
func includes(got, want []byte) error {
	var g, w map[string]any
	if err := errors.Join(json.Unmarshal(got, &g), json.Unmarshal(want, &w)); err != nil {
		return err
	}
	for name, value := range w {
		if name == "software" || name == "max_version" {
			continue // they may go up
		}
		if fmt.Sprint(g[name]) != fmt.Sprint(value) {
			return fmt.Errorf("%s is %v, want %v", name, g[name], value)
		}
	}
	return nil
}

// futures are what a later release may say within version 1.
func futures() map[string]func(*replay) {
	return map[string]func(*replay){
		"as it was": func(*replay) {},
		"with optional frames": func(r *replay) {
			n := 0
			r.before = func() (out []byte) {
				for range 2 {
					h := frameHeader{typ: frameOptional + frameType(n%64), stream: uint32(n) * 0x01010101, fin: n%3 == 0}
					out = append(out, frame{h, pattern(n * 7 % 300)}.bytes()...)
					n++
				}
				return out
			}
		},
		"with further fields": func(r *replay) {
			r.another = func(f frame) frame {
				switch f.typ {
				case frameHello, frameWelcome, frameApplied:
					f.payload = append(bytes.TrimSuffix(f.payload, []byte("}")), `,"future":{"x":[1,null,"}"]},"another":0.5}`...)
				}
				return f
			}
		},
	}
}

// TestGatewayOfVersion1IsUnderstood replays a gateway of version 1 to a connection point of today.
func TestGatewayOfVersion1IsUnderstood(t *testing.T) {
	transcript := readTranscript(t)
	for name, change := range futures() {
		t.Run(name, func(t *testing.T) {
			cp, gw := tcpPair(t)
			r := newReplay(t, gw, byGateway)
			change(r)
			type start struct {
				s   *Session
				err error
			}
			started := make(chan start, 1)
			var applied []Applied
			go func() {
				s, _, err := Connect(t.Context(), cp, transcriptHello(), SessionConfig{OnApplied: func(a Applied) { applied = append(applied, a) }})
				started <- start{s, err}
			}()
			var listening sync.WaitGroup
			listening.Go(r.listen)
			defer listening.Wait()
			defer gw.Close()
			welcomed := 0
			for i, line := range transcript {
				if welcomed = i + 1; line.typ == frameWelcome {
					break
				}
			}
			if err := r.play(transcript[:welcomed]); err != nil {
				t.Fatal(err)
			}
			up := <-started
			if up.err != nil {
				t.Fatal(up.err)
			}
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			served := make(chan error, 1)
			go func() { served <- up.s.Serve(ctx, handlerFunc(transcriptHandler)) }()
			r.on[frameDocument] = func() {
				if err := up.s.Push([]byte(pushedDocument)); err != nil {
					t.Error(err)
				}
			}
			r.on[frameLeave] = stop
			if err := r.play(transcript[welcomed:]); err != nil {
				t.Error(err)
				gw.Close()
			}
			if err := <-served; err != nil {
				t.Errorf("the session ended with %v", err)
			}
			if len(applied) != 3 {
				t.Errorf("it heard of %d documents, want 3", len(applied))
			}
			if used := up.s.link.budget.used.Load(); used != 0 {
				t.Errorf("%d bytes of memory not given back", used)
			}
		})
	}
}

// TestConnectionPointOfVersion1IsUnderstood replays a connection point of version 1 to a gateway of today.
func TestConnectionPointOfVersion1IsUnderstood(t *testing.T) {
	transcript := readTranscript(t)
	for name, change := range futures() {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, PoolConfig{})
			cp, gw := tcpPair(t)
			r := newReplay(t, cp, byConnectionPoint)
			change(r)
			served := make(chan error, 1)
			go func() { served <- b.pool.Serve(t.Context(), gw, SlotPort) }()
			var work sync.WaitGroup
			work.Go(r.listen)
			played := make(chan struct{})
			work.Go(func() {
				defer close(played)
				if err := r.play(transcript); err != nil {
					t.Error(err)
					cp.Close() // whoever waits for it need not any more
				}
			})
			waitFor(t, "channel up", b.pool.Ready)
			playDevices(t, b.pool)
			<-played
			cp.Close()
			work.Wait()
			<-served
			if len(b.keep.taken) != 3 || string(b.keep.taken[2]) != pushedDocument {
				t.Errorf("%d documents were taken, want 3", len(b.keep.taken))
			}
			if used := b.pool.MemoryUsedBytes(); used != 0 {
				t.Errorf("%d bytes of memory not given back", used)
			}
		})
	}
}
