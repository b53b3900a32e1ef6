package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/connpoint"
	"github.com/causeway-gateway/causeway/signed"
)

// connectionPointConfig is the configuration file of a connection point. The documents of the site say the rest.
type connectionPointConfig struct {
	Site              causeway.SiteID            `yaml:"site"`
	SiteKey           string                     `yaml:"site_key"`
	ID                causeway.ConnectionPointID `yaml:"id"`
	ConnectionID      string                     `yaml:"connection_id"`
	CertificateFile   string                     `yaml:"certificate_file"`
	KeyFile           string                     `yaml:"key_file"`
	DocumentsDir      string                     `yaml:"documents_dir"`
	Connections       int                        `yaml:"connections,omitempty"`
	DrainTimeout      duration                   `yaml:"drain_timeout,omitempty"`
	MemoryBudgetBytes int64                      `yaml:"memory_budget_bytes,omitempty"`

	Role roleConfig `yaml:",inline"`
}

func (a *app) connectionPointCmd() *cobra.Command {
	return group("connection-point", "run a connection point by itself", a.connectionPointRunCmd())
}

func (a *app) connectionPointRunCmd() *cobra.Command {
	r := &roleProcess{app: a, name: "connection-point"}
	cmd := &cobra.Command{
		Use:   "run",
		Short: "run one connection point with a configuration file",
		Long: `Run one connection point. It dials out to every instance that its documents name and listens nowhere.
It looks into its documents folder once a second; SIGHUP makes it look at once.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := r.configured(cmd); err != nil {
				return err
			}
			return r.runConnectionPoint(cmd.Context())
		},
	}
	r.flags(cmd)
	return cmd
}

func (r *roleProcess) runConnectionPoint(ctx context.Context) error {
	if err := r.enter(); err != nil {
		return err
	}
	var cfg connectionPointConfig
	if err := readConfig(r.config, &cfg); err != nil {
		return err
	}
	if err := cfg.check(r.config); err != nil {
		return err
	}
	if err := r.confineAlone(cfg.Role, []string{filepath.Dir(r.config), cfg.CertificateFile, cfg.KeyFile}, cfg.DocumentsDir); err != nil {
		return err
	}
	unlock, err := r.lockFolder(cfg.DocumentsDir)
	if err != nil {
		return err
	}
	defer unlock()
	log, err := r.openLog(cfg.Role, "SMS_Cloud_ProxyConnector")
	if err != nil {
		return err
	}
	defer log.close()
	agent, err := cfg.agent(log)
	if err != nil {
		return err
	}
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
		errs = append(errs, misuse{fmt.Errorf("configuration %s: connections: %d is not between 1 and 4", path, c.Connections)})
	}
	for _, p := range []*string{&c.CertificateFile, &c.KeyFile, &c.DocumentsDir} {
		*p = beside(path, *p)
	}
	return errors.Join(append(errs, c.Role.check(path))...)
}

func (c *connectionPointConfig) agent(log *roleLog) (*connpoint.Agent, error) {
	key, err := signed.ParsePublicKey(c.SiteKey)
	if err != nil {
		return nil, fmt.Errorf("site_key: %w", err)
	}
	return &connpoint.Agent{
		ID: c.ID, Site: c.Site, ConnectionID: c.ConnectionID, DocumentsDir: c.DocumentsDir, SiteKey: key,
		CertificateFile: c.CertificateFile, KeyFile: c.KeyFile, Connections: c.Connections, Software: software(),
		DrainTimeout: time.Duration(c.DrainTimeout), MemoryBudgetBytes: c.MemoryBudgetBytes, Logger: log.Logger,
	}, nil
}
