package gateway

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/channel"
	"github.com/causeway-gateway/causeway/internal/http1"
	"github.com/causeway-gateway/causeway/signed"
)

// Config is what an instance needs. Fields without a remark are required.
type Config struct {
	Devices  net.Listener // public, where devices come
	Channels net.Listener // where connection points come
	Health   net.Listener // plain HTTP for the balancer's probe; nil: none

	Certificates *Certificates // of the service name, for both listeners
	Documents    *signed.Store // knows the site's public key, keeps the last good configuration

	Site     causeway.SiteID
	Gateway  causeway.GatewayName
	Instance causeway.InstanceID
	Slot     causeway.Slot

	Siblings Siblings // nil: other instances are reached at the private addresses that the signed document names

	Software       string               // what the welcome and the status say; may be empty
	Limits         Limits               // zero fields have defaults
	Timeouts       Timeouts             // zero fields have defaults
	Channel        channel.PoolConfig   // Gatekeeper and, if nil, Logger are set by New; zero fields have defaults
	AccessLogEvery int                  // one admitted request of so many is logged; 0: none
	Logger         *slog.Logger         // nil: slog.Default()
	Registry       *prometheus.Registry // nil: one of its own
	Now            func() time.Time     // nil: time.Now; certificates and documents are judged by it
}

// A Server is one gateway instance.
type Server struct {
	// Fixed at construction.
	devicesListener  net.Listener
	channelsListener net.Listener
	healthListener   net.Listener
	certificates     *Certificates
	documents        *signed.Store
	site             causeway.SiteID
	gateway          causeway.GatewayName
	instance         causeway.InstanceID
	slot             causeway.Slot
	software         string
	siblings         Siblings
	limits           Limits
	timeouts         Timeouts
	requestLimits    http1.Limits
	answerLimits     http1.Limits
	refusalRate      rate
	accessLogEvery   uint64
	log              *slog.Logger
	registry         *prometheus.Registry
	now              func() time.Time
	deviceTLS        *tls.Config
	channelTLS       *tls.Config
	exchanger        backend
	http2            *http2Front
	metrics          *metrics

	snapshot atomic.Pointer[snapshot] // nil until a document is in force

	applying   sync.Mutex // guards the fields below; held while a document is taken over
	gates      map[causeway.ServerName]*gate
	rawInForce []byte

	sources     *sources
	devices     *devices
	traffic     *traffic
	refusals    *refusalLog
	channelEnds *refusalLog // of connections that are no device's, and no refusal
	conns       conns
	channelGate channelGate
	pacer       pacer
	work        sync.WaitGroup // every goroutine that serves a connection
	recheck     chan struct{}

	inFlight atomic.Int64
	// memoryRefused is when a request was last turned away for want of memory, in Unix time; 0 for never.
	memoryRefused atomic.Int64
	largeChains   atomic.Int64 // connections that hold one and were not admitted yet
	accessCount   atomic.Uint64
	draining      atomic.Bool
	parting       atomic.Bool // idle connections end
	wasReady      atomic.Bool
	began         atomic.Int64 // when Run began, in nanoseconds of now
	listedAt      atomic.Int64 // when a document first named the instance
}

// backend is what a Server does with its channels: in tests somebody else does it.
type backend interface {
	exchanger
	Serve(ctx context.Context, conn net.Conn, by channel.Transport) error
	Drain(ctx context.Context)
	Recheck()
	MemoryUsedBytes() int64
	MemoryBudgetBytes() int64
	Room() channel.RoomStatus
}

