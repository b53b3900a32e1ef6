package storage

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/causeway-gateway/causeway/fabric/state"
)

// A tables fixture sends requests to the table plane of "first".
type tables struct {
	*fixture
	server *httptest.Server
}

func openTables(t *testing.T, names ...string) tables {
	f := open(t)
	for _, name := range names {
		if err := f.CreateTable(t.Context(), "first", name); err != nil {
			t.Fatal(err)
		}
	}
	return tables{f, f.serve(f.TableHandler())}
}

func (f tables) ask(method, path, body string, headers ...string) answer {
	f.t.Helper()
	return f.send(f.server, "https://first."+tableHost, method, path, body, headers...)
}

func (f tables) as(who, method, path, body string, headers ...string) answer {
	f.t.Helper()
	return f.ask(method, path, body, append(headers, bearer(who))...)
}

func (f tables) insert(body string) {
	f.t.Helper()
	f.as(owner, "POST", "/Tab", body, "Prefer: return-no-content").want(f.t, "204")
}

// rows returns the row keys of an answer to a query.
func rows(a answer) string {
	var list struct {
		Value []struct{ RowKey string }
	}
	if err := json.Unmarshal([]byte(a.body), &list); err != nil {
		return err.Error()
	}
	var keys []string
	for _, r := range list.Value {
		keys = append(keys, r.RowKey)
	}
	return strings.Join(keys, " ")
}

func TestTablesAreMadeListedAndDeleted(t *testing.T) {
	f := openTables(t)
	for _, name := range []string{"Bbb", "aaa", "Ccc"} {
		f.as(owner, "POST", "/Tables", `{"TableName":"`+name+`"}`).want(t, "201")
	}
	f.as(owner, "POST", "/Tables", `{"TableName":"BBB"}`).want(t, "409 TableAlreadyExists")
	for body, want := range map[string]string{`{"TableName":"ab"}`: "400 OutOfRangeInput", `{"TableName":"a-b-c"}`: "400 InvalidResourceName", `{"TableName":"tables"}`: "400 InvalidResourceName",
		`{"TableName":"1abc"}`: "400 InvalidResourceName", `{}`: "400 InvalidInput", `{`: "400 InvalidInput"} {
		f.as(owner, "POST", "/Tables", body).want(t, want)
	}
	a := f.as(owner, "GET", "/Tables?$top=2", "").want(t, "200")
	if !strings.HasSuffix(a.body, `"value":[{"TableName":"aaa"},{"TableName":"Bbb"}]}`) || !strings.HasPrefix(a.body, `{"odata.metadata":"https://first.`+tableHost+`/$metadata#Tables"`) {
		t.Errorf("tables: %s", a.body)
	}
	a = f.as(owner, "GET", "/Tables()?NextTableName="+a.Header.Get("x-ms-continuation-NextTableName"), "", "Accept: application/json;odata=nometadata").want(t, "200")
	if a.body != `{"value":[{"TableName":"Ccc"}]}` || a.Header.Get("x-ms-continuation-NextTableName") != "" {
		t.Errorf("the rest: %s", a.body)
	}
	if a := f.as(owner, "GET", "/Tables?$filter=TableName%20eq%20%27aaa%27", "").want(t, "200"); !strings.Contains(a.body, `[{"TableName":"aaa"}]`) {
		t.Errorf("by name: %s", a.body)
	}
	f.as(owner, "DELETE", "/Tables('AAA')", "").want(t, "204")
	f.as(owner, "DELETE", "/Tables('aaa')", "").want(t, "404 TableNotFound")
	f.as(reader, "DELETE", "/Tables('Bbb')", "").want(t, "403 AuthorizationPermissionMismatch")
	if names, next, err := f.Tables(t.Context(), "first", "", 0); err != nil || next != "" || fmt.Sprint(names) != "[Bbb Ccc]" {
		t.Errorf("Tables = %v, %q, %v", names, next, err)
	}
	if err := f.CreateTable(t.Context(), "first", "bbb"); err != nil { // it is there, in another case
		t.Errorf("CreateTable = %v", err)
	}
	if err := f.DeleteTable(t.Context(), "first", "none"); !isAzure(err, "TableNotFound") {
		t.Errorf("DeleteTable = %v", err)
	}
	f.as(owner, "GET", "/none()", "").want(t, "404 TableNotFound")
}

