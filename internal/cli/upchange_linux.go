package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/console"
	"github.com/causeway-gateway/causeway/internal/supervise"
	"github.com/causeway-gateway/causeway/site"
)

// Servers answers the admin API.
func (u *upRun) Servers(ctx context.Context) ([]console.Published, error) {
	servers, err := u.store.Servers(ctx)
	if err != nil {
		return nil, err
	}
	urls, err := externals(u.gateway, servers)
	if err != nil {
		return nil, err
	}
	out := make([]console.Published, len(servers))
	for i, s := range servers {
		out[i] = publishedServer(s)
		out[i].External = urls[i]
	}
	return out, nil
}

// AddServer answers the admin API.
func (u *upRun) AddServer(ctx context.Context, by string, p console.Published) (console.Change, error) {
	if err := u.addServer(ctx, by, p); err != nil {
		return console.Change{}, err
	}
	return u.spread(ctx, p.Name)
}

// addServer judges a server and puts it into the store.
func (u *upRun) addServer(ctx context.Context, by string, p console.Published) error {
	if err := u.checkHost(p.Host); err != nil {
		return err
	}
	if err := checkServerName("NAME", string(p.Name)); err != nil {
		return err
	}
	if err := checkServer(storedServer(p)); err != nil {
		return err
	}
	return u.store.AddServer(ctx, by, storedServer(p))
}

// SetServer answers the admin API.
func (u *upRun) SetServer(ctx context.Context, by string, name causeway.ServerName, c console.PublishedChange) (console.Change, error) {
	if err := u.setServer(ctx, by, name, c); err != nil {
		return console.Change{}, err
	}
	return u.spread(ctx, name)
}

// setServer judges a change of a server and makes it in the store.
func (u *upRun) setServer(ctx context.Context, by string, name causeway.ServerName, c console.PublishedChange) error {
	if c.Host != nil {
		if err := u.checkHost(*c.Host); err != nil {
			return err
		}
	}
	_, err := u.store.SetServer(ctx, by, name, func(s site.Server) (site.Server, error) {
		p, err := c.Apply(publishedServer(s))
		if err != nil {
			return s, err
		}
		return storedServer(p), checkServer(storedServer(p))
	})
	return err
}

// RemoveServer answers the admin API.
func (u *upRun) RemoveServer(ctx context.Context, by string, name causeway.ServerName) (console.Change, error) {
	if err := u.store.RemoveServer(ctx, by, name); err != nil {
		return console.Change{}, err
	}
	return u.spread(ctx, name)
}

// checkHost refuses a host name that the administrator's own certificate does not hold: no device would accept it.
// The site's own CA puts new names into the certificate that it issues.
func (u *upRun) checkHost(host string) error {
	own := u.ownCertificate()
	if host == "" || own == nil || own.Leaf.VerifyHostname(host) == nil {
		return nil
	}
	return badFlag("use a certificate that holds it too", "host name %s is not in the service certificate", host)
}

// spread brings a change of a server to everybody and says how far it got.
func (u *upRun) spread(ctx context.Context, name causeway.ServerName) (console.Change, error) {
	if err := u.writeCertificates(ctx); err != nil {
		return console.Change{}, err
	}
	c, err := u.spreadDocuments(ctx)
	if err != nil {
		return c, err
	}
	return u.changedServer(ctx, c, name)
}

// spreadDocuments signs the documents anew, brings them to everybody and says how far they got.
func (u *upRun) spreadDocuments(ctx context.Context) (c console.Change, err error) {
	if err := u.publish(ctx, false); err != nil {
		return c, err
	}
	u.lookNow()
	c.Generation = u.generationNow()
	_, c.Applied = u.waitLive(ctx, c.Generation)
	c.Instances = len(u.gateway.Instances)
	return c, nil
}

// changedServer says in ready.json and in the change what a server is now.
func (u *upRun) changedServer(ctx context.Context, c console.Change, name causeway.ServerName) (console.Change, error) {
	if err := u.refreshReady(ctx); err != nil {
		u.log.Warn("ready.json was not written", "err", err)
	}
	all, err := u.Servers(ctx)
	if err != nil {
		return c, err
	}
	for _, p := range all {
		if p.Name == name {
			c.Server = p
		}
	}
	c.Server.Name = name
	if c.Server.URL != "" { // else it is published no more
		if err := checkServerAnswers(ctx, c.Server); err != nil {
			c.Note = fmt.Sprintf("%v; it is published all the same", err)
		}
	}
	return c, nil
}

// lookNow makes roles that run look at their files at once instead of within their second.
func (u *upRun) lookNow() {
	for _, m := range u.fleet.all() {
		kind := roleKind(m.Name)
		if (kind == "connection-point" || kind == "gateway") && m.Status().State == supervise.Running {
			_ = m.Signal(syscall.SIGHUP) // gone already: it reads them when it starts
		}
	}
}

