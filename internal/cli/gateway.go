package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/spf13/cobra"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/channel"
	"github.com/causeway-gateway/causeway/gateway"
	"github.com/causeway-gateway/causeway/internal/handoff"
	"github.com/causeway-gateway/causeway/internal/supervise"
	"github.com/causeway-gateway/causeway/signed"
)

// gatewayConfig is the configuration file of one gateway instance. The documents of the site say the rest.
type gatewayConfig struct {
	Site            causeway.SiteID      `yaml:"site"`
	SiteKey         string               `yaml:"site_key"`
	Gateway         causeway.GatewayName `yaml:"gateway"`
	Instance        causeway.InstanceID  `yaml:"instance"`
	Slot            causeway.Slot        `yaml:"slot"`
	CertificateFile string               `yaml:"certificate_file"`
	KeyFile         string               `yaml:"key_file"`
	DocumentsDir    string               `yaml:"documents_dir,omitempty"` // empty: in memory only

	// Where it listens when nobody hands it sockets: neither `up` nor systemd.
	DevicesListen  string `yaml:"devices_listen,omitempty"`
	ChannelsListen string `yaml:"channels_listen,omitempty"`
	HealthListen   string `yaml:"health_listen,omitempty"`

	DrainTimeout   duration      `yaml:"drain_timeout,omitempty"`
	AccessLogEvery int           `yaml:"access_log_every,omitempty"`
	MemoryBudget   memorySize    `yaml:"memory_budget,omitempty"` // of body bytes on all channels; zero means the channel's default
	Limits         gatewayLimits `yaml:"limits,omitempty"`

	Role roleConfig `yaml:",inline"`
}

// gatewayLimits are the bounds of an instance that documents leave to it. Zero means the documented default.
type gatewayLimits struct {
	MaxHandshakes          int `yaml:"max_handshakes,omitempty"`
	MaxHandshakesPerSource int `yaml:"max_handshakes_per_source,omitempty"`
	RefusalsPerSecond      int `yaml:"refusals_per_second,omitempty"`
}

func (a *app) gatewayCmd() *cobra.Command {
	return group("gateway", "run a gateway instance by itself", a.gatewayRunCmd())
}

func (a *app) gatewayRunCmd() *cobra.Command {
	r := &roleProcess{app: a, name: "gateway", served: true, asked: true}
	return r.carrierCmd(&cobra.Command{
		Short: "run one gateway instance with a configuration file",
		Long: `Run one gateway instance. It takes its listeners from systemd (sockets named devices, channels and health)
or binds the addresses of its configuration. SIGHUP makes it read its certificate and document again.`,
	}, func(cmd *cobra.Command) error { return r.runGateway(cmd.Context()) })
}

func (r *roleProcess) runGateway(ctx context.Context) error {
	if err := r.enter(); err != nil {
		return err
	}
	var cfg gatewayConfig
	if err := readConfig(r.config, &cfg); err != nil {
		return err
	}
	if err := errors.Join(cfg.check(r.config), cfg.checkFiles(r.config)); err != nil {
		return err
	}
	cfg.MemoryBudget = cmp.Or(r.budget, cfg.MemoryBudget)
	sockets, err := r.gatewaySockets(cfg)
	if err != nil {
		return err
	}
	defer sockets.close()
	log, leave, err := r.settle(cfg.Role, "CMGService", cfg.DocumentsDir, cfg.CertificateFile, cfg.KeyFile)
	if err != nil {
		return err
	}
	defer leave()
	srv, err := cfg.server(sockets, log)
	if err != nil {
		return err
	}
	warnOfOpenFiles(log.Logger, cfg.KeyFile)
	r.warnOfBudget(log.Logger, cfg.MemoryBudget, cfg.Role.MemoryLimit)
	if n := openFiles(); n < enoughFiles {
		log.Warn("the gateway may open few files, so it can hold few devices", "open_files", n, "want", enoughFiles,
			"hint", "raise the limit of who starts it: LimitNOFILE=262144 in its systemd unit, or ulimit -n 262144 as root")
	}
	return r.serve(ctx, cfg.Role, service{
		run:   func(ctx context.Context) error { return sockets.runWith(ctx, srv.Run) },
		admin: srv.AdminHandler(),
		reload: func() {
			if err := srv.Reload(); err != nil {
				log.Error("reload failed; what was in force stays in force", "err", err)
			}
		},
		ready:  map[string]any{"instance": cfg.Instance, "slot": cfg.Slot},
		logger: log.Logger,
	})
}

// mostOfALimit is what a gateway takes at most as one of its limits.
const mostOfALimit = 1 << 20

// check judges the fields and makes paths absolute.
func (c *gatewayConfig) check(path string) error {
	var errs []error
	errs = append(errs, required(path, map[string]string{
		"site": string(c.Site), "site_key": c.SiteKey, "gateway": string(c.Gateway), "instance": string(c.Instance),
		"certificate_file": c.CertificateFile, "key_file": c.KeyFile,
	}))
	if !c.Slot.Valid() {
		errs = append(errs, causeway.WithHint(misuse{fmt.Errorf("%s: %d is not one of 0-15", fieldOf(path, "slot"), c.Slot)},
			"give the slot that the folder was exported for"))
	}
	limits := map[string]int{
		"max_handshakes": c.Limits.MaxHandshakes, "max_handshakes_per_source": c.Limits.MaxHandshakesPerSource, "refusals_per_second": c.Limits.RefusalsPerSecond,
	}
	for _, field := range sortedKeys(limits) {
		if n := limits[field]; n < 0 || n > mostOfALimit {
			errs = append(errs, causeway.WithHint(misuse{fmt.Errorf("%s.%s: %d is not between 1 and %d", fieldOf(path, "limits"), field, n, mostOfALimit)},
				"give a number of 1 or more, or leave the line out for the default"))
		}
	}
	if c.AccessLogEvery < 0 {
		errs = append(errs, causeway.WithHint(misuse{fmt.Errorf("%s: %d is below 0", fieldOf(path, "access_log_every"), c.AccessLogEvery)},
			"one request of so many is logged; 0, or no such line, is none"))
	}
	addresses := map[string]string{"devices_listen": c.DevicesListen, "channels_listen": c.ChannelsListen, "health_listen": c.HealthListen}
	for _, field := range sortedKeys(addresses) {
		if address := addresses[field]; address != "" {
			errs = append(errs, listenAddress(fieldOf(path, field), address, false))
		}
	}
	errs = append(errs, checkSiteKey(path, c.SiteKey))
	for _, p := range []*string{&c.CertificateFile, &c.KeyFile, &c.DocumentsDir} {
		*p = beside(path, *p)
	}
	return errors.Join(append(errs, c.Role.check(path))...)
}

