package cli

import "testing"

func TestMemorySizesAreReadBack(t *testing.T) {
	for text, want := range map[string]string{"32MiB": "32MiB", "2GiB": "2048MiB", "40000000": "40000000B", "65536KiB": "64MiB", "33554433B": "33554433B"} {
		var m, again memorySize
		if err := m.Set(text); err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := m.String(); got != want {
			t.Errorf("%s is shown as %s, want %s", text, got, want)
		}
		if err := again.Set(m.String()); err != nil || again != m {
			t.Errorf("%s read back: %d, %v; want %d", m.String(), again, err, m)
		}
	}
	for _, text := range []string{"", "0", "31MiB", "-1GiB", "1.5GiB", "9999999999TiB", "64 MiB", "MiB"} {
		var m memorySize
		if err := m.Set(text); err == nil {
			t.Errorf("%q was taken for %d bytes", text, m)
		}
	}
}
