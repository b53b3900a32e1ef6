package channel

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/causeway-gateway/causeway"
)

// helloBytes is a hello frame with the fields of h, and those of more over them.
func helloBytes(t *testing.T, h Hello, more map[string]any) []byte {
	t.Helper()
	fields := map[string]any{}
	b, err := json.Marshal(h)
	if err == nil {
		err = json.Unmarshal(b, &fields)
	}
	for name, value := range more {
		fields[name] = value
	}
	b, err2 := json.Marshal(fields)
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	return frame{frameHeader{typ: frameHello}, b}.bytes()
}

// answerTo sends a gateway the first bytes of a session and returns the frame that it answers with.
func answerTo(t *testing.T, first []byte) frame {
	t.Helper()
	b := newBed(t, PoolConfig{})
	cp, gw := tcpPair(t)
	served := make(chan error, 1)
	go func() { served <- b.pool.Serve(t.Context(), gw, SlotPort) }()
	defer func() { cp.Close(); <-served }()
	if _, err := cp.Write(first); err != nil {
		t.Fatal(err)
	}
	_ = cp.SetReadDeadline(time.Now().Add(replayPatience))
	f, err := readFrameFrom(cp)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	return f
}

func TestVersionsAreAgreedUpon(t *testing.T) {
	for _, tt := range []struct {
		low, high int
		want      int // 0: refused
	}{
		{1, 1, 1}, {1, 2, 1}, {0, 1, 1}, {1, 1000, 1}, {2, 2, 0}, {2, 9, 0}, {0, 0, 0}, {-1, 0, 0}, {3, 1, 0},
	} {
		t.Run(fmt.Sprintf("%d to %d", tt.low, tt.high), func(t *testing.T) {
			got := answerTo(t, helloBytes(t, Hello{ConnectionPoint: "cp"}, map[string]any{"min_version": tt.low, "max_version": tt.high}))
			if tt.want == 0 {
				if got.typ != frameRefuse || !bytes.Equal(got.payload, []byte{0, byte(causeway.CodeVersionNotSupported)}) {
					t.Errorf("answered with type %d, %q, want a refusal with code %d", got.typ, got.payload, causeway.CodeVersionNotSupported)
				}
				return
			}
			var w Welcome
			if err := json.Unmarshal(got.payload, &w); got.typ != frameWelcome || err != nil || w.Version != tt.want {
				t.Errorf("answered with type %d, %q, want a welcome to version %d", got.typ, got.payload, tt.want)
			}
		})
	}
}

// connectTo lets a connection point say hello to a gateway that answers with these bytes.
func connectTo(t *testing.T, answer []byte) (*Session, error) {
	t.Helper()
	cp, gw := tcpPair(t)
	said := make(chan struct{})
	go func() { // it may be more than the connection holds before somebody reads
		defer close(said)
		_, _ = gw.Write(answer)
	}()
	t.Cleanup(func() {
		gw.Close()
		<-said
	})
	s, _, err := Connect(t.Context(), cp, Hello{ConnectionPoint: "cp"}, SessionConfig{})
	if s != nil {
		t.Cleanup(s.Close)
	}
	return s, err
}

func TestAVersionThatWasNotOfferedIsNotSpoken(t *testing.T) {
	for _, version := range []int{0, 2, -1} {
		_, err := connectTo(t, frame{frameHeader{typ: frameWelcome}, fmt.Appendf(nil, `{"version":%d,"instance":"i-1"}`, version)}.bytes())
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("chose version %d", version)) {
			t.Errorf("version %d: %v", version, err)
		}
	}
	// What a gateway of a later time answers to who speaks version 1 alone.
	_, err := connectTo(t, frame{frameHeader{typ: frameRefuse}, append([]byte{0, 22}, "and more"...)}.bytes())
	if causeway.CodeOf(err) != causeway.CodeVersionNotSupported {
		t.Errorf("refused with %v", err)
	}
}

// optional is one frame of every type that may be unknown.
func optional() (out []byte) {
	for n := range 64 {
		h := frameHeader{typ: frameOptional + frameType(n), stream: uint32(n) << 26, fin: n%2 == 1}
		out = append(out, frame{h, make([]byte, n*n)}.bytes()...)
	}
	return out
}

func TestOptionalFramesMayStandBeforeTheHello(t *testing.T) {
	document := func(text string, fin bool) []byte {
		return frame{frameHeader{typ: frameDocument, fin: fin}, []byte(text)}.bytes()
	}
	first := bytes.Join([][]byte{optional(), document("one ", false), optional(), document("document", true), optional(),
		helloBytes(t, Hello{ConnectionPoint: "cp", MinVersion: 1, MaxVersion: 1}, nil)}, nil)
	got := answerTo(t, first)
	var w Welcome
	if err := json.Unmarshal(got.payload, &w); got.typ != frameWelcome || err != nil || len(w.Applied) != 1 || w.Applied[0].Error != "" {
		t.Errorf("answered with type %d, %q", got.typ, got.payload)
	}
}

