// Package signed makes and opens the documents that the site signs and everybody else obeys.
//
//	site store ─► Seal ─► channel hello, push, folder ─► Open (signature, then strict JSON) ─► Store ─► role
//
// A document is one JSON object whose signature stands first, so that it is checked before anything else is parsed:
//
//	{"signature":"<base64 of 64 bytes>","document":{"kind":…,"format":…,"generation":…,"issued":…,"valid_until":…,"payload":…}}
//
// The signature covers a fixed context string and the bytes of the document object as they are. There is exactly
// one encoding of the frame around them. A document is accepted whole or refused whole. Within a format no field
// may be added or change its meaning; whoever needs a new field writes a new format beside the old one.
package signed
