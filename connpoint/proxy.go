package connpoint

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/net/http/httpproxy"

	"github.com/causeway-gateway/causeway"
)

// A Proxy is an HTTP proxy on the way to the gateways. Nothing that goes to servers uses it.
type Proxy struct {
	URL     string // http://HOST:PORT or https://HOST:PORT; a user and password in it are used as well
	NoProxy string // hosts that are dialled directly, as in the variable NO_PROXY
	// Environment says that the settings are those of the environment, which everybody reads alike: loopback addresses
	// are dialled directly, and what is no host in NoProxy is passed over. Settings of ours are obeyed to the letter.
	Environment bool
	// Credentials are for Basic authentication, asked for at each dial; nil means none but those of URL.
	Credentials func() (user, password string, err error)
}

// Check says what is wrong with the settings. It repeats no password.
func (p *Proxy) Check() error {
	_, err := p.parse()
	return err
}

// CheckNoProxy says which entry of NoProxy names no host.
func (p *Proxy) CheckNoProxy() error {
	if p.Environment {
		return nil
	}
	for entry := range strings.SplitSeq(p.NoProxy, ",") {
		if entry = strings.TrimSpace(entry); entry != "" && !namesHosts(entry) {
			return causeway.WithHint(fmt.Errorf("%q names no host", entry),
				"write hosts, domains, addresses and networks with commas between them, like gw.example.com,.corp.example,10.0.0.0/8")
		}
	}
	return nil
}

