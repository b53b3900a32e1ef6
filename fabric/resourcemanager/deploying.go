package resourcemanager

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/causeway-gateway/causeway/fabric/azure"
	"github.com/causeway-gateway/causeway/fabric/document"
	"github.com/causeway-gateway/causeway/fabric/template"
)

// A deploying is a deployment that runs. It is what its expressions ask.
type deploying struct {
	s *Service
	caller
	id    azure.ID
	above []string // ids of this deployment, and of those that it is nested in

	mu     sync.Mutex // guards the field below
	states map[string]*steps
}

// steps is how far a resource of a deployment is.
type steps struct {
	done chan struct{} // closed when it has ended
	ok   bool
}

// all makes the resources, each when what it depends on is there. What depends on one that failed is not begun.
func (d *deploying) all(ctx context.Context, resources []*template.Resource) []error {
	resources = slices.DeleteFunc(slices.Clone(resources), func(r *template.Resource) bool { return r.Skipped || r.Existing })
	var failures []error
	var work sync.WaitGroup
	room := make(chan struct{}, mostAtOnce)
	for _, r := range resources {
		d.states[r.ID.Key()] = &steps{done: make(chan struct{})}
	}
	for _, r := range resources {
		work.Go(func() {
			mine := d.states[r.ID.Key()]
			defer close(mine.done)
			for _, needed := range r.DependsOn {
				other := d.states[needed.ID.Key()]
				<-other.done
				if !other.ok {
					return
				}
			}
			room <- struct{}{}
			defer func() { <-room }()
			if ctx.Err() != nil {
				return
			}
			if err := d.step(ctx, r); err != nil {
				d.mu.Lock()
				failures = append(failures, err)
				d.mu.Unlock()
				return
			}
			mine.ok = true
		})
	}
	work.Wait()
	if ctx.Err() != nil && d.s.ctx.Err() != nil {
		return nil
	}
	return failures
}

// step makes one resource, and records that it does.
func (d *deploying) step(ctx context.Context, r *template.Resource) error {
	started := d.s.cfg.Now().UTC()
	st := step{ID: stepID(d.id, r.ID), Path: r.ID.String(), Type: r.Type, Name: r.Name, State: "Running", Started: started}
	if done, err := d.s.keepStep(ctx, d.id, &st); err != nil || done {
		return err
	}
	body, err := r.Body(ctx, d)
	if err == nil {
		err = d.make(ctx, r, body)
	}
	if d.s.ctx.Err() != nil {
		return d.s.ctx.Err()
	}
	st.State, st.Ended = stateSucceeded, d.s.cfg.Now().UTC()
	if err != nil {
		st.State, st.Error = stateFailed, azure.AsError(err)
	}
	if _, failed := d.s.keepStep(d.s.ctx, d.id, &st); failed != nil {
		return failed
	}
	return err
}

// make makes what a body describes, as a request would, and waits until it is there.
func (d *deploying) make(ctx context.Context, r *template.Resource, body *document.Object) (err error) {
	s := d.s
	switch k, _ := s.kindOf(r.Type); k.full {
	case groupType:
		err = d.patiently(ctx, r.ID, func() error { _, _, err := s.makeGroup(ctx, d.caller, r.ID, body); return err })
	case deploymentType:
		err = d.nested(ctx, r.ID, body)
	case assignmentType:
		_, _, err = s.assign(ctx, d.caller, r.ID, body)
	case roleType:
		_, _, err = s.defineRole(ctx, d.caller, r.ID, body)
	case lockType:
		_, _, err = s.lock(ctx, d.caller, r.ID, body)
	case tagsType:
		err = d.patiently(ctx, r.ID.Scope(), func() error { _, err := s.tag(ctx, d.caller, r.ID, "Replace", body); return err })
	default:
		err = d.write(ctx, change{id: r.ID, kind: k, version: r.APIVersion, body: body, caller: d.caller})
	}
	return err
}

