package policy

import (
	"fmt"
	"time"

	"github.com/causeway-gateway/causeway"
)

// A Publication is one inside server as far as a gateway may know of it: nothing about where it is.
//
// It is reached by its own host name if Host is set, under /CCM_Proxy_MutualAuth/<id> and /CCM_Proxy_ServerAuth/<id>
// if ManagementPoint is set, and as /<Name>/ on the service name if neither is.
type Publication struct {
	Name            causeway.ServerName `json:"name"`
	Host            string              `json:"host,omitempty"`
	ManagementPoint uint64              `json:"management_point,omitempty"` // n of the id 2^56+n; 0: none
	// Rules say what may be asked. None means one Rule{Path: "/"}.
	Rules []Rule `json:"rules,omitempty"`
	// MaxInFlight bounds the requests of all devices together. Zero means DefaultMaxInFlight.
	MaxInFlight int `json:"max_in_flight,omitempty"`
}

// A Rule allows requests below one path. The rule with the longest matching path decides alone.
type Rule struct {
	// Path is a prefix of whole segments, written decoded: "/a" covers "/a" and "/a/b", not "/ab".
	// It is case-sensitive, except for a management point. A server that knows one file by several names (other
	// case, 8.3 names) can be asked past a stricter rule below a wider one: give such a server no wider rule.
	Path string `json:"path"`
	// Methods are those allowed. None means DefaultMethods. CONNECT and TRACE are never allowed.
	Methods []string `json:"methods,omitempty"`
	// MaxBodyBytes bounds a request body. Zero means DefaultMaxBodyBytes.
	MaxBodyBytes int64 `json:"max_body_bytes,omitempty"`
	// AnswerTimeout is how long the server may take to begin its answer. Zero means DefaultAnswerTimeout.
	AnswerTimeout Duration `json:"answer_timeout,omitzero"`
	// IdleTimeout is how long a body may pause, either way. Zero means DefaultIdleTimeout. An upgraded connection
	// may pause for UpgradeIdleTimeout, whatever stands here.
	IdleTimeout Duration `json:"idle_timeout,omitzero"`
	// WebSocket allows the upgrade to WebSocket, the only one there is.
	WebSocket bool `json:"websocket,omitempty"`
	// RatePerSecond, Burst and Concurrency bound one device's requests. Zero means the default, Unlimited no bound.
	RatePerSecond float64 `json:"rate_per_second,omitempty"`
	Burst         int     `json:"burst,omitempty"`
	Concurrency   int     `json:"concurrency,omitempty"`
	// Semicolon allows ";" in the path, which some servers cut off with what follows.
	Semicolon bool `json:"semicolon,omitempty"`
}

// What a zero field of Rule or Publication means.
const (
	DefaultMaxBodyBytes  = 8 << 30 // bodies are never held, so this guards the server's disk, not our memory
	DefaultAnswerTimeout = 120 * time.Second
	DefaultIdleTimeout   = 60 * time.Second
	DefaultRatePerSecond = 1000
	DefaultBurst         = 2000
	DefaultConcurrency   = 256
	DefaultMaxInFlight   = 4096

	// UpgradeIdleTimeout is how long an upgraded connection may pause: no shorter than a body, which a rule cannot
	// grant more, and long enough for the heartbeats of what runs over WebSockets.
	UpgradeIdleTimeout = 15 * time.Minute

	// Unlimited, in RatePerSecond, Burst, Concurrency or MaxInFlight, sets no bound.
	Unlimited = -1
)

// The bounds of those fields.
const (
	MaxBodyBytes     = 1 << 40
	MaxTimeout       = 15 * time.Minute
	MinTimeout       = 10 * time.Millisecond
	MaxRatePerSecond = 1e6
	MaxConcurrency   = 1 << 20
	MaxRules         = 256
	MaxPublications  = 1024
	MaxMethods       = 64
)

// DefaultMethods returns what a rule without methods allows.
func DefaultMethods() []string {
	return []string{"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "CCM_POST", "BITS_POST"}
}

// A Duration is written as "1m30s" in documents.
type Duration time.Duration

// MarshalText writes the form of time.Duration.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads what time.ParseDuration reads.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil {
		return fmt.Errorf("duration: %w", err)
	}
	*d = Duration(v)
	return nil
}

// String returns the form of time.Duration.
func (d Duration) String() string { return time.Duration(d).String() }
