//go:build unix

package cli

import "os"

// syncFolder makes a rename in the folder last.
func syncFolder(root *os.Root) error {
	d, err := root.Open(".")
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
