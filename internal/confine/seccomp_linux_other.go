//go:build linux && !amd64 && !arm64

package confine

import "errors"

func onlyHandedSockets() error { return errors.New("seccomp: not on this architecture") }
