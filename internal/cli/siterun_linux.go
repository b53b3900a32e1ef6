package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/console"
	"github.com/causeway-gateway/causeway/internal/unixsock"
	"github.com/causeway-gateway/causeway/site"
)

func (a *app) siteRunCmd() *cobra.Command {
	var p sitePlan
	cmd := &cobra.Command{
		Use:   "run",
		Short: "run the site alone: keys, published servers, signed documents, administration",
		Long: `Run the site by itself, on the premises. It keeps keys, published servers and the audit log in its state folder,
signs the documents that gateway and connection points obey, and answers the same commands as "causeway up":
status, server, device, explain, logs, down. It listens on the admin socket and on a loopback port, nowhere else.

Gateway instances and connection points run on hosts of their own, from folders that "causeway site export" writes.
The documents are signed anew every hour, on every change and on SIGHUP; --cert is then read again, too. They lie in
documents/ of the state folder, and the site keeps those of connection points fresh that were exported to run on this
host. A server stays published from start to start until "causeway server remove", also when its flag is gone;
gateway addresses, connection points and device CAs are those of the flags.`,
		Example: `  causeway site run --gateway-address 203.0.113.7 --publish updates=http://10.0.0.5:8080
  causeway site run --gateway-address 203.0.113.7:8443 --service-name gateway.example.com --cert chain.pem --key key.pem \
      --device-ca devices-ca.pem --publish-host apt.example.com=http://10.0.0.5 --connection-point cp-1 --connection-point cp-2
  causeway site run --gateway-address 203.0.113.7 --gateway-address 203.0.113.8 --service-name gateway.example.com`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := p.check(a.now()); err != nil {
				return err
			}
			return a.siteRun(cmd.Context(), &p)
		},
	}
	p.flags(cmd.Flags())
	return cmd
}

// A siteRun is one run of `site run`. The site itself is that of `up`, with an empty fleet: nothing of the gateway
// runs under it.
type siteRun struct {
	*upRun
	plan       *sitePlan
	homeErrors map[causeway.ConnectionPointID]string // what was logged last; publishing guards it
	homes      map[causeway.ConnectionPointID]string // folders that were kept fresh last; publishing guards it
}

func (a *app) siteRun(ctx context.Context, p *sitePlan) (err error) {
	ctx, quit := context.WithCancel(ctx)
	defer quit()
	s := &siteRun{plan: p, homeErrors: map[causeway.ConnectionPointID]string{}, homes: map[causeway.ConnectionPointID]string{},
		upRun: &upRun{app: a, command: "site run", plan: &p.upPlan, progress: a.newProgress(), since: a.now(), quit: quit, fleet: &fleet{}}}
	if s.dir, err = a.stateDir(); err != nil {
		return err
	}
	claim, err := claimState(s.dir)
	if err != nil {
		return err
	}
	defer claim.release()
	if err := removeReady(s.dir); err != nil { // of a run that was killed
		return err
	}
	if err := s.start(ctx); err != nil {
		s.stop()
		if claim.new {
			os.RemoveAll(s.dir.documents())
		}
		claim.undo()
		return err
	}
	s.serve(ctx)
	return s.progress.step("stop", func() error { s.stop(); return nil })
}

func (s *siteRun) start(ctx context.Context) error {
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"check servers", s.checkServers},
		{"open the site store", s.openStore},
		{"make keys and certificates", s.makeCertificates},
		{"sign documents", s.publish},
		{"open the admin surfaces", s.openAdmin},
	} {
		if err := s.progress.step(step.name, func() error { return step.do(ctx) }); err != nil {
			return err
		}
	}
	return s.announce(ctx)
}

// checkServers reads what servers need. One that does not answer is worth a note and no more: a site that comes up
// before its servers, after a power cut, must come up.
func (s *siteRun) checkServers(ctx context.Context) error {
	for _, v := range s.plan.servers {
		p, err := publishedOf(v)
		if err != nil {
			return err
		}
		s.asked = append(s.asked, p)
	}
	for _, err := range checkServersAnswer(ctx, s.asked) {
		switch {
		case err == nil:
		case errors.Is(err, causeway.ErrUsage):
			return err
		default:
			s.progress.note("note: %v", err)
		}
	}
	return nil
}

