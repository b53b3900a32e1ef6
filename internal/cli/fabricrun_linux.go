package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/fabric"
)

// defaultFabricPort is where the fabric serves unless told otherwise.
const defaultFabricPort = 9443

func (a *app) fabricRunCmd() *cobra.Command {
	var listen, level string
	var port int
	cmd := &cobra.Command{
		Use:   "run",
		Short: "run the fabric: directory, control plane, vaults, storage",
		Long: `Run Azure's planes on this machine, behind one TLS port: the directory that issues tokens, Azure Resource Manager with
deployments, Key Vault, and blob and table storage. Azure's own clients work with it as with Azure. Its state, its
certificate authority and its owner's secret lie in the folder fabric of the state folder.`,
		Example: `  causeway fabric run
  causeway fabric run --state /tmp/fabric --port 10443
  eval "$(causeway fabric env)"   # in another terminal, for Azure's clients`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ip, err := netip.ParseAddr(listen)
			if err != nil {
				return usageError(cmd, fmt.Errorf("--listen %q is not an IP address", listen))
			}
			if port < 1 || port > 65535 {
				return usageError(cmd, fmt.Errorf("--port %d is not a port", port))
			}
			var verbosity slog.Level
			if err := verbosity.UnmarshalText([]byte(level)); err != nil {
				return usageError(cmd, fmt.Errorf("--log-level %q is not debug, info, warn or error", level))
			}
			return a.fabricRun(cmd.Context(), ip, port, verbosity)
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1", "`IP` address to serve on")
	cmd.Flags().IntVar(&port, "port", defaultFabricPort, "TCP `PORT` to serve on")
	cmd.Flags().StringVar(&level, "log-level", "warn", "debug, info, warn or error")
	return cmd
}

func (a *app) fabricRun(ctx context.Context, ip netip.Addr, port int, level slog.Level) error {
	dir, err := a.fabricDir()
	if err != nil {
		return err
	}
	claim, err := claimFolder(dir, fabricRuns)
	if err != nil {
		return err
	}
	defer claim.release()
	if err := removeReady(dir); err != nil { // of a run that was killed
		return err
	}
	progress := a.newProgress()
	log := slog.New(slog.NewJSONHandler(a.stderr, &slog.HandlerOptions{Level: level}))
	var f *fabric.Fabric
	if err := progress.step("open the fabric", func() (err error) {
		f, err = fabric.Open(ctx, fabric.Config{Dir: string(dir), Listen: ip.String(), Port: port, Now: a.now, Log: log})
		return fabricError(err, ip, port)
	}); err != nil {
		if claim.made != "" { // a start that failed leaves what it found
			err = errors.Join(err, os.RemoveAll(claim.made))
		}
		return err
	}
	ready := f.Ready()
	r := &fabricReady{PID: os.Getpid(), Address: net.JoinHostPort(ip.String(), strconv.Itoa(port)), Port: port, Tenant: ready.Tenant, Subscription: ready.Subscription,
		Management: ready.Management, Login: ready.Login, Graph: ready.Graph, Vaults: ready.Vaults, Blobs: ready.Blobs, Tables: ready.Tables, CAFile: dir.ca()}
	if err := errors.Join(r.write(dir), a.sayFabric(progress, dir, r)); err != nil {
		return errors.Join(err, f.Close())
	}
	err = f.Serve(ctx)
	return errors.Join(err, progress.step("stop", func() error { return errors.Join(removeReady(dir), f.Close()) }))
}

func fabricRuns(dir state, pid string) error {
	return causeway.WithHint(fmt.Errorf("a fabric already runs in %s (pid %s)", dir, pid),
		"see it with: causeway fabric status --state %s; or give this one another folder with --state DIR", filepath.Dir(string(dir)))
}

// fabricError says what to do about a start that failed.
func fabricError(err error, ip netip.Addr, port int) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return causeway.WithHint(fmt.Errorf("port %d of %s is taken by another program", port, ip), "choose another with --port PORT, or find who has it: ss -ltnp 'sport = :%d'", port)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return causeway.WithHint(fmt.Errorf("%s is not an address of this machine", ip), "see which there are with: ip address")
	case errors.Is(err, syscall.EACCES):
		return causeway.WithHint(err, "ports below 1024 need more rights; choose another with --port PORT")
	}
	return err
}

// sayFabric tells people where everything is.
func (a *app) sayFabric(p *progress, dir state, r *fabricReady) error {
	state := shellLine("", "--state", filepath.Dir(string(dir)))
	_, err := fmt.Fprintf(a.stdout, `
Ready after %s. The fabric serves on %s:

  management    %s
  login         %s
  graph         %s
  vaults        https://NAME.%s
  blobs         https://NAME.%s
  tables        https://NAME.%s

  subscription  %s
  state         %s
  authority     %s

For Azure's clients, in another terminal:

  eval "$(%s%s)"

Stop with Ctrl-C.
`, seconds(a.now().Sub(p.start)), r.Address, r.Management, r.Login, r.Graph, r.Vaults, r.Blobs, r.Tables, r.Subscription, dir, r.CAFile, a.line("fabric", "env"), state)
	return err
}
