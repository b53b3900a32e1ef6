package cli

import (
	"os"
	"path/filepath"
	"strconv"

	"github.com/causeway-gateway/causeway"
)

// A state is the folder that holds everything a site keeps on this machine. It belongs to one user and is closed
// to all others; roles that run as users of their own start inside their folder and never walk down to it.
type state string

func (s state) path(elem ...string) string {
	return filepath.Join(append([]string{string(s)}, elem...)...)
}

func (s state) ready() string       { return s.path("ready.json") }
func (s state) lock() string        { return s.path("lock") }
func (s state) site() string        { return s.path("site") }
func (s state) adminSocket() string { return s.path("site", "admin.sock") }
func (s state) adminToken() string  { return s.path("site", "admin.token") }
func (s state) ca() string          { return s.path("ca.crt") }
func (s state) logs() string        { return s.path("logs") }
func (s state) device(name string) string {
	return s.path("devices", name)
}
func (s state) instance(slot causeway.Slot) string {
	return s.path("instances", strconv.Itoa(int(slot)))
}
func (s state) connectionPoint(id causeway.ConnectionPointID) string {
	return s.path("connection-points", string(id))
}

// stateDir finds the state folder: --state, then CAUSEWAY_STATE, then the place XDG gives to state.
func (a *app) stateDir() (state, error) {
	for _, dir := range []string{a.stateFlag, a.getenv("CAUSEWAY_STATE")} {
		if dir != "" {
			abs, err := filepath.Abs(dir)
			return state(abs), err
		}
	}
	// The XDG specification says that relative paths are to be ignored.
	if xdg := a.getenv("XDG_STATE_HOME"); filepath.IsAbs(xdg) {
		return state(filepath.Join(xdg, "causeway")), nil
	}
	if os.Geteuid() == 0 {
		return "/var/lib/causeway", nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", causeway.WithHint(err, "choose a state folder with --state DIR")
	}
	return state(filepath.Join(home, ".local", "state", "causeway")), nil
}
