package signed

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/causeway-gateway/causeway/identity"
	"github.com/causeway-gateway/causeway/policy"
)

var issued = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

func newKey(t testing.TB) Key {
	t.Helper()
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func seal(t testing.TB, kind string, generation uint64, payload any, key Key) []byte {
	t.Helper()
	raw, err := Seal(kind, 1, generation, issued, issued.Add(72*time.Hour), payload, key)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// forge frames and signs bytes as they are, as only the site could.
func forge(doc string, key Key) []byte {
	signature := ed25519.Sign(key.private, append([]byte(context), doc...))
	return []byte(frameHead + base64.StdEncoding.EncodeToString(signature) + frameMid + doc + frameTail)
}

func gatewayDocument() GatewayDocument {
	return GatewayDocument{
		Site: "s", Gateway: "g", ServiceName: "gw.example", ServicePort: 443,
		DeviceTrust:      identity.Trust{CAs: []identity.CA{{Name: "ca", Certificate: []byte{1, 2}}}, Blocked: []identity.Block{{DeviceID: "pc"}}},
		SiteCAs:          [][]byte{{3, 4}},
		ConnectionPoints: []ConnectionPoint{{ID: "cp", ConnectionID: "secret"}},
		Instances:        []Instance{{Slot: 1, ID: "i", Name: "n", PrivateAddress: "127.0.0.1"}},
		Publications: []policy.Publication{{Name: "apt", Host: "apt.example",
			Rules: []policy.Rule{{Path: "/", AnswerTimeout: policy.Duration(90 * time.Second)}}}},
		Limits: Limits{MaxConnections: 10, DeviceRatePerSecond: 1.5},
	}
}

func connectionPointDocument() ConnectionPointDocument {
	return ConnectionPointDocument{
		Site: "s",
		Gateways: []Gateway{{Name: "g", ServiceName: "gw.example", ServicePort: 443, Address: "192.0.2.1", ServiceCAs: [][]byte{{1}},
			ServiceCertificateSHA256: []string{"ab"}, Instances: []GatewayInstance{{Slot: 1, ID: "i", Address: "192.0.2.2", ChannelPort: 10125}}}},
		Servers: []Server{{Name: "apt", URL: "https://10.0.0.5/x", CAs: "PEM", ClientCertificate: "PEM", ClientKey: "KEY", HostHeader: HostOutside, IdentityForms: []string{"nginx"}}},
	}
}

func TestDocumentsCrossUnchanged(t *testing.T) {
	key := newKey(t)
	keys := NewKeySet(key.Public())
	var g GatewayDocument
	raw := seal(t, KindGateway, 7, gatewayDocument(), key)
	h, err := Open(raw, KindGateway, keys, &g)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(gatewayDocument(), g); diff != "" {
		t.Error(diff)
	}
	if want := (Header{KindGateway, 1, 7, issued, issued.Add(72 * time.Hour)}); h != want {
		t.Errorf("header %+v, want %+v", h, want)
	}
	var c ConnectionPointDocument
	if _, err := Open(seal(t, KindConnectionPoint, 8, connectionPointDocument(), key), KindConnectionPoint, keys, &c); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(connectionPointDocument(), c); diff != "" {
		t.Error(diff)
	}
	if !json.Valid(raw) {
		t.Error("a document is no JSON")
	}
	if kind, err := KindOf(raw); err != nil || kind != KindGateway {
		t.Errorf("kind %q, %v", kind, err)
	}
}

func TestHeaderAnswers(t *testing.T) {
	h := Header{Kind: KindGateway, Generation: 7, Issued: issued, ValidUntil: issued.Add(time.Hour)}
	if err := h.Newer(6); err != nil {
		t.Error(err)
	}
	for _, known := range []uint64{7, 8} {
		if err := h.Newer(known); !errors.Is(err, ErrOlder) {
			t.Errorf("known %d: %v", known, err)
		}
	}
	if h.Stale(issued.Add(time.Hour)) || !h.Stale(issued.Add(time.Hour+1)) {
		t.Error("stale at the wrong time")
	}
}

// TestEveryFlippedBitIsRefused changes each bit of a document, one at a time.
func TestEveryFlippedBitIsRefused(t *testing.T) {
	key := newKey(t)
	keys := NewKeySet(key.Public())
	raw := seal(t, KindSiteKey, 1, SiteKeyDocument{Next: key.Public(), OldValidUntil: issued}, key)
	for i := range raw {
		for bit := range 8 {
			bad := bytes.Clone(raw)
			bad[i] ^= 1 << bit
			var into SiteKeyDocument
			if _, err := Open(bad, KindSiteKey, keys, &into); err == nil {
				t.Fatalf("bit %d of byte %d: accepted", bit, i)
			}
			if into != (SiteKeyDocument{}) {
				t.Fatalf("bit %d of byte %d: half of it was taken over", bit, i)
			}
		}
	}
	for n := range raw {
		if _, err := Open(raw[:n], KindSiteKey, keys, new(SiteKeyDocument)); err == nil {
			t.Fatalf("cut to %d bytes: accepted", n)
		}
	}
}

func TestRefusals(t *testing.T) {
	key, other := newKey(t), newKey(t)
	good := `{"kind":"gateway","format":1,"generation":1,"issued":"2026-06-01T12:00:00Z","valid_until":"2026-06-04T12:00:00Z","payload":{"site":"s"}}`
	replace := func(old, new string) []byte {
		t.Helper()
		if !strings.Contains(good, old) {
			t.Fatalf("%q is not in the document", old)
		}
		return forge(strings.Replace(good, old, new, 1), key)
	}
	if _, err := Open(forge(good, key), KindGateway, NewKeySet(key.Public()), new(GatewayDocument)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		raw  []byte
		want error
	}{
		{"nothing", nil, ErrFrame},
		{"no frame", []byte(good), ErrFrame},
		{"data behind the frame", append(forge(good, key), ' '), ErrFrame},
		{"space before the frame", append([]byte(" "), forge(good, key)...), ErrFrame},
		{"another key", forge(good, other), ErrSignature},
		{"another key, and no JSON", forge("{", other), ErrSignature},
		{"too large", bytes.Repeat([]byte("a"), MaxBytes+1), ErrTooLarge},
		{"another kind", replace(`"gateway"`, `"connection-point"`), ErrKind},
		{"a newer format", replace(`"format":1`, `"format":2`), ErrFormat},
		{"format zero", replace(`"format":1`, `"format":0`), ErrContent},
		{"generation zero", replace(`"generation":1`, `"generation":0`), ErrContent},
		{"negative generation", replace(`"generation":1`, `"generation":-1`), ErrContent},
		{"ends before it begins", replace("2026-06-04", "2026-05-04"), ErrContent},
		{"no time", replace(`"issued":"2026-06-01T12:00:00Z",`, ""), ErrContent},
		{"no payload", replace(`,"payload":{"site":"s"}`, ""), ErrContent},
		{"null for a payload", replace(`{"site":"s"}`, "null"), ErrContent},
		{"a list for a payload", replace(`{"site":"s"}`, "[]"), ErrContent},
		{"unknown field", replace(`"site":"s"`, `"site":"s","color":"red"`), ErrContent},
		{"unknown field in the header", replace(`"kind"`, `"x":1,"kind"`), ErrContent},
		{"a field twice", replace(`"site":"s"`, `"site":"s","site":"t"`), ErrContent},
		{"a field twice in another case", replace(`"site":"s"`, `"site":"s","SITE":"t"`), ErrContent},
		{"kind twice", replace(`"kind":"gateway"`, `"kind":"x","kind":"gateway"`), ErrContent},
		{"wrong type", replace(`"site":"s"`, `"site":5`), ErrContent},
		{"two values", forge(good+good, key), ErrContent},
		{"cut short", forge(good[:len(good)-1], key), ErrContent},
		{"not UTF-8", replace(`"site":"s"`, "\"site\":\"\xff\""), ErrContent},
		{"nested without end", replace(`{"site":"s"}`, strings.Repeat(`{"a":`, 100)+"1"+strings.Repeat("}", 100)), ErrContent},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var into GatewayDocument
			if _, err := Open(tt.raw, KindGateway, NewKeySet(key.Public()), &into); !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
			if !cmp.Equal(into, GatewayDocument{}) {
				t.Errorf("part of it was taken over: %+v", into)
			}
		})
	}
}

