package storage

import (
	"cmp"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// bare is a plane with one account, without any state: what proves nothing must not get further.
func bare() (*plane, *account) {
	a := &account{Account: Account{Settings: Settings{AllowSharedKeyAccess: true, MinimumTLSVersion: "TLS1_2"}, Name: "first"}, resource: firstID, keys: [2][]byte{[]byte("one"), []byte("two")},
		delegation: []byte("three"), usage: new(usage)}
	now := func() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }
	s := &Service{Config: Config{BlobHost: blobHost, TableHost: tableHost, Now: now, Verify: verify}, accounts: map[string]*account{"first": a}}
	return s.BlobHandler().(*plane), a
}

// FuzzSharedKey signs requests as Azure documents it for what is parsed, and looks whether anything else passes.
func FuzzSharedKey(f *testing.F) {
	f.Add("GET", "/box/a?comp=metadata", "x-ms-meta-a", "b", "SharedKey")
	f.Add("PUT", "/box/%2e%2e/%c3%a9?a=1&B=2", "x-ms-a-b", " c ", "SharedKeyLite")
	f.Add("GET", "/first/?x=%0a&y=a,b", "Range", "bytes=0-1", "SharedKey")
	f.Fuzz(func(t *testing.T, method, target, name, value, scheme string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || scheme != "SharedKey" && scheme != "SharedKeyLite" {
			return
		}
		p, a := bare()
		r := &http.Request{Method: method, URL: u, Host: "first." + blobHost, Header: http.Header{}}
		r.Header.Set(name, value)
		r.Header.Set("x-ms-date", p.Now().Format(http.TimeFormat))
		query, err := readQuery(u.RawQuery)
		if err != nil {
			return
		}
		q := &request{r: r, w: httptest.NewRecorder(), plane: p, account: a, query: query}
		text := q.textToSign(scheme, compareWords)
		sign := func(text, key string) string {
			return "first:" + base64.StdEncoding.EncodeToString(mac([]byte(key), []byte(text)))
		}
		if err := q.checkSharedKey(scheme, sign(text, "two")); err != nil && r.Header.Get("x-ms-date") != "" {
			if _, bad := http.ParseTime(r.Header.Get("x-ms-date")); bad == nil {
				t.Errorf("what is signed is refused: %v", err)
			}
		}
		if q.checkSharedKey(scheme, sign(text+"x", "two")) == nil || q.checkSharedKey(scheme, sign(text, "three")) == nil {
			t.Error("what is signed otherwise passes")
		}
		for _, other := range []string{u.Path + "x", "/"} {
			r2 := r.Clone(t.Context())
			r2.URL = &url.URL{Path: other, RawQuery: u.RawQuery}
			q2 := *q
			q2.r = r2
			if r2.URL.EscapedPath() != cmp.Or(u.EscapedPath(), "/") && q2.checkSharedKey(scheme, sign(text, "two")) == nil {
				t.Errorf("a signature for %q is good for %q", u.EscapedPath(), other)
			}
		}
	})
}

// FuzzSAS lets nothing pass that was not signed, and nothing that was signed for another blob.
func FuzzSAS(f *testing.F) {
	f.Add("sv=2021-12-02&sr=b&sp=r&se=2026-01-02&sig=AAAA", "/box/a")
	f.Add("sv=2021-12-02&ss=b&srt=o&sp=r&se=2026-01-02T00:00Z&sig=AAAA", "/box/a")
	f.Add("sv=2025-11-05&sr=c&sp=r&se=2026-01-02&skoid="+guid(1)+"&sktid="+tenant+"&skt=2026-01-01&ske=2026-01-02&sks=b&skv=2021-12-02&sig=AAAA", "/box/a")
	f.Add("sv=2021-12-02&sr=b&sp=r&st=2026-01-01&se=2026-01-02&sip=10.0.0.1-10.0.0.9&spr=https,http&rsct=a&sig=", "/box/a/b")
	f.Fuzz(func(t *testing.T, query, path string) {
		p, a := bare()
		ask := func(query, path string) (*request, error) {
			r := httptest.NewRequest("GET", "https://first."+blobHost+"/", nil)
			r.URL.Path, r.URL.RawQuery = path, query
			q := &request{w: httptest.NewRecorder(), r: r, plane: p}
			return q, q.read()
		}
		values, err := url.ParseQuery(query)
		if err != nil || !strings.HasPrefix(path, "/") {
			return
		}
		q, err := ask(query, path)
		if err == nil && values.Has("sig") {
			t.Fatalf("%s passes for %s", query, path)
		}
		if q.account == nil || q.container == "" || q.query["ss"] != "" || values.Get("skoid") != "" {
			return
		}
		text, err := q.blobText(&signature{overrides: make(map[string]string)}, q.query["sv"], false)
		if err != nil {
			return
		}
		values.Set("sig", base64.StdEncoding.EncodeToString(mac(a.keys[0], []byte(text))))
		if q, err = ask(values.Encode(), path); err == nil && q.proof.sas == nil {
			t.Errorf("%s proves nothing and passes", values.Encode())
		}
		if _, err = ask(values.Encode(), path+"x"); err == nil && q.query["sr"] != "c" {
			t.Errorf("%s passes for another blob than %s", values.Encode(), path)
		}
	})
}

