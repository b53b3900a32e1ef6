package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/console"
)

// downTimeout is how long a site may take to drain and stop before `down` gives up on it.
const downTimeout = 60 * time.Second

func (a *app) downCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "stop the running site and wait until it is gone",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withSite(cmd.Context(), func(ctx context.Context, dir state, c *console.Client) error {
				if err := c.Stop(ctx); err != nil {
					return err
				}
				if err := a.waitGone(ctx, dir); err != nil {
					return err
				}
				fmt.Fprintf(a.stdout, "stopped; state stays in %s\n", dir)
				return nil
			})
		},
	}
}

// waitGone waits until nobody holds the state folder's lock any more, which is when the last process is gone.
func (a *app) waitGone(ctx context.Context, dir state) error {
	ctx, cancel := context.WithTimeout(ctx, downTimeout)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if free, err := lockIsFree(dir); free || errors.Is(err, os.ErrNotExist) {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return causeway.WithHint(fmt.Errorf("the site in %s is still stopping after %v", dir, downTimeout),
				"see what it waits for with: causeway logs --state %s", dir)
		}
	}
}
