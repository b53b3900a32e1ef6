package cli

import "github.com/spf13/cobra"

// commands lists every command, in the order of a newcomer's needs.
func (a *app) commands() []*cobra.Command {
	all := []*cobra.Command{
		a.upCmd(), a.statusCmd(), a.logsCmd(), a.downCmd(),
		a.serverCmd(), a.deviceCmd(), a.explainCmd(),
		a.gatewayCmd(), a.connectionPointCmd(), a.siteCmd(), a.sampleServerCmd(),
		a.versionCmd(),
	}
	return append(all, a.platformCommands()...)
}
