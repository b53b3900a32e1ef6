package cli

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/causeway-gateway/causeway/site"
)

// A deviceConn is one connection of a device, which stays open from one line of a script to the next.
type deviceConn struct {
	conn *tls.Conn
	in   *bufio.Reader
}

// openConns are a script's connections, by name.
type openConns map[string][]*deviceConn

// connect opens connections as the device of a folder: connect NAME STATE DEVICE ADDRESS. There are so many that each
// of two instances has some.
func (o openConns) connect(ts *testscript.TestScript, neg bool, args []string) {
	const connections = 16
	state, device := ts.MkAbs(args[1]), filepath.Join(ts.MkAbs(args[1]), "devices", args[2])
	ca, err := os.ReadFile(filepath.Join(state, "ca.crt"))
	ts.Check(err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	pair, err := tls.LoadX509KeyPair(filepath.Join(device, "device.crt"), filepath.Join(device, "device.key"))
	ts.Check(err)
	for range connections {
		conn, err := tls.Dial("tcp", args[3], &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}})
		ts.Check(err)
		ts.Defer(func() { conn.Close() })
		o[args[0]] = append(o[args[0]], &deviceConn{conn, bufio.NewReader(conn)})
	}
}

// ask sends the next request on each connection: ask NAME PATH STATUS [TEXT of the body].
func (o openConns) ask(ts *testscript.TestScript, neg bool, args []string) {
	for i, c := range o[args[0]] {
		_, err := fmt.Fprintf(c.conn, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", args[1], c.conn.RemoteAddr())
		ts.Check(err)
		resp, err := http.ReadResponse(c.in, nil)
		ts.Check(err)
		body, err := io.ReadAll(resp.Body)
		ts.Check(err)
		if fmt.Sprint(resp.StatusCode) != args[2] || len(args) > 3 && !strings.Contains(string(body), args[3]) {
			ts.Fatalf("connection %d got %d %s", i, resp.StatusCode, body)
		}
	}
}

// scriptAudited checks that a stopped site's audit log is whole and has records: audited STATE ACTION
// SUBJECT..., which is the site itself if left out.
func scriptAudited(ts *testscript.TestScript, neg bool, args []string) {
	store, err := site.Open(context.Background(), filepath.Join(ts.MkAbs(args[0]), "site"), nil)
	ts.Check(err)
	defer store.Close()
	ts.Check(store.VerifyAudit(context.Background()))
	all, err := store.Audit(context.Background(), 1, 1000)
	ts.Check(err)
	subjects := args[2:]
	if len(subjects) == 0 {
		subjects = []string{string(store.ID())}
	}
	for _, subject := range subjects {
		by := fmt.Sprintf("uid %d", os.Geteuid())
		found := slices.ContainsFunc(all, func(a site.AuditRecord) bool {
			return a.Action == args[1] && a.Subject == subject && a.By == by
		})
		if found == neg {
			ts.Fatalf("audit log: %s %s by %s found: %v", args[1], subject, by, found)
		}
	}
}

type connsKey struct{}

func connsOf(ts *testscript.TestScript) openConns { return ts.Value(connsKey{}).(openConns) }
