package storage

import (
	"encoding/base64"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/causeway-gateway/causeway/fabric/azure"
)

// A signature is a shared access signature that was found good.
type signature struct {
	account   bool   // of the account, not of one of its services
	kinds     string // of the account's: what it is for, of "sco"
	resource  string // of the blob service's: "b" a blob, "c" a container
	perms     string
	table     string     // of the table service's, in lower case
	from, to  *entityKey // of the table service's: between these keys
	overrides map[string]string
}

// responseHeaders are those of an answer that a signature may set.
var responseHeaders = map[string]string{"rscc": "Cache-Control", "rscd": "Content-Disposition", "rsce": "Content-Encoding", "rscl": "Content-Language", "rsct": "Content-Type"}

// allows reports whether the signature suffices for an operation, and whether it does if that makes something new.
func (g *signature) allows(n need) (whole, fresh bool) {
	switch {
	case g.account && !strings.Contains(g.kinds, string(n.kind)):
		return false, false
	case !g.account && (!n.service || g.resource == "b" && n.kind != 'o'):
		return false, false
	}
	whole = strings.ContainsAny(g.perms, n.perms)
	return whole, whole || n.newPerms != "" && strings.ContainsAny(g.perms, n.newPerms)
}

// Versions from which on a signature's text has further lines.
const (
	versionResource   = "2018-11-09" // what kind of resource, and its snapshot
	versionIdentity   = "2020-02-10" // who is authorised, and the correlation
	versionEncryption = "2020-12-06" // the encryption scope
	versionDelegated  = "2025-07-05" // whom it was delegated to
)

// unsupported are parts of signatures that bind them to what is not here: stored policies, hierarchical names, snapshots,
// encryption scopes. A signature that has them is not good, for its limits could not be kept.
var unsupported = []string{"si", "ses", "saoid", "suoid", "scid", "sduoid", "skdutid", "sdd", "snapshot", "versionid"}

// proveSignature verifies the signature in the query. Its text is made of what the request is about, so a signature for
// anything else does not match.
func (q *request) proveSignature() (proof, error) {
	v := q.query["sv"]
	sent, err := base64.StdEncoding.DecodeString(q.query["sig"])
	if err != nil || !isVersion.MatchString(v) || v < "2015-04-05" {
		return proof{}, errAuthentication
	}
	for _, name := range unsupported {
		if q.query[name] != "" {
			return proof{}, errAuthentication
		}
	}
	p, byKey, err := q.readSignature(v, sent)
	if err != nil {
		return proof{}, err
	}
	if byKey && !q.account.AllowSharedKeyAccess {
		return proof{}, errNoKeys
	}
	if err := q.checkLimits(); err != nil {
		return proof{}, err
	}
	return p, nil
}

// readSignature finds out of which sort the signature is, and compares it.
func (q *request) readSignature(version string, sent []byte) (p proof, byKey bool, err error) {
	g := &signature{perms: q.query["sp"], overrides: make(map[string]string)}
	text, keys := "", q.account.keys[:]
	_, delegated := q.query["skoid"]
	switch {
	case q.query["ss"] != "" && delegated:
		err = errAuthentication // a key of a user's signs for what is in containers alone
	case q.query["ss"] != "":
		g.account, g.kinds = true, q.query["srt"]
		text = q.accountText(version)
		if !strings.Contains(q.query["ss"], string(q.plane.kind)) {
			return p, false, refuse(http.StatusForbidden, "AuthorizationServiceMismatch", "This request is not authorized to perform this operation using this service.")
		}
	case q.plane.kind == 't':
		text, err = q.tableText(g)
	default:
		text, err = q.blobText(g, version, delegated)
	}
	if err == nil && delegated {
		keys, p.principal, err = q.delegatedKey()
	}
	if err != nil {
		return p, false, err
	}
	good := false
	for _, key := range keys {
		good = matchesMAC(key, []byte(text), sent) || good
	}
	if !good {
		return p, false, errAuthentication
	}
	p.sas = g
	return p, !delegated, nil
}

func (q *request) accountText(version string) string {
	parts := append([]string{q.account.Name}, q.queries("sp", "ss", "srt", "st", "se", "sip", "spr", "sv")...)
	if version >= versionEncryption {
		parts = append(parts, q.query["ses"])
	}
	return lines(parts...) + "\n"
}

func (q *request) queries(names ...string) (values []string) {
	for _, name := range names {
		values = append(values, q.query[name])
	}
	return values
}

