package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/causeway-gateway/causeway/console"
	"github.com/causeway-gateway/causeway/internal/unixsock"
)

// defaultAdminPort is tried first for the read-only surface; another up on this machine may have it.
const defaultAdminPort = 9464

// adminSurfaces are the admin socket and the read-only port.
type adminSurfaces struct {
	url    string
	cancel context.CancelFunc
	served sync.WaitGroup
}

func (s *adminSurfaces) close() {
	s.cancel()
	s.served.Wait()
}

// openAdmin opens the socket that commands use, and the port that monitoring reads.
func (u *upRun) openAdmin(ctx context.Context) error {
	socket, err := unixsock.Listen(u.dir.adminSocket())
	if err != nil {
		return err
	}
	port, err := u.listenAdmin()
	if err != nil {
		return errors.Join(err, socket.Close())
	}
	sctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // they answer until everything else has stopped
	u.admin = &adminSurfaces{url: "http://" + port.Addr().String(), cancel: cancel}
	api := &console.Server{Site: u, Credential: u.credential, UID: os.Geteuid(), Logger: u.log.Logger}
	readOnly := &console.ReadOnly{
		Metrics: &console.Metrics{Targets: u.targets, Logger: u.log.Logger},
		Ready:   u.isReady,
	}
	u.admin.served.Go(func() { u.serveAdmin(serveHTTP(sctx, api.NewServer(), socket)) })
	u.admin.served.Go(func() { u.serveAdmin(serveHTTP(sctx, console.NewHTTPServer(readOnly.Handler()), port)) })
	return nil
}

func (u *upRun) serveAdmin(err error) {
	if err != nil {
		u.log.Error("admin surface failed", "err", err)
	}
}

// listenAdmin takes the port of the last start, else the usual one, else any: monitoring should find it again, but
// a port that somebody else took meanwhile must not keep the site down.
func (u *upRun) listenAdmin() (net.Listener, error) {
	host := "127.0.0.1"
	if u.plan.address.IsLoopback() {
		host = u.plan.address.String()
	}
	file := u.dir.path("site", "admin.port")
	ports := []int{defaultAdminPort, 0}
	if text, err := os.ReadFile(file); err == nil {
		if p, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && p > 0 && p < 65536 {
			ports = append([]int{p}, ports...)
		}
	}
	var errs []error
	for _, p := range ports {
		ln, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(p)))
		if err == nil {
			if p == 0 {
				u.progress.note("note: port %d is taken, so the admin address has another: %s", defaultAdminPort, ln.Addr())
			}
			return ln, writeFile(file, fmt.Appendf(nil, "%d\n", ln.Addr().(*net.TCPAddr).Port))
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// targets are the roles whose metrics make up the site's.
func (u *upRun) targets() []console.Target {
	targets := []console.Target{{Role: "balancer", Instance: "balancer", Socket: runSocket(u.dir.path("balancer"))}}
	for _, in := range u.gateway.Instances {
		targets = append(targets, console.Target{Role: "gateway", Instance: string(in.ID), Socket: runSocket(u.dir.instance(in.Slot))})
	}
	for _, cp := range u.points {
		targets = append(targets, console.Target{Role: "connection-point", Instance: string(cp.ID), Socket: runSocket(u.dir.connectionPoint(cp.ID))})
	}
	return targets
}

// isReady reports why a device would get no answer: no instance is both healthy and connected.
func (u *upRun) isReady() error {
	ctx, cancel := context.WithTimeout(context.Background(), roleTimeout)
	defer cancel()
	healthy := u.healthyInstances(ctx)
	for _, in := range u.gateway.Instances {
		if own, err := u.askInstance(ctx, in.Slot); err == nil && own.Ready && healthy[in.Slot] {
			return nil
		}
	}
	return errors.New("no gateway instance is healthy and has a channel")
}
