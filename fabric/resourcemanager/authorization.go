package resourcemanager

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/causeway-gateway/causeway/fabric/access"
	"github.com/causeway-gateway/causeway/fabric/azure"
	"github.com/causeway-gateway/causeway/fabric/document"
)

const (
	assignmentType = "Microsoft.Authorization/roleAssignments"
	roleType       = "Microsoft.Authorization/roleDefinitions"
)

func roleID(scope azure.ID, guid string) string {
	in := ""
	if sub := scope.Subscription(); sub != "" {
		in = "/subscriptions/" + sub
	}
	return in + "/providers/" + roleType + "/" + guid
}

func showAssignment(a access.Assignment) *document.Object {
	scope, _ := azure.ParseID(a.Scope) // it was checked
	properties := document.NewObject("roleDefinitionId", roleID(scope, a.Role), "principalId", a.Principal, "principalType", a.Type, "scope", a.Scope,
		"createdOn", a.Created.Format(timeForm), "updatedOn", a.Created.Format(timeForm), "createdBy", a.By, "updatedBy", a.By)
	if a.Description != "" {
		properties.Set("description", a.Description)
	}
	return document.NewObject("id", strings.TrimSuffix(a.Scope, "/")+"/providers/"+assignmentType+"/"+a.ID, "name", a.ID, "type", assignmentType, "properties", properties)
}

// listAssignments lists those at a scope, above it and, unless atScope() is asked for, within it.
func listAssignments(q *request) (*answer, error) {
	filter := q.URL.Query().Get("$filter")
	atScope := strings.EqualFold(strings.TrimSpace(filter), "atScope()")
	var terms map[string]string
	if !atScope {
		var err error
		if terms, err = equalities(filter, "principalId"); err != nil {
			return nil, err
		}
	}
	var all []any
	for _, a := range q.s.cfg.Access.Assignments(q.id, !atScope) {
		if want := terms["principalid"]; want == "" || strings.EqualFold(want, a.Principal) {
			all = append(all, showAssignment(a))
		}
	}
	return q.page(all)
}

// assignment finds the one of an id, at its scope.
func (s *Service) assignment(id azure.ID) (access.Assignment, bool) {
	a, known := s.cfg.Access.Assignment(id.Name())
	scope, err := azure.ParseID(a.Scope)
	return a, known && err == nil && scope.Equal(id.Scope())
}

func (s *Service) shownAssignment(id azure.ID) (*document.Object, error) {
	a, known := s.assignment(id)
	if !known {
		return nil, azure.Errorf(http.StatusNotFound, "RoleAssignmentNotFound", "The role assignment '%s' is not found.", id.Name())
	}
	return showAssignment(a), nil
}

func getAssignment(q *request) (*answer, error) { return found(q.s.shownAssignment(q.id)) }

func putAssignment(q *request) (*answer, error) {
	body, err := q.object()
	if err != nil {
		return nil, err
	}
	return created(q.s.assign(q.Context(), q.caller, q.id, body))
}

// assign makes the role assignment that a body describes.
func (s *Service) assign(ctx context.Context, c caller, id azure.ID, body *document.Object) (made bool, shown *document.Object, err error) {
	if err := s.exists(ctx, id.Scope()); err != nil {
		return false, nil, err
	}
	if err := s.unlocked(id.Scope(), false); err != nil {
		return false, nil, err
	}
	if v, _ := body.At("properties", "condition"); v != nil && v != "" { // to give the role without it would be to give more than was meant
		return false, nil, azure.Errorf(http.StatusBadRequest, "RoleAssignmentConditionNotSupported", "A role assignment with a condition is not offered here. Give a role that allows less.")
	}
	role := body.String("properties", "roleDefinitionId")
	a := access.Assignment{ID: id.Name(), Scope: id.Scope().String(), Role: role[strings.LastIndexByte(role, '/')+1:], Principal: body.String("properties", "principalId"),
		Type: body.String("properties", "principalType"), Description: body.String("properties", "description"), By: c.who.Object}
	if err := s.checkPrincipal(&a); err != nil {
		return false, nil, err
	}
	a.Created = s.cfg.Now().UTC()
	a.InForce = a.Created.Add(s.cfg.Hostile.Propagation(id.Scope()))
	if made, err = s.cfg.Access.Assign(ctx, a); err != nil {
		return false, nil, err
	}
	a, _ = s.cfg.Access.Assignment(a.ID)
	return made, showAssignment(a), s.done(ctx, c.did("write", id))
}

// checkPrincipal says whether the directory has whom a role is given to.
func (s *Service) checkPrincipal(a *access.Assignment) error {
	kind, known := s.cfg.Principal(a.Principal)
	switch {
	case !known:
		return azure.Errorf(http.StatusBadRequest, "PrincipalNotFound", "Principal %.80s does not exist in the directory %s. Check that you have the correct principal ID. If you are creating this principal and then "+
			"immediately assigning a role, this error might be related to a replication delay.", strings.ReplaceAll(a.Principal, "-", ""), s.cfg.Tenant)
	case a.Type == "":
		a.Type = kind
	case !strings.EqualFold(a.Type, kind):
		return azure.Errorf(http.StatusBadRequest, "UnmatchedPrincipalType", "The PrincipalId '%s' has type '%s', which is different from specified PrincipalType '%.80s'.", a.Principal, kind, a.Type)
	}
	a.Type = kind
	return nil
}

