package connpoint

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/channel"
	"github.com/causeway-gateway/causeway/signed"
)

const (
	defaultConnections = 2
	maxConnections     = 4
	// checkEvery is how often the connections are looked at (and logged) beside being redialled when they are lost.
	checkEvery = time.Minute
)

// An Agent is one connection point. Set the fields before Run; do not change them after.
type Agent struct {
	ID           causeway.ConnectionPointID // required
	Site         causeway.SiteID            // required; documents of another site are refused
	ConnectionID string                     // required; gateways compare it with their signed document
	SiteKey      signed.PublicKey           // required; where trust in documents begins
	DocumentsDir string                     // required; folder of signed documents, looked at each second

	// The role certificate: two PEM files, or a function. It is read at start, each minute and on Reload.
	CertificateFile, KeyFile string
	Certificate              func() (*tls.Certificate, error)

	Connections int // to each gateway instance; zero means 2, at most 4
	MaxInFlight int // requests taken from each gateway instance at a time; zero means any number
	// How gateways are reached.
	Transports  []channel.Transport // in the order of preference; empty means all, the best first
	Proxy       *Proxy              // nil means none
	ExtraCAs    *x509.CertPool      // of a proxy or a middle box that ends TLS on the way, beside the system's; may be nil
	ReturnEvery time.Duration       // how often better transports than the one in use are tried again; zero means 1 min
	Resolver    *net.Resolver       // looks names up at every dial; nil means the system's
	// Dial makes TCP connections to gateways and proxies. nil means a net.Dialer with the Resolver.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	Software          string               // version text for gateways and status
	DrainTimeout      time.Duration        // for requests under way when a channel is left; zero means 30 s
	MemoryBudgetBytes int64                // of body bytes on all channels; zero means the channel's default
	Logger            *slog.Logger         // nil means slog.Default(); lines for each request only at debug level
	Registry          *prometheus.Registry // nil means one of its own
	Now               func() time.Time     // nil means time.Now; for validity of documents and certificates

	once  sync.Once
	state agentState
}

// agentState is what an Agent keeps. init makes it.
type agentState struct {
	inside   inside
	channels *channels
	certs    *certificateSource
	reload   chan struct{}
	registry *prometheus.Registry
	started  time.Time

	// Owned by watchDocuments.
	store *signed.Store

	// Owned by maintain.
	checks   int
	reported map[string]uint64 // requests of each endpoint at its last traffic line
}

// Run keeps channels to every instance of every gateway in the signed document and serves what comes over them,
// until ctx ends. Then it asks the gateways to send no more, gives requests under way DrainTimeout, and returns nil.
// When it returns, every goroutine it started is gone.
func (a *Agent) Run(ctx context.Context) error {
	if err := a.check(); err != nil {
		return err
	}
	a.init()
	a.state.inside.debug = a.log().Enabled(ctx, slog.LevelDebug)
	var work sync.WaitGroup
	work.Go(func() { a.state.certs.run(ctx) })
	work.Go(func() { a.watchDocuments(ctx) })
	work.Go(func() { a.maintain(ctx) })
	work.Go(func() {
		<-ctx.Done()
		a.leave()
	})
	// Nothing starts channels any more once these are done, so waiting for the channels' work ends.
	work.Wait()
	a.state.channels.work.Wait()
	// Connections to servers go last: draining requests needed them.
	if c := a.state.inside.config.Load(); c != nil {
		c.close()
	}
	return nil
}

// leave says that requests under way are all that is left to do.
func (a *Agent) leave() {
	inFlight := 0
	for _, s := range a.state.channels.status() {
		inFlight += s.Streams
	}
	a.state.channels.leaving.Store(true)
	a.log().Info("stopping", "in_flight", inFlight, "drain_ms", cmp.Or(a.DrainTimeout, channel.DefaultDrainTimeout).Milliseconds())
}

// Reload reads documents and role certificate again, soon. It never blocks.
func (a *Agent) Reload() {
	a.init()
	select {
	case a.state.reload <- struct{}{}:
	default:
	}
	a.state.certs.ask()
}

