package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/causeway-gateway/causeway"
)

// firstRequestTimeout is how long `up` waits for a server's first answer. A server may take longer for real devices.
const firstRequestTimeout = 5 * time.Second

// A visitor sends requests through the front end as a device does.
type visitor struct {
	dial string // address of the front end
	cas  *x509.CertPool
}

// A visit is what came of a request.
type visit struct {
	status int
	code   string // of our own, when the answer is ours and not the server's
}

// get asks for url, with the device certificate unless it is nil.
func (v *visitor) get(ctx context.Context, url string, device *tls.Certificate) (visit, error) {
	ctx, cancel := context.WithTimeout(ctx, firstRequestTimeout)
	defer cancel()
	cfg := &tls.Config{RootCAs: v.cas, MinVersion: tls.VersionTLS12}
	if device != nil {
		cfg.Certificates = []tls.Certificate{*device}
	}
	transport := &http.Transport{
		TLSClientConfig: cfg, DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, v.dial)
		},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return visit{}, err
	}
	req.Header.Set("User-Agent", software())
	resp, err := transport.RoundTrip(req) // no redirect is followed
	if err != nil {
		return visit{}, err
	}
	defer resp.Body.Close()
	return visit{resp.StatusCode, refusalCode(resp)}, nil
}

// refusalCode returns the code of an answer that a gateway or connection point made, "" for one of the server.
func refusalCode(resp *http.Response) string {
	if resp.Header.Get("Content-Type") != "application/problem+json" {
		return ""
	}
	var problem struct {
		Code string `json:"code"`
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil || json.Unmarshal(raw, &problem) != nil {
		return ""
	}
	if !strings.HasPrefix(problem.Code, "CMGService_") && !strings.HasPrefix(problem.Code, "CMGConnector_") {
		return ""
	}
	return problem.Code
}

// retry asks until the answer is the server's, or ctx ends: a channel or document may need another moment.
func (v *visitor) retry(ctx context.Context, url string, device *tls.Certificate) (visit, error) {
	for {
		got, err := v.get(ctx, url, device)
		if _, untrusted := errors.AsType[*tls.CertificateVerificationError](err); untrusted || err == nil && !passing(got.code) {
			return got, err
		}
		select {
		case <-ctx.Done():
			if err == nil {
				err = errors.New(got.code)
			}
			return got, err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// passing reports whether a refusal is of a kind that a start gets over by itself.
func passing(code string) bool {
	switch code {
	case causeway.CodeNoConnectionPoint.String(), causeway.CodeOverloaded.String(), causeway.CodeChannelLost.String(),
		causeway.CodeConfigurationStale.String(), causeway.CodeURLNotPublished.String():
		return true
	}
	return false
}

// firstRequestError says what a refusal of the first request means.
func firstRequestError(name causeway.ServerName, url string, got visit) error {
	err := fmt.Errorf("the first request to server %s (%s) got %d %s", name, url, got.status, got.code)
	switch got.code {
	case causeway.CodeConnectorServerUnreachable.String():
		return causeway.WithHint(err, "the connection point cannot reach the server: check that it still runs")
	case causeway.CodeConnectorServerReset.String(), causeway.CodeConnectorBadAnswer.String():
		return causeway.WithHint(err, "what listens there does not speak HTTP as it should: check the scheme and port of its URL")
	}
	return causeway.WithHint(err, "the logs say more: causeway logs")
}
