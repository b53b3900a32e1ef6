//go:build !unix

package supervise

import (
	"errors"
	"fmt"
)

// start is not supported here: descriptors cannot be inherited by number.
func start(p *Process, _ *tail) (child, error) {
	return nil, fmt.Errorf("supervising %s: %w", p.Name, errors.ErrUnsupported)
}
