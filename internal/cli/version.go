package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by the Makefile's -ldflags; a plain go build says "devel" or the module's version.
var version = ""

type buildInfo struct {
	Version  string `json:"version" yaml:"version"`
	Commit   string `json:"commit,omitempty" yaml:"commit,omitempty"`
	Modified bool   `json:"modified,omitempty" yaml:"modified,omitempty"`
	Go       string `json:"go" yaml:"go"`
	Platform string `json:"platform" yaml:"platform"`
}

func readBuildInfo() buildInfo {
	info := buildInfo{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if b, ok := debug.ReadBuildInfo(); ok {
		if info.Version == "" && b.Main.Version != "(devel)" {
			info.Version = b.Main.Version
		}
		for _, s := range b.Settings {
			switch s.Key {
			case "vcs.revision":
				info.Commit = s.Value
			case "vcs.modified":
				info.Modified = s.Value == "true"
			}
		}
	}
	if info.Version == "" {
		info.Version = "devel"
	}
	return info
}

// software names this build to the other end of a channel and in the Server header of admin surfaces.
func software() string { return "causeway/" + readBuildInfo().Version }

func (a *app) versionCmd() *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use:   "version",
		Short: "say which build this is",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			info := readBuildInfo()
			return out.print(a.stdout, info, func() error {
				commit := info.Commit
				if info.Modified {
					commit += " (modified)"
				}
				if commit != "" {
					commit = " commit " + commit
				}
				_, err := fmt.Fprintf(a.stdout, "causeway %s%s %s %s\n", info.Version, commit, info.Go, info.Platform)
				return err
			})
		},
	}
	out.flag(cmd)
	return cmd
}
