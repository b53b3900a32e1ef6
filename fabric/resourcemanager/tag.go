package resourcemanager

import (
	"context"
	"net/http"
	"strings"

	"github.com/causeway-gateway/causeway/fabric/azure"
	"github.com/causeway-gateway/causeway/fabric/document"
	"github.com/causeway-gateway/causeway/fabric/state"
)

const tagsType = "Microsoft.Resources/tags"

// tagsOf reads the tags of a subscription, a group or a resource; of the latter also the etag that goes with them.
func (s *Service) tagsOf(ctx context.Context, scope azure.ID) (tags *document.Object, etag string, err error) {
	switch {
	case scope.IsResource():
		r, err := s.resourceAt(ctx, scope)
		if err != nil {
			return nil, "", err
		}
		return orEmpty(document.Clone(r.Body.Object("tags"))), r.Etag, nil
	case scope.ResourceGroup() != "":
		g, err := s.group(ctx, scope)
		return orEmpty(g.Tags), "", err
	}
	tags = &document.Object{}
	err = s.cfg.State.View(ctx, func(tx *state.Tx) error { _, err := tx.Get(tagBucket, scope.Key(), tags); return err })
	return tags, "", err
}

func showTags(id azure.ID, tags *document.Object) *document.Object {
	return document.NewObject("id", id.String(), "name", "default", "type", tagsType, "properties", document.NewObject("tags", tags))
}

// checkTagsID refuses what is not the one "default" of something that has tags.
func checkTagsID(id azure.ID) error {
	if !strings.EqualFold(id.Name(), "default") || id.Scope().IsTenant() {
		return azure.Errorf(http.StatusNotFound, "InvalidRequestUri", "The tags of a subscription, a resource group or a resource are called 'default', and '%s' is not that.", id)
	}
	return nil
}

func getTags(q *request) (*answer, error) {
	if err := checkTagsID(q.id); err != nil {
		return nil, err
	}
	tags, _, err := q.s.tagsOf(q.Context(), q.id.Scope())
	if err != nil {
		return nil, err
	}
	return ok(showTags(q.id, tags)), nil
}

// putTags is PUT, PATCH and DELETE.
func putTags(q *request) (*answer, error) {
	body := &document.Object{}
	if q.Method != http.MethodDelete {
		var err error
		if body, err = q.object(); err != nil {
			return nil, err
		}
	}
	operation := "Replace"
	if q.Method == http.MethodPatch {
		operation = body.String("operation")
	}
	shown, err := q.s.tag(q.Context(), q.caller, q.id, operation, body)
	if err != nil || q.Method == http.MethodDelete {
		return &answer{status: http.StatusOK}, err
	}
	return ok(shown), nil
}

// tag changes the tags that an id names by those of a body.
func (s *Service) tag(ctx context.Context, c caller, id azure.ID, operation string, body *document.Object) (*document.Object, error) {
	if err := checkTagsID(id); err != nil {
		return nil, err
	}
	given := document.NewObject("tags", orEmpty(body.Object("properties", "tags")))
	if err := checkTags(given); err != nil {
		return nil, err
	}
	apply, known := tagOperations[strings.ToLower(operation)]
	if !known {
		return nil, azure.Errorf(http.StatusBadRequest, "InvalidTagOperation", "The operation '%.40s' is not one of tags. They are 'Merge', 'Replace' and 'Delete'.", operation)
	}
	if err := s.unlocked(id.Scope(), false); err != nil {
		return nil, err
	}
	for attempt := 1; ; attempt++ {
		tags, err := s.retag(ctx, c, id, func(old *document.Object) *document.Object { return apply(old, given.Object("tags")) })
		if err == nil {
			return showTags(id, tags), nil
		}
		if azure.AsError(err).Code != "PreconditionFailed" || attempt == mostTagAttempts { // else somebody has changed the resource meanwhile
			return nil, err
		}
	}
}

// mostTagAttempts is how often tags are read again when the resource changes before they are written.
const mostTagAttempts = 5

// tagOperations change tags by others.
var tagOperations = map[string]func(old, given *document.Object) *document.Object{
	"replace": func(_, given *document.Object) *document.Object { return given },
	"merge":   merged,
	"delete": func(old, given *document.Object) *document.Object {
		out := document.Clone(old)
		for name, v := range given.All() {
			if have, _ := old.Get(name); v == "" || v == have {
				out.Delete(name)
			}
		}
		return out
	},
}

// retag reads tags, and writes what apply makes of them.
func (s *Service) retag(ctx context.Context, c caller, id azure.ID, apply func(*document.Object) *document.Object) (tags *document.Object, err error) {
	scope := id.Scope()
	if scope.IsResource() {
		return s.retagResource(ctx, c, scope, apply)
	}
	o, err := s.claim(scope, operation{Verb: verbAction})
	if err != nil {
		return nil, err
	}
	defer s.release(o)
	old, _, err := s.tagsOf(ctx, scope)
	if err != nil {
		return nil, err
	}
	tags = apply(old)
	if err := checkTags(document.NewObject("tags", tags)); err != nil {
		return nil, err
	}
	return tags, s.cfg.State.Update(ctx, func(tx *state.Tx) error {
		if err := s.note(tx, c.did("write", id)); err != nil {
			return err
		}
		if scope.ResourceGroup() != "" {
			return s.changeGroup(tx, scope, func(g *group) { g.Tags = tags })
		}
		return tx.Put(tagBucket, scope.Key(), tags)
	})
}

// retagResource changes a resource as a PATCH of its tags does.
func (s *Service) retagResource(ctx context.Context, c caller, on azure.ID, apply func(*document.Object) *document.Object) (*document.Object, error) {
	k, known := s.kindOf(on.Type())
	if !known || k.own {
		return nil, notFound(on)
	}
	old, etag, err := s.tagsOf(ctx, on)
	if err != nil {
		return nil, err
	}
	tags := apply(old)
	o, err := s.write(ctx, change{id: on, kind: k, version: k.Versions[0], body: document.NewObject("tags", tags), patch: true, caller: c, match: etag})
	if err != nil {
		return nil, err
	}
	return tags, o.wait(ctx)
}
