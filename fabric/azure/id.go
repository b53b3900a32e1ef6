package azure

import (
	"errors"
	"fmt"
	"strings"
)

// An ID names a resource, or the scope that resources lie in, such as
//
//	/subscriptions/S
//	/subscriptions/S/resourceGroups/G
//	/subscriptions/S/resourceGroups/G/providers/Microsoft.Network/virtualNetworks/V/subnets/N
//	…/providers/Microsoft.Authorization/locks/L      an extension of what stands before it
//
// It keeps the case in which it was written; Azure compares without, as Key does. The zero ID is the tenant.
type ID struct {
	segments []string // in pairs, but for "providers", namespace
	resource int      // where the last "providers" stands; len(segments) without one
}

// MaxNameBytes bounds one segment of an id.
const MaxNameBytes = 260

var errNotID = errors.New("it is not a resource id")

// ParseID reads an id. A trailing slash is taken, an empty segment is not.
func ParseID(text string) (ID, error) {
	trimmed := strings.TrimSuffix(text, "/")
	if trimmed == "" {
		return ID{}, nil
	}
	if trimmed[0] != '/' {
		return ID{}, fmt.Errorf("%q: %w, which begins with a slash", text, errNotID)
	}
	segments := strings.Split(trimmed[1:], "/")
	for _, s := range segments {
		if err := CheckSegment(s); err != nil {
			return ID{}, fmt.Errorf("%q: %w: %w", text, errNotID, err)
		}
	}
	id, err := divide(segments)
	if err != nil {
		return ID{}, fmt.Errorf("%q: %w", text, err)
	}
	return id, nil
}

// CheckSegment says what is wrong with one part of an id.
func CheckSegment(s string) error {
	switch {
	case s == "" || s == "." || s == "..":
		return fmt.Errorf("a segment is %q", s)
	case len(s) > MaxNameBytes:
		return fmt.Errorf("a segment is longer than %d bytes", MaxNameBytes)
	case strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || strings.ContainsRune(`/\?#%`, r) || r == 0x7f || r == 0xfffd }):
		return fmt.Errorf("%q has a character that no name has", s)
	}
	return nil
}

// divide finds the parts of an id.
func divide(segments []string) (ID, error) {
	id := ID{segments, len(segments)}
	at := scopeLength(segments)
	if at < 0 {
		return ID{}, errNotID
	}
	for rest := segments[at:]; len(rest) > 0; {
		// providers, namespace, then at least one type and its name.
		if !strings.EqualFold(rest[0], "providers") || len(rest) < 4 {
			return ID{}, errNotID
		}
		id.resource = len(segments) - len(rest)
		n := 2
		for n < len(rest) && !strings.EqualFold(rest[n], "providers") {
			n += 2
		}
		if n > len(rest) {
			return ID{}, fmt.Errorf("%w: a name is missing at its end", errNotID)
		}
		rest = rest[n:]
	}
	return id, nil
}

// scopeLength returns how many segments the subscription and the resource group take, -1 when they are cut.
func scopeLength(segments []string) int {
	if len(segments) == 0 || !strings.EqualFold(segments[0], "subscriptions") {
		return 0
	}
	switch {
	case len(segments) < 2:
		return -1
	case len(segments) < 3 || !strings.EqualFold(segments[2], "resourceGroups"):
		return 2
	case len(segments) < 4:
		return -1
	}
	return 4
}

// String returns the id as it was written.
func (id ID) String() string { return "/" + strings.Join(id.segments, "/") }

// Key is the same for all ways to write one id.
func (id ID) Key() string { return strings.ToLower(id.String()) }

// Equal reports whether two ids name the same.
func (id ID) Equal(other ID) bool { return id.Key() == other.Key() }

// IsTenant reports whether the id is that of the tenant, which everything lies in.
func (id ID) IsTenant() bool { return len(id.segments) == 0 }

// Subscription returns the subscription's id, "" outside of one.
func (id ID) Subscription() string { return id.named(0, "subscriptions") }

// ResourceGroup returns the resource group's name, "" outside of one.
func (id ID) ResourceGroup() string {
	if id.Subscription() == "" {
		return ""
	}
	return id.named(2, "resourceGroups")
}

