package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/console"
)

func (a *app) deviceCmd() *cobra.Command {
	return group("device", "make device certificates, list and block devices",
		a.deviceCertCmd(), a.deviceListCmd(), a.deviceBlockCmd(), a.deviceUnblockCmd())
}

func (a *app) deviceCertCmd() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "cert NAME",
		Short: "issue one more device certificate",
		Long: `Issue a certificate for a device of this name, from the site's own CA. Certificate and key are written to
DIR/device.crt and DIR/device.key; the site keeps no copy of the key.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withSite(cmd.Context(), func(ctx context.Context, dir state, c *console.Client) error {
				return a.deviceCert(ctx, dir, c, args[0], out)
			})
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "folder to write to, `DIR` (default: devices/NAME in the state folder)")
	return cmd
}

func (a *app) deviceCert(ctx context.Context, dir state, c *console.Client, name, out string) error {
	if name == "" {
		return badFlag("give the device a name of 1 to 64 letters, digits, '-', '_' and '.'", "device name \"\" is not allowed")
	}
	if out == "" {
		if name != filepath.Base(name) || name == "." || name == ".." {
			return badFlag("choose the folder with --out DIR", "device name %q cannot name a folder", name)
		}
		out = dir.device(name)
	}
	if _, err := os.Lstat(filepath.Join(out, "device.key")); err == nil {
		return causeway.WithHint(fmt.Errorf("%s holds a device key already", out), "choose another folder with --out DIR, or another name")
	}
	d, err := c.IssueDevice(ctx, causeway.DeviceID(name))
	if err != nil {
		return err
	}
	if err := writeDevice(out, d); err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "certificate  %s\nkey          %s\n", filepath.Join(out, "device.crt"), filepath.Join(out, "device.key"))
	return nil
}

func outFolder(out string) (*folder, error) {
	if err := os.MkdirAll(out, 0o700); err != nil {
		return nil, err
	}
	return openOwnFolder(out)
}

// writeDevice writes a device's certificate and key into a folder of its owner alone.
func writeDevice(out string, d console.DeviceCertificate) error {
	f, err := outFolder(out)
	if err != nil {
		return causeway.WithHint(fmt.Errorf("the certificate cannot be written: %w", err), "choose a folder that you may write with --out DIR")
	}
	defer f.close()
	if err := f.write("device.key", []byte(d.Key)); err != nil {
		return err
	}
	return f.write("device.crt", []byte(d.Certificate))
}
