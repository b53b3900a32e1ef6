package policy

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"
)

func TestCompileFillsInDefaults(t *testing.T) {
	given := []Publication{{Name: "a"}, {Name: "b", Host: "B.Example", Rules: []Rule{{Path: "/x", RatePerSecond: Unlimited, Burst: 5}}}}
	s, err := Compile("Gateway.Example", 443, given)
	if err != nil {
		t.Fatal(err)
	}
	a := s.Publications()[0]
	if a.MaxInFlight != DefaultMaxInFlight || len(a.Rules) != 1 {
		t.Fatalf("got %+v", a)
	}
	r := a.Rules[0]
	if r.Path != "/" || len(r.Methods) != len(DefaultMethods()) || r.MaxBodyBytes != DefaultMaxBodyBytes ||
		time.Duration(r.AnswerTimeout) != DefaultAnswerTimeout || time.Duration(r.IdleTimeout) != DefaultIdleTimeout ||
		r.RatePerSecond != DefaultRatePerSecond || r.Burst != DefaultBurst || r.Concurrency != DefaultConcurrency {
		t.Errorf("got %+v", r)
	}
	if r := s.Publications()[1].Rules[0]; r.RatePerSecond != Unlimited || r.Burst != 5 {
		t.Errorf("got %+v", r)
	}
	if given[0].Rules != nil || given[1].Host != "B.Example" || given[1].Rules[0].Methods != nil {
		t.Error("Compile changed what it was given")
	}
}

func TestCompileNamesPublicationAndField(t *testing.T) {
	rule := func(r Rule) []Publication {
		if r.Path == "" {
			r.Path = "/a"
		}
		return []Publication{{Name: "srv", Rules: []Rule{r}}}
	}
	for _, tt := range []struct {
		name string
		pubs []Publication
		want string // parts of the error, separated by |
	}{
		{"no name", []Publication{{}}, `publication ""|name`},
		{"name with a slash", []Publication{{Name: "a/b"}}, `name "a/b"`},
		{"name that is a dot", []Publication{{Name: "."}}, `name "."`},
		{"name with a percent sign", []Publication{{Name: "a%2f"}}, `name`},
		{"endless name", []Publication{{Name: "a234567890123456789012345678901234567890123456789012345678901234"}}, "64 characters"},
		{"ConfigMgr's prefix", []Publication{{Name: "ccm_Proxy_MutualAuth"}}, "reserved"},
		{"ConfigMgr's content service", []Publication{{Name: "DownloadRestService.svc"}}, "reserved"},
		{"ServiceMetadata", []Publication{{Name: "ServiceMetadata"}}, "reserved"},
		{"name twice", []Publication{{Name: "a"}, {Name: "a"}}, `publication "a"|twice`},
		{"name twice in other case", []Publication{{Name: "a"}, {Name: "A", Host: "a.example"}}, `publication "A"|not allowed`},
		{"host that is the service name", []Publication{{Name: "a", Host: "GATEWAY.example"}}, `host "gateway.example" is taken`},
		{"host twice", []Publication{{Name: "a", Host: "x.example"}, {Name: "b", Host: "X.example"}}, `publication "b"|host`},
		{"host with a port", []Publication{{Name: "a", Host: "x.example:443"}}, "host"},
		{"host with a trailing dot", []Publication{{Name: "a", Host: "x.example."}}, "host"},
		{"host with a wildcard", []Publication{{Name: "a", Host: "*.example"}}, "host"},
		{"host that is an address", []Publication{{Name: "a", Host: "10.0.0.1"}}, "host"},
		{"management point twice", []Publication{{Name: "a", ManagementPoint: 1}, {Name: "b", ManagementPoint: 1}}, `publication "b"|management_point 1`},
		{"management point too large", []Publication{{Name: "a", ManagementPoint: 1 << 56}}, "management_point"},
		{"in flight", []Publication{{Name: "a", MaxInFlight: -2}}, "max_in_flight -2"},
		{"rule without a path", []Publication{{Name: "srv", Rules: []Rule{{}}}}, `publication "srv"|rules[0]|path`},
		{"relative path", rule(Rule{Path: "a"}), `rules[0] "a"|path`},
		{"path with a parent", rule(Rule{Path: "/a/../b"}), "path"},
		{"path with a dot", rule(Rule{Path: "/./a"}), "path"},
		{"path with two slashes", rule(Rule{Path: "/a//b"}), "path"},
		{"path of slashes", rule(Rule{Path: "//"}), "path"},
		{"path with an escape", rule(Rule{Path: "/a%20b"}), "decoded"},
		{"path with a backslash", rule(Rule{Path: "/a\\b"}), "path"},
		{"path with a semicolon", rule(Rule{Path: "/a;b"}), "path"},
		{"path with a newline", rule(Rule{Path: "/a\nb"}), "path"},
		{"path that is not UTF-8", rule(Rule{Path: "/\xff"}), "UTF-8"},
		{"path twice", []Publication{{Name: "a", Rules: []Rule{{Path: "/x"}, {Path: "/x/"}}}}, `rules[1] "/x/"|rules[0]`},
		{"path twice in other case", []Publication{{Name: "a", ManagementPoint: 1, Rules: []Rule{{Path: "/x"}, {Path: "/X"}}}}, "rules[1]"},
		{"CONNECT", rule(Rule{Methods: []string{"CONNECT"}}), "methods|CONNECT"},
		{"trace", rule(Rule{Methods: []string{"trace"}}), "methods|trace"},
		{"no token", rule(Rule{Methods: []string{"GET POST"}}), "methods"},
		{"method twice", rule(Rule{Methods: []string{"GET", "GET"}}), "methods|twice"},
		{"websocket without GET", rule(Rule{Methods: []string{"POST"}, WebSocket: true}), "GET"},
		{"body", rule(Rule{MaxBodyBytes: -1}), "max_body_bytes -1"},
		{"answer timeout", rule(Rule{AnswerTimeout: Duration(time.Hour)}), "answer_timeout 1h0m0s"},
		{"idle timeout", rule(Rule{IdleTimeout: -1}), "idle_timeout"},
		{"rate", rule(Rule{RatePerSecond: -2}), "rate_per_second"},
		{"rate that is no number", rule(Rule{RatePerSecond: math.NaN()}), "rate_per_second"},
		{"burst", rule(Rule{Burst: -2}), "burst"},
		{"concurrency", rule(Rule{Concurrency: 1 << 30}), "concurrency"},
		{"too many rules", []Publication{{Name: "a", Rules: make([]Rule, MaxRules+1)}}, "rules"},
		{"too many publications", make([]Publication, MaxPublications+1), "publications"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Compile("gateway.example", 443, tt.pubs)
			if err == nil {
				t.Fatal("got no error")
			}
			for part := range strings.SplitSeq(tt.want, "|") {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("got %q, want it to say %q", err, part)
				}
			}
		})
	}
}

