//go:build !linux

package cli

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/causeway-gateway/causeway"
)

// upCmd says where up runs: the load balancer hands over sockets in a way that only Linux has.
func (a *app) upCmd() *cobra.Command {
	return &cobra.Command{
		Use: "up", Short: "start a whole gateway on this machine (Linux only)", DisableFlagParsing: true,
		RunE: func(*cobra.Command, []string) error {
			return causeway.WithHint(errors.New("up runs on Linux only"),
				"run the roles by themselves: causeway gateway run, causeway connection-point run")
		},
	}
}

// platformCommands lists what only this system has.
func (a *app) platformCommands() []*cobra.Command { return nil }
