package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/causeway-gateway/causeway"
)

// fabricFolder is where in a state folder the fabric has its own.
const fabricFolder = "fabric"

func (a *app) fabricCmd() *cobra.Command {
	return group("fabric", "run an Azure-compatible fabric on this machine",
		a.fabricRunCmd(), a.fabricStatusCmd(), a.fabricEnvCmd(), a.fabricResetCmd())
}

// fabricDir is the folder of the fabric.
func (a *app) fabricDir() (state, error) {
	dir, err := a.stateDir()
	return state(dir.path(fabricFolder)), err
}

// A fabricReady is what a fabric that runs leaves in its folder for those who look for it.
type fabricReady struct {
	PID          int    `json:"pid"`
	Address      string `json:"address"` // IP and port
	Port         int    `json:"port"`
	Tenant       string `json:"tenant_id"`
	Subscription string `json:"subscription_id"`
	Management   string `json:"management_url"`
	Login        string `json:"login_url"`
	Graph        string `json:"graph_url"`
	Vaults       string `json:"vault_host"`
	Blobs        string `json:"blob_host"`
	Tables       string `json:"table_host"`
	CAFile       string `json:"ca_file"`
}

func (r *fabricReady) write(dir state) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(dir.ready(), append(text, '\n'))
}

// runningFabric reads how a fabric that runs can be reached.
func runningFabric(dir state) (r fabricReady, err error) {
	notRunning := causeway.WithHint(fmt.Errorf("no fabric runs in %s: %w", dir, causeway.ErrNotFound), "start it with: causeway fabric run --state %s", filepath.Dir(string(dir)))
	text, err := os.ReadFile(dir.ready())
	if errors.Is(err, fs.ErrNotExist) {
		return r, notRunning
	}
	if err != nil {
		return r, err
	}
	if free, err := lockIsFree(dir); err != nil || free {
		return r, errors.Join(err, notRunning)
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("%s: %w", dir.ready(), err)
	}
	return r, nil
}