func TestSealRefusesWhatOpenWould(t *testing.T) {
	key := newKey(t)
	until := issued.Add(time.Hour)
	for name, err := range map[string]error{
		"no kind":              sealError(Seal("", 1, 1, issued, until, 1, key)),
		"no format":            sealError(Seal(KindGateway, 0, 1, issued, until, 1, key)),
		"generation zero":      sealError(Seal(KindGateway, 1, 0, issued, until, 1, key)),
		"ends before it began": sealError(Seal(KindGateway, 1, 1, until, issued, 1, key)),
		"no time":              sealError(Seal(KindGateway, 1, 1, time.Time{}, until, 1, key)),
		"not JSON":             sealError(Seal(KindGateway, 1, 1, issued, until, func() {}, key)),
		"too large":            sealError(Seal(KindGateway, 1, 1, issued, until, strings.Repeat("a", MaxBytes), key)),
	} {
		if err == nil {
			t.Errorf("%s: sealed", name)
		}
	}
}

func sealError(_ []byte, err error) error { return err }

func TestKeysDoNotPrint(t *testing.T) {
	key := newKey(t)
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "key", key, "server", Server{ClientKey: "hunter2"}.ClientKey)
	doc := connectionPointDocument()
	doc.Servers[0].ClientKey = "hunter2"
	for _, text := range []string{fmt.Sprintf("%v %+v %#v %s", key, key, key, key), fmt.Sprintf("%v %+v %#v", doc, doc, doc), log.String()} {
		if strings.Contains(text, "hunter2") || strings.Contains(text, fmt.Sprint([]byte(key.private.Seed())[0:4])) || strings.Contains(text, base64.StdEncoding.EncodeToString(key.private)[:20]) {
			t.Errorf("a secret is printed: %s", text)
		}
	}
}

