package fabric

import (
	"net"
	"net/http"
	"strings"

	"github.com/causeway-gateway/causeway/fabric/azure"
)

// ServeHTTP finds the plane that a request is for: by the name of its host, and where that is the machine itself by its path.
func (f *Fabric) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	plane := f.byHost(hostOf(r))
	if plane == nil {
		plane = f.byPath(r.URL.Path)
	}
	if plane == nil {
		azure.WriteError(w, azure.Errorf(http.StatusNotFound, "NotFound", "No plane of this fabric is at this address."))
		return
	}
	plane.ServeHTTP(w, r)
}

func hostOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	return strings.ToLower(strings.Trim(host, "[]"))
}

// byHost returns nil for a host that is no plane's.
func (f *Fabric) byHost(host string) http.Handler {
	name, ours := strings.CutSuffix(host, "."+Domain)
	if !ours {
		return nil
	}
	switch name[strings.LastIndexByte(name, '.')+1:] {
	case "management":
		return http.HandlerFunc(f.control)
	case "login":
		return f.login
	case "graph":
		return f.graph
	case "vault":
		return f.planes.vaults
	case "blob":
		return f.blobs
	case "table":
		return f.tables
	}
	return nil
}

// byPath tells the planes apart where they share an address: accounts and vaults have their plane behind their names
// ("/ACCOUNT.blob/CONTAINER"), and the others begin with words of their own.
func (f *Fabric) byPath(path string) http.Handler {
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	switch first = strings.ToLower(first); {
	case first == "subscriptions" || first == "tenants" || first == "providers" || first == "metadata":
		return http.HandlerFunc(f.control)
	case first == "v1.0":
		return f.graph
	case strings.HasSuffix(first, ".vault"):
		return f.planes.vaults
	case strings.HasSuffix(first, ".blob"):
		return f.blobs
	case strings.HasSuffix(first, ".table"):
		return f.tables
	case first == f.self.Tenant || first == "common" || first == "organizations" || first == "adfs":
		return f.login
	}
	return nil
}

// control is the control plane, with what tells clients about the cloud before they have a token.
func (f *Fabric) control(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet && strings.EqualFold(strings.Trim(r.URL.Path, "/"), "metadata/endpoints") {
		azure.WriteJSON(w, http.StatusOK, f.metadata(r))
		return
	}
	f.planes.resources.ServeHTTP(w, r)
}

type object = map[string]any

// metadata is the description of the cloud that clients ask for first: with names for who asked by name, else with the address.
func (f *Fabric) metadata(r *http.Request) object {
	management, login, graph := f.names.management(), f.names.login(), f.names.graph()
	if f.byHost(hostOf(r)) == nil {
		management = "https://" + r.Host
		login, graph = management, management
	}
	return object{"name": "Causeway", "portal": "", "graph": graph + "/", "graphEndpoint": graph + "/", "galleryEndpoint": "", "resourceManager": management + "/",
		"authentication": object{"loginEndpoint": login + "/", "audiences": []string{management + "/", management}, "tenant": f.self.Tenant, "identityProvider": "AAD"},
		"suffixes":       object{"keyVaultDns": "vault." + Domain, "storage": Domain}}
}
