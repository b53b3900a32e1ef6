package access

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/causeway-gateway/causeway/fabric/azure"
	"github.com/causeway-gateway/causeway/fabric/state"
)

// Assign makes an assignment. made is false when the same one was there already. An assignment cannot be changed, but in
// its description, and a principal has a role at a scope once.
func (c *Control) Assign(ctx context.Context, a Assignment) (made bool, err error) {
	if err := c.checkAssignment(&a); err != nil {
		return false, err
	}
	key := strings.ToLower(a.ID)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.roles[strings.ToLower(a.Role)] == nil {
		return false, azure.Errorf(http.StatusBadRequest, "RoleDefinitionDoesNotExist", "The specified role definition with ID '%s' does not exist.", a.Role)
	}
	if old, ok := c.assignments[key]; ok {
		if !same(old, a) {
			return false, azure.Errorf(http.StatusConflict, "RoleAssignmentUpdateNotPermitted", "Tenant ID, application ID, principal ID, and scope are not allowed to be updated.")
		}
		a.Created, a.By, a.InForce = old.Created, old.By, old.InForce
		return false, c.keepLocked(ctx, key, a)
	}
	for _, old := range c.assignments {
		if same(old, a) {
			return false, azure.Errorf(http.StatusConflict, "RoleAssignmentExists", "The role assignment already exists.")
		}
	}
	if len(c.assignments) >= MaxAssignments {
		return false, azure.Errorf(http.StatusBadRequest, "RoleAssignmentLimitExceeded", "The subscription has %d role assignments, which is the most.", MaxAssignments)
	}
	if a.Created.IsZero() {
		a.Created = c.now().UTC()
	}
	return true, c.keepLocked(ctx, key, a)
}

func (c *Control) keepLocked(ctx context.Context, key string, a Assignment) error {
	err := c.state.Update(ctx, func(tx *state.Tx) error { return tx.Put(assignmentBucket, key, a) })
	if err == nil {
		c.assignments[key] = a
		c.indexLocked()
	}
	return err
}

// same reports whether two assignments say the same.
func same(a, b Assignment) bool {
	x, _ := azure.ParseID(a.Scope) // both were checked
	y, _ := azure.ParseID(b.Scope)
	return x.Equal(y) && strings.EqualFold(a.Role, b.Role) && strings.EqualFold(a.Principal, b.Principal)
}

func (c *Control) checkAssignment(a *Assignment) error {
	switch {
	case !azure.IsGUID(a.ID):
		return azure.Errorf(http.StatusBadRequest, "InvalidRoleAssignmentId", "The role assignment ID '%s' is not valid. The role assignment ID must be a GUID.", a.ID)
	case !azure.IsGUID(a.Principal):
		return azure.Errorf(http.StatusBadRequest, "InvalidPrincipalId", "A valid principal ID must be provided for role assignment.")
	case len(a.Description) > 1024:
		return azure.Errorf(http.StatusBadRequest, "InvalidDescription", "The description has more than 1024 characters.")
	}
	scope, err := azure.ParseID(a.Scope)
	if err != nil {
		return azure.Errorf(http.StatusBadRequest, "InvalidScope", "The scope '%s' is not valid.", a.Scope)
	}
	r, ok := c.Role(a.Role)
	if ok && !slices.ContainsFunc(r.Scopes, func(s string) bool { in, err := azure.ParseID(s); return err == nil && scope.Within(in) }) {
		return azure.Errorf(http.StatusBadRequest, "RoleDefinitionNotAssignable", "The role '%s' cannot be assigned at the scope '%s'.", r.Name, a.Scope)
	}
	return nil
}

// Assignment returns one by its GUID.
func (c *Control) Assignment(id string) (Assignment, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	a, ok := c.assignments[strings.ToLower(id)]
	return a, ok
}

// Assignments lists what is in force at a scope: assignments there, above and, with below, also further down.
func (c *Control) Assignments(at azure.ID, below bool) []Assignment {
	c.mu.RLock()
	defer c.mu.RUnlock()
	var all []Assignment
	for _, a := range c.assignments {
		scope, err := azure.ParseID(a.Scope)
		if err == nil && (at.Within(scope) || below && scope.Within(at)) {
			all = append(all, a)
		}
	}
	slices.SortFunc(all, func(a, b Assignment) int { return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID)) })
	return all
}

// Revoke removes an assignment. It reports whether there was one.
func (c *Control) Revoke(ctx context.Context, id string) (was bool, err error) {
	key := strings.ToLower(id)
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, was = c.assignments[key]; !was {
		return false, nil
	}
	err = c.state.Update(ctx, func(tx *state.Tx) error { _, err := tx.Delete(assignmentBucket, key); return err })
	if err == nil {
		delete(c.assignments, key)
		c.indexLocked()
	}
	return err == nil, err
}

// Forget removes all assignments within a scope, as when it is deleted, and those of a principal, as when that is. An
// empty principal stands for nobody.
func (c *Control) Forget(ctx context.Context, within azure.ID, principal string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var gone []string
	for key, a := range c.assignments {
		scope, err := azure.ParseID(a.Scope)
		inside := err == nil && !within.IsTenant() && scope.Within(within)
		if inside || principal != "" && strings.EqualFold(a.Principal, principal) {
			gone = append(gone, key)
		}
	}
	if gone == nil {
		return nil
	}
	err := c.state.Update(ctx, func(tx *state.Tx) error {
		for _, key := range gone {
			if _, err := tx.Delete(assignmentBucket, key); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		for _, key := range gone {
			delete(c.assignments, key)
		}
		c.indexLocked()
	}
	return err
}