func TestEntitiesKeepTheirTypes(t *testing.T) {
	f := openTables(t, "Tab")
	f.insert(`{"PartitionKey":"p","RowKey":"r's","s":"te\"xt é","b":true,"i":-5,"l@odata.type":"Edm.Int64","l":"9007199254740993","d":2.5,"whole@odata.type":"Edm.Double","whole":3,
		"n@odata.type":"Edm.Double","n":"NaN","t@odata.type":"Edm.DateTime","t":"2020-01-02T03:04:05.1234567+01:00","g@odata.type":"Edm.Guid","g":"AAAAAAAA-0000-4000-8000-000000000001",
		"x@odata.type":"Edm.Binary","x":"AAEC","nothing":null}`)
	path := "/Tab(PartitionKey='p',RowKey='r%27%27s')"
	a := f.as(reader, "GET", path, "").want(t, "200")
	for _, want := range []string{`"s":"te\"xt é"`, `"b":true`, `"i":-5`, `"l@odata.type":"Edm.Int64","l":"9007199254740993"`, `"d":2.5`, `"whole":3.0`, `"n@odata.type":"Edm.Double","n":"NaN"`,
		`"t@odata.type":"Edm.DateTime","t":"2020-01-02T02:04:05.1234567Z"`, `"g@odata.type":"Edm.Guid","g":"aaaaaaaa-0000-4000-8000-000000000001"`, `"x@odata.type":"Edm.Binary","x":"AAEC"`,
		`"RowKey":"r's"`, `"odata.metadata":"https://first.` + tableHost + `/$metadata#Tab/@Element"`, `"odata.etag":"W/\"datetime'`} {
		if !strings.Contains(a.body, want) {
			t.Errorf("%s is not in %s", want, a.body)
		}
	}
	if strings.Contains(a.body, "nothing") || !json.Valid([]byte(a.body)) || a.Header.Get("ETag") == "" {
		t.Errorf("%s", a.body)
	}
	if a := f.as(reader, "GET", path, "", "Accept: application/json;odata=nometadata").want(t, "200"); strings.Contains(a.body, "odata") || !strings.Contains(a.body, `"l":"9007199254740993"`) {
		t.Errorf("without metadata: %s", a.body)
	}
	if a := f.as(reader, "GET", path+"?$format=application/json%3Bodata=fullmetadata&$select=s,PartitionKey", "").want(t, "200"); !strings.Contains(a.body, `"odata.type":"first.Tab"`) ||
		!strings.Contains(a.body, `"odata.editLink":"Tab(PartitionKey='p',RowKey='r%27%27s')"`) || !strings.HasSuffix(a.body, `"PartitionKey":"p","s@odata.type":"Edm.String","s":"te\"xt é"}`) {
		t.Errorf("with all metadata: %s", a.body)
	}
	f.as(reader, "GET", path, "", "Accept: application/atom+xml").want(t, "415 AtomFormatNotSupported")
	for _, bad := range []string{`"i@odata.type":"Edm.Int32","i":"5"`, `"i@odata.type":"Edm.Int32","i":3000000000`, `"l@odata.type":"Edm.Int64","l":"x"`, `"g@odata.type":"Edm.Guid","g":"x"`,
		`"x@odata.type":"Edm.Binary","x":"%"`, `"t@odata.type":"Edm.DateTime","t":"1500-01-01T00:00:00Z"`, `"s@odata.type":"Edm.String","s":5`, `"s@odata.type":"Edm.Strange","s":"x"`, `"o":{}`, `"a":[1]`,
		`"s":1,"s":2`, `"b@odata.type":"Edm.Boolean","b":"true"`, `"d":1e999`} {
		f.as(owner, "POST", "/Tab", `{"PartitionKey":"p","RowKey":"bad",`+bad+`}`).want(t, "400 InvalidInput")
	}
}

