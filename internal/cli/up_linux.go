package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/console"
	"github.com/causeway-gateway/causeway/internal/confine"
	"github.com/causeway-gateway/causeway/site"
)

func (a *app) upCmd() *cobra.Command {
	var p upPlan
	cmd := &cobra.Command{
		Use:   "up",
		Short: "start a whole gateway on this machine",
		Long: `Start a load balancer, gateway instances and connection points on this machine, each a process of its own, and
publish servers through them. Without --publish a sample server is started and published.

It runs until Ctrl-C or "causeway down". Keys, names and ports stay the same from start to start. A server stays
published, whether a flag or "causeway server add" named it, until "causeway server remove". Devices that hold a
certificate of the site's own CA ("causeway device cert") or of a --device-ca are let in.

Its files are in the state folder (default $XDG_STATE_HOME/causeway, ~/.local/state/causeway or, for root,
/var/lib/causeway): ready.json while it serves, ca.crt, devices/, and logs/ with a link to each role's logs.`,
		Example: `  causeway up
  causeway up --publish updates=http://10.0.0.5:8080
  causeway up --publish wsus=https://10.0.0.6:8531,ca=ca.pem --instances 4 --connection-points 2
  causeway up --listen 0.0.0.0 --port 443 --service-name gateway.example.com --cert chain.pem --key key.pem \
      --device-ca devices-ca.pem --publish-host apt.example.com=http://10.0.0.5`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := p.check(a.now()); err != nil {
				return err
			}
			return a.up(cmd.Context(), &p)
		},
	}
	p.flags(cmd.Flags())
	return cmd
}

// An upRun is one run of `up`: the site, and the processes that it looks after.
type upRun struct {
	// Fixed before anything is started.
	app      *app
	command  string // that was typed, for the audit log
	plan     *upPlan
	asked    []console.Published           // what the flags publish
	silent   map[causeway.ServerName]error // of these, the ones that could not be reached, and why
	dir      state
	progress *progress
	since    time.Time

	// Made while starting, in this order; fixed afterwards.
	log        *roleLog
	store      *site.Store
	credential string
	firstUser  int                          // of the roles; 0 when they run as our user
	kept       map[causeway.ServerName]bool // of asked, what was published by an earlier start already
	letIn      string                       // external URL that answered a first request
	sample     *net.TCPListener
	gateway    site.Gateway
	points     []site.ConnectionPoint
	device     tls.Certificate
	fleet      *fleet
	folders    roleFolders
	admin      *adminSurfaces
	quit       context.CancelFunc // begins an orderly stop

	following sync.Mutex // guards plan.certificate, once serving

	publishing sync.Mutex // one generation after the other; guards the fields below
	generation uint64

	readyMu sync.Mutex // guards the fields below
	ready   *ready     // nil while not serving
}

// up starts everything, serves until ctx ends or somebody asks it to stop, and stops everything.
func (a *app) up(ctx context.Context, p *upPlan) (err error) {
	ctx, quit := context.WithCancel(ctx)
	defer quit()
	u := &upRun{app: a, command: "up", plan: p, progress: a.newProgress(), since: a.now(), quit: quit, fleet: &fleet{memoryBudget: p.memoryBudget}}
	if u.dir, err = a.stateDir(); err != nil {
		return err
	}
	claim, err := claimState(u.dir)
	if err != nil {
		return err
	}
	defer claim.release()
	if err := removeReady(u.dir); err != nil { // of a run that was killed
		return err
	}
	defer u.killOnSecondInterrupt()()
	defer stopOnHangup(quit)()
	if err := u.start(ctx); err != nil {
		u.stop()
		u.sayWhatRolesSaid()
		claim.undo()
		return err
	}
	u.serve(ctx)
	return u.progress.step("stop", func() error { u.stop(); return nil })
}

