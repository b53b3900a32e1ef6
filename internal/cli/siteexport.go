package cli

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/signed"
)

// An exportPlan is what the flags of `site export` ask for.
type exportPlan struct {
	systemd     bool
	move        bool // from the folder of an earlier export
	listen      string
	channelPort int
}

func (a *app) siteExportCmd() *cobra.Command {
	return group("export", "write the folder of a role that runs on a host of its own", a.exportGatewayCmd(), a.exportPointCmd())
}

func (a *app) exportGatewayCmd() *cobra.Command {
	var p exportPlan
	cmd := &cobra.Command{
		Use:   "gateway SLOT DIR",
		Short: "write the folder of a gateway instance, ready to be copied to its host",
		Long: `Write the folder of the gateway instance of a slot: configuration, service certificate with its key, and the signed
document that it starts with. It holds no key of the site and no name of the inside. On its host:

  causeway gateway run --config DIR/config.yaml

The site may run meanwhile or not. DIR must be new or empty.`,
		Example: `  causeway site export gateway 0 gateway-0 && scp -r gateway-0 root@203.0.113.7:/etc/causeway/gateway`,
		Args:    cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			return a.export(args[1], func(dir state, out string) (string, error) { return exportGateway(dir, args[0], &p, out) })
		},
	}
	cmd.Flags().StringVar(&p.listen, "listen", "0.0.0.0", "`IP` that it listens on")
	cmd.Flags().IntVar(&p.channelPort, "channel-port", 0,
		"port for connection points, where a load balancer maps the one they dial (default: the dialled one)")
	p.flag(cmd)
	return cmd
}

func (a *app) exportPointCmd() *cobra.Command {
	var p exportPlan
	cmd := &cobra.Command{
		Use:   "connection-point NAME DIR",
		Short: "write the folder of a connection point",
		Long: `Write the folder of a connection point: configuration, certificate with its key, and the signed documents. Start it with

  causeway connection-point run --config DIR/config.yaml

While the folder lies on the site's host, the site keeps documents and certificate in it fresh. On another host that
is yours to do: copy documents/ of the state folder there after each change, and every day. Of several folders of one
connection point the site keeps a single one fresh, so exporting it again takes --move while the first is there.

The site may run meanwhile or not. DIR must be new or empty.`,
		Example: `  causeway site export connection-point cp-1 /srv/cp-1`,
		Args:    cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			return a.export(args[1], func(dir state, out string) (string, error) { return a.exportPoint(dir, args[0], &p, out) })
		},
	}
	cmd.Flags().BoolVar(&p.move, "move", false, "the connection point moves: this folder is kept fresh from now on, and not the one exported before")
	p.flag(cmd)
	return cmd
}

func (p *exportPlan) flag(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&p.systemd, "systemd", false, "for the packaged systemd units: documents in /var/lib, admin socket in /run")
}

// export runs do on a new folder. What an export that failed has written is taken away again.
func (a *app) export(out string, do func(dir state, out string) (next string, err error)) error {
	dir, err := a.stateDir()
	if err != nil {
		return err
	}
	if err := checkSite(dir); err != nil {
		return err
	}
	if out, err = filepath.Abs(out); err != nil {
		return err
	}
	made, err := newFolder(out)
	if err != nil {
		return err
	}
	next, err := do(dir, out)
	if err != nil {
		emptyFolder(out, made)
		return err
	}
	fmt.Fprintf(a.stdout, "wrote %s\n%s", out, next)
	return nil
}

// newFolder makes a folder for its owner alone, or takes an empty one.
func newFolder(path string) (made bool, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return false, err
	}
	if err := os.Mkdir(path, 0o700); err == nil || !errors.Is(err, fs.ErrExist) {
		return err == nil, err
	}
	entries, err := os.ReadDir(path)
	switch {
	case err != nil:
		return false, causeway.WithHint(err, "give a folder that does not exist yet")
	case len(entries) > 0:
		return false, causeway.WithHint(fmt.Errorf("folder %s is not empty: it holds %q", path, entries[0].Name()),
			"give a folder that does not exist yet, or empty this one")
	}
	return false, os.Chmod(path, 0o700)
}