func (id ID) named(at int, kind string) string {
	if at+1 < len(id.segments) && strings.EqualFold(id.segments[at], kind) {
		return id.segments[at+1]
	}
	return ""
}

// IsResource reports whether the id is that of a resource, and not of a scope.
func (id ID) IsResource() bool { return id.resource < len(id.segments) }

// Namespace returns the resource provider's, such as "Microsoft.Network", "" for a scope.
func (id ID) Namespace() string {
	if !id.IsResource() {
		return ""
	}
	return id.segments[id.resource+1]
}

// Type returns the resource's type, such as "Microsoft.Network/virtualNetworks/subnets". Scopes have those that
// Azure gives them, the tenant has none.
func (id ID) Type() string {
	switch {
	case !id.IsResource() && id.ResourceGroup() != "":
		return "Microsoft.Resources/subscriptions/resourceGroups"
	case !id.IsResource() && id.Subscription() != "":
		return "Microsoft.Resources/subscriptions"
	case !id.IsResource():
		return ""
	}
	t := id.Namespace()
	for i := id.resource + 2; i < len(id.segments); i += 2 {
		t += "/" + id.segments[i]
	}
	return t
}

// Name returns the last name, such as that of a subnet.
func (id ID) Name() string {
	if id.IsTenant() {
		return ""
	}
	return id.segments[len(id.segments)-1]
}

// FullName returns the names of the resource and of those that it lies in, such as "network/subnet", as templates and
// answers have it.
func (id ID) FullName() string {
	if !id.IsResource() {
		return id.Name()
	}
	var names []string
	for i := id.resource + 3; i < len(id.segments); i += 2 {
		names = append(names, id.segments[i])
	}
	return strings.Join(names, "/")
}

// Parent returns what the resource lies in: the network of a subnet, else its scope; for a resource group the
// subscription, and for that the tenant.
func (id ID) Parent() ID {
	switch {
	case id.IsResource() && len(id.segments)-id.resource > 4:
		return ID{id.segments[:len(id.segments)-2], id.resource}
	case id.IsResource():
		return id.Scope()
	case id.ResourceGroup() != "":
		return ID{id.segments[:2], 2}
	}
	return ID{}
}

// Scope returns what stands before the last "providers": the resource group, or the resource that this one extends. For
// a scope it is the scope itself.
func (id ID) Scope() ID {
	scope, _ := divide(id.segments[:id.resource]) // the front of a good id is good
	return scope
}

// Group returns the scope of the resource group that the id lies in, or of the subscription, or the tenant.
func (id ID) Group() ID {
	n := max(0, scopeLength(id.segments))
	return ID{id.segments[:n], n}
}

// Within reports whether the id is scope, or lies in it.
func (id ID) Within(scope ID) bool {
	if len(scope.segments) > len(id.segments) {
		return false
	}
	for i, s := range scope.segments {
		if !strings.EqualFold(s, id.segments[i]) {
			return false
		}
	}
	return true
}

// Child returns the id with further segments: type and name, in pairs.
func (id ID) Child(segments ...string) ID {
	all := append(append([]string(nil), id.segments...), segments...)
	resource := id.resource
	if !id.IsResource() {
		resource = len(all)
	}
	return ID{all, resource}
}

// Resource returns the id of a resource in this scope: fullType is "Namespace/type/type", fullName "name/name".
func (id ID) Resource(fullType, fullName string) (ID, error) {
	types, names := strings.Split(fullType, "/"), strings.Split(fullName, "/")
	if len(types) < 2 || len(types) != len(names)+1 {
		return ID{}, fmt.Errorf("the type %q and the name %q have not as many parts as belong together", fullType, fullName)
	}
	all := append(append([]string(nil), id.segments...), "providers", types[0])
	for i, name := range names {
		all = append(all, types[i+1], name)
	}
	for _, s := range all {
		if err := CheckSegment(s); err != nil {
			return ID{}, err
		}
	}
	return ID{all, len(id.segments)}, nil
}

// GroupID names the scope of a resource group.
func GroupID(subscription, group string) ID {
	return ID{[]string{"subscriptions", subscription, "resourceGroups", group}, 4}
}

// SubscriptionID names the scope of a subscription.
func SubscriptionID(subscription string) ID {
	return ID{[]string{"subscriptions", subscription}, 2}
}
