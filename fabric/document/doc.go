// Package document is JSON as Azure's control plane reads and keeps it.
//
// Templates and resources are JSON, with three habits that encoding/json does not share: properties keep their order, a
// property is found however its name is capitalised, and what comes in may have comments, line breaks within strings and
// unquoted names (az sends templates as the text of the file, names and all).
//
// A value is one of nil, bool, int64, float64, string, []any and *Object.
package document
