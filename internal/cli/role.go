package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/console"
	"github.com/causeway-gateway/causeway/internal/confine"
	"github.com/causeway-gateway/causeway/internal/supervise"
	"github.com/causeway-gateway/causeway/internal/unixsock"
)

// A roleProcess is what every role's process has in common: how it is confined, logs, is asked and ends.
//
// Under `up` the order matters: the role's folder belongs to the role, so a broken role could have written anything
// into it before it was started again. Nothing in it is read before the process has become the role's user and is
// confined; what decides that comes from the parent as flags. Standing alone, the configuration belongs to the
// administrator and is read first, because it says which ports to open.
type roleProcess struct {
	app    *app
	name   string     // for logs: "gateway", "connection-point", …
	config string     // --config
	user   int        // --user, from the parent
	served bool       // under `up` its connections are handed to it, and it dials nobody
	asked  bool       // … although it has an admin surface to be asked on
	budget memorySize // --memory-budget; zero means that the configuration says

	memory    int64                  // of the machine or control group; 0 when not known
	inherited *supervise.Inheritance // nil when it stands alone
	report    confine.Report
	admin     net.Listener // nil: opened when it is served
}

// roleConfig are the fields that every role's configuration has.
type roleConfig struct {
	AdminListen string `yaml:"admin_listen,omitempty"` // loopback address of the admin surface
	AdminSocket string `yaml:"admin_socket,omitempty"` // the same as a unix socket
	LogDir      string `yaml:"log_dir,omitempty"`      // empty: JSON lines on stderr
	LogLevel    string `yaml:"log_level,omitempty"`    // debug, info, warn, error; empty means info
	Confine     *bool  `yaml:"confine,omitempty"`      // nil means true
	User        int    `yaml:"user,omitempty"`         // what root becomes

	MemoryLimit memorySize `yaml:"memory_limit,omitempty"` // near which garbage is collected harder; zero means 75 % of what there is
}

func (r *roleProcess) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&r.config, "config", "", "configuration `FILE`")
	cmd.Flags().IntVar(&r.user, "user", 0, "user id to become")
	_ = cmd.Flags().MarkHidden("user")
}

// configured refuses a call without --config.
func (r *roleProcess) configured(cmd *cobra.Command) error {
	if r.config == "" {
		return usageError(cmd, errors.New("--config FILE is missing"))
	}
	return nil
}

// carrierCmd completes the command that runs a gateway instance or a connection point.
func (r *roleProcess) carrierCmd(cmd *cobra.Command, run func(*cobra.Command) error) *cobra.Command {
	cmd.Use, cmd.Args = "run", cobra.NoArgs
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := r.configured(cmd); err != nil {
			return err
		}
		return run(cmd)
	}
	r.flags(cmd)
	budgetFlag(cmd.Flags(), &r.budget, "it")
	return cmd
}

// enter takes over what the parent gave, and under `up` confines the process.
func (r *roleProcess) enter() error {
	r.memory = memoryThereIs() // which a confined process cannot see
	inherited, err := supervise.Inherit(r.app.getenv)
	if err != nil {
		return err
	}
	if r.inherited = inherited; inherited == nil {
		return nil
	}
	p := confine.Policy{Dir: ".", UID: r.user, HandedSockets: r.served, KillWithParent: true}
	if r.asked {
		p.Listen = r.listenAdmin
	}
	r.report, err = confine.Apply(p)
	return err
}

// adminSocket is where every role's admin surface is under `up`.
const adminSocket = "run.sock"

// listenAdmin opens the admin surface of a role that may not listen once it is confined.
func (r *roleProcess) listenAdmin() (err error) {
	r.admin, err = unixsock.Listen(adminSocket)
	return err
}

// confineAlone confines a role that stands alone: it keeps what its configuration names. Its ports are open by then.
func (r *roleProcess) confineAlone(cfg roleConfig, readOnly []string, readWrite ...string) (err error) {
	if r.inherited != nil || cfg.Confine != nil && !*cfg.Confine {
		return nil
	}
	if cfg.LogDir != "" {
		readWrite = append(readWrite, cfg.LogDir)
	}
	if cfg.AdminSocket != "" {
		readWrite = append(readWrite, filepath.Dir(cfg.AdminSocket))
	}
	for _, dir := range readWrite {
		if err := makeRoleFolder(dir, cfg.User); err != nil {
			return err
		}
	}
	r.report, err = confine.Apply(confine.Policy{ReadOnly: readOnly, ReadWrite: readWrite, UID: cfg.User})
	return err
}

// settle confines a role that stands alone, keeps its documents folder for it and opens its log as component's. It may
// read the files besides; empty names are none. leave gives folder and log back.
func (r *roleProcess) settle(cfg roleConfig, component, documents string, files ...string) (log *roleLog, leave func(), err error) {
	readable := []string{filepath.Dir(r.config)}
	for _, file := range files {
		if file != "" {
			readable = append(readable, file)
		}
	}
	if err := r.confineAlone(cfg, readable, documents); err != nil {
		return nil, nil, err
	}
	unlock, err := r.lockFolder(documents)
	if err != nil {
		return nil, nil, err
	}
	if log, err = r.openLog(cfg, component); err != nil {
		unlock()
		return nil, nil, err
	}
	return log, func() { _ = log.close(); unlock() }, nil
}

