package channel

import (
	"bytes"
	"encoding/hex"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/causeway-gateway/causeway"
)

// specification returns what is written about the wire.
func specification(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../docs/channel.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// rows returns the cells of the table rows below a heading, without the head of the table.
func rows(t *testing.T, text, heading string) (all [][]string) {
	t.Helper()
	_, after, found := strings.Cut(text, "\n"+heading+"\n")
	if !found {
		t.Fatalf("docs/channel.md has no %q", heading)
	}
	after, _, _ = strings.Cut(after, "\n#")
	for line := range strings.Lines(after) {
		if !strings.HasPrefix(line, "| ") {
			continue
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		all = append(all, cells)
	}
	if len(all) < 2 {
		t.Fatalf("docs/channel.md has no table below %q", heading)
	}
	return all[1:]
}

func TestSpecificationNamesAllFrames(t *testing.T) {
	type spec struct {
		name string
		most int
	}
	want := map[frameType]spec{
		frameDocument: {"document", maxDataBytes}, frameHello: {"hello", maxFrameBytes}, frameWelcome: {"welcome", maxFrameBytes},
		frameRefuse: {"refuse", maxFrameBytes}, frameApplied: {"applied", maxFrameBytes}, framePing: {"ping", 8}, framePong: {"pong", 8},
		frameLeave: {"leave", maxFrameBytes}, framePrincipal: {"principal", 6 + maxSourceBytes + maxEvidenceBytes}, framePrincipalClose: {"principalClose", 4},
		frameOpen: {"open", openHeaderBytes + maxHeadBytes + requestWindow}, frameData: {"data", maxDataBytes}, frameInform: {"inform", maxHeadBytes},
		frameAnswer: {"answer", maxFrameBytes}, frameTrailers: {"trailers", maxHeadBytes}, frameWindow: {"window", 4}, frameReset: {"reset", 3},
		frameOffer: {"offer", 4}, frameMove: {"move", 4}, frameFree: {"free", 0},
	}
	for _, row := range rows(t, specification(t), "## Frames") {
		n, err := strconv.Atoi(row[0])
		most, err2 := strconv.Atoi(row[4])
		if err != nil || err2 != nil {
			t.Errorf("row %q", row)
			continue
		}
		if got := (spec{row[1], most}); got != want[frameType(n)] {
			t.Errorf("type %d is %+v, the code has %+v", n, got, want[frameType(n)])
		}
		delete(want, frameType(n))
	}
	for n, s := range want {
		t.Errorf("type %d, %s, is not there", n, s.name)
	}
}

func TestSpecificationNamesAllLimits(t *testing.T) {
	want := map[string]int{
		"frame payload": maxFrameBytes, "data payload": maxDataBytes, "data payload on a bulk connection": maxBulkBytes,
		"head, trailers": maxHeadBytes, "document": maxDocumentBytes, "documents before a hello": maxHelloDocuments,
		"evidence": maxEvidenceBytes, "source": maxSourceBytes, "request bytes in open": requestWindow,
		"first window of an answer": answerWindow, "largest window": maxWindow,
		"request connections of a set, while one replaces another": 2 * maxLinksPerSet, "bulk connections of a set": maxBulkConns,
		"body before it moves": bulkAfter, "streams on one connection": DefaultMaxStreams, "principals on one connection": DefaultMaxPrincipals,
		"evidence of all principals on one connection": maxPrincipalBytes,
		"ping every, ms":               int(DefaultPingEvery / time.Millisecond),
		"dead after, ms":               int(DefaultDeadAfter / time.Millisecond),
		"hello and welcome within, ms": int(DefaultHandshakeTimeout / time.Millisecond),
		"drain, ms":                    int(DefaultDrainTimeout / time.Millisecond),
	}
	for _, row := range rows(t, specification(t), "## Limits") {
		if row[0] == "versions" {
			if got, want := row[1], strconv.Itoa(minVersion)+" to "+strconv.Itoa(maxVersion); got != want {
				t.Errorf("versions %q, the code has %q", got, want)
			}
			continue
		}
		if n, err := strconv.Atoi(row[1]); err != nil || n != want[row[0]] {
			t.Errorf("%s is %s, the code has %d", row[0], row[1], want[row[0]])
		}
		delete(want, row[0])
	}
	for name := range want {
		t.Errorf("%s is not there", name)
	}
}

var example = regexp.MustCompile("(?s)```([a-z]+)\n([0-9a-f |\n]+)```")

// TestSpecificationShowsTrueBytes compares the examples with what the code writes.
func TestSpecificationShowsTrueBytes(t *testing.T) {
	join := func(h frameHeader, pieces ...[]byte) []byte { return frame{h, bytes.Join(pieces, nil)}.bytes() }
	id := causeway.RequestID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	head := []byte("GET /a HTTP/1.1\r\nHost: g.example\r\n\r\n")
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
	want := map[string][]byte{
		"ping":      join(frameHeader{typ: framePing}, []byte{0, 0, 0, 0, 0x3b, 0x9a, 0xca, 0}),
		"data":      join(frameHeader{stream: 0x01020304, typ: frameData, fin: true}),
		"hello":     join(frameHeader{typ: frameHello}, []byte(`{"min_version":1,"max_version":2}`)),
		"refuse":    join(frameHeader{typ: frameRefuse}, []byte{0, byte(causeway.CodeVersionNotSupported)}),
		"principal": join(frameHeader{typ: framePrincipal}, []byte{0, 0, 0, 7, 1, 14}, []byte("192.0.2.7:4711"), []byte("evidence")),
		"open": join(frameHeader{stream: 1, typ: frameOpen, fin: true},
			appendOpenHeader(nil, openHeader{id: id, principal: 7, attempt: 1, headBytes: len(head)}), head),
		"answer": join(frameHeader{stream: 1, typ: frameAnswer, fin: true}, []byte{0, 0, 0, byte(len(answer))}, answer, []byte("hello")),
		"window": join(frameHeader{stream: 1, typ: frameWindow}, []byte{0, 0, 0xc0, 0}),
		"move":   join(frameHeader{stream: 1, typ: frameMove}, []byte{0, 0xab, 0xcd, 0xef}),
		"reset":  join(frameHeader{stream: 1, typ: frameReset}, resetPayload(causeway.CodeConnectorServerUnreachable, NotDelivered)),
	}
	for _, m := range example.FindAllStringSubmatch(specification(t), -1) {
		got, err := hex.DecodeString(strings.NewReplacer(" ", "", "|", "", "\n", "").Replace(m[2]))
		if err != nil || !bytes.Equal(got, want[m[1]]) {
			t.Errorf("%s is %x, %v; the code writes %x", m[1], got, err, want[m[1]])
		}
		delete(want, m[1])
	}
	for name := range want {
		t.Errorf("there is no example of %s", name)
	}
	if n, p, err := parsePrincipal(join(frameHeader{}, []byte{0, 0, 0, 7, 1, 14}, []byte("192.0.2.7:4711"), []byte("evidence"))[frameHeaderBytes:]); err != nil ||
		n != 7 || p.Source != "192.0.2.7:4711" || string(p.Evidence) != "evidence" || p.Kind != 1 {
		t.Errorf("the example of a principal is read as %d, %+v, %v", n, p, err)
	}
}

// TestSpecificationNamesTheWays in which a channel is asked for on the port of the devices.
func TestSpecificationNamesTheWays(t *testing.T) {
	text := specification(t)
	for _, want := range []string{
		strings.TrimSuffix(ALPN(0), "0") + "SLOT", "GET " + strings.TrimSuffix(WebSocketPath(0), "0") + "SLOT", WebSocketProtocol,
	} {
		if !strings.Contains(text, "`"+want+"`") {
			t.Errorf("docs/channel.md does not name %s", want)
		}
	}
}
