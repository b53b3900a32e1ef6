package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

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
	if err != nil && errors.Is(err, fs.ErrPermission) && !dir.mine() {
		return notMine(dir)
	}
	return err
}

// mine reports whether this user may look into the state folder.
func (s state) mine() bool {
	_, err := os.ReadDir(string(s))
	return !errors.Is(err, fs.ErrPermission)
}

// notMine says whose site it is: to anybody else it looks as if there were none.
func notMine(dir state) error {
	return causeway.WithHint(fmt.Errorf("the site in %s belongs to %s", dir, ownerOf(string(dir))),
		"run the command as that user, or with sudo; or name a folder of your own with --state DIR")
}

func notRunning(dir state) error {
	err := fmt.Errorf("%w in %s", causeway.ErrNotRunning, dir)
	if checkSite(dir) == nil {
		return causeway.WithHint(err, "start it again with: causeway site run --state %s, and the flags that it had; or name the folder of another with --state DIR", dir)
	}
	return causeway.WithHint(err,
		"start one with: causeway up --state %s (or causeway site run, when the gateway has a host of its own); or name the folder of another with --state DIR", dir)
}
