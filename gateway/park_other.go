//go:build !linux

package gateway

// A parker is for Linux.
type parker struct{}

func newParker(any) *parker { return nil }

func (p *parker) wait() error { return nil }
