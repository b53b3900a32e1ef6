// Package identity answers which device this is, by which proof, and whether it still may.
//
//	certificate chain ─► limits ─► parse ─► leaf fit for client authentication? ─► path to a trusted CA ─► blocked? ─► Device
//
// Gateway and connection point ask the same Verifier with the same signed Trust, each for itself. The order
// matters: everything that costs nothing is checked before the first signature, so that a hostile chain is
// refused at the price of reading it.
package identity
