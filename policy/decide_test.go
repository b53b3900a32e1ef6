package policy

import (
	"strings"
	"testing"

	"github.com/causeway-gateway/causeway"
)

const testID = "72057594037927937" // 2^56+1

// testSet has one server of each kind, with rules that tell paths apart.
func testSet(t testing.TB) *Set {
	t.Helper()
	s, err := Compile("gateway.example", 8443, []Publication{
		{Name: "updates"},
		{Name: "npm", Rules: []Rule{
			{Path: "/", Methods: []string{"GET", "HEAD"}},
			{Path: "/@scope", Methods: []string{"GET", "PUT"}},
			{Path: "/private/keys", Methods: []string{"DELETE"}},
			{Path: "/java", Semicolon: true},
			{Path: "/java/admin", Semicolon: true, Methods: []string{"DELETE"}},
			{Path: "/ws", WebSocket: true, MaxBodyBytes: 10},
		}},
		{Name: "narrow", Rules: []Rule{{Path: "/only/this/"}, {Path: "/grüße"}}},
		{Name: "dav", Host: "Dav.Example"},
		{Name: "mp1", ManagementPoint: 1, Rules: []Rule{
			{Path: "/SMS_MP", Methods: []string{"GET", "HEAD"}},
			{Path: "/CCM_System/request", Methods: []string{"CCM_POST"}},
			{Path: "/CCM_Incoming", Methods: []string{"BITS_POST", "PROPFIND"}},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func ask(method, authority, target string) *Ask {
	return &Ask{Method: []byte(method), Authority: []byte(authority), Target: []byte(target), Proof: ProofCertificate}
}

func TestDecideFindsServerRuleAndRest(t *testing.T) {
	s := testSet(t)
	mp := "/CCM_Proxy_MutualAuth/" + testID
	for _, tt := range []struct {
		name, method, authority, target string
		server                          causeway.ServerName
		rule                            int
		prefix, rest                    string
	}{
		{"short name", "GET", "gateway.example", "/updates/a?b=c", "updates", 0, "/updates", "/a?b=c"},
		{"short name alone", "GET", "gateway.example", "/updates", "updates", 0, "/updates", "/"},
		{"short name with a slash", "GET", "gateway.example", "/updates/", "updates", 0, "/updates", "/"},
		{"short name and a query", "GET", "gateway.example", "/updates?x=/../y", "updates", 0, "/updates", "/?x=/../y"},
		{"short name escaped", "GET", "gateway.example", "/%75pdates/a", "updates", 0, "/%75pdates", "/a"},
		{"host in capitals", "GET", "GATEWAY.Example", "/updates/a", "updates", 0, "/updates", "/a"},
		{"the service port", "GET", "gateway.example:8443", "/updates/a", "updates", 0, "/updates", "/a"},
		{"port 443", "GET", "gateway.example:443", "/updates/a", "updates", 0, "/updates", "/a"},
		{"published host", "PROPFIND", "dav.example", "/a/b", "dav", 0, "", "/a/b"},
		{"published host, name of another server", "GET", "dav.example:443", "/updates/x", "dav", 0, "", "/updates/x"},
		{"published host, ConfigMgr path is nothing special", "GET", "dav.example", "/CCM_x/./a", "dav", 0, "", "/CCM_x/./a"},
		{"longest path wins", "GET", "gateway.example", "/npm/@scope/x", "npm", 1, "/npm", "/@scope/x"},
		{"whole segments only", "GET", "gateway.example", "/npm/@scopes", "npm", 0, "/npm", "/@scopes"},
		{"rule path itself", "PUT", "gateway.example", "/npm/@scope", "npm", 1, "/npm", "/@scope"},
		{"rule path with a trailing slash", "GET", "gateway.example", "/narrow/only/this/", "narrow", 0, "/narrow", "/only/this/"},
		{"escapes match decoded and travel as they are", "GET", "gateway.example", "/narrow/%6fnly/thi%73/%7e%2b", "narrow", 0, "/narrow", "/%6fnly/thi%73/%7e%2b"},
		{"UTF-8 escaped", "GET", "gateway.example", "/narrow/gr%C3%BC%c3%9fe/x", "narrow", 1, "/narrow", "/gr%C3%BC%c3%9fe/x"},
		{"UTF-8 raw", "GET", "gateway.example", "/narrow/grüße", "narrow", 1, "/narrow", "/grüße"},
		{"flat apt repository", "GET", "gateway.example", "/updates/./InRelease", "updates", 0, "/updates", "/./InRelease"},
		{"dot segment before the name", "GET", "gateway.example", "/./updates/x", "updates", 0, "/./updates", "/x"},
		{"dot segments inside a rule path", "GET", "gateway.example", "/narrow/./only/././this/x", "narrow", 0, "/narrow", "/./only/././this/x"},
		{"dot segment at the end", "GET", "gateway.example", "/updates/.", "updates", 0, "/updates", "/."},
		{"scoped npm package, rule covers both readings", "GET", "gateway.example", "/updates/@scope%2fname", "updates", 0, "/updates", "/@scope%2fname"},
		{"encoded slash at the end", "GET", "gateway.example", "/updates/a%2F", "updates", 0, "/updates", "/a%2F"},
		{"semicolon where the rule allows it", "GET", "gateway.example", "/npm/java/x;v=1", "npm", 3, "/npm", "/java/x;v=1"},
		{"names with dots", "GET", "gateway.example", "/updates/...", "updates", 0, "/updates", "/..."},
		{"hidden file", "GET", "gateway.example", "/updates/.well-known/..a", "updates", 0, "/updates", "/.well-known/..a"},
		{"odd but legal bytes", "GET", "gateway.example", "/updates/a|b\"<>^`{}*'()!$&=+,:@", "updates", 0, "/updates", "/a|b\"<>^`{}*'()!$&=+,:@"},
		{"encoded question mark", "GET", "gateway.example", "/updates/a%3fb", "updates", 0, "/updates", "/a%3fb"},
		{"encoded hash", "GET", "gateway.example", "/updates/a%23b", "updates", 0, "/updates", "/a%23b"},
		{"anything in the query", "GET", "gateway.example", "/updates/a?%00%2e%2e/..\\;", "updates", 0, "/updates", "/a?%00%2e%2e/..\\;"},
		{"management point", "GET", "gateway.example", mp + "/SMS_MP/.sms_aut?SITESIGNCERT", "mp1", 0, mp, "/SMS_MP/.sms_aut?SITESIGNCERT"},
		{"management point in other case", "CCM_POST", "gateway.example", "/ccm_proxy_MUTUALAUTH/" + testID + "/ccm_system/REQUEST", "mp1", 1,
			"/ccm_proxy_MUTUALAUTH/" + testID, "/ccm_system/REQUEST"},
		{"BITS upload", "BITS_POST", "gateway.example", mp + "/CCM_Incoming/{7c-1}/a.xml", "mp1", 2, mp, "/CCM_Incoming/{7c-1}/a.xml"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := s.Decide(ask(tt.method, tt.authority, tt.target))
			if !v.Allowed() {
				t.Fatalf("%s %s: refused with %s: %s", tt.authority, tt.target, v.Code, v.Reason)
			}
			if v.Publication.Name != tt.server || v.RuleIndex != tt.rule || string(v.Prefix) != tt.prefix || string(v.Rest) != tt.rest {
				t.Errorf("%s %s: got %s rule %d prefix %q rest %q, want %s rule %d prefix %q rest %q", tt.authority, tt.target,
					v.Publication.Name, v.RuleIndex, v.Prefix, v.Rest, tt.server, tt.rule, tt.prefix, tt.rest)
			}
			if v.Publication != &s.Publications()[v.Index] || v.Rule != &v.Publication.Rules[v.RuleIndex] {
				t.Error("publication and rule are not those of their indices")
			}
		})
	}
}

// Every trick by which a path means one thing to us and another to a server.
func TestDecideRefusesPathTricks(t *testing.T) {
	s := testSet(t)
	mp := "/CCM_Proxy_MutualAuth/" + testID
	for _, tt := range []struct{ name, target string }{
		{"parent segment", "/updates/a/../b"},
		{"parent segment at the end", "/updates/a/.."},
		{"parent segment in front", "/../updates/a"},
		{"parent out of the publication", "/updates/../npm/private"},
		{"encoded parent", "/updates/a/%2e%2e/b"},
		{"encoded parent in capitals", "/updates/a/%2E%2E/b"},
		{"half encoded parent", "/updates/a/.%2e/b"},
		{"other half encoded parent", "/updates/a/%2e./b"},
		{"encoded dot in a name", "/updates/a%2eb"},
		{"encoded dot segment", "/updates/%2e/b"},
		{"twice encoded dot", "/updates/%252e%252e/b"},
		{"twice encoded slash", "/updates/a%252fb"},
		{"encoded percent sign", "/updates/100%25"},
		{"encoded slashes around parent", "/updates/a%2f..%2fb"},
		{"encoded slash before parent", "/updates/a/..%2fb"},
		{"encoded slash behind parent", "/updates/a%2f../b"},
		{"encoded slash in capitals around parent", "/updates/a%2F..%2Fb"},
		{"encoded backslash", "/updates/a%5c..%5cb"},
		{"encoded backslash in capitals", "/updates/a%5Cb"},
		{"backslash", "/updates/a\\b"},
		{"backslash parent", "/updates/a\\..\\b"},
		{"two slashes", "/updates//a"},
		{"two slashes in front", "//updates/a"},
		{"two slashes at the end", "/updates/a//"},
		{"encoded slash beside a slash", "/updates/%2fa"},
		{"encoded slash before a slash", "/updates/a%2f/b"},
		{"two encoded slashes", "/updates/a%2f%2fb"},
		{"encoded NUL", "/updates/a%00b"},
		{"encoded NUL before a harmless end", "/updates/secret%00.txt"},
		{"encoded newline", "/updates/a%0d%0aX:y"},
		{"encoded tab", "/updates/a%09"},
		{"encoded DEL", "/updates/a%7f"},
		{"raw control character", "/updates/a\x01b"},
		{"raw control character in the query", "/updates/a?\r\nX: y"},
		{"raw space", "/updates/a b"},
		{"fragment", "/updates/a#/../b"},
		{"escape without digits", "/updates/a%"},
		{"escape with one digit", "/updates/a%4"},
		{"escape with other letters", "/updates/a%zz"},
		{"escape of IIS", "/updates/%u002e%u002e/a"},
		{"overlong slash", "/updates/..%c0%af"},
		{"overlong dot", "/updates/%c0%ae%c0%ae/"},
		{"overlong slash of three bytes", "/updates/%e0%80%af"},
		{"lone continuation byte", "/updates/%80"},
		{"UTF-8 cut short", "/updates/%e2%82"},
		{"UTF-8 cut by a slash", "/updates/%e2/x"},
		{"surrogate", "/updates/%ed%a0%80"},
		{"beyond Unicode", "/updates/%f4%90%80%80"},
		{"invalid UTF-8 raw", "/updates/\xff"},
		{"semicolon", "/updates/a;b"},
		{"encoded semicolon", "/updates/a%3bb"},
		{"semicolon parent", "/npm/java/..;/x"},
		{"semicolon parent with a parameter", "/npm/java/..;v=1/x"},
		{"encoded semicolon parent", "/npm/java/..%3b/x"},
		{"semicolon dot", "/npm/java/.;/x"},
		{"semicolon alone", "/npm/java/;/x"},
		{"parameter with a parent behind it", "/npm/java/x;v=1/../y"},
		{"semicolon hides a stricter rule", "/npm/java/admin;x/y"},
		{"semicolon in the publication's name", "/npm;x/java/y"},
		{"semicolon makes another rule", "/npm/java;x/admin"},
		{"encoded slash hides a stricter rule", "/npm/private%2fkeys"},
		{"encoded slash makes another rule", "/npm/@scope%2fname"},
		{"encoded slash in the publication's name", "/npm%2fprivate/keys"},
		{"encoded slash in front of the name", "/x%2fnpm/private"},
		{"space behind parent, which Windows cuts off", "/updates/..%20/x"},
		{"space before parent", "/updates/%20../x"},
		{"space behind dot", "/updates/.%20/x"},
		{"dot segment on a ConfigMgr path", mp + "/./SMS_MP/x"},
		{"dot segment before a ConfigMgr path", "/." + mp + "/SMS_MP/x"},
		{"dot segment at the end of a ConfigMgr path", mp + "/SMS_MP/."},
		{"encoded slash on a ConfigMgr path", mp + "/SMS_MP%2fx"},
		{"encoded slash between ConfigMgr segments", "/CCM_Proxy_MutualAuth%2f" + testID + "/SMS_MP/x"},
		{"semicolon in a ConfigMgr path", mp + ";x/SMS_MP/x"},
		{"dot segment on an unknown ConfigMgr path", "/ccm_other/./x"},
		{"no path", ""},
		{"no slash", "updates"},
		{"asterisk", "*"},
		{"query alone", "?x"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if v := s.Decide(ask("GET", "gateway.example", tt.target)); v.Code != causeway.CodeBadRequest {
				t.Errorf("%q: got %v %q (rule %d), want 400", tt.target, v.Code, v.Reason, v.RuleIndex)
			}
		})
	}
}

func TestDecideRefuses(t *testing.T) {
	s := testSet(t)
	mp := "/CCM_Proxy_MutualAuth/" + testID
	tokens := "/CCM_Proxy_ServerAuth/" + testID
	const us = "gateway.example"
	for _, tt := range []struct {
		name string
		ask  Ask
		want causeway.Code
	}{
		{"foreign host", Ask{Authority: []byte("other.example"), Target: []byte("/updates/x")}, causeway.CodeMisdirected},
		{"our host with a trailing dot", Ask{Authority: []byte(us + "."), Target: []byte("/updates/x")}, causeway.CodeMisdirected},
		{"our host as a suffix", Ask{Authority: []byte("x." + us), Target: []byte("/updates/x")}, causeway.CodeMisdirected},
		{"our host on another port", Ask{Authority: []byte(us + ":80"), Target: []byte("/updates/x")}, causeway.CodeMisdirected},
		{"our host on a port with a zero in front", Ask{Authority: []byte(us + ":0443"), Target: []byte("/updates/x")}, causeway.CodeMisdirected},
		{"our host on a port that overflows", Ask{Authority: []byte(us + ":18446744073709551617443"), Target: []byte("/updates/x")}, causeway.CodeMisdirected},
		{"our host with an empty port", Ask{Authority: []byte(us + ":"), Target: []byte("/updates/x")}, causeway.CodeMisdirected},
		{"our host with user information", Ask{Authority: []byte("a@" + us), Target: []byte("/updates/x")}, causeway.CodeMisdirected},
		{"metadata address", Ask{Authority: []byte("169.254.169.254"), Target: []byte("/updates/x")}, causeway.CodeMisdirected},
		{"no host", Ask{Target: []byte("/updates/x")}, causeway.CodeMisdirected},
		{"endless host", Ask{Authority: []byte(strings.Repeat("a", 9000)), Target: []byte("/updates/x")}, causeway.CodeMisdirected},
		{"unknown name", Ask{Target: []byte("/nothing/x")}, causeway.CodeURLNotPublished},
		{"root", Ask{Target: []byte("/")}, causeway.CodeURLNotPublished},
		{"name in other case", Ask{Target: []byte("/Updates/x")}, causeway.CodeURLNotPublished},
		{"name as a prefix", Ask{Target: []byte("/updatesx/y")}, causeway.CodeURLNotPublished},
		{"endless name", Ask{Target: []byte("/" + strings.Repeat("a", 8000))}, causeway.CodeURLNotPublished},
		{"server with a host of its own, by name", Ask{Target: []byte("/dav/x")}, causeway.CodeURLNotPublished},
		{"management point by name", Ask{Target: []byte("/mp1/SMS_MP/x")}, causeway.CodeURLNotPublished},
		{"no rule covers it", Ask{Target: []byte("/narrow/only")}, causeway.CodeURLNotPublished},
		{"rule path with more letters", Ask{Target: []byte("/narrow/only/thisandmore")}, causeway.CodeURLNotPublished},
		{"rule path in other case", Ask{Target: []byte("/narrow/Only/this")}, causeway.CodeURLNotPublished},
		{"content service", Ask{Target: []byte("/downloadrestservice.svc/x")}, causeway.CodeURLNotPublished},
		{"unknown management point", Ask{Target: []byte("/CCM_Proxy_MutualAuth/72057594037927938/SMS_MP")}, causeway.CodeURLNotPublished},
		{"management point without its base", Ask{Target: []byte("/CCM_Proxy_MutualAuth/1/SMS_MP")}, causeway.CodeURLNotPublished},
		{"management point with a zero in front", Ask{Target: []byte("/CCM_Proxy_MutualAuth/0" + testID + "/SMS_MP")}, causeway.CodeURLNotPublished},
		{"management point that overflows", Ask{Target: []byte("/CCM_Proxy_MutualAuth/18518801667747479553/SMS_MP")}, causeway.CodeURLNotPublished},
		{"endpoint that is not published", Ask{Target: []byte(mp + "/AdminService")}, causeway.CodeURLNotPublished},
		{"ConfigMgr prefix alone", Ask{Target: []byte("/CCM_Proxy_MutualAuth")}, causeway.CodeURLNotPublished},
		{"ServiceMetadata goes no deeper", Ask{Target: []byte("/CCM_Proxy_MutualAuth/ServiceMetadata/x")}, causeway.CodeURLNotPublished},
		{"method", Ask{Method: []byte("DELETE"), Target: []byte(mp + "/SMS_MP/x")}, causeway.CodeMethodNotAllowed},
		{"method in other case", Ask{Method: []byte("get"), Target: []byte("/updates/x")}, causeway.CodeMethodNotAllowed},
		{"method of the shorter rule", Ask{Method: []byte("HEAD"), Target: []byte("/npm/@scope/x")}, causeway.CodeMethodNotAllowed},
		{"CONNECT", Ask{Method: []byte("CONNECT"), Target: []byte("/updates/x")}, causeway.CodeMethodNotAllowed},
		{"TRACE", Ask{Method: []byte("TRACE"), Target: []byte("/updates/x")}, causeway.CodeMethodNotAllowed},
		{"body", Ask{Method: []byte("POST"), Target: []byte("/npm/ws"), BodyBytes: 11}, causeway.CodeBodyTooLarge},
		{"upgrade where none is allowed", Ask{Target: []byte("/updates/x"), Upgrade: true, WebSocket: true}, causeway.CodeUpgradeRefused},
		{"upgrade to h2c", Ask{Target: []byte("/npm/ws"), Upgrade: true}, causeway.CodeUpgradeRefused},
		{"upgrade by POST", Ask{Method: []byte("POST"), Target: []byte("/npm/ws"), Upgrade: true, WebSocket: true}, causeway.CodeUpgradeRefused},
		{"upgrade with a body", Ask{Target: []byte("/npm/ws"), Upgrade: true, WebSocket: true, BodyBytes: -1}, causeway.CodeUpgradeRefused},
		{"certificate where a token is needed", Ask{Target: []byte(tokens + "/SMS_MP/x")}, causeway.CodeInvalidToken},
		{"ServiceMetadata for tokens with a certificate", Ask{Target: []byte("/CCM_Proxy_ServerAuth/ServiceMetadata")}, causeway.CodeInvalidToken},
		{"ServiceMetadata by POST", Ask{Method: []byte("POST"), Target: []byte("/CCM_Proxy_MutualAuth/ServiceMetadata")}, causeway.CodeMethodNotAllowed},
		{"ServiceMetadata with a body", Ask{Target: []byte("/CCM_Proxy_MutualAuth/ServiceMetadata"), BodyBytes: -1}, causeway.CodeBodyTooLarge},
		{"ServiceMetadata with an upgrade", Ask{Target: []byte("/CCM_Proxy_MutualAuth/ServiceMetadata"), Upgrade: true}, causeway.CodeUpgradeRefused},
		{"AADAuthInfo below the certificate prefix", Ask{Target: []byte("/CCM_Proxy_MutualAuth/AADAuthInfo")}, causeway.CodeURLNotPublished},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := tt.ask
			if a.Method == nil {
				a.Method = []byte("GET")
			}
			if a.Authority == nil && tt.name != "no host" {
				a.Authority = []byte(us)
			}
			a.Proof = ProofCertificate
			if v := s.Decide(&a); v.Code != tt.want {
				t.Errorf("%s %s %s: got %v %q, want %v", a.Method, a.Authority, a.Target, v.Code, v.Reason, tt.want)
			}
		})
	}
}

func TestDecideAsksForProofBeforeItTellsWhatIsPublished(t *testing.T) {
	s := testSet(t)
	for _, tt := range []struct {
		name, host, target string
		proof              Proof
		want               causeway.Code
	}{
		{"published", "gateway.example", "/updates/x", ProofNone, causeway.CodeClientCertificateRequired},
		{"not published", "gateway.example", "/nothing/x", ProofNone, causeway.CodeClientCertificateRequired},
		{"published host", "dav.example", "/x", ProofNone, causeway.CodeClientCertificateRequired},
		{"management point", "gateway.example", "/CCM_Proxy_MutualAuth/" + testID + "/SMS_MP", ProofNone, causeway.CodeClientCertificateRequired},
		{"unknown management point", "gateway.example", "/CCM_Proxy_MutualAuth/5/SMS_MP", ProofNone, causeway.CodeClientCertificateRequired},
		{"management point, token in place of a certificate", "gateway.example", "/CCM_Proxy_MutualAuth/" + testID + "/SMS_MP", ProofToken, causeway.CodeClientCertificateRequired},
		{"token prefix", "gateway.example", "/CCM_Proxy_ServerAuth/" + testID + "/SMS_MP", ProofNone, causeway.CodeInvalidToken},
		{"token prefix, unknown", "gateway.example", "/ccm_proxy_serverauth/5/SMS_MP", ProofNone, causeway.CodeInvalidToken},
		{"token prefix with a token", "gateway.example", "/CCM_Proxy_ServerAuth/" + testID + "/SMS_MP", ProofToken, causeway.CodeNone},
		{"short name with a token", "gateway.example", "/updates/x", ProofToken, causeway.CodeNone},
		{"ServiceMetadata for all", "gateway.example", "/CCM_Proxy_MutualAuth/ServiceMetadata", ProofNone, causeway.CodeNone},
		{"ServiceMetadata in other case", "gateway.example", "/ccm_proxy_mutualauth/servicemetadata/", ProofNone, causeway.CodeNone},
		{"ServiceMetadata for tokens", "gateway.example", "/CCM_Proxy_ServerAuth/ServiceMetadata", ProofNone, causeway.CodeInvalidToken},
		{"ServiceMetadata with a token", "gateway.example", "/CCM_Proxy_ServerAuth/ServiceMetadata", ProofToken, causeway.CodeNone},
		{"AADAuthInfo for all", "gateway.example", "/CCM_Proxy_ServerAuth/AADAuthInfo?TenantID=x", ProofNone, causeway.CodeNone},
		{"bad path first", "gateway.example", "/updates/../x", ProofNone, causeway.CodeBadRequest},
		{"foreign host first", "other.example", "/updates/x", ProofNone, causeway.CodeMisdirected},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := ask("GET", tt.host, tt.target)
			a.Proof = tt.proof
			if v := s.Decide(a); v.Code != tt.want {
				t.Errorf("%s with %v: got %v %q, want %v", tt.target, tt.proof, v.Code, v.Reason, tt.want)
			}
		})
	}
}

