package resourcemanager

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/causeway-gateway/causeway/fabric/azure"
	"github.com/causeway-gateway/causeway/fabric/document"
	"github.com/causeway-gateway/causeway/fabric/state"
	"github.com/causeway-gateway/causeway/fabric/template"
)

// verbDeploy is what an operation does that runs a deployment.
const verbDeploy = "deploy"

// mostAtOnce is how many resources of one deployment are made at the same time.
const mostAtOnce = 16

// seeded makes GUIDs from a seed: a deployment that is expanded again gets the same ones.
func seeded(seed string) func() string {
	n := uint64(0)
	return func() string {
		n++
		mac := hmac.New(sha256.New, []byte(seed))
		_ = binary.Write(mac, binary.BigEndian, n)
		return azure.GUID([16]byte(mac.Sum(nil)))
	}
}

// plan expands an order and checks what can be before anything is made: types, versions and the caller's rights.
func (s *Service) plan(ctx context.Context, c caller, id azure.ID, o *order) (*template.Plan, error) {
	plan, err := s.expand(ctx, id, o, c.who)
	if err != nil {
		return nil, err
	}
	for _, r := range plan.Resources {
		if r.Skipped || r.Existing {
			continue
		}
		if err := s.checkPlanned(c, r); err != nil {
			return nil, err
		}
	}
	return plan, nil
}

func (s *Service) checkPlanned(c caller, r *template.Resource) error {
	k, known := s.kindOf(r.Type)
	if !known {
		return azure.Errorf(http.StatusBadRequest, "InvalidTemplateDeployment", "The template deployment failed: the resource type '%s' is not one of this fabric.", r.Type)
	}
	if err := k.checkVersion(r.APIVersion); err != nil {
		return err
	}
	if err := k.checkPlace(r.ID); err != nil {
		return azure.Errorf(http.StatusBadRequest, "InvalidTemplateDeployment", "The template deployment failed: the resource '%s' of type '%s' cannot be deployed to '%s'.", r.Name, r.Type, r.ID).Within(err)
	}
	if _, known := s.subscription(r.ID.Subscription()); !known {
		return azure.Errorf(http.StatusNotFound, "SubscriptionNotFound", "The subscription '%s' could not be found.", r.ID.Subscription())
	}
	action, on := k.full+"/write", r.ID
	if k.full == groupType {
		action = "Microsoft.Resources/subscriptions/resourceGroups/write"
	}
	if k.extends {
		on = r.ID.Scope()
	}
	if err := s.permit(c.who, action, on); err != nil {
		return azure.Errorf(http.StatusForbidden, "InvalidTemplateDeployment", "Deployment failed with multiple errors: 'Authorization failed for template resource '%s' of type '%s'. %s'", r.Name, r.Type, azure.AsError(err).Message).Within(err)
	}
	return nil
}

// checkPlace says whether something of this type may have an id that a template gives it.
func (k kind) checkPlace(id azure.ID) error {
	scope := id.Scope()
	fits := false
	switch {
	case k.extends:
		fits = true
	case k.full == groupType:
		fits = !id.IsResource()
	case k.full == deploymentType:
		fits = !scope.IsResource() && !scope.IsTenant()
	case !k.own:
		return misplaced(id)
	}
	if !fits {
		return azure.Errorf(http.StatusBadRequest, "InvalidResourceLocation", "The type '%s' is not one that lies there.", k.full)
	}
	return nil
}

// deploy records a deployment and starts it.
func (s *Service) deploy(ctx context.Context, c caller, id azure.ID, d deployment, order order) (*running, error) {
	if err := s.unlocked(id, false); err != nil {
		return nil, err
	}
	plan, err := s.plan(ctx, c, id, &order)
	if err != nil {
		return nil, err
	}
	d.Hash, d.Parameters = plan.Hash(), plan.Parameters()
	o, err := s.claim(id, operation{Verb: verbDeploy, By: c.by()})
	if e, is := errors.AsType[*azure.Error](err); is && e.Code == "AnotherOperationInProgress" {
		err = azure.Errorf(http.StatusConflict, "DeploymentActive", "Unable to edit or replace deployment '%s': previous deployment is still active. Please see https://aka.ms/arm-deploy for usage details.", id.Name())
	}
	if err != nil {
		return nil, err
	}
	d.Operation = o.ID
	_, err = s.begin(o, func() (bool, error) {
		err := s.cfg.State.Update(ctx, func(tx *state.Tx) error { return s.recordDeployment(tx, o, &d, &order) })
		return err == nil, err
	})
	return o, err
}

