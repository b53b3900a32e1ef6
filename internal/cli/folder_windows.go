package cli

import "os"

// syncFolder has nothing to do: Windows journals renames and cannot sync a folder.
func syncFolder(*os.Root) error { return nil }
