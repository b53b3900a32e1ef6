// Package site is the site store: keys, published servers, gateways, connection points, issued certificates, and the
// audit log of every change to them.
//
//	change(by, action, …) ─► one transaction: the change and its audit record ─► Documents ─► signed, for everybody
//
// It is one SQLite file. A change that cannot be audited does not happen, because both are one transaction. Secrets
// lie sealed in the file, under a key beside it, so that a copy of the file alone gives none of them away.
package site
