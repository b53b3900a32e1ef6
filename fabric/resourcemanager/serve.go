package resourcemanager

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/causeway-gateway/causeway/fabric/azure"
	"github.com/causeway-gateway/causeway/fabric/document"
	"github.com/causeway-gateway/causeway/fabric/state"
)

// resource reads the resource that the request is about.
func (q *request) resource() (r *Resource, err error) { return q.s.resourceAt(q.Context(), q.id) }

func (s *Service) resourceAt(ctx context.Context, id azure.ID) (r *Resource, err error) {
	err = s.cfg.State.View(ctx, func(tx *state.Tx) error {
		if err := s.groupOf(tx, id); err != nil {
			return err
		}
		if r, err = s.readOrImply(tx, id); err == nil && r == nil {
			err = notFound(id)
		}
		return err
	})
	return r, err
}

// groupOf says whether there is the group that an id lies in.
func (s *Service) groupOf(tx *state.Tx, id azure.ID) error {
	in := id.Group()
	if in.ResourceGroup() == "" {
		return nil
	}
	known, err := tx.Get(groupBucket, in.Key(), new(group))
	if err == nil && !known {
		return groupNotFound(in)
	}
	return err
}

// exists says whether there is a scope or resource.
func (s *Service) exists(ctx context.Context, id azure.ID) error {
	return s.cfg.State.View(ctx, func(tx *state.Tx) error {
		if err := s.groupOf(tx, id); err != nil || !id.IsResource() {
			return err
		}
		r, err := read(tx, id)
		if err == nil && r == nil {
			return notFound(id)
		}
		return err
	})
}

func (q *request) get(k kind) (*answer, error) {
	r, err := q.resource()
	if err == nil && q.s.cfg.Hostile.Hidden(r.ID, r.Created) {
		err = notFound(q.id)
	}
	if err != nil {
		return nil, err
	}
	if q.Method == http.MethodHead {
		return &answer{status: http.StatusNoContent}, nil
	}
	body, err := q.s.show(q.Context(), k, r)
	if err != nil {
		return nil, err
	}
	return ok(body), nil
}

// put is PUT and PATCH.
func (q *request) put(k kind) (*answer, error) {
	body, err := q.object()
	if err != nil {
		return nil, err
	}
	c := change{id: q.id, kind: k, version: q.version, body: body, patch: q.Method == http.MethodPatch, caller: q.caller,
		match: q.Header.Get("If-Match"), none: q.Header.Get("If-None-Match")}
	o, err := q.s.write(q.Context(), c)
	if err != nil {
		return nil, err
	}
	r, err := q.resource()
	if err != nil {
		return nil, err
	}
	shown, err := q.s.show(q.Context(), k, r)
	if err != nil {
		return nil, err
	}
	if k.Slow {
		q.polled(o)
	}
	if o.New {
		return &answer{http.StatusCreated, shown}, nil
	}
	return ok(shown), nil
}

func (q *request) remove(k kind) (*answer, error) {
	o, err := q.s.deletion(q.Context(), q.id, k, q.caller)
	switch {
	case err != nil:
		return nil, err
	case o == nil:
		return &answer{status: http.StatusNoContent}, nil
	case !k.Slow:
		return &answer{status: http.StatusOK}, nil
	}
	return q.accepted(o), nil
}

// accepted answers that something is under way.
func (q *request) accepted(o *running) *answer {
	q.polled(o)
	q.writer.Header().Set("Location", q.base()+operationPath(&o.operation, q.s.cfg.Locations[0].Name, "operationResults"))
	return &answer{status: http.StatusAccepted}
}

// polled says where an operation can be asked for, and when.
func (q *request) polled(o *running) {
	q.writer.Header().Set("Azure-AsyncOperation", q.base()+operationPath(&o.operation, q.s.cfg.Locations[0].Name, "operationStatuses"))
	q.again()
}

// again says when to ask.
func (q *request) again() {
	q.writer.Header().Set("Retry-After", strconv.Itoa(int(q.s.cfg.Poll.Seconds()+0.999)))
}

// base is this plane as the caller knows it: by its name, or by the address of the machine.
func (q *request) base() string { return "https://" + q.Host }

func (s *Service) statusURL(o *operation) string {
	return s.cfg.URL + operationPath(o, s.cfg.Locations[0].Name, "operationStatuses")
}

func operationPath(o *operation, location, what string) string {
	on, _ := azure.ParseID(o.On) // it was made from an id
	namespace := on.Namespace()
	if namespace == "" {
		namespace = "Microsoft.Resources"
	}
	return "/subscriptions/" + on.Subscription() + "/providers/" + namespace + "/locations/" + location + "/" + what + "/" + o.ID + "?api-version=2021-04-01"
}

