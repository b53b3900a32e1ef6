// Package cli is the command line: one file per command, and the only package that knows every role, the
// environment and the exit statuses.
//
//	cmd/causeway ─► Main ─► one cobra command ─► a plan, checked without side effects ─► wiring of roles ─► Run
//
// Results go to stdout and can be piped; progress, errors and hints go to stderr.
package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
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
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usageError(cmd, err) })
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
		cmd.Args = func(cmd *cobra.Command, args []string) error { return usageError(cmd, check(cmd, args)) }
	}
	for _, sub := range cmd.Commands() {
		strictArgs(sub)
	}
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
