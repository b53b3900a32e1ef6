package cli

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/connpoint"
	"github.com/causeway-gateway/causeway/signed"
	"github.com/causeway-gateway/causeway/siteca"
)

// connectionPointConfig is the configuration file of a connection point. The documents of the site say the rest.
type connectionPointConfig struct {
	Site            causeway.SiteID            `yaml:"site"`
	SiteKey         string                     `yaml:"site_key"`
	ID              causeway.ConnectionPointID `yaml:"id"`
	ConnectionID    string                     `yaml:"connection_id"`
	CertificateFile string                     `yaml:"certificate_file"`
	KeyFile         string                     `yaml:"key_file"`
	DocumentsDir    string                     `yaml:"documents_dir"`
	Connections     wholeNumber                `yaml:"connections,omitempty"`
	DrainTimeout    duration                   `yaml:"drain_timeout,omitempty"`
	MemoryBudget    memorySize                 `yaml:"memory_budget,omitempty"` // of body bytes on all channels; zero means the channel's default
	MaxInFlight     wholeNumber                `yaml:"max_in_flight,omitempty"` // requests from each gateway instance at a time; zero means no bound

	Transport transportConfig `yaml:",inline"`

	Role roleConfig `yaml:",inline"`
}

// mostInFlight is more requests than an instance ever has under way.
const mostInFlight = 1 << 20

func (a *app) connectionPointCmd() *cobra.Command {
	return group("connection-point", "run a connection point by itself", a.connectionPointRunCmd())
}

func (a *app) connectionPointRunCmd() *cobra.Command {
	r := &roleProcess{app: a, name: "connection-point"}
	var flags transportConfig
	cmd := r.carrierCmd(&cobra.Command{
		Short: "run one connection point with a configuration file",
		Long: `Run one connection point. It dials out to every instance that its documents name and listens nowhere.
It looks into its documents folder once a second; SIGHUP makes it look at once.

It dials each instance on its own port (10124 plus its slot). Where that fails it goes by the port that devices use, as
TLS of its own kind or within a WebSocket, and says so in its log; it keeps trying the better way. A proxy in the
environment is used with --proxy environment alone. What flags say goes before what the file says.`,
		Example: `  causeway connection-point run --config cp-1/config.yaml
  causeway connection-point run --config cp-1/config.yaml --proxy http://proxy.example.com:3128 --proxy-credentials proxy.txt`,
	}, func(cmd *cobra.Command) error {
		if err := flags.given(cmd.Flags()); err != nil {
			return err
		}
		return r.runConnectionPoint(cmd.Context(), flags)
	})
	flags.flags(cmd)
	return cmd
}

func (r *roleProcess) runConnectionPoint(ctx context.Context, flags transportConfig) error {
	if err := r.enter(); err != nil {
		return err
	}
	var cfg connectionPointConfig
	if err := readConfig(r.config, &cfg); err != nil {
		return err
	}
	for _, p := range []*string{&cfg.Transport.ProxyCredentialsFile, &cfg.Transport.ExtraCAFile} {
		*p = beside(r.config, *p)
	}
	for _, p := range []*string{&flags.ProxyCredentialsFile, &flags.ExtraCAFile} {
		if *p != "" && r.inherited == nil { // of the command line, so relative to where it was typed
			abs, err := filepath.Abs(*p)
			if err != nil {
				return err
			}
			*p = abs
		}
	}
	cfg.Transport.override(flags)
	cfg.MemoryBudget = cmp.Or(r.budget, cfg.MemoryBudget)
	if err := errors.Join(cfg.check(r.config), cfg.Transport.check(r.config, r.app.getenv)); err != nil {
		return err
	}
	log, leave, err := r.settle(cfg.Role, "SMS_Cloud_ProxyConnector", cfg.DocumentsDir, cfg.CertificateFile, cfg.KeyFile,
		cfg.Transport.ProxyCredentialsFile, cfg.Transport.ExtraCAFile)
	if err != nil {
		return err
	}
	defer leave()
	agent, err := cfg.agent(log)
	if err == nil {
		err = cfg.Transport.apply(agent, r.config, r.app.getenv)
	}
	if err != nil {
		return err
	}
	if name := cfg.Transport.unusedProxy(r.app.getenv); name != "" {
		log.Info("a proxy in the environment is not used", "variable", name, "hint", "to use it: proxy: environment")
	}
	if cfg.Transport.missingProxy(r.app.getenv) {
		log.Warn("no proxy is used, since the environment names none", "hint", "set HTTPS_PROXY, or name the proxy's URL: proxy: http://proxy.example.com:3128")
	}
	warnOfOpenFiles(log.Logger, cfg.KeyFile, cfg.Transport.ProxyCredentialsFile)
	r.warnOfBudget(log.Logger, cfg.MemoryBudget, cfg.Role.MemoryLimit)
	return r.serve(ctx, cfg.Role, service{
		run: agent.Run, admin: agent.AdminHandler(), reload: agent.Reload,
		ready: map[string]any{"id": cfg.ID}, logger: log.Logger,
	})
}