func TestEntitiesAreChangedUnderConditions(t *testing.T) {
	f := openTables(t, "Tab")
	const path = "/Tab(PartitionKey='p',RowKey='r')"
	made := f.as(owner, "POST", "/Tab", `{"PartitionKey":"p","RowKey":"r","a":1,"b":1}`).want(t, "201")
	first := made.Header.Get("ETag")
	f.as(owner, "POST", "/Tab", `{"PartitionKey":"p","RowKey":"r"}`).want(t, "409 EntityAlreadyExists")
	f.as(owner, "MERGE", path, `{"b":2,"c":3}`, "If-Match: "+first).want(t, "204")
	f.as(owner, "PATCH", path, `{"b":9}`, "If-Match: "+first).want(t, "412 UpdateConditionNotSatisfied")
	if a := f.as(owner, "GET", path, "", "Accept: application/json;odata=nometadata"); !strings.HasSuffix(a.body, `"a":1,"b":2,"c":3}`) || a.Header.Get("ETag") == first {
		t.Errorf("merged: %s", a.body)
	}
	second := f.as(owner, "PUT", path, `{"PartitionKey":"p","RowKey":"r","d":4}`, "If-Match: *").want(t, "204").Header.Get("ETag")
	if a := f.as(owner, "GET", path, "", "Accept: application/json;odata=nometadata"); !strings.HasSuffix(a.body, `Z","d":4}`) {
		t.Errorf("replaced: %s", a.body)
	}
	f.as(owner, "PUT", path, `{"PartitionKey":"other"}`).want(t, "400 InvalidInput")
	f.as(owner, "PUT", "/Tab(PartitionKey='p',RowKey='new')", `{}`, "If-Match: *").want(t, "404 ResourceNotFound")
	f.as(owner, "PUT", "/Tab(PartitionKey='p',RowKey='new')", `{"x":1}`).want(t, "204")
	f.as(owner, "MERGE", "/Tab(PartitionKey='p',RowKey='newer')", `{"x":1}`).want(t, "204")
	f.as(owner, "DELETE", path, "").want(t, "400 MissingRequiredHeader")
	f.as(owner, "DELETE", path, "", "If-Match: "+first).want(t, "412 UpdateConditionNotSatisfied")
	f.as(owner, "DELETE", path, "", "If-Match: "+second).want(t, "204")
	f.as(owner, "DELETE", path, "", "If-Match: *").want(t, "404 ResourceNotFound")
	f.as(owner, "GET", path, "").want(t, "404 ResourceNotFound")
}

func TestEntitiesAreBounded(t *testing.T) {
	f := openTables(t, "Tab")
	many := func(n, bytes int) string {
		var b strings.Builder
		b.WriteString(`{"PartitionKey":"p","RowKey":"r"`)
		for i := range n {
			fmt.Fprintf(&b, `,"p%d":"%s"`, i, strings.Repeat("x", bytes))
		}
		return b.String() + "}"
	}
	for _, tt := range []struct{ body, want string }{
		{many(maxProperties, 1), "204"},
		{strings.Replace(many(maxProperties+1, 1), `"r"`, `"s"`, 1), "400 TooManyProperties"},
		{many(2000, 1), "400 TooManyProperties"},
		{many(1, maxPropertyBytes/2), "409 EntityAlreadyExists"},
		{many(1, maxPropertyBytes/2+1), "400 PropertyValueTooLarge"},
		{strings.Replace(many(16, maxPropertyBytes/2), `"r"`, `"s"`, 1), "400 EntityTooLarge"},
		{many(1, 2*maxEntityBytes), "413 RequestBodyTooLarge"},
		{`{"PartitionKey":"p","RowKey":"r","` + strings.Repeat("n", maxPropertyName+1) + `":1}`, "400 PropertyNameTooLong"},
		{`{"PartitionKey":"p","RowKey":"r","a b":1}`, "400 PropertyNameInvalid"},
		{`{"PartitionKey":"p"}`, "400 PropertiesNeedValue"},
		{`{"PartitionKey":"p","RowKey":1}`, "400 PropertiesNeedValue"},
		{`{"PartitionKey":"a/b","RowKey":"r"}`, "400 OutOfRangeInput"},
		{`{"PartitionKey":"a\u0001b","RowKey":"r"}`, "400 OutOfRangeInput"},
		{`{"PartitionKey":"p","RowKey":"` + strings.Repeat("x", maxKeyBytes/2+1) + `"}`, "400 KeyValueTooLarge"},
		{`[]`, "400 InvalidInput"},
		{`{} {}`, "400 InvalidInput"},
		{"{\"PartitionKey\":\"\xff\",\"RowKey\":\"r\"}", "400 InvalidInput"},
	} {
		f.as(owner, "POST", "/Tab", tt.body, "Prefer: return-no-content").want(t, tt.want)
	}
	// A merge makes no more of an entity than an insert may.
	f.as(owner, "MERGE", "/Tab(PartitionKey='p',RowKey='r')", `{"one":1}`).want(t, "400 TooManyProperties")
}

