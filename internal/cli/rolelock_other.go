//go:build !unix

package cli

// lockFolder does nothing where folders cannot be locked.
func (r *roleProcess) lockFolder(string) (release func(), err error) { return func() {}, nil }
