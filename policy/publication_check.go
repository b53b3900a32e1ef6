package policy

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/internal/http1"
)

// MaxNameBytes is the longest short name of a server.
const MaxNameBytes = 63

// CheckName takes a server's short name: what can stand in a URL without escapes, in lower case so that no two names
// look alike, and not one of ConfigMgr's own words. Nobody else judges names.
func CheckName(name causeway.ServerName) error {
	if len(name) == 0 || len(name) > MaxNameBytes {
		return fmt.Errorf("has %d characters, want 1 to %d", len(name), MaxNameBytes)
	}
	if IsReserved(string(name)) {
		return fmt.Errorf("%q is reserved for the gateway's own URLs", name)
	}
	for i, c := range []byte(name) {
		letter := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		if !letter && (i == 0 || c != '-' && c != '_' && c != '.') {
			return fmt.Errorf("%q is not allowed: want a-z and 0-9, and any of -_. behind the first", name)
		}
	}
	return nil
}

// IsReserved reports whether no server can be published under this name.
func IsReserved(name string) bool {
	name = strings.ToLower(name)
	return strings.HasPrefix(name, "ccm_") || slices.Contains([]string{"downloadrestservice.svc", "servicemetadata", "aadauthinfo", "causeway-channel"}, name)
}

// normalHost brings a host name into the form that authorities are compared with: lower case, addresses of IPv6 in
// brackets.
func normalHost(host string, addressAllowed bool) (string, error) {
	if ip, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		switch {
		case !addressAllowed:
			return "", fmt.Errorf("%q is an address, want a name", host)
		case ip.Zone() != "":
			return "", fmt.Errorf("%q has a zone", host)
		case ip.Is6():
			return "[" + ip.String() + "]", nil
		}
		return ip.String(), nil
	}
	host = strings.ToLower(host)
	if len(host) == 0 || len(host) > maxHostBytes {
		return "", fmt.Errorf("has %d characters, want 1 to %d", len(host), maxHostBytes)
	}
	for label := range strings.SplitSeq(host, ".") {
		if !isLabel(label) {
			return "", fmt.Errorf("%q is not a host name", host)
		}
	}
	return host, nil
}

const maxHostBytes = 253