func TestQueriesFindWhatTheirFilterSays(t *testing.T) {
	f := openTables(t, "Tab")
	for i := range 4 {
		f.insert(fmt.Sprintf(`{"PartitionKey":"p%d","RowKey":"r%d","n":%d,"name":"it's %d","even":%t,"when@odata.type":"Edm.DateTime","when":"202%d-01-01T00:00:00Z","big@odata.type":"Edm.Int64","big":"%d",
			"id@odata.type":"Edm.Guid","id":"%s","raw@odata.type":"Edm.Binary","raw":"AAE="}`, i/2, i, i, i, i%2 == 0, i, i, guid(i)))
	}
	f.insert(`{"PartitionKey":"q","RowKey":"other","f":1.5}`)
	for _, tt := range []struct{ filter, want string }{
		{"", "r0 r1 r2 r3 other"},
		{"PartitionKey eq 'p0'", "r0 r1"},
		{"PartitionKey eq 'p0' and RowKey eq 'r1'", "r1"},
		{"PartitionKey eq 'p0' and RowKey eq 'r9'", ""},
		{"PartitionKey eq 'p0' and PartitionKey eq 'p1'", ""},
		{"PartitionKey ge 'p1' and PartitionKey lt 'q'", "r2 r3"},
		{"PartitionKey eq 'p1' and RowKey gt 'r2'", "r3"},
		{"PartitionKey eq 'p1' and RowKey ge 'r2' and RowKey lt 'r3'", "r2"},
		{"PartitionKey eq 'p0' or n eq 3", "r0 r1 r3"},
		{"(PartitionKey eq 'p0' or n eq 3) and even", "r0"},
		{"not (n lt 2)", "r2 r3 other"},
		{"not even eq true and n ge 0", "r1 r3"},
		{"n gt 0 and n le 2", "r1 r2"},
		{"big eq 2L or big eq 3", "r2 r3"},
		{"n lt 1.5", "r0 r1"},
		{"f gt 1", "other"},
		{"name eq 'it''s 2'", "r2"},
		{"when gt datetime'2021-06-01T00:00:00Z'", "r2 r3"},
		{"id eq guid'" + strings.ToUpper(guid(1)) + "'", "r1"},
		{"raw eq X'0001' and n eq 0", "r0"},
		{"raw eq binary'0002'", ""},
		{"name eq 2", ""},
		{"none ne 1", ""},
		{"2 eq n", "r2"},
		{"Timestamp gt datetime'2001-01-01T00:00:00Z' and RowKey eq 'r0'", "r0"},
	} {
		a := f.as(reader, "GET", "/Tab()?$filter="+strings.NewReplacer(" ", "%20", "'", "%27").Replace(tt.filter), "").want(t, "200")
		if got := rows(a); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.filter, got, tt.want)
		}
	}
	for _, bad := range []string{"n eq", "n eq 1 n", "(n eq 1", "n eq 'x", "n == 1", "datetime'x' eq n", "strange'x' eq n", "guid'1' eq n", "X'0' eq n", "n eq 1.2.3", "and", ")",
		strings.Repeat("(", maxFilterDepth+1) + "n" + strings.Repeat(")", maxFilterDepth+1), strings.Repeat("not ", maxFilterDepth+1) + "n", strings.Repeat("n or ", maxFilterOperand) + "n"} {
		f.as(reader, "GET", "/Tab?$filter="+strings.NewReplacer(" ", "%20", "'", "%27").Replace(bad), "").want(t, "400 InvalidInput")
	}
	for _, bad := range []string{"$top=0", "$top=1001", "$top=x", "NextPartitionKey=x", "NextPartitionKey=1!%25"} {
		f.as(reader, "GET", "/Tab?"+bad, "").want(t, "400 InvalidInput")
	}
}

