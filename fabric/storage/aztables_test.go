package storage

import (
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"
)

func (f tables) credential() *aztables.SharedKeyCredential {
	return must(aztables.NewSharedKeyCredential("first", must(f.Keys("first"))[0].Value))
}

// TestTheSDKWorksForTables does with azure-sdk-for-go what the roles do: by account key and by token, by host and path.
func TestTheSDKWorksForTables(t *testing.T) {
	f := openTables(t)
	byHost, byPath := "https://first."+tableHost+"/", f.server.URL+"/first/"
	o := &aztables.ClientOptions{ClientOptions: f.options(f.server)}
	for name, c := range map[string]*aztables.ServiceClient{
		"KeyByHost":   must(aztables.NewServiceClientWithSharedKey(byHost, f.credential(), o)),
		"KeyByPath":   must(aztables.NewServiceClientWithSharedKey(byPath, f.credential(), o)),
		"TokenByHost": must(aztables.NewServiceClient(byHost, token(owner), o)),
		"TokenByPath": must(aztables.NewServiceClient(byPath, token(owner), o)),
	} {
		t.Run(name, func(t *testing.T) {
			must(c.CreateTable(t.Context(), name, nil))
			client := c.NewClient(name)
			sdkEntities(t, client)
			sdkBatches(t, client)
			var names []string
			for pages := c.NewListTablesPager(&aztables.ListTablesOptions{Filter: to.Ptr("TableName eq '" + name + "'")}); pages.More(); {
				for _, p := range must(pages.NextPage(t.Context())).Tables {
					names = append(names, *p.Name)
				}
			}
			if len(names) != 1 || names[0] != name {
				t.Errorf("tables are %q", names)
			}
			if _, err := c.CreateTable(t.Context(), name, nil); !hasCode(err, aztables.TableAlreadyExists) {
				t.Errorf("made twice: %v", err)
			}
			must(client.Delete(t.Context(), nil))
			if _, err := client.Delete(t.Context(), nil); !hasCode(err, aztables.TableNotFound) {
				t.Errorf("deleted twice: %v", err)
			}
		})
	}
}

func hasCode(err error, code aztables.TableErrorCode) bool {
	e, ok := errors.AsType[*azcore.ResponseError](err)
	return ok && e.ErrorCode == string(code)
}

func encode(e aztables.EDMEntity) []byte { return must(json.Marshal(e)) }

func sdkEntities(t *testing.T, c *aztables.Client) {
	ctx := t.Context()
	when := time.Date(2026, 1, 2, 3, 4, 5, 678900000, time.UTC)
	e := aztables.EDMEntity{Entity: aztables.Entity{PartitionKey: "a b%+é", RowKey: "1"}, Properties: map[string]any{"text": "é\"", "whole": int32(7), "large": aztables.EDMInt64(1 << 60),
		"part": 1.25, "yes": true, "when": aztables.EDMDateTime(when), "id": aztables.EDMGUID(guid(1)), "raw": aztables.EDMBinary{0, 1, 255}}}
	must(c.AddEntity(ctx, encode(e), nil))
	if _, err := c.AddEntity(ctx, encode(e), nil); !hasCode(err, aztables.EntityAlreadyExists) {
		t.Errorf("added twice: %v", err)
	}
	got := must(c.GetEntity(ctx, e.PartitionKey, e.RowKey, nil))
	var back aztables.EDMEntity
	if err := json.Unmarshal(got.Value, &back); err != nil {
		t.Fatal(err)
	}
	for name, want := range e.Properties {
		if string(must(json.Marshal(back.Properties[name]))) != string(must(json.Marshal(want))) {
			t.Errorf("%s is %v, want %v", name, back.Properties[name], want)
		}
	}
	if back.ETag != string(got.ETag) || back.PartitionKey != e.PartitionKey {
		t.Errorf("%+v with ETag %s", back, got.ETag)
	}
	e.Properties = map[string]any{"whole": int32(8)}
	merged := must(c.UpdateEntity(ctx, encode(e), &aztables.UpdateEntityOptions{IfMatch: &got.ETag, UpdateMode: aztables.UpdateModeMerge}))
	if _, err := c.UpdateEntity(ctx, encode(e), &aztables.UpdateEntityOptions{IfMatch: &got.ETag, UpdateMode: aztables.UpdateModeReplace}); !hasCode(err, aztables.UpdateConditionNotSatisfied) {
		t.Errorf("by an old ETag: %v", err)
	}
	must(c.UpsertEntity(ctx, encode(e), &aztables.UpsertEntityOptions{UpdateMode: aztables.UpdateModeReplace}))
	e.RowKey = "2"
	must(c.UpsertEntity(ctx, encode(e), &aztables.UpsertEntityOptions{UpdateMode: aztables.UpdateModeMerge}))
	seen := 0
	for pages := c.NewListEntitiesPager(&aztables.ListEntitiesOptions{Filter: to.Ptr("whole eq 8 and PartitionKey eq 'a b%+é'"), Top: to.Ptr[int32](1), Select: to.Ptr("RowKey,whole")}); pages.More(); {
		seen += len(must(pages.NextPage(ctx)).Entities)
	}
	if seen != 2 {
		t.Errorf("%d entities", seen)
	}
	if _, err := c.DeleteEntity(ctx, e.PartitionKey, "1", &aztables.DeleteEntityOptions{IfMatch: &merged.ETag}); !hasCode(err, aztables.UpdateConditionNotSatisfied) {
		t.Errorf("deleted by an old ETag: %v", err)
	}
	for _, row := range []string{"1", "2"} {
		must(c.DeleteEntity(ctx, e.PartitionKey, row, nil))
	}
	if _, err := c.GetEntity(ctx, e.PartitionKey, "1", nil); !hasCode(err, aztables.ResourceNotFound) {
		t.Errorf("after its end: %v", err)
	}
}

