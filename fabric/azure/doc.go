// Package azure holds the words that Azure's REST planes share: errors, resource ids, and the headers of requests.
package azure