func TestQueriesArePaged(t *testing.T) {
	f := openTables(t, "Tab")
	account := must(f.account("first"))
	const many = 2500
	err := f.store.Update(t.Context(), func(tx *state.Tx) error {
		tab, err := getTable(tx, account, "Tab")
		for i := range many {
			key := entityKey{fmt.Sprintf("p%d", i%3), fmt.Sprintf("%04d", i)}
			if err == nil {
				err = tx.Put(entityBucket, tab.ID+"/"+key.String(), entity{Time: f.clock.now(), Properties: []*property{{"n", edmInt32, fmt.Sprint(i)}}})
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		query        string
		want, inPage int
	}{{"", many, 1000}, {"$top=999", many, 999}, {"$filter=n%20ge%202000&$top=400", 500, 400}, {"$filter=PartitionKey%20eq%20%27p1%27&$top=500", 833, 500}} {
		seen, next := 0, ""
		for pages := 0; pages < 10; pages++ {
			a := f.as(reader, "GET", "/Tab?"+tt.query+next, "").want(t, "200")
			n := len(strings.Fields(rows(a)))
			if seen += n; n > tt.inPage {
				t.Errorf("%s: a page of %d", tt.query, n)
			}
			if a.Header.Get("x-ms-continuation-NextPartitionKey") == "" {
				break
			}
			next = "&NextPartitionKey=" + a.Header.Get("x-ms-continuation-NextPartitionKey") + "&NextRowKey=" + a.Header.Get("x-ms-continuation-NextRowKey")
		}
		if seen != tt.want {
			t.Errorf("%s: %d rows, want %d", tt.query, seen, tt.want)
		}
	}
}

// batchOf writes a batch of requests.
func batchOf(requests ...string) string {
	var b strings.Builder
	b.WriteString("--batch_1\r\nContent-Type: multipart/mixed; boundary=changeset_1\r\n\r\n")
	for _, r := range requests {
		head, body, _ := strings.Cut(r, "\n")
		b.WriteString("--changeset_1\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n" + head + " HTTP/1.1\r\nAccept: application/json\r\nPrefer: return-no-content\r\n")
		if strings.HasPrefix(head, "DELETE") {
			b.WriteString("If-Match: *\r\n")
		}
		b.WriteString("\r\n" + body + "\r\n")
	}
	b.WriteString("--changeset_1--\r\n\r\n--batch_1--\r\n")
	return b.String()
}

const batchType = "Content-Type: multipart/mixed; boundary=batch_1"

func TestBatchesAreDoneWholeOrNotAtAll(t *testing.T) {
	f := openTables(t, "Tab", "Other")
	const tab = "https://first." + tableHost + "/Tab"
	post := func(partition, row string) string {
		return "POST " + tab + "\n" + `{"PartitionKey":"` + partition + `","RowKey":"` + row + `","n":1}`
	}
	a := f.as(owner, "POST", "/$batch", batchOf(post("p", "1"), post("p", "2"), "PUT /Tab(PartitionKey='p',RowKey='3')\n{}"), batchType).want(t, "202")
	if strings.Count(a.body, "HTTP/1.1 204 No Content\r\n") != 3 || strings.Count(a.body, "Etag: W/") != 3 {
		t.Errorf("%s", a.body)
	}
	a = f.as(owner, "POST", "/$batch", batchOf("DELETE "+tab+"(PartitionKey='p',RowKey='1')\n", post("p", "4"), post("p", "2")), batchType).want(t, "202")
	if !strings.Contains(a.body, "HTTP/1.1 409 Conflict\r\n") || !strings.Contains(a.body, `"value":"2:The specified entity already exists.`) || strings.Count(a.body, "HTTP/1.1") != 1 {
		t.Errorf("%s", a.body)
	}
	if got := rows(f.as(reader, "GET", "/Tab", "")); got != "1 2 3" {
		t.Errorf("after a batch that failed: %s", got)
	}
	var hundred []string
	for i := range maxBatch + 1 {
		hundred = append(hundred, post("p", fmt.Sprint("x", i)))
	}
	for _, tt := range []struct{ name, body, want string }{
		{"two partitions", batchOf(post("p", "8"), post("q", "9")), "400 CommandsInBatchActOnDifferentPartitions"},
		{"a row twice", batchOf(post("p", "8"), "DELETE "+tab+"(PartitionKey='p',RowKey='8')\n"), "400 InvalidDuplicateRow"},
		{"two tables", batchOf(post("p", "8"), "PUT /Other(PartitionKey='p',RowKey='9')\n{}"), "400 InvalidInput"},
		{"101", batchOf(hundred...), "400 InvalidInput"},
		{"none", batchOf(), "400 InvalidInput"},
		{"a query", batchOf("GET /Tab\n"), "400 InvalidInput"},
		{"another account", batchOf("PUT https://second." + tableHost + "/Tab(PartitionKey='p',RowKey='9')\n{}"), "400 InvalidInput"},
		{"another host", batchOf("PUT https://evil.test/Tab(PartitionKey='p',RowKey='9')\n{}"), "421 InvalidUri"},
		{"a batch within", batchOf("POST /$batch\n"), "400 InvalidInput"},
		{"a table", batchOf("POST /Tables\n{}"), "400 InvalidInput"},
		{"no batch", "x", "400 InvalidInput"},
		{"4 MiB", strings.Repeat("x", maxBatchBytes+1), "413 RequestBodyTooLarge"},
	} {
		a := f.as(owner, "POST", "/$batch", tt.body, batchType)
		if got := strings.TrimSpace(fmt.Sprint(a.StatusCode, " ", a.Header.Get("x-ms-error-code"))); got != tt.want {
			t.Errorf("%s: %s, want %s: %s", tt.name, got, tt.want, a.body)
		}
	}
	f.as(owner, "POST", "/$batch", batchOf(hundred[:maxBatch]...), batchType).want(t, "202")
	f.as(reader, "POST", "/$batch", batchOf(post("p", "y")), batchType).want(t, "403 AuthorizationPermissionMismatch")
	if a := f.ask("POST", "/$batch", batchOf(post("p", "y")), batchType).want(t, "401 NoAuthenticationInformation"); a.Header.Get("WWW-Authenticate") == "" {
		t.Error("no challenge")
	}
}

func TestRolesAndHostileRequestsOfTables(t *testing.T) {
	f := openTables(t, "Tab")
	f.as(adder, "POST", "/Tab", `{"PartitionKey":"p","RowKey":"r"}`).want(t, "201")
	f.as(adder, "PUT", "/Tab(PartitionKey='p',RowKey='r')", `{}`).want(t, "403 AuthorizationPermissionMismatch")
	f.as(reader, "POST", "/Tab", `{"PartitionKey":"p","RowKey":"s"}`).want(t, "403 AuthorizationPermissionMismatch")
	f.as(nobody, "GET", "/Tab", "").want(t, "403 AuthorizationPermissionMismatch")
	f.ask("GET", "/Tab", "").want(t, "401 NoAuthenticationInformation")
	if a := f.as(reader, "GET", "/None", "").want(t, "404 TableNotFound"); !strings.HasPrefix(a.body, `{"odata.error":{"code":"TableNotFound","message":{"lang":"en-US","value":"The table specified does not exist.\nRequestId:`) {
		t.Errorf("an error: %s", a.body)
	}
	for path, want := range map[string]string{"/../Tab": "400 InvalidUri", "/Tab/..": "400 InvalidUri", "/Tab(x)": "400 InvalidUri", "/Tab(PartitionKey='a',RowKey='b": "400 InvalidUri",
		"/Tab(PartitionKey='a%00',RowKey='b')": "400 OutOfRangeInput", "/Tab(PartitionKey='a%2f..',RowKey='b')": "400 OutOfRangeInput", "/Tab(PartitionKey='a%01',RowKey='b')": "400 OutOfRangeInput",
		"/": "400 InvalidUri", "/?comp=list": "400 UnsupportedQueryParameter", "/Tab?comp=acl": "400 UnsupportedQueryParameter", "/$batch": "405 UnsupportedHttpVerb", "/T%0d%0aX": "400 InvalidUri",
		"/Tab(PartitionKey='a'',RowKey=''b',RowKey='c')": "404 ResourceNotFound"} {
		f.as(owner, "GET", path, "").want(t, want)
	}
	f.as(owner, "PATCH", "/Tab", "{}").want(t, "405 UnsupportedHttpVerb")
	f.as(owner, "POST", "/Tab(PartitionKey='p',RowKey='r')", "{}").want(t, "405 UnsupportedHttpVerb")
}

func TestAKeyCannotReachIntoAnotherTable(t *testing.T) {
	f := openTables(t, "Tab", "Tac")
	f.insert(`{"PartitionKey":"p","RowKey":"r"}`)
	if got := rows(f.as(reader, "GET", "/Tac", "")); got != "" {
		t.Errorf("another table's rows: %s", got)
	}
	if err := f.DeleteTable(t.Context(), "first", "Tab"); err != nil {
		t.Fatal(err)
	}
	if err := f.CreateTable(t.Context(), "first", "tab"); err != nil {
		t.Fatal(err)
	}
	if got := rows(f.as(reader, "GET", "/Tab", "")); got != "" {
		t.Errorf("rows of a deleted table: %s", got)
	}
}
