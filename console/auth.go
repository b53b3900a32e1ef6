package console

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"strings"
)

// peerKey is the context key under which a connection's user is kept.
type peerKey struct{}

// A peer is who opened a connection to the admin socket, as the kernel says.
type peer struct {
	uid   int
	known bool
}

// withPeer notes the user of each new connection; it is http.Server's ConnContext.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, peerKey{}, peerOf(c))
}

// authorised lets a request through that comes from an allowed user and carries the credential. Both checks stand
// on their own: the socket's folder may be opened by mistake, and a user's other programs are not administrators.
func (s *Server) authorised(next http.Handler) http.Handler {
	want := sha256.Sum256([]byte(s.Credential))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, _ := r.Context().Value(peerKey{}).(peer)
		if p.known && p.uid != s.UID && p.uid != 0 {
			s.log().Warn("admin request refused: another user", "uid", p.uid, "path", r.URL.Path)
			writeError(w, http.StatusForbidden, apiError{Code: "forbidden", Message: "only the user that runs the site administers it"})
			return
		}
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		got := sha256.Sum256([]byte(token))
		if !ok || s.Credential == "" || subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			s.log().Warn("admin request refused: no valid credential", "uid", p.uid, "path", r.URL.Path)
			writeError(w, http.StatusUnauthorized, apiError{Code: "unauthorized", Message: "the request carries no valid credential"})
			return
		}
		next.ServeHTTP(w, r)
	})
}
