package signed

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"time"
)

// MaxBytes bounds a document. A site with thousands of servers stays far below it.
const MaxBytes = 4 << 20

// Reasons to refuse a document. Open's errors wrap exactly one of them.
var (
	ErrTooLarge  = errors.New("document too large")
	ErrFrame     = errors.New("not a signed document")
	ErrSignature = errors.New("bad signature")
	ErrKind      = errors.New("document of another kind")
	ErrFormat    = errors.New("unknown document format")
	ErrContent   = errors.New("bad document content")
	ErrOlder     = errors.New("document older than the one in force")
	ErrRetired   = errors.New("document signed by a retired key")
)

// A Header is what every document says about itself.
type Header struct {
	Kind       string
	Format     int
	Generation uint64 // rises with every document of the kind; never 0
	Issued     time.Time
	ValidUntil time.Time
}

// Newer returns an error that wraps ErrOlder unless the document is newer than the generation known.
// Whoever holds a document must ask this before it obeys another.
func (h Header) Newer(known uint64) error {
	if h.Generation > known {
		return nil
	}
	return fmt.Errorf("%w: %s generation %d, known is %d", ErrOlder, h.Kind, h.Generation, known)
}

// Stale says whether the document's time is over. A stale document stays in force for channels, so that a newer
// one can arrive, but admits no device.
func (h Header) Stale(now time.Time) bool { return now.After(h.ValidUntil) }

// formats says which format of each kind this version reads.
var formats = map[string]int{
	KindGateway:         FormatGateway,
	KindConnectionPoint: FormatConnectionPoint,
	KindSiteKey:         FormatSiteKey,
}

// The frame. A signature has one length, so the document stands at a fixed place and can be verified as bytes.
const (
	frameHead = `{"signature":"`
	frameMid  = `","document":`
	frameTail = "}\n"

	signatureText = 88 // base64 of ed25519.SignatureSize bytes
	bodyStart     = len(frameHead) + signatureText + len(frameMid)
)

// context keeps signatures on documents apart from anything else the key might ever sign.
const context = "causeway signed document 1\x00"

type body struct {
	Kind       string          `json:"kind"`
	Format     int             `json:"format"`
	Generation uint64          `json:"generation"`
	Issued     time.Time       `json:"issued"`
	ValidUntil time.Time       `json:"valid_until"`
	Payload    json.RawMessage `json:"payload"`
}

// Seal makes a document.
func Seal(kind string, format int, generation uint64, issued, validUntil time.Time, payload any, key Key) ([]byte, error) {
	p, err := json.Marshal(payload)
	if err != nil {
		return nil, fmt.Errorf("seal %s: %w", kind, err)
	}
	b := body{kind, format, generation, issued.UTC().Truncate(time.Second), validUntil.UTC().Truncate(time.Second), p}
	if err := b.check(); err != nil {
		return nil, fmt.Errorf("seal %s: %w", kind, err)
	}
	doc, err := json.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("seal %s: %w", kind, err)
	}
	if bodyStart+len(doc)+len(frameTail) > MaxBytes {
		return nil, fmt.Errorf("seal %s: %w: %d bytes, at most %d", kind, ErrTooLarge, len(doc), MaxBytes)
	}
	signature := ed25519.Sign(key.private, append([]byte(context), doc...))
	raw := make([]byte, 0, bodyStart+len(doc)+len(frameTail))
	raw = append(raw, frameHead...)
	raw = base64.StdEncoding.AppendEncode(raw, signature)
	raw = append(raw, frameMid...)
	raw = append(raw, doc...)
	return append(raw, frameTail...), nil
}

// Open verifies a document of the kind and decodes its payload into what into points to, whole or not at all. The
// signature is judged first: nothing of a forged document is parsed. Generation and time are the caller's to judge
// (Header.Newer, Header.Stale).
func Open(raw []byte, kind string, keys *KeySet, into any) (Header, error) {
	b, err := open(raw, kind, keys)
	if err != nil {
		return Header{}, err
	}
	target := reflect.ValueOf(into).Elem()
	fresh := reflect.New(target.Type())
	if err := strictJSON(b.Payload, fresh.Interface()); err != nil {
		return Header{}, fmt.Errorf("%s: %w: payload: %w", kind, ErrContent, err)
	}
	target.Set(fresh.Elem())
	return b.header(), nil
}

