// Package supervise keeps child processes of the same program running, and makes sure that none outlives its parent.
//
//	parent: Process.Run ─► start ─► ready ─► … exit ─► wait (full jitter, 0.2 s → 5 s) ─► start …
//	child:  Inherit(os.Getenv) ─► Lifetime(ctx), File("attach"), Ready(payload)
//
// A child inherits a pipe that the parent never writes to: its end is the parent's end, whatever ended it. On Linux
// the kernel kills the child as well. Children stand in process groups of their own, so that Ctrl-C on a terminal
// reaches the parent alone, which then stops them in its order.
package supervise

import (
	"encoding/json"
	"errors"
	"time"
)

// EnvInherited tells a child which descriptors it inherited: "lifetime=3,ready=4,…".
const EnvInherited = "CAUSEWAY_INHERITED"

// The names that supervise itself uses in EnvInherited.
const (
	lifetimeName = "lifetime"
	readyName    = "ready"
)

// ErrParentGone is the cause with which Lifetime ends the child's context.
var ErrParentGone = errors.New("the parent process is gone")

// State is what a Process is doing.
type State string

// The states, in the order of a life.
const (
	Starting State = "starting" // started, not ready yet
	Running  State = "running"  // ready
	Waiting  State = "waiting"  // exited, to be started again
	Stopping State = "stopping" // told to stop
	Stopped  State = "stopped"  // not running, and not to be started again
)

// A Status is a snapshot of a Process.
type Status struct {
	Name     string          `json:"name"`
	State    State           `json:"state"`
	PID      int             `json:"pid,omitempty"`
	Since    time.Time       `json:"since"`               // when State was entered
	Restarts int             `json:"restarts"`            // starts after the first
	LastExit string          `json:"last_exit,omitempty"` // why it last ended
	Payload  json.RawMessage `json:"payload,omitempty"`   // what the running child said when it became ready
	Output   []string        `json:"output,omitempty"`    // its last lines
}
