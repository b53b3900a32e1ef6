package confine

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// Apply confines the process. After an error it may be confined in part: stop it.
func Apply(p Policy) (Report, error) {
	becomes := os.Getuid()
	drop := becomes == 0 && p.UID != 0
	if drop {
		becomes = p.UID
		if p.GID == 0 {
			p.GID = p.UID
		}
	}
	if p.Dir != "" {
		if err := enter(p, drop); err != nil {
			return Report{}, err
		}
	}
	if err := ll.AllThreadsPrctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return Report{}, fmt.Errorf("confine: no new privileges: %w", err)
	}
	// Files before the user: the rules are opened with the rights we still have, and "." needs none.
	r := Report{Supported: true}
	if err := restrict(p, becomes, &r); err != nil {
		return Report{}, fmt.Errorf("confine: %w", err)
	}
	if drop {
		if err := become(p.UID, p.GID); err != nil {
			return Report{}, err
		}
	}
	// After the user: changing it resets both of these.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return Report{}, fmt.Errorf("confine: not dumpable: %w", err)
	}
	if p.KillWithParent {
		// The kernel keeps this wish per thread and forgets it with the thread; all threads include the first, which stays.
		if err := ll.AllThreadsPrctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
			return Report{}, fmt.Errorf("confine: die with the parent: %w", err)
		}
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return Report{}, fmt.Errorf("confine: no core dumps: %w", err)
	}
	if p.HandedSockets { // last: what stands above may need sockets
		if p.Listen != nil {
			if err := p.Listen(); err != nil {
				return Report{}, err
			}
		}
		if err := onlyHandedSockets(); err != nil {
			r.Missing = append(r.Missing, "handed sockets only ("+err.Error()+")")
		} else {
			r.HandedSockets = true
		}
	}
	err := r.read(p)
	return r, err
}

// enter makes the role's folder its own and the working directory.
func enter(p Policy, drop bool) error {
	if err := os.Chdir(p.Dir); err != nil {
		return fmt.Errorf("confine: role folder: %w", err)
	}
	if drop {
		return Give(".", p.UID, p.GID)
	}
	return nil
}

// become changes the user of every thread, for good.
func become(uid, gid int) error {
	if err := syscall.Setgroups(nil); err != nil {
		return fmt.Errorf("confine: drop supplementary groups: %w", err)
	}
	if err := syscall.Setresgid(gid, gid, gid); err != nil {
		return fmt.Errorf("confine: become group %d: %w", gid, err)
	}
	if err := syscall.Setresuid(uid, uid, uid); err != nil {
		return fmt.Errorf("confine: become user %d: %w", uid, err)
	}
	return nil
}

// read asks the kernel what is in force, and fails if what must never be missing is.
func (r *Report) read(p Policy) error {
	r.UID, r.GID = os.Getuid(), os.Getgid()
	nnp, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	r.NoNewPrivileges = err == nil && nnp == 1
	dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	r.NotDumpable = err == nil && dumpable == 0
	if !r.NoNewPrivileges || !r.NotDumpable {
		return errors.New("confine: the kernel did not take privileges away")
	}
	if r.UID != 0 {
		return nil
	}
	r.Missing = append(r.Missing, "a user of its own (runs as root)")
	if p.UID != 0 {
		return fmt.Errorf("confine: still root, not user %d", p.UID)
	}
	return nil
}