// openStore opens the site store and brings it in line with the flags.
func (s *siteRun) openStore(ctx context.Context) (err error) {
	for _, dir := range []string{s.dir.site(), s.dir.documents()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	if s.log, err = openLog(s.app, roleConfig{LogDir: s.dir.path("site", "logs")}, "CloudMgr", "site"); err != nil {
		return err
	}
	if s.store, err = site.Open(ctx, s.dir.site(), s.app.now); err != nil {
		return err
	}
	if err := s.newCredential(); err != nil {
		return err
	}
	for _, do := range []func(context.Context) error{s.putGateway, s.putConnectionPoints, s.putDeviceCAs, s.publishServers, s.noteOthers} {
		if err := do(ctx); err != nil {
			return err
		}
	}
	return nil
}

// putGateway notes the gateway and its instances. A slot keeps its instance's id, also when the host gets another
// address: the exported folder goes on being right.
func (s *siteRun) putGateway(ctx context.Context) error {
	g := site.Gateway{Name: gatewayName, ServiceName: s.plan.serviceName, ServicePort: s.plan.port, Address: s.plan.host(), Limits: s.plan.limits()}
	old, err := s.store.Gateways(ctx)
	if err != nil {
		return err
	}
	if c := s.ownCertificate(); c == nil {
		g.ServiceCAs = [][]byte{s.store.SiteCA().Certificate.Raw}
	} else {
		g.ServiceCertificateSHA256 = pins(site.Thumbprint(c.Leaf), old)
	}
	for n, at := range s.plan.places {
		in := site.Instance{Slot: causeway.Slot(n), Name: "instance-" + strconv.Itoa(n), ChannelPort: at.port}
		if len(s.plan.places) > 1 { // where another instance takes what comes to it by mistake of a load balancer
			in.PrivateAddress = net.JoinHostPort(at.host, strconv.Itoa(at.port))
		}
		if at.host != g.Address {
			in.Address = at.host
		}
		if in.ID, err = s.instanceID(ctx, old, in.Slot); err != nil {
			return err
		}
		g.Instances = append(g.Instances, in)
	}
	s.gateway = g
	return s.store.PutGateway(ctx, s.by(), g)
}

// followCertificate takes up a new certificate in the administrator's files: connection points trust it from now on, so
// that the gateway's host can have it.
func (s *siteRun) followCertificate(ctx context.Context) error {
	old := s.ownCertificate()
	if old == nil {
		return nil
	}
	next := s.plan.upPlan
	if err := next.checkCertificate(s.app.now()); err != nil {
		return err
	}
	if slices.EqualFunc(old.Certificate, next.certificate.Certificate, bytes.Equal) {
		return nil
	}
	gateways, err := s.store.Gateways(ctx)
	if err != nil {
		return err
	}
	g := s.gateway
	g.ServiceCertificateSHA256 = pins(site.Thumbprint(next.certificate.Leaf), gateways)
	if err := s.store.PutGateway(ctx, s.by(), g); err != nil {
		return err
	}
	s.following.Lock()
	s.upRun.plan.certificate = next.certificate
	s.following.Unlock()
	return s.caFile()
}

// pins lets the certificate before the current one do, too: the gateway's host gets the new one a while later.
func pins(current string, old []site.Gateway) []string {
	out := []string{current}
	for _, g := range old {
		if g.Name != gatewayName {
			continue
		}
		for _, pin := range g.ServiceCertificateSHA256 {
			if pin != current && len(out) < 2 {
				out = append(out, pin)
			}
		}
	}
	return out
}

// putConnectionPoints admits the connection points that are asked for, and no others.
func (s *siteRun) putConnectionPoints(ctx context.Context) error {
	have, err := s.store.ConnectionPoints(ctx)
	if err != nil {
		return err
	}
	for _, name := range s.plan.pointNames {
		cp, err := s.store.AddConnectionPoint(ctx, s.by(), causeway.ConnectionPointID(name))
		if err != nil {
			return err
		}
		s.points = append(s.points, cp)
	}
	for _, cp := range have {
		if slices.Contains(s.plan.pointNames, string(cp.ID)) {
			continue
		}
		if err := s.store.RemoveConnectionPoint(ctx, s.by(), cp.ID); err != nil {
			return err
		}
		if err := os.RemoveAll(s.dir.connectionPoint(cp.ID)); err != nil {
			return err
		}
	}
	warnOfLoad(s.log, len(s.plan.places), len(s.points))
	return nil
}

// openAdmin opens the socket that commands use, and the port that monitoring reads.
func (s *siteRun) openAdmin(ctx context.Context) error {
	socket, err := unixsock.Listen(s.dir.adminSocket())
	if err != nil {
		return err
	}
	port, err := s.listenAdmin()
	if err != nil {
		return errors.Join(err, socket.Close())
	}
	sctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // they answer until everything else has stopped
	s.admin = &adminSurfaces{url: "http://" + port.Addr().String(), cancel: cancel}
	api := &console.Server{Site: s, Credential: s.credential, UID: os.Geteuid(), Logger: s.log.Logger}
	readOnly := &console.ReadOnly{
		Metrics: &console.Metrics{Targets: s.targets, Logger: s.log.Logger},
		Ready:   func() error { return nil }, // it serves documents, and these are signed by now
	}
	s.admin.served.Go(func() { s.serveAdmin(serveHTTP(sctx, api.NewServer(), socket)) })
	s.admin.served.Go(func() { s.serveAdmin(serveHTTP(sctx, console.NewHTTPServer(readOnly.Handler()), port)) })
	return nil
}

// announce tells programs, systemd and people that the site answers.
func (s *siteRun) announce(ctx context.Context) error {
	r, err := s.readyNow(ctx)
	if err != nil {
		return err
	}
	if err := s.setReady(r); err != nil {
		return err
	}
	s.log.Info("site started", "version", readBuildInfo().Version, "pid", os.Getpid(), "generation", s.generationNow())
	s.sayReady(r)
	if err := notify(s.app.getenv, "READY=1"); err != nil {
		s.log.Error("cannot say that the site is ready", "err", err)
	}
	return nil
}

func (s *siteRun) sayReady(r *ready) {
	w, flag, program := s.app.stdout, shellLine("", "--state", string(s.dir)), s.app.line()
	fmt.Fprintf(w, "\nReady after %s. The site is for devices that call %s\n\n", seconds(s.app.now().Sub(s.since)), r.GatewayURL)
	width := len("documents")
	for _, p := range r.Published {
		width = max(width, len(p.Name))
	}
	for _, p := range r.Published {
		fmt.Fprintf(w, "  %-*s  %s\n", width, p.Name, p.URL)
	}
	if len(r.Published) == 0 {
		fmt.Fprintf(w, "  No server is published yet: %s server add NAME=URL%s\n", program, flag)
	}
	fmt.Fprintf(w, "\nFolders for the hosts of the gateway and of the connection points:\n\n")
	for _, in := range s.gateway.Instances {
		where := ""
		if len(s.plan.hosts()) > 1 {
			where = "  # for " + s.plan.places[in.Slot].host
		}
		fmt.Fprintf(w, "  %s site export gateway %d DIR%s%s\n", program, in.Slot, flag, where)
	}
	for _, cp := range s.points {
		fmt.Fprintf(w, "  %s site export connection-point %s DIR%s\n", program, cp.ID, flag)
	}
	fmt.Fprintf(w, "\n  %-*s  %s\n  %-*s  %s\n  %-*s  %s\n  %-*s  %s (read-only: /metrics /livez /readyz)\n",
		width, "state", s.dir, width, "documents", s.dir.documents(), width, "logs", r.LogsDir, width, "admin", r.AdminURL)
	fmt.Fprintf(w, "\nStop with Ctrl-C or: %s down%s\n", program, flag)
}

// serve waits for the end, and keeps documents and certificates fresh until then.
func (s *siteRun) serve(ctx context.Context) {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	tick, look := time.NewTicker(renewEvery), time.NewTicker(lookForPointsEvery)
	defer tick.Stop()
	defer look.Stop()
	for {
		select {
		case <-look.C:
			s.updateHomes(false)
			continue
		case <-tick.C:
		case <-hangup:
			if s.progress.tty { // the terminal is gone, and who sat there thinks the site is, too
				s.quit()
				continue
			}
		case <-ctx.Done():
			_ = notify(s.app.getenv, "STOPPING=1") // best effort: systemd sees the exit anyhow
			return
		}
		if err := s.renew(ctx); err != nil {
			s.log.Error("documents or certificates were not renewed", "err", err, "hint", "what is in force stays in force for 72 hours")
		}
	}
}
