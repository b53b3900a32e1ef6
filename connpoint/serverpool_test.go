package connpoint

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/channel"
	"github.com/causeway-gateway/causeway/policy"
	"github.com/causeway-gateway/causeway/signed"
)

func TestConnectionsAreReused(t *testing.T) {
	srv := answering(t, ok)
	b := newBench(t, srv.url(), nil)
	for range 5 {
		b.do("GET", "/app/x").wantAnswer(t, 200, "ok")
	}
	if n := srv.connections(); n != 1 {
		t.Errorf("5 requests took %d connections, want 1", n)
	}
}

func TestSecondAttemptTakesAFreshConnection(t *testing.T) {
	srv := answering(t, ok)
	b := newBench(t, srv.url(), nil)
	b.do("GET", "/app/x").wantAnswer(t, 200, "ok")
	in := b.request("GET", "/app/x")
	in.attempt = 2
	b.serve(in)
	in.wantAnswer(t, 200, "ok")
	if n := srv.connections(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
}

func TestFreshConnectionMakesRoomForItself(t *testing.T) {
	srv := answering(t, ok)
	b := newBench(t, srv.url(), func(d *signed.ConnectionPointDocument) { d.Publications[0].MaxInFlight = 1 })
	for attempt := range 3 {
		in := b.request("GET", "/app/x")
		in.attempt = attempt%2 + 1
		b.serve(in)
		in.wantAnswer(t, 200, "ok")
	}
	if s := b.pool().state(); s.open != 1 {
		t.Errorf("%d open connections, want 1", s.open)
	}
}

func TestConnectionsThatMustNotBeReused(t *testing.T) {
	for _, tt := range []struct{ name, answer, field string }{
		{"close", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", "X: y"},
		{"HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", "X: y"},
		{"keep-alive of a second", "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 2\r\n\r\nok", "X: y"},
		{"bytes behind the answer", ok + "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison", "X: y"},
		{"one byte behind the answer", ok + "\n", "X: y"},
		{"NTLM asked for", "HTTP/1.1 200 OK\r\nWWW-Authenticate: NTLM\r\nContent-Length: 2\r\n\r\nok", "X: y"},
		{"Negotiate asked for", "HTTP/1.1 200 OK\r\nWWW-Authenticate: Basic\r\nWWW-Authenticate: Negotiate abc\r\nContent-Length: 2\r\n\r\nok", "X: y"},
		{"NTLM in a list", "HTTP/1.1 200 OK\r\nWWW-Authenticate: Basic realm=x, ntlm\r\nContent-Length: 2\r\n\r\nok", "X: y"},
		{"NTLM used", ok, "Authorization: NTLM TlRMTVNTUAAB"},
		{"NTLM used behind a tab", ok, "Authorization: NTLM\tTlRMTVNTUAAB"},
		{"Negotiate used", ok, "Authorization: negotiate YII"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			srv := answering(t, tt.answer)
			b := newBench(t, srv.url(), nil)
			for range 2 {
				b.do("GET", "/app/x", tt.field).wantAnswer(t, 200, "ok")
				if tt.name == "keep-alive of a second" {
					time.Sleep(2 * time.Millisecond) // its time is over after one
				}
			}
			if n := srv.connections(); n != 2 {
				t.Errorf("%d connections for 2 requests, want 2", n)
			}
		})
	}
}

// A server may close an idle connection, or send something on it, at any time.
func TestIdleConnectionsAreLookedAtBeforeUse(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(c net.Conn)
	}{
		{"end", func(c net.Conn) { c.Close() }},
		{"half end", func(c net.Conn) { c.(*net.TCPConn).CloseWrite() }},
		{"reset", func(c net.Conn) { c.(*net.TCPConn).SetLinger(0); c.Close() }},
		{"timeout notice", func(c net.Conn) { io.WriteString(c, "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n") }},
		{"answer nobody asked for", func(c net.Conn) { io.WriteString(c, ok) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			act, done := make(chan struct{}), make(chan struct{})
			srv := newRawServer(t, func(s *rawServer, n int, c net.Conn) {
				s.readHead(c)
				io.WriteString(c, ok)
				if n == 0 {
					<-act
					tt.do(c)
					close(done)
				}
				for s.readHead(c) != "" {
					io.WriteString(c, ok)
				}
			})
			b := newBench(t, srv.url(), nil)
			b.do("GET", "/app/x").wantAnswer(t, 200, "ok")
			idle := b.pool().idle[0]
			close(act)
			<-done
			for idle.socket.silent() { // until the kernel has it
				time.Sleep(time.Millisecond)
			}
			b.do("GET", "/app/x").wantAnswer(t, 200, "ok")
			if n := srv.connections(); n != 2 {
				t.Errorf("%d connections, want 2", n)
			}
		})
	}
}

