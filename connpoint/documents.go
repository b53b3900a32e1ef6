package connpoint

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/causeway-gateway/causeway/signed"
)

const (
	// documentsEvery is how often the folder is looked at.
	documentsEvery = time.Second
	// maxDocumentFiles bounds what a look at the folder costs.
	maxDocumentFiles = 256
)

// watchDocuments obeys what lies in the documents folder until ctx ends. A document that is damaged, forged, older or
// of another site changes nothing but the log.
func (a *Agent) watchDocuments(ctx context.Context) {
	t := time.NewTicker(documentsEvery)
	defer t.Stop()
	seen := ""
	for {
		if now := a.folderState(); now != seen {
			seen = now
			a.readDocuments(ctx)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-a.state.reload:
			seen = "" // look, whatever the times of the files say
		}
	}
}

// folderState is a text that changes whenever a document file does, so that unchanged ones are not verified each second.
func (a *Agent) folderState() string {
	entries, err := os.ReadDir(a.DocumentsDir)
	if err != nil {
		return "unreadable: " + err.Error()
	}
	var b strings.Builder
	b.WriteString("files:")
	for i, e := range entries {
		if i == maxDocumentFiles {
			break
		}
		if info, err := e.Info(); err == nil && strings.Contains(e.Name(), ".json") {
			fmt.Fprintf(&b, " %q %d %d", e.Name(), info.Size(), info.ModTime().UnixNano())
		}
	}
	return b.String()
}

// readDocuments takes over what is new. Each document is taken whole or not at all.
func (a *Agent) readDocuments(ctx context.Context) {
	if a.state.store == nil {
		store, problems, err := signed.OpenStore(a.DocumentsDir, a.SiteKey)
		if err != nil {
			a.log().Error("documents folder not usable", "dir", a.DocumentsDir, "err", err, "hint", "make it readable for this connection point")
			return
		}
		a.state.store = store
		a.logProblems(problems)
	} else {
		_, problems := a.state.store.Reload()
		a.logProblems(problems)
	}
	if err := a.takeOwn(ctx); err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.log().Error("signed document refused, the last good one goes on", "kind", signed.KindConnectionPoint, "err", err,
			"hint", "look for who changed the documents folder, or export the documents again")
	}
	if err := a.takeGateway(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.log().Error("signed document refused, the last good one goes on", "kind", signed.KindGateway, "err", err)
	}
}

func (a *Agent) logProblems(problems []error) {
	for _, err := range problems {
		a.log().Error("document file passed over", "err", err, "hint", "the last good one goes on; look for who wrote this file")
	}
}

// takeOwn puts a newer document for this connection point in force: first the servers and rules, then the channels,
// so that the first request of a new gateway finds its route.
func (a *Agent) takeOwn(ctx context.Context) error {
	before := a.state.inside.config.Load()
	h := a.state.store.Header(signed.KindConnectionPoint)
	if before != nil && h.Generation <= before.header.Generation {
		return nil
	}
	var d signed.ConnectionPointDocument
	h, err := a.state.store.Open(signed.KindConnectionPoint, &d)
	if err != nil {
		return err
	}
	if d.Site != a.Site {
		return fmt.Errorf("document of site %q, this connection point belongs to %q", d.Site, a.Site)
	}
	c, err := newConfig(h, &d, before, &a.state.inside.counts)
	if err != nil {
		return fmt.Errorf("generation %d: %w", h.Generation, err)
	}
	a.state.inside.config.Store(c)
	c.retire(before)
	a.state.channels.want(ctx, c.aims())
	a.log().Info("configuration in force", "generation", h.Generation, "valid_until", stamp(h.ValidUntil),
		"gateways", len(d.Gateways), "servers", len(d.Servers))
	return nil
}

// takeGateway has what is new for gateways pushed to them. They judge it themselves.
func (a *Agent) takeGateway() error {
	before := a.state.channels.newest()
	next := before
	next.keys = a.rotations()
	h := a.state.store.Header(signed.KindGateway)
	if h.Generation > before.generation {
		var d signed.GatewayDocument
		var err error
		if h, err = a.state.store.Open(signed.KindGateway, &d); err != nil {
			return err
		}
		if d.Site != a.Site {
			return fmt.Errorf("document of site %q, this connection point belongs to %q", d.Site, a.Site)
		}
		next.raw, next.gateway, next.generation = a.state.store.Raw(signed.KindGateway), d.Gateway, h.Generation
	}
	if next.generation != before.generation || len(next.keys) != len(before.keys) {
		a.state.channels.publish(next)
	}
	return nil
}

// maxRotations bounds how many rotations of the site's key are read. They come about once a year.
const maxRotations = 64

// rotations returns the documents by which the site's key was rotated, as far as they follow from one to the next.
func (a *Agent) rotations() [][]byte {
	keys := signed.NewKeySet(a.SiteKey)
	var all [][]byte
	for n := 1; n <= maxRotations; n++ {
		raw, err := signed.ReadFile(filepath.Join(a.DocumentsDir, fmt.Sprintf("%s.%d.json", signed.KindSiteKey, n)))
		if err != nil {
			break // none, or one that the store has complained about
		}
		longer, err := keys.Follow(raw)
		if err != nil || longer == keys {
			break
		}
		keys = longer
		all = append(all, raw)
	}
	return all
}
