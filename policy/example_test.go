package policy_test

import (
	"fmt"

	"github.com/causeway-gateway/causeway/policy"
)

func ExampleSet_Explain() {
	set, err := policy.Compile("gateway.example", 443, []policy.Publication{
		{Name: "updates", Rules: []policy.Rule{{Path: "/debian", Methods: []string{"GET", "HEAD"}}}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ask := policy.Ask{
		Method:    []byte("DELETE"),
		Authority: []byte("gateway.example"),
		Target:    []byte("/updates/debian/./InRelease"),
		Proof:     policy.ProofCertificate,
	}
	for _, step := range set.Explain(&ask) {
		fmt.Println(step.Text)
	}
	// Output:
	// host is the service name "gateway.example"
	// path "/updates/debian/./InRelease" has one meaning
	// path leads to server "updates"
	// device has a certificate
	// rule 0 "/debian" covers the path
	// refused with 405 CMGService_MethodNotAllowed: rule does not allow the method
}
