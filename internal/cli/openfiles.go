package cli

import (
	"log/slog"
	"os"
	"runtime"
)

// warnOfOpenFiles says which files with secrets others than their owner and its group may read. Names that are empty
// are none.
func warnOfOpenFiles(log *slog.Logger, files ...string) {
	if runtime.GOOS == "windows" {
		return // whose modes say nothing of that
	}
	for _, file := range files {
		if fi, err := os.Stat(file); err == nil && fi.Mode().Perm()&0o007 != 0 {
			log.Warn("a file with a secret can be read by everybody on this machine", "file", file, "mode", fi.Mode().Perm().String(),
				"hint", shellLine("chmod", "600", file))
		}
	}
}
