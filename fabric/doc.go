// Package fabric is Azure on one machine: the planes that a deployment needs, behind one TLS port, with an authority and a
// state of its own. Azure's own clients cannot tell it from Azure for what it has.
//
//	one port ─► by host or path ─┬ login, graph       fabric/entra
//	                             ├ management         fabric/resourcemanager ─► fabric/providers
//	                             ├ NAME.vault         fabric/keyvault
//	                             └ NAME.blob, .table  fabric/storage
package fabric
