package resourcemanager

import (
	"net/http"
	"slices"
	"strings"

	"github.com/causeway-gateway/causeway/fabric/azure"
	"github.com/causeway-gateway/causeway/fabric/document"
	"github.com/causeway-gateway/causeway/fabric/template"
)

// whatIf says what a deployment would change, without changing it.
func whatIf(q *request) (*answer, error) {
	_, order, err := q.readOrder()
	if err != nil {
		return nil, err
	}
	named := make(map[string]bool)
	changes, err := q.whatIfAll(q.id, &order, named)
	if err != nil {
		return nil, err
	}
	ignored, err := q.untouched(named)
	if err != nil {
		return nil, err
	}
	return ok(document.NewObject("status", stateSucceeded, "properties", document.NewObject("correlationId", q.correlation, "changes", append(append([]any{}, changes...), ignored...)))), nil
}

// whatIfAll lists what a deployment would change, those nested in it included. It adds to named whatever templates speak of.
func (q *request) whatIfAll(id azure.ID, order *order, named map[string]bool) (changes []any, err error) {
	plan, err := q.s.plan(q.Context(), q.caller, id, order)
	if err != nil {
		return nil, err
	}
	for _, r := range plan.Resources {
		named[r.ID.Key()] = true
		if r.Skipped || r.Existing {
			continue
		}
		if strings.EqualFold(r.Type, deploymentType) {
			changes = append(changes, q.whatIfNested(r, named)...)
			continue
		}
		c, err := q.whatIfOne(r)
		if err != nil {
			return nil, err
		}
		changes = append(changes, c)
	}
	return changes, nil
}

// whatIfNested looks into a nested deployment as far as it is known before it runs: its group may be yet to be made, and its
// parameters to be read from what is. Then nothing can be said of it.
func (q *request) whatIfNested(r *template.Resource, named map[string]bool) []any {
	body, err := r.Preview()
	if err == nil {
		var o order
		if _, o, err = q.s.orderOf(r.ID, body); err == nil {
			var changes []any
			if changes, err = q.whatIfAll(r.ID, &o, named); err == nil {
				return changes
			}
		}
	}
	return []any{document.NewObject("resourceId", r.ID.String(), "changeType", "Unsupported", "unsupportedReason", azure.AsError(err).Message)}
}

// whatIfOne compares what a resource is with what the template wants.
func (q *request) whatIfOne(r *template.Resource) (*document.Object, error) {
	after, err := r.Preview()
	if err != nil {
		return nil, err
	}
	k, _ := q.s.kindOf(r.Type) // plan has checked it
	before, err := q.s.shown(q.Context(), k, r.ID)
	absent := err != nil && azure.AsError(err).Status == http.StatusNotFound
	if err != nil && !absent {
		return nil, err
	}
	for _, path := range k.Secret {
		hide(after, strings.Split(path, "."))
	}
	out := document.NewObject("resourceId", r.ID.String())
	if absent {
		after.Set("id", r.ID.String())
		out.Set("changeType", "Create")
		out.Set("after", after)
		return out, nil
	}
	var deltas []any
	for _, name := range []string{"location", "tags", "sku", "kind", "identity", "zones", "properties"} {
		if want, has := after.Get(name); has {
			have, _ := before.Get(name)
			deltas = append(deltas, differences(name, have, want)...)
		}
	}
	if deltas == nil {
		out.Set("changeType", "NoChange")
	} else {
		out.Set("changeType", "Modify")
		out.Set("delta", deltas)
	}
	out.Set("before", before)
	out.Set("after", after)
	return out, nil
}

// differences lists where what is wanted is not what is there. What is there and not spoken of stays, and is none;
// expressions that only a running deployment knows are none either.
func differences(path string, have, want any) (all []any) {
	switch want := want.(type) {
	case *document.Object:
		have, _ := have.(*document.Object)
		for name, v := range want.All() {
			old, _ := have.Get(name)
			all = append(all, differences(path+"."+name, old, v)...)
		}
		return all
	case string:
		text, _ := have.(string)
		if strings.HasPrefix(want, "[") && !strings.HasPrefix(want, "[[") || strings.EqualFold(text, want) && strings.HasSuffix(strings.ToLower(path), "location") {
			return nil
		}
	}
	if document.Equal(have, want) {
		return nil
	}
	change := document.NewObject("path", path, "propertyChangeType", "Modify", "before", have, "after", want)
	if have == nil {
		change = document.NewObject("path", path, "propertyChangeType", "Create", "after", want)
	}
	return []any{change}
}

// untouched lists what lies in the scope and is not in the template.
func (q *request) untouched(named map[string]bool) (all []any, err error) {
	if q.id.ResourceGroup() == "" {
		return nil, nil
	}
	found, err := q.s.inside(q.Context(), q.id.Group())
	if err != nil {
		return nil, err
	}
	slices.SortFunc(found, func(a, b *Resource) int { return strings.Compare(a.Path, b.Path) })
	for _, r := range found {
		if k, known := q.s.kindOf(r.ID.Type()); known && !named[r.ID.Key()] {
			all = append(all, document.NewObject("resourceId", r.Path, "changeType", "Ignore", "before", generic(k, r)))
		}
	}
	return all, nil
}
