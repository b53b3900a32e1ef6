package console

import "net/http"

// A Question asks whether a device would be let in with a request.
type Question struct {
	Certificates [][]byte `json:"certificates"` // DER, leaf first; none asks about a device without a certificate
	Method       string   `json:"method"`
	URL          string   `json:"url"` // as the device would write it
}

// An Explanation is the way to a verdict, made by the very code that gateway and connection point run.
type Explanation struct {
	Admitted bool     `json:"admitted"`
	Device   string   `json:"device,omitempty"`
	Server   string   `json:"server,omitempty"`
	Rule     string   `json:"rule,omitempty"` // path of the rule that decides
	Status   int      `json:"status"`         // what a refused device gets; 0 when the server answers
	Code     string   `json:"code,omitempty"`
	Steps    []Reason `json:"steps"`
}

// A Reason is one question on the way, and its answer.
type Reason struct {
	OK     bool   `json:"ok"`
	Check  string `json:"check"`
	Detail string `json:"detail,omitempty"`
}

func (s *Server) explain(w http.ResponseWriter, r *http.Request) {
	var q Question
	if err := read(w, r, &q); err != nil {
		fail(w, err)
		return
	}
	e, err := s.Site.Explain(r.Context(), q)
	s.answer(w, r, e, err)
}
