package http1

import (
	"strings"
	"testing"
)

func TestDroppedNames(t *testing.T) {
	for _, tt := range []struct {
		names                    string
		inward, outward, trailer bool
	}{
		{"Connection Keep-Alive Proxy-Connection TE Trailer Transfer-Encoding Upgrade Content-Length Host Expect HTTP2-Settings", true, true, true},
		{"Proxy Proxy-Authorization Proxy-Authenticate Proxy-Status", true, true, true},
		{"Client-Cert Client-Cert-Chain X-Client-Verify X-Client-Verified X-Client-DN X-Client-Cert X-Client-S-DN", true, false, true},
		{"X-SSL-Client-Cert X-SSL-Client-DN X-SSL-Client-Verify X-SSL-Anything SSL-Client-Cert SSL-Client-S-DN SSL-Client-S-DN-CN-And-A-Name-Beyond-Forty-Bytes", true, false, true},
		{"X-Forwarded-Client-Cert X-Forwarded-Tls-Client-Cert X-Forwarded-User X-ARR-ClientCert X-ARR-SSL X-Amzn-Mtls-Clientcert Remote-User X-Remote-User", true, false, true},
		{"Forwarded X-Forwarded X-Forwarded-For X-Forwarded-Host X-Forwarded-Proto X-Forwarded-Port X-Real-IP Via X-Original-URL X-Original-Host X-Rewrite-URL", true, false, true},
		{"X-Causeway-Device-Id X-Causeway-Anything", true, true, true},
		{"X-Request-Id traceparent tracestate", true, false, true},
		{"Alt-Svc", false, true, true},
		{"Authorization Cookie Set-Cookie Content-Type Content-Encoding Content-Range Cache-Control Range If-Match If-Range Location Date", false, false, true},
		{"CCMClientID CCMClientIDSignature CCMClientTimestamp CCMClientTimestampsSignature", false, false, true},
		{"Accept Accept-Encoding User-Agent Destination Depth Lock-Token Sec-WebSocket-Key X-Custom X-Client-Data X-Clientele Origin Hosts Hos Proxyx X X- SMS-Data Oid X-MS-Version X-Auth-Token X-Auth-User X-Clients Remotely X-Consumers CF-Ray X-Amz-Date X-HTTP-Methods", false, false, false},
		{"Content-Digest Server-Timing X-Checksum", false, false, false},
	} {
		for name := range strings.FieldsSeq(tt.names) {
			for _, spelling := range []string{name, strings.ToLower(name), strings.ToUpper(name), strings.ReplaceAll(name, "-", "_"), strings.Replace(name, "-", "_", 1),
				strings.ReplaceAll(name, "-", ".")} {
				if in, out, tr := DroppedInward(spelling), DroppedOutward([]byte(spelling)), DroppedTrailer(spelling); in != tt.inward || out != tt.outward || tr != tt.trailer {
					t.Errorf("%s: got inward %v outward %v trailer %v, want %v %v %v", spelling, in, out, tr, tt.inward, tt.outward, tt.trailer)
				}
			}
		}
	}
}

// A device that could name its own user, address or method to a server would ask in the name of others, or for what
// no rule allows.
func TestForgedIdentityAndOverriddenMethodNeverTravelInward(t *testing.T) {
	for name := range strings.FieldsSeq(`
		X-HTTP-Method-Override X-HTTP-Method X-Method-Override X-Method
		X-WEBAUTH-USER X-WEBAUTH-EMAIL Remote-User Remote-Groups Remote-Addr X-Remote-User X-Remote-Group X-Remote-Extra-Scopes
		X-Forwarded-User X-Forwarded-Email X-Forwarded-Groups X-Forwarded-Preferred-Username X-Forwarded-Access-Token X-Auth-Request-User
		X-Authenticated-User X-Authenticated-Userid X-Consumer-Username
		SM_USER SM_UNIVERSALID SM_USERDN OIDC_CLAIM_sub OIDC_access_token
		OIDC_CLAIM_of_a_name_that_is_longer_than_what_is_looked_up_as_a_whole
		X-MS-CLIENT-PRINCIPAL X-MS-CLIENT-PRINCIPAL-ID X-MS-CLIENT-PRINCIPAL-NAME X-MS-TOKEN-AAD-ID-TOKEN
		X-ARR-ClientCert X-ClientCert X-Client-Cert X-Client-Certificate X-Client-Ssl-Cert X-Certificate
		WL-Proxy-Client-IP WL-Proxy-Client-Cert WL-Proxy-SSL X-Amzn-Oidc-Identity Cf-Access-Authenticated-User-Email
		X-Goog-Authenticated-User-Email X-Goog-IAP-JWT-Assertion
		X-Forward-For Forwarded-For Front-End-Https X-Scheme X-Url-Scheme X-Original-URL X-Rewrite-URL X-Host X-HTTP-Host-Override
		True-Client-IP CF-Connecting-IP CF-Connecting-IPv6 X-Cluster-Client-IP X-Client-IP Client-IP Fastly-Client-IP X-Azure-ClientIP
		X-Envoy-External-Address X-Envoy-Original-Path`) {
		for _, spelling := range []string{name, strings.ToLower(name), strings.ToUpper(name), strings.ReplaceAll(name, "-", "_"), strings.ReplaceAll(name, "_", "-"),
			strings.ReplaceAll(name, "-", "~")} {
			if !DroppedInward(spelling) || !DroppedTrailer(spelling) {
				t.Errorf("%s travels inward", spelling)
			}
		}
	}
}
