package cli

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/channel"
	"github.com/causeway-gateway/causeway/connpoint"
)

// A transportConfig says how a connection point reaches the gateways.
type transportConfig struct {
	Transports     transportList `yaml:"transports,omitempty"`
	ReturnInterval duration      `yaml:"transport_return,omitempty"`

	Proxy                string `yaml:"proxy,omitempty"` // URL, or "environment"
	ProxyCredentialsFile string `yaml:"proxy_credentials_file,omitempty"`
	NoProxy              string `yaml:"no_proxy,omitempty"`
	ExtraCAFile          string `yaml:"extra_ca_file,omitempty"`

	said map[string]string // by field: the flag that said it, where the file did not
}

// proxyEnvironment takes the proxy from HTTPS_PROXY and NO_PROXY. A daemon does not look there unasked: what happens to
// be in the environment of whoever started it must not decide where its connections go.
const proxyEnvironment = "environment"

// proxyNone is no proxy. A flag says so when the file has one.
const proxyNone = "none"

// A transportList is "auto", or a list of transports.
type transportList []string

// UnmarshalYAML reads a field of a configuration file.
func (l *transportList) UnmarshalYAML(n ast.Node) error {
	const want = "want auto, or a list of slot-port, single-port and websocket in the order of your preference"
	if scalar, ok := n.(ast.ScalarNode); ok {
		return unmarshalField(scalar, l, want)
	}
	if yaml.NodeToValue(n, (*[]string)(l)) != nil || len(*l) == 0 {
		return newBadValue(n, want)
	}
	return nil
}

func (l *transportList) UnmarshalText(b []byte) error {
	*l = strings.FieldsFunc(string(b), func(r rune) bool { return r == ',' || r == ' ' })
	if len(*l) == 0 {
		return errors.New("no transport")
	}
	return nil
}

func (c *transportConfig) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringSliceVar((*[]string)(&c.Transports), "transport", nil, "`LIST` of slot-port, single-port and websocket in the order of preference (default auto: all of them)")
	f.StringVar(&c.Proxy, "proxy", "", "HTTP proxy to the gateways, as `URL`; environment: from HTTPS_PROXY and NO_PROXY; none: none, whatever the file says")
	f.StringVar(&c.ProxyCredentialsFile, "proxy-credentials", "", "`FILE` with one line USER:PASSWORD for the proxy")
	f.StringVar(&c.NoProxy, "no-proxy", "", "`HOSTS` that are reached without the proxy, as in NO_PROXY")
	f.StringVar(&c.ExtraCAFile, "extra-ca", "", "`PEM` file with CAs of a proxy or middle box that ends TLS on the way")
}

// given notes which flags were given, be it with nothing behind them.
func (c *transportConfig) given(f *pflag.FlagSet) error {
	c.said = make(map[string]string)
	for field, flag := range map[string]string{"transports": "transport", "proxy": "proxy", "proxy_credentials_file": "proxy-credentials",
		"no_proxy": "no-proxy", "extra_ca_file": "extra-ca"} {
		if f.Changed(flag) {
			c.said[field] = "--" + flag
		}
	}
	if c.said["transports"] != "" && len(c.Transports) == 0 {
		return badFlag("choose auto, or of slot-port, single-port and websocket in the order of your preference", "--transport names none")
	}
	if u, err := url.Parse(c.Proxy); err == nil && u.User != nil {
		return badFlag("put them into a file and give that with --proxy-credentials", "--proxy: user and password could be read by everybody on this machine")
	}
	return nil
}

// override takes over what flags say instead of the file. Who says that there is no proxy needs nothing for one.
func (c *transportConfig) override(flags transportConfig) {
	c.said = flags.said
	if flags.said["transports"] != "" {
		c.Transports = flags.Transports
	}
	if flags.said["proxy"] != "" && (flags.Proxy == "" || flags.Proxy == proxyNone) {
		c.ProxyCredentialsFile, c.NoProxy = "", ""
	}
	for field, s := range map[string]struct {
		into  *string
		value string
	}{
		"proxy": {&c.Proxy, flags.Proxy}, "proxy_credentials_file": {&c.ProxyCredentialsFile, flags.ProxyCredentialsFile},
		"no_proxy": {&c.NoProxy, flags.NoProxy}, "extra_ca_file": {&c.ExtraCAFile, flags.ExtraCAFile},
	} {
		if flags.said[field] != "" {
			*s.into = s.value
		}
	}
}

// where says who said a field: a flag, or a line of the file at path.
func (c *transportConfig) where(path, field string) string {
	if flag := c.said[field]; flag != "" {
		return flag
	}
	return fieldOf(path, field)
}

