package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/causeway-gateway/causeway"
)

// Exit statuses, promised in the help of every release.
const (
	exitFailure  = 1
	exitUsage    = 2
	exitNotFound = 3
)

// errSilent ends a command with status 1 when it has already said all there is to say.
var errSilent = errors.New("no message")

// misuse marks an error as the caller's without changing its text.
type misuse struct{ error }

func (m misuse) Unwrap() error        { return m.error }
func (m misuse) Is(target error) bool { return target == causeway.ErrUsage }

// usageError marks err as a mistake in the call of cmd and points to its help.
func usageError(cmd *cobra.Command, err error) error {
	if err == nil || errors.Is(err, causeway.ErrUsage) {
		return err
	}
	return causeway.WithHint(misuse{err}, "see: %s --help", cmd.CommandPath())
}

// badFlag is a usage error whose hint says what to write instead.
func badFlag(hint string, format string, args ...any) error {
	return causeway.WithHint(misuse{fmt.Errorf(format, args...)}, "%s", hint)
}

func statusOf(err error) int {
	switch {
	case errors.Is(err, causeway.ErrUsage):
		return exitUsage
	case errors.Is(err, causeway.ErrNotFound):
		return exitNotFound
	}
	return exitFailure
}

// printError writes each error on a line of its own, with its hint below it.
func (a *app) printError(err error) {
	for _, e := range flatten(err) {
		if errors.Is(e, errSilent) {
			continue
		}
		text := e.Error()
		if errors.Is(e, context.Canceled) {
			text = "interrupted"
		}
		fmt.Fprintf(a.stderr, "causeway: error: %s\n", oneLine(text))
		if hint := causeway.Hint(e); hint != "" {
			fmt.Fprintf(a.stderr, "causeway: hint: %s\n", oneLine(a.pasteable(hint)))
		}
	}
}

// flatten returns the errors that were joined at the top of err; wrapped joins stay whole.
func flatten(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, flatten(e)...)
	}
	return all
}

// oneLine keeps a message on its line and off the terminal's controls: causes can quote what strangers sent.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			return ' '
		case r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0):
			return '?'
		}
		return r
	}, strings.TrimSpace(s))
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
