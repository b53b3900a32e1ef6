package storage

import (
	"encoding/base64"
	"encoding/xml"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"

	"github.com/causeway-gateway/causeway/fabric/access"
)

// key returns the SDK's form of an account's first key.
func (f *fixture) key(account string) *azblob.SharedKeyCredential {
	return must(azblob.NewSharedKeyCredential(account, must(f.Keys(account))[0].Value))
}

// sas signs for a blob, or a container when blob is empty, as the SDK does.
func (f *fixture) sas(container, blob, perms string, change func(*sas.BlobSignatureValues)) string {
	v := sas.BlobSignatureValues{Protocol: sas.ProtocolHTTPS, ExpiryTime: f.clock.now().Add(time.Hour), Permissions: perms, ContainerName: container, BlobName: blob}
	if change != nil {
		change(&v)
	}
	p := must(v.SignWithSharedKey(f.key("first")))
	return p.Encode()
}

func TestSharedKeyTextsAreThoseOfTheDocumentation(t *testing.T) {
	f := open(t)
	r := must(http.NewRequest("GET", "https://first."+blobHost+"/mycontainer?restype=container&comp=metadata&timeout=20", nil))
	r.Header.Set("x-ms-date", "Fri, 26 Jun 2015 23:39:12 GMT")
	r.Header.Set("x-ms-version", "2015-02-21")
	q := &request{r: r, plane: &plane{kind: 'b'}, account: must(f.account("first")), query: map[string]string{"comp": "metadata"}}
	want := "GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\nx-ms-version:2015-02-21\n/first/mycontainer\ncomp:metadata\nrestype:container\ntimeout:20"
	if got := q.textToSign("SharedKey", compareWords); got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
	want = "GET\n\n\n\nx-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\nx-ms-version:2015-02-21\n/first/mycontainer?comp=metadata"
	if got := q.textToSign("SharedKeyLite", compareWords); got != want {
		t.Errorf("lite: got %q\nwant %q", got, want)
	}
	q.plane = &plane{kind: 't'}
	if got, want := q.textToSign("SharedKey", compareWords), "GET\n\n\nFri, 26 Jun 2015 23:39:12 GMT\n/first/mycontainer?comp=metadata"; got != want {
		t.Errorf("table: got %q\nwant %q", got, want)
	}
	if got, want := q.textToSign("SharedKeyLite", compareWords), "Fri, 26 Jun 2015 23:39:12 GMT\n/first/mycontainer?comp=metadata"; got != want {
		t.Errorf("table, lite: got %q\nwant %q", got, want)
	}
}

func TestHyphensCountLastInNames(t *testing.T) {
	for _, tt := range []struct{ less, more string }{{"x-ms-date", "x-ms-version"}, {"x-ms-ab", "x-ms-a-c"}, {"x-ms-ab", "x-ms-a-b"}, {"x-ms-a", "x-ms-a-b"}} {
		if compareWords(tt.less, tt.more) >= 0 || compareWords(tt.more, tt.less) <= 0 || compareWords(tt.less, tt.less) != 0 {
			t.Errorf("%s does not come before %s", tt.less, tt.more)
		}
	}
}

// signed makes a SharedKey header for a request without a body.
func (f *fixture) signed(account, scheme, method, target string, headers map[string]string) []string {
	r := must(http.NewRequest(method, target, nil))
	lines := []string{}
	for name, value := range headers {
		r.Header.Set(name, value)
		lines = append(lines, name+": "+value)
	}
	a := must(f.account(account))
	query := must(readQuery(r.URL.RawQuery))
	q := &request{r: r, plane: &plane{kind: 'b'}, account: a, query: query}
	sum := mac(a.keys[1], []byte(q.textToSign(scheme, compareWords)))
	return append(lines, "Authorization: "+scheme+" "+account+":"+base64.StdEncoding.EncodeToString(sum))
}