func deleteAssignment(q *request) (*answer, error) {
	a, known := q.s.assignment(q.id)
	if !known {
		return &answer{status: http.StatusNoContent}, nil
	}
	if err := q.s.unlocked(q.id, true); err != nil { // what is locked further down is not what is deleted
		return nil, err
	}
	if _, err := q.s.cfg.Access.Revoke(q.Context(), a.ID); err != nil {
		return nil, err
	}
	return ok(showAssignment(a)), q.s.done(q.Context(), q.did("delete", q.id))
}

func showRole(r *access.Role, scope azure.ID) *document.Object {
	kind := "CustomRole"
	if r.BuiltIn {
		kind = "BuiltInRole"
	}
	texts := func(list []string) []any {
		out := make([]any, len(list))
		for i, v := range list {
			out[i] = v
		}
		return out
	}
	var permissions []any
	for _, p := range r.Permissions {
		permissions = append(permissions, document.NewObject("actions", texts(p.Actions), "notActions", texts(p.NotActions), "dataActions", texts(p.DataActions), "notDataActions", texts(p.NotDataActions)))
	}
	return document.NewObject("id", roleID(scope, r.ID), "name", r.ID, "type", roleType, "properties", document.NewObject("roleName", r.Name, "type", kind, "description", r.Description,
		"assignableScopes", texts(r.Scopes), "permissions", permissions))
}

func listRoles(q *request) (*answer, error) {
	terms, err := equalities(strings.TrimSpace(strings.TrimPrefix(q.URL.Query().Get("$filter"), "atScope()")), "roleName", "type")
	if err != nil {
		return nil, err
	}
	var all []any
	for _, r := range q.s.cfg.Access.Roles(q.id) {
		custom := strings.EqualFold(terms["type"], "CustomRole")
		if name := terms["rolename"]; name != "" && !strings.EqualFold(name, r.Name) || terms["type"] != "" && custom == r.BuiltIn {
			continue
		}
		all = append(all, showRole(&r, q.id))
	}
	return q.page(all)
}

func (s *Service) shownRole(id azure.ID) (*document.Object, error) {
	r, known := s.cfg.Access.Role(id.Name())
	if !known {
		return nil, azure.Errorf(http.StatusNotFound, "RoleDefinitionDoesNotExist", "The specified role definition with ID '%.80s' does not exist.", id.Name())
	}
	return showRole(&r, id), nil
}

func getRole(q *request) (*answer, error) { return found(q.s.shownRole(q.id)) }

func putRole(q *request) (*answer, error) {
	body, err := q.object()
	if err != nil {
		return nil, err
	}
	return created(q.s.defineRole(q.Context(), q.caller, q.id, body))
}

// defineRole makes or changes the role that a body describes. Who makes one must be allowed to at each scope that it is for.
func (s *Service) defineRole(ctx context.Context, c caller, id azure.ID, body *document.Object) (made bool, shown *document.Object, err error) {
	properties := body.Object("properties")
	r := access.Role{ID: id.Name(), Name: properties.String("roleName"), Description: properties.String("description"), Scopes: texts(properties.Array("assignableScopes"))}
	for _, v := range properties.Array("permissions") {
		p, _ := v.(*document.Object)
		if c, _ := p.Get("condition"); c != nil && c != "" {
			return false, nil, azure.Errorf(http.StatusBadRequest, "RoleDefinitionConditionNotSupported", "A permission with a condition is not offered here. Give a role that allows less.")
		}
		r.Permissions = append(r.Permissions, access.Permission{Actions: texts(p.Array("actions")), NotActions: texts(p.Array("notActions")), DataActions: texts(p.Array("dataActions")),
			NotDataActions: texts(p.Array("notDataActions"))})
	}
	old, was := s.cfg.Access.Role(r.ID)
	for _, text := range append(slices.Clone(old.Scopes), r.Scopes...) {
		scope, err := azure.ParseID(text)
		if err != nil || scope.IsTenant() {
			return false, nil, azure.Errorf(http.StatusBadRequest, "InvalidAssignableScope", "The assignable scope '%.200s' is not a subscription or a resource group.", text)
		}
		if err := s.permit(c.who, roleType+"/write", scope); err != nil {
			return false, nil, err
		}
	}
	if err := s.cfg.Access.PutRole(ctx, r); err != nil {
		return false, nil, err
	}
	kept, _ := s.cfg.Access.Role(r.ID)
	return !was, showRole(&kept, id), s.done(ctx, c.did("write", id))
}

// texts are the texts of an array; what is none becomes the empty text, which no check takes.
func texts(list []any) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i], _ = v.(string)
	}
	return out
}

func deleteRole(q *request) (*answer, error) {
	r, known := q.s.cfg.Access.Role(q.id.Name())
	if !known {
		return &answer{status: http.StatusNoContent}, nil
	}
	for _, text := range r.Scopes {
		scope, err := azure.ParseID(text)
		if err != nil {
			return nil, err
		}
		if err := q.s.permit(q.who, roleType+"/delete", scope); err != nil {
			return nil, err
		}
	}
	if _, err := q.s.cfg.Access.DeleteRole(q.Context(), r.ID); err != nil {
		return nil, err
	}
	return ok(showRole(&r, q.id)), q.s.done(q.Context(), q.did("delete", q.id))
}
