package resourcemanager

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/causeway-gateway/causeway/fabric/azure"
	"github.com/causeway-gateway/causeway/fabric/document"
	"github.com/causeway-gateway/causeway/fabric/state"
)

// Buckets of the state. Keys are ids in lower case, unless said otherwise.
const (
	groupBucket      = "arm.group"
	resourceBucket   = "arm.resource"
	bodyBucket       = "arm.body"      // sealed: bodies hold passwords
	operationBucket  = "arm.operation" // by the operation's GUID
	requestBucket    = "arm.request"   // the same, sealed: what an action was given
	resultBucket     = "arm.result"    // the same, sealed: what it has come to
	deploymentBucket = "arm.deployment"
	orderBucket      = "arm.order" // sealed: what a deployment was asked for with
	stepBucket       = "arm.step"  // deployment/operations/id
	lockBucket       = "arm.lock"
	tagBucket        = "arm.tag"      // of subscriptions
	activityBucket   = "arm.activity" // by time
	providerBucket   = "arm.provider" // subscription/namespace: registered
)

// Provisioning states.
const (
	stateCreating  = "Creating"
	stateUpdating  = "Updating"
	stateDeleting  = "Deleting"
	stateSucceeded = "Succeeded"
	stateFailed    = "Failed"
	stateCanceled  = "Canceled"
)

// A Resource is one that is kept: what it is to be, and how far that is true.
type Resource struct {
	ID        azure.ID         `json:"-"`
	Body      *document.Object `json:"-"` // location, tags, sku, identity, properties … as they were checked
	Path      string           `json:"id"`
	State     string           `json:"provisioningState"`
	Etag      string           `json:"etag"`
	Created   time.Time        `json:"created"`
	Changed   time.Time        `json:"changed"`
	CreatedBy string           `json:"createdBy"`
}

// Properties are those of the body, never nil.
func (r *Resource) Properties() *document.Object {
	return cmp.Or(r.Body.Object("properties"), &document.Object{})
}

// read returns a resource, nil when there is none.
func read(tx *state.Tx, id azure.ID) (*Resource, error) {
	r := new(Resource)
	if ok, err := tx.Get(resourceBucket, id.Key(), r); err != nil || !ok {
		return nil, err
	}
	return r, r.complete(tx)
}

// readOrImply is read, with those that are there without having been made.
func (s *Service) readOrImply(tx *state.Tx, id azure.ID) (*Resource, error) {
	r, err := read(tx, id)
	k, known := s.kindOf(id.Type())
	if err != nil || r != nil || !known || !k.Implied || !strings.EqualFold(id.Name(), "default") {
		return r, err
	}
	parent, err := read(tx, id.Parent())
	if err != nil || parent == nil {
		return nil, err
	}
	return &Resource{ID: id, Path: id.String(), Body: document.NewObject("properties", &document.Object{}), State: stateSucceeded, Created: parent.Created, Changed: parent.Created}, nil
}

// complete reads the body and what follows from the rest.
func (r *Resource) complete(tx *state.Tx) (err error) {
	if r.ID, err = azure.ParseID(r.Path); err != nil {
		return err
	}
	text, ok, err := tx.GetSealed(bodyBucket, r.ID.Key())
	if err != nil {
		return err
	}
	if !ok {
		return errors.New("the body of " + r.Path + " is not there")
	}
	r.Body = new(document.Object)
	return r.Body.UnmarshalJSON(text)
}

// write keeps a resource.
func (r *Resource) write(tx *state.Tx) error {
	r.Path = r.ID.String()
	text, err := r.Body.MarshalJSON()
	if err != nil {
		return err
	}
	if err := tx.PutSealed(bodyBucket, r.ID.Key(), text); err != nil {
		return err
	}
	return tx.Put(resourceBucket, r.ID.Key(), r)
}

// forget removes a resource from the state.
func forget(tx *state.Tx, id azure.ID) error {
	_, err := tx.Delete(bodyBucket, id.Key())
	if err == nil {
		_, err = tx.Delete(resourceBucket, id.Key())
	}
	return err
}

// below yields the resources that lie in scope, in the order of their ids.
func below(tx *state.Tx, scope azure.ID) iter.Seq2[*Resource, error] {
	return func(yield func(*Resource, error) bool) {
		prefix := strings.TrimSuffix(scope.Key(), "/") + "/"
		for e, err := range tx.Scan(resourceBucket, prefix, "") {
			r := new(Resource)
			if err == nil {
				_, err = tx.Get(resourceBucket, e.Key, r)
			}
			if err == nil {
				err = r.complete(tx)
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

// show makes the document that answers hold.
func (s *Service) show(ctx context.Context, k kind, r *Resource) (*document.Object, error) {
	out := document.NewObject("id", r.ID.String(), "name", r.ID.Name(), "type", k.full)
	for name, v := range document.Clone(r.Body).All() {
		out.Set(name, v)
	}
	for _, path := range k.Secret {
		hide(out, strings.Split(path, "."))
	}
	properties := cmp.Or(out.Object("properties"), &document.Object{})
	if k.Show != nil {
		if err := k.Show(ctx, r, properties); err != nil {
			return nil, err
		}
	}
	properties.Set("provisioningState", r.State)
	out.Set("properties", properties)
	if r.Etag != "" {
		out.Set("etag", `W/"`+r.Etag+`"`)
	}
	return out, nil
}

// hide removes what a path names; "*" stands for each element of an array.
func hide(v any, path []string) {
	switch v := v.(type) {
	case *document.Object:
		if v == nil {
			return
		}
		if len(path) == 1 {
			v.Delete(path[0])
		} else if inner, ok := v.Get(path[0]); ok {
			hide(inner, path[1:])
		}
	case []any:
		if path[0] == "*" && len(path) > 1 {
			for _, element := range v {
				hide(element, path[1:])
			}
		}
	}
}

// generic is a resource as lists of all types show it.
func generic(k kind, r *Resource) *document.Object {
	out := document.NewObject("id", r.ID.String(), "name", r.ID.FullName(), "type", k.full)
	for _, name := range []string{"kind", "location", "managedBy", "sku", "identity", "zones", "tags"} {
		if v, ok := r.Body.Get(name); ok {
			out.Set(name, document.Clone(v))
		}
	}
	return out
}

// Find returns a resource, nil when there is none.
func (s *Service) Find(tx *state.Tx, id azure.ID) (*Resource, error) { return read(tx, id) }

// deepest sorts ids so that what lies in something comes before it.
func deepest(all []*Resource) {
	slices.SortStableFunc(all, func(a, b *Resource) int { return cmp.Compare(strings.Count(b.Path, "/"), strings.Count(a.Path, "/")) })
}
