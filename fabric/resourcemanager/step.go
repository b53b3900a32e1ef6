package resourcemanager

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/causeway-gateway/causeway/fabric/azure"
	"github.com/causeway-gateway/causeway/fabric/document"
	"github.com/causeway-gateway/causeway/fabric/state"
)

// A step is what a deployment does for one resource: an operation of a deployment, in Azure's words.
type step struct {
	ID      string       `json:"id"`
	Path    string       `json:"resource"`
	Type    string       `json:"type"`
	Name    string       `json:"name"`
	State   string       `json:"provisioningState"`
	Error   *azure.Error `json:"error,omitempty"`
	Started time.Time    `json:"started"`
	Ended   time.Time    `json:"ended,omitzero"`
}

// stepID is the same for the same resource of the same deployment.
func stepID(deployment, resource azure.ID) string {
	sum := sha256.Sum256([]byte(deployment.Key() + "\n" + resource.Key()))
	return strings.ToUpper(fmt.Sprintf("%x", sum[:8]))
}

// keepStep records a step. done says that it had succeeded already, before a crash: then nothing is recorded.
func (s *Service) keepStep(ctx context.Context, deployment azure.ID, st *step) (done bool, err error) {
	key := deployment.Key() + "/operations/" + st.ID
	err = s.cfg.State.Update(ctx, func(tx *state.Tx) error {
		var old step
		if known, err := tx.Get(stepBucket, key, &old); err != nil || known && old.State == stateSucceeded {
			done = known
			return err
		}
		return tx.Put(stepBucket, key, st)
	})
	return done, err
}

func (st *step) show(deployment azure.ID) *document.Object {
	until := st.Ended
	if until.IsZero() {
		until = st.Started
	}
	code := "OK"
	if st.Error != nil {
		code = "Conflict"
	}
	properties := document.NewObject("provisioningOperation", "Create", "provisioningState", st.State, "timestamp", until.Format(timeForm), "duration", duration(until.Sub(st.Started)),
		"serviceRequestId", st.ID, "statusCode", code, "targetResource", document.NewObject("id", st.Path, "resourceType", st.Type, "resourceName", st.Name))
	if st.Error != nil {
		properties.Set("statusMessage", document.NewObject("status", stateFailed, "error", errorObject(st.Error)))
	}
	return document.NewObject("id", deployment.String()+"/operations/"+st.ID, "operationId", st.ID, "properties", properties)
}

func listSteps(q *request) (*answer, error) {
	if _, err := q.s.deploymentOf(q.Context(), q.id); err != nil {
		return nil, err
	}
	var found []step
	err := q.s.cfg.State.View(q.Context(), func(tx *state.Tx) error {
		for e, err := range tx.Scan(stepBucket, q.id.Key()+"/operations/", "") {
			var st step
			if err == nil {
				_, err = tx.Get(stepBucket, e.Key, &st)
			}
			if err != nil {
				return err
			}
			found = append(found, st)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(found, func(a, b step) int { return b.Started.Compare(a.Started) })
	all := make([]any, len(found))
	for i, st := range found {
		all[i] = st.show(q.id)
	}
	return q.page(all)
}

func getStep(q *request) (*answer, error) {
	var st step
	err := q.s.cfg.State.View(q.Context(), func(tx *state.Tx) error {
		known, err := tx.Get(stepBucket, q.id.Key()+"/operations/"+strings.ToUpper(q.args[3]), &st)
		if err == nil && !known {
			err = azure.Errorf(http.StatusNotFound, "DeploymentOperationNotFound", "The operation '%.80s' of the deployment '%s' could not be found.", q.args[3], q.id.Name())
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return ok(st.show(q.id)), nil
}
