package channel

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/causeway-gateway/causeway"
)

// Versions of the protocol. A connection point offers the span it speaks; the gateway takes the highest it speaks
// too, or refuses.
const (
	minVersion = 1
	maxVersion = 1
)

// Hello is what a connection point says of itself after the signed documents. Everything in it is a claim until
// the gateway has compared it with the TLS certificate and the documents.
type Hello struct {
	MinVersion      int                        `json:"min_version"`
	MaxVersion      int                        `json:"max_version"`
	Site            causeway.SiteID            `json:"site"`
	Gateway         causeway.GatewayName       `json:"gateway"`
	ConnectionPoint causeway.ConnectionPointID `json:"connection_point"`
	ConnectionID    string                     `json:"connection_id"`
	Slot            causeway.Slot              `json:"slot"`     // the slot it meant to dial
	Instance        causeway.InstanceID        `json:"instance"` // the instance it expects there; empty when it has no list yet
	Set             string                     `json:"set"`      // names the channel set this connection belongs to
	Index           int                        `json:"index"`    // of this connection within the set
	Count           int                        `json:"count"`    // connections of the set
	Software        string                     `json:"software"`
	MaxInFlight     int                        `json:"max_in_flight,omitempty"` // requests the connection point takes from this instance at a time; 0 means any number
	Plane           string                     `json:"plane,omitempty"`         // empty for requests, or PlaneBulk
	Bulk            uint32                     `json:"bulk,omitempty"`          // number of a bulk connection, which no other of its set has

	// Documents are the newest signed documents, sent ahead of the hello so that the gateway judges it by them.
	Documents [][]byte `json:"-"`
}

// PlaneBulk in a hello says that the connection carries large bodies for the requests of its set.
const PlaneBulk = "bulk"

// Welcome is the gateway instance's answer to an admitted hello.
type Welcome struct {
	Version  int                 `json:"version"`
	Instance causeway.InstanceID `json:"instance"`
	Slot     causeway.Slot       `json:"slot"`
	Software string              `json:"software"`
	Applied  []Applied           `json:"applied,omitempty"`  // what became of the hello's documents
	MaxBulk  int                 `json:"max_bulk,omitempty"` // bulk connections that the gateway takes for one set
}

// Applied says what a gateway instance made of a signed document.
type Applied struct {
	Kind       string `json:"kind"`
	Generation uint64 `json:"generation"` // in force now, whether or not this document was taken
	Error      string `json:"error,omitempty"`
}

// Gatekeeper is the gateway's judgement on connection points.
type Gatekeeper interface {
	// Apply verifies a signed document and takes it over when it is newer than what is in force. It returns the
	// kind and the generation in force afterwards, with an error when the document was refused.
	Apply(document []byte) (kind string, generation uint64, err error)
	// Admit judges a connection point after its documents were applied. peer is the certificate chain of the TLS
	// handshake, leaf first, of which only possession of the key has been verified. The welcome needs Instance,
	// Slot and Software. A causeway.Refusal tells the connection point its code.
	Admit(h Hello, peer []*x509.Certificate) (Welcome, error)
}

// sendHello writes documents and hello. It runs before the link's reader starts.
func (l *link) sendHello(h Hello) error {
	for _, d := range h.Documents {
		if err := l.sendDocument(d); err != nil {
			return err
		}
	}
	return l.sendJSON(frameHello, h)
}

func (l *link) sendDocument(d []byte) error {
	if len(d) == 0 || len(d) > maxDocumentBytes {
		return fmt.Errorf("document of %d bytes: at most %d may be sent", len(d), maxDocumentBytes)
	}
	for len(d) > 0 {
		n := min(len(d), maxDataBytes)
		if _, err := l.write(frameHeader{typ: frameDocument, fin: n == len(d)}, d[:n], nil, nil); err != nil {
			return err
		}
		d = d[n:]
	}
	return nil
}

func (l *link) sendJSON(t frameType, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = l.write(frameHeader{typ: t}, b, nil, nil)
	return err
}

// decode reads a session frame's JSON. Unknown fields are a newer version's and are skipped.
func decode(b *buffer, v any) error {
	defer putBuffer(b)
	if err := json.Unmarshal(b.b, v); err != nil {
		return violation("session frame: %v", err)
	}
	return nil
}

// assembly puts a document together from its frames.
type assembly struct{ b bytes.Buffer }

// add returns the document once its last piece came.
func (a *assembly) add(h frameHeader, p *buffer) ([]byte, error) {
	defer putBuffer(p)
	if a.b.Len()+len(p.b) > maxDocumentBytes {
		return nil, violation("document of over %d bytes", maxDocumentBytes)
	}
	a.b.Write(p.b)
	if !h.fin {
		return nil, nil
	}
	d := bytes.Clone(a.b.Bytes())
	a.b = bytes.Buffer{}
	return d, nil
}

