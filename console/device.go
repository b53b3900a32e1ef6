package console

import (
	"net/http"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/signed"
)

// A DeviceCertificate is one that the site's own CA issued. The key exists in this answer alone.
type DeviceCertificate struct {
	Certificate string        `json:"certificate"` // PEM
	Key         signed.Secret `json:"key"`         // PEM
}

func (s *Server) issueDevice(w http.ResponseWriter, r *http.Request) {
	d, err := s.Site.IssueDevice(r.Context(), by(r), causeway.DeviceID(r.PathValue("name")))
	s.answer(w, r, d, err)
}