// Stop answers the admin API.
func (u *upRun) Stop(ctx context.Context, by string) error {
	if err := u.store.Record(ctx, by, "site.stop", string(u.store.ID())); err != nil {
		return causeway.WithHint(fmt.Errorf("the stop cannot be audited: %w", err),
			"free space for %s; or stop it as who started it: kill %d", u.dir.site(), os.Getpid())
	}
	u.log.Info("stop was asked for", "by", by)
	u.quit()
	return nil
}

// putDeviceCAs trusts exactly the authorities that the flags name, so that leaving one out takes it back.
func (u *upRun) putDeviceCAs(ctx context.Context) error {
	return u.store.ReplaceDeviceCAs(ctx, u.by(), u.plan.deviceCertificates())
}

// firstRequests sends one request to each server through the front end, as a device would.
func (u *upRun) firstRequests(ctx context.Context) error {
	servers, err := u.Servers(ctx)
	if err != nil {
		return err
	}
	v := u.visitor()
	var errs []error
	for _, s := range servers {
		if u.silent[s.Name] != nil { // known, and said
			continue
		}
		err := u.firstRequest(ctx, v, s)
		if u.isAsked(s.Name) && !u.kept[s.Name] {
			errs = append(errs, err)
		} else if err != nil { // it was published before: its trouble must not keep the others from starting
			u.progress.note("note: %v", err)
		}
	}
	return errors.Join(errs...)
}

func (u *upRun) isAsked(name causeway.ServerName) bool {
	if u.sample != nil && isSample(name) {
		return true
	}
	for _, a := range u.asked {
		if a.Name == name {
			return true
		}
	}
	return false
}

func (u *upRun) firstRequest(ctx context.Context, v *visitor, s console.Published) error {
	ctx, cancel := context.WithTimeout(ctx, firstRequestTimeout)
	defer cancel()
	got, err := v.retry(ctx, s.External, &u.device)
	switch {
	case err != nil && ctx.Err() != nil && got.code == "":
		u.progress.note("note: server %s takes longer than %v to answer its first request", s.Name, firstRequestTimeout)
		return nil
	case err != nil && got.code == "":
		return fmt.Errorf("the first request to server %s (%s): %w", s.Name, s.External, err)
	case got.code == causeway.CodeURLNotPublished.String() || got.code == causeway.CodeMethodNotAllowed.String():
		return nil // its rules leave "/" out, and say so
	case got.code == causeway.CodeClientCertificateBlocked.String():
		u.progress.note("note: device %s is blocked, so server %s was not asked", deviceName, s.Name)
		return nil
	case got.code != "":
		return firstRequestError(s.Name, s.External, got)
	case u.letIn == "":
		u.letIn = s.External
	}
	return nil
}

// gatewayURL is where devices find the gateway.
func (u *upRun) gatewayURL() string {
	return gatewayURL(u.gateway.ServiceName, u.gateway.ServicePort) + "/"
}

// readyNow is what ready.json says of this moment.
func (u *upRun) readyNow(ctx context.Context) (*ready, error) {
	servers, err := u.Servers(ctx)
	if err != nil {
		return nil, err
	}
	device := u.dir.device(string(deviceName))
	r := &ready{
		GatewayURL: u.gatewayURL(), CAFile: u.dir.ca(), DeviceCertFile: state(device).path("device.crt"),
		DeviceKeyFile: state(device).path("device.key"), AdminURL: u.admin.url, LogsDir: u.dir.logs(), PID: os.Getpid(),
		Published: []readyPublished{}, Instances: []readyInstance{}, ConnectionPoints: []readyConnectionPoint{},
		Balancer: readyProcess{PID: u.processStatus("balancer").PID},
	}
	for _, s := range servers {
		r.Published = append(r.Published, readyPublished{Name: string(s.Name), URL: s.External, Path: pathOf(s.External)})
	}
	for _, in := range u.gateway.Instances {
		r.Instances = append(r.Instances, readyInstance{ID: string(in.ID), Slot: int(in.Slot),
			PID: u.processStatus(instanceProcess(in.Slot)).PID, ChannelPort: in.ChannelPort})
	}
	for _, cp := range u.points {
		r.ConnectionPoints = append(r.ConnectionPoints, readyConnectionPoint{ID: string(cp.ID), PID: u.processStatus(connectionPointProcess(cp.ID)).PID})
	}
	return r, nil
}

// setReady writes ready.json, or removes it with nil.
func (u *upRun) setReady(r *ready) error {
	u.readyMu.Lock()
	defer u.readyMu.Unlock()
	u.ready = r
	if r == nil {
		return removeReady(u.dir)
	}
	return r.write(u.dir)
}

// refreshReady writes ready.json anew, if the site serves.
func (u *upRun) refreshReady(ctx context.Context) error {
	u.readyMu.Lock()
	defer u.readyMu.Unlock()
	if u.ready == nil {
		return nil
	}
	r, err := u.readyNow(ctx)
	if err != nil {
		return err
	}
	u.ready = r
	return r.write(u.dir)
}