// readHello reads documents and hello, applies the documents and judges the hello. It runs before serve.
func (l *link) readHello(k Gatekeeper, timeout time.Duration) (Hello, Welcome, error) {
	if err := l.conn.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		return Hello{}, Welcome{}, err
	}
	var docs assembly
	var applied []Applied
	for {
		fh, buf, err := l.readFrame()
		if err != nil {
			return Hello{}, Welcome{}, err
		}
		switch fh.typ {
		case frameDocument:
			d, err := docs.add(fh, buf)
			if err != nil {
				return Hello{}, Welcome{}, err
			}
			if d == nil {
				continue
			}
			if len(applied) == maxHelloDocuments {
				return Hello{}, Welcome{}, violation("more than %d documents before the hello", maxHelloDocuments)
			}
			applied = append(applied, apply(k, d))
		case frameHello:
			var h Hello
			if err := decode(buf, &h); err != nil {
				return h, Welcome{}, err
			}
			w, err := l.judge(k, h)
			w.Applied = applied
			return h, w, err
		default:
			putBuffer(buf)
			if fh.typ < frameOptional {
				return Hello{}, Welcome{}, violation("frame of type %d before the hello", fh.typ)
			}
		}
	}
}

func apply(k Gatekeeper, d []byte) Applied {
	kind, generation, err := k.Apply(d)
	a := Applied{Kind: kind, Generation: generation}
	if err != nil {
		a.Error = err.Error()
	}
	return a
}

func (l *link) judge(k Gatekeeper, h Hello) (Welcome, error) {
	if h.MinVersion > maxVersion || h.MaxVersion < minVersion || h.MinVersion > h.MaxVersion {
		return Welcome{}, causeway.Refuse(causeway.CodeVersionNotSupported,
			"connection point speaks versions %d to %d of the channel, this gateway %d to %d", h.MinVersion, h.MaxVersion, minVersion, maxVersion)
	}
	var peer []*x509.Certificate
	if t, ok := l.conn.(*tls.Conn); ok {
		peer = t.ConnectionState().PeerCertificates
	}
	w, err := k.Admit(h, peer)
	w.Version = min(h.MaxVersion, maxVersion)
	return w, err
}

// refuse tells the connection point why it is not admitted, in a code and not in words: it is a stranger.
func (l *link) refuse(err error) {
	var p [2]byte
	binary.BigEndian.PutUint16(p[:], uint16(causeway.CodeOf(err)))
	_, _ = l.write(frameHeader{typ: frameRefuse}, p[:], nil, nil)
}

// readWelcome reads the gateway's answer to a hello.
func (l *link) readWelcome(ctx context.Context, timeout time.Duration) (Welcome, error) {
	stop := context.AfterFunc(ctx, func() { l.fail(ctx.Err()) })
	defer stop()
	if err := l.conn.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		return Welcome{}, err
	}
	for {
		fh, buf, err := l.readFrame()
		if err != nil {
			if ctx.Err() != nil {
				err = ctx.Err()
			}
			return Welcome{}, fmt.Errorf("waiting for the welcome: %w", err)
		}
		switch fh.typ {
		case frameWelcome:
			var w Welcome
			if err := decode(buf, &w); err != nil {
				return w, err
			}
			if w.Version < minVersion || w.Version > maxVersion {
				return w, fmt.Errorf("gateway chose version %d of the channel, which was not offered", w.Version)
			}
			return w, l.conn.SetReadDeadline(time.Time{})
		case frameRefuse:
			defer putBuffer(buf)
			if len(buf.b) < 2 {
				return Welcome{}, violation("refusal of %d bytes", len(buf.b))
			}
			return Welcome{}, refusal(causeway.Code(binary.BigEndian.Uint16(buf.b)))
		default:
			putBuffer(buf)
			if fh.typ < frameOptional {
				return Welcome{}, violation("frame of type %d before the welcome", fh.typ)
			}
		}
	}
}

// refusal is what a connection point says of a gateway's no. The gateway tells a stranger no reason, but its log does.
func refusal(code causeway.Code) error {
	err := &causeway.Refusal{Code: code, Reason: "gateway refused the connection point"}
	if code != causeway.CodeForbidden {
		return err
	}
	return causeway.WithHint(err, "the gateway's log has the reason; if id, connection_id or certificate were changed here, export the folder again")
}

// refused reports whether a connection point was told no, as opposed to not reached.
func refused(err error) bool {
	_, ok := errors.AsType[*causeway.Refusal](err)
	return ok
}