func TestDecideNamesWhatTheGatewayAnswers(t *testing.T) {
	s := testSet(t)
	for target, want := range map[string]Local{
		"/CCM_Proxy_MutualAuth/ServiceMetadata":   LocalServiceMetadata,
		"/CCM_Proxy_MutualAuth/ServiceMetadata?x": LocalServiceMetadata,
		"/CCM_Proxy_ServerAuth/AADAuthInfo?T=1":   LocalAADAuthInfo,
		"/updates/CCM_Proxy_MutualAuth":           LocalNone,
	} {
		v := s.Decide(ask("GET", "gateway.example", target))
		if !v.Allowed() || v.Local != want || want != LocalNone && (v.Publication != nil || v.Index != -1) {
			t.Errorf("%s: got local %d, code %v, publication %v; want local %d", target, v.Local, v.Code, v.Publication, want)
		}
	}
}

func TestDecideAllowsUpgradeOnlyAsAsked(t *testing.T) {
	a := ask("GET", "gateway.example", "/npm/ws/chat")
	a.Upgrade, a.WebSocket = true, true
	if v := testSet(t).Decide(a); !v.Allowed() || !v.Rule.WebSocket {
		t.Errorf("got %v %q, want it allowed", v.Code, v.Reason)
	}
}

func TestDecideTakesAddressesAsServiceName(t *testing.T) {
	for _, tt := range []struct{ service, authority string }{
		{"127.0.0.1", "127.0.0.1:8443"},
		{"::1", "[::1]:8443"},
		{"[::1]", "[::1]"},
		{"2001:DB8::1", "[2001:db8::1]"},
	} {
		s, err := Compile(tt.service, 8443, []Publication{{Name: "updates"}})
		if err != nil {
			t.Fatal(err)
		}
		if v := s.Decide(ask("GET", tt.authority, "/updates/")); !v.Allowed() {
			t.Errorf("service %s, host %s: got %v", tt.service, tt.authority, v.Code)
		}
	}
}

