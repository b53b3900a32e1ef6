// Package console is the site's administration: the admin API through which commands reach a running site, and the
// read-only surface that monitoring reads.
//
//	causeway server add … ──► admin.sock ── same user? ── bearer credential? ── audited change ──► site store ─► signed documents
//	Prometheus ──► loopback TCP ── our Host? ── GET ──► /metrics /livez /readyz
//
// The admin API is a unix socket that only the site's own user reaches, and every request on it carries the
// credential of an owner-only file besides: a role that broke out of its folder's limits still cannot read that
// file. Nothing on the TCP side can change anything, and nothing of either is reachable from the internet.
package console
