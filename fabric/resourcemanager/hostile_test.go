package resourcemanager

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/causeway-gateway/causeway/fabric/access"
	"github.com/causeway-gateway/causeway/fabric/azure"
	"github.com/causeway-gateway/causeway/fabric/document"
)

// weather is a Hostility of a test.
type weather struct {
	throttled bool
	hidden    time.Time // what was made after it
	delay     time.Duration
	failing   string // name
	lost      bool
}

func (w *weather) Refuse(azure.Principal, string, string) error {
	if !w.throttled {
		return nil
	}
	e := azure.Errorf(http.StatusTooManyRequests, "TooManyRequests", "The request is being throttled.")
	e.RetryAfter = 7 * time.Second
	return e
}

func (w *weather) Hidden(_ azure.ID, made time.Time) bool {
	return !w.hidden.IsZero() && !made.Before(w.hidden)
}
func (w *weather) Propagation(azure.ID) time.Duration { return w.delay }
func (w *weather) Lost(string) bool                   { return w.lost }

func (w *weather) Fail(on azure.ID) error {
	if on.Name() != w.failing {
		return nil
	}
	return azure.Errorf(http.StatusConflict, "AllocationFailed", "There is no capacity.")
}

func TestWhatGoesWrongByItself(t *testing.T) {
	f := newFixture(t)
	w := &weather{failing: "bad"}
	f.hostile = w
	f.close()
	f.open()

	w.throttled = true
	throttled := f.do("owner", "GET", group1, "")
	f.want(throttled, 429, "TooManyRequests")
	if got := throttled.header.Get("Retry-After"); got != "7" {
		t.Errorf("Retry-After %q", got)
	}
	w.throttled = false

	later := func(d time.Duration) {
		f.mu.Lock()
		f.time = f.time.Add(d)
		f.mu.Unlock()
	}
	later(time.Second)
	w.hidden = f.now()
	f.want(f.do("owner", "PUT", at(thing, "t"), `{"location":"westeurope"}`), 201, "")
	f.want(f.do("owner", "GET", at(thing, "t"), ""), 404, "ResourceNotFound")
	f.want(f.do("owner", "GET", group1, ""), 200, "")
	w.hidden = time.Time{}
	f.want(f.do("owner", "GET", at(thing, "t"), ""), 200, "")

	w.delay = 5 * time.Minute
	f.want(f.do("owner", "PUT", group1+rbac+"roleAssignments/"+azure.NewGUID(), `{"properties":{"roleDefinitionId":"`+access.Reader+`","principalId":"`+principals["stranger"].Object+`"}}`), 201, "")
	f.want(f.do("stranger", "GET", group1, ""), 403, "AuthorizationFailed")
	later(w.delay)
	f.want(f.do("stranger", "GET", group1, ""), 200, "")

	begun := f.do("owner", "PUT", at(slow, "bad"), `{"location":"westeurope"}`)
	f.want(begun, 201, "")
	if got := f.ended("owner", begun); got.body.String("error", "code") != "AllocationFailed" || f.world.count(at(slow, "bad")) != 0 {
		t.Errorf("ended %s", document.Text(got.body))
	}
	w.lost = true
	f.want(f.do("owner", "GET", strings.TrimPrefix(begun.header.Get("Azure-AsyncOperation"), management), ""), 404, "OperationNotFound")
}
