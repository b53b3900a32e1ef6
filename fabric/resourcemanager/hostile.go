package resourcemanager

import (
	"time"

	"github.com/causeway-gateway/causeway/fabric/azure"
)

// A Hostility decides what goes wrong although nobody has done anything wrong, as it happens in Azure. It is asked by many
// at a time, and should answer the same after a crash.
type Hostility interface {
	// Refuse turns a request away before anything else is done, as with 429 and when to come again. nil lets it pass.
	Refuse(who azure.Principal, method, path string) error
	// Hidden reports whether reading a group or resource that was made at that time still finds nothing.
	Hidden(on azure.ID, made time.Time) bool
	// Propagation is how long a role assignment takes until it is obeyed.
	Propagation(on azure.ID) time.Duration
	// Fail has an operation on something fail before it does anything. nil lets it be done.
	Fail(on azure.ID) error
	// Lost reports whether an operation, which is done all the same, cannot be asked for.
	Lost(operation string) bool
}

// calm is when nothing goes wrong by itself.
type calm struct{}

func (calm) Refuse(azure.Principal, string, string) error { return nil }
func (calm) Hidden(azure.ID, time.Time) bool              { return false }
func (calm) Propagation(azure.ID) time.Duration           { return 0 }
func (calm) Fail(azure.ID) error                          { return nil }
func (calm) Lost(string) bool                             { return false }
