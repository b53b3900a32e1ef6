package cli

import (
	"fmt"
	"strings"
)

// Folders that the packaged systemd units give to the roles.
const (
	systemdGatewayState = "/var/lib/causeway-gateway"
	systemdGatewayRun   = "/run/causeway-gateway"
	systemdPointState   = "/var/lib/causeway-connection-point"
	systemdPointRun     = "/run/causeway-connection-point"
)

// A yamlText is a configuration file with comments, for people who will change it.
type yamlText struct{ strings.Builder }

func (y *yamlText) comment(text string) { fmt.Fprintf(y, "# %s\n", text) }

// field writes name: value with a remark behind it. Values are quoted where YAML could read them as something else.
func (y *yamlText) field(name string, value any, remark string) {
	line := fmt.Sprintf("%s: %v", name, value)
	if s, ok := value.(string); ok {
		line = fmt.Sprintf("%s: %q", name, s)
	}
	if remark != "" {
		line = fmt.Sprintf("%-44s # %s", line, remark)
	}
	fmt.Fprintln(y, line)
}

// off is a field that people may switch on.
func (y *yamlText) off(name, value, remark string) {
	fmt.Fprintf(y, "%-44s # %s\n", "# "+name+": "+value, remark)
}

// offRole is what all roles have for those who look after them.
func (y *yamlText) offRole() {
	y.off("admin_listen", `"127.0.0.1:9465"`, "the same on a loopback address, in place of admin_socket")
	y.off("log_dir", `"logs"`, "without it JSON lines go to stderr")
	y.off("log_level", "debug", "or info, the default, warn, error")
}

func (y *yamlText) gap() { fmt.Fprintln(y) }

// gatewayYAML is the configuration of an exported instance.
func gatewayYAML(c *gatewayConfig, systemd bool) string {
	documents, socket := "documents", "run.sock"
	if systemd {
		documents, socket = systemdGatewayState, systemdGatewayRun+"/admin.sock"
	}
	var y yamlText
	y.comment("A gateway instance. Relative paths are relative to this file.")
	y.gap()
	y.field("site", string(c.Site), "")
	y.comment("The site's public key: what it has not signed is not obeyed.")
	y.field("site_key", c.SiteKey, "")
	y.field("gateway", string(c.Gateway), "")
	y.field("instance", string(c.Instance), "")
	y.field("slot", int(c.Slot), "")
	y.gap()
	y.field("certificate_file", "tls.crt", "service certificate with its chain; a new file is taken up by itself")
	y.field("key_file", "tls.key", "")
	y.field("documents_dir", documents, "the newest signed document is kept here; must be writable")
	y.gap()
	y.comment("Where it listens, unless systemd passes sockets named devices, channels and health. 0.0.0.0 is every address, those of IPv6 too.")
	y.field("devices_listen", c.DevicesListen, "HTTPS, for the internet")
	y.field("channels_listen", c.ChannelsListen, "connection points dial this port")
	y.off("health_listen", `"127.0.0.1:9080"`, "plain HTTP, for a load balancer's probe alone")
	y.gap()
	y.field("admin_socket", socket, "GET /metrics /livez /readyz /status")
	y.offRole()
	y.off("memory_budget", `"256MiB"`, "body bytes that may be held for slow readers; over it, new requests get 503")
	y.off("memory_limit", `"512MiB"`, "near which garbage is collected harder; default 75 % of the machine's or control group's")
	y.off("user", "65534", "user id to become when root starts it without systemd; first: chown -R 65534 the folder of this file")
	y.off("confine", "false", "give up the confinement of this process, to find a fault; it is confined by default")
	y.off("drain_timeout", "30s", "what requests under way get when it stops")
	y.off("access_log_every", "1000", "one admitted request of so many is logged; 0, the default, is none")
	if c.Limits == (gatewayLimits{}) {
		y.off("limits", "", "with one or more of these lines")
		y.off("  max_handshakes", "2048", "unfinished, of all sources")
		y.off("  max_handshakes_per_source", "512", "unfinished, of one")
		y.off("  refusals_per_second", "20", "of one source, before it gets 429 in their place")
	} else {
		y.gap()
		fmt.Fprintln(&y, "limits:")
		y.field("  max_handshakes", c.Limits.MaxHandshakes, "unfinished, of all sources")
		y.field("  max_handshakes_per_source", c.Limits.MaxHandshakesPerSource, "")
		y.field("  refusals_per_second", c.Limits.RefusalsPerSecond, "of one source, before it gets 429 in their place")
	}
	return y.String()
}

// connectionPointYAML is the configuration of an exported connection point.
func connectionPointYAML(c *connectionPointConfig, systemd bool) string {
	documents, socket := "documents", "run.sock"
	if systemd {
		documents, socket = systemdPointState, systemdPointRun+"/admin.sock"
	}
	var y yamlText
	y.comment("A connection point. Relative paths are relative to this file.")
	y.gap()
	y.field("site", string(c.Site), "")
	y.comment("The site's public key: what it has not signed is not obeyed.")
	y.field("site_key", c.SiteKey, "")
	y.field("id", string(c.ID), "")
	y.field("connection_id", c.ConnectionID, "secret: gateways ask for it beside the certificate")
	y.gap()
	y.field("certificate_file", "tls.crt", "issued by the site; a new file is taken up by itself")
	y.field("key_file", "tls.key", "")
	y.field("documents_dir", documents, "the site writes its signed documents here; looked at once a second")
	y.gap()
	y.off("connections", "2", "to each gateway instance, 1 to 4")
	y.off("max_in_flight", "500", "requests taken from each gateway instance at a time; 0, the default, is no bound; over it, 503")
	y.comment("How gateways are reached. Lesser transports are used while better ones fail, which are tried again every transport_return.")
	y.off("transports", "[slot-port, single-port, websocket]", "port 10124 + slot; the devices' port; a WebSocket there")
	y.off("transport_return", "1m", "how often better ways are tried again")
	y.off("proxy", `"http://proxy.example.com:3128"`, "or environment, which means HTTPS_PROXY and NO_PROXY")
	y.off("proxy_credentials_file", `"proxy.txt"`, "one line USER:PASSWORD")
	y.off("no_proxy", `"10.0.0.0/8"`, "reached directly, as in NO_PROXY")
	y.off("extra_ca_file", `"ca.pem"`, "CAs of a proxy or middle box that ends TLS on the way")
	y.field("admin_socket", socket, "GET /metrics /livez /readyz /status")
	y.offRole()
	y.off("memory_budget", `"256MiB"`, "body bytes that may be held for slow readers; over it, new requests get 503")
	y.off("memory_limit", `"512MiB"`, "near which garbage is collected harder; default 75 % of the machine's or control group's")
	y.off("user", "65534", "user id to become when root starts it without systemd; first: chown -R 65534 the folder of this file")
	y.off("confine", "false", "give up the confinement of this process, to find a fault; it is confined by default")
	y.off("drain_timeout", "30s", "what requests under way get when it stops")
	return y.String()
}
