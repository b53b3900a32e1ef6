//go:build !linux

package cli

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/causeway-gateway/causeway"
)

// siteRunCmd says where a site runs: the lock of its state folder and the check of who asks are Linux's.
func (a *app) siteRunCmd() *cobra.Command {
	return &cobra.Command{
		Use: "run", Short: "run a site by itself (Linux only)", DisableFlagParsing: true,
		RunE: func(*cobra.Command, []string) error {
			return causeway.WithHint(errors.New("a site runs on Linux only"),
				"run it on a Linux host; its connection points run here, too: causeway connection-point run")
		},
	}
}
