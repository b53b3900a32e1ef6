package connpoint

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/net/http/httpproxy"

	"github.com/causeway-gateway/causeway"
)

// A Proxy is an HTTP proxy on the way to the gateways. Nothing that goes to servers uses it.
type Proxy struct {
	URL     string // http://HOST:PORT or https://HOST:PORT; a user and password in it are used as well
	NoProxy string // hosts that are dialled directly, as in the variable NO_PROXY
	// Credentials are for Basic authentication, asked for at each dial; nil means none but those of URL.
	Credentials func() (user, password string, err error)
}

// Check says what is wrong with the settings. It repeats no password.
func (p *Proxy) Check() error {
	_, err := p.parse()
	return err
}

func (p *Proxy) parse() (*url.URL, error) {
	const form = "write it like http://proxy.example.com:3128"
	u, err := url.Parse(p.URL)
	switch {
	case err != nil:
		return nil, causeway.WithHint(errors.New("proxy: the URL is malformed"), form)
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, causeway.WithHint(fmt.Errorf("proxy %q: it does not start with http:// or https://", u.Redacted()), form)
	case u.Hostname() == "" || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
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
	rules := httpproxy.Config{HTTPSProxy: u.String(), NoProxy: p.NoProxy}
	return rules.ProxyFunc()(&url.URL{Scheme: "https", Host: place})
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
		return a.dial(ctx, "tcp", place)
	}
	u, err := a.Proxy.proxyFor(place)
	if err != nil {
		return nil, err
	}
	if u == nil {
		return a.dial(ctx, "tcp", place)
	}
	conn, err := a.dialProxy(ctx, u)
	if err != nil {
		return nil, causeway.WithHint(fmt.Errorf("proxy %s: %w", u.Redacted(), err), "see whether the proxy runs and may be reached from here")
	}
	if err := a.Proxy.connect(ctx, conn, u, place); err != nil {
		return nil, errors.Join(fmt.Errorf("proxy %s: %w", u.Redacted(), err), conn.Close())
	}
	return conn, nil
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
	if err := t.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return t, nil
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
