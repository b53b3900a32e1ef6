package cli

import "github.com/spf13/cobra"

// platformCommands lists what only this system has.
func (a *app) platformCommands() []*cobra.Command {
	return []*cobra.Command{a.fabricCmd(), a.balancerCmd()}
}
