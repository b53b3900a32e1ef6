package gateway

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/channel"
	"github.com/causeway-gateway/causeway/signed"
	"github.com/causeway-gateway/causeway/siteca"
)

// A gatekeeper is the Server as the channel sees it.
type gatekeeper struct{ s *Server }

func (g gatekeeper) Apply(raw []byte) (string, uint64, error) { return g.s.Apply(raw) }

func (g gatekeeper) Admit(h channel.Hello, peer []*x509.Certificate) (channel.Welcome, error) {
	err := g.s.admitConnectionPoint(&h, peer)
	if err != nil {
		g.s.metrics.channels.WithLabelValues("refused").Inc()
		if g.s.refusals.may(netip.Addr{}, causeway.CodeOf(err)) {
			g.s.log.Warn("connection point refused", "connection_point", shown(string(h.ConnectionPoint)), "err", shown(err.Error()),
				"hint", "compare its certificate, connection id and instance list with the site's")
		}
		return channel.Welcome{}, err
	}
	g.s.metrics.channels.WithLabelValues("admitted").Inc()
	return channel.Welcome{Instance: g.s.instance, Slot: g.s.slot, Software: g.s.software}, nil
}

// Apply verifies a signed document and obeys it from now on, if it is newer than the one in force. Anything wrong
// with it leaves that one in force and is an error. It returns the kind and the generation in force afterwards.
func (s *Server) Apply(raw []byte) (kind string, generation uint64, err error) {
	// The signature is judged before anything is parsed: whoever gets as far as the channel listener can send bytes.
	kind = signed.KindGateway
	generation, err = s.applyGateway(raw)
	if errors.Is(err, signed.ErrKind) {
		kind, generation, err = s.applySiteKey(raw)
	}
	if err != nil {
		s.documentRefused(kind, err)
	}
	return kind, generation, err
}

// applySiteKey follows the site to its next key.
func (s *Server) applySiteKey(raw []byte) (string, uint64, error) {
	kind, err := signed.KindOf(raw)
	if err != nil {
		return "", 0, err
	}
	if kind != signed.KindSiteKey {
		return kind, 0, fmt.Errorf("a gateway takes no document of kind %q", shown(kind))
	}
	s.applying.Lock()
	defer s.applying.Unlock()
	h, err := s.documents.Put(raw)
	if err == nil {
		s.log.Info("site key in force", "generation", h.Generation)
	}
	return kind, h.Generation, err
}

// documentRefused is an alarm: somebody sent what the site did not sign for us, or an old copy came back.
func (s *Server) documentRefused(kind string, err error) {
	s.metrics.documents.WithLabelValues("refused").Inc()
	if !s.refusals.may(netip.Addr{}, causeway.CodeForbidden) {
		return // whoever sends them by the thousand fills no disk
	}
	if errors.Is(err, signed.ErrOlder) {
		s.log.Warn("older document refused", "kind", shown(kind), "err", shown(err.Error()), "hint", "the configuration in force stays; the sender will be told the newer generation")
		return
	}
	s.log.Error("document refused", "kind", shown(kind), "err", shown(err.Error()), "hint", "the configuration in force stays; look for who sends documents that this site did not sign")
}

func (s *Server) applyGateway(raw []byte) (uint64, error) {
	s.applying.Lock()
	defer s.applying.Unlock()
	inForce := uint64(0)
	if old := s.snapshot.Load(); old != nil {
		inForce = old.header.Generation
		if bytes.Equal(raw, s.rawInForce) {
			return inForce, nil
		}
	}
	var doc signed.GatewayDocument
	h, err := signed.Open(raw, signed.KindGateway, s.documents.Keys(), &doc)
	if err != nil {
		return inForce, err
	}
	if err := h.Newer(inForce); err != nil {
		return inForce, err
	}
	snap, err := s.compile(h, &doc)
	if err != nil {
		return inForce, err
	}
	if _, err := s.documents.Put(raw); err != nil {
		if errors.Is(err, signed.ErrOlder) {
			return inForce, err
		}
		// A full disk must not keep a gateway from obeying, say, a block list. The copy is for the next start.
		s.log.Error("document not kept on disk", "generation", h.Generation, "err", err, "hint", "free space or make the documents folder writable; a restart would begin with an older configuration")
	}
	s.takeOver(snap, raw)
	return h.Generation, nil
}