// check names the first field that is missing or out of its bounds.
func (a *Agent) check() error {
	var none signed.PublicKey
	switch {
	case a.ID == "":
		return errors.New("connpoint: ID is missing")
	case a.Site == "":
		return errors.New("connpoint: Site is missing")
	case a.ConnectionID == "":
		return errors.New("connpoint: ConnectionID is missing")
	case a.SiteKey == none:
		return errors.New("connpoint: SiteKey is missing")
	case a.DocumentsDir == "":
		return errors.New("connpoint: DocumentsDir is missing")
	case a.Certificate == nil && (a.CertificateFile == "" || a.KeyFile == ""):
		return errors.New("connpoint: CertificateFile and KeyFile, or Certificate, are missing")
	case a.Connections < 0 || a.Connections > maxConnections:
		return fmt.Errorf("connpoint: Connections is %d, want 1 to %d", a.Connections, maxConnections)
	case a.MaxInFlight < 0:
		return fmt.Errorf("connpoint: MaxInFlight is %d", a.MaxInFlight)
	case a.ReturnEvery < 0:
		return fmt.Errorf("connpoint: ReturnEvery is %s", a.ReturnEvery)
	case a.Proxy != nil && a.Proxy.Check() != nil:
		return fmt.Errorf("connpoint: %w", a.Proxy.Check())
	case a.DrainTimeout < 0:
		return fmt.Errorf("connpoint: DrainTimeout is %s", a.DrainTimeout)
	}
	return nil
}

func (a *Agent) init() {
	a.once.Do(func() {
		now := a.Now
		if now == nil {
			now = time.Now
		}
		name := sha256.Sum256([]byte(string(a.Site) + "\x00" + string(a.ID)))
		s := &a.state
		s.started = now()
		s.inside.log, s.inside.now, s.inside.by = a.log(), now, hex.EncodeToString(name[:6])
		s.inside.warn.limiter = newWarnings()
		s.reload = make(chan struct{}, 1)
		s.reported = make(map[string]uint64)
		s.certs = newCertificateSource(a.certificate, a.log(), now)
		s.channels = &channels{agent: a, inside: &s.inside, certs: s.certs, memory: channel.NewMemory(a.MemoryBudgetBytes)}
		s.registry = a.Registry
		if s.registry == nil {
			s.registry = prometheus.NewRegistry()
			s.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
		}
		if err := s.registry.Register(collector{a}); err != nil {
			a.log().Error("metrics not registered", "err", err)
		}
	})
}

func (a *Agent) log() *slog.Logger {
	if a.Logger != nil {
		return a.Logger
	}
	return slog.Default()
}

func (a *Agent) connections() int {
	if a.Connections == 0 {
		return defaultConnections
	}
	return a.Connections
}

func (a *Agent) transports() []channel.Transport {
	if len(a.Transports) == 0 {
		return channel.Transports
	}
	return a.Transports
}

func (a *Agent) certificate() (*tls.Certificate, error) {
	if a.Certificate != nil {
		return a.Certificate()
	}
	c, err := tls.LoadX509KeyPair(a.CertificateFile, a.KeyFile)
	if err != nil {
		return nil, err
	}
	return &c, nil
}

func (a *Agent) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if a.Dial != nil {
		return a.Dial(ctx, network, address)
	}
	d := net.Dialer{KeepAlive: 30 * time.Second, Resolver: a.Resolver}
	return d.DialContext(ctx, network, address)
}

// maintain looks at the channels each minute. Each is redialled by itself as soon as it is lost; this is the
// operator's line about how things stand.
func (a *Agent) maintain(ctx context.Context) {
	t := time.NewTicker(checkEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		up, wanted := a.count()
		a.log().Info("Maintaining connections...", "connected", up, "wanted", wanted)
		a.checkDocument()
		a.logTraffic()
	}
}

func (a *Agent) count() (up, wanted int) {
	for _, s := range a.state.channels.status() {
		up += min(s.Connected, s.Wanted)
		wanted += s.Wanted
	}
	return up, wanted
}

// checkDocument raises the alarm about a document that is missing or whose time is over.
func (a *Agent) checkDocument() {
	c := a.state.inside.config.Load()
	switch {
	case c == nil:
		a.log().Warn("no signed document yet", "dir", a.DocumentsDir, "hint", "the site writes connection-point.json there")
	case c.header.Stale(a.state.inside.now()):
		a.log().Error("signed document is stale", "generation", c.header.Generation, "valid_until", stamp(c.header.ValidUntil),
			"devices_refused_at", stamp(c.header.ValidUntil.Add(causeway.DocumentGrace)), "hint", "see why the site writes no newer one")
	}
}
