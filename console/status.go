package console

import (
	"net/http"
	"time"

	"github.com/causeway-gateway/causeway"
)

// A Status is the whole site at a moment.
type Status struct {
	Site             causeway.SiteID         `json:"site"`
	Version          string                  `json:"version"`
	State            string                  `json:"state"` // folder
	PID              int                     `json:"pid"`
	Since            time.Time               `json:"since"`
	GatewayURL       string                  `json:"gateway_url"`
	AdminURL         string                  `json:"admin_url"`
	LogsDir          string                  `json:"logs_dir"`
	Healthy          bool                    `json:"healthy"`
	Documents        map[string]uint64       `json:"documents"`          // kind: generation that was signed last
	Balancer         *ProcessStatus          `json:"balancer,omitempty"` // nil: none of this site's
	Instances        []InstanceStatus        `json:"instances"`
	ConnectionPoints []ConnectionPointStatus `json:"connection_points"`
	Channels         []ChannelStatus         `json:"channels"` // as the connection points of this host see them
	SampleServer     *ProcessStatus          `json:"sample_server,omitempty"`
	Servers          []Published             `json:"servers"`
	ServerStates     []ServerStatus          `json:"server_states"`   // as the connection points of this host reach them
	Notes            []string                `json:"notes,omitempty"` // what an administrator should know, and do
}

// A ProcessStatus is how one child process fares.
type ProcessStatus struct {
	State    string    `json:"state"`
	PID      int       `json:"pid,omitempty"`
	Since    time.Time `json:"since"`
	Restarts int       `json:"restarts"`
	LastExit string    `json:"last_exit,omitempty"`
	Silent   bool      `json:"silent,omitempty"` // it runs, but did not answer when it was asked
}

// An InstanceStatus is one gateway instance.
type InstanceStatus struct {
	ID          causeway.InstanceID `json:"id"`
	Slot        causeway.Slot       `json:"slot"`
	Process     ProcessStatus       `json:"process"`
	Healthy     bool                `json:"healthy"` // by the balancer's probe
	ChannelPort int                 `json:"channel_port"`
	Generation  uint64              `json:"generation"` // of the document in force
	Channels    int                 `json:"channels"`
	Transports  map[string]int      `json:"transports,omitempty"` // channels, by the way they came
}

// A ConnectionPointStatus is one connection point.
type ConnectionPointStatus struct {
	ID         causeway.ConnectionPointID `json:"id"`
	Process    ProcessStatus              `json:"process"`
	Generation uint64                     `json:"generation"`
	Channels   int                        `json:"channels"`
}

// A ChannelStatus is what one connection point keeps to one gateway instance.
type ChannelStatus struct {
	ConnectionPoint causeway.ConnectionPointID `json:"connection_point"`
	Slot            causeway.Slot              `json:"slot"`
	Instance        causeway.InstanceID        `json:"instance"`
	State           string                     `json:"state"` // Connected, Disconnected, Draining; Unknown: the connection point does not answer
	Transport       string                     `json:"transport,omitempty"`
	Proxy           string                     `json:"proxy,omitempty"` // on the way
	Connected       int                        `json:"connected"`       // connections for requests, and how many there should be
	Wanted          int                        `json:"wanted"`
	Bulk            int                        `json:"bulk"`          // connections for large bodies
	RoundTrip       time.Duration              `json:"round_trip_ns"` // the longest of the connections
	Streams         int                        `json:"streams"`       // requests under way
	Requests        uint64                     `json:"requests"`
	Redials         uint64                     `json:"redials"`
	LastError       string                     `json:"last_error,omitempty"`
}

// A ServerStatus is how one connection point reaches one published server.
type ServerStatus struct {
	Server          causeway.ServerName        `json:"server"`
	ConnectionPoint causeway.ConnectionPointID `json:"connection_point"`
	State           string                     `json:"state"` // Reachable, Unreachable, Unknown: no request went there yet
	LastError       string                     `json:"last_error,omitempty"`
	LastTry         time.Time                  `json:"last_failed_try,omitzero"`
}

func (s *Server) status(w http.ResponseWriter, r *http.Request) {
	st, err := s.Site.Status(r.Context())
	st.Servers = withoutKeys(st.Servers)
	s.answer(w, r, st, err)
}

func (s *Server) stop(w http.ResponseWriter, r *http.Request) {
	s.answer(w, r, struct{}{}, s.Site.Stop(r.Context(), by(r)))
}
