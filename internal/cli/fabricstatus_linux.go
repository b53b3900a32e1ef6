package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/fabric"
)

// A fabricStatus is what `fabric status` says.
type fabricStatus struct {
	fabricReady
	Groups    int            `json:"resource_groups"`
	Resources map[string]int `json:"resources"` // by type
}

func (a *app) fabricStatusCmd() *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use:   "status",
		Short: "show whether the fabric runs, and what is in it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := a.fabricDir()
			if err != nil {
				return err
			}
			r, err := runningFabric(dir)
			if err != nil {
				return err
			}
			s, err := askFabric(cmd.Context(), dir, r)
			if err != nil {
				return causeway.WithHint(fmt.Errorf("the fabric in %s runs (pid %d) and does not answer: %w", dir, r.PID, err), "see what it logs; stop it with: kill %d", r.PID)
			}
			return out.print(a.stdout, s, func() error { return s.table(a.stdout) })
		},
	}
	out.flag(cmd)
	return cmd
}

func (s *fabricStatus) table(w io.Writer) error {
	fmt.Fprintf(w, "The fabric runs (pid %d) on %s.\n\n  management       %s\n  subscription     %s\n  resource groups  %d\n", s.PID, s.Address, s.Management, s.Subscription, s.Groups)
	if len(s.Resources) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	return table(w, "TYPE\tRESOURCES", func(row func(cells ...any)) {
		for _, kind := range sortedKeys(s.Resources) {
			row(kind, s.Resources[kind])
		}
	})
}

// askFabric asks the control plane, as its owner.
func askFabric(ctx context.Context, dir state, r fabricReady) (s fabricStatus, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	c, err := dialFabric(ctx, dir, r)
	if err != nil {
		return s, err
	}
	defer c.CloseIdleConnections()
	s = fabricStatus{fabricReady: r, Resources: make(map[string]int)}
	groups, err := c.list(ctx, "/resourcegroups")
	if err != nil {
		return s, err
	}
	s.Groups = len(groups)
	resources, err := c.list(ctx, "/resources")
	for _, one := range resources {
		s.Resources[one.Type]++
	}
	return s, err
}

// A fabricClient reads from the control plane.
type fabricClient struct {
	*http.Client
	fabricReady
	token string
}

// dialFabric logs in as the owner. Names lead to the fabric whatever the system makes of them.
func dialFabric(ctx context.Context, dir state, r fabricReady) (*fabricClient, error) {
	owner, err := fabric.ReadOwner(string(dir))
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(r.CAFile)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	c := &fabricClient{fabricReady: r, Client: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, r.Address)
		}}}}
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {owner.Client}, "client_secret": {owner.Secret}, "scope": {r.Management + "/.default"}}
	var got struct {
		Token string `json:"access_token"`
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.Login+"/"+r.Tenant+"/oauth2/v2.0/token", strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	err = c.get(request, &got)
	c.token = got.Token
	return c, err
}

// get sends a request and reads a small answer.
func (c *fabricClient) get(r *http.Request, into any) error {
	resp, err := c.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s", r.Method, r.URL.Path, resp.Status)
	}
	return json.Unmarshal(text, into)
}

// A fabricItem is what of an element of a list is shown.
type fabricItem struct {
	Type string `json:"type"`
}

// list reads a list of the subscription, page by page.
func (c *fabricClient) list(ctx context.Context, path string) (all []fabricItem, err error) {
	for next := c.Management + "/subscriptions/" + c.Subscription + path + "?api-version=2021-04-01"; next != ""; {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, next, nil)
		if err != nil {
			return nil, err
		}
		request.Header.Set("Authorization", "Bearer "+c.token)
		var page struct {
			Value []fabricItem `json:"value"`
			Next  string       `json:"nextLink"`
		}
		if err := c.get(request, &page); err != nil {
			return nil, err
		}
		all, next = slices.Concat(all, page.Value), page.Next
	}
	return all, nil
}
