package cli

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/causeway-gateway/causeway"
)

// Whatever is wrong with a file, the message tells where and never what stands there.
func TestConfigErrorsHoldNothingOfTheFile(t *testing.T) {
	const secret = "IIXTSECRET"
	for _, tt := range []struct{ name, text, want string }{
		{"unknown field", "site: s\nidd: " + secret + "\nconnection_id: " + secret + "\n", "line 2, idd: there is no such field"},
		{"unknown field, odd name", "site: s\n\"" + secret + "\": 1\n", "line 2: there is no such field"},
		{"twice", "site: s\nconnection_id: a\nconnection_id: " + secret + "\n", "line 3, connection_id: the field is there twice"},
		{"a gateway's", "site: s\nslot: 0\n", "line 2, slot: there is no such fielda gateway's configuration has it"},
		{"not YAML", "site: s\nconnection_id: [" + secret + "\n", "this is not YAML"},
		{"list for text", "site: s\nconnection_id: [" + secret + "]\n", "line 2, connection_id: the value is of the wrong kind, want text"},
		{"text for number", "site: s\nconnections: " + secret + "\n", "line 2, connections: want a whole number"},
		{"number too big", "site: s\nconnections: 99999999999999999999999\n", "line 2, connections: "},
		{"duration", "site: s\ndrain_timeout: " + secret + "\n", "line 2, drain_timeout: want a duration such as 30s"},
		{"duration without unit", "site: s\ntransport_return: 1\n", "line 2, transport_return: want a duration such as 30s"},
		{"duration below nothing", "site: s\ntransport_return: -1m\n", "line 2, transport_return: want a duration such as 30s"},
		{"duration as list", "site: s\ntransport_return:\n  - " + secret + "\n", "want a duration such as 30s"},
		{"size too small", "site: s\nmemory_budget: 1MiB\n", "line 2, memory_budget: want a size of 32MiB or more"},
		{"no size", "site: s\nmemory_budget: " + secret + "\n", "line 2, memory_budget: want a size of 32MiB or more"},
		{"part of a request", "site: s\nmax_in_flight: 1.5\n", "line 2, max_in_flight: want a whole number"},
		{"no transports", "site: s\ntransports: []\n", "line 2, transports: want auto, or a list"},
		{"transports", "site: s\ntransports: {" + secret + ": 1}\n", "line 2, transports: want auto, or a list"},
		{"alias", "site: s\nid: *" + secret + "\n", "configuration "},
		{"tag", "site: !" + secret + " x\nid: !!int " + secret + "\n", ""},
		{"text alone", "site: s\n" + secret + "\n", "configuration "},
		{"passwd", "root:x:0:0:" + secret + ":/root:/bin/bash\ndaemon:x:1:1::/:\n", "is not one of causeway's"},
		{"foreign YAML", "password: " + secret + "\n", "is not one of causeway's"},
		{"foreign JSON", `{"site":"` + secret + `","` + secret + `":1}`, "is not one of causeway's"},
		{"key", "-----BEGIN PRIVATE KEY-----\n" + secret + "\n-----END PRIVATE KEY-----\n", "is not one of causeway's"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "config.yaml")
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			var cfg connectionPointConfig
			err := readConfig(path, &cfg)
			if err == nil {
				if tt.want != "" {
					t.Fatalf("readConfig of %q = nil", tt.text)
				}
				return
			}
			said := err.Error() + causeway.Hint(err)
			if !strings.Contains(said, tt.want) || !errors.Is(err, causeway.ErrUsage) {
				t.Errorf("readConfig = %q, want %q and a usage error", said, tt.want)
			}
			said = strings.ReplaceAll(said, path, "config.yaml") // the folder's random name may hold any digits
			if strings.Contains(said, secret) || strings.Contains(said, "9999") || strings.Contains(said, "daemon") || strings.ContainsRune(said, '\n') {
				t.Errorf("the message shows what stands in the file: %q", said)
			}
		})
	}
}