// operation reads the operation that a path names. Who did not ask for it must be allowed to read what it is about.
func (q *request) operation() (o operation, err error) {
	id := strings.ToLower(q.args[3])
	var known bool
	err = q.s.cfg.State.View(q.Context(), func(tx *state.Tx) error {
		if known, err = tx.Get(operationBucket, id, &o); err == nil {
			o.Result, _, err = tx.GetSealed(resultBucket, id)
		}
		return err
	})
	if err != nil {
		return o, err
	}
	on, err := azure.ParseID(o.On)
	if !known || err != nil || !strings.EqualFold(on.Subscription(), q.id.Subscription()) || q.s.cfg.Hostile.Lost(id) {
		return o, azure.Errorf(http.StatusNotFound, "OperationNotFound", "The operation '%.80s' could not be found.", id)
	}
	if o.By.Who.Object != q.who.Object {
		err = q.s.permit(q.who, o.needs(on), on)
	}
	return o, err
}

// needs is what one must be allowed to do who wants to know of an operation that another has asked for.
func (o *operation) needs(on azure.ID) string {
	if o.Verb == verbAction {
		return on.Type() + "/" + o.Action + "/action" // its result may be a secret
	}
	return on.Type() + "/read"
}

// operationStatus is what Azure-AsyncOperation leads to.
func operationStatus(q *request) (*answer, error) {
	o, err := q.operation()
	if err != nil {
		return nil, err
	}
	out := status{ID: q.URL.Path, Name: o.ID, Status: o.Status, Start: o.Started.Format(timeForm), Error: o.Error, Result: o.Result}
	if o.Status == inProgress {
		q.again()
	} else {
		out.End = o.Ended.Format(timeForm)
	}
	return ok(out), nil
}

// A status is how far an operation is.
type status struct {
	ID     string          `json:"id"`
	Name   string          `json:"name"`
	Status string          `json:"status"`
	Start  string          `json:"startTime"`
	End    string          `json:"endTime,omitempty"`
	Error  *azure.Error    `json:"error,omitempty"`
	Result json.RawMessage `json:"properties,omitempty"`
}

const timeForm = "2006-01-02T15:04:05.0000000Z"

// operationResult is what Location leads to: 202 until the operation has ended, then what it has come to.
func operationResult(q *request) (*answer, error) {
	o, err := q.operation()
	switch {
	case err != nil:
		return nil, err
	case o.Status == inProgress:
		q.again()
		q.writer.Header().Set("Location", q.base()+operationPath(&o, q.s.cfg.Locations[0].Name, "operationResults"))
		return &answer{status: http.StatusAccepted}, nil
	case o.Error != nil:
		e := *o.Error
		e.Status = http.StatusConflict
		return nil, &e
	case o.Result != nil:
		return ok(o.Result), nil
	}
	return &answer{status: http.StatusNoContent}, nil
}

// mostPage is how many elements a list has at most at a time.
const mostPage = 1000

// page answers with a list, or with the part of it that was asked for.
func (q *request) page(all []any) (*answer, error) {
	from, size, err := q.window()
	if err != nil {
		return nil, err
	}
	from = min(from, len(all))
	to := min(from+size, len(all))
	out := document.NewObject("value", append([]any{}, all[from:to]...))
	if to < len(all) {
		out.Set("nextLink", q.nextLink(to))
	}
	return ok(out), nil
}

// window reads $skiptoken and $top.
func (q *request) window() (from, size int, err error) {
	size = mostPage
	if text := q.URL.Query().Get("$top"); text != "" {
		if size, err = strconv.Atoi(text); err != nil || size < 1 {
			return 0, 0, azure.Errorf(http.StatusBadRequest, "InvalidQueryParameter", "The $top '%.20s' is not a number of 1 or more.", text)
		}
		size = min(size, mostPage)
	}
	if token := q.URL.Query().Get("$skiptoken"); token != "" {
		raw, _ := base64.RawURLEncoding.DecodeString(token)
		if from, err = strconv.Atoi(string(raw)); err != nil || from < 0 {
			return 0, 0, azure.Errorf(http.StatusBadRequest, "InvalidSkipToken", "The $skiptoken is not one of this list.")
		}
	}
	return from, size, nil
}

func (q *request) nextLink(from int) string {
	query := q.URL.Query()
	query.Set("$skiptoken", base64.RawURLEncoding.EncodeToString([]byte(strconv.Itoa(from))))
	return q.base() + (&url.URL{Path: q.URL.Path}).EscapedPath() + "?" + query.Encode()
}

// listOf lists the resources of a type: in a subscription, in a group, or within a resource.
func (q *request) listOf(k kind, behind int) (*answer, error) {
	at := len(q.segments) - 1
	if behind == 1 {
		at -= 2
	}
	scope, err := q.idOf(at)
	if err != nil {
		return nil, err
	}
	if err := q.s.permit(q.who, k.full+"/read", scope); err != nil {
		return nil, err
	}
	if err := q.s.exists(q.Context(), scope); err != nil {
		return nil, err
	}
	found, err := q.s.inside(q.Context(), scope)
	if err != nil {
		return nil, err
	}
	var all []any
	for _, r := range found {
		if !strings.EqualFold(r.ID.Type(), k.full) {
			continue
		}
		shown, err := q.s.show(q.Context(), k, r)
		if err != nil {
			return nil, err
		}
		all = append(all, shown)
	}
	return q.page(all)
}