func TestSharedKeysAreHeldToWhatTheySign(t *testing.T) {
	f := open(t)
	f.container("box")
	f.put("/box/a", "text").want(t, "201")
	f.put("/box/b", "text").want(t, "201")
	const base = "https://first." + blobHost
	at := func(d time.Duration) map[string]string {
		return map[string]string{"x-ms-date": f.clock.now().Add(d).UTC().Format(http.TimeFormat), "x-ms-version": "2021-12-02"}
	}
	now := at(0)
	good := f.signed("first", "SharedKey", "GET", base+"/box/a", now)
	f.do("GET", "/box/a", "", good...).want(t, "200")
	f.do("GET", "/box/a", "", f.signed("first", "SharedKeyLite", "GET", base+"/box/a", now)...).want(t, "200")
	f.do("GET", "/box/a", "", f.signed("first", "SharedKey", "GET", base+"/box/a", at(-14*time.Minute))...).want(t, "200")
	f.send(f.blobs, f.blobs.URL, "GET", "/first/box/a", "", f.signed("first", "SharedKey", "GET", f.blobs.URL+"/first/box/a", now)...).want(t, "200")
	last := good[len(good)-1]
	for name, headers := range map[string][]string{
		"another path":      f.signed("first", "SharedKey", "GET", base+"/box/b", now),
		"another method":    f.signed("first", "SharedKey", "HEAD", base+"/box/a", now),
		"another query":     f.signed("first", "SharedKey", "GET", base+"/box/a?comp=metadata", now),
		"another account":   f.signed("second", "SharedKey", "GET", base+"/box/a", now),
		"another's key":     {good[0], good[1], strings.Replace(f.signed("second", "SharedKey", "GET", base+"/box/a", now)[2], "second:", "first:", 1)},
		"another scheme":    {good[0], good[1], strings.Replace(last, "SharedKey", "SharedKeyLite", 1)},
		"too old":           f.signed("first", "SharedKey", "GET", base+"/box/a", at(-16*time.Minute)),
		"from the future":   f.signed("first", "SharedKey", "GET", base+"/box/a", at(16*time.Minute)),
		"no date":           f.signed("first", "SharedKey", "GET", base+"/box/a", nil),
		"a bad date":        f.signed("first", "SharedKey", "GET", base+"/box/a", map[string]string{"x-ms-date": "now"}),
		"one header more":   append([]string{"x-ms-meta-x: 1"}, good...),
		"a changed header":  append(good, "x-ms-date: "+at(time.Second)["x-ms-date"]),
		"a range more":      append([]string{"Range: bytes=0-1"}, good...),
		"a cut signature":   append(good, last[:len(last)-4]),
		"no signature":      append(good, "Authorization: SharedKey first:"),
		"no account":        append(good, "Authorization: SharedKey "),
		"a signature twice": append(good, last+","+last),
	} {
		if a := f.do("GET", "/box/a", "", headers...); a.StatusCode != 403 || a.Header.Get("x-ms-error-code") != "AuthenticationFailed" {
			t.Errorf("%s: %d %s", name, a.StatusCode, a.body)
		}
	}
	if _, err := f.SetAccount(t.Context(), "first", Settings{}); err != nil {
		t.Fatal(err)
	}
	f.do("GET", "/box/a", "", good...).want(t, "403 KeyBasedAuthenticationNotPermitted")
	f.do("GET", "/box/a", "", append(good, last[:len(last)-4])...).want(t, "403 AuthenticationFailed")
	f.do("GET", "/box/a?"+f.sas("box", "a", "r", nil), "").want(t, "403 KeyBasedAuthenticationNotPermitted")
}