func sdkBatches(t *testing.T, c *aztables.Client) {
	entity := func(row string) []byte {
		return encode(aztables.EDMEntity{Entity: aztables.Entity{PartitionKey: "p", RowKey: row}, Properties: map[string]any{"n": int32(1)}})
	}
	must(c.SubmitTransaction(t.Context(), []aztables.TransactionAction{{ActionType: aztables.TransactionTypeAdd, Entity: entity("1")}, {ActionType: aztables.TransactionTypeInsertMerge, Entity: entity("2")},
		{ActionType: aztables.TransactionTypeInsertReplace, Entity: entity("3")}}, nil))
	must(c.SubmitTransaction(t.Context(), []aztables.TransactionAction{{ActionType: aztables.TransactionTypeDelete, Entity: entity("1")}, {ActionType: aztables.TransactionTypeUpdateMerge, Entity: entity("2")}}, nil))
	_, err := c.SubmitTransaction(t.Context(), []aztables.TransactionAction{{ActionType: aztables.TransactionTypeDelete, Entity: entity("2")}, {ActionType: aztables.TransactionTypeAdd, Entity: entity("3")}}, nil)
	if err == nil || !strings.Contains(err.Error(), "1:The specified entity already exists.") {
		t.Errorf("a batch that must fail: %v", err)
	}
	must(c.GetEntity(t.Context(), "p", "2", nil))
}

