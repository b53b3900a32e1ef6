// Package sample is a small management server, for a first run that needs no server of one's own.
//
//	device ─► gateway ═► connection point ─► sample: check-in, policy, inventory, notifications, events
//
// It knows devices by the X-Causeway-Device-Id header alone, which a connection point sets after it verified the
// device. It must therefore listen where only a connection point reaches it. All it holds is in memory, each part
// with a bound, and of an upload it keeps the size and the hash only.
package sample