func TestSignaturesAreHeldToWhatTheySign(t *testing.T) {
	f := open(t)
	f.container("box")
	f.container("other")
	for _, path := range []string{"/box/a", "/box/b", "/other/a"} {
		f.put(path, "text").want(t, "201")
	}
	blobHeader := "x-ms-blob-type: BlockBlob"
	do := func(method, path, signature, want string) {
		t.Helper()
		join := "?"
		if strings.Contains(path, "?") {
			join = "&"
		}
		f.do(method, path+join+signature, "", blobHeader).want(t, want)
	}
	read := f.sas("box", "a", "r", nil)
	do("GET", "/box/a", read, "200")
	do("GET", "/box/b", read, "403 AuthenticationFailed")
	do("GET", "/other/a", read, "403 AuthenticationFailed")
	do("GET", "/box/a/../b", read, "400 InvalidResourceName")
	do("PUT", "/box/a", read, "403 AuthorizationPermissionMismatch")
	do("DELETE", "/box/a", read, "403 AuthorizationPermissionMismatch")
	do("GET", "/box?restype=container&comp=list", read, "403 AuthenticationFailed")
	do("GET", "/?comp=list", read, "403 AuthenticationFailed")
	do("GET", "/box/a", strings.Replace(read, "sp=r", "sp=rw", 1), "403 AuthenticationFailed")
	do("GET", "/box/a", read+"&sp=r", "400 InvalidQueryParameterValue")
	do("GET", "/box/a", read+"&SP=rw", "400 InvalidQueryParameterValue")
	do("GET", "/box/a", read+"&ses=x", "403 AuthenticationFailed")
	do("GET", "/box/a", read+"&si=policy", "403 AuthenticationFailed")
	do("GET", "/box/a", read+"&rsct=text/html", "403 AuthenticationFailed")
	do("GET", "/box/a", read+"&st=2001-01-01", "403 AuthenticationFailed")
	do("GET", "/box/a", strings.Replace(read, "sig=", "sig=AA", 1), "403 AuthenticationFailed")
	do("GET", "/box/a", strings.Replace(read, "sv=2026", "sv=2025", 1), "403 AuthenticationFailed")
	f.do("GET", "/box/a?"+read, "", bearer(owner)).want(t, "400 InvalidAuthenticationInfo")

	all := f.sas("box", "", "rwl", nil)
	do("GET", "/box/b", all, "200")
	do("GET", "/other/a", all, "403 AuthenticationFailed")
	do("GET", "/box?restype=container&comp=list", all, "200")
	do("DELETE", "/box?restype=container", all, "403 AuthorizationPermissionMismatch")
	do("PUT", "/box?restype=container&comp=metadata", all, "403 AuthorizationPermissionMismatch")
	do("DELETE", "/box/b", all, "403 AuthorizationPermissionMismatch")
	do("PUT", "/box/n", f.sas("box", "n", "c", nil), "201")
	do("PUT", "/box/n", f.sas("box", "n", "c", nil), "403 AuthorizationPermissionMismatch")
	do("PUT", "/box/n", f.sas("box", "n", "w", nil), "201")
	do("DELETE", "/box/n", f.sas("box", "n", "d", nil), "202")

	do("GET", "/box/a", f.sas("box", "a", "r", func(v *sas.BlobSignatureValues) { v.StartTime = f.clock.now().Add(time.Second) }), "403 AuthenticationFailed")
	do("GET", "/box/a", f.sas("box", "a", "r", func(v *sas.BlobSignatureValues) { v.StartTime = f.clock.now() }), "200")
	do("GET", "/box/a", f.sas("box", "a", "r", func(v *sas.BlobSignatureValues) { v.ExpiryTime = f.clock.now() }), "403 AuthenticationFailed")
	do("GET", "/box/a", f.sas("box", "a", "r", func(v *sas.BlobSignatureValues) { v.IPRange = sas.IPRange{Start: []byte{10, 0, 0, 1}} }), "403 AuthorizationSourceIPMismatch")
	do("GET", "/box/a", f.sas("box", "a", "r", func(v *sas.BlobSignatureValues) {
		v.IPRange = sas.IPRange{Start: []byte{127, 0, 0, 0}, End: []byte{127, 0, 0, 9}}
	}), "200")
	do("GET", "/box/a", f.sas("box", "a", "r", func(v *sas.BlobSignatureValues) { v.Protocol = "http" }), "403 AuthorizationProtocolMismatch")
	do("GET", "/box/a", f.sas("box", "a", "r", func(v *sas.BlobSignatureValues) { v.ContentType = "a/b\r\nX-Evil: 1" }), "400 InvalidQueryParameterValue")
	if a := f.do("GET", "/box/a?"+f.sas("box", "a", "r", func(v *sas.BlobSignatureValues) { v.ContentDisposition = "attachment" }), "").want(t, "200"); a.Header.Get("Content-Disposition") != "attachment" {
		t.Errorf("%v", a.Header)
	}
	before := f.sas("box", "a", "r", nil)
	if err := f.RegenerateKey(t.Context(), "first", "key1"); err != nil {
		t.Fatal(err)
	}
	do("GET", "/box/a", before, "403 AuthenticationFailed")
}

