package console

import (
	"fmt"
	"net/http"
	"slices"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/policy"
	"github.com/causeway-gateway/causeway/signed"
)

// A Published is one published server: what devices may ask of it, and how connection points reach it.
type Published struct {
	policy.Publication
	URL               string        `json:"url"`
	CAs               string        `json:"cas,omitempty"`                // PEM
	ClientCertificate string        `json:"client_certificate,omitempty"` // PEM
	ClientKey         signed.Secret `json:"client_key,omitempty"`         // PEM; goes in and never comes out
	HostHeader        string        `json:"host_header,omitempty"`
	IdentityForms     []string      `json:"identity_forms,omitempty"`

	// External is where devices find it; the site fills it in.
	External string `json:"external,omitempty"`
}

// A PublishedChange says what to change of a published server. What is nil stays.
type PublishedChange struct {
	URL               *string        `json:"url,omitempty"`
	Host              *string        `json:"host,omitempty"`
	ManagementPoint   *uint64        `json:"management_point,omitempty"`
	CAs               *string        `json:"cas,omitempty"`
	ClientCertificate *string        `json:"client_certificate,omitempty"`
	ClientKey         *signed.Secret `json:"client_key,omitempty"`
	HostHeader        *string        `json:"host_header,omitempty"`
	IdentityForms     *[]string      `json:"identity_forms,omitempty"`
	MaxInFlight       *int           `json:"max_in_flight,omitempty"`
	Rules             []policy.Rule  `json:"rules,omitempty"`        // each takes the place of the rule with its path, or comes new
	RemoveRules       []string       `json:"remove_rules,omitempty"` // paths
}

// Apply returns p with the changes made. It is causeway.ErrNotFound when a rule to remove is not there.
func (c *PublishedChange) Apply(p Published) (Published, error) {
	set(&p.URL, c.URL)
	set(&p.Host, c.Host)
	set(&p.ManagementPoint, c.ManagementPoint)
	set(&p.CAs, c.CAs)
	set(&p.ClientCertificate, c.ClientCertificate)
	set(&p.ClientKey, c.ClientKey)
	set(&p.HostHeader, c.HostHeader)
	set(&p.IdentityForms, c.IdentityForms)
	set(&p.MaxInFlight, c.MaxInFlight)
	rules, err := c.applyRules(p)
	if err != nil {
		return p, err
	}
	p.Rules = rules
	return p, nil
}

// applyRules returns p's rules with the changes made. A server without rules has one for "/" that nobody wrote: an
// endpoint comes beside it and not in its place, and taking the last rule away would bring it back.
func (c *PublishedChange) applyRules(p Published) ([]policy.Rule, error) {
	if len(c.RemoveRules) == 0 && len(c.Rules) == 0 {
		return p.Rules, nil
	}
	rules := slices.Clone(p.Rules)
	if len(rules) == 0 {
		rules = []policy.Rule{{Path: "/"}}
	}
	for _, path := range c.RemoveRules {
		i := ruleIndex(rules, path)
		if i < 0 {
			return nil, fmt.Errorf("server %s has no endpoint %q: %w", p.Name, path, causeway.ErrNotFound)
		}
		rules = slices.Delete(rules, i, i+1)
	}
	for _, rule := range c.Rules {
		if i := ruleIndex(rules, rule.Path); i >= 0 {
			rules[i] = rule
		} else {
			rules = append(rules, rule)
		}
	}
	if len(rules) == 0 {
		return nil, causeway.WithHint(badRequest{fmt.Errorf("server %s would be left without an endpoint", p.Name)},
			"publish it no more with: causeway server remove %s; or name another endpoint with --endpoint PATH", p.Name)
	}
	return rules, nil
}

func set[T any](into *T, v *T) {
	if v != nil {
		*into = *v
	}
}

func ruleIndex(rules []policy.Rule, path string) int {
	return slices.IndexFunc(rules, func(r policy.Rule) bool { return r.Path == path })
}

// A Change is what became of one: the generation of the documents that carry it, and how many instances live by
// them already.
type Change struct {
	Server     Published `json:"server,omitzero"`
	Generation uint64    `json:"generation"`
	Instances  int       `json:"instances"`      // that the gateway has
	Applied    int       `json:"applied"`        // of these, those known to obey it
	Note       string    `json:"note,omitempty"` // what whoever changed it should know
}

func (s *Server) servers(w http.ResponseWriter, r *http.Request) {
	servers, err := s.Site.Servers(r.Context())
	s.answer(w, r, withoutKeys(servers), err)
}

// withoutKeys keeps client keys inside: nobody needs to read back what they gave.
func withoutKeys(servers []Published) []Published {
	out := make([]Published, 0, len(servers))
	for _, p := range servers {
		p.ClientKey = ""
		out = append(out, p)
	}
	return out
}

func (s *Server) addServer(w http.ResponseWriter, r *http.Request) {
	var p Published
	if err := read(w, r, &p); err != nil {
		fail(w, err)
		return
	}
	c, err := s.Site.AddServer(r.Context(), by(r), p)
	s.answer(w, r, c.withoutKey(), err)
}

func (s *Server) setServer(w http.ResponseWriter, r *http.Request) {
	var change PublishedChange
	if err := read(w, r, &change); err != nil {
		fail(w, err)
		return
	}
	c, err := s.Site.SetServer(r.Context(), by(r), causeway.ServerName(r.PathValue("name")), change)
	s.answer(w, r, c.withoutKey(), err)
}

func (s *Server) removeServer(w http.ResponseWriter, r *http.Request) {
	c, err := s.Site.RemoveServer(r.Context(), by(r), causeway.ServerName(r.PathValue("name")))
	s.answer(w, r, c.withoutKey(), err)
}

func (c Change) withoutKey() Change {
	c.Server.ClientKey = ""
	return c
}
