package cli

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/causeway-gateway/causeway/fabric/network"
)

// balancerCmd is the load balancer of `up`. It has no configuration file: its few facts come as flags from the
// parent, before it is confined, because its port may need root.
func (a *app) balancerCmd() *cobra.Command {
	r := &roleProcess{app: a, name: "balancer"}
	b := network.Balancer{
		Probe: network.Probe{Path: "/health"}, // where package gateway answers it
		Allow: allow,
	}
	cmd := &cobra.Command{
		Use: "balancer", Short: "run the load balancer", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return r.runBalancer(cmd.Context(), &b) },
	}
	cmd.Flags().StringVar(&b.Address, "address", "", "IP address of the front end")
	cmd.Flags().IntVar(&b.Port, "port", 0, "port of the front end")
	cmd.Flags().IntVar(&r.user, "user", 0, "user id to become")
	return cmd
}

func (r *roleProcess) runBalancer(ctx context.Context, b *network.Balancer) error {
	if err := b.Listen(ctx); err != nil {
		return err
	}
	if err := r.enter(); err != nil {
		return err
	}
	if b.Control = r.inherited.File(controlName); b.Control == nil {
		return errors.New("the balancer is started by: causeway up")
	}
	cfg := roleConfig{LogDir: "logs", AdminSocket: adminSocket}
	log, err := r.openLog(cfg, "LoadBalancer")
	if err != nil {
		return err
	}
	defer log.close()
	b.Logger = log.Logger
	return r.serve(ctx, cfg, service{run: b.Run, admin: balancerAdmin(b), logger: log.Logger})
}

// allow is the network security group of one machine: devices come from everywhere, channels from this machine alone,
// because here every connection point of the site runs on it.
func allow(f network.Flow) bool {
	source := f.Source.Addr().Unmap()
	return f.Slot < 0 || source.IsLoopback() || source == f.Destination.Addr().Unmap()
}

// balancerAdmin is the balancer's read-only surface.
func balancerAdmin(b *network.Balancer) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("live\n")) })
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(b.Status()) // the caller is gone: nobody to tell
	})
	mux.Handle("GET /metrics", balancerMetrics(b))
	return mux
}