func TestCompileRefusesServiceNames(t *testing.T) {
	for _, name := range []string{"", "a..b", "a.example.", "a b", "a/b", "a:1", "fe80::1%eth0", strings.Repeat("a.", 200)} {
		if _, err := Compile(name, 443, nil); err == nil {
			t.Errorf("service name %q: got no error", name)
		}
	}
	for _, port := range []int{0, -1, 65536} {
		if _, err := Compile("a.example", port, nil); err == nil {
			t.Errorf("port %d: got no error", port)
		}
	}
}

func TestExternalIsWhereDecideFindsIt(t *testing.T) {
	s := testSet(t)
	for i, p := range s.Publications() {
		host, prefix := s.External(i)
		target := prefix + strings.TrimSuffix(p.Rules[0].Path, "/")
		if target == "" {
			target = "/"
		}
		if v := s.Decide(ask(p.Rules[0].Methods[0], host, target)); v.Index != i {
			t.Errorf("%s at %s%s: got publication %d (%v %s), want %d", p.Name, host, target, v.Index, v.Code, v.Reason, i)
		}
	}
}

func TestRuleReadsAndWritesJSON(t *testing.T) {
	const text = `{"path":"/poll","answer_timeout":"15m0s","websocket":true,"rate_per_second":0.5}`
	var r Rule
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		t.Fatal(err)
	}
	if time.Duration(r.AnswerTimeout) != 15*time.Minute || !r.WebSocket || r.RatePerSecond != 0.5 {
		t.Errorf("got %+v", r)
	}
	if b, err := json.Marshal(r); err != nil || string(b) != text {
		t.Errorf("got %s, %v, want %s", b, err, text)
	}
	if err := json.Unmarshal([]byte(`{"idle_timeout":"soon"}`), &r); err == nil {
		t.Error("idle_timeout soon: got no error")
	}
}