func TestKeyPEM(t *testing.T) {
	key := newKey(t)
	text, err := key.MarshalPEM()
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseKeyPEM(text)
	if err != nil || again.Public() != key.Public() {
		t.Errorf("%v", err)
	}
	for _, bad := range []string{"", "x", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", strings.Replace(string(text), "PRIVATE", "PUBLIC", 2)} {
		if _, err := ParseKeyPEM([]byte(bad)); err == nil {
			t.Errorf("%q is a key", bad)
		}
	}
	public, err := ParsePublicKey(key.Public().String())
	if err != nil || public != key.Public() {
		t.Errorf("%v, %v", public, err)
	}
	for _, bad := range []string{"", "AAAA", key.Public().String() + "\n", strings.TrimSuffix(key.Public().String(), "=")} {
		if _, err := ParsePublicKey(bad); err == nil {
			t.Errorf("%q is a public key", bad)
		}
	}
}

// FuzzOpen: with a valid signature or without, no bytes make Open panic, and whatever it accepts is sealed again to
// the same payload.
func FuzzOpen(f *testing.F) {
	key := newKey(f)
	keys := NewKeySet(key.Public())
	f.Add(seal(f, KindGateway, 7, gatewayDocument(), key), true)
	f.Add([]byte(`{"kind":"gateway","format":1,"generation":1,"issued":"2026-06-01T12:00:00Z","valid_until":"2026-06-04T12:00:00Z","payload":{"site":"s"}}`), false)
	f.Add([]byte(`{"kind":"gateway","kind":[[[]]]}`), false)
	f.Fuzz(func(t *testing.T, b []byte, framed bool) {
		if !framed {
			b = forge(string(b), key)
		}
		var doc GatewayDocument
		h, err := Open(b, KindGateway, keys, &doc)
		if err != nil {
			return
		}
		again, err := Seal(h.Kind, h.Format, h.Generation, h.Issued, h.ValidUntil, doc, key)
		if err != nil {
			t.Fatalf("%q is accepted but not sealed: %v", b, err)
		}
		var same GatewayDocument
		if _, err := Open(again, KindGateway, keys, &same); err != nil {
			t.Fatalf("%q: %v", again, err)
		}
		if a, b := mustJSON(t, doc), mustJSON(t, same); !bytes.Equal(a, b) {
			t.Fatalf("%s became %s", a, b)
		}
	})
}

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
