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
	SampleServer     *ProcessStatus          `json:"sample_server,omitempty"`
	Servers          []Published             `json:"servers"`
}

// A ProcessStatus is how one child process fares.
type ProcessStatus struct {
	State    string    `json:"state"`
	PID      int       `json:"pid,omitempty"`
	Since    time.Time `json:"since"`
	Restarts int       `json:"restarts"`
	LastExit string    `json:"last_exit,omitempty"`
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
}

// A ConnectionPointStatus is one connection point.
type ConnectionPointStatus struct {
	ID         causeway.ConnectionPointID `json:"id"`
	Process    ProcessStatus              `json:"process"`
	Generation uint64                     `json:"generation"`
	Channels   int                        `json:"channels"`
}

func (s *Server) status(w http.ResponseWriter, r *http.Request) {
	st, err := s.Site.Status(r.Context())
	st.Servers = withoutKeys(st.Servers)
	s.answer(w, r, st, err)
}

func (s *Server) stop(w http.ResponseWriter, r *http.Request) {
	s.answer(w, r, struct{}{}, s.Site.Stop(r.Context(), by(r)))
}