// The race that no look can rule out: the server closes while the request is on its way. It counts as delivered.
func TestServerClosesAsTheRequestComes(t *testing.T) {
	srv := newRawServer(t, func(s *rawServer, n int, c net.Conn) {
		s.readHead(c)
		io.WriteString(c, ok)
		if n == 0 {
			s.readHead(c)
		}
	})
	b := newBench(t, srv.url(), nil)
	b.do("GET", "/app/x").wantAnswer(t, 200, "ok")
	b.do("GET", "/app/x").wantRefused(t, causeway.CodeConnectorServerReset, channel.Delivered)
}

func TestIdleConnectionsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newServerPool("server:80", nil, 10)
		near, far := net.Pipe()
		defer far.Close()
		p.open = 1
		c := newServerConn(p, near)
		c.put(0)
		if s := p.state(); s.idle != 1 {
			t.Fatalf("%d idle, want 1", s.idle)
		}
		time.Sleep(serverIdle + 2*time.Second)
		synctest.Wait()
		if s := p.state(); s.idle != 0 || s.open != 0 {
			t.Errorf("%d idle, %d open after the idle time; want none", s.idle, s.open)
		}
		p.close()
	})
}

func TestKeepAliveTimeoutIsHeeded(t *testing.T) {
	srv := answering(t, "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=60, max=100\r\nContent-Length: 2\r\n\r\nok")
	b := newBench(t, srv.url(), nil)
	b.do("GET", "/app/x").wantAnswer(t, 200, "ok")
	if left := time.Until(b.pool().idle[0].idleUntil); left < 50*time.Second || left > 59*time.Second {
		t.Errorf("the connection stays for %v, want a second less than a minute", left)
	}
}

func TestWaitersGetConnectionsInOrder(t *testing.T) {
	gate := make(chan struct{})
	srv := newRawServer(t, func(s *rawServer, _ int, c net.Conn) {
		for s.readHead(c) != "" {
			<-gate
			io.WriteString(c, ok)
		}
	})
	b := newBench(t, srv.url(), func(d *signed.ConnectionPointDocument) { d.Publications[0].MaxInFlight = 2 })
	var work sync.WaitGroup
	for range 10 {
		in := b.request("GET", "/app/x")
		work.Go(func() {
			b.serve(in)
			in.wantAnswer(t, 200, "ok")
		})
	}
	for range 10 {
		gate <- struct{}{}
	}
	work.Wait()
	if n := srv.connections(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
	if s := b.pool().state(); s.open != 2 || s.waiting != 0 {
		t.Errorf("%d open, %d waiting", s.open, s.waiting)
	}
}

func TestQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newServerPool("server:80", nil, 1)
		p.open = 1 // in use by somebody who never ends
		ctx, cancel := context.WithCancel(t.Context())
		results := make(chan error, maxServerQueue+1)
		for range maxServerQueue {
			go func() { _, err := p.get(ctx, false); results <- err }()
		}
		synctest.Wait()
		if _, err := p.get(ctx, false); !errors.Is(err, errQueueFull) || causeway.CodeOf(err) != causeway.CodeConnectorOverloaded {
			t.Errorf("one more: %v, want %v", err, errQueueFull)
		}
		cancel()
		for range maxServerQueue {
			if err := <-results; !errors.Is(err, context.Canceled) {
				t.Fatalf("a waiter whose device left got %v", err)
			}
		}
		if _, err := p.get(t.Context(), false); !errors.Is(err, errQueueSlow) {
			t.Errorf("waiting in vain: %v, want %v", err, errQueueSlow)
		}
		if s := p.state(); s.waiting != 0 || s.open != 1 {
			t.Errorf("%d waiting, %d open", s.waiting, s.open)
		}
	})
}