func TestOptionalFramesMayStandBeforeTheWelcome(t *testing.T) {
	if _, err := connectTo(t, append(optional(), frame{frameHeader{typ: frameWelcome}, []byte(`{"version":1,"instance":"i-1","more":{}}`)}.bytes()...)); err != nil {
		t.Error(err)
	}
}

// TestAnUnknownFrameEndsItsLinkAlone has one connection of a set say what nobody knows, in each direction: it ends, and
// requests go on over the other one.
func TestAnUnknownFrameEndsItsLinkAlone(t *testing.T) {
	for _, typ := range []frameType{0, framePrincipalClose + 1, frameOpen - 1, frameFree + 1, frameOptional - 1} {
		for _, from := range []string{"connection point", "gateway"} {
			t.Run(fmt.Sprintf("type %d from a %s", typ, from), func(t *testing.T) {
				b := newBed(t, PoolConfig{})
				b.join("cp-1", answer("ok"), SessionConfig{})
				bad := b.join("cp-1", answer("ok"), SessionConfig{})
				waitFor(t, "two links", func() bool { return b.pool.Status()[0].Connections == 2 })
				sender := bad.session.link
				if from == "gateway" {
					b.pool.mu.Lock()
					sender = b.pool.sets["cp-1"].all[1].link
					b.pool.mu.Unlock()
				}
				if _, err := sender.write(frameHeader{typ: typ, stream: 1}, []byte("what?"), nil, nil); err != nil {
					t.Fatal(err)
				}
				receiver := bad.served
				if from == "connection point" {
					receiver = bad.gateway
				}
				err := <-receiver
				receiver <- err // for whoever cleans up
				if !errors.Is(err, errProtocol) {
					t.Errorf("the link ended with %v, want a violation", err)
				}
				waitFor(t, "one link left", func() bool { return b.pool.Status()[0].Connections == 1 })
				for range 4 {
					dev := &recorder{}
					if err := b.pool.Exchange(t.Context(), get("/"), dev); err != nil || dev.body.String() != "ok" {
						t.Errorf("over the other link: %v, %q", err, dev.body.String())
					}
				}
			})
		}
	}
}

// TestOptionalFramesMayStandOnBulkConnections, idle ones and between the pieces of a body.
func TestOptionalFramesMayStandOnBulkConnections(t *testing.T) {
	sayMore := func(c *bulkConn) {
		for n := range 64 {
			if err := c.write(frameHeader{typ: frameOptional + frameType(n), stream: uint32(n), fin: n%2 == 1}, make([]byte, n*n)); err != nil {
				t.Error(err)
			}
		}
	}
	want := blob(2 << 20)
	moved := 0
	b, _ := newBulkBed(t, func(in *Inbound) {
		_ = in.Answer([]byte(okHead), nil, false)
		for rest := want; len(rest) > 0; rest = rest[128<<10:] {
			_ = in.Data(rest[:128<<10], len(rest) == 128<<10)
			if in.bulk.answer != nil && !in.ended {
				moved++
				sayMore(in.bulk.answer)
			}
		}
	})
	b.warm(t)
	b.bulk.mu.Lock()
	idle := b.bulk.idle[0]
	b.bulk.mu.Unlock()
	sayMore(idle)
	b.pool.mu.Lock()
	set := b.pool.sets["cp"]
	b.pool.mu.Unlock()
	sayMore(set.bulk.find(idle.number)) // another may not have been welcomed yet
	dev := &recorder{}
	if err := b.pool.Exchange(t.Context(), get("/"), dev); err != nil || !bytes.Equal(dev.body.Bytes(), want) {
		t.Errorf("%v, %d bytes of %d", err, dev.body.Len(), len(want))
	}
	if moved == 0 {
		t.Error("the answer did not move to a bulk connection")
	}
	b.idle(t)
}

// TestAnUnknownFrameBeforeTheHelloEndsTheConnection, because what it should have meant for the hello is not known.
func TestAnUnknownFrameBeforeTheHelloEndsTheConnection(t *testing.T) {
	b := newBed(t, PoolConfig{})
	cp, gw := net.Pipe()
	defer cp.Close()
	go func() { _, _ = cp.Write(frame{frameHeader{typ: 0x3f}, nil}.bytes()) }()
	if err := b.pool.Serve(t.Context(), gw, SlotPort); !errors.Is(err, errProtocol) {
		t.Errorf("served until %v", err)
	}
	if _, err := connectTo(t, frame{frameHeader{typ: 0x3f}, nil}.bytes()); !errors.Is(err, errProtocol) {
		t.Errorf("connected with %v", err)
	}
}
