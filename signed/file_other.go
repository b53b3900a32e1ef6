//go:build !unix

package signed

import "os"

// ownLike does nothing where files inherit their access from the folder.
func ownLike(*os.File, string) error { return nil }

// syncDir does nothing where folders cannot be synced.
func syncDir(string) error { return nil }