func FuzzRange(f *testing.F) {
	for _, seed := range []string{"bytes=0-", "bytes=5-9", "bytes=-1", "bytes=1-2,3-4", "bytes=9999999999999999999-", "bytes=0-0"} {
		f.Add(seed, int64(10))
	}
	f.Fuzz(func(t *testing.T, text string, size int64) {
		r, err := parseRange(text)
		if err != nil || size < 0 {
			return
		}
		off, n, ok := r.within(size)
		if ok != (r.first < size) || ok && (off < 0 || n < 1 || off+n > size) {
			t.Errorf("%q of %d: %d, %d, %v", text, size, off, n, ok)
		}
		if !ok {
			return
		}
		list := []segment{{Size: size / 3}, {Size: size / 3}, {Size: size - 2*(size/3)}}
		sum := int64(0)
		for _, p := range cut(list, "c", off, n) {
			if p.n <= 0 || p.off < 0 {
				t.Errorf("a piece of %d bytes at %d", p.n, p.off)
			}
			sum += p.n
		}
		if sum != n {
			t.Errorf("%q of %d: the pieces have %d bytes, want %d", text, size, sum, n)
		}
	})
}

// FuzzFilter asks that a filter means the same whether the part of the table that it is looked for in is narrowed or not.
func FuzzFilter(f *testing.F) {
	for _, seed := range []string{"PartitionKey eq 'p' and RowKey ge 'r'", "not (n gt 1.5 or b) and d eq datetime'2020-01-01T00:00:00Z'", "((x eq guid'" + guid(1) + "'))", "X'00' ne binary'01'", "1L lt n", "'it''s' eq s",
		"PartitionKey gt '' and PartitionKey eq 'p\x01r'"} {
		f.Add(seed, "p", "r")
	}
	f.Fuzz(func(t *testing.T, text, partition, rowKey string) {
		e, err := parseFilter(text)
		if err != nil {
			if !isAzure(err, "InvalidInput") {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		key := entityKey{partition, rowKey}
		if key.check() != nil {
			return
		}
		r := &entity{entityKey: key, Properties: []*property{{"n", edmInt32, "2"}, {"b", edmBoolean, "true"}, {"s", edmString, partition}}}
		c, place := narrow(e), key.String()
		if e.holds(r) && (!strings.HasPrefix(place, c.prefix) || place < c.from || c.to != "" && place > c.to) {
			t.Errorf("%q holds for %q, which is not in %+v", text, place, c)
		}
	})
}

func FuzzEntity(f *testing.F) {
	f.Add([]byte(`{"PartitionKey":"p","RowKey":"r","a@odata.type":"Edm.Int64","a":"1","b":1.50,"c":"\ud800","d":null,"t@odata.type":"Edm.DateTime","t":"2020-01-01T00:00:00+05:00"}`))
	f.Add([]byte(`{"x@odata.type":"Edm.Binary","x":"AA==","n":-0,"e":1e300,"g@odata.type":"Edm.Guid","g":"` + guid(1) + `"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		e, _, err := readEntity(text)
		if err != nil {
			return
		}
		_, a := bare()
		o := newObject()
		e.describe(o, &request{account: a, plane: &plane{host: tableHost}, table: "Tab", level: minimalMetadata}, nil)
		again, _, err := readEntity(o.end())
		if err != nil {
			t.Fatalf("%s is written as %s, which is refused: %v", text, o.String(), err)
		}
		for i, p := range e.Properties {
			if *p != *again.Properties[i] {
				t.Errorf("%+v becomes %+v", p, again.Properties[i])
			}
		}
	})
}

func FuzzBatch(f *testing.F) {
	f.Add("multipart/mixed; boundary=batch_1", []byte(batchOf("PUT /Tab(PartitionKey='p',RowKey='1')\n{}", "DELETE https://first."+tableHost+"/Tab(PartitionKey='p',RowKey='2')\n")))
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		parts, err := changeset(contentType, body)
		if err != nil {
			return
		}
		p, a := bare()
		p = p.Service.TableHandler().(*plane)
		q := &request{w: httptest.NewRecorder(), r: httptest.NewRequest("POST", "https://first."+tableHost+"/$batch", nil), plane: p, account: a, proof: proof{key: true}}
		operations, err := q.readOperations(parts)
		for _, o := range operations {
			if err == nil && (o.table == "" || o.change.key.check() != nil || o.change.key.Partition != operations[0].change.key.Partition) {
				t.Errorf("%+v", o.change)
			}
		}
	})
}
