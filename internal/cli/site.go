package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/causeway-gateway/causeway"
)

func (a *app) siteCmd() *cobra.Command {
	return group("site", "run a site whose gateway and connection points are on hosts of their own",
		a.siteRunCmd(), a.siteExportCmd())
}

// Folders and files of a site that runs by itself, beside those that `up` has too.

// documents is where the newest documents lie for whoever carries them away.
func (s state) documents() string { return s.path("documents") }

// home says where a connection point of this host runs.
func (s state) home(id causeway.ConnectionPointID) string {
	return state(s.connectionPoint(id)).path("home.json")
}

// A home is where a connection point runs on this host, so that the site can keep it up to date and ask it how it
// fares. One that runs on another host has none that exists here.
type home struct {
	Dir          string `json:"dir,omitempty"` // its folder; "" when only a copy of it is used
	DocumentsDir string `json:"documents_dir"`
	AdminSocket  string `json:"admin_socket"`
}

// folder is what a person calls the place.
func (h home) folder() string {
	if h.Dir != "" {
		return h.Dir
	}
	return h.DocumentsDir
}

// startLine is how a person starts the connection point that lives there.
func (h home) startLine() string {
	return startLine("causeway", "connection-point", h.Dir, h.Dir == "")
}

// checkSite refuses a state folder in which no site ran by itself.
func checkSite(dir state) error {
	if _, err := os.Stat(dir.documents()); errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(dir.path("balancer")); err == nil {
			return causeway.WithHint(fmt.Errorf("the site in %s belongs to causeway up, which runs its gateway itself", dir),
				"for a gateway on a host of its own, make another site: causeway site run --state DIR")
		}
		return causeway.WithHint(fmt.Errorf("there is no site in %s", dir),
			"make one with: causeway site run --state %s; or name the folder of another with --state DIR", dir)
	} else if errors.Is(err, fs.ErrPermission) {
		return notMine(dir)
	} else if err != nil {
		return err
	}
	return nil
}