// recordDeployment keeps a deployment that is to be, in place of an older one of its name.
func (s *Service) recordDeployment(tx *state.Tx, o *running, d *deployment, order *order) error {
	if err := s.makeRoom(tx, o.on); err != nil {
		return err
	}
	if err := forgetDeployment(tx, o.on.Key()); err != nil {
		return err
	}
	if err := order.write(tx, o.on); err != nil {
		return err
	}
	if err := tx.Put(deploymentBucket, o.on.Key(), d); err != nil {
		return err
	}
	return record(tx, o, nil)
}

// mostDeployments is how many a scope keeps in its history, as Azure does; the oldest make room.
const mostDeployments = 800

func (s *Service) makeRoom(tx *state.Tx, id azure.ID) error {
	var ended []deployment
	for e, err := range tx.Scan(deploymentBucket, id.Group().Key()+"/providers/", "") {
		var d deployment
		if err == nil {
			_, err = tx.Get(deploymentBucket, e.Key, &d)
		}
		if err != nil {
			return err
		}
		if !d.Ended.IsZero() {
			ended = append(ended, d)
		}
	}
	slices.SortFunc(ended, func(a, b deployment) int { return a.Started.Compare(b.Started) })
	for _, d := range ended[:max(0, len(ended)-mostDeployments+1)] {
		if err := forgetDeployment(tx, strings.ToLower(d.Path)); err != nil {
			return err
		}
	}
	return nil
}

// orderFor reads what a deployment was asked for with.
func (s *Service) orderFor(ctx context.Context, id azure.ID) (o order, err error) {
	err = s.cfg.State.View(ctx, func(tx *state.Tx) error {
		text, known, err := tx.GetSealed(orderBucket, id.Key())
		if err != nil {
			return err
		}
		if !known {
			return azure.Errorf(http.StatusNotFound, "DeploymentNotFound", "Deployment '%s' could not be found.", id.Name())
		}
		return json.Unmarshal(text, &o)
	})
	return o, err
}

// doDeploy runs a deployment to its end.
func (s *Service) doDeploy(o *running) error {
	order, err := s.orderFor(o.ctx, o.on)
	if err != nil {
		return err
	}
	plan, err := s.expand(o.ctx, o.on, &order, o.By.Who)
	if err != nil {
		return err
	}
	var above []string
	if err := s.changeDeployment(o.ctx, o.on, func(d *deployment) { d.State, above = "Running", append(d.Above, d.Path) }); err != nil {
		return err
	}
	run := &deploying{s: s, caller: o.By.caller(), id: o.on, above: above, states: make(map[string]*steps)}
	failures := run.all(o.ctx, plan.Resources)
	o.came = &outcome{plan: plan}
	switch {
	case o.ctx.Err() != nil:
		return errCanceled
	case failures == nil:
		if o.came.outputs, err = plan.Outputs(o.ctx, run); err == nil {
			return nil
		}
		failures = append(failures, err)
	}
	return azure.Errorf(http.StatusConflict, "DeploymentFailed", "At least one resource deployment operation failed. Please list deployment operations for details. "+
		"Please see https://aka.ms/arm-deployment-operations for usage details.").Within(failures...)
}

var errCanceled = azure.Errorf(http.StatusConflict, "DeploymentCanceled", "The deployment was canceled.")

// An outcome is what a deployment came to, as far as it could be begun.
type outcome struct {
	plan    *template.Plan
	outputs *document.Object
}

// settleDeployment writes into a deployment how it ended.
func (s *Service) settleDeployment(tx *state.Tx, o *running) error {
	var d deployment
	if known, err := tx.Get(deploymentBucket, o.on.Key(), &d); err != nil || !known {
		return err
	}
	d.State, d.Error, d.Ended = o.Status, o.Error, o.Ended
	if o.came != nil && o.Error == nil {
		d.Outputs = o.came.outputs
		for _, r := range o.came.plan.Resources {
			if !r.Skipped && !r.Existing {
				d.Resources = append(d.Resources, r.ID.String())
			}
		}
	}
	if err := tx.Put(deploymentBucket, o.on.Key(), d); err != nil {
		return err
	}
	return s.keepOnlyTemplate(tx, o.on)
}

// keepOnlyTemplate forgets the parameters of a deployment that has ended: they can be secrets, and nobody needs them any more.
func (s *Service) keepOnlyTemplate(tx *state.Tx, id azure.ID) error {
	var order order
	text, known, err := tx.GetSealed(orderBucket, id.Key())
	if err != nil || !known {
		return err
	}
	if err := json.Unmarshal(text, &order); err != nil {
		return err
	}
	order.Parameters = nil
	if order.Evaluated {
		order.Template = nil
	}
	return order.write(tx, id)
}

// write keeps an order.
func (o *order) write(tx *state.Tx, id azure.ID) error {
	text, err := json.Marshal(o)
	if err != nil {
		return err
	}
	return tx.PutSealed(orderBucket, id.Key(), text)
}
