// Package channel carries requests between a gateway instance and a connection point.
//
//	gateway:           Pool.Exchange ─► stream on one session of one channel set ─► connection point
//	connection point:  Session.Serve ─► Handler.Handle(Inbound) ─► server, and the answer the same way back
//
// The connection point dials; a channel set is its two to four connections to one instance.
package channel
