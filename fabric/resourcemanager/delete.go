package resourcemanager

import (
	"context"
	"errors"

	"github.com/causeway-gateway/causeway/fabric/azure"
	"github.com/causeway-gateway/causeway/fabric/state"
)

// deletion checks that a resource may go, records that it does, and starts it. A nil operation says that there is none.
func (s *Service) deletion(ctx context.Context, id azure.ID, k kind, c caller) (*running, error) {
	if err := s.unlocked(id, true); err != nil {
		return nil, err
	}
	o, err := s.claim(id, operation{Verb: verbDelete, By: c.by()})
	if err != nil {
		return nil, err
	}
	if there, err := s.begin(o, func() (bool, error) { return s.prepareDeletion(ctx, o, k) }); err != nil || !there {
		return nil, err
	}
	if k.Slow {
		return o, nil
	}
	return o, o.wait(ctx)
}

func (s *Service) prepareDeletion(ctx context.Context, o *running, k kind) (there bool, err error) {
	var r *Resource
	if err = s.cfg.State.View(ctx, func(tx *state.Tx) (err error) { r, err = read(tx, o.on); return err }); err != nil || r == nil {
		return false, err
	}
	if k.Release != nil {
		if err := k.Release(ctx, r); err != nil {
			return false, err
		}
	}
	r.State = stateDeleting
	err = s.cfg.State.Update(ctx, func(tx *state.Tx) error {
		if err := r.write(tx); err != nil {
			return err
		}
		return record(tx, o, nil)
	})
	return err == nil, err
}

// doDelete deletes what lies in a resource, and then the resource.
func (s *Service) doDelete(o *running) error {
	children, err := s.inside(o.ctx, o.on)
	if err != nil {
		return err
	}
	deepest(children)
	for _, c := range children {
		if err := s.remove(o.ctx, c); err != nil {
			return err
		}
	}
	k, r, err := s.claimed(o)
	if e, ok := errors.AsType[*azure.Error](err); ok && e.Code == "ResourceNotFound" {
		return nil // done before the crash
	}
	if err == nil && k.Delete != nil {
		err = k.Delete(o.ctx, r)
	}
	if err == nil {
		err = s.cfg.Access.Forget(o.ctx, o.on, "")
	}
	return err
}

// remove deletes one resource whose scope is claimed already.
func (s *Service) remove(ctx context.Context, r *Resource) error {
	k, ok := s.kindOf(r.ID.Type())
	if ok && k.Release != nil {
		if err := k.Release(ctx, r); err != nil {
			return err
		}
	}
	if ok && k.Delete != nil {
		if err := k.Delete(ctx, r); err != nil {
			return err
		}
	}
	return s.cfg.State.Update(ctx, func(tx *state.Tx) error { return forget(tx, r.ID) })
}
