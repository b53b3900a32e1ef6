package identity

import (
	"fmt"
	"time"

	"github.com/causeway-gateway/causeway"
)

// A Finding is one question that was put to a chain, and its answer.
type Finding struct {
	Check  string `json:"check"`  // what was asked, in a few words
	OK     bool   `json:"ok"`     // whether the chain passed
	Detail string `json:"detail"` // the values it was judged by
}

// Explain lists why a chain is admitted or refused. Unlike Verify it goes on after a failure where the next
// question still makes sense, and it uses no cache. The last finding is the verdict that Verify gives.
func (v *Verifier) Explain(chainDER [][]byte, now time.Time) (list []Finding) {
	add := func(check, detail string, r *causeway.Refusal) bool {
		if r != nil {
			detail = r.Reason
		}
		list = append(list, Finding{check, r == nil, detail})
		return r == nil
	}
	if r := checkLimits(chainDER); !add("size of the chain", fmt.Sprintf("%d certificates, %d bytes", len(chainDER), evidenceBytes(chainDER)), r) {
		add("verdict", "", r)
		return list
	}
	chain, r := parseChain(chainDER)
	if !add("certificates can be read", "", r) {
		add("verdict", "", r)
		return list
	}
	list[len(list)-1].Detail = nameOf(chain[0])
	for _, c := range leafChecks {
		detail, r := c.check(chain[0], basis{now, v.usage})
		add(c.name, detail, r)
	}
	id, err := DeviceIDOf(chain[0])
	if err != nil {
		add("device id", "", unfit(chain[0], "%v", err))
	} else {
		add("device id", string(id), nil)
		add("device is not blocked", string(id), v.blocks.device(id))
	}
	p := v.findPath(chain, now)
	if add("path to a trusted device CA", "", p.refusal) {
		list[len(list)-1].Detail = fmt.Sprintf("%s, %d certificates", p.ca, len(p.certs))
	}
	d, r, _ := v.judge(chainDER, now)
	if add("verdict", "", r) {
		list[len(list)-1].Detail = fmt.Sprintf("device %s, known by %s until %s", d.ID, d.CA, stamp(d.NotAfter))
	} else {
		list[len(list)-1].Detail = fmt.Sprintf("%s: %s", r.Code, r.Reason)
	}
	return list
}
