package site

import (
	"encoding/pem"
	"reflect"
	"testing"

	"github.com/causeway-gateway/causeway/policy"
)

// A field that the audit log leaves out can be changed without a trace. What is new in Server must be added to detail.
func TestTheAuditLogTellsEveryFieldOfAServer(t *testing.T) {
	text := func(s string) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte(s)}))
	}
	for _, typ := range []reflect.Type{reflect.TypeFor[Server](), reflect.TypeFor[policy.Publication]()} {
		for i := range typ.NumField() {
			name := typ.Field(i).Name
			if name == "Publication" || name == "Name" { // its fields are looked at; a server keeps its name
				continue
			}
			var before, after Server
			field := reflect.ValueOf(&after).Elem().FieldByName(name)
			switch field.Kind() {
			case reflect.String:
				field.SetString(text("one"))
			case reflect.Int:
				field.SetInt(7)
			case reflect.Uint64:
				field.SetUint(7)
			case reflect.Slice:
				field.Set(reflect.MakeSlice(field.Type(), 1, 1))
			default:
				t.Fatalf("%s is a %s: say here how to change it", name, field.Kind())
			}
			got := changeOf(&before, &after)
			_, key := got["client_key"]
			if !key && reflect.DeepEqual(got["before"], got["after"]) {
				t.Errorf("a change of %s leaves no trace: %v", name, got)
			}
		}
	}
	one, two := Server{CAs: text("one") + text("two")}, Server{CAs: text("one") + text("three")}
	if got := changeOf(&one, &two); reflect.DeepEqual(got["before"], got["after"]) {
		t.Errorf("a change of the second CA leaves no trace: %v", got)
	}
}
