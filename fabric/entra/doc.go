// Package entra is the fabric's Microsoft Entra ID: a directory of applications and their service principals, tokens for
// them, and the part of Microsoft Graph that makes them.
//
//	Directory ─ Login    the token endpoints and what leads to them (metadata, keys)
//	          ├ Graph    applications and service principals
//	          ├ Endpoint managed identities of one instance
//	          └ Verify   who a token is for (azure.TokenVerifier)
//
// There is one tenant. Tokens are JWTs signed with RS256, of the shape of Entra's version 1, which is what Azure's own
// resources get. Secrets are random, so their SHA-256 is all that is kept of them.
package entra
