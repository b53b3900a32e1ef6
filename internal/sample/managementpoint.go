package sample

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// managementPoint adds the names under which ConfigMgr clients look for a management point. Real ones do not care
// about case there; everything else goes to next. What it says back is of the right kind, not of the real protocol.
func (s *server) managementPoint(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := strings.ToLower(r.URL.Path)
		switch {
		case r.Method == "CCM_POST" && path == "/ccm_system/request":
			s.message(w, r)
		case r.Method == "BITS_POST" && strings.HasPrefix(path, "/ccm_incoming/"):
			s.upload(w, r)
		case r.Method == http.MethodGet && path == "/sms_mp/.sms_aut":
			s.siteInfo(w, r)
		case r.Method == http.MethodGet && path == "/bgb":
			s.poll(w, r)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// message acknowledges a client message by its size and hash.
func (s *server) message(w http.ResponseWriter, r *http.Request) {
	name, _, ok := s.deviceOf(w, r)
	if !ok {
		return
	}
	h := sha256.New()
	n, err := io.Copy(h, http.MaxBytesReader(w, r.Body, maxInventoryBytes))
	if err != nil {
		fail(w, statusOfBody(err), err)
		return
	}
	s.events.send("message", name)
	writeJSON(w, http.StatusOK, map[string]any{"device": name, "bytes": n, "sha256": fmt.Sprintf("%x", h.Sum(nil))})
}

// siteInfo answers the site questions, which stand in the query's name alone: ?MPLIST, ?SITESIGNCERT.
func (s *server) siteInfo(w http.ResponseWriter, r *http.Request) {
	if _, _, ok := s.deviceOf(w, r); !ok {
		return
	}
	question, _, _ := strings.Cut(strings.ToUpper(r.URL.RawQuery), "&")
	switch question {
	case "MPLIST", "MPLIST1", "MPLIST2":
		w.Header().Set("Content-Type", "text/xml; charset=utf-8")
		_, _ = io.WriteString(w, `<MPList><MP Name="sample" FQDN="sample"><Version>1</Version></MP></MPList>`)
	default:
		http.NotFound(w, r)
	}
}
