package resourcemanager

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/causeway-gateway/causeway/fabric/azure"
	"github.com/causeway-gateway/causeway/fabric/document"
	"github.com/causeway-gateway/causeway/fabric/state"
)

// actionOf finds an action by its name, in any case, as Azure's clients write them.
func (k kind) actionOf(name string) (Action, string, bool) {
	for have, a := range k.Actions {
		if strings.EqualFold(have, name) {
			return a, have, true
		}
	}
	return Action{}, "", false
}

// act does an action of a resource: at once, or as an operation.
func (q *request) act(k kind, name string) (*answer, error) {
	a, name, known := k.actionOf(name)
	if !known {
		return nil, azure.Errorf(http.StatusNotFound, "InvalidResourceType", "The resource type '%s' has no action '%.80s'.", k.full, q.last())
	}
	if err := q.s.permit(q.who, k.full+"/"+name+"/action", q.id); err != nil {
		return nil, err
	}
	if err := q.s.unlocked(q.id, false); err != nil { // Azure takes every POST for a change, also one that lists keys
		return nil, err
	}
	body, err := q.optionalObject()
	if err != nil {
		return nil, err
	}
	if !a.Slow {
		return q.actNow(a, body)
	}
	return q.actLater(a, name, body)
}

func (q *request) actNow(a Action, body *document.Object) (*answer, error) {
	r, err := q.resource()
	if err != nil {
		return nil, err
	}
	if a.Check != nil {
		if err := a.Check(q.Context(), r, body); err != nil {
			return nil, err
		}
	}
	got, err := a.Do(q.Context(), r, body)
	if err != nil {
		return nil, err
	}
	return ok(got), nil
}

func (q *request) actLater(a Action, name string, body *document.Object) (*answer, error) {
	o, err := q.s.claim(q.id, operation{Verb: verbAction, Action: name, By: q.by()})
	if err != nil {
		return nil, err
	}
	_, err = q.s.begin(o, func() (bool, error) {
		r, err := q.resource()
		if err == nil && a.Check != nil {
			err = a.Check(q.Context(), r, body)
		}
		if err == nil {
			err = q.s.cfg.State.Update(q.Context(), func(tx *state.Tx) error { return record(tx, o, body) })
		}
		return err == nil, err
	})
	if err != nil {
		return nil, err
	}
	return q.accepted(o), nil
}

// doAction does a recorded action, with the body that was recorded.
func (s *Service) doAction(o *running) (any, error) {
	k, r, err := s.claimed(o)
	if err != nil {
		return nil, err
	}
	a, _, known := k.actionOf(o.Action)
	if !known {
		return nil, fmt.Errorf("the type %s has no action %s any more", k.full, o.Action)
	}
	var body *document.Object
	err = s.cfg.State.View(o.ctx, func(tx *state.Tx) error {
		text, ok, err := tx.GetSealed(requestBucket, o.ID)
		if err != nil || !ok {
			return err
		}
		body = new(document.Object)
		return body.UnmarshalJSON(text)
	})
	if err != nil {
		return nil, err
	}
	return a.Do(o.ctx, r, body)
}
