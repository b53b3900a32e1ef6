package connpoint

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// certificateCycle is how often the role certificate is read again.
const certificateCycle = 60 * time.Second

// A certificateSource holds the role certificate. It is read by run alone; who needs it waits for it.
type certificateSource struct {
	load   func() (*tls.Certificate, error)
	log    *slog.Logger
	now    func() time.Time
	reload chan struct{}

	mu    sync.Mutex // guards the fields below
	cert  *tls.Certificate
	err   error
	ready chan struct{} // closed once there is a certificate
}

func newCertificateSource(load func() (*tls.Certificate, error), log *slog.Logger, now func() time.Time) *certificateSource {
	return &certificateSource{load: load, log: log, now: now, reload: make(chan struct{}, 1), ready: make(chan struct{})}
}

// run reads the certificate until ctx ends: at once, every minute, and when asked to.
func (s *certificateSource) run(ctx context.Context) {
	t := time.NewTicker(certificateCycle)
	defer t.Stop()
	for {
		s.read()
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-s.reload:
		}
	}
}

// read takes over what it can. A certificate that cannot be read leaves the one in use alone.
func (s *certificateSource) read() {
	c, err := s.load()
	if err == nil {
		err = s.check(c)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
	switch {
	case err != nil && s.cert == nil:
		s.log.Error("missing role certificate, reload in next cycle", "err", err, "retry_in_ms", certificateCycle.Milliseconds(),
			"hint", "issue a certificate for this connection point and put it where its configuration says")
	case err != nil:
		s.log.Warn("role certificate not usable, the one in use stays", "err", err, "not_after", stamp(s.cert.Leaf.NotAfter))
	default:
		if s.cert == nil || !s.cert.Leaf.Equal(c.Leaf) {
			s.log.Info("role certificate in use", "subject", c.Leaf.Subject.String(), "not_after", stamp(c.Leaf.NotAfter))
		}
		if s.cert == nil {
			close(s.ready)
		}
		s.cert = c
	}
}

func (s *certificateSource) check(c *tls.Certificate) error {
	if c == nil || len(c.Certificate) == 0 || c.PrivateKey == nil {
		return errors.New("no certificate with its key")
	}
	if c.Leaf == nil {
		leaf, err := x509.ParseCertificate(c.Certificate[0])
		if err != nil {
			return err
		}
		c.Leaf = leaf
	}
	if now := s.now(); now.After(c.Leaf.NotAfter) || now.Before(c.Leaf.NotBefore) {
		return fmt.Errorf("certificate is valid from %s to %s only", c.Leaf.NotBefore.Format(time.RFC3339), c.Leaf.NotAfter.Format(time.RFC3339))
	}
	return nil
}

// ask has the certificate read soon.
func (s *certificateSource) ask() {
	select {
	case s.reload <- struct{}{}:
	default:
	}
}

// wait returns the certificate, as soon as there is one.
func (s *certificateSource) wait(ctx context.Context) (*tls.Certificate, error) {
	s.mu.Lock()
	ready := s.ready
	s.mu.Unlock()
	select {
	case <-ready:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cert, nil
}

func (s *certificateSource) state() (c *tls.Certificate, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cert, s.err
}
