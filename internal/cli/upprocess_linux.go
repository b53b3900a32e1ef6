package cli

import (
	"context"
	"crypto/x509"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/causeway-gateway/causeway"
)

// Names of the processes, as status and logs show them.
func instanceProcess(slot causeway.Slot) string { return "gateway/" + strconv.Itoa(int(slot)) }
func connectionPointProcess(id causeway.ConnectionPointID) string {
	return "connection-point/" + string(id)
}

// roleKind is the part of a process's name that all of its kind share.
func roleKind(process string) string {
	kind, _, _ := strings.Cut(process, "/")
	return kind
}

// healthyInstances asks the balancer which instances its probe finds healthy.
func (u *upRun) healthyInstances(ctx context.Context) map[causeway.Slot]bool {
	healthy := map[causeway.Slot]bool{}
	st, err := u.fleet.members.Status(ctx)
	if err != nil {
		return healthy // none that we know of
	}
	for _, in := range st.Instances {
		healthy[in.Slot] = in.Healthy && !in.Gone
	}
	return healthy
}

// processChanged follows the process ids of children that were started again.
func (u *upRun) processChanged() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := u.refreshReady(ctx); err != nil {
		u.log.Warn("ready.json was not written", "err", err)
	}
}

// visitor is a device of our own on the way through the front end.
func (u *upRun) visitor() *visitor {
	cas := x509.NewCertPool()
	if c := u.plan.certificate; c != nil {
		cas.AppendCertsFromPEM(trustFor(c))
	} else {
		cas.AddCert(u.store.SiteCA().Certificate)
	}
	return &visitor{dial: net.JoinHostPort(u.plan.dialAddress().String(), strconv.Itoa(u.plan.port)), cas: cas}
}

func (p *upPlan) deviceCertificates() []*x509.Certificate {
	out := make([]*x509.Certificate, len(p.deviceCAs))
	for i, ca := range p.deviceCAs {
		out[i] = ca.certificate
	}
	return out
}

func pathOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "/"
	}
	return u.Path
}
