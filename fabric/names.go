package fabric

import (
	"net"
	"strconv"
	"strings"
)

// Domain is where the planes' names lie. RFC 6761, 6.3 gives names below localhost to the machine itself: curl and browsers
// know them without asking anybody.
const Domain = "fabric.localhost"

// names are what the planes are called.
type names struct {
	port   int
	listen string // IP address
}

func (n names) host(name string) string { return name + "." + Domain + ":" + strconv.Itoa(n.port) }

func (n names) management() string { return "https://" + n.host("management") }
func (n names) login() string      { return "https://" + n.host("login") }
func (n names) graph() string      { return "https://" + n.host("graph") }
func (n names) vaults() string     { return n.host("vault") }
func (n names) blobs() string      { return n.host("blob") }
func (n names) tables() string     { return n.host("table") }

// addresses are the machine itself: what serves all planes at once, told apart by their paths.
func (n names) addresses() []string {
	return []string{"localhost", "127.0.0.1", "::1", n.listen}
}

// certified are all names that the certificate is for.
func (n names) certified() []string {
	all := []string{"management." + Domain, "login." + Domain, "graph." + Domain, "*.vault." + Domain, "*.blob." + Domain, "*.table." + Domain, "blob." + Domain, "table." + Domain, "vault." + Domain}
	seen := make(map[string]bool)
	for _, a := range n.addresses() {
		if !seen[a] {
			all = append(all, a)
		}
		seen[a] = true
	}
	return all
}

// managementAudiences are what a token for the control plane may be for.
func (n names) managementAudiences() []string {
	all := []string{n.management(), n.management() + "/"}
	for _, a := range n.addresses() {
		url := "https://" + net.JoinHostPort(a, strconv.Itoa(n.port))
		all = append(all, url, url+"/")
	}
	return all
}

// isResource says whether tokens can be asked for something. Those of storage are for Azure's own name, as there.
func (n names) isResource(resource string) bool {
	plain := strings.TrimSuffix(resource, "/")
	for _, audience := range n.managementAudiences() {
		if plain == audience {
			return true
		}
	}
	switch plain {
	case n.graph(), "https://" + n.vaults(), "https://storage.azure.com":
		return true
	}
	for _, suffix := range []string{n.blobs(), n.tables()} {
		if account, is := strings.CutSuffix(plain, "."+suffix); is && strings.HasPrefix(account, "https://") {
			return true
		}
	}
	return false
}
