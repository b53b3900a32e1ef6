package sample

import (
	"net/http"

	"github.com/coder/websocket"
)

// maxMessageBytes bounds one message that the echo holds.
const maxMessageBytes = 1 << 20

// socket echoes every message until the device hangs up.
func (s *Server) socket(w http.ResponseWriter, r *http.Request) {
	// Browsers of other origins may connect: the echo gives away nothing, and the gateway has already asked for proof.
	c, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return // Accept has answered
	}
	defer c.CloseNow()
	c.SetReadLimit(maxMessageBytes)
	for {
		kind, message, err := c.Read(r.Context())
		if err != nil {
			return
		}
		if err := c.Write(r.Context(), kind, message); err != nil {
			return
		}
	}
}
