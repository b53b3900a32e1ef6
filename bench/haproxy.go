//go:build linux

package main

import (
	"context"
	"fmt"
	"os/exec"
	"runtime"
)

// haproxy starts a TLS proxy with two ways inward: everything to files, /sink to sink. It is a target of its own and
// the TLS front of the tunnels that have none. At mutual it asks for a client certificate and ends handshakes without
// one; at refusing it asks, too, and answers 403 to who has none.
func (l *lab) haproxy(ctx context.Context, name, address, mutual, refusing, files, sink string) (*exec.Cmd, error) {
	config, err := l.write(name+".cfg", fmt.Sprintf(`
global
	maxconn 8000
	nbthread %d
	ssl-default-bind-options ssl-min-ver TLSv1.3
	ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256
	tune.ssl.cachesize 20000
defaults
	mode http
	timeout connect 10s
	timeout client 300s
	timeout server 300s
	timeout http-keep-alive 300s
	http-reuse always
	option http-keep-alive
frontend plain
	bind %s ssl crt %s alpn h2,http/1.1
	bind %s ssl crt %[3]s alpn h2,http/1.1 verify required ca-file %[5]s
	use_backend sink if { path_beg /sink/ }
	default_backend files
frontend refusing
	bind %[8]s ssl crt %[3]s alpn h2,http/1.1 verify optional ca-file %[5]s
	http-request return status 403 content-type application/json string '%[9]s' if !{ ssl_c_used }
	default_backend files
backend files
	%[6]s
backend sink
	%[7]s
`, runtime.NumCPU(), address, l.keys.bothFile, mutual, l.keys.deviceCAFile, files, sink, refusing, refusal))
	if err != nil {
		return nil, err
	}
	return l.runAt(ctx, name, []string{address, mutual, refusing}, lookTool("haproxy"), "-db", "-f", config)
}