func TestSignaturesOfTablesAreHeldToWhatTheySign(t *testing.T) {
	f := openTables(t, "Tab", "Other")
	for _, row := range []string{"1", "2", "3"} {
		f.insert(`{"PartitionKey":"p","RowKey":"` + row + `"}`)
	}
	f.insert(`{"PartitionKey":"q","RowKey":"4"}`)
	sign := func(perms string, change func(*aztables.SASSignatureValues)) string {
		v := aztables.SASSignatureValues{Protocol: aztables.SASProtocolHTTPS, ExpiryTime: f.clock.now().Add(time.Hour), Permissions: perms, TableName: "Tab"}
		if change != nil {
			change(&v)
		}
		text := must(v.Sign(f.credential()))
		for name, value := range map[string]string{"spk": v.StartPartitionKey, "srk": v.StartRowKey, "epk": v.EndPartitionKey, "erk": v.EndRowKey} { // which the SDK signs and leaves out
			if value != "" {
				text += "&" + name + "=" + url.QueryEscape(value)
			}
		}
		return text
	}
	do := func(method, path, signature, body, want string) answer {
		t.Helper()
		join := "?"
		if strings.Contains(path, "?") {
			join = "&"
		}
		headers := []string{"Prefer: return-no-content"}
		if method == "DELETE" {
			headers = append(headers, "If-Match: *")
		}
		if path == "/$batch" {
			headers = append(headers, batchType)
		}
		return f.ask(method, path+join+signature, body, headers...).want(t, want)
	}
	read := sign("r", nil)
	if a := do("GET", "/Tab", read, "", "200"); rows(a) != "1 2 3 4" {
		t.Errorf("rows %s", rows(a))
	}
	do("GET", "/TAB(PartitionKey='p',RowKey='1')", read, "", "200")
	do("GET", "/Other", read, "", "403 AuthorizationPermissionMismatch")
	do("GET", "/Tables", read, "", "403 AuthorizationPermissionMismatch")
	do("DELETE", "/Tables('Tab')", sign("raud", nil), "", "403 AuthorizationPermissionMismatch")
	do("POST", "/Tab", read, `{"PartitionKey":"p","RowKey":"9"}`, "403 AuthorizationPermissionMismatch")
	do("GET", "/Tab", strings.Replace(read, "sp=r", "sp=raud", 1), "", "403 AuthenticationFailed")
	do("GET", "/Other", strings.Replace(read, "tn=tab", "tn=other", 1), "", "403 AuthenticationFailed")
	do("GET", "/Tab", read+"&spk=a", "", "403 AuthenticationFailed")
	do("GET", "/Tab", sign("r", func(v *aztables.SASSignatureValues) { v.ExpiryTime = f.clock.now() }), "", "403 AuthenticationFailed")
	do("POST", "/Tab", sign("a", nil), `{"PartitionKey":"p","RowKey":"9"}`, "204")
	do("PUT", "/Tab(PartitionKey='p',RowKey='9')", sign("u", nil), `{}`, "403 AuthorizationPermissionMismatch") // it might insert
	do("PUT", "/Tab(PartitionKey='p',RowKey='9')", sign("au", nil), `{}`, "204")
	do("DELETE", "/Tab(PartitionKey='p',RowKey='9')", sign("d", nil), "", "204")

	do("POST", "/$batch", sign("a", nil), batchOf("POST /Tab\n"+`{"PartitionKey":"p","RowKey":"9"}`), "202")
	do("POST", "/$batch", sign("a", nil), batchOf("DELETE /Tab(PartitionKey='p',RowKey='9')\n"), "403 AuthorizationPermissionMismatch")
	do("POST", "/$batch", sign("a", nil), batchOf("POST /Other\n"+`{"PartitionKey":"p","RowKey":"9"}`), "403 AuthorizationPermissionMismatch")

	some := sign("raud", func(v *aztables.SASSignatureValues) {
		v.StartPartitionKey, v.StartRowKey, v.EndPartitionKey, v.EndRowKey = "p", "2", "p", "3"
	})
	if a := do("GET", "/Tab", some, "", "200"); rows(a) != "2 3" {
		t.Errorf("of a range: %s", rows(a))
	}
	do("GET", "/Tab(PartitionKey='p',RowKey='1')", some, "", "403 AuthorizationPermissionMismatch")
	do("POST", "/Tab", some, `{"PartitionKey":"p","RowKey":"4"}`, "403 AuthorizationPermissionMismatch")
	do("DELETE", "/Tab(PartitionKey='q',RowKey='4')", some, "", "403 AuthorizationPermissionMismatch")
	do("POST", "/$batch", some, batchOf("PUT /Tab(PartitionKey='p',RowKey='1')\n{}"), "403 AuthorizationPermissionMismatch")
	do("POST", "/$batch", some, batchOf("PUT /Tab(PartitionKey='p',RowKey='2')\n{}"), "202")

	account := func(services, kinds, perms string) string {
		p := must(aztables.AccountSASSignatureValues{Protocol: aztables.SASProtocolHTTPS, ExpiryTime: f.clock.now().Add(time.Hour), Permissions: perms, Services: services, ResourceTypes: kinds}.Sign(f.credential()))
		return p.Encode()
	}
	do("GET", "/Tab", account("t", "o", "r"), "", "200")
	do("GET", "/Tab", account("b", "o", "r"), "", "403 AuthorizationServiceMismatch")
	do("GET", "/Tab", account("t", "sc", "r"), "", "403 AuthorizationPermissionMismatch")
	do("GET", "/Tables", account("t", "c", "l"), "", "200")
	if _, err := f.SetAccount(t.Context(), "first", Settings{}); err != nil {
		t.Fatal(err)
	}
	do("GET", "/Tab", read, "", "403 KeyBasedAuthenticationNotPermitted")
}
