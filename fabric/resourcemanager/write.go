package resourcemanager

import (
	"context"
	"net/http"
	"regexp"
	"strings"

	"github.com/causeway-gateway/causeway/fabric/azure"
	"github.com/causeway-gateway/causeway/fabric/document"
	"github.com/causeway-gateway/causeway/fabric/state"
)

// A change is a write that was asked for.
type change struct {
	id      azure.ID
	kind    kind
	version string
	body    *document.Object
	patch   bool // body holds only what is to be different
	caller
	match string // If-Match
	none  string // If-None-Match
}

// write checks a change, records it and starts it. The caller has permission. The operation has ended already when its
// type is a quick one.
func (s *Service) write(ctx context.Context, c change) (*running, error) {
	if err := s.unlocked(c.id, false); err != nil {
		return nil, err
	}
	o, err := s.claim(c.id, operation{Verb: verbWrite, By: c.by()})
	if err != nil {
		return nil, err
	}
	if _, err := s.begin(o, func() (bool, error) { err := s.prepare(ctx, o, c); return err == nil, err }); err != nil {
		return nil, err
	}
	if c.kind.Slow {
		return o, nil
	}
	return o, o.wait(ctx)
}

// wait returns how the operation ended.
func (o *running) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-o.done:
	}
	switch {
	case o.Status == inProgress: // the service is being stopped
		e := azure.Errorf(http.StatusServiceUnavailable, "ServiceUnavailable", "The service is being stopped.")
		return e
	case o.Error != nil:
		return o.Error
	}
	return nil
}

// prepare keeps what a resource is to be, and the operation that makes it so.
func (s *Service) prepare(ctx context.Context, o *running, c change) error {
	w := &Wish{ID: c.id, Body: c.body, Version: c.version, Who: c.who}
	err := s.cfg.State.View(ctx, func(tx *state.Tx) (err error) {
		if err := s.foundation(tx, c.id); err != nil {
			return err
		}
		w.Old, err = read(tx, c.id)
		return err
	})
	if err != nil {
		return err
	}
	if err := c.conditions(w.Old); err != nil {
		return err
	}
	if c.patch {
		if w.Old == nil {
			return notFound(c.id)
		}
		w.Body = merged(w.Old.Body, c.body)
	}
	if err := s.checkWish(c.kind, w); err != nil {
		return err
	}
	if c.kind.Check != nil {
		if err := c.kind.Check(ctx, w); err != nil {
			return err
		}
	}
	o.New = w.Old == nil
	now := s.cfg.Now().UTC()
	r := &Resource{ID: c.id, Body: w.Body, State: stateCreating, Created: now, CreatedBy: c.who.Object}
	if w.Old != nil {
		r.ID, r.State, r.Created, r.CreatedBy = w.Old.ID, stateUpdating, w.Old.Created, w.Old.CreatedBy // the case of the first id stays
	}
	r.Changed, r.Etag = now, azure.NewGUID()
	return s.cfg.State.Update(ctx, func(tx *state.Tx) error {
		if err := r.write(tx); err != nil {
			return err
		}
		return record(tx, o, nil)
	})
}

// conditions are those of RFC 9110, 13.1, as far as Azure has them.
func (c *change) conditions(old *Resource) error {
	same := func(tag string) bool { return strings.Trim(strings.TrimPrefix(tag, "W/"), `"`) == old.Etag }
	switch {
	case old == nil && c.match != "", old != nil && c.none == "*", old != nil && c.match != "" && c.match != "*" && !same(c.match):
		return azure.Errorf(http.StatusPreconditionFailed, "PreconditionFailed", "The condition of the request is not met: the resource '%s' is another than was expected.", c.id)
	}
	return nil
}

// doWrite makes a resource real.
func (s *Service) doWrite(o *running) error {
	k, r, err := s.claimed(o)
	if err != nil || k.Put == nil {
		return err
	}
	if err := k.Put(o.ctx, r); err != nil {
		return err
	}
	return s.cfg.State.Update(o.ctx, r.write) // with what Put has written into it
}

// claimed reads the resource of an operation.
func (s *Service) claimed(o *running) (k kind, r *Resource, err error) {
	err = s.cfg.State.View(o.ctx, func(tx *state.Tx) (err error) { r, err = read(tx, o.on); return err })
	if err != nil {
		return k, nil, err
	}
	k, ok := s.kindOf(o.on.Type())
	if r == nil || !ok {
		return k, nil, notFound(o.on)
	}
	return k, r, nil
}

// foundation says whether there is what a resource is to lie in.
func (s *Service) foundation(tx *state.Tx, id azure.ID) error {
	if err := s.groupOf(tx, id); err != nil {
		return err
	}
	if parent := id.Parent(); parent.IsResource() {
		r, err := s.readOrImply(tx, parent)
		if err != nil || r == nil {
			return orElse(err, azure.Errorf(http.StatusNotFound, "ParentResourceNotFound", "Failed to perform 'write' on resource(s) of type '%s', because the parent resource '%s' could not be found.",
				strings.TrimPrefix(id.Type(), id.Namespace()+"/"), parent))
		}
	}
	return nil
}

