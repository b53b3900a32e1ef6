package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/console"
	"github.com/causeway-gateway/causeway/policy"
	"github.com/causeway-gateway/causeway/signed"
)

func (a *app) serverCmd() *cobra.Command {
	return group("server", "add, change, remove and list published servers while the site runs",
		a.serverAddCmd(), a.serverSetCmd(), a.serverRemoveCmd(), a.serverListCmd())
}

// A serverPlan is what the flags of server add and server set ask for.
type serverPlan struct {
	host            string
	managementPoint uint64
	ca              string
	clientCert      string
	clientKey       string
	hostHeader      string
	identity        []string
	maxInFlight     int

	endpoint       string
	removeEndpoint []string
	methods        []string
	maxBody        int64
	answerTimeout  time.Duration
	idleTimeout    time.Duration
	websocket      bool
	rate           float64
	burst          int
	concurrency    int
	semicolon      bool
}

func (p *serverPlan) flags(f *pflag.FlagSet) {
	f.StringVar(&p.host, "host", "", "publish it under this host name, `FQDN`")
	f.Uint64Var(&p.managementPoint, "management-point", 0, "publish it as management point `N` (id 2^56+N)")
	f.StringVar(&p.ca, "ca", "", "CA that signs the https server's certificate, `PEM` (default: the system's)")
	f.StringVar(&p.clientCert, "client-cert", "", "client certificate that the connection point shows, `PEM`")
	f.StringVar(&p.clientKey, "client-key", "", "its key, `PEM`")
	f.StringVar(&p.hostHeader, "host-header", "", "Host that the server gets: `inside` (its own, default) or outside")
	f.StringSliceVar(&p.identity, "identity", nil, "identity headers besides the standard ones, in the `form` of nginx or apache, or none")
	f.IntVar(&p.maxInFlight, "max-in-flight", 0, "requests of all devices at once; 0 for the default")
	f.StringVar(&p.endpoint, "endpoint", "", "`PATH` that the flags below are for (default /)")
	f.StringSliceVar(&p.methods, "methods", nil, "methods that devices may use there")
	f.Int64Var(&p.maxBody, "max-body", 0, "longest request body, in `bytes`")
	f.DurationVar(&p.answerTimeout, "answer-timeout", 0, "how long the server may take to answer, up to 15m")
	f.DurationVar(&p.idleTimeout, "idle-timeout", 0, "how long a body may pause, up to 15m")
	f.BoolVar(&p.websocket, "websocket", false, "allow WebSocket")
	f.Float64Var(&p.rate, "rate", 0, "requests per second of one device; -1 for no bound")
	f.IntVar(&p.burst, "burst", 0, "requests that one device may save up; -1 for no bound")
	f.IntVar(&p.concurrency, "concurrency", 0, "requests of one device at once; -1 for no bound")
	f.BoolVar(&p.semicolon, "semicolon", false, "allow ';' in paths")
}

// endpointFlags are those that make up a rule.
var endpointFlags = []string{"endpoint", "methods", "max-body", "answer-timeout", "idle-timeout", "websocket", "rate",
	"burst", "concurrency", "semicolon"}

// rule returns what the endpoint flags ask for, nil when none was given.
func (p *serverPlan) rule(f *pflag.FlagSet) *policy.Rule {
	given := false
	for _, name := range endpointFlags {
		given = given || f.Changed(name)
	}
	if !given {
		return nil
	}
	path := p.endpoint
	if path == "" {
		path = "/"
	}
	return &policy.Rule{
		Path: path, Methods: p.methods, MaxBodyBytes: p.maxBody, AnswerTimeout: policy.Duration(p.answerTimeout),
		IdleTimeout: policy.Duration(p.idleTimeout), WebSocket: p.websocket, RatePerSecond: p.rate, Burst: p.burst,
		Concurrency: p.concurrency, Semicolon: p.semicolon,
	}
}

