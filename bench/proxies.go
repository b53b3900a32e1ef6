//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// bulkBytes is the size of a download or an upload.
const bulkBytes = 64 << 20

// refusal is what a device without a certificate reads where one is asked for; about as long as Causeway's own.
const refusal = `{"title":"Forbidden","status":403,"code":"ClientCertificateRequired","request_id":"00000000000000000000000000000000"}`

// startBackends starts nginx as the server behind every target, and a sink that reads uploads to their end.
//
// Causeway takes the published name off the path and the other targets do not, so both spellings exist.
func (l *lab) startBackends(ctx context.Context) error {
	files := filepath.Join(l.dir, "files")
	if err := os.MkdirAll(files, 0o755); err != nil {
		return err
	}
	if err := os.Symlink(".", filepath.Join(files, "files")); err != nil {
		return err
	}
	if err := fill(filepath.Join(files, "1k"), 1<<10); err != nil {
		return err
	}
	if err := fill(filepath.Join(files, "64m"), bulkBytes); err != nil {
		return err
	}
	answer := strings.Repeat("x", 2<<10)
	config, err := l.nginxConfig("backend", fmt.Sprintf(`
	server {
		listen %s backlog=4096;
		root %s;
		location = /post { return 200 "%s"; }
		location = /files/post { return 200 "%s"; }
	}`, backendAddress, files, answer, answer))
	if err != nil {
		return err
	}
	nginx, err := l.runAt(ctx, "backend", []string{backendAddress}, lookTool("nginx"), "-e", "stderr", "-c", config)
	if err != nil {
		return err
	}
	l.version(lookTool("nginx"), "-v")
	self, err := os.Executable()
	if err != nil {
		return err
	}
	sink, err := l.runAt(ctx, "sink", []string{sinkAddress}, self, "sink", sinkAddress)
	if err != nil {
		return err
	}
	l.backend = func() []int { return append(tree(nginx)(), sink.Process.Pid) }
	return nil
}

func backendTarget(context.Context, *lab) (*target, error) {
	none := func() []int { return nil }
	return &target{address: backendAddress, plain: true, gateway: none, connector: none}, nil
}

// nginxConfig wraps servers into a configuration that keeps everything inside the work folder.
func (l *lab) nginxConfig(name, servers string) (string, error) {
	dir := filepath.Join(l.dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	user := ""
	if os.Getuid() == 0 {
		user = "user root;"
	}
	return l.write(name+".conf", fmt.Sprintf(`
daemon off; %s worker_processes %d; worker_rlimit_nofile 65536;
pid %[3]s/nginx.pid; error_log stderr error;
events { worker_connections 16384; }
http {
	access_log off; sendfile on; tcp_nopush on; keepalive_timeout 300; keepalive_requests 100000000;
	client_max_body_size 0; client_body_temp_path %[3]s/body; proxy_temp_path %[3]s/proxy;
	fastcgi_temp_path %[3]s/fastcgi; uwsgi_temp_path %[3]s/uwsgi; scgi_temp_path %[3]s/scgi;
	%[4]s
}
`, user, runtime.NumCPU(), dir, servers))
}

func nginxTarget(ctx context.Context, l *lab) (*target, error) {
	const address, mutual, refusing = "127.77.0.11:8443", "127.77.0.11:8444", "127.77.0.11:8445"
	server := func(address, extra string) string {
		return fmt.Sprintf(`
	server {
		listen %s ssl http2 backlog=4096;
		ssl_certificate %s; ssl_certificate_key %s; ssl_protocols TLSv1.3; ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;
		ssl_session_cache shared:tls:10m; %s
		location / { proxy_pass http://files; %s }
		location /sink/ { proxy_pass http://sink; proxy_request_buffering off; %[5]s }
	}`, address, l.keys.certFile, l.keys.keyFile, extra,
			`proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host; proxy_buffers 16 32k; proxy_max_temp_file_size 0;`)
	}
	config, err := l.nginxConfig("nginx", fmt.Sprintf(`
	upstream files { server %s; keepalive 512; keepalive_requests 100000000; }
	upstream sink { server %s; keepalive 64; }
	%s %s %s`, backendAddress, sinkAddress, server(address, ""),
		server(mutual, "ssl_verify_client on; ssl_client_certificate "+l.keys.deviceCAFile+";"),
		server(refusing, "ssl_verify_client optional; ssl_client_certificate "+l.keys.deviceCAFile+`;
		if ($ssl_client_verify != SUCCESS) { return 403 '`+refusal+`'; }`)))
	if err != nil {
		return nil, err
	}
	cmd, err := l.runAt(ctx, "nginx", []string{address, mutual, refusing}, lookTool("nginx"), "-e", "stderr", "-c", config)
	if err != nil {
		return nil, err
	}
	return &target{
		address: address, mutual: mutual, refusing: refusing, h2: true, gateway: tree(cmd), connector: func() []int { return nil },
	}, nil
}

func haproxyTarget(ctx context.Context, l *lab) (*target, error) {
	program := lookTool("haproxy")
	if program == "" {
		return nil, nil
	}
	const address, mutual, refusing = "127.77.0.10:8443", "127.77.0.10:8444", "127.77.0.10:8445"
	cmd, err := l.haproxy(ctx, "haproxy", address, mutual, refusing, "server s "+backendAddress, "server s "+sinkAddress)
	if err != nil {
		return nil, err
	}
	l.version(program, "-v")
	return &target{
		address: address, mutual: mutual, refusing: refusing, h2: true, gateway: tree(cmd), connector: func() []int { return nil },
	}, nil
}

func goDirectTarget(ctx context.Context, l *lab) (*target, error) {
	const address, mutual, refusing = "127.77.0.12:8443", "127.77.0.12:8444", "127.77.0.12:8445"
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	metrics := filepath.Join(l.dir, "go-direct.sock")
	cmd, err := l.runAt(ctx, "go-direct", []string{address, mutual, refusing}, self, "go-direct",
		"-listen", address, "-mutual", mutual, "-refusing", refusing, "-metrics", metrics,
		"-cert", l.keys.certFile, "-key", l.keys.keyFile, "-device-ca", l.keys.deviceCAFile)
	if err != nil {
		return nil, err
	}
	l.addVersion("go-direct: " + runtime.Version())
	return &target{
		address: address, mutual: mutual, refusing: refusing, h2: true,
		gateway: tree(cmd), connector: func() []int { return nil },
		gatewayMetrics: func() []string { return []string{metrics} },
	}, nil
}