// start is the story of a start. Everything that can be found out without starting anything comes first.
func (u *upRun) start(ctx context.Context) error {
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"check ports and servers", u.check},
		{"open the site store", u.openStore},
		{"make keys and certificates", u.makeCertificates},
		{"start the load balancer", u.startBalancer},
		{fmt.Sprintf("start %s", count(u.plan.instances, "gateway instance")), u.startInstances},
		{fmt.Sprintf("start %s", count(u.plan.connectionPoints, "connection point")), u.startConnectionPoints},
		{"wait for channels and documents", u.waitForChannels},
		{"send a first request", u.firstRequests},
		{"open the admin surfaces", u.openAdmin},
	} {
		if err := u.progress.step(step.name, func() error { return step.do(ctx) }); err != nil {
			return err
		}
	}
	return u.announce(ctx)
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

// check finds out what is in the way, with nothing made yet.
func (u *upRun) check(ctx context.Context) error {
	for _, s := range u.plan.servers {
		p, err := publishedOf(s)
		if err != nil {
			return err
		}
		u.asked = append(u.asked, p)
	}
	return errors.Join(checkPorts(u.plan.address, u.plan.port, u.plan.instances), u.checkServers(ctx))
}

// openStore opens the site store and brings it in line with the flags.
func (u *upRun) openStore(ctx context.Context) (err error) {
	if err := os.MkdirAll(u.dir.site(), 0o700); err != nil {
		return err
	}
	if u.log, err = openLog(u.app, roleConfig{LogDir: u.dir.path("site", "logs")}, "CloudMgr", "site"); err != nil {
		return err
	}
	if os.Geteuid() == 0 {
		u.firstUser = confine.UserBlock(string(u.dir), usersPerSite)
	}
	if u.store, err = site.Open(ctx, u.dir.site(), u.app.now); err != nil {
		return err
	}
	if err := u.judgeSilent(ctx); err != nil {
		return err
	}
	if err := u.newCredential(); err != nil {
		return err
	}
	if err := u.listenForSample(ctx); err != nil {
		return err
	}
	for _, do := range []func(context.Context) error{u.putGateway, u.putConnectionPoints, u.putDeviceCAs, u.publishServers, u.noteOthers} {
		if err := do(ctx); err != nil {
			return err
		}
	}
	return nil
}

// listenForSample opens the sample server's port, if it is to run. A socket that the kernel holds from the start to
// the end keeps the address in the documents true.
func (u *upRun) listenForSample(ctx context.Context) error {
	wanted, err := u.wantsSample(ctx)
	if err != nil || !wanted {
		return err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	u.sample = ln.(*net.TCPListener)
	return nil
}

func (u *upRun) makeCertificates(ctx context.Context) (err error) {
	if err := u.caFile(); err != nil {
		return err
	}
	if u.device, err = u.firstDevice(ctx); err != nil {
		return err
	}
	return u.makeFolders(ctx)
}

func (u *upRun) startBalancer(ctx context.Context) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	u.fleet.log, u.fleet.exe, u.fleet.env, u.fleet.changed = u.log.Logger, exe, childEnv(u.app.getenv), u.processChanged
	u.fleet.members.Logger = u.log.Logger
	f, err := openFolder(u.dir.path("balancer"), u.user(balancerUser))
	if err != nil {
		return err
	}
	f.close()
	u.fleet.keepTogether(ctx)
	return u.fleet.start(ctx, u.fleet.balancer(u.dir.path("balancer"), u.plan.address.String(), u.plan.port, u.user(balancerUser)))
}

func (u *upRun) startInstances(ctx context.Context) error {
	for _, in := range u.gateway.Instances {
		p := u.fleet.instance(u.dir.instance(in.Slot), in.Slot, in.ID, u.user(instanceUser+int(in.Slot)))
		if err := u.fleet.start(ctx, p); err != nil {
			return err
		}
		if address := u.fleet.members.ChannelAddress(in.Slot); address == "" {
			return causeway.WithHint(fmt.Errorf("the load balancer did not open the channel port of instance %d", in.Slot),
				"its log says why: causeway logs --state %s", u.dir)
		}
	}
	return nil
}

