package cli

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/causeway-gateway/causeway/fabric"
)

func (a *app) fabricEnvCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "env",
		Short: "print what Azure's clients need, for a shell",
		Long: `Print the environment in which Azure's clients find the fabric and may do everything in it: it holds the owner's
secret. Names below fabric.localhost are used where this system knows them, else the machine's address.`,
		Example: `  eval "$(causeway fabric env)"`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := a.fabricDir()
			if err != nil {
				return err
			}
			r, err := runningFabric(dir)
			if err != nil {
				return err
			}
			owner, err := fabric.ReadOwner(string(dir))
			if err != nil {
				return err
			}
			management, login := r.Management, r.Login
			if !resolves(cmd.Context(), r.Management) {
				management = "https://" + net.JoinHostPort("localhost", strconv.Itoa(r.Port))
				login = management
				fmt.Fprintf(a.stdout, "# This system does not know names below %s, which vaults and storage are reached by.\n"+
					"# A line of /etc/hosts for each one that is used tells it, such as: 127.0.0.1 NAME.vault.%s\n", fabric.Domain, fabric.Domain)
			}
			for _, v := range [][2]string{
				{"AZURE_TENANT_ID", r.Tenant}, {"AZURE_CLIENT_ID", owner.Client}, {"AZURE_CLIENT_SECRET", owner.Secret}, {"AZURE_SUBSCRIPTION_ID", r.Subscription},
				{"AZURE_AUTHORITY_HOST", login + "/"}, {"AZURE_RESOURCE_MANAGER_ENDPOINT", management + "/"}, {"AZURE_RESOURCE_MANAGER_AUDIENCE", management},
				{"SSL_CERT_FILE", r.CAFile}, {"REQUESTS_CA_BUNDLE", r.CAFile}, {"NODE_EXTRA_CA_CERTS", r.CAFile},
			} {
				fmt.Fprintf(a.stdout, "export %s=%s\n", v[0], shellLine(v[1]))
			}
			return nil
		},
	}
}

// resolves says whether this system knows the name of a URL's host.
func resolves(ctx context.Context, address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err = net.DefaultResolver.LookupHost(ctx, u.Hostname())
	return err == nil
}
