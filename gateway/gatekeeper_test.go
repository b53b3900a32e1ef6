package gateway

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/channel"
	"github.com/causeway-gateway/causeway/policy"
	"github.com/causeway-gateway/causeway/signed"
)

func TestWithoutConfigurationDevicesGet503(t *testing.T) {
	in := prepare(t)
	in.start()
	d := in.dial("pc-1")
	r := d.ask(get("/app/"))
	r.wants(t, 503, causeway.CodeConfigurationStale)
	if r.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	in.apply(nil)
	d.ask(get("/app/")).wants(t, 200, 0)
}

func TestBadDocumentsAreRefusedWholeAndTheOldOneStays(t *testing.T) {
	in := run(t)
	older := in.seal(nil)
	in.apply(nil)
	forger, err := signed.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	seal := func(gen uint64, key signed.Key, doc signed.GatewayDocument) []byte {
		raw, err := signed.Seal(signed.KindGateway, signed.FormatGateway, gen, time.Now(), time.Now().Add(time.Hour), doc, key)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	with := func(change func(*signed.GatewayDocument)) []byte {
		doc := in.doc
		change(&doc)
		return seal(99, in.key, doc)
	}
	good := seal(99, in.key, in.doc)
	tampered := []byte(strings.Replace(string(good), testName, "gateway.tess", 1))
	for name, raw := range map[string][]byte{
		"older generation":       older,
		"another key":            seal(99, forger, in.doc),
		"tampered":               tampered,
		"cut":                    good[:len(good)-3],
		"bytes behind":           append(append([]byte{}, good...), ' '),
		"empty":                  nil,
		"garbage":                []byte("{}"),
		"another site":           with(func(d *signed.GatewayDocument) { d.Site = "site-2" }),
		"another gateway":        with(func(d *signed.GatewayDocument) { d.Gateway = "branch" }),
		"bad device CA":          with(func(d *signed.GatewayDocument) { d.DeviceTrust.CAs[0].Certificate = []byte("x") }),
		"bad site CA":            with(func(d *signed.GatewayDocument) { d.SiteCAs = [][]byte{[]byte("x")} }),
		"no site CA":             with(func(d *signed.GatewayDocument) { d.SiteCAs = nil }),
		"reserved publication":   with(func(d *signed.GatewayDocument) { d.Publications = []policy.Publication{{Name: "CCM_x"}} }),
		"publication name twice": with(func(d *signed.GatewayDocument) { d.Publications = []policy.Publication{{Name: "a"}, {Name: "a"}} }),
	} {
		t.Run(name, func(t *testing.T) {
			// with shares the CA list with in.doc; keep that one good
			in.doc.DeviceTrust.CAs[0].Certificate = in.deviceCA.cert.Raw
			if _, gen, err := in.Apply(raw); err == nil || gen != in.gen && gen != 0 {
				t.Errorf("Apply: generation %d, err %v", gen, err)
			}
			if got := in.snapshot.Load().header.Generation; got != in.gen {
				t.Errorf("generation %d is in force, want %d", got, in.gen)
			}
		})
	}
	if !strings.Contains(in.logs.String(), "document refused") {
		t.Error("no alarm")
	}
	in.dial("pc-1").ask(get("/app/")).wants(t, 200, 0)
	if _, _, err := in.Apply(in.rawInForce); err != nil {
		t.Errorf("the very document in force: %v", err)
	}
}

func TestLastGoodDocumentSurvivesARestartAndIsAFloor(t *testing.T) {
	dir := t.TempDir()
	in := prepare(t)
	open := func() *signed.Store {
		store, problems, err := signed.OpenStore(dir, in.key.Public())
		if err != nil || len(problems) > 0 {
			t.Fatal(err, problems)
		}
		return store
	}
	again := func() *Server {
		s, err := New(Config{Devices: in.devices, Channels: in.channels, Certificates: in.certificates, Documents: open(), Site: testSite,
			Gateway: testGateway, Instance: testInstance, Slot: 3, Logger: in.log})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := again()
	first := in.seal(nil)
	second := in.seal(nil)
	if _, _, err := s.Apply(second); err != nil {
		t.Fatal(err)
	}
	s = again()
	if snap := s.snapshot.Load(); snap == nil || snap.header.Generation != 2 {
		t.Fatalf("after a restart %+v is in force", snap)
	}
	if _, gen, err := s.Apply(first); !errors.Is(err, signed.ErrOlder) || gen != 2 {
		t.Errorf("older document after a restart: generation %d, err %v", gen, err)
	}
}

func TestGatewayObeysAlthoughItCannotWrite(t *testing.T) {
	if os.Getuid() == 0 {
		// Root writes through permissions, not through a file where a folder should be.
	}
	dir := filepath.Join(t.TempDir(), "documents")
	in := prepare(t)
	store, _, err := signed.OpenStore(dir, in.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	in.documents = store
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	in.apply(nil)
	if in.snapshot.Load() == nil || !strings.Contains(in.logs.String(), "document not kept on disk") {
		t.Error("document was not obeyed, or nobody was told that it is not on disk")
	}
	older := in.gen
	in.apply(nil)
	if in.snapshot.Load().header.Generation != older+1 {
		t.Error("next document was not obeyed")
	}
}

func TestSiteKeyRotation(t *testing.T) {
	in := run(t)
	next, err := signed.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := signed.Seal(signed.KindSiteKey, signed.FormatSiteKey, 1, time.Now(), time.Now().Add(time.Hour),
		signed.SiteKeyDocument{Next: next.Public(), OldValidUntil: time.Now().Add(time.Hour).UTC().Truncate(time.Second)}, in.key)
	if err != nil {
		t.Fatal(err)
	}
	in.gen++
	early, err := signed.Seal(signed.KindGateway, signed.FormatGateway, in.gen, time.Now(), time.Now().Add(time.Hour), in.doc, next)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := in.Apply(early); !errors.Is(err, signed.ErrSignature) {
		t.Errorf("a key that nobody named was believed: %v", err)
	}
	if kind, _, err := in.Apply(raw); err != nil || kind != signed.KindSiteKey {
		t.Fatalf("%q: %v", kind, err)
	}
	if _, gen, err := in.Apply(early); err != nil || gen != in.gen {
		t.Errorf("next key's document: %d, %v", gen, err)
	}
}

func TestStaleConfigurationStopsDevicesAndNotChannels(t *testing.T) {
	now := time.Now()
	in := prepare(t, func(c *Config) { c.Now = func() time.Time { return now } })
	in.apply(nil)
	cert := in.siteCA.issue("cp-1", forConnectionPoint(testSite, "cp-1"))
	check := func(wantState string, wantCode causeway.Code) {
		t.Helper()
		in.checkAge()
		c := &call{callState: callState{s: in.Server, conn: &deviceConn{s: in.Server, source: &source{}}}}
		if err := c.req.Parse([]byte(get("/app/")), in.requestLimits); err != nil {
			t.Fatal(err)
		}
		if code := causeway.CodeOf(c.judge()); code != wantCode {
			t.Errorf("device got %v, want %v", code, wantCode)
		}
		if got := in.Status().State; got != wantState {
			t.Errorf("state %q, want %q", got, wantState)
		}
		h := channel.Hello{Site: testSite, Gateway: testGateway, ConnectionPoint: "cp-1", ConnectionID: "secret-1", Slot: 3}
		if wantState != "ready" {
			cert.Leaf.NotAfter = now.Add(time.Hour)
		}
		if err := in.admitConnectionPoint(&h, []*x509.Certificate{cert.Leaf}); err != nil {
			t.Errorf("channel: %v", err)
		}
	}
	check("ready", causeway.CodeClientCertificateRequired)
	now = now.Add(2 * time.Hour)
	check("ready", causeway.CodeClientCertificateRequired)
	if !strings.Contains(in.logs.String(), "configuration is past its time") {
		t.Error("no warning")
	}
	now = now.Add(causeway.DocumentGrace)
	check("stale", causeway.CodeConfigurationStale)
	if !strings.Contains(in.logs.String(), "devices are refused") {
		t.Error("no alarm")
	}
}

func TestOnlyTheSitesConnectionPointsAreAdmitted(t *testing.T) {
	in := prepare(t)
	chain := func(c tls.Certificate) []*x509.Certificate { return []*x509.Certificate{c.Leaf} }
	good := in.siteCA.issue("cp-1", forConnectionPoint(testSite, "cp-1"))
	otherSite := newCA(t, "Site CA")
	hello := channel.Hello{Site: testSite, Gateway: testGateway, ConnectionPoint: "cp-1", ConnectionID: "secret-1", Slot: 3, Instance: testInstance}
	if _, err := (gatekeeper{in.Server}).Admit(hello, chain(good)); causeway.CodeOf(err) != causeway.CodeConfigurationStale {
		t.Errorf("without a document: %v", err)
	}
	in.apply(func(d *signed.GatewayDocument) {
		d.ConnectionPoints = append(d.ConnectionPoints, signed.ConnectionPoint{ID: "cp-2"}, // without a connection id
			signed.ConnectionPoint{ID: "cp-3", ConnectionID: "secret-3", CertificateSHA256: pin(good)})
	})
	w, err := gatekeeper{in.Server}.Admit(hello, chain(good))
	if err != nil || w.Instance != testInstance || w.Slot != 3 || w.Software != "test" {
		t.Fatalf("welcome %+v, err %v", w, err)
	}
	noInstance := hello
	noInstance.Instance = ""
	if _, err := (gatekeeper{in.Server}).Admit(noInstance, chain(good)); err != nil {
		t.Errorf("hello without a list: %v", err)
	}
	for name, tt := range map[string]struct {
		change func(*channel.Hello)
		peer   []*x509.Certificate
		code   causeway.Code
	}{
		"certificate of another site's CA": {nil, chain(otherSite.issue("cp-1", forConnectionPoint(testSite, "cp-1"))), causeway.CodeForbidden},
		"certificate for another site":     {nil, chain(in.siteCA.issue("cp-1", forConnectionPoint("site-2", "cp-1"))), causeway.CodeForbidden},
		"certificate for another id":       {nil, chain(in.siteCA.issue("cp-9", forConnectionPoint(testSite, "cp-9"))), causeway.CodeForbidden},
		"certificate without a URI":        {nil, chain(in.siteCA.issue("cp-1")), causeway.CodeForbidden},
		"device certificate":               {nil, chain(in.deviceCA.issue("cp-1", forConnectionPoint(testSite, "cp-1"))), causeway.CodeForbidden},
		"server certificate": {nil, chain(in.siteCA.issue("cp-1", forConnectionPoint(testSite, "cp-1"), func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		})), causeway.CodeForbidden},
		"expired": {nil, chain(in.siteCA.issue("cp-1", forConnectionPoint(testSite, "cp-1"), func(c *x509.Certificate) {
			c.NotAfter = time.Now().Add(-time.Minute)
		})), causeway.CodeForbidden},
		"CA itself":           {nil, []*x509.Certificate{in.siteCA.cert}, causeway.CodeForbidden},
		"no certificate":      {nil, nil, causeway.CodeForbidden},
		"wrong connection id": {func(h *channel.Hello) { h.ConnectionID = "secret-2" }, chain(good), causeway.CodeForbidden},
		"no connection id":    {func(h *channel.Hello) { h.ConnectionID = "" }, chain(good), causeway.CodeForbidden},
		"empty id of the document": {func(h *channel.Hello) { h.ConnectionPoint, h.ConnectionID = "cp-2", "" },
			chain(in.siteCA.issue("cp-2", forConnectionPoint(testSite, "cp-2"))), causeway.CodeForbidden},
		"not the pinned certificate": {func(h *channel.Hello) { h.ConnectionPoint, h.ConnectionID = "cp-3", "secret-3" },
			chain(in.siteCA.issue("cp-3", forConnectionPoint(testSite, "cp-3"))), causeway.CodeForbidden},
		"not on the list": {func(h *channel.Hello) { h.ConnectionPoint = "cp-7" },
			chain(in.siteCA.issue("cp-7", forConnectionPoint(testSite, "cp-7"))), causeway.CodeForbidden},
		"another site in the hello": {func(h *channel.Hello) { h.Site = "site-2" }, chain(good), causeway.CodeMisdirected},
		"another gateway":           {func(h *channel.Hello) { h.Gateway = "branch" }, chain(good), causeway.CodeMisdirected},
		"another slot":              {func(h *channel.Hello) { h.Slot = 4 }, chain(good), causeway.CodeMisdirected},
		"another instance":          {func(h *channel.Hello) { h.Instance = "inst-b" }, chain(good), causeway.CodeMisdirected},
	} {
		t.Run(name, func(t *testing.T) {
			h := hello
			if tt.change != nil {
				tt.change(&h)
			}
			if _, err := (gatekeeper{in.Server}).Admit(h, tt.peer); err == nil || causeway.CodeOf(err) != tt.code {
				t.Errorf("got %v, want %s", err, tt.code)
			}
		})
	}
}

func pin(c tls.Certificate) string {
	sum := sha256.Sum256(c.Leaf.Raw)
	return hex.EncodeToString(sum[:])
}

func TestChangedListIsJudgedAgain(t *testing.T) {
	in := run(t)
	in.apply(func(d *signed.GatewayDocument) { d.ConnectionPoints = nil })
	waitFor(t, func() bool {
		in.backend.mu.Lock()
		defer in.backend.mu.Unlock()
		return in.backend.rechecks > 0
	})
}

func TestHealthFollowsChannelsAndTime(t *testing.T) {
	now := time.Now()
	in := prepare(t, func(c *Config) { c.Now = func() time.Time { return now } })
	in.backend.notReady = true
	in.began.Store(now.UnixNano())
	check := func(want bool, when string) {
		t.Helper()
		if got := in.healthy(); got != want {
			t.Errorf("%s: healthy %v, want %v", when, got, want)
		}
	}
	check(false, "at the start")
	in.apply(nil)
	now = now.Add(30 * time.Second)
	check(false, "with a document that does not name the instance")
	in.apply(func(d *signed.GatewayDocument) {
		d.Instances = []signed.Instance{{Slot: 3, ID: "an older life"}, {Slot: 4, ID: testInstance}}
	})
	now = now.Add(30 * time.Second)
	check(false, "with a document that names another life")
	in.apply(func(d *signed.GatewayDocument) { d.Instances = []signed.Instance{{Slot: 3, ID: testInstance}} })
	now = now.Add(9 * time.Second)
	check(false, "9 s after it was named")
	now = now.Add(time.Second)
	check(true, "10 s after it was named")
	in.listedAt.Store(0)
	check(false, "not named")
	now = now.Add(51 * time.Second)
	check(true, "2 min after the start")
	in.began.Store(now.UnixNano())
	check(false, "just started")
	in.backend.notReady = false
	check(true, "with a channel")
	in.draining.Store(true)
	check(false, "draining")
}