// blobText is what the signature of a blob or container is made of.
// https://learn.microsoft.com/rest/api/storageservices/create-service-sas and create-user-delegation-sas
func (q *request) blobText(g *signature, version string, delegated bool) (string, error) {
	g.resource = q.query["sr"]
	named := "/blob/" + q.account.Name + "/" + q.container
	switch {
	case g.resource == "b" && q.blob != "":
		named += "/" + q.blob
	case g.resource != "c" || q.container == "":
		return "", errAuthentication
	}
	parts := append(q.queries("sp", "st", "se"), named)
	if delegated {
		parts = append(parts, q.delegationParts(version)...)
	} else {
		parts = append(parts, q.query["si"])
	}
	parts = append(parts, q.queries("sip", "spr", "sv")...)
	if version >= versionResource || delegated {
		parts = append(parts, q.queries("sr", "snapshot")...)
	}
	if version >= versionEncryption {
		parts = append(parts, q.query["ses"])
	}
	for name, header := range responseHeaders {
		if v, ok := q.query[name]; ok {
			if !isPrintable(v) {
				return "", errParameter(name)
			}
			g.overrides[header] = v
		}
	}
	return lines(append(parts, q.queries("rscc", "rscd", "rsce", "rscl", "rsct")...)...), nil
}

// tableText is what the signature of a table is made of. That it is for the request's table is for permit to see: a batch
// names its tables within.
func (q *request) tableText(g *signature) (string, error) {
	g.table = strings.ToLower(q.query["tn"])
	spk, hasFrom := q.query["spk"]
	epk, hasTo := q.query["epk"]
	if g.table == "" || !hasFrom && q.query["srk"] != "" || !hasTo && q.query["erk"] != "" {
		return "", errAuthentication
	}
	if hasFrom {
		g.from = &entityKey{spk, q.query["srk"]}
	}
	if hasTo {
		g.to = &entityKey{epk, q.query["erk"]}
	}
	parts := append(q.queries("sp", "st", "se"), "/table/"+q.account.Name+"/"+g.table)
	return lines(append(parts, q.queries("si", "sip", "spr", "sv", "spk", "srk", "epk", "erk")...)...), nil
}

// covers reports whether an entity is one of those that the signature is for.
func (g *signature) covers(key entityKey) bool {
	if g.from != nil && key.compare(*g.from) < 0 {
		return false
	}
	return g.to == nil || key.compare(*g.to) <= 0 || g.to.Row == "" && key.Partition == g.to.Partition
}

func (q *request) delegationParts(version string) []string {
	parts := q.queries("skoid", "sktid", "skt", "ske", "sks", "skv")
	if version >= versionIdentity {
		parts = append(parts, q.queries("saoid", "suoid", "scid")...)
	}
	if version >= versionDelegated {
		parts = append(parts, q.queries("skdutid", "sduoid")...)
	}
	return parts
}

// checkLimits keeps to the time, the protocol and the addresses that the signature is for.
func (q *request) checkLimits() error {
	now := q.plane.Now()
	start, startOK := sasTime(q.query["st"])
	end, endOK := sasTime(q.query["se"])
	switch {
	case !endOK || q.query["st"] != "" && !startOK, now.Before(start), !now.Before(end):
		return azure.Errorf(http.StatusForbidden, "AuthenticationFailed", "%s Signature not valid in the specified time frame.", errAuthentication.Message)
	case q.query["spr"] != "" && q.query["spr"] != "https" && q.query["spr"] != "https,http": // there is nothing but https
		return refuse(http.StatusForbidden, "AuthorizationProtocolMismatch", "This request is not authorized to perform this operation using this protocol.")
	case q.query["sip"] != "" && !fromWithin(q.r.RemoteAddr, q.query["sip"]):
		return refuse(http.StatusForbidden, "AuthorizationSourceIPMismatch", "This request is not authorized to perform this operation using this source IP.")
	}
	return nil
}

// sasTime reads the forms that a time may have in a signature.
func sasTime(text string) (time.Time, bool) {
	for _, layout := range []string{"2006-01-02T15:04:05Z", "2006-01-02T15:04Z", "2006-01-02", "2006-01-02T15:04:05.9999999Z"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// fromWithin reports whether a peer's address is the one given, or between the two.
func fromWithin(remote, given string) bool {
	peer, err := netip.ParseAddrPort(remote)
	if err != nil {
		return false
	}
	first, last, ranged := strings.Cut(given, "-")
	if !ranged {
		last = first
	}
	low, err1 := netip.ParseAddr(first)
	high, err2 := netip.ParseAddr(last)
	addr := peer.Addr().Unmap()
	return err1 == nil && err2 == nil && low.Is4() == addr.Is4() && high.Is4() == addr.Is4() && addr.Compare(low) >= 0 && addr.Compare(high) <= 0
}
