package storage

import (
	"encoding/base64"
	"encoding/xml"
	"net/http"
	"time"

	"github.com/causeway-gateway/causeway/fabric/azure"
)

// A user delegation key is made of the account's secret and of what the key says, so none has to be kept: a new secret
// ends all of them. What its maker may not do when it is used, a signature by it cannot do either.

const (
	maxDelegation    = 7 * 24 * time.Hour
	delegationAction = "Microsoft.Storage/storageAccounts/blobServices/generateUserDelegationKey/action"
)

// delegationKey is the document that the key stands in.
type delegationKey struct {
	XMLName       xml.Name `xml:"UserDelegationKey"`
	SignedOid     string
	SignedTid     string
	SignedStart   string
	SignedExpiry  string
	SignedService string
	SignedVersion string
	Value         string
}

func (k *delegationKey) secret(a *account) []byte {
	return mac(a.delegation, []byte(lines(k.SignedOid, k.SignedTid, k.SignedStart, k.SignedExpiry, k.SignedService, k.SignedVersion)))
}

// issueDelegation answers with a key by which the caller can sign for itself.
func (s *Service) issueDelegation(q *request) error {
	p := q.proof.principal
	if p == nil || q.proof.sas != nil {
		q.challenge()
		return refuse(http.StatusForbidden, "AuthenticationFailed", "Only authentication scheme Bearer is supported.")
	}
	if err := q.permit(need{action: delegationAction}); err != nil {
		return err
	}
	var asked struct {
		XMLName       xml.Name `xml:"KeyInfo"`
		Start, Expiry string
	}
	if err := q.readXML(&asked, maxSmallBody); err != nil {
		return err
	}
	now := s.Now()
	start, ok := sasTime(asked.Start)
	if asked.Start == "" {
		start, ok = now, true
	}
	end, endOK := sasTime(asked.Expiry)
	if !ok || !endOK || !end.After(start) || !end.After(now) || end.After(now.Add(maxDelegation)) || start.After(now.Add(maxDelegation)) {
		return refuse(http.StatusBadRequest, "InvalidXmlNodeValue", "The value for one of the XML nodes is not in the correct format: a key begins before it ends, and ends within seven days.")
	}
	k := &delegationKey{SignedOid: p.Object, SignedTid: p.Tenant, SignedStart: start.UTC().Format("2006-01-02T15:04:05Z"), SignedExpiry: end.UTC().Format("2006-01-02T15:04:05Z"),
		SignedService: "b", SignedVersion: q.apiVersion}
	k.Value = base64.StdEncoding.EncodeToString(k.secret(q.account))
	return q.writeXML(k)
}

// delegatedKey makes the key that a signature says it was made by.
func (q *request) delegatedKey() (keys [][]byte, p *azure.Principal, err error) {
	v := q.queries("skoid", "sktid", "skt", "ske", "sks", "skv")
	k := delegationKey{SignedOid: v[0], SignedTid: v[1], SignedStart: v[2], SignedExpiry: v[3], SignedService: v[4], SignedVersion: v[5]}
	start, ok1 := sasTime(k.SignedStart)
	end, ok2 := sasTime(k.SignedExpiry)
	now := q.plane.Now()
	if !azure.IsGUID(k.SignedOid) || !azure.IsGUID(k.SignedTid) || k.SignedService != "b" || q.plane.kind != 'b' || !isVersion.MatchString(k.SignedVersion) ||
		!ok1 || !ok2 || now.Before(start) || !now.Before(end) {
		return nil, nil, errAuthentication
	}
	return [][]byte{k.secret(q.account)}, &azure.Principal{Tenant: k.SignedTid, Object: k.SignedOid, Type: "ServicePrincipal"}, nil
}
