package cli

import "github.com/spf13/cobra"

// commands lists every command, in the order of a newcomer's needs.
func (a *app) commands() []*cobra.Command {
	return []*cobra.Command{
		a.versionCmd(),
	}
}