// check judges the fields. path is that of the configuration.
func (c *transportConfig) check(path string, getenv func(string) string) error {
	var errs []error
	wrong := func(where string, err error) {
		if err != nil {
			errs = append(errs, causeway.WithHint(misuse{fmt.Errorf("%s: %w", where, err)}, "%s", causeway.Hint(err)))
		}
	}
	_, err := channel.ParseTransports(c.Transports)
	wrong(c.where(path, "transports"), err)
	if c.Proxy == "" || c.Proxy == proxyNone {
		for field, value := range map[string]string{"proxy_credentials_file": c.ProxyCredentialsFile, "no_proxy": c.NoProxy} {
			if value != "" {
				wrong(c.where(path, field), causeway.WithHint(errors.New("there is no proxy"),
					"name it: --proxy http://proxy.example.com:3128, or a line proxy: http://proxy.example.com:3128"))
			}
		}
	}
	if p := c.proxy(getenv); p != nil {
		at := c.where(path, "proxy")
		if p.Environment {
			at, _ = firstOf(getenv, httpsProxyVariables...)
		}
		wrong(at, p.Check())
		wrong(c.where(path, "no_proxy"), p.CheckNoProxy())
	}
	return errors.Join(errs...)
}

// proxy returns the proxy's settings, nil without one.
func (c *transportConfig) proxy(getenv func(string) string) *connpoint.Proxy {
	p := &connpoint.Proxy{URL: c.Proxy, NoProxy: c.NoProxy}
	if c.Proxy == proxyNone {
		return nil
	}
	if c.Proxy == proxyEnvironment {
		p.Environment = true
		_, p.URL = firstOf(getenv, httpsProxyVariables...)
		if p.NoProxy == "" {
			_, p.NoProxy = firstOf(getenv, "NO_PROXY", "no_proxy")
		}
		if p.URL != "" && !strings.Contains(p.URL, "://") {
			p.URL = "http://" + p.URL // as everybody reads it
		}
	}
	if p.URL == "" {
		return nil
	}
	if file := c.ProxyCredentialsFile; file != "" {
		p.Credentials = func() (string, string, error) { return readCredentials(file) }
	}
	return p
}

var httpsProxyVariables = []string{"HTTPS_PROXY", "https_proxy"}

// firstOf returns the first variable that is set, with its value.
func firstOf(getenv func(string) string, names ...string) (name, value string) {
	for _, name := range names {
		if v := getenv(name); v != "" {
			return name, v
		}
	}
	return "", ""
}

// maxCredentialsBytes bounds the file of a user and a password.
const maxCredentialsBytes = 4 << 10

// readCredentials reads one line USER:PASSWORD. It is read at each dial, so that a new password is taken up by itself.
// No error repeats what stands there.
func readCredentials(file string) (user, password string, err error) {
	f, err := os.Open(file)
	if err != nil {
		return "", "", causeway.WithHint(err, "give a file with one line USER:PASSWORD, readable for the connection point alone")
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxCredentialsBytes+1))
	if err != nil {
		return "", "", causeway.WithHint(err, "give a file with one line USER:PASSWORD, readable for the connection point alone")
	}
	line := strings.TrimRight(string(text), "\r\n")
	user, password, ok := strings.Cut(line, ":")
	if !ok || user == "" || len(text) > maxCredentialsBytes || strings.ContainsAny(line, "\r\n\x00") {
		return "", "", causeway.WithHint(fmt.Errorf("%s does not hold one line USER:PASSWORD", file), "write that line with an editor, and nothing else, into a file of mode 600")
	}
	return user, password, nil
}

// apply gives the settings to the agent.
func (c *transportConfig) apply(a *connpoint.Agent, path string, getenv func(string) string) (err error) {
	if a.Transports, err = channel.ParseTransports(c.Transports); err != nil {
		return err
	}
	a.Proxy, a.ReturnEvery = c.proxy(getenv), time.Duration(c.ReturnInterval)
	if a.Proxy != nil && a.Proxy.Credentials != nil {
		if _, _, err := a.Proxy.Credentials(); err != nil { // now, rather than in a log later
			return fmt.Errorf("%s: %w", c.where(path, "proxy_credentials_file"), err)
		}
	}
	if c.ExtraCAFile == "" {
		return nil
	}
	pem, err := os.ReadFile(c.ExtraCAFile)
	if err != nil {
		return causeway.WithHint(fmt.Errorf("%s: %w", c.where(path, "extra_ca_file"), err), "give a file with the CA's certificate as PEM, readable for the connection point")
	}
	a.ExtraCAs = x509.NewCertPool()
	if !a.ExtraCAs.AppendCertsFromPEM(pem) {
		return causeway.WithHint(fmt.Errorf("%s: %s holds no certificate", c.where(path, "extra_ca_file"), c.ExtraCAFile), "give the CA's certificate as PEM")
	}
	return nil
}

// unusedProxy names the variable whose proxy nobody uses although people may expect it.
func (c *transportConfig) unusedProxy(getenv func(string) string) string {
	if c.Proxy != "" {
		return ""
	}
	name, _ := firstOf(getenv, httpsProxyVariables...)
	return name
}

// missingProxy reports whether the environment was to name a proxy and does not.
func (c *transportConfig) missingProxy(getenv func(string) string) bool {
	_, value := firstOf(getenv, httpsProxyVariables...)
	return c.Proxy == proxyEnvironment && value == ""
}
