package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
)

// A ready is what ready.json tells programs. The file is written last and removed first, so whoever sees it can
// send a request.
type ready struct {
	GatewayURL       string                 `json:"gateway_url"`
	CAFile           string                 `json:"ca_file"`
	DeviceCertFile   string                 `json:"device_cert_file"`
	DeviceKeyFile    string                 `json:"device_key_file"`
	Published        []readyPublished       `json:"published"`
	Instances        []readyInstance        `json:"instances"`
	ConnectionPoints []readyConnectionPoint `json:"connection_points"`
	Balancer         readyProcess           `json:"balancer"`
	AdminURL         string                 `json:"admin_url"`
	LogsDir          string                 `json:"logs_dir"`
	PID              int                    `json:"pid"`
}

type readyProcess struct {
	PID int `json:"pid"`
}

type readyPublished struct {
	Name string `json:"name"`
	URL  string `json:"url"`  // as devices use it
	Path string `json:"path"` // of URL
}

type readyInstance struct {
	ID          string `json:"id"`
	Slot        int    `json:"slot"`
	PID         int    `json:"pid"`
	ChannelPort int    `json:"channel_port"`
}

type readyConnectionPoint struct {
	ID  string `json:"id"`
	PID int    `json:"pid"`
}

func (r *ready) write(dir state) error {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(r); err != nil {
		return err
	}
	return writeFile(dir.ready(), buf.Bytes())
}

func removeReady(dir state) error {
	if err := os.Remove(dir.ready()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
