package resourcemanager

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/causeway-gateway/causeway/fabric/azure"
	"github.com/causeway-gateway/causeway/fabric/document"
	"github.com/causeway-gateway/causeway/fabric/state"
)

// What operations do.
const (
	verbWrite  = "write"
	verbDelete = "delete"
	verbAction = "action"
	verbGroup  = "deleteGroup"
)

const inProgress = "InProgress"

// An operation is something under way, as it is recorded: it is made before the request that asks for it is answered.
type operation struct {
	ID      string          `json:"id"` // GUID
	Verb    string          `json:"verb"`
	On      string          `json:"on"` // id of the resource or group
	Action  string          `json:"action,omitempty"`
	By      by              `json:"by"`
	Status  string          `json:"status"` // InProgress, Succeeded, Failed or Canceled
	Error   *azure.Error    `json:"error,omitempty"`
	Result  json.RawMessage `json:"-"` // it is kept sealed: keys are results, too
	Started time.Time       `json:"started"`
	Ended   time.Time       `json:"ended,omitzero"`
	New     bool            `json:"new,omitempty"`    // what is written was not there before
	Cancel  bool            `json:"cancel,omitempty"` // it was told to end
}

// by is who asked for an operation.
type by struct {
	Who    azure.Principal `json:"who"`
	Caused string          `json:"caused"` // correlation id of the request
}

func (c caller) by() by     { return by{c.who, c.correlation} }
func (b by) caller() caller { return caller{b.Who, b.Caused} }

// A running operation is one that has not ended.
type running struct {
	operation
	on     azure.ID
	done   chan struct{} // closed when it has ended, and status and error are final
	cancel context.CancelFunc
	ctx    context.Context // of what it does
	came   *outcome        // of a deployment
}

// claim takes a resource or group for an operation, which must be released or started. Nothing else changes it meanwhile.
func (s *Service) claim(on azure.ID, op operation) (*running, error) {
	o := &running{operation: op, on: on, done: make(chan struct{})}
	o.ID, o.On, o.Status, o.Started = azure.NewGUID(), on.String(), inProgress, s.cfg.Now().UTC()
	s.mu.Lock()
	defer s.mu.Unlock()
	if other := s.obstacleLocked(on, op.Verb); other != nil {
		return nil, s.conflict(other, on)
	}
	s.adoptLocked(o)
	return o, nil
}

// obstacleLocked finds what an operation must not run beside: another on the same thing, one that deletes what the thing
// lies in and, for a deletion, one on what lies in it.
func (s *Service) obstacleLocked(on azure.ID, verb string) *running {
	if other := s.busy[on.Key()]; other != nil {
		return other
	}
	for _, other := range s.busy {
		if other.deletes() && on.Within(other.on) || deletes(verb) && other.on.Within(on) {
			return other
		}
	}
	return nil
}

func deletes(verb string) bool { return verb == verbDelete || verb == verbGroup }

func (o *operation) deletes() bool { return deletes(o.Verb) }

// begin has an operation that was claimed prepared, and starts it when that says so. Else, also when preparing panics, what
// was claimed is given back.
func (s *Service) begin(o *running, prepare func() (bool, error)) (begun bool, err error) {
	defer func() {
		if !begun {
			s.release(o)
		}
	}()
	if begun, err = prepare(); begun {
		s.start(o)
	}
	return begun, err
}

// adoptLocked makes an operation one that runs.
func (s *Service) adoptLocked(o *running) {
	o.ctx, o.cancel = context.WithCancel(s.ctx)
	s.busy[o.on.Key()], s.ops[o.ID] = o, o
}

// conflict says that something cannot be done on a thing while another operation runs.
func (s *Service) conflict(other *running, on azure.ID) error {
	if other.Verb == verbGroup && !on.Equal(other.on) {
		return azure.Errorf(http.StatusConflict, "ResourceGroupBeingDeleted", "The resource group '%s' is in deprovisioning state and cannot perform this operation.", on.ResourceGroup())
	}
	e := azure.Errorf(http.StatusConflict, "AnotherOperationInProgress", "Another operation on this or dependent resource is in progress. To retrieve status of the operation use uri: %s. Please try again later.", s.statusURL(&other.operation))
	e.RetryAfter = s.cfg.Poll
	return e
}

// release gives back what was claimed. The operation has ended.
func (s *Service) release(o *running) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.releaseLocked(o)
}

func (s *Service) releaseLocked(o *running) {
	o.cancel()
	delete(s.busy, o.on.Key())
	delete(s.ops, o.ID)
	close(o.done)
}

// start runs an operation that was recorded.
func (s *Service) start(o *running) {
	s.work.Go(func() {
		result, err := s.perform(o)
		if err == nil && result != nil {
			o.Result, err = json.Marshal(result)
		}
		if o.Verb == verbDeploy && o.ctx.Err() != nil {
			err = errCanceled
		}
		for !s.finish(o, err) {
			select {
			case <-s.ctx.Done():
			case <-time.After(s.cfg.Poll):
			}
		}
	})
}

// finish records how an operation ended, and gives back what it had claimed. It reports whether it could: as long as the
// disk takes nothing, the operation has not ended for anybody.
func (s *Service) finish(o *running, failure error) bool {
	s.mu.Lock() // whoever reads that it has ended can make the next change
	defer s.mu.Unlock()
	if s.ctx.Err() == nil {
		err := s.end(s.ctx, o, failure)
		if err != nil {
			o.Status, o.Error = inProgress, nil
		}
		if err != nil && s.ctx.Err() == nil {
			s.cfg.Log.Error("the end of an operation could not be recorded", "operation", o.ID, "on", o.On, "err", err, "retry_in_ms", s.cfg.Poll.Milliseconds())
			return false
		}
	}
	s.releaseLocked(o) // if the service ends, it stays recorded as one that has not ended
	return true
}