func TestCircuit(t *testing.T) {
	now := time.Now()
	var c circuit
	fail := errors.New("refused")
	for range circuitFailures {
		if _, ok := c.allow(now); !ok {
			t.Fatal("closed circuit refuses")
		}
		c.done(now, false, fail, false)
	}
	if _, ok := c.allow(now); ok {
		t.Fatal("open circuit lets a dial through")
	}
	now = now.Add(circuitFirst)
	probe, ok := c.allow(now)
	if !probe || !ok {
		t.Fatal("no probe after the wait")
	}
	if _, ok := c.allow(now); ok {
		t.Fatal("two probes at once")
	}
	c.done(now, true, context.Canceled, true) // its device left: says nothing about the server
	if probe, ok = c.allow(now); !probe || !ok {
		t.Fatal("a probe that was given up closed the door")
	}
	for range 20 {
		c.done(now, true, fail, false)
		now = now.Add(circuitMost)
		if _, ok := c.allow(now); !ok {
			t.Fatal("the wait grew beyond its bound")
		}
	}
	c.done(now, true, nil, false)
	if open, _, _, _ := c.state(); open {
		t.Error("a good dial left the circuit open")
	}
}

func TestDeviceGoneEndsTheServersConnection(t *testing.T) {
	ended := make(chan struct{})
	asked := make(chan struct{})
	srv := newRawServer(t, func(s *rawServer, _ int, c net.Conn) {
		s.readHead(c)
		close(asked)
		s.readHead(c)
		close(ended)
	})
	b := newBench(t, srv.url(), nil)
	in := b.request("GET", "/app/x")
	done := make(chan struct{})
	go func() { b.serve(in); close(done) }()
	<-asked
	in.leave()
	<-ended
	<-done
	if strings.Contains(b.log.String(), "level=WARN") {
		t.Errorf("a device that left is a warning:\n%s", b.log)
	}
	// The device's end closes it on a goroutine of its own.
	await(t, "the end of the server's connection", func() bool { return b.pool().state().open == 0 })
}

// A server that hangs holds its own requests and nobody else's.
func TestOneServersTroubleIsItsOwn(t *testing.T) {
	hung := newRawServer(t, func(s *rawServer, _ int, c net.Conn) {
		s.readHead(c)
		s.readHead(c)
	})
	b := newBench(t, answering(t, ok).url(), func(d *signed.ConnectionPointDocument) {
		d.Publications = append(d.Publications, policy.Publication{Name: "hung", MaxInFlight: 3})
		d.Servers = append(d.Servers, signed.Server{Name: "hung", URL: hung.url()})
	})
	var work sync.WaitGroup
	var stuck []*fakeInbound
	for range 20 {
		in := b.request("GET", "/hung/x")
		stuck = append(stuck, in)
		work.Go(func() { b.serve(in) })
	}
	for range 20 {
		b.do("GET", "/app/x").wantAnswer(t, 200, "ok")
	}
	for _, in := range stuck {
		in.leave()
	}
	work.Wait()
}

func TestChangedServerGetsNewConnections(t *testing.T) {
	srv := answering(t, ok)
	b := newBench(t, srv.url(), nil)
	b.do("GET", "/app/x").wantAnswer(t, 200, "ok")
	first := b.pool()
	b.obey(2)
	if b.pool() != first {
		t.Error("a server that stayed the same lost its connections")
	}
	b.doc.Servers = []signed.Server{{Name: "app", URL: srv.url() + "/new"}}
	b.obey(3)
	if b.pool() == first || first.state().open != 0 {
		t.Errorf("the old server still has %d connections", first.state().open)
	}
	b.do("GET", "/app/x").wantAnswer(t, 200, "ok")
	if !strings.HasPrefix(srv.lastHead(), "GET /new/x ") {
		t.Errorf("server got %.40q", srv.lastHead())
	}
}

