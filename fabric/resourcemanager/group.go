package resourcemanager

import (
	"context"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/causeway-gateway/causeway/fabric/azure"
	"github.com/causeway-gateway/causeway/fabric/document"
	"github.com/causeway-gateway/causeway/fabric/state"
)

const groupType = "Microsoft.Resources/resourceGroups"

// A group is a resource group.
type group struct {
	Path     string           `json:"id"`
	Location string           `json:"location"`
	Tags     *document.Object `json:"tags,omitempty"`
	Managed  string           `json:"managedBy,omitempty"`
	State    string           `json:"provisioningState"`
	Created  time.Time        `json:"created"`
}

// groupName is Azure's rule: letters, digits and ()-_. but no dot at the end.
var groupName = regexp.MustCompile(`^[\p{L}\p{N}_().-]{0,89}[\p{L}\p{N}_()-]$`)

func groupNotFound(id azure.ID) *azure.Error {
	return azure.Errorf(http.StatusNotFound, "ResourceGroupNotFound", "Resource group '%s' could not be found.", id.ResourceGroup())
}

func (g *group) show() *document.Object {
	id, _ := azure.ParseID(g.Path) // it was checked
	out := document.NewObject("id", g.Path, "name", id.ResourceGroup(), "type", groupType, "location", g.Location)
	if g.Managed != "" {
		out.Set("managedBy", g.Managed)
	}
	if g.Tags != nil {
		out.Set("tags", g.Tags)
	}
	out.Set("properties", document.NewObject("provisioningState", g.State))
	return out
}

func (s *Service) group(ctx context.Context, id azure.ID) (g group, err error) {
	err = s.cfg.State.View(ctx, func(tx *state.Tx) error {
		ok, err := tx.Get(groupBucket, id.Key(), &g)
		if err == nil && !ok {
			err = groupNotFound(id)
		}
		return err
	})
	return g, err
}

func (s *Service) changeGroup(tx *state.Tx, id azure.ID, change func(*group)) error {
	var g group
	if ok, err := tx.Get(groupBucket, id.Key(), &g); err != nil || !ok {
		return err
	}
	change(&g)
	return tx.Put(groupBucket, id.Key(), g)
}

func getGroup(q *request) (*answer, error) {
	g, err := q.visibleGroup()
	if err != nil {
		return nil, err
	}
	return ok(g.show()), nil
}

// visibleGroup reads the group that the request is about.
func (q *request) visibleGroup() (group, error) {
	g, err := q.s.group(q.Context(), q.id)
	if err == nil && q.s.cfg.Hostile.Hidden(q.id, g.Created) {
		err = groupNotFound(q.id)
	}
	return g, err
}

func headGroup(q *request) (*answer, error) {
	if _, err := q.visibleGroup(); err != nil {
		return nil, err
	}
	return &answer{status: http.StatusNoContent}, nil
}