func isLabel(s string) bool {
	if len(s) == 0 || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for _, c := range []byte(s) {
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return true
}

// fill checks a publication and fills in what zero fields mean.
func (p *Publication) fill() error {
	if err := CheckName(p.Name); err != nil {
		return fmt.Errorf("name %w", err)
	}
	if p.Host != "" {
		host, err := normalHost(p.Host, false)
		if err != nil {
			return fmt.Errorf("host %w", err)
		}
		p.Host = host
	}
	if p.ManagementPoint >= causeway.ManagementPointBase {
		return fmt.Errorf("management_point %d: want a number below 2^56", p.ManagementPoint)
	}
	if err := bound("max_in_flight", &p.MaxInFlight, DefaultMaxInFlight, MaxConcurrency); err != nil {
		return err
	}
	if len(p.Rules) == 0 {
		p.Rules = []Rule{{Path: "/"}}
	}
	if len(p.Rules) > MaxRules {
		return fmt.Errorf("rules: %d of them, at most %d", len(p.Rules), MaxRules)
	}
	p.Rules = slices.Clone(p.Rules)
	for i := range p.Rules {
		if err := p.Rules[i].fill(); err != nil {
			return fmt.Errorf("rules[%d] %q: %w", i, p.Rules[i].Path, err)
		}
	}
	return nil
}

// bound checks an int field that may be Unlimited.
func bound(field string, v *int, def, most int) error {
	if *v == 0 {
		*v = def
	}
	if *v != Unlimited && (*v < 1 || *v > most) {
		return fmt.Errorf("%s %d: want 1 to %d, or %d for no bound", field, *v, most, Unlimited)
	}
	return nil
}

// fill checks a rule and fills in what zero fields mean.
func (r *Rule) fill() error {
	if err := checkRulePath(r.Path); err != nil {
		return fmt.Errorf("path %w", err)
	}
	if err := r.fillMethods(); err != nil {
		return fmt.Errorf("methods %w", err)
	}
	if r.MaxBodyBytes == 0 {
		r.MaxBodyBytes = DefaultMaxBodyBytes
	}
	if r.MaxBodyBytes < 0 || r.MaxBodyBytes > MaxBodyBytes {
		return fmt.Errorf("max_body_bytes %d: want 1 to %d", r.MaxBodyBytes, int64(MaxBodyBytes))
	}
	if err := r.fillTimeouts(); err != nil {
		return err
	}
	return r.fillRates()
}

// checkRulePath takes a decoded path that an accepted request can have.
func checkRulePath(path string) error {
	switch {
	case !strings.HasPrefix(path, "/"):
		return fmt.Errorf("%q does not begin with /", path)
	case len(path) > http1.DefaultMaxTargetBytes:
		return fmt.Errorf("has %d bytes, at most %d", len(path), http1.DefaultMaxTargetBytes)
	case !utf8.ValidString(path):
		return fmt.Errorf("%q is not UTF-8", path)
	case strings.Contains(path, "%"):
		return fmt.Errorf("%q holds %%: write it decoded", path)
	case strings.ContainsFunc(path, func(c rune) bool { return c < ' ' || c == 0x7f || c == '\\' || c == ';' }):
		return fmt.Errorf("%q holds a character that no accepted path has", path)
	}
	if path == "/" {
		return nil
	}
	for segment := range strings.SplitSeq(strings.TrimSuffix(path[1:], "/"), "/") {
		if segment == "" || isDots(segment) {
			return fmt.Errorf("%q has an empty, . or .. segment", path)
		}
	}
	return nil
}

// isDots reports whether a segment is . or .., also with spaces around, which Windows cuts off.
func isDots(segment string) bool {
	s := strings.Trim(segment, " ")
	return s == "." || s == ".."
}

func (r *Rule) fillMethods() error {
	if len(r.Methods) == 0 {
		r.Methods = DefaultMethods()
	}
	if len(r.Methods) > MaxMethods {
		return fmt.Errorf("are %d, at most %d", len(r.Methods), MaxMethods)
	}
	for i, m := range r.Methods {
		switch {
		case !http1.IsToken(m) || len(m) > 32:
			return fmt.Errorf("hold %q, which is no method", m)
		case strings.EqualFold(m, "CONNECT") || strings.EqualFold(m, "TRACE"):
			return fmt.Errorf("hold %s, which is never allowed", m)
		case slices.Contains(r.Methods[:i], m):
			return fmt.Errorf("hold %s twice", m)
		}
	}
	if r.WebSocket && !slices.Contains(r.Methods, "GET") {
		return fmt.Errorf("lack GET, with which websocket begins")
	}
	return nil
}

func (r *Rule) fillTimeouts() error {
	if r.AnswerTimeout == 0 {
		r.AnswerTimeout = Duration(DefaultAnswerTimeout)
	}
	if r.IdleTimeout == 0 {
		r.IdleTimeout = Duration(DefaultIdleTimeout)
	}
	for _, t := range []struct {
		field string
		value Duration
	}{{"answer_timeout", r.AnswerTimeout}, {"idle_timeout", r.IdleTimeout}} {
		if d := time.Duration(t.value); d < MinTimeout || d > MaxTimeout {
			return fmt.Errorf("%s %s: want %s to %s", t.field, d, MinTimeout, MaxTimeout)
		}
	}
	return nil
}

func (r *Rule) fillRates() error {
	if r.RatePerSecond == 0 {
		r.RatePerSecond = DefaultRatePerSecond
	}
	if v := r.RatePerSecond; math.IsNaN(v) || v != Unlimited && (v <= 0 || v > MaxRatePerSecond) {
		return fmt.Errorf("rate_per_second %v: want above 0 to %g, or %d for no bound", v, float64(MaxRatePerSecond), Unlimited)
	}
	if err := bound("burst", &r.Burst, DefaultBurst, MaxConcurrency); err != nil {
		return err
	}
	return bound("concurrency", &r.Concurrency, DefaultConcurrency, MaxConcurrency)
}
