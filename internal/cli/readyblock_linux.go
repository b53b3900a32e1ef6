package cli

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"time"
)

// A readyBlock is what `up` says to people when it serves.
type readyBlock struct {
	ready   *ready
	state   state
	program string         // how a command of ours begins
	dial    netip.AddrPort // the front end, for names that DNS does not know yet
	took    time.Duration
	letIn   string // external URL that answered a device; "" when none did
	refused visit  // the request without a certificate
	sample  bool
}

func (b *readyBlock) print(out io.Writer) error {
	w := new(bytes.Buffer)
	r := b.ready
	first, letIn := b.letIn, "A device with a certificate is let in"
	if first == "" {
		first, letIn = r.GatewayURL, "A device with a certificate is let in as soon as a server answers"
		if len(r.Published) > 0 {
			first = r.Published[0].URL
		}
	}
	fmt.Fprintf(w, "\nReady after %s.\n\n", seconds(b.took))
	width := len("gateway")
	for _, p := range r.Published {
		width = max(width, len(p.Name))
	}
	fmt.Fprintf(w, "  %-*s  %s\n", width, "gateway", r.GatewayURL)
	for _, p := range r.Published {
		fmt.Fprintf(w, "  %-*s  %s\n", width, p.Name, p.URL)
	}
	fmt.Fprintf(w, "\n%s:\n\n  %s\n", letIn, b.curl(first, true))
	fmt.Fprintf(w, "\nWithout one it is refused (%d %s: the gateway knows devices by their certificates):\n\n  %s\n",
		b.refused.status, b.refused.code, b.curl(first, false))
	if b.sample {
		fmt.Fprintf(w, "\nThis is the sample server. Publish one of your own:\n\n  %s server add NAME=URL%s\n", b.program, b.stateFlag())
	}
	fmt.Fprintf(w, "\n  state    %s\n  logs     %s\n  admin    %s (read-only: /metrics /livez /readyz)\n", b.state, r.LogsDir, r.AdminURL)
	fmt.Fprintf(w, "\nStop with Ctrl-C or: %s down%s\n", b.program, b.stateFlag())
	_, err := out.Write(w.Bytes())
	return err
}

// curl is a line to paste.
func (b *readyBlock) curl(target string, device bool) string {
	args := []string{"curl", "--cacert", b.ready.CAFile}
	if device {
		args = append(args, "--cert", b.ready.DeviceCertFile, "--key", b.ready.DeviceKeyFile)
	}
	if u, err := url.Parse(target); err == nil {
		if _, err := netip.ParseAddr(u.Hostname()); err != nil {
			args = append(args, "--resolve", fmt.Sprintf("%s:%d:%s", u.Hostname(), b.dial.Port(), b.dial.Addr()))
		}
	}
	return shellLine(append(args, target)...)
}

func (b *readyBlock) stateFlag() string { return shellLine("", "--state", string(b.state)) }
