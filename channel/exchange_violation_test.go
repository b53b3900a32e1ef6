package channel

import (
	"errors"
	"testing"

	"github.com/causeway-gateway/causeway"
)

// What only the exchange can know to be a violation ends the connection like any other (docs/channel.md); too many
// informational answers end the exchange alone.
func TestViolationsWithinAnExchange(t *testing.T) {
	for name, tt := range map[string]struct {
		frames []frameType
		cut    bool
	}{
		"body before the head": {[]frameType{frameData}, true},
		"a second answer":      {[]frameType{frameAnswer, frameAnswer}, true},
		"1xx behind the head":  {[]frameType{frameAnswer, frameInform}, true},
		"nine 1xx":             {[]frameType{frameInform, frameInform, frameInform, frameInform, frameInform, frameInform, frameInform, frameInform, frameInform}, false},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, PoolConfig{})
			p := b.join("cp-1", func(in *Inbound) {
				for _, typ := range tt.frames {
					payload := []byte("HTTP/1.1 103 Early Hints\r\n\r\n")
					if typ == frameAnswer {
						payload = append([]byte{0, 0, 0, byte(len(okHead))}, okHead...)
					}
					_, _ = in.stream.link.write(frameHeader{stream: in.stream.id, typ: typ}, payload, nil, nil)
				}
				<-in.Context().Done()
				in.End()
			}, SessionConfig{})
			err := b.pool.Exchange(t.Context(), get("/"), &recorder{})
			if err == nil {
				t.Error("the exchange did not fail")
			}
			gone := func() bool { return p.session.link.failure() != nil }
			if tt.cut {
				waitFor(t, "the connection to end", gone)
			} else if code := causeway.CodeOf(err); code != causeway.CodeConnectorBadAnswer || gone() || errors.Is(err, errProtocol) {
				t.Errorf("error %v, connection ended %v", err, gone())
			}
		})
	}
}
