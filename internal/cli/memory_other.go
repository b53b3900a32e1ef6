//go:build !linux

package cli

func memoryThereIs() int64 { return 0 }

func openFiles() uint64 { return enoughFiles } // there is no such limit, or none that we could raise
