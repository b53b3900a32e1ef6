package identity

import "time"

// A Finding is one question that was put to a chain, and its answer.
type Finding struct {
	Check  string `json:"check"`  // what was asked, in a few words
	OK     bool   `json:"ok"`     // whether the chain passed
	Detail string `json:"detail"` // the values it was judged by, and on failure what to do
}

// Explain lists why a chain is admitted or refused. Unlike Verify it goes on after a failure where the next
// question still makes sense, and it uses no cache. The last finding is the verdict that Verify gives.
func (v *Verifier) Explain(chainDER [][]byte, now time.Time) []Finding { return nil }
