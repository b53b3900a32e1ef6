package resourcemanager

import (
	"slices"
	"strings"

	"github.com/causeway-gateway/causeway/fabric/document"
	"github.com/causeway-gateway/causeway/fabric/state"
	"github.com/causeway-gateway/causeway/fabric/template"
)

// whatIf says what a deployment would change, without changing it.
func whatIf(q *request) (*answer, error) {
	_, order, err := q.readOrder()
	if err != nil {
		return nil, err
	}
	plan, err := q.s.plan(q.Context(), q.caller, q.id, &order)
	if err != nil {
		return nil, err
	}
	var changes []any
	named := make(map[string]bool)
	for _, r := range plan.Resources {
		named[r.ID.Key()] = true
		if r.Skipped || r.Existing {
			continue
		}
		c, err := q.whatIfOne(r)
		if err != nil {
			return nil, err
		}
		changes = append(changes, c)
	}
	ignored, err := q.untouched(named)
	if err != nil {
		return nil, err
	}
	return ok(document.NewObject("status", stateSucceeded, "properties", document.NewObject("correlationId", q.correlation, "changes", append(append([]any{}, changes...), ignored...)))), nil
}

// whatIfOne compares what a resource is with what the template wants.
func (q *request) whatIfOne(r *template.Resource) (*document.Object, error) {
	after, err := r.Preview()
	if err != nil {
		return nil, err
	}
	k, _ := q.s.kindOf(r.Type) // plan has checked it
	var old *Resource
	if err := q.s.cfg.State.View(q.Context(), func(tx *state.Tx) (err error) { old, err = read(tx, r.ID); return err }); err != nil {
		return nil, err
	}
	for _, path := range k.Secret {
		hide(after, strings.Split(path, "."))
	}
	out := document.NewObject("resourceId", r.ID.String())
	if old == nil {
		after.Set("id", r.ID.String())
		out.Set("changeType", "Create")
		out.Set("after", after)
		return out, nil
	}
	before, err := q.s.show(q.Context(), k, old)
	if err != nil {
		return nil, err
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