func TestASignatureForTheTargetCopiesNothingElse(t *testing.T) {
	f := open(t)
	f.container("box")
	f.container("secrets")
	f.put("/secrets/s", "secret").want(t, "201")
	from := "https://first." + blobHost + "/secrets/s"
	target := "/box/t?" + f.sas("box", "t", "rw", nil)
	f.do("PUT", target, "", "x-ms-copy-source: "+from).want(t, "400 CannotVerifyCopySource")
	f.do("PUT", target, "", "x-ms-copy-source: "+from+"?"+f.sas("box", "", "r", nil)).want(t, "400 CannotVerifyCopySource")
	f.do("PUT", target, "", "x-ms-copy-source: "+from+"?"+f.sas("secrets", "s", "w", nil)).want(t, "400 CannotVerifyCopySource")
	f.do("PUT", target, "", "x-ms-copy-source: "+from+"?"+f.sas("secrets", "s", "r", nil)).want(t, "202")
	f.do("PUT", "/box/u", "", bearer(adder), "x-ms-copy-source: "+from).want(t, "400 CannotVerifyCopySource")
	if a := f.get("/box/t").want(t, "200"); a.body != "secret" || strings.Contains(a.Header.Get("x-ms-copy-source"), "sig") {
		t.Errorf("%q, %v", a.body, a.Header)
	}
}

func TestAccountSignatures(t *testing.T) {
	f := open(t)
	f.container("box")
	f.put("/box/a", "text").want(t, "201")
	sign := func(kinds, perms string) string {
		p := must(sas.AccountSignatureValues{Protocol: sas.ProtocolHTTPS, ExpiryTime: f.clock.now().Add(time.Hour), Permissions: perms, ResourceTypes: kinds}.SignWithSharedKey(f.key("first")))
		return p.Encode()
	}
	f.do("GET", "/box/a?"+sign("o", "r"), "").want(t, "200")
	f.do("GET", "/box/a?"+sign("sc", "r"), "").want(t, "403 AuthorizationPermissionMismatch")
	f.do("GET", "/box/a?"+sign("o", "wl"), "").want(t, "403 AuthorizationPermissionMismatch")
	f.do("GET", "/?comp=list&"+sign("s", "l"), "").want(t, "200")
	f.do("GET", "/box?restype=container&comp=list&"+sign("c", "l"), "").want(t, "200")
	f.do("GET", "/box?restype=container&comp=list&"+sign("o", "l"), "").want(t, "403 AuthorizationPermissionMismatch")
	f.do("GET", "/box/a?"+strings.Replace(sign("o", "r"), "ss=b", "ss=bt", 1), "").want(t, "403 AuthenticationFailed")
	f.do("GET", "/box/a?"+strings.Replace(sign("o", "r"), "ss=b", "ss=t", 1), "").want(t, "403 AuthorizationServiceMismatch")
	f.do("PUT", "/new?restype=container&"+sign("c", "c"), "").want(t, "201")
	f.send(f.blobs, "https://second."+blobHost, "GET", "/?comp=list&"+sign("s", "l"), "").want(t, "403 AuthenticationFailed")
}

