package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/fabric"
)

func (a *app) fabricResetCmd() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "reset",
		Short: "delete the fabric with all that is in it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := a.fabricDir()
			if err != nil {
				return err
			}
			if _, err := fabric.ReadOwner(string(dir)); errors.Is(err, fs.ErrNotExist) {
				return causeway.WithHint(fmt.Errorf("there is no fabric in %s: %w", dir, causeway.ErrNotFound), "name the state folder with --state DIR")
			}
			claim, err := claimFolder(dir, func(dir state, pid string) error {
				return causeway.WithHint(fmt.Errorf("the fabric in %s runs (pid %s)", dir, pid), "stop it first: kill %s", pid)
			})
			if err != nil {
				return err
			}
			defer claim.release()
			if !yes {
				return badFlag(fmt.Sprintf("if that is what you want: %s", a.line("fabric", "reset", "--yes", "--state", filepath.Dir(string(dir)))),
					"this deletes every vault, every blob and the certificate authority of the fabric in %s", dir)
			}
			if err := os.RemoveAll(string(dir)); err != nil {
				return err
			}
			fmt.Fprintf(a.stdout, "The fabric in %s is gone.\n", dir)
			return nil
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do it")
	return cmd
}
