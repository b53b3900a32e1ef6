package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/causeway-gateway/causeway"
)

// A Set is a compiled policy. It does not change and may be used by any number of goroutines.
type Set struct {
	serviceName string // as in an authority
	servicePort int
	pubs        []Publication
	servers     []server       // one for each publication
	byHost      map[string]int // lower case
	byName      map[string]int
	byID        map[uint64]int // with causeway.ManagementPointBase
}

// server is what Decide needs of a publication.
type server struct {
	fold  bool       // paths compare without case
	rules []rulePath // most segments first, so the first match is the longest
}

// rulePath is a rule's path, cut into segments.
type rulePath struct {
	rule     int
	segments []string
}

// Compile checks publications and makes a Set of them. serviceName is the name (or address) devices call and
// servicePort the port they call it on. An error names the publication and the field.
func Compile(serviceName string, servicePort int, pubs []Publication) (*Set, error) {
	name, err := normalHost(serviceName, true)
	if err != nil {
		return nil, fmt.Errorf("service name %w", err)
	}
	if servicePort < 1 || servicePort > 65535 {
		return nil, fmt.Errorf("service port %d: want 1 to 65535", servicePort)
	}
	if len(pubs) > MaxPublications {
		return nil, fmt.Errorf("%d publications, at most %d", len(pubs), MaxPublications)
	}
	s := &Set{
		serviceName: name,
		servicePort: servicePort,
		pubs:        slices.Clone(pubs),
		servers:     make([]server, len(pubs)),
		byHost:      map[string]int{},
		byName:      map[string]int{},
		byID:        map[uint64]int{},
	}
	names := map[string]bool{}
	for i := range s.pubs {
		p := &s.pubs[i]
		if err := s.add(i, p); err != nil {
			return nil, fmt.Errorf("publication %q: %w", p.Name, err)
		}
		// Names that differ in case alone would be mistaken for one another by people.
		if key := strings.ToLower(string(p.Name)); names[key] {
			return nil, fmt.Errorf("publication %q: name used twice", p.Name)
		} else {
			names[key] = true
		}
	}
	return s, nil
}

func (s *Set) add(i int, p *Publication) error {
	if err := p.fill(); err != nil {
		return err
	}
	if p.Host == "" && p.ManagementPoint == 0 {
		s.byName[string(p.Name)] = i
	}
	if p.Host != "" {
		if _, taken := s.byHost[p.Host]; taken || p.Host == s.serviceName {
			return fmt.Errorf("host %q is taken", p.Host)
		}
		s.byHost[p.Host] = i
	}
	if p.ManagementPoint != 0 {
		id := causeway.ManagementPointBase + p.ManagementPoint
		if _, taken := s.byID[id]; taken {
			return fmt.Errorf("management_point %d is taken", p.ManagementPoint)
		}
		s.byID[id] = i
	}
	return s.addRules(i, p)
}

func (s *Set) addRules(i int, p *Publication) error {
	srv := &s.servers[i]
	srv.fold = p.ManagementPoint != 0
	seen := map[string]int{}
	for n := range p.Rules {
		segments := cutRule(p.Rules[n].Path)
		key := strings.Join(segments, "/")
		if srv.fold {
			key = lowerASCII(key)
		}
		if first, twice := seen[key]; twice {
			return fmt.Errorf("rules[%d] %q: path is that of rules[%d]", n, p.Rules[n].Path, first)
		}
		seen[key] = n
		srv.rules = append(srv.rules, rulePath{rule: n, segments: segments})
	}
	slices.SortStableFunc(srv.rules, func(a, b rulePath) int { return cmp.Compare(len(b.segments), len(a.segments)) })
	return nil
}

func cutRule(path string) []string {
	path = strings.Trim(path, "/")
	if path == "" {
		return nil
	}
	return strings.Split(path, "/")
}

func lowerASCII(s string) string {
	return strings.Map(func(c rune) rune {
		if c < 0x80 {
			return rune(lower(byte(c)))
		}
		return c
	}, s)
}

// Publications returns the publications with defaults filled in. Do not change them.
func (s *Set) Publications() []Publication { return s.pubs }

// ServiceName returns the name devices call, in lower case, an address of IPv6 in brackets.
func (s *Set) ServiceName() string { return s.serviceName }

// ServicePort returns the port devices call.
func (s *Set) ServicePort() int { return s.servicePort }

// External returns where devices find publication i: the host (without a port) and the path prefix, which is
// empty for one that has a host of its own. For a management point it is the prefix for certificates; the one for
// tokens has ServerAuth in place of MutualAuth.
func (s *Set) External(i int) (host, prefix string) {
	p := &s.pubs[i]
	switch {
	case p.Host != "":
		return p.Host, ""
	case p.ManagementPoint != 0:
		return s.serviceName, "/CCM_Proxy_MutualAuth/" + strconv.FormatUint(causeway.ManagementPointBase+p.ManagementPoint, 10)
	}
	return s.serviceName, "/" + string(p.Name)
}
