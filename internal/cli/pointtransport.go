package cli

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/spf13/cobra"

	"github.com/causeway-gateway/causeway"
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
}

// proxyEnvironment takes the proxy from HTTPS_PROXY and NO_PROXY. A daemon does not look there unasked: what happens to
// be in the environment of whoever started it must not decide where its connections go.
const proxyEnvironment = "environment"

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
	f.StringVar(&c.Proxy, "proxy", "", "HTTP proxy to the gateways, as `URL`; environment: from HTTPS_PROXY and NO_PROXY")
	f.StringVar(&c.ProxyCredentialsFile, "proxy-credentials", "", "`FILE` with one line USER:PASSWORD for the proxy")
	f.StringVar(&c.NoProxy, "no-proxy", "", "`HOSTS` that are reached without the proxy, as in NO_PROXY")
	f.StringVar(&c.ExtraCAFile, "extra-ca", "", "`PEM` file with CAs of a proxy or middle box that ends TLS on the way")
}

// override takes over what flags say instead of the file.
func (c *transportConfig) override(flags transportConfig) {
	if len(flags.Transports) > 0 {
		c.Transports = flags.Transports
	}
	for into, value := range map[*string]string{
		&c.Proxy: flags.Proxy, &c.ProxyCredentialsFile: flags.ProxyCredentialsFile, &c.NoProxy: flags.NoProxy, &c.ExtraCAFile: flags.ExtraCAFile,
	} {
		if value != "" {
			*into = value
		}
	}
}

// check judges the fields. path is that of the configuration.
func (c *transportConfig) check(path string, getenv func(string) string) error {
	var errs []error
	wrong := func(field string, err error) {
		if err != nil {
			errs = append(errs, causeway.WithHint(misuse{fmt.Errorf("configuration %s: %s: %w", path, field, err)}, "%s", causeway.Hint(err)))
		}
	}
	_, err := connpoint.ParseTransports(c.Transports)
	wrong("transports", err)
	if c.Proxy == "" {
		for field, value := range map[string]string{"proxy_credentials_file": c.ProxyCredentialsFile, "no_proxy": c.NoProxy} {
			if value != "" {
				wrong(field, causeway.WithHint(errors.New("there is no proxy"), "add a line such as proxy: http://proxy.example.com:3128"))
			}
		}
	}
	if p := c.proxy(getenv); p != nil {
		wrong("proxy", p.Check())
	}
	return errors.Join(errs...)
}

// proxy returns the proxy's settings, nil without one.
func (c *transportConfig) proxy(getenv func(string) string) *connpoint.Proxy {
	p := &connpoint.Proxy{URL: c.Proxy, NoProxy: c.NoProxy}
	if c.Proxy == proxyEnvironment {
		p.URL = firstOf(getenv, "HTTPS_PROXY", "https_proxy")
		if p.NoProxy == "" {
			p.NoProxy = firstOf(getenv, "NO_PROXY", "no_proxy")
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

func firstOf(getenv func(string) string, names ...string) string {
	for _, name := range names {
		if v := getenv(name); v != "" {
			return v
		}
	}
	return ""
}

// maxCredentialsBytes bounds the file of a user and a password.
const maxCredentialsBytes = 4 << 10

// readCredentials reads one line USER:PASSWORD. It is read at each dial, so that a new password is taken up by itself.
// No error repeats what stands there.
func readCredentials(file string) (user, password string, err error) {
	f, err := os.Open(file)
	if err != nil {
		return "", "", causeway.WithHint(err, "make proxy_credentials_file readable for the connection point")
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxCredentialsBytes+1))
	if err != nil {
		return "", "", err
	}
	line := strings.TrimRight(string(text), "\r\n")
	user, password, ok := strings.Cut(line, ":")
	if !ok || user == "" || len(text) > maxCredentialsBytes || strings.ContainsAny(line, "\r\n\x00") {
		return "", "", causeway.WithHint(fmt.Errorf("%s does not hold one line USER:PASSWORD", file), "write it with: printf '%%s' 'USER:PASSWORD' > %s", file)
	}
	return user, password, nil
}

// apply gives the settings to the agent.
func (c *transportConfig) apply(a *connpoint.Agent, getenv func(string) string) (err error) {
	if a.Transports, err = connpoint.ParseTransports(c.Transports); err != nil {
		return err
	}
	a.Proxy, a.ReturnEvery = c.proxy(getenv), time.Duration(c.ReturnInterval)
	if a.Proxy != nil && a.Proxy.Credentials != nil {
		if _, _, err := a.Proxy.Credentials(); err != nil { // now, rather than in a log later
			return fmt.Errorf("proxy_credentials_file: %w", err)
		}
	}
	if c.ExtraCAFile == "" {
		return nil
	}
	pem, err := os.ReadFile(c.ExtraCAFile)
	if err != nil {
		return fmt.Errorf("extra_ca_file: %w", err)
	}
	a.ExtraCAs = x509.NewCertPool()
	if !a.ExtraCAs.AppendCertsFromPEM(pem) {
		return causeway.WithHint(fmt.Errorf("extra_ca_file: %s holds no certificate", c.ExtraCAFile), "give the CA's certificate as PEM")
	}
	return nil
}

// unusedProxy names the variable whose proxy nobody uses although people may expect it.
func (c *transportConfig) unusedProxy(getenv func(string) string) string {
	if c.Proxy != "" {
		return ""
	}
	for _, name := range []string{"HTTPS_PROXY", "https_proxy"} {
		if getenv(name) != "" {
			return name
		}
	}
	return ""
}
