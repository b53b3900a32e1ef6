package console

import (
	"net/http"
	"time"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/identity"
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

// Devices are what the site knows of devices. Those of an organisation's own CA are known by their blocks alone.
type Devices struct {
	Certificates []IssuedDevice `json:"certificates"` // of the site's own CA, still valid
	Blocks       []Block        `json:"blocks"`
}

// An IssuedDevice is one certificate of a device.
type IssuedDevice struct {
	Device     causeway.DeviceID `json:"device"`
	Serial     string            `json:"serial"`     // hexadecimal
	Thumbprint string            `json:"thumbprint"` // SHA-256, hexadecimal
	Issued     time.Time         `json:"issued"`
	NotAfter   time.Time         `json:"not_after"`
	Blocked    bool              `json:"blocked"`
}

// A Block is an entry of the block list.
type Block struct {
	identity.Block
	Reason  string    `json:"reason,omitempty"`
	Created time.Time `json:"created,omitzero"`
}

func (s *Server) devices(w http.ResponseWriter, r *http.Request) {
	d, err := s.Site.Devices(r.Context())
	s.answer(w, r, d, err)
}

// A blockRequest is the body of a block or its end.
type blockRequest struct {
	identity.Block
	Reason string `json:"reason,omitempty"`
}

func (s *Server) block(w http.ResponseWriter, r *http.Request) {
	var b blockRequest
	if err := read(w, r, &b); err != nil {
		fail(w, err)
		return
	}
	c, err := s.Site.BlockDevice(r.Context(), by(r), b.Block, b.Reason)
	s.answer(w, r, c, err)
}

func (s *Server) unblock(w http.ResponseWriter, r *http.Request) {
	var b identity.Block
	if err := read(w, r, &b); err != nil {
		fail(w, err)
		return
	}
	c, err := s.Site.UnblockDevice(r.Context(), by(r), b)
	s.answer(w, r, c, err)
}
