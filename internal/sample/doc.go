// Package sample is a small management server, so that a first gateway has something to reach. It does what the
// real ones do to a gateway: short questions, uploads, answers that wait minutes, event streams, a WebSocket.
//
//	GET  /                     says hello and names the device that the connection point vouches for
//	POST /checkin              CCM_POST /CCM_System/request        the device reports, and learns when to come back
//	GET  /policy               GET      /SMS_MP/.sms_aut           the device's policy, with an ETag
//	PUT  /inventory            BITS_POST /CCM_Incoming/…           an upload of any length; answers length and SHA-256
//	GET  /notifications        GET      /BGB                       waits until there is news after ?after=N, or ?wait passed
//	POST /notifications                                            makes news
//	GET  /events                                                   the same news as server-sent events
//	GET  /socket                                                   a WebSocket that echoes
//
// The right column holds the same endpoints as a management point has them; those compare case-insensitively.
// It trusts the identity headers it is sent, as every server behind a connection point does, so it listens on
// loopback only. It keeps the newest notifications in memory and nothing else.
package sample