// tlsServer answers over TLS with a certificate of ca for 127.0.0.1.
func tlsServer(t *testing.T, ca *testCA, config *tls.Config) *rawServer {
	der, key := ca.issue(t, "server", func(c *x509.Certificate) {
		c.IPAddresses, c.ExtKeyUsage = []net.IP{net.IPv4(127, 0, 0, 1)}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	})
	config.Certificates = []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}
	return newRawServer(t, func(s *rawServer, _ int, raw net.Conn) {
		c := tls.Server(raw, config)
		for s.readHead(c) != "" {
			io.WriteString(c, ok)
		}
	})
}

func pemOf(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func TestServersOverTLS(t *testing.T) {
	ca := newTestCA(t, "Server CA")
	clientDER, clientKey := ca.issue(t, "connection point", nil)
	keyDER, err := x509.MarshalPKCS8PrivateKey(clientKey)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	mutual := func(s *signed.Server) {
		s.CAs = pemOf("CERTIFICATE", ca.cert.Raw)
		s.ClientCertificate, s.ClientKey = pemOf("CERTIFICATE", clientDER), signed.Secret(pemOf("PRIVATE KEY", keyDER))
	}
	for _, tt := range []struct {
		name   string
		config *tls.Config
		change func(*signed.Server)
		good   bool
	}{
		{"own CA", &tls.Config{}, func(s *signed.Server) { s.CAs = pemOf("CERTIFICATE", ca.cert.Raw) }, true},
		{"TLS 1.2", &tls.Config{MaxVersion: tls.VersionTLS12}, func(s *signed.Server) { s.CAs = pemOf("CERTIFICATE", ca.cert.Raw) }, true},
		{"client certificate", &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}, mutual, true},
		{"TLS 1.1", &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, func(s *signed.Server) { s.CAs = pemOf("CERTIFICATE", ca.cert.Raw) }, false},
		{"system CAs", &tls.Config{}, func(*signed.Server) {}, false},
		{"another CA", &tls.Config{}, func(s *signed.Server) { s.CAs = pemOf("CERTIFICATE", newTestCA(t, "x").cert.Raw) }, false},
		{"another name", &tls.Config{}, func(s *signed.Server) {
			s.CAs = pemOf("CERTIFICATE", ca.cert.Raw)
			s.URL = strings.Replace(s.URL, "127.0.0.1", "localhost", 1)
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			srv := tlsServer(t, ca, tt.config)
			b := newBench(t, "https://"+strings.TrimPrefix(srv.url(), "http://"), func(d *signed.ConnectionPointDocument) { tt.change(&d.Servers[0]) })
			for range 2 {
				in := b.do("GET", "/app/x")
				if !tt.good {
					in.wantRefused(t, causeway.CodeConnectorServerUnreachable, channel.NotDelivered)
					continue
				}
				in.wantAnswer(t, 200, "ok")
			}
			if tt.good && srv.connections() != 1 {
				t.Errorf("%d connections, want 1 kept alive", srv.connections())
			}
		})
	}
}

// What a TLS server sends behind its answer may sit in the TLS layer, where no look at the socket finds it.
func TestBytesBehindATLSAnswerAreFound(t *testing.T) {
	ca := newTestCA(t, "Server CA")
	der, key := ca.issue(t, "server", func(c *x509.Certificate) {
		c.IPAddresses, c.ExtKeyUsage = []net.IP{net.IPv4(127, 0, 0, 1)}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	})
	// The body ends where our buffer does, and the rest of the record is poison.
	body := strings.Repeat("x", 3*aheadBytes)
	srv := newRawServer(t, func(s *rawServer, _ int, raw net.Conn) {
		c := tls.Server(raw, &tls.Config{DynamicRecordSizingDisabled: true, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
		for s.readHead(c) != "" {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 12288\r\n\r\n"+body+"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
		}
	})
	b := newBench(t, "https://"+strings.TrimPrefix(srv.url(), "http://"), func(d *signed.ConnectionPointDocument) {
		d.Servers[0].CAs = pemOf("CERTIFICATE", ca.cert.Raw)
	})
	for range 2 {
		b.do("GET", "/app/x").wantAnswer(t, 200, body)
	}
	if n := srv.connections(); n != 2 {
		t.Errorf("%d connections for 2 requests, want 2", n)
	}
}