func (u *upRun) startConnectionPoints(ctx context.Context) error {
	if u.sample != nil {
		if err := u.startSample(ctx); err != nil {
			return err
		}
	}
	for n, cp := range u.points {
		p := u.fleet.connectionPoint(u.dir.connectionPoint(cp.ID), cp.ID, u.user(connectionPointUser+n))
		if err := u.fleet.start(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

func (u *upRun) startSample(ctx context.Context) error {
	f, err := openFolder(u.dir.path("sample-server"), u.user(sampleUser))
	if err != nil {
		return err
	}
	f.close()
	return u.fleet.start(ctx, u.fleet.sampleServer(u.dir.path("sample-server"), u.sample, u.user(sampleUser)))
}

// announce tells programs and people, in this order, that the site serves.
func (u *upRun) announce(ctx context.Context) error {
	refused, err := u.visitor().get(ctx, u.gatewayURL(), nil)
	if err != nil {
		return fmt.Errorf("request without a certificate: %w", err)
	}
	r, err := u.readyNow(ctx)
	if err != nil {
		return err
	}
	if err := u.setReady(r); err != nil {
		return err
	}
	block := readyBlock{ready: r, state: u.dir, program: u.app.line(), letIn: u.letIn, took: u.app.now().Sub(u.since), refused: refused, sample: u.sample != nil,
		dial: netip.AddrPortFrom(u.plan.dialAddress(), uint16(u.plan.port))}
	return errors.Join(notify(u.app.getenv, "READY=1"), block.print(u.app.stdout))
}

// serve waits for the end, and keeps documents and certificates fresh until then.
func (u *upRun) serve(ctx context.Context) {
	renew, look := time.NewTicker(renewEvery), time.NewTicker(u.plan.lookEvery)
	defer renew.Stop()
	defer look.Stop()
	for {
		select {
		case <-renew.C:
			if err := u.renew(ctx); err != nil {
				u.log.Error("documents or certificates were not renewed", "err", err, "hint", "what is in force stays in force for 72 hours")
			}
		case <-look.C:
			if err := u.followCertificate(ctx); err != nil {
				u.log.Error("new service certificate was not taken up, the old one goes on", "err", err, "hint", causeway.Hint(err))
			}
		case <-ctx.Done():
			_ = notify(u.app.getenv, "STOPPING=1") // best effort: systemd sees the exit anyhow
			return
		}
	}
}

// stopOnHangup makes the loss of the terminal an orderly stop, unless somebody asked to outlive it (nohup).
func stopOnHangup(quit func()) (done func()) {
	if signal.Ignored(syscall.SIGHUP) {
		return func() {}
	}
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	over := make(chan struct{})
	var watched sync.WaitGroup
	watched.Go(func() {
		select {
		case <-hangup:
			quit()
		case <-over:
		}
	})
	return func() { signal.Stop(hangup); close(over); watched.Wait() }
}

// stop takes everything down again: first what tells others that the site serves, then the processes, then the store.
func (u *upRun) stop() {
	if err := u.setReady(nil); err != nil {
		fmt.Fprintf(u.app.stderr, "causeway: error: %v\n", err)
	}
	u.fleet.stopAll()
	if u.admin != nil {
		u.admin.close()
	}
	if u.sample != nil {
		u.sample.Close()
	}
	u.folders.close()
	if u.store != nil {
		if err := u.store.Close(); err != nil {
			fmt.Fprintf(u.app.stderr, "causeway: error: close the site store: %v\n", err)
		}
	}
	if u.log != nil {
		u.log.close()
	}
}

// sayWhatRolesSaid shows the last complaints of the roles after a start that failed: their logs may go with it.
func (u *upRun) sayWhatRolesSaid() {
	const last = 5
	var tails logTails
	var said []logRecord
	for _, r := range tails.read(u.dir) {
		if level := r.fields["level"]; (level == "WARN" || level == "ERROR") && !r.time.Before(u.since) {
			said = append(said, r)
		}
	}
	for _, r := range said[max(0, len(said)-last):] {
		r.print(u.app.stderr, false)
	}
}

// killOnSecondInterrupt ends all processes at once when a second interrupt comes: then nothing is left to wait for.
func (u *upRun) killOnSecondInterrupt() (done func()) {
	over := make(chan struct{})
	var watched sync.WaitGroup
	watched.Go(func() {
		select {
		case <-u.app.interrupt:
			u.fleet.kill()
		case <-over:
		}
	})
	return func() { close(over); watched.Wait() }
}