// check judges the fields and makes paths absolute.
func (c *connectionPointConfig) check(path string) error {
	errs := []error{required(path, map[string]string{
		"site": string(c.Site), "site_key": c.SiteKey, "id": string(c.ID), "connection_id": c.ConnectionID,
		"certificate_file": c.CertificateFile, "key_file": c.KeyFile, "documents_dir": c.DocumentsDir,
	})}
	if c.Connections < 0 || c.Connections > 4 {
		errs = append(errs, causeway.WithHint(misuse{fmt.Errorf("%s: %d is not between 1 and 4", fieldOf(path, "connections"), c.Connections)},
			"give the connections to each gateway instance, 1 to 4, or leave the line out for 2"))
	}
	if c.MaxInFlight < 0 || c.MaxInFlight > mostInFlight {
		errs = append(errs, causeway.WithHint(misuse{fmt.Errorf("%s: %d is not between 0 and %d", fieldOf(path, "max_in_flight"), c.MaxInFlight, mostInFlight)},
			"give how many requests are taken from each gateway instance at a time; 0, or no such line, is no bound"))
	}
	errs = append(errs, checkSiteKey(path, c.SiteKey))
	for _, p := range []*string{&c.CertificateFile, &c.KeyFile, &c.DocumentsDir} {
		*p = beside(path, *p)
	}
	errs = append(errs, c.checkOwner(path))
	return errors.Join(append(errs, c.Role.check(path))...)
}

// checkOwner compares the id with the certificate, as every gateway will. A certificate that is not there yet, or cannot
// be read, is waited for.
func (c *connectionPointConfig) checkOwner(path string) error {
	text, err := os.ReadFile(c.CertificateFile)
	if err != nil {
		return nil
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil || siteca.Certifies(cert, c.Site, c.ID) {
		return nil
	}
	return causeway.WithHint(misuse{fmt.Errorf("%s: the certificate in %s is not that of connection point %s of site %s", fieldOf(path, "id"), c.CertificateFile, c.ID, c.Site)},
		"export the folder again, and change neither site nor id in it")
}

func (c *connectionPointConfig) agent(log *roleLog) (*connpoint.Agent, error) {
	key, err := signed.ParsePublicKey(c.SiteKey)
	if err != nil {
		return nil, fmt.Errorf("site_key: %w", err)
	}
	return &connpoint.Agent{
		ID: c.ID, Site: c.Site, ConnectionID: c.ConnectionID, DocumentsDir: c.DocumentsDir, SiteKey: key,
		CertificateFile: c.CertificateFile, KeyFile: c.KeyFile, Connections: int(c.Connections), Software: software(),
		DrainTimeout: time.Duration(c.DrainTimeout), MemoryBudgetBytes: int64(c.MemoryBudget), MaxInFlight: int(c.MaxInFlight), Logger: log.Logger,
	}, nil
}
