package signed

import (
	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/identity"
	"github.com/causeway-gateway/causeway/policy"
)

// Kinds of documents.
const (
	KindGateway         = "gateway"          // GatewayDocument
	KindConnectionPoint = "connection-point" // ConnectionPointDocument
	KindSiteKey         = "site-key"         // SiteKeyDocument
)

// Formats of the documents as this version writes and reads them.
const (
	FormatGateway         = 1
	FormatConnectionPoint = 1
	FormatSiteKey         = 1
)

// A GatewayDocument is all that the instances of one gateway know: whom to admit, what is published, and which
// connection points may speak for the site. It names nothing inside.
type GatewayDocument struct {
	Site             causeway.SiteID      `json:"site"`
	Gateway          causeway.GatewayName `json:"gateway"`
	ServiceName      string               `json:"service_name"`
	ServicePort      int                  `json:"service_port"`
	DeviceTrust      identity.Trust       `json:"device_trust"`
	SiteCAs          [][]byte             `json:"site_cas"` // DER; they sign connection points' certificates
	ConnectionPoints []ConnectionPoint    `json:"connection_points"`
	Instances        []Instance           `json:"instances"`
	Publications     []policy.Publication `json:"publications"`
	Limits           Limits               `json:"limits"`
}

// A ConnectionPoint is one that a gateway admits: certificate of the site's CA for this id, and the connection id.
type ConnectionPoint struct {
	ID                causeway.ConnectionPointID `json:"id"`
	ConnectionID      string                     `json:"connection_id"`
	CertificateSHA256 string                     `json:"certificate_sha256,omitempty"` // hexadecimal; set: no other certificate will do
}

// An Instance is one that the site knows.
type Instance struct {
	Slot causeway.Slot       `json:"slot"`
	ID   causeway.InstanceID `json:"id"`
	Name string              `json:"name"`
	// Where the other instances reach its channel listener, as host or host:port (8443 without), to pass on what came to
	// them by mistake of a load balancer. Empty: they pass nothing on.
	PrivateAddress string `json:"private_address"`
}

// Limits are a gateway's own bounds. Zero means the gateway's documented default.
type Limits struct {
	MaxConnections          int     `json:"max_connections,omitempty"`
	MaxConnectionsPerSource int     `json:"max_connections_per_source,omitempty"`
	MaxInFlight             int     `json:"max_in_flight,omitempty"`
	DeviceConcurrency       int     `json:"device_concurrency,omitempty"`
	DeviceRatePerSecond     float64 `json:"device_rate_per_second,omitempty"`
	DeviceBurst             int     `json:"device_burst,omitempty"`
}

// A ConnectionPointDocument is all that a connection point knows: where to dial, whom to serve, and its own list
// of servers, which no gateway can widen.
type ConnectionPointDocument struct {
	Site         causeway.SiteID      `json:"site"`
	Gateways     []Gateway            `json:"gateways"`
	DeviceTrust  identity.Trust       `json:"device_trust"`
	Publications []policy.Publication `json:"publications"`
	Servers      []Server             `json:"servers"` // one for each publication, by name
}

// A Gateway is one to dial.
type Gateway struct {
	Name        causeway.GatewayName `json:"name"`
	ServiceName string               `json:"service_name"` // expected in the service certificate
	ServicePort int                  `json:"service_port"`
	Address     string               `json:"address"` // host or IP to dial
	// The service certificate must chain to one of ServiceCAs (DER) and name ServiceName. With pins it must also
	// be one of them; with pins and no CAs the pin alone decides.
	ServiceCAs               [][]byte          `json:"service_cas,omitempty"`
	ServiceCertificateSHA256 []string          `json:"service_certificate_sha256,omitempty"` // hexadecimal
	Instances                []GatewayInstance `json:"instances"`
}

// A GatewayInstance is where one instance takes channels.
type GatewayInstance struct {
	Slot        causeway.Slot       `json:"slot"`
	ID          causeway.InstanceID `json:"id"`
	Address     string              `json:"address,omitempty"` // host or IP to dial; empty: the gateway's
	ChannelPort int                 `json:"channel_port"`
}

// A Server is how a connection point reaches one published server.
type Server struct {
	Name              causeway.ServerName `json:"name"`
	URL               string              `json:"url"`                          // http or https, optional path prefix
	CAs               string              `json:"cas,omitempty"`                // PEM; empty: the system's
	ClientCertificate string              `json:"client_certificate,omitempty"` // PEM
	ClientKey         Secret              `json:"client_key,omitempty"`         // PEM
	HostHeader        string              `json:"host_header,omitempty"`        // "inside" (default) or "outside"
	IdentityForms     []string            `json:"identity_forms,omitempty"`
}

// A Secret is text that does not print itself.
type Secret string
