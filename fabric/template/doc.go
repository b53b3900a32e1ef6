// Package template expands Azure Resource Manager templates: it validates a template and its parameters, evaluates the
// expressions in it, and says which resources are to be created in which order.
//
//	Request ─ Expand ─► Plan ─► Resource.Body, in the order of DependsOn ─► Plan.Outputs
//	                             └ Run: what reference() and list…() learn of resources that are there by then
//
// It is pure: it reads no clock, no network and no file. What a template may ask for comes in with the request, and what
// can only be known while the deployment runs comes in through Run. The language is that of
// https://learn.microsoft.com/azure/azure-resource-manager/templates/syntax; a function that is not known here is an
// error, never a guess.
package template
