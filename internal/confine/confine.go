// Package confine takes from a process what its role does not need: other roles' files, root, privileges to gain,
// being read by its neighbours.
//
// Call Apply once, early, after everything is open that needs more rights (privileged ports above all) and before
// the first byte from outside is read. It holds for every thread, and for every program the process may start.
// Nothing can be taken back.
//
// On Linux it is Landlock for files, signals and abstract sockets, an own user where root started the process, no new
// privileges, no core dumps and no reading by others; the network stays, unless HandedSockets says otherwise. Elsewhere Apply does
// nothing and its Report says so.
package confine

import (
	"fmt"
	"log/slog"
	"strings"
)

// A Policy says what a role keeps. The zero value takes all files away.
type Policy struct {
	// Dir is the role's own folder, read and written; "" means none. Apply makes it the working directory and, where
	// UID is set, gives it to that user. Use paths relative to it afterwards: its parents may be closed to the role.
	Dir string
	// ReadWrite and ReadOnly are further files and folders. One that does not exist is left out. What Go itself reads
	// to resolve names, check certificates and tell the time is added to ReadOnly.
	ReadWrite []string
	ReadOnly  []string
	// UID and GID are what root becomes; zero keeps the user. Ignored unless the process is root. A zero GID with a
	// UID means the same number.
	UID, GID int
	// HandedSockets is for a role whose connections are handed to it, and may go on to others. It takes away making
	// sockets other than unix ones, connecting and listening (a socket that was handed over could otherwise be disconnected
	// and used for anything in the network it comes from), and what holds up whoever has the same socket as well: to make it block
	// (O_NONBLOCK belongs to the open socket, not to the descriptor), to let its close wait for the other side
	// (SO_LINGER), to put another protocol into it (TCP_ULP). What is open stays, and what is handed over later works.
	HandedSockets bool
	// Listen, with HandedSockets, is called when all but that is in force, to open the unix sockets that the role
	// listens on. nil means none.
	Listen func() error `json:"-"`
	// KillWithParent sends SIGKILL when the parent process dies. Linux forgets that wish when the user changes,
	// hence it is asked for here. It needs a parent that keeps the starting thread, as package supervise does.
	KillWithParent bool
}

// A Report says what is in force, as read back from the kernel where it can be asked.
type Report struct {
	Supported       bool     `json:"supported"`
	UID             int      `json:"uid"`
	GID             int      `json:"gid"`
	LandlockABI     int      `json:"landlock_abi"`
	Files           bool     `json:"files"`            // only the policy's files can be opened
	HandedSockets   bool     `json:"handed_sockets"`   // only unix sockets can be made, and none can connect, listen or be made to block
	Signals         bool     `json:"signals"`          // no signal reaches processes outside
	AbstractSockets bool     `json:"abstract_sockets"` // no abstract unix socket outside can be reached
	NoNewPrivileges bool     `json:"no_new_privileges"`
	NotDumpable     bool     `json:"not_dumpable"` // no ptrace, no core dump, no reading of /proc/<pid>/mem
	Missing         []string `json:"missing,omitempty"`
}

// String is one line for people.
func (r Report) String() string {
	if !r.Supported {
		return "no confinement on this system"
	}
	s := fmt.Sprintf("uid %d gid %d, landlock abi %d", r.UID, r.GID, r.LandlockABI)
	if len(r.Missing) > 0 {
		s += ", without " + strings.Join(r.Missing, ", ")
	}
	return s
}

// LogValue makes the report one group of attributes.
func (r Report) LogValue() slog.Value {
	return slog.GroupValue(
		slog.Bool("supported", r.Supported), slog.Int("uid", r.UID), slog.Int("gid", r.GID),
		slog.Int("landlock_abi", r.LandlockABI), slog.Bool("files", r.Files), slog.Bool("handed_sockets", r.HandedSockets), slog.Bool("signals", r.Signals),
		slog.Bool("abstract_sockets", r.AbstractSockets), slog.Bool("no_new_privileges", r.NoNewPrivileges),
		slog.Bool("not_dumpable", r.NotDumpable), slog.String("missing", strings.Join(r.Missing, ", ")))
}