// perform does what an operation is for.
func (s *Service) perform(o *running) (result any, err error) {
	defer func() {
		if v := recover(); v != nil {
			s.cfg.Log.Error("panic in an operation", "on", o.On, "verb", o.Verb, "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	if err := s.cfg.Hostile.Fail(o.on); err != nil {
		return nil, err
	}
	switch o.Verb {
	case verbWrite:
		return nil, s.doWrite(o)
	case verbDelete:
		return nil, s.doDelete(o)
	case verbAction:
		return s.doAction(o)
	case verbGroup:
		return nil, s.doDeleteGroup(o)
	case verbDeploy:
		return nil, s.doDeploy(o)
	}
	return nil, fmt.Errorf("an operation of the unknown verb %q", o.Verb)
}

// end records how an operation ended, together with what it made of the resource.
func (s *Service) end(ctx context.Context, o *running, failure error) error {
	o.Status, o.Ended = stateSucceeded, s.cfg.Now().UTC()
	if failure != nil {
		o.Status, o.Error = stateFailed, azure.AsError(failure)
		if o.Error == errCanceled {
			o.Status = stateCanceled
		}
		s.cfg.Log.Warn("operation failed", "operation", o.ID, "verb", o.Verb, "on", o.On, "err", failure)
	}
	return s.cfg.State.Update(ctx, func(tx *state.Tx) error {
		if err := s.settle(tx, o, failure); err != nil {
			return err
		}
		if _, err := tx.Delete(requestBucket, o.ID); err != nil {
			return err
		}
		if o.Result != nil {
			if err := tx.PutSealed(resultBucket, o.ID, o.Result); err != nil {
				return err
			}
		}
		if err := s.note(tx, o.event()); err != nil {
			return err
		}
		return tx.Put(operationBucket, o.ID, o.operation)
	})
}

// settle writes into the resource how its operation ended.
func (s *Service) settle(tx *state.Tx, o *running, failure error) error {
	switch {
	case o.Verb == verbGroup && failure == nil:
		return forgetGroup(tx, o.on)
	case o.Verb == verbGroup:
		return s.changeGroup(tx, o.on, func(g *group) { g.State = stateFailed })
	case o.Verb == verbAction:
		return nil
	case o.Verb == verbDeploy:
		return s.settleDeployment(tx, o)
	case o.Verb == verbDelete && failure == nil:
		return forget(tx, o.on)
	}
	r, err := read(tx, o.on)
	if err != nil || r == nil {
		return err
	}
	r.State = stateSucceeded
	if failure != nil {
		r.State = stateFailed
	}
	return r.write(tx)
}

// cancel tells an operation to end, also when it goes on after a crash. It reports whether it was still running.
func (s *Service) cancel(ctx context.Context, id string) (was bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.ops[id]
	if o == nil {
		return false, nil
	}
	told := o.operation
	told.Cancel = true
	if err := s.cfg.State.Update(ctx, func(tx *state.Tx) error { return tx.Put(operationBucket, id, told) }); err != nil {
		return true, err
	}
	o.cancel()
	return true, nil
}

// record keeps an operation, with the body that an action was given.
func record(tx *state.Tx, o *running, body *document.Object) error {
	if body != nil {
		text, err := body.MarshalJSON()
		if err != nil {
			return err
		}
		if err := tx.PutSealed(requestBucket, o.ID, text); err != nil {
			return err
		}
	}
	return tx.Put(operationBucket, o.ID, o.operation)
}

// resume starts the operations again that a crash or a stop has cut off.
func (s *Service) resume(ctx context.Context) error {
	var open []*running
	err := s.cfg.State.View(ctx, func(tx *state.Tx) error {
		for e, err := range tx.Scan(operationBucket, "", "") {
			if err != nil {
				return err
			}
			o := &running{done: make(chan struct{})}
			if _, err := tx.Get(operationBucket, e.Key, &o.operation); err != nil {
				return err
			}
			if o.Status != inProgress {
				continue
			}
			if o.on, err = azure.ParseID(o.On); err != nil {
				return err
			}
			open = append(open, o)
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range open {
		s.adoptLocked(o)
		if o.Cancel {
			o.cancel()
		}
		s.cfg.Log.Info("going on with an operation that was cut off", "operation", o.ID, "verb", o.Verb, "on", o.On)
		s.start(o)
	}
	return nil
}

// operationLife is for how long an operation that has ended can be asked for.
const operationLife = 24 * time.Hour

// Sweep forgets operations and events whose time is over. It is to be called now and then.
func (s *Service) Sweep(ctx context.Context) error {
	now := s.cfg.Now()
	return s.cfg.State.Update(ctx, func(tx *state.Tx) error {
		for e, err := range tx.Scan(operationBucket, "", "") {
			if err != nil {
				return err
			}
			var o operation
			if _, err := tx.Get(operationBucket, e.Key, &o); err != nil {
				return err
			}
			if o.Status != inProgress && now.Sub(o.Ended) > operationLife {
				if _, err := tx.Delete(operationBucket, e.Key); err != nil {
					return err
				}
				if _, err := tx.Delete(resultBucket, e.Key); err != nil {
					return err
				}
			}
		}
		return sweepActivity(tx, now)
	})
}
