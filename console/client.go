package console

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/identity"
	"github.com/causeway-gateway/causeway/internal/unixsock"
)

// clientTimeout bounds one call; the slowest waits five seconds for documents to arrive everywhere.
const clientTimeout = 30 * time.Second

// maxAnswerBytes bounds an answer: the status of a site with a thousand servers.
const maxAnswerBytes = 16 << 20

// A Client asks a running site.
type Client struct {
	http       *http.Client
	credential string
}

// NewClient returns a client for the site behind socket, with the credential that the file holds. It is
// causeway.ErrNotRunning when there is none.
func NewClient(socket, credentialFile string) (*Client, error) {
	credential, err := os.ReadFile(credentialFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, causeway.ErrNotRunning
	}
	if err != nil {
		return nil, fmt.Errorf("admin credential: %w", err)
	}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return unixsock.Dial(ctx, socket) },
	}
	return &Client{
		http:       &http.Client{Transport: transport, Timeout: clientTimeout},
		credential: strings.TrimSpace(string(credential)),
	}, nil
}

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func (c *Client) Status(ctx context.Context) (st Status, err error) {
	return st, c.call(ctx, "GET", "/v1/status", nil, &st)
}

func (c *Client) Servers(ctx context.Context) (servers []Published, err error) {
	return servers, c.call(ctx, "GET", "/v1/servers", nil, &servers)
}

func (c *Client) AddServer(ctx context.Context, p Published) (ch Change, err error) {
	return ch, c.call(ctx, "POST", "/v1/servers", p, &ch)
}

func (c *Client) SetServer(ctx context.Context, name causeway.ServerName, change PublishedChange) (ch Change, err error) {
	return ch, c.call(ctx, "PATCH", "/v1/servers/"+url.PathEscape(string(name)), change, &ch)
}

func (c *Client) RemoveServer(ctx context.Context, name causeway.ServerName) (ch Change, err error) {
	return ch, c.call(ctx, "DELETE", "/v1/servers/"+url.PathEscape(string(name)), nil, &ch)
}

func (c *Client) IssueDevice(ctx context.Context, name causeway.DeviceID) (d DeviceCertificate, err error) {
	return d, c.call(ctx, "POST", "/v1/devices/"+url.PathEscape(string(name))+"/certificate", nil, &d)
}

func (c *Client) Devices(ctx context.Context) (d Devices, err error) {
	return d, c.call(ctx, "GET", "/v1/devices", nil, &d)
}

func (c *Client) BlockDevice(ctx context.Context, b identity.Block, reason string) (ch Change, err error) {
	return ch, c.call(ctx, "POST", "/v1/block", blockRequest{b, reason}, &ch)
}

func (c *Client) UnblockDevice(ctx context.Context, b identity.Block) (ch Change, err error) {
	return ch, c.call(ctx, "POST", "/v1/unblock", b, &ch)
}

func (c *Client) Explain(ctx context.Context, q Question) (e Explanation, err error) {
	return e, c.call(ctx, "POST", "/v1/explain", q, &e)
}

func (c *Client) Stop(ctx context.Context) error {
	return c.call(ctx, "POST", "/v1/stop", nil, &struct{}{})
}

func (c *Client) call(ctx context.Context, method, path string, body, into any) error {
	var payload io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return err
		}
		payload = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://site"+path, payload)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+c.credential)
	resp, err := c.http.Do(req)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
			return causeway.ErrNotRunning
		}
		return fmt.Errorf("ask the site: %w", err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes))
	if err != nil {
		return fmt.Errorf("ask the site: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return failure(resp.StatusCode, raw)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("ask the site: answer: %w", err)
	}
	return nil
}

func failure(status int, raw []byte) error {
	var e apiError
	if json.Unmarshal(raw, &e) != nil || e.Message == "" {
		return fmt.Errorf("ask the site: it answered %d", status)
	}
	return e.err()
}
