package cli

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/causeway-gateway/causeway/internal/sample"
)

// sampleServerCmd is the management server that `up` publishes when it is given none.
func (a *app) sampleServerCmd() *cobra.Command {
	r := &roleProcess{app: a, name: "sample-server", served: true}
	cmd := &cobra.Command{
		Use: "sample-server", Short: "run the sample management server", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return r.runSampleServer(cmd.Context()) },
	}
	cmd.Flags().IntVar(&r.user, "user", 0, "user id to become")
	return cmd
}

func (r *roleProcess) runSampleServer(ctx context.Context) error {
	if err := r.enter(); err != nil {
		return err
	}
	f := r.inherited.File(listenerName)
	if f == nil {
		return errors.New("the sample server is started by: causeway up")
	}
	ln, err := net.FileListener(f)
	f.Close()
	if err != nil {
		return err
	}
	cfg := roleConfig{LogDir: "logs"}
	log, err := r.openLog(cfg, "SampleServer")
	if err != nil {
		return err
	}
	defer log.close()
	// No WriteTimeout: long-polls and event streams are what the sample is for.
	srv := &http.Server{Handler: sample.Handler(), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
	return r.serve(ctx, cfg, service{
		run:    func(ctx context.Context) error { return serveHTTP(ctx, srv, ln) },
		logger: log.Logger,
	})
}