// namesHosts reports whether an entry is a network, or a host with or without a port; * is any.
func namesHosts(entry string) bool {
	if _, err := netip.ParsePrefix(entry); err == nil {
		return true
	}
	if _, err := netip.ParseAddr(strings.Trim(entry, "[]")); err == nil {
		return true
	}
	host := entry
	if h, port, err := net.SplitHostPort(entry); err == nil {
		if !isPort(port) {
			return false
		}
		host = h
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return host != "" && !strings.ContainsAny(host, "/: \t@?#%[]\"")
}

func isPort(text string) bool {
	n, err := strconv.ParseUint(text, 10, 16)
	return err == nil && n > 0
}

func (p *Proxy) parse() (*url.URL, error) {
	const form = "write it like http://proxy.example.com:3128"
	u, err := url.Parse(p.URL)
	switch {
	case !strings.Contains(p.URL, "://"): // it may hold a password, so it is not repeated
		return nil, causeway.WithHint(errors.New("it does not start with http:// or https://"), form)
	case err != nil:
		return nil, causeway.WithHint(errors.New("the URL is malformed"), form)
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, causeway.WithHint(fmt.Errorf("proxy %q: it does not start with http:// or https://", u.Redacted()), form)
	case u.Hostname() == "":
		return nil, causeway.WithHint(errors.New("it names no host"), form)
	case u.Port() != "" && !isPort(u.Port()):
		return nil, causeway.WithHint(fmt.Errorf("proxy %q: port %s does not exist", u.Redacted(), u.Port()), "give a port of 1 to 65535")
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		return nil, causeway.WithHint(fmt.Errorf("proxy %q: it is not just a host and a port", u.Redacted()), form)
	}
	return u, nil
}

// proxyFor returns the proxy for a place, nil for none.
func (p *Proxy) proxyFor(place string) (*url.URL, error) {
	u, err := p.parse()
	if err != nil {
		return nil, err
	}
	if host, port, err := net.SplitHostPort(place); err == nil && !p.Environment && isLoopback(host) {
		if p.exempt(host, port) {
			return nil, nil
		}
		return u, nil
	}
	rules := httpproxy.Config{HTTPSProxy: u.String(), NoProxy: p.NoProxy}
	return rules.ProxyFunc()(&url.URL{Scheme: "https", Host: place})
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// exempt reports whether NoProxy names a loopback address, which the usual rules would exempt unnamed.
func (p *Proxy) exempt(host, port string) bool {
	ip, _ := netip.ParseAddr(host)
	for entry := range strings.SplitSeq(p.NoProxy, ",") {
		entry = strings.ToLower(strings.TrimSpace(entry))
		network, err := netip.ParsePrefix(entry)
		if entry == "*" || err == nil && network.Contains(ip.Unmap()) {
			return true
		}
		if h, only, err := net.SplitHostPort(entry); err == nil {
			if only != port {
				continue
			}
			entry = h
		}
		named, err := netip.ParseAddr(strings.Trim(entry, "[]"))
		if entry == host || err == nil && named.Unmap() == ip.Unmap() {
			return true
		}
	}
	return false
}

// proxyName is the proxy that a place is reached through, for people; empty for none.
func (a *Agent) proxyName(place string) string {
	if a.Proxy == nil {
		return ""
	}
	u, err := a.Proxy.proxyFor(place)
	if err != nil || u == nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// maxProxyAnswerBytes bounds what a proxy may say before the connection is ours.
const maxProxyAnswerBytes = 16 << 10

// dialOut connects to a gateway, directly or through the proxy. Names are looked up each time, by us or by the proxy.
func (a *Agent) dialOut(ctx context.Context, place string) (net.Conn, error) {
	if a.Proxy == nil {
		return a.dialDirect(ctx, place)
	}
	u, err := a.Proxy.proxyFor(place)
	if err != nil {
		return nil, err
	}
	if u == nil {
		return a.dialDirect(ctx, place)
	}
	conn, err := a.dialProxy(ctx, u)
	if err != nil {
		hint := cmp.Or(causeway.Hint(err), "see whether the proxy runs and may be reached from here")
		return nil, causeway.WithHint(fmt.Errorf("proxy %s: %w", u.Redacted(), err), "%s", hint)
	}
	if err := a.Proxy.connect(ctx, conn, u, place); err != nil {
		_ = conn.Close() // the reason is known
		return nil, fmt.Errorf("proxy %s: %w", u.Redacted(), err)
	}
	return conn, nil
}

func (a *Agent) dialDirect(ctx context.Context, place string) (net.Conn, error) {
	conn, err := a.dial(ctx, "tcp", place)
	return conn, causeway.WithHint(err, "%s", cmp.Or(causeway.Hint(err), "see whether the gateway runs, and whether this host may reach it there"))
}

func (a *Agent) dialProxy(ctx context.Context, u *url.URL) (net.Conn, error) {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	conn, err := a.dial(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil || u.Scheme == "http" {
		return conn, err
	}
	t := tls.Client(conn, &tls.Config{MinVersion: tls.VersionTLS12, ServerName: u.Hostname(), InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error { return verifyAny(state, u.Hostname(), a.ExtraCAs) }})
	handshake, cancel := context.WithTimeout(ctx, proxyTLSTimeout)
	defer cancel()
	if err := t.HandshakeContext(handshake); err != nil {
		_ = conn.Close() // the reason is known
		return nil, proxyTLSFault(ctx, handshake, err)
	}
	return t, nil
}

// proxyTLSTimeout bounds TLS with the proxy itself, which is near. One that speaks plain HTTP may wait for a request for
// ever, and a dial has time for more than that.
const proxyTLSTimeout = 5 * time.Second

// proxyTLSFault says what was wrong with TLS to a proxy. https:// for one that does not speak it is the likeliest mistake.
func proxyTLSFault(ctx, handshake context.Context, err error) error {
	const hint = "write http:// in place of https:// if the proxy itself does not speak TLS"
	if ctx.Err() == nil && handshake.Err() != nil {
		return causeway.WithHint(fmt.Errorf("no TLS answer within %s", proxyTLSTimeout), hint)
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok || errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
		return causeway.WithHint(fmt.Errorf("it does not answer with TLS: %w", err), hint)
	}
	return fmt.Errorf("TLS: %w", err)
}

// connect asks the proxy for a tunnel to a place.
func (p *Proxy) connect(ctx context.Context, conn net.Conn, u *url.URL, place string) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	header, err := p.authorization(u)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "CONNECT "+place+" HTTP/1.1\r\nHost: "+place+"\r\nUser-Agent: causeway\r\n"+header+"\r\n"); err != nil {
		return unlessOver(ctx, err)
	}
	limited := &io.LimitedReader{R: conn, N: maxProxyAnswerBytes}
	br := bufio.NewReaderSize(limited, 4<<10)
	answer, err := http.ReadResponse(br, &http.Request{Method: http.MethodConnect})
	if err != nil {
		if limited.N == 0 {
			return errors.New("its answer is too long")
		}
		return unlessOver(ctx, fmt.Errorf("answer to CONNECT %s: %w", place, err))
	}
	if err := proxyRefusal(answer.StatusCode, answer.Status, place); err != nil {
		return err
	}
	if br.Buffered() > 0 {
		return errors.New("it sent more than its answer")
	}
	if !stop() {
		return ctx.Err()
	}
	return nil
}

// unlessOver is err, or that time is over: the deadline that said so knows no reason.
func unlessOver(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("no answer in time: %w", ctx.Err())
	}
	return err
}

// proxyRefusal says what a proxy's answer means, and what can be done about it.
func proxyRefusal(code int, status, place string) error {
	err := fmt.Errorf("CONNECT %s: %s", place, status)
	switch {
	case code/100 == 2:
		return nil
	case code == http.StatusProxyAuthRequired:
		return causeway.WithHint(err, "the proxy wants another user or password: see proxy_credentials_file")
	case code == http.StatusForbidden || code == http.StatusMethodNotAllowed:
		return causeway.WithHint(err, "have the proxy allow CONNECT to this host and port")
	case code/100 == 5:
		return causeway.WithHint(err, "the proxy does not reach this host and port")
	}
	return err
}

// authorization is the header field for Basic authentication, with its end of line; empty without credentials.
func (p *Proxy) authorization(u *url.URL) (string, error) {
	user := u.User.Username()
	password, _ := u.User.Password()
	if p.Credentials != nil {
		var err error
		if user, password, err = p.Credentials(); err != nil {
			return "", fmt.Errorf("credentials: %w", err)
		}
	}
	if user == "" && password == "" {
		return "", nil
	}
	return "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password)) + "\r\n", nil
}
