package cli

import (
	"context"
	"encoding/pem"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/causeway-gateway/causeway/console"
)

func (a *app) explainCmd() *cobra.Command {
	var out output
	var certFile, method string
	cmd := &cobra.Command{
		Use:   "explain [--cert FILE] URL",
		Short: "say whether a device would be let in with a request, and why",
		Long: `Say, rule by rule, what the gateway and the connection point would make of a request, asked with the
certificate of FILE or with none. It is judged by the same code and by what is in force now; nothing is sent.
Exit status 0: let in; 1: not.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			chain, err := readChain(certFile)
			if err != nil {
				return err
			}
			return a.withSite(cmd.Context(), func(ctx context.Context, _ state, c *console.Client) error {
				e, err := c.Explain(ctx, console.Question{Certificates: chain, Method: method, URL: args[0]})
				if err != nil {
					return err
				}
				if err := out.print(a.stdout, e, func() error { return a.explanation(e) }); err != nil {
					return err
				}
				if !e.Admitted {
					return errSilent
				}
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&certFile, "cert", "", "the device's certificate with its chain, `PEM`")
	cmd.Flags().StringVar(&method, "method", "GET", "the request's method")
	out.flag(cmd)
	return cmd
}

// readChain returns the certificates of a PEM file as DER. Keys in it are passed over: they are nobody's business.
func readChain(file string) (chain [][]byte, err error) {
	if file == "" {
		return nil, nil
	}
	rest, err := os.ReadFile(file)
	if err != nil {
		return nil, badFlag("give the device's certificate as PEM", "--cert: %v", err)
	}
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type == "CERTIFICATE" {
			chain = append(chain, block.Bytes)
		}
	}
	if len(chain) == 0 {
		return nil, badFlag("give the device's certificate as PEM", "--cert %s holds no certificate", file)
	}
	return chain, nil
}

func (a *app) explanation(e console.Explanation) error {
	for _, s := range e.Steps {
		mark := "ok  "
		if !s.OK {
			mark = "no  "
		}
		fmt.Fprintf(a.stdout, "%s%s\n", mark, oneLine(s.Check))
		if s.Detail != "" {
			fmt.Fprintf(a.stdout, "      %s\n", oneLine(s.Detail))
		}
	}
	if e.Admitted {
		_, err := fmt.Fprintf(a.stdout, "=> let in%s%s\n", labelled(" as ", e.Device), labelled(" to ", e.Server))
		return err
	}
	_, err := fmt.Fprintf(a.stdout, "=> refused: %d %s\n", e.Status, oneLine(e.Code))
	return err
}

func labelled(label, value string) string {
	if value == "" {
		return ""
	}
	return label + oneLine(value)
}
