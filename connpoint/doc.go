// Package connpoint is the on-premises connection point: it dials out to every instance of every gateway and
// carries requests inward.
//
//	signed documents ─► Agent ─► one channel set per {gateway, slot}, dialled out, redialled when lost
//
//	gateway ═channel═► Handle ─► parse again ─► verify the device again ─► policy again ─► own list of servers
//	                                    ─► URL, Host, fields mapped inward ─► server connection ─► answer parsed strictly
//	        ◄═channel═ Location, Content-Location, Refresh, Link, Set-Cookie mapped outward ◄─┘
//
// It listens on no port. It believes nothing a gateway says: where a request goes stands in its own signed document,
// never in the request. A gateway can choose between published servers and paths that policy allows for the device
// whose proof it holds, and nothing else.
//
// Names inside are mapped in answer heads only. Bodies pass as they are: a WebDAV multistatus or an HTML page with
// absolute URLs in it keeps them, so such servers should be told their outside name (host_header: outside) or use
// relative references.
//
// Connections to servers are shared between devices. Authentication that belongs to a connection (NTLM, Negotiate)
// is therefore kept to connections that are closed after one request.
package connpoint
