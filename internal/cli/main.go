// Package cli is the command line: one file per command, and the only package that knows every role, the
// environment and the exit statuses.
//
//	cmd/causeway ─► Main ─► one cobra command ─► a plan, checked without side effects ─► wiring of roles ─► Run
//
// Results go to stdout and can be piped; progress, errors and hints go to stderr.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// An app is what every command shares.
type app struct {
	stdout io.Writer
	stderr io.Writer
	now    func() time.Time
	getenv func(string) string

	program   string          // how commands that we print begin; "" means causeway
	stateFlag string          // --state, before defaults
	interrupt <-chan struct{} // closed at the second interrupt: stop at once
}

// Main runs one command and returns the exit status: 0 done, 1 failed, 2 called wrongly, 3 not found.
func Main(args []string, stdout, stderr io.Writer) int {
	ctx, again, stop := interruptible(context.Background())
	defer stop()
	a := &app{stdout: stdout, stderr: stderr, now: time.Now, getenv: os.Getenv, interrupt: again, program: programName(os.Args[0])}
	root := a.rootCmd()
	root.SetArgs(args)
	if err := root.ExecuteContext(ctx); err != nil {
		a.printError(err)
		return statusOf(err)
	}
	return 0
}

// interruptible returns a context that the first SIGINT, SIGTERM or SIGHUP of a lost terminal ends, and a channel
// that the second one closes, for those who cannot wait for an orderly end.
func interruptible(parent context.Context) (context.Context, <-chan struct{}, func()) {
	ctx, cancel := context.WithCancel(parent)
	again := make(chan struct{})
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		for _, then := range []func(){cancel, func() { close(again) }} {
			select {
			case <-signals:
				then()
			case <-done:
				return
			}
		}
	}()
	return ctx, again, func() { signal.Stop(signals); close(done); cancel() }
}

func (a *app) rootCmd() *cobra.Command {
	root := &cobra.Command{
		Use:   "causeway",
		Short: "let devices on the internet reach management servers inside, without a VPN",
		Long: `Causeway is an open cloud management gateway: devices anywhere reach the management servers inside a
private network over HTTPS, with no VPN and no inbound port on the premises.

Start one on this machine with:  causeway up`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noSubcommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usageError(cmd, flagError(err)) })
	root.PersistentFlags().StringVar(&a.stateFlag, "state", "",
		"state folder (default $CAUSEWAY_STATE, else $XDG_STATE_HOME/causeway, /var/lib/causeway for root)")
	root.AddCommand(a.commands()...)
	root.InitDefaultCompletionCmd()
	strictArgs(root)
	return root
}

// strictArgs makes every wrong count of arguments and every unknown subcommand a usage error with a way out.
func strictArgs(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			return usageError(cmd, argsError(cmd, args, check(cmd, args)))
		}
	}
	for _, sub := range cmd.Commands() {
		strictArgs(sub)
	}
}

// argsError names what a command takes, where the library only counts.
func argsError(cmd *cobra.Command, args []string, err error) error {
	_, takes, _ := strings.Cut(cmd.Use, " ")
	switch {
	case err == nil || cmd.HasSubCommands():
		return err
	case takes == "":
		return fmt.Errorf("%s takes no argument, not %q", cmd.CommandPath(), args)
	case len(args) < len(strings.Fields(takes)):
		return fmt.Errorf("%s is missing: %s %s", strings.Join(strings.Fields(takes)[len(args):], " "), cmd.CommandPath(), takes)
	}
	return fmt.Errorf("%s takes %s and no more: %q", cmd.CommandPath(), takes, args[len(strings.Fields(takes)):])
}

// flagError says of a value that is not understood what the flag takes, in place of the library that read it.
func flagError(err error) error {
	bad, ok := errors.AsType[*pflag.InvalidValueError](err)
	if !ok {
		return err
	}
	takes := map[string]string{"int": "a whole number", "int64": "a whole number", "uint64": "a whole number", "float64": "a number",
		"duration": "a time such as 30s", "bool": "true or false"}[bad.GetFlag().Value.Type()]
	if takes == "" {
		return err
	}
	return fmt.Errorf("--%s takes %s, not %q", bad.GetFlag().Name, takes, bad.GetValue())
}

// noSubcommand is the argument check of commands that only group others.
func noSubcommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath())
}

// group returns a command that only holds others.
func group(use, short string, subs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Args: noSubcommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(subs...)
	return cmd
}
