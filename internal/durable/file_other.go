//go:build !unix

package durable

import "os"

// ownLike does nothing where files inherit their access from the folder.
func ownLike(*os.File, string) error { return nil }

// SyncDir does nothing where folders cannot be synced.
func SyncDir(string) error { return nil }