func emptyFolder(path string, remove bool) {
	if entries, err := os.ReadDir(path); err == nil {
		for _, e := range entries {
			os.RemoveAll(filepath.Join(path, e.Name()))
		}
	}
	if remove {
		os.Remove(path)
	}
}

// exportGateway writes an instance's folder and returns what to do next.
func exportGateway(dir state, slotText string, p *exportPlan, out string) (string, error) {
	slot, err := strconv.Atoi(slotText)
	if err != nil || !causeway.Slot(slot).Valid() {
		return "", badFlag("give a number from 0 to 15", "slot %q is not one", slotText)
	}
	from := dir.instance(causeway.Slot(slot))
	var cfg gatewayConfig
	if err := readRole(from, &cfg); err != nil {
		return "", unknownRole(err, fmt.Sprintf("slot %d", slot), dir.path("instances"))
	}
	if cfg.DevicesListen == "" {
		return "", causeway.WithHint(fmt.Errorf("causeway up was the last to run in %s, and wrote its folders for itself", dir),
			"start the site again with: causeway site run --state %s, and the flags that it had; then export", dir)
	}
	if err := p.listenOn(&cfg); err != nil {
		return "", err
	}
	if err := copyRole(from, out, gatewayYAML(&cfg, p.systemd)); err != nil {
		return "", err
	}
	if err := copyDocuments(dir.documents(), out, signed.KindGateway); err != nil {
		return "", err
	}
	return fmt.Sprintf("copy it to the gateway's host, which serves devices on %s and connection points on %s, and start it there:\n  %s\n",
		cfg.DevicesListen, cfg.ChannelsListen, startLine("causeway", "gateway", "DIR", p.systemd)), nil
}

// listenOn puts the addresses of the flags into the configuration.
func (p *exportPlan) listenOn(cfg *gatewayConfig) error {
	if p.channelPort < 0 || p.channelPort > 65535 {
		return badFlag("choose a port from 1 to 65535", "--channel-port %d does not exist", p.channelPort)
	}
	for _, address := range []*string{&cfg.DevicesListen, &cfg.ChannelsListen} {
		_, port, _ := strings.Cut(*address, ":")
		if address == &cfg.ChannelsListen && p.channelPort != 0 {
			port = strconv.Itoa(p.channelPort)
		}
		host := p.listen
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		*address = host + ":" + port
		if err := listenAddress("--listen", *address, false); err != nil {
			return badFlag("give an IP address of the gateway's host, 0.0.0.0 for all", "--listen %q is not an IP address", p.listen)
		}
	}
	return nil
}

// exportPoint writes a connection point's folder, notes where it is for the site, and returns what to do next.
func (a *app) exportPoint(dir state, name string, p *exportPlan, out string) (string, error) {
	id := causeway.ConnectionPointID(name)
	if name == "" || strings.ContainsAny(name, `/\.`) {
		return "", unknownRole(fs.ErrNotExist, fmt.Sprintf("connection point %q", name), dir.path("connection-points"))
	}
	from := dir.connectionPoint(id)
	var cfg connectionPointConfig
	if err := readRole(from, &cfg); err != nil {
		return "", unknownRole(err, fmt.Sprintf("connection point %q", name), dir.path("connection-points"))
	}
	h := newHome(out, p.systemd)
	before, err := otherHome(dir.home(id), h)
	if err != nil {
		return "", err
	}
	if before != "" && !p.move {
		return "", causeway.WithHint(fmt.Errorf("connection point %s is exported to %s already, and the site keeps one folder of it fresh", id, before),
			"use that one; or stop it there and add --move; or run one more under a name of its own: causeway site run --connection-point NAME")
	}
	if err := copyRole(from, out, connectionPointYAML(&cfg, p.systemd)); err != nil {
		return "", err
	}
	if err := copyDocuments(dir.documents(), out, signed.KindGateway, signed.KindConnectionPoint); err != nil {
		return "", err
	}
	raw, err := json.Marshal(h)
	if err != nil {
		return "", err
	}
	if err := writeFile(dir.home(id), raw); err != nil {
		return "", err
	}
	moved := ""
	if before != "" {
		moved = fmt.Sprintf("the site keeps this folder fresh from now on, and %s no more: stop the connection point there\n", before)
	}
	return fmt.Sprintf("%sstart it with:\n  %s\n", moved, startLine(a.line(), "connection-point", out, p.systemd)), nil
}