// makeRoleFolder makes a folder that the role will write to, for the role alone, if it is not there: once the role is
// confined, what did not exist can neither be made nor written. The folder above must be there, so that a mistyped
// path is an error.
func makeRoleFolder(dir string, user int) error {
	if dir == "" {
		return nil
	}
	err := os.Mkdir(dir, 0o700)
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil
	case err == nil && user != 0 && os.Geteuid() == 0:
		err = os.Chown(dir, user, user)
	}
	if err != nil {
		return causeway.WithHint(fmt.Errorf("make a folder that the configuration names: %w", err),
			"make it, and the folders above it, so that this user may write to it: mkdir -p -m 700 %s", dir)
	}
	return nil
}

// A service is a role, wired and ready to run.
type service struct {
	run    func(ctx context.Context) error
	admin  http.Handler // nil means none
	reload func()       // on SIGHUP; nil means nothing to reload
	ready  any          // what the parent is told
	logger *slog.Logger
}

// serve runs the service with its admin surface until ctx or the parent ends. When it returns, all of it is gone. The
// admin surface goes last: an operator watches the drain through it.
func (r *roleProcess) serve(ctx context.Context, cfg roleConfig, s service) error {
	ctx, stop := r.inherited.Lifetime(ctx)
	defer stop()
	s.logger.Info("role started", "role", r.name, "version", readBuildInfo().Version, "pid", os.Getpid(), "confined", r.report,
		"memory_limit_bytes", r.limitMemory(cfg.MemoryLimit))
	for _, missing := range r.report.Missing {
		s.logger.Warn("role runs less confined than it could be", "missing", missing)
	}
	admin := r.admin
	var err error
	if admin == nil {
		admin, err = adminListener(cfg)
	}
	if err != nil {
		return err
	}
	ctx, end := context.WithCancel(ctx)
	defer end()
	adminCtx, endAdmin := context.WithCancel(context.WithoutCancel(ctx))
	defer endAdmin()
	g, ctx := errgroup.WithContext(ctx)
	if admin != nil && s.admin != nil {
		g.Go(func() error { return serveHTTP(adminCtx, console.NewHTTPServer(s.admin), admin) })
	}
	g.Go(func() error { r.paceCollector(ctx); return nil })
	if s.reload != nil {
		hangup := make(chan os.Signal, 1)
		signal.Notify(hangup, syscall.SIGHUP) // before the parent hears that we are ready, and may send one
		defer signal.Stop(hangup)
		g.Go(func() error { onHangup(ctx, hangup, s.reload); return nil })
	}
	g.Go(func() error {
		defer end()
		defer endAdmin()
		return s.run(ctx)
	})
	g.Go(func() error {
		<-ctx.Done()
		_ = notify(r.app.getenv, "STOPPING=1") // best effort: systemd sees the exit anyhow
		return nil
	})
	if err := r.sayReady(s.ready); err != nil {
		s.logger.Error("cannot say that the role is ready", "err", err)
	}
	err = g.Wait()
	if errors.Is(context.Cause(ctx), supervise.ErrParentGone) {
		s.logger.Error("role stops: the parent process is gone")
		return nil
	}
	if err != nil {
		s.logger.Error("role failed", "err", err)
		return err
	}
	s.logger.Info("role stopped")
	return nil
}

func (r *roleProcess) sayReady(payload any) error {
	return errors.Join(r.inherited.Ready(payload), notify(r.app.getenv, "READY=1"))
}

func adminListener(cfg roleConfig) (net.Listener, error) {
	switch {
	case cfg.AdminSocket != "":
		return unixsock.Listen(cfg.AdminSocket)
	case cfg.AdminListen != "":
		return listenOn("admin_listen", cfg.AdminListen)
	}
	return nil, nil
}

// serveHTTP serves until ctx ends, then gives requests under way a second.
func serveHTTP(ctx context.Context, srv *http.Server, ln net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	over := make(chan error, 1)
	go func() {
		<-ctx.Done()
		sctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if srv.Shutdown(sctx) != nil {
			srv.Close()
		}
		over <- nil
	}()
	err := srv.Serve(ln)
	cancel()
	<-over
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// onHangup calls reload for each SIGHUP until ctx ends.
func onHangup(ctx context.Context, hangup <-chan os.Signal, reload func()) {
	for {
		select {
		case <-hangup:
			reload()
		case <-ctx.Done():
			return
		}
	}
}

func parseLevel(text string) (slog.Level, error) {
	var l slog.Level
	if text == "" {
		return l, nil
	}
	if err := l.UnmarshalText([]byte(text)); err != nil {
		return l, causeway.WithHint(misuse{fmt.Errorf("%q is not a level", text)}, "choose debug, info, warn or error")
	}
	return l, nil
}