// open does all of Open but the payload.
func open(raw []byte, kind string, keys *KeySet) (body, error) {
	doc, signature, err := unframe(raw)
	if err != nil {
		return body{}, fmt.Errorf("%s: %w", kind, err)
	}
	key, ok := keys.verify(doc, signature)
	if !ok {
		return body{}, fmt.Errorf("%s: %w", kind, ErrSignature)
	}
	b, err := parseBody(doc)
	if err != nil {
		return body{}, fmt.Errorf("%s: %w", kind, err)
	}
	if b.Kind != kind {
		return body{}, fmt.Errorf("%w: %q, want %q", ErrKind, b.Kind, kind)
	}
	if want, ok := formats[kind]; !ok || b.Format != want {
		return body{}, fmt.Errorf("%s: %w: %d, this version reads %d", kind, ErrFormat, b.Format, want)
	}
	if !key.mayStill(b.ValidUntil) {
		return body{}, fmt.Errorf("%s: %w: valid until %s, the key only until %s", kind, ErrRetired,
			b.ValidUntil.Format(time.RFC3339), key.until.Format(time.RFC3339))
	}
	return b, nil
}

// KindOf returns the kind a document claims, to choose what to open it as. Nothing is verified.
func KindOf(raw []byte) (string, error) {
	doc, _, err := unframe(raw)
	if err != nil {
		return "", err
	}
	b, err := parseBody(doc)
	if err != nil {
		return "", err
	}
	return b.Kind, nil
}

// unframe finds the signed bytes and the signature.
func unframe(raw []byte) (doc, signature []byte, err error) {
	if len(raw) > MaxBytes {
		return nil, nil, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(raw), MaxBytes)
	}
	rest, ok := bytes.CutPrefix(raw, []byte(frameHead))
	if !ok || len(raw) < bodyStart+len(frameTail) {
		return nil, nil, ErrFrame
	}
	text, rest := rest[:signatureText], rest[signatureText:]
	if rest, ok = bytes.CutPrefix(rest, []byte(frameMid)); !ok {
		return nil, nil, ErrFrame
	}
	if doc, ok = bytes.CutSuffix(rest, []byte(frameTail)); !ok {
		return nil, nil, ErrFrame
	}
	signature = make([]byte, 0, ed25519.SignatureSize+2)
	signature, err = base64.StdEncoding.Strict().AppendDecode(signature, text)
	if err != nil || len(signature) != ed25519.SignatureSize || !bytes.Equal(base64.StdEncoding.AppendEncode(nil, signature), text) {
		return nil, nil, ErrFrame
	}
	return doc, signature, nil
}

func parseBody(doc []byte) (b body, err error) {
	if err := strictJSON(doc, &b); err != nil {
		return body{}, fmt.Errorf("%w: %w", ErrContent, err)
	}
	if err := b.check(); err != nil {
		return body{}, fmt.Errorf("%w: %w", ErrContent, err)
	}
	return b, nil
}

// check holds for every document, made or read.
func (b *body) check() error {
	switch {
	case b.Kind == "":
		return errors.New("no kind")
	case b.Format < 1:
		return fmt.Errorf("format %d", b.Format)
	case b.Generation == 0:
		return errors.New("generation 0")
	case len(b.Payload) == 0 || b.Payload[0] != '{':
		return errors.New("the payload is no object")
	case b.Issued.IsZero() || b.ValidUntil.Before(b.Issued):
		return fmt.Errorf("valid until %s, issued %s", b.ValidUntil.Format(time.RFC3339), b.Issued.Format(time.RFC3339))
	}
	return nil
}

func (b *body) header() Header {
	return Header{Kind: b.Kind, Format: b.Format, Generation: b.Generation, Issued: b.Issued, ValidUntil: b.ValidUntil}
}
