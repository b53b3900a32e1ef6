package cli

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/signed"
	"github.com/causeway-gateway/causeway/siteca"
)

// makeCertificates makes the folders from which hosts of their own get theirs.
func (s *siteRun) makeCertificates(ctx context.Context) (err error) {
	if err := s.caFile(); err != nil {
		return err
	}
	if s.device, err = s.firstDevice(ctx); err != nil {
		return err
	}
	if err := errors.Join(s.makeInstanceFolders(), s.makePointFolders()); err != nil {
		return err
	}
	return errors.Join(s.writeCertificates(ctx), s.linkLogs())
}

// makeInstanceFolders writes the configuration of each instance, and takes away those of slots that are no more.
func (s *siteRun) makeInstanceFolders() error {
	if err := s.removeOldSlots(); err != nil {
		return err
	}
	s.folders = roleFolders{map[causeway.Slot]*folder{}, map[causeway.ConnectionPointID]*folder{}}
	for _, in := range s.gateway.Instances {
		f, err := openFolder(s.dir.instance(in.Slot), 0)
		if err != nil {
			return err
		}
		s.folders.instances[in.Slot] = f
		err = f.writeYAML("config.yaml", gatewayConfig{
			Site: s.store.ID(), SiteKey: s.store.PublicKey().String(), Gateway: gatewayName, Instance: in.ID, Slot: in.Slot,
			CertificateFile: "tls.crt", KeyFile: "tls.key", DocumentsDir: "documents",
			DevicesListen:  net.JoinHostPort("0.0.0.0", strconv.Itoa(s.plan.port)),
			ChannelsListen: net.JoinHostPort("0.0.0.0", strconv.Itoa(in.ChannelPort)),
			Limits:         s.plan.instanceLimits(),
			Role:           roleConfig{AdminSocket: "run.sock"},
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *siteRun) removeOldSlots() error {
	for slot := len(s.gateway.Instances); slot < causeway.MaxSlots; slot++ {
		if err := os.RemoveAll(s.dir.instance(causeway.Slot(slot))); err != nil {
			return err
		}
	}
	return nil
}

// linkLogs makes logs/ in the state folder, as `up` does it. Only the site's own are here.
func (s *siteRun) linkLogs() error {
	if err := os.RemoveAll(s.dir.logs()); err != nil {
		return err
	}
	if err := os.Mkdir(s.dir.logs(), 0o700); err != nil {
		return err
	}
	return os.Symlink(filepath.Join("..", "site", "logs"), filepath.Join(s.dir.logs(), "site"))
}

func (s *siteRun) makePointFolders() error {
	for _, cp := range s.points {
		f, err := openFolder(s.dir.connectionPoint(cp.ID), 0)
		if err != nil {
			return err
		}
		s.folders.points[cp.ID] = f
		err = f.writeYAML("config.yaml", connectionPointConfig{
			Site: s.store.ID(), SiteKey: s.store.PublicKey().String(), ID: cp.ID, ConnectionID: cp.ConnectionID,
			CertificateFile: "tls.crt", KeyFile: "tls.key", DocumentsDir: "documents",
			Role: roleConfig{AdminSocket: "run.sock"},
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// writeCertificates puts the current certificates into the folders. Connection points of this host get theirs, too.
func (s *siteRun) writeCertificates(ctx context.Context) error {
	p, err := s.serviceCertificate(ctx)
	if err != nil {
		return err
	}
	for slot, f := range s.folders.instances {
		before, errRead := f.root.ReadFile("tls.crt")
		if err := f.writePair(p); err != nil {
			return err
		}
		if errRead == nil && string(before) != string(p.cert) {
			s.log.Warn("the service certificate is a new one", "slot", int(slot),
				"hint", fmt.Sprintf("export the gateway's folder again and copy tls.crt and tls.key to its host: causeway site export gateway %d DIR", slot))
		}
	}
	for id, f := range s.folders.points {
		p, err := s.connectionPointCertificate(ctx, id)
		if err != nil {
			return err
		}
		if err := f.writePair(p); err != nil {
			return err
		}
		s.writePointPair(id, p)
	}
	return nil
}

// writePointPair renews the certificate in the folder of a connection point of this host. One that cannot be written
// is no trouble for the others.
func (s *siteRun) writePointPair(id causeway.ConnectionPointID, p pair) {
	h := s.homeOf(id)
	if h.Dir == "" {
		return
	}
	f, err := s.openHome(h.Dir)
	if err == nil {
		defer f.close()
		if _, err = f.root.Lstat("tls.key"); err == nil {
			err = f.writePair(p)
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.Error("the certificate of a connection point was not renewed", "connection_point", string(id), "dir", h.Dir, "err", err)
	}
}

// serviceCertificate is what devices see: the administrator's, or one from the site's own CA.
func (s *siteRun) serviceCertificate(ctx context.Context) (pair, error) {
	if c := s.ownCertificate(); c != nil {
		return pairOf(c)
	}
	names, err := s.serviceNames(ctx)
	if err != nil {
		return pair{}, err
	}
	fits := func(leaf *x509.Certificate) bool { return slices.Equal(certificateNames(leaf), names) }
	return s.keep(s.dir.site(), "service.crt", "service.key", s.store.SiteCA(), fits, func() (siteca.Issued, error) {
		return s.store.IssueService(ctx, s.by(), subjectFirst(s.plan.serviceName, names))
	})
}

// serviceNames are the names under which devices know the gateway. None of them is of the inside.
func (s *siteRun) serviceNames(ctx context.Context) ([]string, error) {
	servers, err := s.store.Servers(ctx)
	if err != nil {
		return nil, err
	}
	names := append([]string{s.plan.serviceName}, s.plan.hosts()...)
	for _, v := range servers {
		if v.Host != "" {
			names = append(names, v.Host)
		}
	}
	return slices.Compact(slices.Sorted(slices.Values(names))), nil
}

// publish renders and signs the documents as the store has them. Whoever runs on another host gets them from the
// documents folder; connection points of this host get them into their own, and carry them to the gateway.
func (s *siteRun) publish(ctx context.Context) error {
	s.publishing.Lock()
	defer s.publishing.Unlock()
	docs, err := s.store.Documents(ctx)
	if err != nil {
		return err
	}
	all := map[string][]byte{signed.KindGateway: docs.Gateways[gatewayName], signed.KindConnectionPoint: docs.ConnectionPoint}
	own, err := openOwnFolder(s.dir.documents())
	if err != nil {
		return err
	}
	defer own.close()
	for _, f := range s.folders.points {
		if err := f.writeDocuments(all); err != nil {
			return err
		}
	}
	for kind, raw := range all {
		if err := own.write(kind+".json", raw); err != nil {
			return err
		}
	}
	s.generation = docs.Generation
	s.updateHomesLocked(true)
	return nil
}

// lookForPointsEvery is how often the site looks for connection points of this host that came after the documents:
// the folder of one that systemd runs is made at its first start.
const lookForPointsEvery = time.Second

// updateHomes gives the documents to connection points of this host that do not have them. What they should not need
// is only written when fresh, since they could be broken and ask forever.
func (s *siteRun) updateHomes(fresh bool) {
	s.publishing.Lock()
	defer s.publishing.Unlock()
	s.updateHomesLocked(fresh)
}

func (s *siteRun) updateHomesLocked(fresh bool) {
	for id, f := range s.folders.points {
		h := s.homeOf(id)
		if h.DocumentsDir == "" {
			continue
		}
		moved := s.noteHome(id, h)
		err := s.updateHome(h.DocumentsDir, f, fresh || moved)
		if errors.Is(err, fs.ErrNotExist) {
			err = nil // it is not on this host
		}
		if text := fmt.Sprint(err); text != s.homeErrors[id] { // once, not each second
			if err != nil {
				s.log.Error("a connection point did not get the documents", "connection_point", string(id), "dir", h.DocumentsDir, "err", err,
					"hint", "make the folder writable for the site's user, or carry "+s.dir.documents()+" there")
			}
			s.homeErrors[id] = text
		}
	}
}

// noteHome says in the log when a connection point has another folder than a moment ago.
func (s *siteRun) noteHome(id causeway.ConnectionPointID, h home) (moved bool) {
	before := s.homes[id]
	s.homes[id] = h.folder()
	if before == "" || before == h.folder() {
		return false
	}
	s.log.Warn("a connection point has moved: its new folder is kept fresh, the old one no more",
		"connection_point", string(id), "dir", h.folder(), "before", before)
	return true
}

// updateHome copies the documents from a connection point's folder in the state folder to where it reads them.
func (s *siteRun) updateHome(dir string, from *folder, fresh bool) error {
	f, err := s.openHome(dir)
	if err != nil {
		return err
	}
	defer f.close()
	for _, kind := range []string{signed.KindGateway, signed.KindConnectionPoint} {
		name := kind + ".json"
		if _, err := f.root.Lstat(name); err == nil && !fresh {
			continue
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		raw, err := from.root.ReadFile("documents/" + name)
		if err != nil {
			return err
		}
		if err := f.write(name, raw); err != nil {
			return err
		}
	}
	return nil
}

// homeOf says where a connection point runs on this host; nothing when nobody said so.
func (s *siteRun) homeOf(id causeway.ConnectionPointID) (h home) {
	raw, err := os.ReadFile(s.dir.home(id))
	if err == nil {
		err = json.Unmarshal(raw, &h)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.Error("where a connection point runs is not known", "connection_point", string(id), "err", err, "hint", "export its folder again")
		return home{}
	}
	return h
}

// openHome opens a folder that belongs to a role, perhaps to a user of its own who is broken by now: from the folder
// above, so that no link in its place leads elsewhere, and files will be the role's.
func (s *siteRun) openHome(dir string) (*folder, error) {
	above, err := os.OpenRoot(filepath.Dir(dir))
	if err != nil {
		return nil, err
	}
	defer above.Close()
	fi, err := above.Lstat(filepath.Base(dir))
	if err != nil {
		return nil, err
	}
	if !fi.IsDir() {
		return nil, fmt.Errorf("%s is not a folder", dir)
	}
	root, err := above.OpenRoot(filepath.Base(dir))
	if err != nil {
		return nil, err
	}
	f := &folder{root: root}
	if uid := int(fi.Sys().(*syscall.Stat_t).Uid); uid != os.Geteuid() {
		f.user = uid
	}
	return f, nil
}

// renew signs the documents anew and renews certificates that have lived two thirds of their life.
func (s *siteRun) renew(ctx context.Context) error {
	return errors.Join(s.followCertificate(ctx), s.writeCertificates(ctx), s.publish(ctx))
}

// waitSpread waits until every instance that a connection point of this host reaches obeys a generation, or the
// documents have had all the time they may take.
func (s *siteRun) waitSpread(ctx context.Context, generation uint64) (live, applied int) {
	ctx, cancel := context.WithTimeout(ctx, liveTimeout)
	defer cancel()
	for {
		live, applied = s.countSpread(ctx, generation)
		if applied == live {
			return live, applied
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return live, applied
		}
	}
}
