package fabric

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/causeway-gateway/causeway/fabric/access"
	"github.com/causeway-gateway/causeway/fabric/azure"
	"github.com/causeway-gateway/causeway/fabric/entra"
	"github.com/causeway-gateway/causeway/fabric/state"
	"github.com/causeway-gateway/causeway/internal/durable"
)

const (
	selfBucket = "fabric.self"
	ownerFile  = "owner.json"
	ownerName  = "Causeway fabric owner"
)

// self is what a fabric is, for as long as it has its state.
type self struct {
	Tenant       string `json:"tenant"`
	Subscription string `json:"subscription"`
}

func openSelf(ctx context.Context, s *state.Store) (me self, err error) {
	err = s.Update(ctx, func(tx *state.Tx) error {
		known, err := tx.Get(selfBucket, "self", &me)
		if err != nil || known {
			return err
		}
		me = self{azure.NewGUID(), azure.NewGUID()}
		return tx.Put(selfBucket, "self", me)
	})
	return me, err
}

// An Owner is who may do everything in a fabric's subscription and directory: the way in for whoever has its folder.
type Owner struct {
	Object string `json:"object_id"`
	Client string `json:"client_id"`
	Secret string `json:"client_secret"`
}

// ownerLife is for how long the owner's secret is good. A new one is made at a start that finds it half over.
const ownerLife = 2 * 365 * 24 * time.Hour

// ensureOwner makes the owner, whatever a crash has left of it, and a file with its secret.
func (f *Fabric) ensureOwner(ctx context.Context) error {
	d := f.planes.directory
	apps := d.Applications(func(a *entra.Application) bool { return a.Name == ownerName })
	if len(apps) == 0 {
		a, err := d.CreateApplication(ctx, ownerName)
		if err != nil {
			return err
		}
		apps = append(apps, a)
	}
	app := apps[0]
	p, err := f.ownerPrincipal(ctx, app)
	if err != nil {
		return err
	}
	if err := d.MakeAdmin(ctx, p.Object); err != nil {
		return err
	}
	at := azure.SubscriptionID(f.self.Subscription)
	if !f.planes.access.Allowed(azure.Principal{Object: p.Object}, "Microsoft.Authorization/roleAssignments/write", false, at) {
		if _, err := f.planes.access.Assign(ctx, access.Assignment{ID: azure.NewGUID(), Scope: at.String(), Role: access.Owner, Principal: p.Object, Type: "ServicePrincipal"}); err != nil {
			return err
		}
	}
	return f.ensureSecret(ctx, app, p)
}

func (f *Fabric) ownerPrincipal(ctx context.Context, app entra.Application) (entra.ServicePrincipal, error) {
	found := f.planes.directory.Principals(func(p *entra.ServicePrincipal) bool { return p.App == app.App })
	if len(found) > 0 {
		return found[0], nil
	}
	return f.planes.directory.CreateServicePrincipal(ctx, app.App)
}

// ensureSecret keeps a file with a secret that is good for a while. The one before is taken back.
func (f *Fabric) ensureSecret(ctx context.Context, app entra.Application, p entra.ServicePrincipal) error {
	now := f.cfg.Now()
	if o, err := ReadOwner(f.cfg.Dir); err == nil && o.Object == p.Object {
		for _, have := range app.Passwords {
			if now.Before(have.Until.Add(-ownerLife / 2)) {
				return nil
			}
		}
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	_, secret, err := f.planes.directory.AddPassword(ctx, app.Object, "owner", now, now.Add(ownerLife))
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(Owner{p.Object, app.App, secret}, "", "  ")
	if err != nil {
		return err
	}
	if err := durable.WriteFile(filepath.Join(f.cfg.Dir, ownerFile), append(text, '\n')); err != nil {
		return err
	}
	for _, old := range app.Passwords {
		if err := f.planes.directory.RemovePassword(ctx, app.Object, old.ID); err != nil {
			return err
		}
	}
	return nil
}

// ReadOwner reads the owner of the fabric that has this folder.
func ReadOwner(dir string) (o Owner, err error) {
	text, err := os.ReadFile(filepath.Join(dir, ownerFile))
	if err != nil {
		return o, err
	}
	return o, json.Unmarshal(text, &o)
}