func TestDecideAllocatesNothing(t *testing.T) {
	s := testSet(t)
	for _, a := range []*Ask{
		ask("GET", "gateway.example", "/updates/./pool/main/l/lib%2bx/lib_1.0%7e1.deb?x=y"),
		ask("GET", "gateway.example:8443", "/updates/@scope%2fname"),
		ask("CCM_POST", "GATEWAY.example", "/CCM_Proxy_MutualAuth/"+testID+"/ccm_system/request"),
		ask("GET", "dav.example", "/gr%C3%BC%c3%9fe"),
		ask("GET", "gateway.example", "/CCM_Proxy_MutualAuth/ServiceMetadata"),
		ask("GET", "other.example", "/updates/x"),
		ask("GET", "gateway.example", "/updates/../x"),
	} {
		if n := testing.AllocsPerRun(100, func() { s.Decide(a) }); n != 0 {
			t.Errorf("%s: %v allocations", a.Target, n)
		}
	}
}

func TestExplainSaysWhatDecideDecides(t *testing.T) {
	s := testSet(t)
	for _, tt := range []struct {
		ask  *Ask
		want []string
	}{
		{ask("GET", "gateway.example", "/npm/@scope/x?q"), []string{
			`ok host is the service name "gateway.example"`,
			`ok path "/npm/@scope/x" has one meaning`,
			`ok path leads to server "npm"`,
			`ok device has a certificate`,
			`no rule 2 "/private/keys" does not cover the path`,
			`no rule 4 "/java/admin" does not cover the path`,
			`ok rule 1 "/@scope" covers the path`,
			`ok allowed: server "npm", rule 1, target "/@scope/x?q"`,
		}},
		{ask("POST", "gateway.example", "/npm/@scope/x"), []string{
			`ok host is the service name "gateway.example"`,
			`ok path "/npm/@scope/x" has one meaning`,
			`ok path leads to server "npm"`,
			`ok device has a certificate`,
			`no rule 2 "/private/keys" does not cover the path`,
			`no rule 4 "/java/admin" does not cover the path`,
			`ok rule 1 "/@scope" covers the path`,
			`no refused with 405 CMGService_MethodNotAllowed: rule does not allow the method`,
		}},
		{ask("GET", "gateway.example", "/updates/%2e%2e/x"), []string{
			`no refused with 400 CMGService_BadRequest: path has an encoded backslash, dot or percent sign`,
		}},
		{ask("GET", "gateway.example", "/CCM_Proxy_MutualAuth/ServiceMetadata"), []string{
			`ok host is the service name "gateway.example"`,
			`ok path "/CCM_Proxy_MutualAuth/ServiceMetadata" has one meaning`,
			`ok path is ServiceMetadata, which the gateway answers`,
			`ok nobody needs a proof there`,
			`ok allowed: the gateway answers`,
		}},
	} {
		var got []string
		for _, step := range s.Explain(tt.ask) {
			got = append(got, map[bool]string{true: "ok ", false: "no "}[step.OK]+step.Text)
		}
		if a, b := strings.Join(got, "\n"), strings.Join(tt.want, "\n"); a != b {
			t.Errorf("%s: got\n%s\nwant\n%s", tt.ask.Target, a, b)
		}
	}
}
