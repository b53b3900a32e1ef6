// Package gateway is the data plane: it lets known devices in and passes their requests to the site.
//
//	device ─TLS─► accept ─► handshake ─► serveHTTP1 ┐
//	                                  └► net/http h2 ┴► judge ─► admit ─► Exchanger ═channel═► connection point
//
// A connection is judged by its client certificate, a request by policy, and both verdicts are of one immutable
// snapshot of the signed configuration; when that changes, the next request on an open connection meets the new one.
// A request is held in memory only while it passes, and no body ever as a whole. The gateway keeps no device
// secrets, stores nothing of a payload, and has no administration on any port that the internet reaches.
//
// Order of stopping, which Run follows: health turns 503, so that the balancer looks elsewhere; listeners close; device
// connections end with their next answer, idle ones a second later; connection points are told to move away while
// requests in flight finish; then channels close, and whatever device connection is left is cut.
package gateway