func TestRolesAreObeyed(t *testing.T) {
	f := open(t)
	f.container("box")
	f.put("/box/a", "text").want(t, "201")
	for _, tt := range []struct{ who, method, path, want string }{
		{reader, "GET", "/box/a", "200"},
		{reader, "GET", "/box?restype=container&comp=list", "200"},
		{reader, "GET", "/?comp=list", "200"},
		{reader, "PUT", "/box/a", "403 AuthorizationPermissionMismatch"},
		{reader, "DELETE", "/box/a", "403 AuthorizationPermissionMismatch"},
		{reader, "PUT", "/new?restype=container", "403 AuthorizationPermissionMismatch"},
		{reader, "PUT", "/box/a?comp=lease", "403 AuthorizationPermissionMismatch"},
		{nobody, "GET", "/box/a", "403 AuthorizationPermissionMismatch"},
		{adder, "PUT", "/box/b", "201"},
		{adder, "PUT", "/box/b", "403 AuthorizationPermissionMismatch"},
		{adder, "GET", "/box/b", "403 AuthorizationPermissionMismatch"},
	} {
		f.do(tt.method, tt.path, "", bearer(tt.who), "x-ms-blob-type: BlockBlob").want(t, tt.want)
	}
	f.send(f.blobs, "https://second."+blobHost, "GET", "/?comp=list", "", bearer(owner)).want(t, "403 AuthorizationPermissionMismatch")
	a := f.do("GET", "/box/a", "", "Authorization: Bearer https://vault.azure.net "+owner).want(t, "401 InvalidAuthenticationInfo")
	if got := a.Header.Get("WWW-Authenticate"); got != "Bearer authorization_uri=https://login.test/"+tenant+"/oauth2/authorize resource_id=https://storage.azure.com" {
		t.Errorf("the challenge is %s", got)
	}
	f.do("GET", "/box/a", "", "Authorization: Bearer https://first."+blobHost+" "+owner).want(t, "200")
	f.do("GET", "/box/a", "", "Authorization: Basic x").want(t, "400 InvalidAuthenticationInfo")
	one := firstID.Child("blobServices", "default", "containers", "box")
	must(f.access.Assign(t.Context(), access.Assignment{ID: guid(200), Scope: one.String(), Role: access.StorageBlobDataReader, Principal: nobody}))
	f.container("other")
	f.do("GET", "/box/a", "", bearer(nobody)).want(t, "200")
	f.do("GET", "/other/a", "", bearer(nobody)).want(t, "403 AuthorizationPermissionMismatch")
}

