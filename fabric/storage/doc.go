// Package storage is the data plane of storage accounts: blobs and tables, with the proofs that Azure takes.
//
//	BlobHandler, TableHandler ─► request (host or path names the account)
//	                          ─► proof   (account key, shared access signature, bearer token, nothing)
//	                          ─► route ─ permit(what the operation needs) ─► state, contents
//
// What there is stands in fabric/state; the bytes of blobs are plain files of random names below Config.Dir. A file is on
// disk before the index names it, and is removed after the index has forgotten it; what a crash leaves in between is
// removed by New. A table's entities stand in the index itself.
//
// The control plane calls the methods of Service: accounts, their keys and settings, containers and tables.
package storage
