package site

import (
	"errors"
	"testing"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/identity"
)

func TestIssuedDevicesAreListedUntilTheyExpire(t *testing.T) {
	now := time.Now()
	s, err := Open(t.Context(), t.TempDir(), func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	for _, id := range []causeway.DeviceID{"pc-2", "pc-1", "pc-2"} {
		i, err := s.IssueDevice(t.Context(), "me", id)
		if err != nil {
			t.Fatal(err)
		}
		list, err := s.IssuedDevices(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, d := range list {
			found = found || d.Device == id && d.Thumbprint == Thumbprint(i.Certificate) && d.NotAfter.Equal(i.Certificate.NotAfter)
		}
		if !found {
			t.Errorf("%s is not in %+v", id, list)
		}
	}
	if _, err := s.IssueService(t.Context(), "me", []string{"gw.example.com"}); err != nil {
		t.Fatal(err)
	}
	list, err := s.IssuedDevices(t.Context())
	if err != nil || len(list) != 3 || list[0].Device != "pc-1" {
		t.Errorf("IssuedDevices = %+v, %v; want pc-1 and twice pc-2", list, err)
	}
	now = now.AddDate(50, 0, 0)
	if list, err := s.IssuedDevices(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("after they expired: %+v, %v", list, err)
	}
}

func TestBlocksDoNotCareAboutCase(t *testing.T) {
	s := open(t, t.TempDir())
	for _, name := range []causeway.DeviceID{"PC-17", "pc-17"} {
		if err := s.Block(t.Context(), "me", identity.Block{DeviceID: name}, ""); err != nil {
			t.Fatal(err)
		}
	}
	if list, err := s.Blocks(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("Blocks = %+v, %v; want one", list, err)
	}
	if err := s.Unblock(t.Context(), "me", identity.Block{DeviceID: "Pc-17"}); err != nil {
		t.Error(err)
	}
	if err := s.Unblock(t.Context(), "me", identity.Block{DeviceID: "pc-17"}); !errors.Is(err, causeway.ErrNotFound) {
		t.Errorf("second Unblock = %v, want not found", err)
	}
}
