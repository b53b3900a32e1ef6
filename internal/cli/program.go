package cli

import (
	"os"
	"os/exec"
	"regexp"
)

// programName is how the commands that we print begin, so that they run as pasted: causeway when a shell finds this
// program under that name, else the way it was called.
func programName(typed string) string {
	self, err := os.Executable()
	if err != nil || typed == "" {
		return "causeway"
	}
	if found, err := exec.LookPath("causeway"); err == nil && sameFile(found, self) {
		return "causeway"
	}
	return typed
}

func sameFile(a, b string) bool {
	fa, errA := os.Stat(a)
	fb, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(fa, fb)
}

// line is a command of ours to paste.
func (a *app) line(args ...string) string {
	program := a.program
	if program == "" {
		program = "causeway"
	}
	return shellLine(append([]string{program}, args...)...)
}

// ourCommand finds a command of ours in a hint.
var ourCommand = regexp.MustCompile(`(^|: |; |\(|or )causeway (up|down|status|server|device|logs|explain|site|gateway|connection-point|fabric)\b`)

// pasteable writes a hint's commands as they run here. Whoever makes a hint does not know how we were called.
func (a *app) pasteable(hint string) string {
	if a.program == "" || a.program == "causeway" {
		return hint
	}
	return ourCommand.ReplaceAllStringFunc(hint, func(found string) string {
		m := ourCommand.FindStringSubmatch(found)
		return m[1] + a.line(m[2])
	})
}
