package cli

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/cmtrace"
)

// A roleLog is where a role writes: CMTrace lines for people and JSON lines for machines, in two files with the same
// records; or JSON on stderr for a role whose logs somebody else keeps.
type roleLog struct {
	*slog.Logger
	close func() error
}

// openLog opens the role's log. component is the name that ConfigMgr administrators know the file by.
func (r *roleProcess) openLog(cfg roleConfig, component string) (*roleLog, error) {
	return openLog(r.app, cfg, component, r.name)
}

// check judges the fields that all roles share, and makes paths absolute.
func (c *roleConfig) check(path string) error {
	var errs []error
	if c.AdminListen != "" {
		errs = append(errs, listenAddress(fieldOf(path, "admin_listen"), c.AdminListen, true))
	}
	if c.AdminListen != "" && c.AdminSocket != "" {
		errs = append(errs, misuse{fmt.Errorf("configuration %s: admin_listen and admin_socket exclude each other", path)})
	}
	if _, err := parseLevel(c.LogLevel); err != nil {
		errs = append(errs, causeway.WithHint(misuse{fmt.Errorf("%s: %w", fieldOf(path, "log_level"), err)}, "%s", causeway.Hint(err)))
	}
	if c.User < 0 {
		errs = append(errs, causeway.WithHint(misuse{fmt.Errorf("%s: %d is no user id", fieldOf(path, "user"), c.User)}, "give the number that id -u NAME says"))
	}
	for _, p := range []*string{&c.AdminSocket, &c.LogDir} {
		*p = beside(path, *p)
	}
	return errors.Join(errs...)
}

// openLog opens a log in the configured folder as component's.
func openLog(a *app, cfg roleConfig, component, role string) (*roleLog, error) {
	level, err := parseLevel(cfg.LogLevel)
	if err != nil {
		return nil, err
	}
	if cfg.LogDir == "" {
		return &roleLog{slog.New(cmtrace.NewJSON(a.stderr, level)), func() error { return nil }}, nil
	}
	handler, closer, err := cmtrace.Open(cfg.LogDir, component, 0, cmtrace.Options{Component: component, Level: level})
	if err != nil {
		return nil, causeway.WithHint(fmt.Errorf("logs of %s: %w", role, err), "make %s writable for its user", cfg.LogDir)
	}
	return &roleLog{slog.New(handler), closer.Close}, nil
}