func listGroups(q *request) (*answer, error) {
	var all []any
	err := q.s.cfg.State.View(q.Context(), func(tx *state.Tx) error {
		for e, err := range tx.Scan(groupBucket, q.id.Key()+"/", "") {
			var g group
			if err == nil {
				_, err = tx.Get(groupBucket, e.Key, &g)
			}
			if err != nil {
				return err
			}
			all = append(all, g.show())
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return q.page(all)
}

// putGroup makes a group or changes its tags.
func putGroup(q *request) (*answer, error) {
	body, err := q.object()
	if err != nil {
		return nil, err
	}
	return created(q.s.makeGroup(q.Context(), q.caller, q.id, body))
}

// created answers with something that was made, or was there already.
func created(made bool, shown *document.Object, err error) (*answer, error) {
	switch {
	case err != nil:
		return nil, err
	case made:
		return &answer{http.StatusCreated, shown}, nil
	}
	return ok(shown), nil
}

// makeGroup makes the group that a body describes, or changes its tags.
func (s *Service) makeGroup(ctx context.Context, c caller, id azure.ID, body *document.Object) (made bool, shown *document.Object, err error) {
	name := id.ResourceGroup()
	location, known := s.location(body.String("location"))
	switch {
	case !groupName.MatchString(name):
		return false, nil, azure.Errorf(http.StatusBadRequest, "InvalidResourceGroup", "The provided resource group name '%.100s' has these invalid characters or is longer than 90: letters, digits, parentheses, "+
			"hyphens, underscores and dots are allowed, and it cannot end with a dot.", name)
	case body.String("location") == "":
		return false, nil, azure.Errorf(http.StatusBadRequest, "LocationRequired", "The location property is required for this definition.")
	case !known:
		return false, nil, azure.Errorf(http.StatusBadRequest, "LocationNotAvailableForResourceGroup", "The provided location '%.80s' is not available for resource group. List of available regions is '%s'.",
			body.String("location"), s.locationNames())
	}
	if err := checkTags(body); err != nil {
		return false, nil, err
	}
	g := group{Path: id.String(), Location: location, Tags: body.Object("tags"), Managed: body.String("managedBy"), State: stateSucceeded, Created: s.cfg.Now().UTC()}
	made, err = s.keepGroup(ctx, c, id, g)
	return made, g.show(), err
}

// keepGroup writes a group unless it is being deleted, or would move.
func (s *Service) keepGroup(ctx context.Context, c caller, id azure.ID, g group) (made bool, err error) {
	o, err := s.claim(id, operation{Verb: verbAction})
	if err != nil {
		return false, err
	}
	defer s.release(o)
	if err := s.unlocked(id, false); err != nil {
		return false, err
	}
	err = s.cfg.State.Update(ctx, func(tx *state.Tx) error {
		var old group
		was, err := tx.Get(groupBucket, id.Key(), &old)
		if err != nil {
			return err
		}
		made = !was
		if was && old.Location != g.Location {
			return azure.Errorf(http.StatusConflict, "InvalidResourceGroupLocation", "Invalid resource group location '%s'. The Resource group already exists in location '%s'.", g.Location, old.Location)
		}
		if was {
			g.Path, g.Created = old.Path, old.Created
		}
		if err := s.note(tx, c.did("write", id)); err != nil {
			return err
		}
		return tx.Put(groupBucket, id.Key(), g)
	})
	return made, err
}

func patchGroup(q *request) (*answer, error) {
	body, err := q.object()
	if err != nil {
		return nil, err
	}
	g, err := q.s.group(q.Context(), q.id)
	if err != nil {
		return nil, err
	}
	if err := checkTags(body); err != nil {
		return nil, err
	}
	if tags := body.Object("tags"); tags != nil {
		g.Tags = tags
	}
	if _, err := q.s.keepGroup(q.Context(), q.caller, q.id, g); err != nil {
		return nil, err
	}
	return ok(g.show()), nil
}

// deleteGroup deletes a group with all that is in it.
func deleteGroup(q *request) (*answer, error) {
	if _, err := q.s.group(q.Context(), q.id); err != nil {
		return nil, err
	}
	if err := q.s.unlocked(q.id, true); err != nil {
		return nil, err
	}
	o, err := q.s.claim(q.id, operation{Verb: verbGroup, By: q.by()})
	if err != nil {
		return nil, err
	}
	_, err = q.s.begin(o, func() (bool, error) {
		err := q.s.cfg.State.Update(q.Context(), func(tx *state.Tx) error {
			if err := q.s.changeGroup(tx, q.id, func(g *group) { g.State = stateDeleting }); err != nil {
				return err
			}
			return record(tx, o, nil)
		})
		return err == nil, err
	})
	if err != nil {
		return nil, err
	}
	return q.accepted(o), nil
}

// doDeleteGroup deletes what is in a group until nothing is left. What is still used waits for its user to go.
func (s *Service) doDeleteGroup(o *running) error {
	for {
		left, err := s.inside(o.ctx, o.on)
		if err != nil {
			return err
		}
		if len(left) == 0 {
			return s.cfg.Access.Forget(o.ctx, o.on, "")
		}
		deepest(left)
		var refused []error
		for _, r := range left {
			if err := s.remove(o.ctx, r); err != nil {
				refused = append(refused, err)
			}
		}
		if len(refused) == len(left) {
			return azure.Errorf(http.StatusConflict, "ResourceGroupDeletionBlocked", "Deletion of resource group '%s' failed as resources with identifiers '%s' could not be deleted.",
				o.on.ResourceGroup(), strings.Join(paths(left), ",")).Within(refused...)
		}
	}
}

// forgetGroup removes a group that is empty from the state, with the history of its deployments.
func forgetGroup(tx *state.Tx, id azure.ID) error {
	for _, bucket := range []string{stepBucket, orderBucket, deploymentBucket} {
		if err := tx.DeletePrefix(bucket, id.Key()+"/"); err != nil {
			return err
		}
	}
	_, err := tx.Delete(groupBucket, id.Key())
	return err
}

func paths(all []*Resource) []string {
	out := make([]string, len(all))
	for i, r := range all {
		out[i] = r.Path
	}
	return out
}

// inside lists the resources that lie in scope.
func (s *Service) inside(ctx context.Context, scope azure.ID) (all []*Resource, err error) {
	err = s.cfg.State.View(ctx, func(tx *state.Tx) error {
		for r, err := range below(tx, scope) {
			if err != nil {
				return err
			}
			all = append(all, r)
		}
		return nil
	})
	return all, err
}
