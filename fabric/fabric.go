package fabric

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/causeway-gateway/causeway/fabric/access"
	"github.com/causeway-gateway/causeway/fabric/entra"
	"github.com/causeway-gateway/causeway/fabric/keyvault"
	"github.com/causeway-gateway/causeway/fabric/providers"
	"github.com/causeway-gateway/causeway/fabric/resourcemanager"
	"github.com/causeway-gateway/causeway/fabric/state"
	"github.com/causeway-gateway/causeway/fabric/storage"
)

// A Config is what a fabric is made of.
type Config struct {
	Dir    string // its own folder, owner-only; made when it is not there
	Listen string // IP address
	Port   int    // 0 takes a free one
	Now    func() time.Time
	Log    *slog.Logger
}

// A Fabric is all planes, with their state open and their port taken.
type Fabric struct {
	cfg      Config
	names    names
	self     self
	state    *state.Store
	listener net.Listener
	identity *certificates
	planes   planes
	graph    http.Handler
	login    http.Handler
	blobs    http.Handler
	tables   http.Handler
	stop     context.CancelFunc // ends what Open began
}

// planes are the services behind the doors.
type planes struct {
	directory *entra.Directory
	access    *access.Control
	vaults    *keyvault.Service
	storage   *storage.Service
	resources *resourcemanager.Service
}

// Open opens the state, makes what is missing in it, and takes the port. Operations that were cut off go on at once.
func Open(ctx context.Context, cfg Config) (*Fabric, error) {
	f := &Fabric{cfg: cfg}
	ctx, f.stop = context.WithCancel(ctx)
	if err := f.open(ctx); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (f *Fabric) open(ctx context.Context) (err error) {
	cfg := f.cfg
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return err
	}
	if f.listener, err = net.Listen("tcp", net.JoinHostPort(cfg.Listen, strconv.Itoa(cfg.Port))); err != nil {
		return err
	}
	f.names = names{port: f.listener.Addr().(*net.TCPAddr).Port, listen: cfg.Listen}
	if f.state, err = state.Open(ctx, cfg.Dir); err != nil {
		return err
	}
	if f.self, err = openSelf(ctx, f.state); err != nil {
		return err
	}
	if f.identity, err = openCertificates(cfg.Dir, f.names.certified(), cfg.Now); err != nil {
		return err
	}
	if err := f.openPlanes(ctx); err != nil {
		return err
	}
	return f.ensureOwner(ctx)
}

func (f *Fabric) openPlanes(ctx context.Context) (err error) {
	p, n, cfg := &f.planes, f.names, f.cfg
	if p.directory, err = entra.Open(ctx, entra.Config{State: f.state, Now: cfg.Now, Log: cfg.Log, Tenant: f.self.Tenant, Authority: n.login(), Resource: n.isResource}); err != nil {
		return err
	}
	if p.access, err = access.Open(ctx, f.state, cfg.Now); err != nil {
		return err
	}
	authority := n.login() + "/" + f.self.Tenant
	if p.vaults, err = keyvault.Open(ctx, keyvault.Config{State: f.state, Now: cfg.Now, Log: cfg.Log, Suffix: n.vaults(), Authority: authority, Tenant: f.self.Tenant,
		Verify: p.directory.Verify, Allowed: p.access.Allowed}); err != nil {
		return err
	}
	if p.storage, err = storage.New(ctx, storage.Config{State: f.state, Dir: filepath.Join(cfg.Dir, "blobs"), BlobHost: n.blobs(), TableHost: n.tables(), Authority: authority,
		Verify: p.directory.Verify, Allowed: p.access.Allowed, Now: cfg.Now, Log: cfg.Log}); err != nil {
		return err
	}
	if p.resources, err = resourcemanager.Open(ctx, resourcemanager.Config{State: f.state, Now: cfg.Now, Log: cfg.Log, URL: n.management(), Audiences: n.managementAudiences(), Login: n.login(),
		Tenant: f.self.Tenant, TenantName: "Causeway fabric", Subscriptions: []resourcemanager.Subscription{{ID: f.self.Subscription, Name: "Causeway"}},
		Locations: []resourcemanager.Location{{Name: "local", Display: "Local"}}, Verify: p.directory.Verify, Access: p.access, Principal: p.principal,
		Providers: []*resourcemanager.Provider{providers.KeyVault(p.vaults), providers.Storage(p.storage), providers.Identity(p.directory, p.access)}}); err != nil {
		return err
	}
	f.graph, f.login = p.directory.Graph(n.graph(), n.graph()+"/"), p.directory.Login()
	f.blobs, f.tables = p.storage.BlobHandler(), p.storage.TableHandler()
	return nil
}

// principal says of what type one of the directory is.
func (p *planes) principal(object string) (kind string, known bool) {
	_, known = p.directory.Principal(object)
	return "ServicePrincipal", known
}

// Limits of the front: requests come from this machine, but anybody on it may send them.
const (
	headTimeout   = 10 * time.Second
	idleTimeout   = 2 * time.Minute
	maxHeadBytes  = 64 << 10
	drainTime     = 5 * time.Second
	maintainEvery = time.Minute
)

// Serve serves until ctx ends, and returns when nothing of it runs any more.
func (f *Fabric) Serve(ctx context.Context) error {
	server := &http.Server{Handler: f, ReadHeaderTimeout: headTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeadBytes,
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: f.identity.get}, ErrorLog: slog.NewLogLogger(f.cfg.Log.Handler(), slog.LevelDebug)}
	var work sync.WaitGroup
	work.Go(func() { f.maintain(ctx) })
	work.Go(func() {
		<-ctx.Done()
		quick, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
		defer cancel()
		if server.Shutdown(quick) != nil {
			_ = server.Close()
		}
	})
	err := server.ServeTLS(f.listener, "", "")
	work.Wait()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// maintain does now and then what has to be done in time.
func (f *Fabric) maintain(ctx context.Context) {
	tick := time.NewTicker(maintainEvery)
	defer tick.Stop()
	for {
		for name, do := range map[string]func(context.Context) error{"directory": f.planes.directory.Maintain, "vaults": f.planes.vaults.Sweep, "resources": f.planes.resources.Sweep} {
			if err := do(ctx); err != nil && ctx.Err() == nil {
				f.cfg.Log.Error("the fabric's upkeep failed", "of", name, "err", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Close ends what Open began. What was under way goes on the next time.
func (f *Fabric) Close() error {
	f.stop()
	if f.planes.resources != nil {
		f.planes.resources.Wait()
	}
	if f.listener != nil {
		_ = f.listener.Close()
	}
	if f.state == nil {
		return nil
	}
	if err := f.state.Close(); err != nil {
		return fmt.Errorf("close the fabric's state: %w", err)
	}
	return nil
}

// A Ready is where an open fabric is to be found.
type Ready struct {
	Tenant, Subscription     string
	Management, Login, Graph string // URLs
	Vaults, Blobs, Tables    string // what follows a name in a host, with the port
	CA                       []byte // PEM
}

// Ready says where the planes are.
func (f *Fabric) Ready() Ready {
	n := f.names
	return Ready{f.self.Tenant, f.self.Subscription, n.management(), n.login(), n.graph(), n.vaults(), n.blobs(), n.tables(), f.identity.authority.CertPEM()}
}
