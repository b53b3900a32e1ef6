//go:build linux

package e2e

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// A middleBox is a proxy that looks into what it carries: it ends the TLS of whoever comes through, with certificates of
// its own CA, and makes new TLS to where they wanted.
type middleBox struct {
	ca       *x509.Certificate
	key      *ecdsa.PrivateKey
	caFile   string
	impostor atomic.Bool // it answers in the gateway's place

	ended    atomic.Int32 // TLS of others whose client took the box's certificate
	believed atomic.Int32 // channels whose connection point took it

	mu   sync.Mutex // guards the field below
	seen bytes.Buffer
}

// newMiddleBox starts one that takes CONNECT in clear at plain and within TLS at secure.
func newMiddleBox(t *testing.T, plain, secure string) *middleBox {
	t.Helper()
	b := &middleBox{caFile: filepath.Join(t.TempDir(), "box-ca.pem")}
	var err error
	if b.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "middle box CA"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, b.key.Public(), b.key)
	if err != nil {
		t.Fatal(err)
	}
	if b.ca, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	write(t, b.caFile, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))

	var work sync.WaitGroup
	var mu sync.Mutex
	var open []io.Closer
	over := false
	keep := func(c io.Closer) bool {
		mu.Lock()
		defer mu.Unlock()
		open = append(open, c)
		return !over
	}
	for address, wrap := range map[string]func(net.Conn) net.Conn{
		plain: func(c net.Conn) net.Conn { return c },
		secure: func(c net.Conn) net.Conn {
			host, _, _ := net.SplitHostPort(secure)
			return tls.Server(c, &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return b.certificate(host) }})
		},
	} {
		ln, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		keep(ln)
		work.Go(func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				if !keep(c) {
					c.Close()
				}
				work.Go(func() { defer c.Close(); b.serve(wrap(c), keep) })
			}
		})
	}
	t.Cleanup(func() {
		mu.Lock()
		over = true
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		work.Wait()
	})
	return b
}

// certificate makes one for a name or address.
func (b *middleBox) certificate(name string) (*tls.Certificate, error) {
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	if ip := net.ParseIP(name); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{name}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, b.ca, b.key.Public(), b.key)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: b.key}, err
}

// tls is how the box ends TLS: for whatever name is asked for, and with any protocol, so that nothing but its certificate
// can be wrong.
func (b *middleBox) tls() *tls.Config {
	return &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		cert, err := b.certificate(hello.ServerName)
		if err != nil {
			return nil, err
		}
		return &tls.Config{Certificates: []tls.Certificate{*cert}, NextProtos: hello.SupportedProtos, ClientAuth: tls.RequestClientCert}, nil
	}}
}

// serve takes one CONNECT.
func (b *middleBox) serve(c net.Conn, keep func(io.Closer) bool) {
	defer c.Close()
	r, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil || r.Method != http.MethodConnect {
		return
	}
	if _, err := io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	near := tls.Server(c, b.tls())
	if near.Handshake() != nil {
		return
	}
	defer near.Close()
	b.ended.Add(1)
	if b.impostor.Load() {
		b.pretend(near)
		return
	}
	far, err := tls.Dial("tcp", r.Host, &tls.Config{ServerName: near.ConnectionState().ServerName, InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	if err != nil {
		return
	}
	defer far.Close()
	if !keep(far) {
		return
	}
	back := make(chan struct{})
	go func() {
		defer close(back)
		_, _ = io.Copy(near, io.TeeReader(far, b))
		near.Close()
	}()
	_, _ = io.Copy(far, io.TeeReader(near, b))
	far.Close()
	<-back
}

// pretend is the gateway to a connection point, as far as it lets itself be told so.
func (b *middleBox) pretend(near net.Conn) {
	ln := &oneConn{conn: near, over: make(chan struct{})}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(ln.over)
		ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"causeway-channel.1"}})
		if err != nil {
			return
		}
		inner := tls.Server(websocket.NetConn(r.Context(), ws, websocket.MessageBinary), b.tls())
		defer inner.Close()
		if inner.Handshake() == nil {
			b.believed.Add(1)
			_, _ = io.Copy(b, inner)
		}
	})}
	_ = srv.Serve(ln)
}

