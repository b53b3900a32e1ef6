// Package access is role-based access control as Azure has it: roles are lists of actions, assignments give a role to a
// principal at a scope, and whoever asks may do what any of its assignments allows there or above.
//
//	Open ─► Control ─ Allowed(principal, action, data, on)   for every request of every plane
//	                 ├ roles:       built in, and those that a customer makes
//	                 └ assignments: durable in state, held in memory
package access

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/causeway-gateway/causeway/fabric/azure"
	"github.com/causeway-gateway/causeway/fabric/state"
)

// Buckets of the state.
const (
	roleBucket       = "access.role"
	assignmentBucket = "access.assignment"
)

// A Role is a role definition.
type Role struct {
	ID          string       `json:"id"` // GUID
	Name        string       `json:"roleName"`
	Description string       `json:"description"`
	BuiltIn     bool         `json:"builtIn"`
	Permissions []Permission `json:"permissions"`
	Scopes      []string     `json:"assignableScopes"`
	Changed     time.Time    `json:"changed"`
}

// A Permission is what a role allows: actions that match one of the first and none of the second list. "*" stands for
// any part of an action's name.
type Permission struct {
	Actions        []string `json:"actions"`
	NotActions     []string `json:"notActions"`
	DataActions    []string `json:"dataActions"`
	NotDataActions []string `json:"notDataActions"`
}

// An Assignment gives a role to a principal at a scope.
type Assignment struct {
	ID          string    `json:"id"`    // GUID
	Scope       string    `json:"scope"` // id of a scope or resource
	Role        string    `json:"role"`  // GUID of the role
	Principal   string    `json:"principalId"`
	Type        string    `json:"principalType"`
	Description string    `json:"description,omitempty"`
	Created     time.Time `json:"createdOn"`
	By          string    `json:"createdBy"`
	InForce     time.Time `json:"inForce"` // from when on it is obeyed: later than Created where propagation takes time
}

// Most of what a customer may make, as Azure has it.
const (
	MaxAssignments = 4000
	MaxRoles       = 5000
)

// A Control decides who may do what. It is safe for concurrent use.
type Control struct {
	state *state.Store
	now   func() time.Time

	mu          sync.RWMutex          // guards the fields below
	roles       map[string]*Role      // by GUID in lower case
	assignments map[string]Assignment // by GUID in lower case
	grants      map[string][]grant    // the same by principal in lower case, for Allowed
}

// A grant is what Allowed needs of an assignment.
type grant struct {
	scope   azure.ID
	role    string // GUID in lower case
	inForce time.Time
}

// indexLocked makes the grants anew.
func (c *Control) indexLocked() {
	c.grants = make(map[string][]grant)
	for _, a := range c.assignments {
		if scope, err := azure.ParseID(a.Scope); err == nil { // it was checked
			who := strings.ToLower(a.Principal)
			c.grants[who] = append(c.grants[who], grant{scope, strings.ToLower(a.Role), a.InForce})
		}
	}
}

// Open reads roles and assignments.
func Open(ctx context.Context, s *state.Store, now func() time.Time) (*Control, error) {
	c := &Control{state: s, now: now, roles: make(map[string]*Role), assignments: make(map[string]Assignment)}
	for _, r := range builtIn {
		c.roles[strings.ToLower(r.ID)] = &r
	}
	err := s.View(ctx, func(tx *state.Tx) error {
		if err := load(tx, roleBucket, func(r Role) { c.roles[strings.ToLower(r.ID)] = &r }); err != nil {
			return err
		}
		return load(tx, assignmentBucket, func(a Assignment) { c.assignments[strings.ToLower(a.ID)] = a })
	})
	if err != nil {
		return nil, fmt.Errorf("access: %w", err)
	}
	c.indexLocked() // nobody else has it yet
	return c, nil
}

func load[V any](tx *state.Tx, bucket string, take func(V)) error {
	for e, err := range tx.Scan(bucket, "", "") {
		if err != nil {
			return err
		}
		var v V
		if ok, err := tx.Get(bucket, e.Key, &v); err != nil || !ok {
			return err
		}
		take(v)
	}
	return nil
}

// Allowed reports whether p may do an action on a resource or scope. It is an azure.Authorizer.
func (c *Control) Allowed(p azure.Principal, action string, data bool, on azure.ID) bool {
	now := c.now()
	c.mu.RLock()
	defer c.mu.RUnlock()
	for _, g := range c.grants[strings.ToLower(p.Object)] {
		if now.Before(g.inForce) || !on.Within(g.scope) {
			continue
		}
		if r := c.roles[g.role]; r != nil && r.allows(action, data) {
			return true
		}
	}
	return false
}

// Refusal is what Azure answers when Allowed says no.
func Refusal(p azure.Principal, action string, on azure.ID) error {
	return azure.Errorf(http.StatusForbidden, "AuthorizationFailed", "The client '%s' with object id '%s' does not have authorization to perform action '%s' over scope '%s' "+
		"or the scope is invalid. If access was recently granted, please refresh your credentials.", p.App, p.Object, action, on)
}

func (r *Role) allows(action string, data bool) bool {
	return slices.ContainsFunc(r.Permissions, func(p Permission) bool {
		yes, no := p.Actions, p.NotActions
		if data {
			yes, no = p.DataActions, p.NotDataActions
		}
		return matches(yes, action) && !matches(no, action)
	})
}

func matches(patterns []string, action string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return match(strings.ToLower(p), strings.ToLower(action)) })
}

// match compares an action with a pattern in which each star stands for any text. Both are in lower case.
func match(pattern, action string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == action
	}
	rest, ok := strings.CutPrefix(action, parts[0])
	if !ok {
		return false
	}
	last := parts[len(parts)-1]
	for _, part := range parts[1 : len(parts)-1] {
		i := strings.Index(rest, part)
		if i < 0 {
			return false
		}
		rest = rest[i+len(part):]
	}
	return strings.HasSuffix(rest, last)
}
