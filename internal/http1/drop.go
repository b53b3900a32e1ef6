package http1

// longestDropped bounds the names that are looked up as a whole; longer ones can only match a prefix.
const longestDropped = 40

// spelling is a field name as a server may come to see it: in lower case and with "_" read as "-", because CGI and
// its heirs make one variable of both, and old ones of every other mark too.
type spelling struct {
	buf [longestDropped]byte
	n   int
	cut bool
}

func spell[T ~string | ~[]byte](name T) (s spelling) {
	s.n = min(len(name), longestDropped)
	s.cut = len(name) > longestDropped
	for i := range s.n {
		c := lower(name[i])
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			c = '-'
		}
		s.buf[i] = c
	}
	return s
}

func (s *spelling) has(prefix string) bool {
	return s.n >= len(prefix) && string(s.buf[:len(prefix)]) == prefix
}

// DroppedInward reports whether a request field of that name from outside never travels inward, in whatever
// spelling: framing and hop-by-hop fields, what says who the device is, what says how the request came here, what
// names another method than the one that was judged, and the names that the connection point sets itself. What a
// Connection field names is dropped too: Request.Inward knows.
func DroppedInward[T ~string | ~[]byte](name T) bool {
	s := spell(name)
	return s.hopByHop() || s.identity() || s.forwarding() || s.overriding() || s.ours()
}

// DroppedOutward reports whether an answer field of that name never travels outward: framing and hop-by-hop fields,
// names that are ours, and Alt-Svc, which would send the device around the gateway.
func DroppedOutward[T ~string | ~[]byte](name T) bool {
	s := spell(name)
	return s.hopByHop() || s.has("x-causeway-") || !s.cut && string(s.buf[:s.n]) == "alt-svc"
}

// DroppedTrailer reports whether a field of that name must not come behind a body, where it would escape what was
// decided from the head (RFC 9110 6.5.1).
func DroppedTrailer[T ~string | ~[]byte](name T) bool {
	s := spell(name)
	return DroppedInward(name) || s.headOnly()
}

// hopByHop knows RFC 9110 7.6.1, framing and what else is between two neighbours only.
func (s *spelling) hopByHop() bool {
	if s.cut {
		return false
	}
	switch string(s.buf[:s.n]) {
	case "connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "content-length", "host", "expect",
		"http2-settings":
		return true
	}
	return s.has("proxy-") || s.n == len("proxy") && s.has("proxy") // "Proxy" becomes HTTP_PROXY in CGI programs
}

// identity knows the fields by which servers behind a front learn who asks.
func (s *spelling) identity() bool {
	for _, prefix := range identityPrefixes[s.family()] {
		if s.has(prefix) {
			return true
		}
	}
	return false
}

// family is the letter that tells most names apart: the first one, or the one behind "x-".
func (s *spelling) family() byte {
	switch {
	case s.has("x-") && s.n > 2:
		return 'x' + s.buf[2]
	case s.n > 0:
		return s.buf[0]
	}
	return 0
}

// identityPrefixes are families of names, by their letter: a front adds to its own over the years.
var identityPrefixes = byFamily(
	"client-cert", // RFC 9440, and Client-Cert-Chain
	"x-causeway-",
	"x-client-verif", "x-client-dn", "x-client-cert", "x-client-s-dn", "x-client-i-dn", "x-client-subject",
	"x-client-issuer", "x-client-serial", "x-client-fingerprint", "x-client-thumbprint", "x-client-ssl-", "x-clientcert",
	"x-ssl-", "ssl-", "x-tls-", "tls-client-", "x-certificate",
	"x-arr-clientcert", "x-arr-ssl", "x-amzn-mtls-", "x-amzn-oidc-",
	"remote-", "x-remote-", "x-webauth-", // REMOTE_USER and its heirs: Authelia, Kubernetes, Grafana
	"x-authenticated-", "x-auth-request-", "x-consumer-", // Kong, oauth2-proxy
	"sm-", "oidc-", // SiteMinder, mod_auth_openidc
	"x-ms-client-principal", "x-ms-token-", // App Service
	"wl-proxy-", // WebLogic
	"cf-access-", "x-goog-authenticated-user-", "x-goog-iap-", "x-appengine-user-",
)

func byFamily(prefixes ...string) (table [256][]string) {
	for _, prefix := range prefixes {
		s := spell(prefix)
		table[s.family()] = append(table[s.family()], prefix)
	}
	return table
}

// forwarding knows the fields by which proxies say where a request came from and what it was before. Only the
// connection point says that to a server, and X-Original-URL even changes what some servers answer.
func (s *spelling) forwarding() bool {
	if s.has("x-forwarded") || s.has("x-original-") || s.has("x-rewrite-") || s.has("x-envoy-") || s.has("cf-connecting-") {
		return true
	}
	if s.cut {
		return false
	}
	switch string(s.buf[:s.n]) {
	case "forwarded", "forwarded-for", "x-forward-for", "x-real-ip", "x-client-ip", "x-cluster-client-ip", "true-client-ip",
		"fastly-client-ip", "client-ip", "x-azure-clientip", "x-azure-socketip", "x-proxyuser-ip", "via",
		"front-end-https", "x-scheme", "x-url-scheme", "x-host", "x-http-host-override":
		return true
	}
	return false
}

// overriding knows the fields that make another method of the one that policy judged.
func (s *spelling) overriding() bool {
	if s.cut {
		return false
	}
	switch string(s.buf[:s.n]) {
	case "x-http-method-override", "x-http-method", "x-method-override", "x-method", "http-method-override", "method-override":
		return true
	}
	return false
}

// ours knows what the connection point writes: a second one from outside would compete with it.
func (s *spelling) ours() bool {
	if s.cut {
		return false
	}
	switch string(s.buf[:s.n]) {
	case "x-request-id", "traceparent", "tracestate":
		return true
	}
	return false
}

// headOnly knows what else counts in a head alone.
func (s *spelling) headOnly() bool {
	if s.has("if-") || s.has("ccmclient") {
		return true
	}
	if s.cut {
		return false
	}
	switch string(s.buf[:s.n]) {
	case "authorization", "cookie", "set-cookie", "www-authenticate", "authentication-info",
		"content-encoding", "content-type", "content-range", "cache-control", "pragma", "range", "max-forwards",
		"age", "date", "expires", "location", "retry-after", "vary", "warning", "realm", "alt-svc", "accept-ranges",
		"strict-transport-security":
		return true
	}
	return false
}

// Inward reports whether field f of this request may travel inward.
func (r *Request) Inward(f *Field) bool {
	return !DroppedInward(f.Name) && !r.framing.names(f.Name)
}

// Outward reports whether field f of this answer may travel outward.
func (r *Response) Outward(f *Field) bool {
	return !DroppedOutward(f.Name) && !r.framing.names(f.Name)
}
