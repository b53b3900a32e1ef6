package resourcemanager

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/causeway-gateway/causeway/fabric/azure"
	"github.com/causeway-gateway/causeway/fabric/document"
	"github.com/causeway-gateway/causeway/fabric/state"
)

// What a lock keeps from being done.
const (
	cannotDelete = "CanNotDelete"
	readOnly     = "ReadOnly"
)

const (
	lockType  = "Microsoft.Authorization/locks"
	mostLocks = 20 // at one scope
)

// A Lock keeps a scope and all within it from being deleted, or also from being changed.
type Lock struct {
	Path  string `json:"id"`
	Level string `json:"level"`
	Notes string `json:"notes,omitempty"`
}

func (l *Lock) scope() azure.ID {
	id, _ := azure.ParseID(l.Path) // it was checked
	return id.Scope()
}

func (l *Lock) show() *document.Object {
	id, _ := azure.ParseID(l.Path)
	properties := document.NewObject("level", l.Level)
	if l.Notes != "" {
		properties.Set("notes", l.Notes)
	}
	return document.NewObject("id", l.Path, "name", id.Name(), "type", lockType, "properties", properties)
}

func (s *Service) loadLocks(ctx context.Context) error {
	return s.cfg.State.View(ctx, func(tx *state.Tx) error {
		for e, err := range tx.Scan(lockBucket, "", "") {
			if err != nil {
				return err
			}
			var l Lock
			if _, err := tx.Get(lockBucket, e.Key, &l); err != nil {
				return err
			}
			s.locks[e.Key] = l
		}
		return nil
	})
}

// unlocked refuses to change or delete what a lock protects: one on it or above, and for deletion also one on something in it.
func (s *Service) unlocked(id azure.ID, deletion bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var scopes []string
	for _, l := range s.locks {
		on := l.scope()
		protects := id.Within(on) && (deletion || l.Level == readOnly) || deletion && on.Within(id)
		if protects && !strings.EqualFold(l.Path, id.String()) {
			scopes = append(scopes, on.String())
		}
	}
	if scopes == nil {
		return nil
	}
	slices.Sort(scopes)
	what := map[bool]string{true: "delete", false: "write"}[deletion]
	return azure.Errorf(http.StatusConflict, "ScopeLocked", "The scope '%s' cannot perform %s operation because following scope(s) are locked: '%s'. Please remove the lock and try again.",
		id, what, strings.Join(slices.Compact(scopes), ","))
}

func (s *Service) shownLock(id azure.ID) (*document.Object, error) {
	s.mu.Lock()
	l, known := s.locks[id.Key()]
	s.mu.Unlock()
	if !known {
		return nil, azure.Errorf(http.StatusNotFound, "LockNotFound", "The lock '%s' could not be found.", id.Name())
	}
	return l.show(), nil
}

func getLock(q *request) (*answer, error) { return found(q.s.shownLock(q.id)) }

// found answers with something that was looked for.
func found(shown *document.Object, err error) (*answer, error) {
	if err != nil {
		return nil, err
	}
	return ok(shown), nil
}

// listLocks lists the locks at a scope, above it and within it.
func listLocks(q *request) (*answer, error) {
	atScope := strings.EqualFold(q.URL.Query().Get("$filter"), "atScope()")
	q.s.mu.Lock()
	var found []Lock
	for _, l := range q.s.locks {
		if on := l.scope(); q.id.Within(on) || !atScope && on.Within(q.id) {
			found = append(found, l)
		}
	}
	q.s.mu.Unlock()
	slices.SortFunc(found, func(a, b Lock) int { return strings.Compare(a.Path, b.Path) })
	all := make([]any, len(found))
	for i, l := range found {
		all[i] = l.show()
	}
	return q.page(all)
}

func putLock(q *request) (*answer, error) {
	body, err := q.object()
	if err != nil {
		return nil, err
	}
	return created(q.s.lock(q.Context(), q.caller, q.id, body))
}

// lock makes or changes the lock that a body describes.
func (s *Service) lock(ctx context.Context, c caller, id azure.ID, body *document.Object) (made bool, shown *document.Object, err error) {
	l := Lock{Path: id.String(), Level: body.String("properties", "level"), Notes: body.String("properties", "notes")}
	i := slices.IndexFunc([]string{cannotDelete, readOnly}, func(level string) bool { return strings.EqualFold(level, l.Level) })
	switch {
	case i < 0:
		return false, nil, azure.Errorf(http.StatusBadRequest, "InvalidLockLevel", "The lock level '%.80s' is not valid. It is %s or %s.", l.Level, cannotDelete, readOnly)
	case len(l.Notes) > 512:
		return false, nil, azure.Errorf(http.StatusBadRequest, "LockNotesTooLong", "The notes of a lock have at most 512 characters.")
	case id.Scope().IsTenant():
		return false, nil, azure.Errorf(http.StatusBadRequest, "InvalidLockScope", "A lock is put on a subscription, a resource group or a resource.")
	}
	l.Level = []string{cannotDelete, readOnly}[i]
	if err := s.exists(ctx, id.Scope()); err != nil {
		return false, nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	here := 0
	for _, other := range s.locks {
		if other.scope().Equal(id.Scope()) {
			here++
		}
	}
	_, was := s.locks[id.Key()]
	if !was && here >= mostLocks {
		return false, nil, azure.Errorf(http.StatusConflict, "LockQuotaExceeded", "The scope '%s' has %d locks, which is the most.", id.Scope(), mostLocks)
	}
	err = s.cfg.State.Update(ctx, func(tx *state.Tx) error {
		if err := s.note(tx, c.did("write", id)); err != nil {
			return err
		}
		return tx.Put(lockBucket, id.Key(), l)
	})
	if err == nil {
		s.locks[id.Key()] = l
	}
	return !was, l.show(), err
}

func deleteLock(q *request) (*answer, error) {
	q.s.mu.Lock()
	defer q.s.mu.Unlock()
	if _, known := q.s.locks[q.id.Key()]; !known {
		return &answer{status: http.StatusNoContent}, nil
	}
	err := q.s.cfg.State.Update(q.Context(), func(tx *state.Tx) error {
		if err := q.s.note(tx, q.did("delete", q.id)); err != nil {
			return err
		}
		_, err := tx.Delete(lockBucket, q.id.Key())
		return err
	})
	if err != nil {
		return nil, err
	}
	delete(q.s.locks, q.id.Key())
	return &answer{status: http.StatusOK}, nil
}
