// Package providers is what Azure's resource providers do with the fabric's planes: it makes the resources that the
// control plane keeps real.
//
//	resourcemanager ─► Provider ─► fabric/keyvault, fabric/storage, fabric/entra …
package providers
