package storage

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/causeway-gateway/causeway/fabric/azure"
	"github.com/causeway-gateway/causeway/fabric/state"
)

// A proof says who sends a request. The zero proof is nobody's.
type proof struct {
	key       bool // an account's key, which may do everything
	sas       *signature
	principal *azure.Principal // of a bearer token, or who made the key of the signature
}

func (p proof) isNobody() bool { return !p.key && p.sas == nil && p.principal == nil }

// A need is what an operation asks of a proof.
type need struct {
	action, or string // either of these, for a principal
	newAction  string // suffices for what makes something new
	data       bool   // they are data actions

	kind     byte   // what an account's signature must be for: 's'ervice, 'c'ontainer, 'o'bject
	service  bool   // a service's signature may do it, too
	perms    string // any of these, for a signature
	newPerms string // any of these suffices for what makes something new

	public string // how public a container must be for anybody to do it: "blob", "container"
}

var (
	errAuthentication = refuse(http.StatusForbidden, "AuthenticationFailed", "Server failed to authenticate the request. Make sure the value of Authorization header is formed correctly including the signature.")
	errPermission     = refuse(http.StatusForbidden, "AuthorizationPermissionMismatch", "This request is not authorized to perform this operation using this permission.")
	errNoKeys         = refuse(http.StatusForbidden, "KeyBasedAuthenticationNotPermitted", "Key based authentication is not permitted on this storage account.")
	errAmbiguous      = refuse(http.StatusBadRequest, "InvalidAuthenticationInfo", "Authentication information is not given in the correct format. Check the value of Authorization header.")
)

// prove finds out who sends the request.
func (q *request) prove() (proof, error) {
	headers := q.r.Header.Values("Authorization")
	_, signed := q.query["sig"]
	switch {
	case len(headers) > 1 || len(headers) == 1 && signed:
		return proof{}, errAmbiguous // which of the two would count?
	case signed:
		return q.proveSignature()
	case len(headers) == 0:
		return proof{}, nil
	}
	scheme, value, _ := strings.Cut(headers[0], " ")
	switch {
	case strings.EqualFold(scheme, "Bearer"):
		return q.proveBearer(strings.TrimSpace(value))
	case scheme == "SharedKey", scheme == "SharedKeyLite":
		return proof{key: true}, q.checkSharedKey(scheme, value)
	}
	return proof{}, errAmbiguous
}

func (q *request) proveBearer(token string) (proof, error) {
	own := strings.TrimSuffix(q.url(), "/")
	p, err := q.plane.Verify(token, storageAudience, storageAudience+"/", own, own+"/")
	if err != nil {
		q.challenge()
		return proof{}, refuse(http.StatusUnauthorized, "InvalidAuthenticationInfo", "Server failed to authenticate the request. Please refer to the information in the www-authenticate header.")
	}
	return proof{principal: &p}, nil
}

// storageAudience is whom tokens for all storage accounts are issued for.
const storageAudience = "https://storage.azure.com"

func (q *request) challenge() {
	q.w.Header().Set("WWW-Authenticate", fmt.Sprintf("Bearer authorization_uri=%s/oauth2/authorize resource_id=%s", q.plane.Authority, storageAudience))
}

// permit decides whether the request's proof suffices for an operation. A proof that suffices for making something new
// alone sets mustBeNew.
func (q *request) permit(n need) error {
	p := q.proof
	if p.key {
		return nil
	}
	if p.isNobody() {
		return q.permitAnybody(n)
	}
	whole, fresh := true, true
	if p.sas != nil {
		whole, fresh = p.sas.allows(n)
		if p.sas.table != "" && !strings.EqualFold(p.sas.table, q.table) {
			whole, fresh = false, false
		}
	}
	if p.principal != nil {
		a, b := q.rolesAllow(n)
		whole, fresh = whole && a, fresh && (a || b)
	}
	if !whole && !fresh {
		return errPermission
	}
	q.mustBeNew = q.mustBeNew || !whole
	return nil
}

// rolesAllow looks at the roles of the principal: whether it may do the operation, and whether it may if that makes
// something new.
func (q *request) rolesAllow(n need) (whole, fresh bool) {
	may := func(action string) bool {
		return action != "" && q.plane.Allowed(*q.proof.principal, action, n.data, q.scope())
	}
	if may(n.action) || may(n.or) {
		return true, true
	}
	return false, may(n.newAction)
}

// permitAnybody lets anybody read what its owner has made public.
func (q *request) permitAnybody(n need) error {
	if n.public != "" && q.account.AllowBlobPublicAccess && q.container != "" {
		var public string
		err := q.plane.State.View(q.r.Context(), func(tx *state.Tx) error {
			c, err := getContainer(tx, q.account, q.container)
			if err == nil {
				public = c.Public
			}
			return err
		})
		if err == nil && (public == "container" || public == n.public) {
			return nil
		}
	}
	q.challenge()
	return refuse(http.StatusUnauthorized, "NoAuthenticationInformation", "Server failed to authenticate the request. Please refer to the information in the www-authenticate header.")
}
