package cli

import (
	"strings"
	"testing"

	"github.com/causeway-gateway/causeway"
)

func TestASiteOfAnotherUserIsCalledThat(t *testing.T) {
	dir := state(t.TempDir())
	if !dir.mine() || !state(dir.path("missing")).mine() {
		t.Error("a folder of one's own, or none, is another user's")
	}
	err := notMine(dir)
	if !strings.Contains(err.Error(), "belongs to "+ownerOf(string(dir))) || causeway.Hint(err) == "" {
		t.Errorf("notMine = %v, want the owner named, with a hint", err)
	}
}
