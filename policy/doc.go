// Package policy decides what a device may ask of which server.
//
//	publications --Compile--> Set --Decide(Ask)--> Verdict: publication, rule, what to forward, or a refusal
//
// The gateway decides before it forwards, the connection point decides again before it calls a server, and explain
// asks the same code for its reasons. A decision rests on one reading of the path: whatever programs are known to
// read in two ways is refused, unless both ways lead to the same rule.
package policy