// New checks the configuration and obeys the document that an earlier run kept. It starts nothing.
func New(c Config) (*Server, error) {
	for _, f := range []struct {
		name    string
		missing bool
	}{
		{"Devices", c.Devices == nil}, {"Channels", c.Channels == nil}, {"Certificates", c.Certificates == nil},
		{"Documents", c.Documents == nil}, {"Site", c.Site == ""}, {"Gateway", c.Gateway == ""}, {"Instance", c.Instance == ""},
	} {
		if f.missing {
			return nil, fmt.Errorf("gateway: Config.%s is missing", f.name)
		}
	}
	if !c.Slot.Valid() {
		return nil, fmt.Errorf("gateway: Config.Slot is %d; it must be from 0 to %d", c.Slot, causeway.MaxSlots-1)
	}
	limits, timeouts := c.Limits.or(), c.Timeouts.or()
	if err := errors.Join(limits.check(), timeouts.check()); err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	s := &Server{
		devicesListener: c.Devices, channelsListener: c.Channels, healthListener: c.Health,
		certificates: c.Certificates, documents: c.Documents,
		site: c.Site, gateway: c.Gateway, instance: c.Instance, slot: c.Slot, software: c.Software, siblings: c.Siblings,
		limits: limits, timeouts: timeouts,
		requestLimits:  http1.Limits{MaxHeadBytes: limits.MaxHeadBytes, MaxFields: limits.MaxFields, MaxTargetBytes: limits.MaxTargetBytes},
		answerLimits:   http1.Limits{MaxHeadBytes: limits.MaxAnswerHeadBytes, MaxFields: maxAnswerFields},
		refusalRate:    perSecond(float64(limits.RefusalsPerSecond), 5*limits.RefusalsPerSecond),
		accessLogEvery: uint64(max(0, c.AccessLogEvery)),
		log:            cmp.Or(c.Logger, slog.Default()),
		registry:       c.Registry,
		now:            c.Now,
		traffic:        newTraffic(),
		recheck:        make(chan struct{}, 1),
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.registry == nil {
		s.registry = prometheus.NewRegistry()
		s.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	}
	if err := s.assemble(c.Channel); err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	s.loadKept()
	return s, nil
}

// assemble makes the parts that need the settled configuration.
func (s *Server) assemble(pool channel.PoolConfig) error {
	var err error
	if s.metrics, err = newMetrics(s.registry); err != nil {
		return err
	}
	if err := s.registry.Register(collector{s}); err != nil {
		return err
	}
	s.sources, s.devices = newSources(s.ticks), newDevices(s.ticks)
	s.refusals = newRefusalLog(s.log, s.now, "more was refused")
	s.channelEnds = newRefusalLog(s.log, s.now, "more channel connections ended")
	s.deviceTLS, s.channelTLS = deviceTLS(s.certificates, s.now), channelTLS(s.certificates, s.now)
	s.deviceTLS.GetConfigForClient = s.peekHello
	s.channelTLS.GetConfigForClient = s.channelHello()
	s.http2 = newHTTP2Front(s)
	pool.Gatekeeper = gatekeeper{s}
	pool.Logger = cmp.Or(pool.Logger, s.log)
	s.exchanger = channel.NewPool(pool)
	return nil
}

// start is the origin of ticks.
var start = time.Now()

// ticks is a clock that no change of the system's time moves.
func (s *Server) ticks() int64 { return int64(time.Since(start)) }

// Run serves until ctx ends or a listener fails. Then it stops in the order that the package comment gives. When it
// returns, every connection is closed and every goroutine it started is gone.
func (s *Server) Run(ctx context.Context) error {
	s.began.Store(s.now().UnixNano())
	// What is under way when ctx ends goes on for the drain's time.
	work, stopWork := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stopWork(nil)

	health := &http.Server{Handler: s.healthHandler(), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute,
		WriteTimeout: 10 * time.Second, MaxHeaderBytes: 4 << 10, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug)}
	g, running := errgroup.WithContext(ctx)
	accepting, stopAccepting := context.WithCancel(running)
	defer stopAccepting()
	var loops sync.WaitGroup // nothing new begins once both have returned
	loops.Add(2)
	g.Go(func() error {
		defer loops.Done()
		return listenerError("devices", s.acceptLoop(accepting, s.devicesListener, func(c net.Conn) { s.takeDevice(work, c) }))
	})
	g.Go(func() error {
		defer loops.Done()
		return listenerError("channels", s.acceptLoop(accepting, s.channelsListener, func(c net.Conn) { s.takeChannel(work, c, s.cameBy(c)) }))
	})
	g.Go(func() error { return s.http2.serve(work) })
	if s.healthListener != nil {
		g.Go(func() error {
			if err := health.Serve(s.healthListener); !errors.Is(err, http.ErrServerClosed) {
				return listenerError("health", err)
			}
			return nil
		})
	}
	g.Go(func() error { s.certificates.follow(running, s.timeouts.Certificates, s.now, s.log); return nil })
	g.Go(func() error { s.maintain(running); return nil })
	g.Go(func() error {
		<-running.Done()
		s.stop(work, func() { stopAccepting(); s.closeListeners(); loops.Wait() }, stopWork)
		_ = health.Close()
		return nil
	})
	err := g.Wait()
	s.refusals.flush(true)
	s.channelEnds.flush(true)
	s.traffic.summarise(work, s.log)
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

func listenerError(name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s listener: %w", name, err)
}

// stop ends everything, in the order that loses least:
//
//  1. health says 503 and, after Notice, the balancer sends nothing new;
//  2. listeners close, so that devices go elsewhere; connections end with the next answer, and idle ones after Farewell,
//     because a request may be on its way that the device cannot repeat;
//  3. connection points are told to move away, while requests in flight finish;
//  4. what is left after Drain is cut: device connections first, channels last, because an answer needs both.
func (s *Server) stop(work context.Context, stopAccepting func(), stopWork context.CancelCauseFunc) {
	s.draining.Store(true)
	s.log.Info("stopping", "in_flight", s.inFlight.Load(), "drain_ms", s.timeouts.Drain.Milliseconds())
	if s.timeouts.Notice > 0 {
		time.Sleep(s.timeouts.Notice)
	}
	stopAccepting()

	drain, cancel := context.WithTimeout(work, s.timeouts.Drain)
	var drained sync.WaitGroup
	drained.Go(func() { s.http2.stop(drain) })
	drained.Go(func() { s.partConns(drain) })
	drained.Go(func() { s.exchanger.Drain(drain) })
	drained.Wait()
	cancel()

	s.conns.each(func(c *deviceConn) { c.reset() })
	stopWork(errStopping)
	s.http2.calls.close()
	s.work.Wait()
	s.log.Info("stopped")
}

// partConns waits until all device connections are gone or ctx ends, and lets go of the idle ones when their time is over.
func (s *Server) partConns(ctx context.Context) {
	farewell, cancel := context.WithTimeout(ctx, min(s.timeouts.Farewell, s.timeouts.Drain/2))
	s.conns.wait(farewell)
	cancel()
	s.parting.Store(true)
	s.conns.each((*deviceConn).part)
	s.conns.wait(ctx)
}

func (s *Server) closeListeners() {
	_ = s.devicesListener.Close()
	_ = s.channelsListener.Close()
}

// maintain does what is due now and then, until ctx ends.
func (s *Server) maintain(ctx context.Context) {
	second := time.NewTicker(time.Second)
	defer second.Stop()
	summary := time.NewTicker(s.timeouts.Summary)
	defer summary.Stop()
	minute := time.NewTicker(time.Minute)
	defer minute.Stop()
	s.checkAge()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.recheck:
			s.exchanger.Recheck()
		case <-second.C:
			s.refusals.flush(false)
			s.channelEnds.flush(false)
		case <-summary.C:
			s.traffic.summarise(ctx, s.log)
			s.checkAge()
		case <-minute.C:
			s.devices.sweep()
			s.sources.sweep()
			if snap := s.snapshot.Load(); snap != nil { // the certificate may be another now
				s.certificates.warnOfName(snap.doc.ServiceName, s.log)
			}
		}
	}
}

// checkAge warns of a configuration that nobody renewed.
func (s *Server) checkAge() {
	snap := s.snapshot.Load()
	now := s.now()
	if snap == nil || !snap.header.Stale(now) {
		return
	}
	attrs := []any{"generation", snap.header.Generation, "valid_until", snap.header.ValidUntil.UTC().Format(time.RFC3339),
		"hint", "see whether the site runs and a connection point reaches this instance"}
	if snap.stale(now, s.timeouts.Stale) {
		s.log.Error("configuration is stale, devices are refused", attrs...)
		return
	}
	s.log.Warn("configuration is past its time", append(attrs, "devices_refused_at", snap.header.ValidUntil.Add(s.timeouts.Stale).UTC().Format(time.RFC3339))...)
}

// Reload looks at the certificate files and the documents folder now.
func (s *Server) Reload() error {
	err := s.certificates.refresh(s.log)
	changed, problems := s.documents.Reload()
	for _, kind := range changed {
		if kind != signed.KindGateway {
			continue
		}
		if _, _, applyErr := s.Apply(s.documents.Raw(kind)); applyErr != nil {
			problems = append(problems, applyErr)
		}
	}
	return errors.Join(append(problems, err)...)
}