// takeOver puts a snapshot in force. The caller holds applying.
func (s *Server) takeOver(snap *snapshot, raw []byte) {
	s.attach(snap)
	s.rawInForce = bytes.Clone(raw)
	s.snapshot.Store(snap)
	if snap.lists(s.slot, s.instance) {
		s.listedAt.CompareAndSwap(0, s.now().UnixNano())
	}
	s.metrics.documents.WithLabelValues("applied").Inc()
	s.log.Info("configuration applied", "generation", snap.header.Generation,
		"valid_until", snap.header.ValidUntil.UTC().Format(time.RFC3339), "publications", len(snap.doc.Publications),
		"connection_points", len(snap.doc.ConnectionPoints), "device_cas", len(snap.doc.DeviceTrust.CAs), "blocked", len(snap.doc.DeviceTrust.Blocked))
	s.certificates.warnOfName(snap.doc.ServiceName, s.log)
	select { // connection points may have been taken off the list; Run looks
	case s.recheck <- struct{}{}:
	default:
	}
}

// loadKept obeys the document that was kept at the last run, if it is still good.
func (s *Server) loadKept() {
	raw := s.documents.Raw(signed.KindGateway)
	if raw == nil {
		return
	}
	s.applying.Lock()
	defer s.applying.Unlock()
	var doc signed.GatewayDocument
	h, err := signed.Open(raw, signed.KindGateway, s.documents.Keys(), &doc)
	if err == nil {
		var snap *snapshot
		if snap, err = s.compile(h, &doc); err == nil {
			s.takeOver(snap, raw)
			return
		}
	}
	s.log.Error("kept document not usable", "err", err, "hint", "devices are refused until a connection point brings a newer one")
}

// admitConnectionPoint judges a connection point by the document in force: a certificate of the site's CA for this
// site and this id, an id that the document names, its connection id, and that it meant this very instance.
func (s *Server) admitConnectionPoint(h *channel.Hello, peer []*x509.Certificate) error {
	snap := s.snapshot.Load()
	if snap == nil {
		return causeway.Refuse(causeway.CodeConfigurationStale, "no configuration is in force and the hello brought none")
	}
	leaf, err := snap.verifyPeer(peer, s.now())
	if err != nil {
		return &causeway.Refusal{Code: causeway.CodeForbidden, Reason: "certificate", Err: err}
	}
	if h.Site != s.site || h.Gateway != s.gateway {
		return causeway.Refuse(causeway.CodeMisdirected, "hello for site %q, gateway %q", shown(string(h.Site)), shown(string(h.Gateway)))
	}
	if !siteca.Certifies(leaf, s.site, h.ConnectionPoint) {
		return causeway.Refuse(causeway.CodeForbidden, "certificate %q is not for connection point %q of this site", shown(leaf.Subject.String()), shown(string(h.ConnectionPoint)))
	}
	cp, listed := snap.connectionPoint(h.ConnectionPoint)
	if !listed {
		return causeway.Refuse(causeway.CodeForbidden, "connection point %q is not on the list", shown(string(h.ConnectionPoint)))
	}
	if subtle.ConstantTimeCompare([]byte(cp.ConnectionID), []byte(h.ConnectionID)) != 1 || cp.ConnectionID == "" {
		return causeway.Refuse(causeway.CodeForbidden, "wrong connection id")
	}
	if cp.CertificateSHA256 != "" {
		sum := sha256.Sum256(leaf.Raw)
		if pin, err := hex.DecodeString(cp.CertificateSHA256); err != nil || subtle.ConstantTimeCompare(pin, sum[:]) != 1 {
			return causeway.Refuse(causeway.CodeForbidden, "certificate is not the one that is pinned")
		}
	}
	if h.Slot != s.slot || h.Instance != "" && h.Instance != s.instance {
		return causeway.Refuse(causeway.CodeMisdirected, "it meant slot %d, instance %q", h.Slot, shown(string(h.Instance)))
	}
	return nil
}

// verifyPeer checks a channel certificate's chain against the site's CAs.
func (snap *snapshot) verifyPeer(peer []*x509.Certificate, now time.Time) (*x509.Certificate, error) {
	if len(peer) == 0 {
		return nil, errors.New("none presented")
	}
	if len(peer) > 5 {
		return nil, fmt.Errorf("a chain of %d certificates", len(peer))
	}
	leaf := peer[0]
	if leaf.IsCA {
		return nil, errors.New("it is a certificate authority's")
	}
	between := x509.NewCertPool()
	for _, c := range peer[1:] {
		between.AddCert(c)
	}
	_, err := leaf.Verify(x509.VerifyOptions{Roots: snap.siteCAs, Intermediates: between, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return leaf, err
}
