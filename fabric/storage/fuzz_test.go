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
