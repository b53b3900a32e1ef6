package causeway

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// Devices show the codes to people, who look them up there.
func TestCodesAreDocumented(t *testing.T) {
	doc, err := os.ReadFile("docs/codes.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := make(map[string]bool)
	for line := range strings.Lines(string(doc)) {
		cells := strings.Split(strings.TrimSpace(line), " | ")
		if len(cells) == 5 && strings.Contains(cells[1], "`CMG") {
			if cells[3] == "" || cells[4] == "|" {
				t.Errorf("%s does not say what it means and what to do", cells[1])
			}
			rows[strings.Join(cells[:3], " | ")] = true
		}
	}
	for c := range codes {
		row := fmt.Sprintf("| %d | `%s` | %d", c, c, c.Status())
		if !rows[row] {
			t.Errorf("docs/codes.md has no row %s |", row)
		}
		delete(rows, row)
	}
	for row := range rows {
		t.Errorf("docs/codes.md has %s, which is no code", row)
	}
}
