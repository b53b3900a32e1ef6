// Package keyvault is the fabric's Azure Key Vault: vaults, and the secrets and certificates in them.
//
//	Service ─ CreateVault, DeleteVault, RecoverVault, PurgeVault …   what Azure Resource Manager does with vaults
//	         └ ServeHTTP                                              what holders of a token do with what is in one
//
// A vault decides by its access policies, which name principals by object id, or by roles. What is deleted can be recovered
// until its time has passed or somebody purges it. Values are sealed in the state.
package keyvault
