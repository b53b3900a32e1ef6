package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/signed"
)

// Users of the roles, counted from the site's first. The numbers are part of the state folder: files belong to them.
const (
	balancerUser        = 0
	sampleUser          = 1
	instanceUser        = 2
	connectionPointUser = instanceUser + causeway.MaxSlots
	usersPerSite        = connectionPointUser + maxConnectionPoints
)

// user is the user of a role; 0 when all run as ours.
func (u *upRun) user(role int) int {
	if u.firstUser == 0 {
		return 0
	}
	return u.firstUser + role
}

// roleFolders are the folders into which the site writes while the roles run.
type roleFolders struct {
	instances map[causeway.Slot]*folder
	points    map[causeway.ConnectionPointID]*folder
}

func (r *roleFolders) close() {
	for _, f := range r.instances {
		f.close()
	}
	for _, f := range r.points {
		f.close()
	}
}

// makeFolders writes for each role what it needs to start: certificate, documents and configuration.
func (u *upRun) makeFolders(ctx context.Context) error {
	u.folders = roleFolders{map[causeway.Slot]*folder{}, map[causeway.ConnectionPointID]*folder{}}
	for _, in := range u.gateway.Instances {
		f, err := openFolder(u.dir.instance(in.Slot), u.user(instanceUser+int(in.Slot)))
		if err != nil {
			return err
		}
		u.folders.instances[in.Slot] = f
		err = f.writeYAML("config.yaml", gatewayConfig{
			Site: u.store.ID(), SiteKey: u.store.PublicKey().String(), Gateway: gatewayName, Instance: in.ID, Slot: in.Slot,
			CertificateFile: "tls.crt", KeyFile: "tls.key", DocumentsDir: "documents", DrainTimeout: duration(upDrain),
			Limits: u.plan.instanceLimits(), Role: roleConfig{AdminSocket: adminSocket, LogDir: "logs"},
		})
		if err != nil {
			return err
		}
	}
	for n, cp := range u.points {
		f, err := openFolder(u.dir.connectionPoint(cp.ID), u.user(connectionPointUser+n))
		if err != nil {
			return err
		}
		u.folders.points[cp.ID] = f
		err = f.writeYAML("config.yaml", connectionPointConfig{
			Site: u.store.ID(), SiteKey: u.store.PublicKey().String(), ID: cp.ID, ConnectionID: cp.ConnectionID,
			CertificateFile: "tls.crt", KeyFile: "tls.key", DocumentsDir: "documents", DrainTimeout: duration(upDrain),
			Role: roleConfig{AdminSocket: adminSocket, LogDir: "logs"},
		})
		if err != nil {
			return err
		}
	}
	return errors.Join(u.writeCertificates(ctx), u.publish(ctx, true), u.linkLogs())
}

func (f *folder) writeYAML(name string, v any) error {
	text, err := yaml.Marshal(v)
	if err != nil {
		return err
	}
	return f.write(name, text)
}

// writeCertificates puts the current certificates into the roles' folders; roles that run take them up by themselves.
func (u *upRun) writeCertificates(ctx context.Context) error {
	p, err := u.serviceCertificate(ctx)
	if err != nil {
		return err
	}
	for _, f := range u.folders.instances {
		if err := f.writePair(p); err != nil {
			return err
		}
	}
	for id, f := range u.folders.points {
		p, err := u.connectionPointCertificate(ctx, id)
		if err != nil {
			return err
		}
		if err := f.writePair(p); err != nil {
			return err
		}
	}
	return nil
}

// writePair writes a certificate and its key, unless they are there already. A role that reads between the two finds
// a pair that does not match, keeps what it has, and looks again.
func (f *folder) writePair(p pair) error {
	cert, errCert := f.root.ReadFile("tls.crt")
	key, errKey := f.root.ReadFile("tls.key")
	if errCert == nil && errKey == nil && string(cert) == string(p.cert) && string(key) == string(p.key) {
		return nil
	}
	return errors.Join(f.write("tls.key", p.key), f.write("tls.crt", p.cert))
}

// publish renders and signs the documents as the store has them and gives them to the connection points, which carry
// them to the instances. At a start the instances get theirs directly, too.
func (u *upRun) publish(ctx context.Context, starting bool) error {
	u.publishing.Lock()
	defer u.publishing.Unlock()
	docs, err := u.store.Documents(ctx)
	if err != nil {
		return err
	}
	// Connection points first: what a gateway lets through, they must know already.
	for _, f := range u.folders.points {
		if err := f.writeDocuments(map[string][]byte{signed.KindConnectionPoint: docs.ConnectionPoint}); err != nil {
			return err
		}
	}
	gateways := slices.Collect(maps.Values(u.folders.points))
	if starting {
		gateways = slices.AppendSeq(gateways, maps.Values(u.folders.instances))
	}
	for _, f := range gateways {
		if err := f.writeDocuments(map[string][]byte{signed.KindGateway: docs.Gateways[gatewayName]}); err != nil {
			return err
		}
	}
	u.generation = docs.Generation
	return nil
}

func (f *folder) writeDocuments(documents map[string][]byte) error {
	inner, err := f.folder("documents")
	if err != nil {
		return err
	}
	defer inner.close()
	for kind, raw := range documents {
		if err := inner.write(kind+".json", raw); err != nil {
			return err
		}
	}
	return nil
}

// linkLogs makes logs/ in the state folder, with a link to each role's own log folder: roles that run as users of
// their own could not write into one that all share.
func (u *upRun) linkLogs() error {
	if err := os.RemoveAll(u.dir.logs()); err != nil {
		return err
	}
	if err := os.Mkdir(u.dir.logs(), 0o700); err != nil {
		return err
	}
	links := map[string]string{"site": "site", "balancer": "balancer"}
	if u.sample != nil {
		links["sample-server"] = "sample-server"
	}
	for _, in := range u.gateway.Instances {
		links[fmt.Sprintf("gateway-%d", in.Slot)] = filepath.Join("instances", strconv.Itoa(int(in.Slot)))
	}
	for _, cp := range u.points {
		links["connection-point-"+string(cp.ID)] = filepath.Join("connection-points", string(cp.ID))
	}
	for name, target := range links {
		if err := os.Symlink(filepath.Join("..", target, "logs"), filepath.Join(u.dir.logs(), name)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// renewEvery is how often documents are signed anew, and certificates looked at.
const renewEvery = time.Hour

// renew signs the documents anew and renews certificates that have lived two thirds of their life.
func (u *upRun) renew(ctx context.Context) error {
	return errors.Join(u.writeCertificates(ctx), u.publish(ctx, false))
}
