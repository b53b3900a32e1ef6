package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/console"
)

// withSite runs do with a client of the site that runs in the state folder.
func (a *app) withSite(ctx context.Context, do func(context.Context, state, *console.Client) error) error {
	dir, err := a.stateDir()
	if err != nil {
		return err
	}
	c, err := console.NewClient(dir.adminSocket(), dir.adminToken())
	if err == nil {
		defer c.Close()
		err = do(ctx, dir, c)
	}
	if errors.Is(err, causeway.ErrNotRunning) {
		return notRunning(dir)
	}
	return err
}

func notRunning(dir state) error {
	err := fmt.Errorf("%w in %s", causeway.ErrNotRunning, dir)
	if checkSite(dir) == nil {
		return causeway.WithHint(err, "start it again with: causeway site run --state %s, and the flags that it had; or name the folder of another with --state DIR", dir)
	}
	return causeway.WithHint(err,
		"start one with: causeway up --state %s (or causeway site run, when the gateway has a host of its own); or name the folder of another with --state DIR", dir)
}