// checkFiles tells which files are missing, after check.
func (c *gatewayConfig) checkFiles(path string) error {
	return errors.Join(checkFile(path, "certificate_file", c.CertificateFile), checkFile(path, "key_file", c.KeyFile))
}

func (c *gatewayConfig) server(s *gatewaySockets, log *roleLog) (*gateway.Server, error) {
	key, err := signed.ParsePublicKey(c.SiteKey)
	if err != nil {
		return nil, fmt.Errorf("site_key: %w", err)
	}
	documents, problems, err := signed.OpenStore(c.DocumentsDir, key)
	if err != nil {
		return nil, fmt.Errorf("documents: %w", err)
	}
	for _, p := range problems {
		log.Warn("a document on disk was passed over", "err", p)
	}
	certificates, err := gateway.LoadCertificates(c.CertificateFile, c.KeyFile)
	if err != nil {
		return nil, err
	}
	return gateway.New(gateway.Config{
		Devices: s.devices, Channels: s.channels, Health: s.health,
		Certificates: certificates, Documents: documents,
		Site: c.Site, Gateway: c.Gateway, Instance: c.Instance, Slot: c.Slot, Software: software(),
		Limits: gateway.Limits{MaxHandshakes: c.Limits.MaxHandshakes, MaxHandshakesPerSource: c.Limits.MaxHandshakesPerSource,
			RefusalsPerSecond: c.Limits.RefusalsPerSecond},
		Siblings:       s.siblings(),
		Timeouts:       gateway.Timeouts{Drain: time.Duration(c.DrainTimeout)},
		AccessLogEvery: c.AccessLogEvery, Logger: log.Logger,
		Channel: channel.PoolConfig{Memory: channel.NewMemory(int64(c.MemoryBudget))},
	})
}

// gatewaySockets are an instance's listeners, wherever they come from.
type gatewaySockets struct {
	devices, channels, health net.Listener
	receiver                  *handoff.Receiver // nil when it binds by itself
}

// siblings is how the other instances are reached: through the balancer where there is one.
func (s *gatewaySockets) siblings() gateway.Siblings {
	if s.receiver == nil {
		return nil
	}
	return handedSiblings{s.receiver}
}

// gatewaySockets takes the listeners from the parent, from systemd or from the configuration, in this order.
func (r *roleProcess) gatewaySockets(cfg gatewayConfig) (*gatewaySockets, error) {
	if attach := r.inherited.File(attachName); attach != nil {
		receiver, err := handoff.NewReceiver(attach)
		if err != nil {
			return nil, err
		}
		return &gatewaySockets{
			devices: receiver.Listener(handoff.Public), channels: receiver.Listener(handoff.Channel),
			health: receiver.Listener(handoff.Health), receiver: receiver,
		}, nil
	}
	passed, err := activated(r.app.getenv)
	if err != nil {
		return nil, err
	}
	s := &gatewaySockets{devices: passed["devices"], channels: passed["channels"], health: passed["health"]}
	for _, w := range []struct {
		field, address string
		into           *net.Listener
		needed         bool
	}{
		{"devices_listen", cfg.DevicesListen, &s.devices, true},
		{"channels_listen", cfg.ChannelsListen, &s.channels, true},
		{"health_listen", cfg.HealthListen, &s.health, false},
	} {
		switch {
		case *w.into != nil || w.address == "" && !w.needed:
		case w.address == "":
			s.close()
			return nil, causeway.WithHint(misuse{fmt.Errorf("configuration %s: %s is missing", r.config, w.field)},
				"add a line such as %s: 0.0.0.0:443, or start it from its systemd socket units", w.field)
		default:
			if *w.into, err = listenOn(w.field, w.address); err != nil {
				s.close()
				return nil, err
			}
		}
	}
	return s, nil
}

// runWith runs serve, and beside it what hands over connections. Whichever ends first ends the other.
func (s *gatewaySockets) runWith(ctx context.Context, serve func(context.Context) error) error {
	if s.receiver == nil {
		return serve(ctx)
	}
	// Handing over goes on while serve drains: health must answer until the end.
	rctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	sctx, fail := context.WithCancelCause(ctx)
	received := make(chan error, 1)
	go func() {
		err := s.receiver.Run(rctx)
		fail(supervise.ErrParentGone)
		received <- err
	}()
	err := serve(sctx)
	stop()
	fail(nil)
	return errors.Join(err, ignore(<-received, handoff.ErrGone))
}

// ignore is err, unless it is one that was to be expected.
func ignore(err, expected error) error {
	if errors.Is(err, expected) {
		return nil
	}
	return err
}

func (s *gatewaySockets) close() {
	for _, ln := range []net.Listener{s.devices, s.channels, s.health} {
		if ln != nil {
			ln.Close()
		}
	}
}
