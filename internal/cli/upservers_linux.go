package cli

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/console"
)

// checkServers connects to each server of the flags. One that cannot be reached is refused at once when no earlier
// start can have published it; else judgeSilent decides, when the store is open.
func (u *upRun) checkServers(ctx context.Context) error {
	u.silent = map[causeway.ServerName]error{}
	var errs []error
	for i, err := range checkServersAnswer(ctx, u.asked) {
		switch {
		case err == nil:
		case errors.Is(err, causeway.ErrUsage):
			errs = append(errs, err)
		default:
			u.silent[u.asked[i].Name] = err
		}
	}
	if _, err := os.Lstat(u.dir.site()); errors.Is(err, fs.ErrNotExist) {
		for _, s := range u.asked {
			errs = append(errs, u.silent[s.Name])
		}
	}
	return errors.Join(errs...)
}

// judgeSilent tells servers that are down for now from those that never were right. What an earlier start published at
// the same URL is worth a note: after a power cut, one server that is late must not keep all others off the air. What
// is new must answer, so that a mistyped URL is found now.
func (u *upRun) judgeSilent(ctx context.Context) error {
	have, err := u.store.Servers(ctx)
	if err != nil {
		return err
	}
	u.kept = map[causeway.ServerName]bool{}
	for _, h := range have {
		for _, a := range u.asked {
			if a.Name == h.Name && a.URL == h.URL {
				u.kept[a.Name] = true
			}
		}
	}
	var errs []error
	for _, a := range u.asked {
		switch err := u.silent[a.Name]; {
		case err == nil:
		case u.kept[a.Name]:
			u.progress.note("note: %v; it is published all the same", err)
		default:
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// noteOthers names what is published besides what the flags name: an earlier start did it, and leaving the flag out
// takes nothing back.
func (u *upRun) noteOthers(ctx context.Context) error {
	have, err := u.store.Servers(ctx)
	if err != nil || len(u.asked) == 0 {
		return err
	}
	for _, h := range have {
		asked := slices.ContainsFunc(u.asked, func(a console.Published) bool { return a.Name == h.Name })
		if !asked && !isSample(h.Name) {
			u.progress.note("note: server %s stays published from an earlier start; take it away with: %s", h.Name,
				u.app.line("server", "remove", string(h.Name), "--state", string(u.dir)))
		}
	}
	return nil
}