// orElse is the first error, which goes before the other.
func orElse(err error, other *azure.Error) error {
	if err != nil {
		return err
	}
	return other
}

func notFound(id azure.ID) *azure.Error {
	return azure.Errorf(http.StatusNotFound, "ResourceNotFound", "The Resource '%s/%s' under resource group '%s' was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix",
		id.Type(), id.FullName(), id.ResourceGroup())
}

// resourceName is what any resource may be called at most; types say more.
var resourceName = regexp.MustCompile(`^[^<>%&:\\?/#\x00-\x1f]{1,260}$`)

// Azure's bounds of tags.
const (
	mostTags          = 50
	mostTagName       = 512
	mostTagValueBytes = 256
)

// checkWish holds a body to what is the same for all types.
func (s *Service) checkWish(k kind, w *Wish) error {
	if !resourceName.MatchString(w.ID.Name()) {
		return azure.Errorf(http.StatusBadRequest, "InvalidResourceName", "Resource name '%.80s' is invalid.", w.ID.Name())
	}
	for name, want := range map[string]string{"name": w.ID.Name(), "type": k.full, "id": w.ID.String()} {
		v, ok := w.Body.Get(name)
		if text, _ := v.(string); ok && !strings.EqualFold(text, want) && !(name == "name" && strings.EqualFold(text, w.ID.FullName())) {
			return azure.Errorf(http.StatusBadRequest, "InvalidRequestContent", "The request content was invalid: the %s '%.80v' does not match the '%s' of the URL.", name, v, want)
		}
	}
	for _, name := range []string{"id", "name", "type", "etag", "apiVersion", "systemData"} {
		w.Body.Delete(name)
	}
	w.Body.Object("properties").Delete("provisioningState")
	if err := s.checkLocation(k, w); err != nil {
		return err
	}
	return checkTags(w.Body)
}

func (s *Service) checkLocation(k kind, w *Wish) error {
	given := w.Body.String("location")
	if k.Global || strings.Contains(k.Name, "/") {
		return nil
	}
	if given == "" {
		return azure.Errorf(http.StatusBadRequest, "LocationRequired", "The location property is required for this definition.")
	}
	name, ok := s.location(given)
	if !ok {
		return azure.Errorf(http.StatusBadRequest, "LocationNotAvailableForResourceType", "The provided location '%.80s' is not available for resource type '%s'. List of available regions for the resource type is '%s'.",
			given, k.full, s.locationNames())
	}
	if w.Old != nil && !strings.EqualFold(w.Old.Body.String("location"), name) {
		return azure.Errorf(http.StatusConflict, "InvalidResourceLocation", "The resource '%s' already exists in location '%s' in resource group '%s'. A resource with the same name cannot be created in location '%s'. "+
			"Please select a new resource name.", w.ID.Name(), w.Old.Body.String("location"), w.ID.ResourceGroup(), name)
	}
	w.Body.Set("location", name)
	return nil
}

func (s *Service) locationNames() string {
	names := make([]string, len(s.cfg.Locations))
	for i, l := range s.cfg.Locations {
		names[i] = l.Name
	}
	return strings.Join(names, ",")
}

// checkTags holds tags to Azure's limits.
func checkTags(body *document.Object) error {
	v, ok := body.Get("tags")
	if !ok || v == nil {
		return nil
	}
	tags, ok := v.(*document.Object)
	if !ok {
		return azure.Errorf(http.StatusBadRequest, "InvalidRequestContent", "The request content was invalid: the tags are not an object.")
	}
	if tags.Len() > mostTags {
		return azure.Errorf(http.StatusBadRequest, "TooManyTags", "There are %d tags, and %d are allowed.", tags.Len(), mostTags)
	}
	for name, value := range tags.All() {
		text, ok := value.(string)
		if !ok || name == "" || len(name) > mostTagName || len(text) > mostTagValueBytes {
			return azure.Errorf(http.StatusBadRequest, "InvalidTagNameValue", "The tag '%.80s' is not valid: a name has 1 to %d characters, and a value is a text of at most %d.", name, mostTagName, mostTagValueBytes)
		}
	}
	return nil
}

// merged is a body with what a PATCH says: objects are merged, all else is replaced, and tags are replaced as a whole.
func merged(old, patch *document.Object) *document.Object {
	out := document.Clone(old)
	for name, v := range patch.All() {
		into, given := out.Object(name), patch.Object(name)
		switch {
		case into == nil || given == nil || strings.EqualFold(name, "tags"):
			out.Set(name, v)
		default:
			out.Set(name, merged(into, given))
		}
	}
	return out
}
