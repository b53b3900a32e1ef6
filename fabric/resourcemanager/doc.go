// Package resourcemanager is the fabric's Azure Resource Manager: the one door to everything that a subscription holds.
//
//	request ─► authenticate ─► route ─► permit (roles, locks) ─► resource group, resource, deployment …
//	                                                                  │
//	                                         recorded operation ◄─────┘   answered at once with where to ask for it
//	                                                  │
//	                                                  └─► Provider: makes the thing real
//
// It keeps what is wanted (a Resource, with its body) and what is under way (an operation) in the state before it
// answers. Providers say how their types are checked and made real. After a crash each operation that had not ended runs
// again, so what a provider does must be the same when it is done twice.
package resourcemanager