func TestWhatIsPublicIsReadByAnybody(t *testing.T) {
	f := open(t)
	f.container("private")
	for _, public := range []string{"Blob", "Container"} {
		if err := f.CreateContainer(t.Context(), "first", strings.ToLower(public), public, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"private", "blob", "container"} {
		f.put("/"+name+"/a", "text").want(t, "201")
	}
	for path, want := range map[string]string{"/private/a": "401 NoAuthenticationInformation", "/none/a": "401 NoAuthenticationInformation", "/blob/a": "200", "/container/a": "200",
		"/blob?restype=container&comp=list": "401 NoAuthenticationInformation", "/container?restype=container&comp=list": "200"} {
		f.do("GET", path, "").want(t, want)
	}
	f.do("DELETE", "/container/a", "").want(t, "401 NoAuthenticationInformation")
	if _, err := f.SetAccount(t.Context(), "first", Settings{}); err != nil {
		t.Fatal(err)
	}
	f.do("GET", "/container/a", "").want(t, "401 NoAuthenticationInformation")
}

func TestUserDelegation(t *testing.T) {
	f := open(t)
	f.container("box")
	f.put("/box/a", "text").want(t, "201")
	ask := func(who string, start, end time.Time) answer {
		format := "2006-01-02T15:04:05Z"
		return f.do("POST", "/?restype=service&comp=userdelegationkey", "<KeyInfo><Start>"+start.UTC().Format(format)+"</Start><Expiry>"+end.UTC().Format(format)+"</Expiry></KeyInfo>",
			bearer(who), "x-ms-version: 2021-12-02")
	}
	now := f.clock.now()
	ask(nobody, now, now.Add(time.Hour)).want(t, "403 AuthorizationPermissionMismatch")
	ask(reader, now, now.Add(8*24*time.Hour)).want(t, "400 InvalidXmlNodeValue")
	ask(reader, now, now.Add(-time.Hour)).want(t, "400 InvalidXmlNodeValue")
	ask(reader, now.Add(time.Hour), now).want(t, "400 InvalidXmlNodeValue")
	f.do("POST", "/?restype=service&comp=userdelegationkey", "<KeyInfo><Start>", bearer(reader)).want(t, "400 InvalidXmlDocument")
	f.do("POST", "/?restype=service&comp=userdelegationkey", strings.Repeat("x", maxSmallBody+1), bearer(reader)).want(t, "413 RequestBodyTooLarge")

	var k delegationKey
	if err := xml.Unmarshal([]byte(ask(reader, now, now.Add(time.Hour)).want(t, "200").body), &k); err != nil {
		t.Fatal(err)
	}
	sign := func(oid, perms string, change func(url.Values)) string {
		v := url.Values{"sp": {perms}, "st": {k.SignedStart}, "se": {k.SignedExpiry}, "skoid": {oid}, "sktid": {k.SignedTid}, "skt": {k.SignedStart}, "ske": {k.SignedExpiry},
			"sks": {"b"}, "skv": {k.SignedVersion}, "sv": {"2021-12-02"}, "sr": {"b"}, "spr": {"https"}}
		text := strings.Join([]string{perms, k.SignedStart, k.SignedExpiry, "/blob/first/box/a", oid, k.SignedTid, k.SignedStart, k.SignedExpiry, "b", k.SignedVersion, "", "", "", "", "https",
			"2021-12-02", "b", "", "", "", "", "", "", ""}, "\n")
		v.Set("sig", base64.StdEncoding.EncodeToString(mac(must(base64.StdEncoding.DecodeString(k.Value)), []byte(text))))
		if change != nil {
			change(v)
		}
		return v.Encode()
	}
	if _, err := f.SetAccount(t.Context(), "first", Settings{}); err != nil { // it needs no shared keys
		t.Fatal(err)
	}
	read := sign(reader, "rw", nil)
	f.do("GET", "/box/a?"+read, "").want(t, "200")
	f.do("PUT", "/box/a?"+read, "", "x-ms-blob-type: BlockBlob").want(t, "403 AuthorizationPermissionMismatch") // its maker cannot either
	f.do("GET", "/box/b?"+read, "").want(t, "403 AuthenticationFailed")
	f.do("GET", "/box/a?"+sign(owner, "r", nil), "").want(t, "403 AuthenticationFailed")
	f.do("GET", "/box/a?"+sign(reader, "r", func(v url.Values) { v.Set("ske", "2099-01-01T00:00:00Z") }), "").want(t, "403 AuthenticationFailed")
	f.do("GET", "/box/a?"+sign(reader, "r", func(v url.Values) { v.Set("saoid", owner) }), "").want(t, "403 AuthenticationFailed")
	f.do("GET", "/box/a?"+sign(reader, "r", func(v url.Values) { v.Set("ss", "b"); v.Set("srt", "sco") }), "").want(t, "403 AuthenticationFailed")
	f.send(f.blobs, "https://second."+blobHost, "GET", "/box/a?"+read, "").want(t, "403 AuthenticationFailed")
	f.clock.add(time.Hour)
	f.do("GET", "/box/a?"+read, "").want(t, "403 AuthenticationFailed")
	f.clock.add(-time.Minute)
	f.do("GET", "/box/a?"+read, "").want(t, "200")
	if err := f.RevokeDelegation(t.Context(), "first"); err != nil {
		t.Fatal(err)
	}
	f.do("GET", "/box/a?"+read, "").want(t, "403 AuthenticationFailed")
}

func TestHostileRequestsAreRefused(t *testing.T) {
	f := open(t)
	f.container("box")
	long := strings.Repeat("x", maxBlobName+1)
	for _, tt := range []struct{ method, path, want string }{
		{"PUT", "/box/../../etc/passwd", "400 InvalidResourceName"},
		{"PUT", "/box/%2e%2e/%2e%2e/x", "400 InvalidResourceName"},
		{"PUT", "/box/..%2f..%2fx", "400 InvalidResourceName"},
		{"PUT", "/box/a%5cb", "400 InvalidResourceName"},
		{"PUT", "/box/a%00b", "400 InvalidResourceName"},
		{"PUT", "/box/a%0d%0ax-evil:1", "400 InvalidResourceName"},
		{"PUT", "/box/%ff%fe", "400 InvalidResourceName"},
		{"PUT", "/box/%c0%ae%c0%ae/x", "400 InvalidResourceName"},
		{"PUT", "/box/" + long, "400 OutOfRangeInput"},
		{"PUT", "/box/" + strings.Repeat("a/", maxBlobSegments) + "a", "400 OutOfRangeInput"},
		{"PUT", "/%2e%2e?restype=container", "400 OutOfRangeInput"},
		{"PUT", "/a%2f..%2fb?restype=container", "400 OutOfRangeInput"},
		{"PUT", "/A.B?restype=container", "400 InvalidResourceName"},
		{"PUT", "/a--b?restype=container", "400 InvalidResourceName"},
		{"PUT", "//box/a", "400 InvalidUri"},
		{"GET", "/box/a?comp=list&comp=metadata", "400 InvalidQueryParameterValue"},
		{"GET", "/box/a?snapshot=x", "400 UnsupportedQueryParameter"},
		{"GET", "/box/a?comp=everything", "400 UnsupportedQueryParameter"},
		{"GET", "/box/a?x=%zz", "400 InvalidUri"},
		{"POST", "/box/a", "405 UnsupportedHttpVerb"},
		{"TRACE", "/box/a", "405 UnsupportedHttpVerb"},
		{"PUT", "/box/a?comp=block&blockid=" + strings.Repeat("A", 128), "400 InvalidQueryParameterValue"},
		{"PUT", "/box/a?comp=block&blockid=../x", "400 InvalidQueryParameterValue"},
		{"GET", "/" + strings.Repeat("x", maxPathBytes), "414 InvalidUri"},
	} {
		a := f.do(tt.method, tt.path, "x", bearer(owner), "x-ms-blob-type: BlockBlob")
		if got := strings.TrimSpace(http.StatusText(a.StatusCode)); got == "" || strings.Contains(a.body, f.dir) {
			t.Errorf("%s: %s", tt.path, a.body)
		}
		a.want(t, tt.want)
	}
	for _, tt := range []struct{ header, want string }{
		{"x-ms-version: 1999-01-01", "400 InvalidHeaderValue"},
		{"x-ms-version: x", "400 InvalidHeaderValue"},
		{"x-ms-meta-a.b: 1", "400 InvalidMetadata"},
		{"x-ms-meta-a: \xc3\xa9", "400 InvalidMetadata"},
		{"x-ms-meta-a: " + strings.Repeat("x", maxMetadata), "400 MetadataTooLarge"},
		{"x-ms-blob-content-type: " + strings.Repeat("x", maxHeaderBytes+1), "400 InvalidHeaderValue"},
		{"x-ms-blob-type: PageBlob", "400 UnsupportedHeader"},
		{"x-ms-if-tags: a=1", "400 UnsupportedHeader"},
		{"x-ms-encryption-key: x", "400 UnsupportedHeader"},
		{"x-ms-lease-id: x", "400 InvalidHeaderValue"},
	} {
		f.put("/box/h", "x", tt.header).want(t, tt.want)
	}
	if a := f.get("/box/none", "x-ms-client-request-id: "+strings.Repeat("x", maxClientID+1)); a.Header.Get("x-ms-client-request-id") != "" {
		t.Error("a long id is echoed")
	}
	if f.files() != 0 {
		t.Errorf("%d files are left", f.files())
	}
}

func TestBodiesAreBounded(t *testing.T) {
	f := open(t)
	f.container("box")
	ask := func(method, path string, length int64) string {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(method, "https://first."+blobHost+path, failing{})
		r.ContentLength = length
		r.Header.Set("Authorization", strings.TrimPrefix(bearer(owner), "Authorization: "))
		r.Header.Set("x-ms-blob-type", "BlockBlob")
		f.BlobHandler().ServeHTTP(w, r)
		return w.Header().Get("x-ms-error-code")
	}
	for _, tt := range []struct {
		path   string
		length int64
		want   string
	}{
		{"/box/a", maxPutBytes + 1, "RequestBodyTooLarge"},
		{"/box/a", -1, "MissingContentLengthHeader"},
		{"/box/a?comp=block&blockid=AAAA", maxBlockBytes + 1, "RequestBodyTooLarge"},
		{"/box/a?comp=blocklist", maxBlockListBytes + 1, "RequestBodyTooLarge"},
		{"/box/a", 10, "InvalidInput"},
	} {
		if got := ask("PUT", tt.path, tt.length); got != tt.want {
			t.Errorf("%s of %d bytes: %s, want %s", tt.path, tt.length, got, tt.want)
		}
	}
}
