//go:build linux

package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// servers are the programs that a run starts as processes of its own, as in `bench sink`.
var servers = map[string]func(args []string) error{
	"sink": sinkServer, "go-direct": goDirectServer, "bare-gateway": bareGatewayServer, "bare-connector": bareConnectorServer,
}

// sinkServer reads every request body to its end and answers with its length.
func sinkServer(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: bench sink ADDRESS")
	}
	buffers := sync.Pool{New: func() any { b := make([]byte, 64<<10); return &b }}
	return http.ListenAndServe(args[0], http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b := buffers.Get().(*[]byte)
		defer buffers.Put(b)
		n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, r.Body, *b)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		fmt.Fprintf(w, "%d\n", n)
	}))
}

// goDirectServer is the reverse proxy that one would write in Go on a free afternoon, tuned as far as its options go.
func goDirectServer(args []string) error {
	flags := flag.NewFlagSet("go-direct", flag.ContinueOnError)
	listen, mutual, refusing := flags.String("listen", "", ""), flags.String("mutual", "", ""), flags.String("refusing", "", "")
	metrics := flags.String("metrics", "", "")
	cert, key, deviceCA := flags.String("cert", "", ""), flags.String("key", "", ""), flags.String("device-ca", "", "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(*cert, *key)
	if err != nil {
		return err
	}
	roots, err := os.ReadFile(*deviceCA)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(roots)
	var carried atomic.Uint64
	proxy := counted(newGoDirect(), &carried)
	failed := make(chan error, 4)
	go func() { failed <- serveMetrics(*metrics, &carried) }()
	for _, s := range []struct {
		address string
		handler http.Handler
		auth    tls.ClientAuthType
	}{
		{*listen, proxy, tls.NoClientCert}, {*mutual, proxy, tls.RequireAndVerifyClientCert}, {*refusing, certificatesOnly(proxy), tls.VerifyClientCertIfGiven},
	} {
		server := &http.Server{
			Addr: s.address, Handler: s.handler, IdleTimeout: 5 * time.Minute,
			TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13, ClientAuth: s.auth, ClientCAs: pool},
			ErrorLog:  log.New(io.Discard, "", 0), // connections that end early are part of the workloads
		}
		go func() { failed <- server.ListenAndServeTLS("", "") }()
	}
	return <-failed
}

// counted counts what h answered, to share out allocations.
func counted(h http.Handler, carried *atomic.Uint64) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r)
		carried.Add(1)
	})
}

// certificatesOnly refuses devices without a certificate, as Causeway does.
func certificatesOnly(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.TLS.PeerCertificates) == 0 {
			http.Error(w, refusal, http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r)
	})
}

func newGoDirect() http.Handler {
	files, sink := &url.URL{Scheme: "http", Host: backendAddress}, &url.URL{Scheme: "http", Host: sinkAddress}
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			if strings.HasPrefix(r.In.URL.Path, "/sink/") {
				r.SetURL(sink)
			} else {
				r.SetURL(files)
			}
		},
		Transport: &http.Transport{
			MaxIdleConns: 1024, MaxIdleConnsPerHost: 1024, IdleConnTimeout: 5 * time.Minute,
			DisableCompression: true, WriteBufferSize: 32 << 10, ReadBufferSize: 32 << 10,
		},
		BufferPool: newBuffers(),
		ErrorLog:   log.New(io.Discard, "", 0),
	}
}

// buffers is the BufferPool of the reverse proxy.
type buffers struct{ pool sync.Pool }

func newBuffers() *buffers {
	return &buffers{sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}}
}

func (b *buffers) Get() []byte  { return *b.pool.Get().(*[]byte) }
func (b *buffers) Put(p []byte) { b.pool.Put(&p) }

// serveMetrics shows this process's allocations as Causeway's metrics do, and how many requests they were for.
func serveMetrics(socket string, carried *atomic.Uint64) error {
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) { // of the same program before it was started anew
		return err
	}
	ln, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	return http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		fmt.Fprintf(w, "go_memstats_mallocs_total %d\nbench_requests_total %d\n", m.Mallocs, carried.Load())
	}))
}
