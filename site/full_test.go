package site

import (
	"strings"
	"testing"
	"time"

	"github.com/causeway-gateway/causeway"
)

func TestAFullDiskIsCalledThat(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(t.Context(), dir, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.db.ExecContext(t.Context(), "PRAGMA max_page_count = 1"); err != nil { // no page more than there are
		t.Fatal(err)
	}
	for range 1000 {
		if err = s.Record(t.Context(), "test", "test", strings.Repeat("x", 4096)); err != nil {
			break
		}
	}
	if err == nil || err.Error() != "no space left in "+dir || causeway.Hint(err) == "" {
		t.Errorf("Record with no room left = %v, want the folder named, with a hint", err)
	}
}