// check judges what the flags say by themselves, before anybody is asked.
func (p *serverPlan) check(f *pflag.FlagSet) error {
	var errs []error
	for name, zero := range map[string]bool{
		"max-body": p.maxBody == 0, "answer-timeout": p.answerTimeout == 0, "idle-timeout": p.idleTimeout == 0,
		"rate": p.rate == 0, "burst": p.burst == 0, "concurrency": p.concurrency == 0,
	} {
		if f.Changed(name) && zero {
			errs = append(errs, badFlag("leave it out for the default", "--%s cannot be 0", name))
		}
	}
	for name, d := range map[string]time.Duration{"answer-timeout": p.answerTimeout, "idle-timeout": p.idleTimeout} {
		if d < 0 || d > policy.MaxTimeout {
			errs = append(errs, badFlag(fmt.Sprintf("choose a time up to %v", policy.MaxTimeout), "--%s %v is out of range", name, d))
		}
	}
	if p.host != "" {
		host, err := checkPublishedHost("--host", p.host)
		p.host = host
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// publishedOf reads the files that a server names.
func publishedOf(s published) (console.Published, error) {
	var p console.Published
	p.Name, p.Host, p.URL = s.Name, s.Host, s.URL.String()
	for _, f := range []struct {
		flag, file string
		into       *string
	}{
		{"ca", s.CA, &p.CAs}, {"client-cert", s.ClientCert, &p.ClientCertificate}, {"client-key", s.ClientKey, (*string)(&p.ClientKey)},
	} {
		if err := readInto(f.flag, f.file, f.into); err != nil {
			return p, err
		}
	}
	return p, nil
}

func readInto(flag, file string, into *string) error {
	if file == "" {
		return nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return badFlag("give a PEM file that you may read", "%s: %v", flag, err)
	}
	*into = string(text)
	return nil
}

func (a *app) serverAddCmd() *cobra.Command {
	var p serverPlan
	cmd := &cobra.Command{
		Use:   "add NAME=URL",
		Short: "publish one more server",
		Example: `  causeway server add updates=http://10.0.0.5:8080
  causeway server add wsus=https://10.0.0.6:8531 --ca ca.pem --host wsus.example.com
  causeway server add mp=http://10.0.0.7 --management-point 37`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := parsePublished("NAME=URL", args[0])
			if err := errors.Join(err, p.check(cmd.Flags())); err != nil {
				return err
			}
			s.Host, s.CA, s.ClientCert, s.ClientKey = p.host, pick(p.ca, s.CA), pick(p.clientCert, s.ClientCert), pick(p.clientKey, s.ClientKey)
			if err := checkServerFiles(string(s.Name), s.URL, s.CA, s.ClientCert, s.ClientKey); err != nil {
				return err
			}
			pub, err := publishedOf(s)
			if err != nil {
				return err
			}
			pub.ManagementPoint, pub.HostHeader, pub.IdentityForms, pub.MaxInFlight = p.managementPoint, p.hostHeader, p.identity, p.maxInFlight
			if r := p.rule(cmd.Flags()); r != nil {
				pub.Rules = []policy.Rule{*r}
				if r.Path != "/" { // an endpoint beside the rest, not instead of it
					pub.Rules = append(pub.Rules, policy.Rule{Path: "/"})
				}
			}
			return a.withSite(cmd.Context(), func(ctx context.Context, _ state, c *console.Client) error {
				change, err := c.AddServer(ctx, pub)
				return a.changed("published", string(s.Name), change, err)
			})
		},
	}
	p.flags(cmd.Flags())
	return cmd
}

func pick(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func (a *app) serverSetCmd() *cobra.Command {
	var p serverPlan
	cmd := &cobra.Command{
		Use:   "set NAME[=URL]",
		Short: "change a published server; what is not named stays",
		Example: `  causeway server set updates=http://10.0.0.9:8080
  causeway server set updates --endpoint /poll --answer-timeout 15m
  causeway server set updates --remove-endpoint /poll`,
		Args: cobra.ExactArgs(1),

		ValidArgsFunction: a.completeServer,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := p.check(cmd.Flags()); err != nil {
				return err
			}
			name, change, err := p.change(cmd.Flags(), args[0])
			if err != nil {
				return err
			}
			return a.withSite(cmd.Context(), func(ctx context.Context, _ state, c *console.Client) error {
				change, err := c.SetServer(ctx, name, change)
				return a.changed("changed", string(name), change, err)
			})
		},
	}
	p.flags(cmd.Flags())
	cmd.Flags().StringSliceVar(&p.removeEndpoint, "remove-endpoint", nil, "take the rule for `PATH` away")
	return cmd
}

// change collects what the flags name.
func (p *serverPlan) change(f *pflag.FlagSet, arg string) (causeway.ServerName, console.PublishedChange, error) {
	change := console.PublishedChange{RemoveRules: p.removeEndpoint}
	name, _, hasURL := strings.Cut(arg, "=")
	if hasURL {
		s, err := parsePublished("NAME=URL", arg)
		if err != nil {
			return "", change, err
		}
		url := s.URL.String()
		change.URL = &url
		p.ca, p.clientCert, p.clientKey = pick(p.ca, s.CA), pick(p.clientCert, s.ClientCert), pick(p.clientKey, s.ClientKey)
	} else if err := checkServerName("NAME", name); err != nil {
		return "", change, err
	}
	if f.Changed("host") {
		change.Host = &p.host
	}
	if f.Changed("management-point") {
		change.ManagementPoint = &p.managementPoint
	}
	if f.Changed("host-header") {
		change.HostHeader = &p.hostHeader
	}
	if f.Changed("identity") {
		change.IdentityForms = &p.identity
	}
	if f.Changed("max-in-flight") {
		change.MaxInFlight = &p.maxInFlight
	}
	if r := p.rule(f); r != nil {
		change.Rules = []policy.Rule{*r}
	}
	return causeway.ServerName(name), change, p.changeFiles(f, &change)
}

// changeFiles reads the files that were named. An empty name takes away what was there.
func (p *serverPlan) changeFiles(f *pflag.FlagSet, change *console.PublishedChange) error {
	for _, x := range []struct {
		flag, file string
		into       func(string)
	}{
		{"ca", p.ca, func(s string) { change.CAs = &s }},
		{"client-cert", p.clientCert, func(s string) { change.ClientCertificate = &s }},
		{"client-key", p.clientKey, func(s string) { key := signed.Secret(s); change.ClientKey = &key }},
	} {
		if x.file == "" && !f.Changed(x.flag) {
			continue
		}
		var text string
		if err := readInto("--"+x.flag, x.file, &text); err != nil {
			return err
		}
		x.into(text)
	}
	return nil
}

func (a *app) serverRemoveCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "remove NAME",
		Short: "publish a server no more",
		Args:  cobra.ExactArgs(1),

		ValidArgsFunction: a.completeServer,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withSite(cmd.Context(), func(ctx context.Context, _ state, c *console.Client) error {
				change, err := c.RemoveServer(ctx, causeway.ServerName(args[0]))
				return a.changed("removed", args[0], change, err)
			})
		},
	}
}

