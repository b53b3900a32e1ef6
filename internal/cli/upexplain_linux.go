package cli

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/console"
	"github.com/causeway-gateway/causeway/identity"
	"github.com/causeway-gateway/causeway/policy"
	"github.com/causeway-gateway/causeway/signed"
)

// Explain answers the admin API: with the document that is in force, and the very code that gateway and connection
// point judge by.
func (u *upRun) Explain(ctx context.Context, q console.Question) (console.Explanation, error) {
	ask, err := askOf(q)
	if err != nil {
		return console.Explanation{}, err
	}
	var doc signed.GatewayDocument
	if err := u.documentInForce(ctx, &doc); err != nil {
		return console.Explanation{}, err
	}
	verifier, err := identity.NewVerifier(doc.DeviceTrust)
	if err != nil {
		return console.Explanation{}, err
	}
	set, err := policy.Compile(doc.ServiceName, doc.ServicePort, doc.Publications)
	if err != nil {
		return console.Explanation{}, err
	}
	var e console.Explanation
	refused := u.explainDevice(&e, verifier, q, &ask)
	if refused == nil {
		refused = explainPolicy(&e, set, &ask)
	}
	if e.Admitted = refused == nil; refused != nil {
		code := causeway.CodeOf(refused)
		e.Status, e.Code = code.Status(), code.String()
	}
	return e, nil
}

// askOf reads the question as the gateway would read the request line and Host of such a request.
func askOf(q console.Question) (policy.Ask, error) {
	parsed, err := url.Parse(q.URL)
	if err != nil || parsed.Scheme != "https" || parsed.Host == "" || !strings.HasPrefix(q.URL[len("https://"):], parsed.Host) {
		return policy.Ask{}, badFlag("write the whole URL as a device would, https://…", "URL %q is not one that a device could ask for", q.URL)
	}
	return policy.Ask{Method: []byte(q.Method), Authority: []byte(parsed.Host), Target: []byte(targetOf(q.URL, parsed.Host))}, nil
}

// targetOf returns what follows the authority, byte for byte: parsing and printing it again could change it.
func targetOf(raw, host string) string {
	target := raw[len("https://")+len(host):]
	target, _, _ = strings.Cut(target, "#") // a fragment is never sent
	if target == "" || target[0] == '?' {
		target = "/" + target
	}
	return target
}

// documentInForce signs what the store has and opens it again, so that it is judged as the gateways get it.
func (u *upRun) documentInForce(ctx context.Context, into *signed.GatewayDocument) error {
	f := u.folders.points[u.points[0].ID]
	raw, err := f.root.ReadFile("documents/" + signed.KindGateway + ".json")
	if err != nil {
		return err
	}
	_, err = signed.Open(raw, signed.KindGateway, signed.NewKeySet(u.store.PublicKey()), into)
	return err
}

// explainDevice judges the certificate, and returns why it is refused.
func (u *upRun) explainDevice(e *console.Explanation, v *identity.Verifier, q console.Question, ask *policy.Ask) error {
	if len(q.Certificates) == 0 {
		e.Steps = append(e.Steps, console.Reason{OK: false, Check: "the device shows a certificate", Detail: "none was given; add --cert FILE"})
		return nil // policy says what that means for this URL
	}
	now := u.app.now()
	for _, f := range v.Explain(q.Certificates, now) {
		e.Steps = append(e.Steps, console.Reason{OK: f.OK, Check: f.Check, Detail: f.Detail})
	}
	device, err := v.Verify(q.Certificates, now)
	if err != nil {
		return err
	}
	e.Device, ask.Proof = string(device.ID), policy.ProofCertificate
	return nil
}

func explainPolicy(e *console.Explanation, set *policy.Set, ask *policy.Ask) error {
	for _, s := range set.Explain(ask) {
		e.Steps = append(e.Steps, console.Reason{OK: s.OK, Check: s.Text})
	}
	v := set.Decide(ask)
	if v.Publication != nil {
		e.Server = string(v.Publication.Name)
	}
	if v.Rule != nil {
		e.Rule = v.Rule.Path
	}
	switch v.Local {
	case policy.LocalServiceMetadata, policy.LocalAADAuthInfo:
		e.Server = "the gateway itself"
	}
	if err := v.Refusal(); err != nil {
		return fmt.Errorf("policy: %w", err)
	}
	return nil
}
