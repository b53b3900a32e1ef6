package cli

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"github.com/causeway-gateway/causeway"
)

func TestPrintedCommandsRunAsPasted(t *testing.T) {
	t.Setenv("PATH", t.TempDir()) // no causeway on it
	if got := programName("bin/causeway"); got != "bin/causeway" {
		t.Errorf("programName = %q, want it as typed", got)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	on := t.TempDir()
	if err := os.Symlink(self, on+"/causeway"); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", on)
	if got := programName("bin/causeway"); got != "causeway" {
		t.Errorf("programName = %q, want causeway, which a shell finds", got)
	}

	for _, tt := range []struct{ program, hint, want string }{
		{"", "see it with: causeway status", "see it with: causeway status"},
		{"bin/causeway", "see it with: causeway status --state /s; stop it with: causeway down", "see it with: bin/causeway status --state /s; stop it with: bin/causeway down"},
		{"my folder/causeway", "start one with: causeway up (or causeway site run)", "start one with: 'my folder/causeway' up (or 'my folder/causeway' site run)"},
		{"bin/causeway", "the folder of causeway status reports", "the folder of causeway status reports"},
	} {
		var out bytes.Buffer
		a := &app{program: tt.program, stderr: &out}
		a.printError(causeway.WithHint(errors.New("x"), "%s", tt.hint))
		if want := "causeway: error: x\ncauseway: hint: " + tt.want + "\n"; out.String() != want {
			t.Errorf("with %q: %q, want %q", tt.program, out.String(), want)
		}
	}
}
