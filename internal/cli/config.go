package cli

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/signed"
)

// maxConfigBytes bounds a configuration file; ours have a few hundred.
const maxConfigBytes = 1 << 20

// readConfig decodes a YAML file strictly: an unknown field is an error that names its line.
func readConfig(path string, into any) error {
	f, err := os.Open(path)
	if err != nil {
		return causeway.WithHint(fmt.Errorf("configuration: %w", err), "give the file with --config FILE")
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxConfigBytes+1))
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	if len(text) > maxConfigBytes {
		return fmt.Errorf("configuration %s is longer than %d bytes", path, maxConfigBytes)
	}
	if err := yaml.UnmarshalWithOptions(text, into, yaml.Strict()); err != nil && !errors.Is(err, io.EOF) {
		return configError(path, text, err)
	}
	return nil
}

// required names the fields that a configuration leaves out.
func required(path string, fields map[string]string) error {
	var errs []error
	for _, name := range sortedKeys(fields) {
		if fields[name] == "" {
			errs = append(errs, causeway.WithHint(misuse{fmt.Errorf("configuration %s: %s is missing", path, name)}, "add a line: %s: …", name))
		}
	}
	return errors.Join(errs...)
}

// checkSiteKey tells where a site key stands that is none. One that is missing is told by required.
func checkSiteKey(path, text string) error {
	if text == "" {
		return nil
	}
	if _, err := signed.ParsePublicKey(text); err != nil {
		return causeway.WithHint(misuse{fmt.Errorf("%s: %w", fieldOf(path, "site_key"), err)}, "export the folder again, or copy the line from another of this site")
	}
	return nil
}

// checkFile tells where a file is named that is not there. One that is not named is told by required.
func checkFile(path, field, name string) error {
	if name == "" {
		return nil
	}
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return causeway.WithHint(misuse{fmt.Errorf("%s: %w", fieldOf(path, field), err)}, "name a file that is there; a path is relative to the folder of this configuration")
	case info.IsDir():
		return causeway.WithHint(misuse{fmt.Errorf("%s: %s is a folder", fieldOf(path, field), name)}, "name the file in it")
	}
	return nil
}

// beside makes a path of a configuration file absolute: it is meant relative to the file's folder.
func beside(config, path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(config), path)
}

// A duration is written as "30s" in configuration files.
type duration time.Duration

// UnmarshalYAML reads a field of a configuration file.
func (d *duration) UnmarshalYAML(n ast.Node) error {
	return unmarshalField(n, d, "want a duration such as 30s")
}

func (d *duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil || v < 0 {
		return errors.New("want a duration such as 30s")
	}
	*d = duration(v)
	return nil
}

func (d duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// listenAddress checks a "host:port" of a configuration file; admin surfaces take loopback addresses only.
func listenAddress(field, text string, loopback bool) error {
	ap, err := netip.ParseAddrPort(text)
	if err != nil {
		example := "127.0.0.1:9090"
		if port, ok := strings.CutPrefix(text, ":"); ok && !loopback {
			example = "0.0.0.0:" + port
		}
		return causeway.WithHint(misuse{fmt.Errorf("%s: %q is not an address with a port", field, text)}, "give one such as %s", example)
	}
	if loopback && !ap.Addr().IsLoopback() {
		return misuse{fmt.Errorf("%s: %s is not a loopback address", field, text)}
	}
	return nil
}

// listenOn binds an address of the configuration, with a hint where the usual reasons are known.
func listenOn(field, address string) (net.Listener, error) {
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return nil, listenError(field, address, err)
	}
	return ln, nil
}