// A oneConn listener has one connection, and ends when it is over.
type oneConn struct {
	conn net.Conn
	over chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	if c := l.conn; c != nil {
		l.conn = nil
		return c, nil
	}
	<-l.over
	return nil, net.ErrClosed
}

func (l *oneConn) Close() error   { return nil }
func (l *oneConn) Addr() net.Addr { return &net.TCPAddr{} }

// Write notes what the box reads in clear.
func (b *middleBox) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.seen.Write(p)
}

func (b *middleBox) saw(text string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Contains(b.seen.Bytes(), []byte(text))
}

// TestMiddleBoxCarriesChannelsAndReadsNone has nothing but a proxy that inspects TLS between the premises and the gateway.
// It is refused until the connection point is told its CA, and even then it may end nothing but the TLS around a
// WebSocket: who the gateway is, the site alone says.
func TestMiddleBoxCarriesChannelsAndReadsNone(t *testing.T) {
	if !inNamespaces(t) {
		return
	}
	o := newOuterSite(t, outsideIP)
	for _, port := range []string{o.port, "10124"} {
		drop(t, port)
	}
	box := newMiddleBox(t, outsideIP+":3128", outsideIP+":3129")
	plain, secure := "http://"+outsideIP+":3128", "https://"+outsideIP+":3129"

	// Nobody has said that the box may be trusted.
	point := o.connect(t, "--proxy", plain)
	logged(t, point, "channel down", "websocket: TLS around the WebSocket with "+outsideIP+":"+o.port, "unknown authority", "give its CA with extra_ca_file")
	point.stop(t)
	point = o.connect(t, "--proxy", secure)
	logged(t, point, "channel down", "proxy "+secure+": TLS", "unknown authority", "give its CA with extra_ca_file")
	point.stop(t)
	if n := box.ended.Load(); n != 0 {
		t.Errorf("the box could end TLS %d times without being trusted", n)
	}

	// It may be trusted, for what the transports within do not need.
	for _, proxy := range []string{plain, secure} {
		point := o.connect(t, "--proxy", proxy, "--extra-ca", box.caFile)
		eventually(t, 40*time.Second, "channels through the box at "+proxy, func() bool { return o.status(t).connected(1, "websocket") })
		eventually(t, 30*time.Second, "requests through the box", func() bool { return o.served(t) })
		for _, c := range o.status(t).Channels {
			for n, transport := range []string{"slot-port", "single-port"} {
				if len(c.Better) != 2 || c.Better[n].Transport != transport || !strings.Contains(c.Better[n].Error, "certificate") {
					t.Errorf("status does not say that the box may not end the TLS of %s: %+v", transport, c.Better)
				}
			}
		}
		point.stop(t)
	}
	if !box.saw("GET /causeway-channel/1/0") {
		t.Error("the box saw no WebSocket, so this shows nothing")
	}
	for _, secret := range []string{"connection_id", "cp-1", "/app/hello", "hello from inside"} {
		if box.saw(secret) {
			t.Errorf("the box read %q", secret)
		}
	}

	// It is trusted, and would be the gateway.
	box.impostor.Store(true)
	before := box.ended.Load()
	point = o.connect(t, "--proxy", plain, "--extra-ca", box.caFile)
	logged(t, point, "channel down", "websocket: TLS with "+outsideIP+":"+o.port, "certificate")
	point.stop(t)
	if box.ended.Load() == before {
		t.Error("the box was not asked, so this shows nothing")
	}
	if n := box.believed.Load(); n != 0 {
		t.Errorf("%d times a connection point took the box for the gateway", n)
	}
}