// write changes a resource, after whatever changes it already.
func (d *deploying) write(ctx context.Context, c change) error {
	for {
		o, err := d.s.write(ctx, c)
		if err == nil {
			return o.wait(d.s.ctx)
		}
		other := d.s.busyWith(c.id)
		if azure.AsError(err).Code != "AnotherOperationInProgress" {
			return err
		}
		switch {
		case other == nil: // it has just ended
		case other.Verb == verbWrite && other.on.Equal(c.id) && other.By.Caused == d.correlation: // it is ours, from before a crash
			return other.wait(ctx)
		default:
			_ = other.wait(ctx) // what it comes to is not our business
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// patiently does something when nothing else changes the same any more.
func (d *deploying) patiently(ctx context.Context, on azure.ID, do func() error) error {
	for {
		err := do()
		if err == nil || azure.AsError(err).Code != "AnotherOperationInProgress" {
			return err
		}
		if other := d.s.busyWith(on); other != nil {
			_ = other.wait(ctx) // what it comes to is not our business
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// busyWith is what has to end before something can be written.
func (s *Service) busyWith(id azure.ID) *running {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.obstacleLocked(id, verbWrite)
}

// nested runs a deployment within a deployment.
func (d *deploying) nested(ctx context.Context, id azure.ID, body *document.Object) error {
	if slices.ContainsFunc(d.above, func(a string) bool { return strings.EqualFold(a, id.String()) }) {
		return azure.Errorf(http.StatusConflict, "DeploymentActive", "The deployment '%s' is nested in itself, and would wait for its own end. Give it another name.", id.Name())
	}
	if other := d.s.busyWith(id); other != nil && other.Verb == verbDeploy { // it was begun before a crash, and goes on
		return other.wait(ctx)
	}
	if was, ours, err := d.ended(ctx, id); err != nil || ours {
		if err == nil && was.Error != nil {
			err = was.Error
		}
		return err
	}
	inner, order, err := d.s.orderOf(id, body)
	if err != nil {
		return err
	}
	outer, err := d.s.deploymentOf(ctx, d.id)
	if err != nil {
		return err
	}
	inner.Caused, inner.Above, inner.Run = d.correlation, d.above, outer.Operation
	order.Evaluated = !strings.EqualFold(body.String("properties", "expressionEvaluationOptions", "scope"), "inner")
	o, err := d.s.deploy(ctx, d.caller, id, inner, order)
	if err != nil {
		return err
	}
	if err = o.wait(ctx); ctx.Err() != nil && d.s.ctx.Err() == nil {
		if _, err := d.s.cancel(d.s.ctx, o.ID); err != nil { // the outer one was canceled
			return err
		}
		err = o.wait(d.s.ctx)
	}
	return err
}

// ended finds a nested deployment that this one began before a crash, and that has come to its end by itself since.
func (d *deploying) ended(ctx context.Context, id azure.ID) (inner deployment, ours bool, err error) {
	outer, err := d.s.deploymentOf(ctx, d.id)
	if err != nil {
		return inner, false, err
	}
	inner, err = d.s.deploymentOf(ctx, id)
	if err != nil && azure.AsError(err).Code != "DeploymentNotFound" {
		return inner, false, err
	}
	ours = err == nil && !inner.Ended.IsZero() && slices.Equal(inner.Above, d.above) && inner.Run == outer.Operation
	return inner, ours, nil
}

// Reference is what reference() asks. The caller must be allowed to read it.
func (d *deploying) Reference(ctx context.Context, r template.Reference) (any, error) {
	k, known := d.s.kindOf(r.ID.Type())
	if !known {
		return nil, azure.Errorf(http.StatusBadRequest, "InvalidTemplate", "The resource type '%s' of the reference '%s' is not one of this fabric.", r.ID.Type(), r.ID)
	}
	action := k.full + "/read"
	if k.full == groupType {
		action = groupsRead
	}
	if err := d.s.permit(d.who, action, r.ID); err != nil {
		return nil, err
	}
	shown, err := d.s.shown(ctx, k, r.ID)
	if err != nil || r.Full {
		return shown, err
	}
	return orEmpty(shown.Object("properties")), nil
}

// shown is what a GET of something answers, of whatever type it is.
func (s *Service) shown(ctx context.Context, k kind, id azure.ID) (*document.Object, error) {
	switch k.full {
	case deploymentType:
		d, err := s.deploymentOf(ctx, id)
		if err != nil {
			return nil, err
		}
		return d.show(), nil
	case groupType:
		g, err := s.group(ctx, id)
		if err != nil {
			return nil, err
		}
		return g.show(), nil
	case tagsType:
		tags, _, err := s.tagsOf(ctx, id.Scope())
		return showTags(id, tags), err
	case lockType:
		return s.shownLock(id)
	case assignmentType:
		return s.shownAssignment(id)
	case roleType:
		return s.shownRole(id)
	}
	r, err := s.resourceAt(ctx, id)
	if err != nil {
		return nil, err
	}
	return s.show(ctx, k, r)
}

// List is what listKeys() and its like ask. The caller must be allowed to do the action.
func (d *deploying) List(ctx context.Context, l template.List) (any, error) {
	k, known := d.s.kindOf(l.ID.Type())
	a, name, has := k.actionOf(l.Function)
	if !known || !has || a.Slow {
		return nil, azure.Errorf(http.StatusBadRequest, "InvalidTemplate", "The resource '%s' has no action '%s' that returns something.", l.ID, l.Function)
	}
	if err := d.s.permit(d.who, k.full+"/"+name+"/action", l.ID); err != nil {
		return nil, err
	}
	r, err := d.s.resourceAt(ctx, l.ID)
	if err != nil {
		return nil, err
	}
	body, _ := l.Body.(*document.Object)
	return a.Do(ctx, r, body)
}