// newHome is where a connection point runs that is exported to out.
func newHome(out string, systemd bool) home {
	if systemd {
		return home{DocumentsDir: systemdPointState, AdminSocket: systemdPointRun + "/admin.sock"}
	}
	return home{Dir: out, DocumentsDir: filepath.Join(out, "documents"), AdminSocket: filepath.Join(out, "run.sock")}
}

// otherHome returns the folder that an earlier export noted in file, if it is another than h's and still there.
func otherHome(file string, h home) (string, error) {
	var before home
	raw, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err == nil {
		err = json.Unmarshal(raw, &before)
	}
	if err != nil {
		return "", fmt.Errorf("where the connection point runs: %w", err)
	}
	if before.DocumentsDir == h.DocumentsDir {
		return "", nil
	}
	if _, err := os.Stat(before.folder()); errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return before.folder(), nil
}

// startLine is how a role is started from a folder, or from /etc/causeway under its packaged unit.
func startLine(program, role, dir string, systemd bool) string {
	if systemd {
		return "systemctl enable --now causeway-" + role
	}
	return program + shellLine("", role, "run", "--config", filepath.Join(dir, "config.yaml"))
}

// unknownRole says which names there are.
func unknownRole(err error, what, folder string) error {
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var names []string
	if entries, err := os.ReadDir(folder); err == nil {
		for _, e := range entries {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return causeway.WithHint(fmt.Errorf("the site has no %s: %w", what, causeway.ErrNotFound), "it has: %s", strings.Join(names, ", "))
}

// readRole reads the configuration that the site wrote for a role.
func readRole(from string, into any) error {
	file := filepath.Join(from, "config.yaml")
	if _, err := os.Stat(file); err != nil {
		return err
	}
	return readConfig(file, into)
}

// copyRole writes certificate, key and configuration of a role.
func copyRole(from, out, config string) error {
	cert, errCert := os.ReadFile(filepath.Join(from, "tls.crt"))
	key, errKey := os.ReadFile(filepath.Join(from, "tls.key"))
	if err := errors.Join(errCert, errKey); err != nil {
		return err
	}
	if _, err := tls.X509KeyPair(cert, key); err != nil {
		return causeway.WithHint(fmt.Errorf("certificate in %s: %w", from, err), "the site may just be renewing it; run the command again")
	}
	f, err := openOwnFolder(out)
	if err != nil {
		return err
	}
	defer f.close()
	return errors.Join(f.write("tls.key", key), f.write("tls.crt", cert), f.write("config.yaml", []byte(config)))
}

// copyDocuments gives a role what it starts with.
func copyDocuments(from, out string, kinds ...string) error {
	f, err := openOwnFolder(out)
	if err != nil {
		return err
	}
	defer f.close()
	inner, err := f.folder("documents")
	if err != nil {
		return err
	}
	defer inner.close()
	for _, kind := range kinds {
		raw, err := signed.ReadFile(filepath.Join(from, kind+".json"))
		if err != nil {
			return err
		}
		if err := inner.write(kind+".json", raw); err != nil {
			return err
		}
	}
	return nil
}
