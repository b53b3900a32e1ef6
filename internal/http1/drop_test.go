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
		{"Accept Accept-Encoding User-Agent Destination Depth Lock-Token Sec-WebSocket-Key X-Custom X-Client-Data X-Clientele Origin Hosts Hos Proxyx", false, false, false},
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

func TestNamedInConnection(t *testing.T) {
	values := []string{"close, X-A", " x-b\t,"}
	for name, want := range map[string]bool{"X-A": true, "x-B": true, "X": false, "X-A, X-B": false} {
		if got := NamedInConnection(values, name); got != want {
			t.Errorf("%q: got %v, want %v", name, got, want)
		}
	}
}