// completeServer gives the shell the names of published servers, and no files in their place.
func (a *app) completeServer(cmd *cobra.Command, args []string, _ string) (names []string, _ cobra.ShellCompDirective) {
	if len(args) == 0 {
		_ = a.withSite(cmd.Context(), func(ctx context.Context, _ state, c *console.Client) error { // none, when no site runs
			servers, err := c.Servers(ctx)
			for _, s := range servers {
				names = append(names, string(s.Name))
			}
			return err
		})
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// changed says what became of a change. One that not every instance obeys yet is said to be on its way.
func (a *app) changed(what, name string, c console.Change, err error) error {
	if (what == "changed" || what == "removed") && errors.Is(err, causeway.ErrNotFound) {
		return causeway.WithHint(err, "see what there is with: causeway server list")
	}
	if err != nil {
		return err
	}
	if c.Note != "" {
		fmt.Fprintf(a.stderr, "causeway: note: %s\n", oneLine(c.Note))
	}
	where := ""
	if c.Server.External != "" {
		where = " as " + c.Server.External
	}
	fmt.Fprintf(a.stdout, "%s %s%s; live in %s (document %d)\n", what, name, where, howFar(c), c.Generation)
	return nil
}

// howFar says in how many gateway instances a change is in force.
func howFar(c console.Change) string {
	switch {
	case c.Applied < c.Instances:
		return fmt.Sprintf("%d of %d instances so far, the rest follows", c.Applied, c.Instances)
	case c.Applied == 1:
		return "1 instance"
	}
	return fmt.Sprintf("%d instances", c.Applied)
}

func (a *app) serverListCmd() *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use:   "list",
		Short: "list published servers",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withSite(cmd.Context(), func(ctx context.Context, _ state, c *console.Client) error {
				servers, err := c.Servers(ctx)
				if err != nil {
					return err
				}
				return out.print(a.stdout, servers, func() error { return serverTable(a.stdout, servers, nil) })
			})
		},
	}
	out.flag(cmd)
	return cmd
}
