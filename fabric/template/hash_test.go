package template

import (
	"strings"
	"testing"
)

// The vectors were published by those who compared with Azure's own answers: AZURE.md of the design, and the tests of
// public implementations.
func TestUniqueStringAgreesWithAzure(t *testing.T) {
	if got := hash64([]byte("hello-world")); got != 571013382255652050 {
		t.Errorf("hash64 = %d", got)
	}
	for _, tt := range []struct{ texts, want string }{
		{"test", "rbgf3xv4ufgzg"},
		{"hello|world", "a7wkljktk6wne"},
		{"abc", "cgtzqvhu4i23s"},
		{"/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/my-rg", "bmg7c6xu4tw46"},
		{"foo|bar|baz", "xzi4ioaxtmth4"},
	} {
		if got := uniqueString(strings.Split(tt.texts, "|")); got != tt.want {
			t.Errorf("uniqueString(%s) = %s, want %s", tt.texts, got, tt.want)
		}
	}
}

func TestGUIDIsOfVersion5(t *testing.T) {
	// uuid.uuid5(uuid.UUID("11fb06fb-712d-4ddd-98c7-e71bbd588830"), "a-b-c") of Python's standard library.
	if got := nameGUID([]string{"a", "b", "c"}); got != "a98fa280-e03f-5afa-8d8e-92d0a9c201e8" {
		t.Errorf("guid = %s", got)
	}
}
