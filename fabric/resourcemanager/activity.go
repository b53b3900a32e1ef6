package resourcemanager

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/causeway-gateway/causeway/fabric/azure"
	"github.com/causeway-gateway/causeway/fabric/document"
	"github.com/causeway-gateway/causeway/fabric/state"
)

// Azure keeps the activity log for 90 days. More events than these are not kept.
const (
	activityLife = 90 * 24 * time.Hour
	mostEvents   = 20_000
)

// An event is one of the activity log: something was changed, or was to be.
type event struct {
	ID      string          `json:"id"`
	Time    time.Time       `json:"time"`
	On      string          `json:"on"`
	Action  string          `json:"action"`
	Status  string          `json:"status"`
	Code    string          `json:"code,omitempty"` // of an error
	Who     azure.Principal `json:"who"`
	Caused  string          `json:"caused"`
	Started time.Time       `json:"started,omitzero"`
}

// did is what something that was done at once leaves in the log.
func (c caller) did(verb string, on azure.ID) event {
	return event{On: on.String(), Action: typeForActions(on) + "/" + verb, Status: stateSucceeded, Who: c.who, Caused: c.correlation}
}

// typeForActions is the type of an id as the names of actions have it.
func typeForActions(id azure.ID) string {
	if !id.IsResource() && id.ResourceGroup() != "" {
		return "Microsoft.Resources/subscriptions/resourceGroups"
	}
	return id.Type()
}

// event is what an operation leaves when it has ended.
func (o *running) event() event {
	verb := map[string]string{verbWrite: "write", verbDelete: "delete", verbGroup: "delete", verbDeploy: "write", verbAction: o.Action + "/action"}[o.Verb]
	e := event{On: o.On, Action: typeForActions(o.on) + "/" + verb, Status: o.Status, Who: o.By.Who, Caused: o.By.Caused, Started: o.Started}
	if o.Error != nil {
		e.Code = o.Error.Code
	}
	return e
}

// note writes an event into the log.
func (s *Service) note(tx *state.Tx, e event) error {
	e.ID, e.Time = azure.NewGUID(), s.cfg.Now().UTC()
	return tx.Put(activityBucket, fmt.Sprintf("%020d-%s", e.Time.UnixNano(), e.ID), e)
}

// done writes an event of something that was done already.
func (s *Service) done(ctx context.Context, e event) error {
	return s.cfg.State.Update(ctx, func(tx *state.Tx) error { return s.note(tx, e) })
}

// sweepActivity drops events that are too old, or too many.
func sweepActivity(tx *state.Tx, now time.Time) error {
	var keys []string
	for e, err := range tx.Scan(activityBucket, "", "") {
		if err != nil {
			return err
		}
		keys = append(keys, e.Key)
	}
	oldest := fmt.Sprintf("%020d", now.Add(-activityLife).UnixNano())
	for i, key := range keys {
		if key >= oldest && len(keys)-i <= mostEvents {
			break
		}
		if _, err := tx.Delete(activityBucket, key); err != nil {
			return err
		}
	}
	return nil
}

func (e *event) show() *document.Object {
	id, _ := azure.ParseID(e.On) // it was made from one
	words := func(s string) *document.Object { return document.NewObject("value", s, "localizedValue", s) }
	level := "Informational"
	if e.Status == stateFailed {
		level = "Error"
	}
	return document.NewObject("id", e.On+"/events/"+e.ID+"/ticks/"+fmt.Sprint(e.Time.UnixNano()/100), "eventDataId", e.ID, "eventTimestamp", e.Time.Format(timeForm), "submissionTimestamp", e.Time.Format(timeForm),
		"correlationId", e.Caused, "operationId", e.Caused, "resourceId", e.On, "resourceGroupName", id.ResourceGroup(), "subscriptionId", id.Subscription(),
		"resourceType", words(id.Type()), "resourceProviderName", words(id.Namespace()), "operationName", words(e.Action), "status", words(e.Status), "subStatus", words(e.Code),
		"category", words("Administrative"), "eventName", words("EndRequest"), "level", level, "caller", e.Who.Object,
		"claims", document.NewObject("appid", e.Who.App, "http://schemas.microsoft.com/identity/claims/objectidentifier", e.Who.Object))
}

// listActivity lists the events of a subscription, the newest first.
func listActivity(q *request) (*answer, error) {
	wanted, err := q.activityFilter()
	if err != nil {
		return nil, err
	}
	var all []any
	err = q.s.cfg.State.View(q.Context(), func(tx *state.Tx) error {
		for entry, err := range tx.Scan(activityBucket, "", "") {
			var e event
			if err == nil {
				_, err = tx.Get(activityBucket, entry.Key, &e)
			}
			if err != nil {
				return err
			}
			if wanted(&e) {
				all = append(all, e.show())
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for i, j := 0, len(all)-1; i < j; i, j = i+1, j-1 {
		all[i], all[j] = all[j], all[i]
	}
	return q.page(all)
}

// filterTime reads a time as clients write it: with quotes or without, and without a zone for UTC.
func filterTime(text string) (at time.Time, err error) {
	text = strings.Trim(text, "'")
	for _, form := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999"} {
		if at, err = time.Parse(form, text); err == nil {
			break
		}
	}
	return at, err
}

// activityFilter reads "eventTimestamp ge '…' and eventTimestamp le '…'" with one comparison by eq more, as Azure has it.
func (q *request) activityFilter() (func(*event) bool, error) {
	text := q.URL.Query().Get("$filter")
	var from, to time.Time
	var rest []string
	for _, term := range strings.Split(text, " and ") {
		term = strings.TrimSpace(term)
		var into *time.Time
		value, is := strings.CutPrefix(term, "eventTimestamp ge ")
		if into = &from; !is {
			value, is = strings.CutPrefix(term, "eventTimestamp le ")
			into = &to
		}
		if !is {
			rest = append(rest, term)
			continue
		}
		at, err := filterTime(value)
		if err != nil {
			return nil, azure.Errorf(http.StatusBadRequest, "InvalidFilterInQueryString", "The time '%.40s' of the $filter is not one such as 2026-11-24T12:00:00Z.", value)
		}
		*into = at
	}
	terms, err := equalities(strings.Join(rest, " and "), "resourceGroupName", "resourceUri", "resourceId", "resourceProvider", "correlationId", "status", "caller")
	if err != nil {
		return nil, err
	}
	return func(e *event) bool {
		id, err := azure.ParseID(e.On)
		if err != nil || !id.Within(q.id) || !from.IsZero() && e.Time.Before(from) || !to.IsZero() && e.Time.After(to) {
			return false
		}
		have := map[string]string{"resourcegroupname": id.ResourceGroup(), "resourceuri": e.On, "resourceid": e.On, "resourceprovider": id.Namespace(), "correlationid": e.Caused, "status": e.Status, "caller": e.Who.Object}
		for name, want := range terms {
			if !strings.EqualFold(have[name], want) {
				return false
			}
		}
		return true
	}, nil
}
