package cli

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/causeway-gateway/causeway"
)

// listenError says what is in the way of an address, and what to do about it.
func listenError(what, address string, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return causeway.WithHint(fmt.Errorf("%s: %s is taken by another program", what, address),
			"find it with: ss -ltnp; or choose another address or port")
	case errors.Is(err, syscall.EACCES):
		return causeway.WithHint(fmt.Errorf("%s: %s: no right to use this port", what, address),
			"choose a port from 1024 up, start as root, or: sysctl net.ipv4.ip_unprivileged_port_start=443")
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return causeway.WithHint(fmt.Errorf("%s: %s is not an address of this machine", what, address),
			"list them with: ip addr; or use 127.0.0.1 or 0.0.0.0")
	}
	return fmt.Errorf("%s: listen on %s: %w", what, address, err)
}

// activated returns the sockets that systemd passed, by the name their unit gives them. They are close-on-exec.
func activated(getenv func(string) string) (map[string]net.Listener, error) {
	if pid, err := strconv.Atoi(getenv("LISTEN_PID")); err != nil || pid != os.Getpid() {
		return nil, nil // none, or meant for another process
	}
	n, err := strconv.Atoi(getenv("LISTEN_FDS"))
	if err != nil || n < 0 || n > 64 {
		return nil, fmt.Errorf("LISTEN_FDS: bad value %q", getenv("LISTEN_FDS"))
	}
	names := strings.Split(getenv("LISTEN_FDNAMES"), ":")
	sockets := map[string]net.Listener{}
	for i := range n {
		const first = 3 // SD_LISTEN_FDS_START
		name := ""
		if i < len(names) {
			name = names[i]
		}
		if sockets[name] != nil {
			return nil, causeway.WithHint(fmt.Errorf("systemd passed two sockets named %q", name), "give each socket unit a FileDescriptorName= of its own")
		}
		f := os.NewFile(uintptr(first+i), name)
		ln, err := net.FileListener(f) // a copy, close-on-exec
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("socket %q from systemd: %w", name, err)
		}
		sockets[name] = ln
	}
	return sockets, nil
}

// notify tells systemd about the service's state where it asked to be told (sd_notify).
func notify(getenv func(string) string, message string) error {
	path := getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	if strings.HasPrefix(path, "@") {
		path = "\x00" + path[1:]
	}
	c, err := net.Dial("unixgram", path)
	if err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	defer c.Close()
	_, err = c.Write([]byte(message))
	return err
}
