package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/console"
	"github.com/causeway-gateway/causeway/identity"
)

// A blockPlan says what is to be blocked or let in again.
type blockPlan struct {
	thumbprint string
	reason     string
}

func (a *app) deviceBlockCmd() *cobra.Command {
	var p blockPlan
	cmd := &cobra.Command{
		Use:   "block NAME | --thumbprint T",
		Short: "refuse a device, or one certificate, from its next request on",
		Long: `Refuse a device by its name, whatever certificate it shows, or one certificate by its SHA-256 thumbprint. It holds for
devices of the site's own CA and of your own CAs alike, from the next request on, also on connections that are open.`,
		Example: `  causeway device block laptop-7 --reason stolen
  causeway device block --thumbprint "$(openssl x509 -noout -fingerprint -sha256 -in device.crt)"`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := p.block(args)
			if err != nil {
				return usageError(cmd, err)
			}
			return a.withSite(cmd.Context(), func(ctx context.Context, _ state, c *console.Client) error {
				change, err := c.BlockDevice(ctx, b, p.reason)
				if err := a.changed("blocked", blockName(b), change, err); err != nil {
					return err
				}
				return a.noteUnknown(ctx, c, b)
			})
		},
	}
	p.flag(cmd)
	cmd.Flags().StringVar(&p.reason, "reason", "", "`TEXT` to remember with it")
	return cmd
}

func (a *app) deviceUnblockCmd() *cobra.Command {
	var p blockPlan
	cmd := &cobra.Command{
		Use:   "unblock NAME | --thumbprint T",
		Short: "take a block back",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := p.block(args)
			if err != nil {
				return usageError(cmd, err)
			}
			return a.withSite(cmd.Context(), func(ctx context.Context, _ state, c *console.Client) error {
				change, err := c.UnblockDevice(ctx, b)
				return a.changed("unblocked", blockName(b), change, err)
			})
		},
	}
	p.flag(cmd)
	return cmd
}

func (p *blockPlan) flag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&p.thumbprint, "thumbprint", "", "SHA-256 of one certificate, `HEX`, colons allowed")
}

// block reads the one thing that is named.
func (p *blockPlan) block(args []string) (b identity.Block, err error) {
	switch {
	case len(args) == 1 && p.thumbprint != "":
		return b, errors.New("name a device or a thumbprint, not both")
	case len(args) == 1:
		b.DeviceID = causeway.DeviceID(args[0])
	case p.thumbprint != "":
		b.Thumbprint = bareThumbprint(p.thumbprint)
	default:
		return b, errors.New("NAME or --thumbprint T is missing")
	}
	if err := b.Check(); err != nil {
		return b, badFlag("a thumbprint is the SHA-256 of the certificate, 64 hexadecimal digits; a name is that of the certificate", "%v", err)
	}
	return b, nil
}

// bareThumbprint takes off what openssl writes around a thumbprint.
func bareThumbprint(text string) string {
	if _, after, ok := strings.Cut(text, "="); ok {
		text = after
	}
	return strings.ToLower(strings.ReplaceAll(strings.TrimSpace(text), ":", ""))
}

func blockName(b identity.Block) string {
	switch {
	case b.DeviceID != "":
		return string(b.DeviceID)
	case b.Thumbprint != "":
		return b.Thumbprint
	}
	return "serial " + b.Serial
}

// noteUnknown helps who mistyped a name: a block of nobody looks like any other.
func (a *app) noteUnknown(ctx context.Context, c *console.Client, b identity.Block) error {
	d, err := c.Devices(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(d.Certificates, func(i console.IssuedDevice) bool { return i.Blocked && matches(b, i) }) {
		fmt.Fprintf(a.stderr, "causeway: note: the site's own CA issued no such certificate; the block is for devices of your own CAs\n")
	}
	return nil
}

func matches(b identity.Block, i console.IssuedDevice) bool {
	return b.Thumbprint == i.Thumbprint || strings.EqualFold(string(b.DeviceID), string(i.Device))
}

func (a *app) deviceListCmd() *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use:   "list",
		Short: "list device certificates of the site's own CA, and what is blocked",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withSite(cmd.Context(), func(ctx context.Context, _ state, c *console.Client) error {
				d, err := c.Devices(ctx)
				if err != nil {
					return err
				}
				return out.print(a.stdout, d, func() error { return deviceTable(a.stdout, d) })
			})
		},
	}
	out.flag(cmd)
	return cmd
}

func deviceTable(w io.Writer, d console.Devices) error {
	err := table(w, "DEVICE\tSTATE\tVALID UNTIL\tTHUMBPRINT", func(row func(...any)) {
		for _, i := range d.Certificates {
			state := "admitted"
			if i.Blocked {
				state = "blocked"
			}
			row(i.Device, state, i.NotAfter.UTC().Format(time.DateOnly), i.Thumbprint)
		}
	})
	if err != nil || len(d.Blocks) == 0 {
		return err
	}
	fmt.Fprintln(w)
	return table(w, "BLOCKED\tSINCE\tREASON", func(row func(...any)) {
		for _, b := range d.Blocks {
			row(blockName(b.Block), b.Created.UTC().Format(time.DateTime), b.Reason)
		}
	})
}
