package resourcemanager

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/causeway-gateway/causeway/fabric/access"
	"github.com/causeway-gateway/causeway/fabric/azure"
	"github.com/causeway-gateway/causeway/fabric/state"
)

// A Config is what a service is made of.
type Config struct {
	State         *state.Store
	Now           func() time.Time
	Log           *slog.Logger
	URL           string   // of this plane, without a slash at its end
	Audiences     []string // what tokens may be for
	Login         string   // where tokens are to be had
	Tenant        string
	TenantName    string
	Subscriptions []Subscription
	Locations     []Location
	Verify        azure.TokenVerifier
	Access        *access.Control
	Providers     []*Provider
	// Principal reports whether the directory has a principal, and of what type it is.
	Principal func(object string) (kind string, ok bool)
	// Poll is after how long clients are told to ask for an operation again. 0 stands for a second.
	Poll time.Duration
	// Hostile decides what goes wrong by itself. nil stands for nothing.
	Hostile Hostility
}

// A Subscription is one of the tenant's.
type Subscription struct{ ID, Name string }

// A Location is where resources may lie.
type Location struct{ Name, Display string }

// A Service is the control plane. It is safe for concurrent use.
type Service struct {
	cfg   Config
	kinds map[string]kind // by full type in lower case
	ctx   context.Context // that operations live in
	work  sync.WaitGroup

	mu    sync.Mutex          // guards the fields below
	busy  map[string]*running // what is being changed: by key of the resource or group
	locks map[string]Lock     // by key of their ids
	ops   map[string]*running // operations under way, by their ids
}

// Open reads what is there, and goes on with what was under way. Operations run until ctx ends; what has not ended then
// goes on the next time.
func Open(ctx context.Context, cfg Config) (*Service, error) {
	if cfg.Poll == 0 {
		cfg.Poll = time.Second
	}
	if cfg.Hostile == nil {
		cfg.Hostile = calm{}
	}
	s := &Service{cfg: cfg, ctx: ctx, busy: make(map[string]*running), locks: make(map[string]Lock), ops: make(map[string]*running)}
	s.cfg.Providers = append([]*Provider{s.resources(), s.authorization(), s.insights()}, cfg.Providers...)
	s.kinds = indexKinds(s.cfg.Providers)
	if err := s.loadLocks(ctx); err != nil {
		return nil, fmt.Errorf("resource manager: %w", err)
	}
	if err := s.resume(ctx); err != nil {
		return nil, fmt.Errorf("resource manager: %w", err)
	}
	return s, nil
}

// Wait returns when no operation runs any more, once the context of Open has ended.
func (s *Service) Wait() { s.work.Wait() }

func (s *Service) subscription(id string) (Subscription, bool) {
	for _, sub := range s.cfg.Subscriptions {
		if strings.EqualFold(sub.ID, id) {
			return sub, true
		}
	}
	return Subscription{}, false
}

// location returns how a location is written: names may be written as they are shown, too.
func (s *Service) location(text string) (string, bool) {
	plain := strings.ToLower(strings.ReplaceAll(text, " ", ""))
	for _, l := range s.cfg.Locations {
		if l.Name == plain {
			return l.Name, true
		}
	}
	return "", false
}

// permit asks the roles.
func (s *Service) permit(who azure.Principal, action string, on azure.ID) error {
	if s.cfg.Access.Allowed(who, action, false, on) {
		return nil
	}
	return access.Refusal(who, action, on)
}
