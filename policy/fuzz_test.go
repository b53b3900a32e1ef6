package policy

import (
	"net/url"
	"path"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/causeway-gateway/causeway"
)

// FuzzAcceptedPathsStayBelowTheirPrefix plays servers of several habits with every accepted target: none of them may
// come to another publication or another rule than we did.
func FuzzAcceptedPathsStayBelowTheirPrefix(f *testing.F) {
	for _, seed := range []string{
		"/updates/a", "/updates/./InRelease", "/updates/@scope%2fname", "/npm/java/x;v=1", "/npm/private/keys", "/updates?x",
		"/narrow/only/this", "/npm/@scope%2f..%2f", "/updates/..;/x", "/updates/%2e%2e", "/updates/%252e", "/updates//x", "/npm/%2fjava",
		"/CCM_Proxy_MutualAuth/" + testID + "/SMS_MP/.sms_aut?x", "/CCM_Proxy_MutualAuth/./ServiceMetadata", "/updates/..%20/",
		"/npm/java/%3b/admin", "/npm/java;/admin", "/./npm/./java/./x;/y", "/npm/java/%e2%80%ae", "/updates/a%5c..%5cb",
	} {
		f.Add(seed)
	}
	s := testSet(f)
	f.Fuzz(func(t *testing.T, target string) {
		for _, method := range []string{"GET", "DELETE", "CCM_POST"} {
			a := ask(method, "gateway.example", target)
			v := s.Decide(a)
			steps := s.Explain(a)
			if last := steps[len(steps)-1]; last.OK != v.Allowed() {
				t.Fatalf("%q: Explain ends with %q, Decide with %v", target, last.Text, v.Code)
			}
			if v.Allowed() && v.Local == LocalNone {
				checkAccepted(t, s, a, &v)
			}
		}
	})
}

func checkAccepted(t *testing.T, s *Set, a *Ask, v *Verdict) {
	target := string(a.Target)
	if joined := string(v.Prefix) + string(v.Rest); joined != target && joined != string(v.Prefix)+"/"+target[len(v.Prefix):] {
		t.Fatalf("%q: prefix %q and rest %q are not the target", target, v.Prefix, v.Rest)
	}
	raw, _, _ := strings.Cut(target, "?")
	once, err := url.PathUnescape(raw)
	if err != nil || !utf8.ValidString(once) {
		t.Fatalf("%q: cannot be decoded: %v", target, err)
	}
	if twice, err := url.PathUnescape(once); err != nil || twice != once {
		t.Fatalf("%q: decoding twice makes %q of %q", target, twice, once)
	}
	if u, err := url.ParseRequestURI(target); err != nil || u.Path != once {
		t.Fatalf("%q: net/url reads %v (%v), we %q", target, u, err, once)
	}
	if strings.ContainsAny(once, "\\\x00\r\n") || strings.Contains(once, "//") {
		t.Fatalf("%q: decoded %q", target, once)
	}
	withoutParams := strings.Split(once, "/")
	for i, segment := range withoutParams {
		withoutParams[i], _, _ = strings.Cut(segment, ";")
	}
	for habit, read := range map[string]string{
		"decoding":                          once,
		"cleaning":                          path.Clean(once),
		"cutting parameters, then cleaning": path.Clean(strings.Join(withoutParams, "/")),
		"cleaning without decoding":         path.Clean(raw),
	} {
		again := s.Decide(&Ask{Method: a.Method, Authority: a.Authority, Target: []byte(escape(read)), Proof: a.Proof})
		if again.Code == causeway.CodeBadRequest && habit == "decoding" {
			continue // the decoded form has a dot segment or a semicolon somewhere, which is judged below
		}
		if again.Index != v.Index || again.RuleIndex != v.RuleIndex {
			t.Fatalf("%q: %s makes %q: publication %d rule %d (%v %s), we decided %d and %d", target, habit, read,
				again.Index, again.RuleIndex, again.Code, again.Reason, v.Index, v.RuleIndex)
		}
	}
}

// escape writes a decoded path so that it means just that.
func escape(decoded string) string {
	if strings.Contains(decoded, "%") { // an undecoded one
		return decoded
	}
	u := url.URL{Path: decoded}
	return strings.ReplaceAll(u.EscapedPath(), "%25", "%")
}

// FuzzDecideKeepsItsShape: whatever comes as host and target, the verdict is either a refusal with a reason or whole.
func FuzzDecideKeepsItsShape(f *testing.F) {
	f.Add("GET", "gateway.example:443", "/updates/x", int64(0), uint8(1))
	f.Add("GET", "[::1]:", "/CCM_Proxy_ServerAuth/x", int64(-1), uint8(0))
	f.Add("TRACE", ":", "//", int64(1<<62), uint8(9))
	s := testSet(f)
	f.Fuzz(func(t *testing.T, method, host, target string, body int64, proof uint8) {
		v := s.Decide(&Ask{Method: []byte(method), Authority: []byte(host), Target: []byte(target), BodyBytes: body, Proof: Proof(proof)})
		if v.Allowed() != (v.Reason == "") || v.Allowed() != (v.Refusal() == nil) {
			t.Fatalf("code %v with reason %q", v.Code, v.Reason)
		}
		if !v.Allowed() || v.Local != LocalNone {
			return
		}
		if v.Publication == nil || v.Rule == nil || len(v.Rest) == 0 || v.Rest[0] != '/' || proof == 0 || body > v.Rule.MaxBodyBytes {
			t.Fatalf("allowed: %+v", v)
		}
	})
}
