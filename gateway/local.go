package gateway

import (
	"encoding/json"
	"strings"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/policy"
)

// serviceMetadata is what a client learns of the gateway before it does anything else: how it may prove itself.
type serviceMetadata struct {
	ServiceName string   `json:"ServiceName"`
	Version     string   `json:"Version"`
	Mode        string   `json:"Mode"`
	Modes       []string `json:"AuthenticationModes"`
}

// local answers what the gateway answers by itself.
func (c *call) local() (contentType string, body []byte, err error) {
	switch c.verdict.Local {
	case policy.LocalServiceMetadata:
		body, err = json.Marshal(serviceMetadata{
			ServiceName: c.st.snap.doc.ServiceName, Version: c.s.software, Mode: modeOf(string(c.req.Target)), Modes: []string{"MutualAuth"},
		})
		return "application/json", append(body, '\n'), err
	case policy.LocalAADAuthInfo:
		return "", nil, causeway.Refuse(causeway.CodeURLNotPublished, "no tenant is onboarded")
	}
	return "", nil, causeway.Refuse(causeway.CodeNotImplemented, "nothing to answer")
}

func modeOf(target string) string {
	if strings.HasPrefix(strings.ToLower(target), "/ccm_proxy_serverauth/") {
		return "ServerAuth"
	}
	return "MutualAuth"
}
