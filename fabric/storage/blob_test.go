package storage

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"encoding/binary"
	"hash/crc64"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/causeway-gateway/causeway/fabric/state"
)

func TestBlobsAreKeptWithWhatIsSaidOfThem(t *testing.T) {
	f := open(t)
	f.do("PUT", "/box?restype=container", "", bearer(owner), "x-ms-meta-Colour: red").want(t, "201")
	f.do("PUT", "/box?restype=container", "", bearer(owner)).want(t, "409 ContainerAlreadyExists")
	if a := f.do("HEAD", "/box?restype=container", "", bearer(owner)).want(t, "200"); a.Header.Get("x-ms-meta-colour") != "red" || a.Header.Get("ETag") == "" {
		t.Errorf("container: %v", a.Header)
	}
	sum := md5.Sum([]byte("hello"))
	made := f.put("/box/a/b%20c.txt", "hello", "Content-Type: text/plain", "x-ms-meta-n: 1", "x-ms-blob-cache-control: no-store",
		"Content-MD5: "+base64.StdEncoding.EncodeToString(sum[:])).want(t, "201")
	got := f.get("/box/a/b%20c.txt", "x-ms-client-request-id: mine").want(t, "200")
	for name, want := range map[string]string{"Content-Type": "text/plain", "x-ms-meta-n": "1", "Cache-Control": "no-store", "ETag": made.Header.Get("ETag"), "x-ms-blob-type": "BlockBlob",
		"Content-MD5": base64.StdEncoding.EncodeToString(sum[:]), "x-ms-client-request-id": "mine", "x-ms-lease-state": "available", "Content-Length": "5"} {
		if got.Header.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, got.Header.Get(name), want)
		}
	}
	if got.body != "hello" {
		t.Errorf("it holds %q", got.body)
	}
	f.do("PUT", "/box/a/b%20c.txt?comp=metadata", "", bearer(owner), "x-ms-meta-m: 2").want(t, "200")
	f.do("PUT", "/box/a/b%20c.txt?comp=properties", "", bearer(owner), "x-ms-blob-content-type: a/b").want(t, "200")
	head := f.do("HEAD", "/box/a/b%20c.txt", "", bearer(owner)).want(t, "200")
	if head.Header.Get("x-ms-meta-m") != "2" || head.Header.Get("x-ms-meta-n") != "" || head.Header.Get("Content-Type") != "a/b" || head.ContentLength != 5 || head.Header.Get("ETag") == got.Header.Get("ETag") {
		t.Errorf("after the changes: %v", head.Header)
	}
	f.put("/box/a/b%20c.txt", "").want(t, "201")
	if a := f.get("/box/a/b%20c.txt").want(t, "200"); a.body != "" || f.files() != 0 {
		t.Errorf("an empty blob holds %q, and %d files are left", a.body, f.files())
	}
	f.do("DELETE", "/box/a/b%20c.txt", "", bearer(owner)).want(t, "202")
	f.get("/box/a/b%20c.txt").want(t, "404 BlobNotFound")
	f.do("HEAD", "/box/a/b%20c.txt", "", bearer(owner)).want(t, "404 BlobNotFound")
	f.do("DELETE", "/box?restype=container", "", bearer(owner)).want(t, "202")
	f.get("/box/a").want(t, "404 ContainerNotFound")
}

func TestRangesOfBlobs(t *testing.T) {
	f := open(t)
	f.container("box")
	f.put("/box/r", "0123456789").want(t, "201")
	for _, tt := range []struct{ header, want, body, content string }{
		{"Range: bytes=2-4", "206", "234", "bytes 2-4/10"},
		{"x-ms-range: bytes=8-", "206", "89", "bytes 8-9/10"},
		{"Range: bytes=5-999999999999", "206", "56789", "bytes 5-9/10"},
		{"Range: bytes=10-", "416 InvalidRange", "", "bytes */10"},
		{"Range: bytes=4-2", "400 InvalidHeaderValue", "", ""},
		{"Range: bytes=0-1,3-4", "400 InvalidHeaderValue", "", ""},
		{"Range: bytes=-3", "400 InvalidHeaderValue", "", ""},
		{"Range: bytes=0-99999999999999999999", "400 InvalidHeaderValue", "", ""},
	} {
		a := f.get("/box/r", tt.header).want(t, tt.want)
		if a.Header.Get("Content-Range") != tt.content || tt.body != "" && a.body != tt.body {
			t.Errorf("%s: %q, %s", tt.header, a.body, a.Header.Get("Content-Range"))
		}
	}
	a := f.get("/box/r", "x-ms-range: bytes=1-2", "x-ms-range-get-content-md5: true").want(t, "206")
	if sum := md5.Sum([]byte("12")); a.body != "12" || a.Header.Get("Content-MD5") != base64.StdEncoding.EncodeToString(sum[:]) {
		t.Errorf("the range's hash: %q, %v", a.body, a.Header)
	}
}

func TestConditionsAreKept(t *testing.T) {
	f := open(t)
	f.container("box")
	f.put("/box/c", "1", "If-Match: *").want(t, "412 ConditionNotMet")
	f.put("/box/c", "1", "If-None-Match: *").want(t, "201")
	f.put("/box/c", "2", "If-None-Match: *").want(t, "409 BlobAlreadyExists")
	for _, tt := range []struct{ header, get, change string }{
		{"If-Match: ETAG", "200", "200"},
		{`If-Match: "0x1", ETAG`, "200", "200"},
		{`If-Match: "0x1"`, "412 ConditionNotMet", "412 ConditionNotMet"},
		{"If-None-Match: ETAG", "304 ConditionNotMet", "412 ConditionNotMet"},
		{`If-None-Match: "0x1"`, "200", "200"},
		{"If-Modified-Since: DATE", "304 ConditionNotMet", "412 ConditionNotMet"},
		{"If-Unmodified-Since: DATE", "200", "200"},
		{"If-Unmodified-Since: Mon, 01 Jan 2001 00:00:00 GMT", "412 ConditionNotMet", "412 ConditionNotMet"},
		{"If-Modified-Since: yesterday", "400 InvalidHeaderValue", "400 InvalidHeaderValue"},
	} {
		made := f.put("/box/c", "1").want(t, "201")
		header := strings.NewReplacer("ETAG", made.Header.Get("ETag"), "DATE", made.Header.Get("Last-Modified")).Replace(tt.header)
		f.get("/box/c", header).want(t, tt.get)
		f.do("PUT", "/box/c?comp=metadata", "", bearer(owner), header).want(t, tt.change)
		f.put("/box/c", "1").want(t, "201")
		if strings.Contains(tt.header, "-Match: ETAG") { // it is another one now
			want := "412 ConditionNotMet"
			if strings.Contains(tt.header, "None") {
				want = "202"
			}
			f.do("DELETE", "/box/c", "", bearer(owner), header).want(t, want)
		}
	}
}

func TestBlocksAreCommittedTogether(t *testing.T) {
	f := open(t)
	f.container("box")
	block := func(id, body, want string, headers ...string) {
		t.Helper()
		f.do("PUT", "/box/k?comp=block&blockid="+base64.URLEncoding.EncodeToString([]byte(id)), body, append(headers, bearer(owner))...).want(t, want)
	}
	commit := func(list, want string) {
		t.Helper()
		f.do("PUT", "/box/k?comp=blocklist", `<?xml version="1.0"?><BlockList>`+list+"</BlockList>", bearer(owner)).want(t, want)
	}
	id := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	block("aa", "one", "201")
	block("bb", "two", "201")
	block("bb", "TWO", "201")
	block("ccc", "x", "400 InvalidBlobOrBlock")
	block("dd", "", "400 InvalidHeaderValue")
	f.get("/box/k").want(t, "404 BlobNotFound")
	commit("<Latest>"+id("aa")+"</Latest><Committed>"+id("bb")+"</Committed>", "400 InvalidBlockList")
	commit("<Latest>"+id("zz")+"</Latest>", "400 InvalidBlockList")
	commit("<Other>"+id("aa")+"</Other>", "400 InvalidBlockList")
	commit("<Latest>"+id("aa")+"<", "400 InvalidXmlDocument")
	commit("<Latest>"+id("aa")+"</Latest><Uncommitted>"+id("bb")+"</Uncommitted>", "201")
	if a := f.get("/box/k", "Range: bytes=2-4").want(t, "206"); a.body != "eTW" {
		t.Errorf("a range over two blocks is %q", a.body)
	}
	block("cc", "3", "201")
	block("dd", "unused", "201")
	a := f.get("/box/k?comp=blocklist&blocklisttype=all").want(t, "200")
	if want := "<BlockList><CommittedBlocks><Block><Name>" + id("aa") + "</Name><Size>3</Size></Block><Block><Name>" + id("bb") + "</Name><Size>3</Size></Block></CommittedBlocks>" +
		"<UncommittedBlocks><Block><Name>" + id("cc") + "</Name><Size>1</Size></Block><Block><Name>" + id("dd") + "</Name><Size>6</Size></Block></UncommittedBlocks></BlockList>"; !strings.HasSuffix(a.body, want) {
		t.Errorf("the list is %s", a.body)
	}
	commit("<Latest>"+id("cc")+"</Latest><Committed>"+id("aa")+"</Committed>", "201")
	if a := f.get("/box/k").want(t, "200"); a.body != "3one" || f.files() != 2 {
		t.Errorf("it holds %q, with %d files", a.body, f.files())
	}
	f.put("/box/k", "whole").want(t, "201")
	commit("<Committed>"+id("aa")+"</Committed>", "400 InvalidBlockList")
	if f.files() != 1 {
		t.Errorf("%d files are left", f.files())
	}
}

func TestListsOfBlobsArePaged(t *testing.T) {
	f := open(t)
	f.container("box")
	for _, name := range []string{"a", "b/1", "b/2", "b/3", "b0", "c%26%3Cd", "d/x/y", "é/1", "é/2", "zz"} {
		f.put("/box/"+name, "x", "x-ms-meta-k: v&w").want(t, "201")
	}
	for _, size := range []string{"1", "2", "3", "5000", "99999"} {
		var got []string
		for marker, pages := "", 0; pages < 20; pages++ {
			a := f.get("/box?restype=container&comp=list&include=metadata&delimiter=/&maxresults="+size+"&marker="+marker).want(t, "200")
			for part := range strings.SplitSeq(a.body, "<Name>") {
				if name, _, ok := strings.Cut(part, "</Name>"); ok {
					got = append(got, name)
				}
			}
			_, rest, _ := strings.Cut(a.body, "<NextMarker>")
			if marker, _, _ = strings.Cut(rest, "</NextMarker>"); marker == "" {
				break
			}
		}
		if list := strings.Join(got, " "); list != "a b/ b0 c&amp;&lt;d d/ zz é/" {
			t.Errorf("by %s: %s", size, list)
		}
	}
	if a := f.get("/box?restype=container&comp=list&prefix=b/&include=metadata").want(t, "200"); strings.Count(a.body, "<Blob>") != 3 || !strings.Contains(a.body, "<Metadata><k>v&amp;w</k></Metadata>") {
		t.Errorf("below a prefix: %s", a.body)
	}
	if a := f.get("/?comp=list&prefix=b").want(t, "200"); !strings.Contains(a.body, "<Name>box</Name>") || !strings.Contains(a.body, `ServiceEndpoint="https://first.`+blobHost+`/"`) {
		t.Errorf("containers: %s", a.body)
	}
	for _, bad := range []string{"maxresults=0", "maxresults=x", "marker=%25", "include=everything", "prefix=%00"} {
		if a := f.get("/box?restype=container&comp=list&" + bad); a.StatusCode != 400 {
			t.Errorf("%s: %d", bad, a.StatusCode)
		}
	}
}

func TestAListPassesOverManyBlobsOfAGroup(t *testing.T) {
	f := open(t)
	f.container("box")
	err := f.store.Update(t.Context(), func(tx *state.Tx) error {
		c, err := getContainer(tx, must(f.account("first")), "box")
		if err != nil {
			return err
		}
		for i := range 3 * maxSkip {
			if err := tx.Put(blobBucket, c.ID+"/g/"+guid(i), &blob{}); err != nil {
				return err
			}
		}
		return tx.Put(blobBucket, c.ID+"/h", &blob{})
	})
	if err != nil {
		t.Fatal(err)
	}
	if a := f.get("/box?restype=container&comp=list&delimiter=/").want(t, "200"); strings.Count(a.body, "<Name>") != 2 {
		t.Errorf("%s", a.body)
	}
}

func TestLeasesKeepOthersOut(t *testing.T) {
	f := open(t)
	f.container("box")
	f.put("/box/l", "1").want(t, "201")
	lease := func(action, want string, headers ...string) answer {
		t.Helper()
		return f.do("PUT", "/box/l?comp=lease", "", append(headers, bearer(owner), "x-ms-lease-action: "+action)...).want(t, want)
	}
	const one, two = "aaaaaaaa-0000-4000-8000-000000000001", "aaaaaaaa-0000-4000-8000-000000000002"
	lease("renew", "409 LeaseIdMismatchWithLeaseOperation", "x-ms-lease-id: "+one)
	lease("break", "409 LeaseNotPresentWithLeaseOperation")
	lease("acquire", "400 InvalidHeaderValue", "x-ms-lease-duration: 14")
	lease("acquire", "400 InvalidHeaderValue", "x-ms-lease-duration: 20", "x-ms-proposed-lease-id: x\"y")
	lease("steal", "400 InvalidHeaderValue")
	if a := lease("acquire", "201", "x-ms-lease-duration: 15", "x-ms-proposed-lease-id: "+strings.ToUpper(one)); a.Header.Get("x-ms-lease-id") != one {
		t.Errorf("lease %s", a.Header.Get("x-ms-lease-id"))
	}
	lease("acquire", "409 LeaseAlreadyPresent", "x-ms-lease-duration: 15")
	f.put("/box/l", "2").want(t, "412 LeaseIdMissing")
	f.put("/box/l", "2", "x-ms-lease-id: "+two).want(t, "412 LeaseIdMismatchWithBlobOperation")
	f.do("DELETE", "/box/l", "", bearer(owner)).want(t, "412 LeaseIdMissing")
	f.do("PUT", "/box/l?comp=metadata", "", bearer(owner)).want(t, "412 LeaseIdMissing")
	f.get("/box/l").want(t, "200")
	f.get("/box/l", "x-ms-lease-id: "+two).want(t, "412 LeaseIdMismatchWithBlobOperation")
	f.put("/box/l", "2", "x-ms-lease-id: "+one).want(t, "201")
	f.clock.add(10 * time.Second)
	lease("renew", "200", "x-ms-lease-id: "+one)
	f.clock.add(14 * time.Second)
	f.put("/box/l", "3").want(t, "412 LeaseIdMissing")
	lease("change", "200", "x-ms-lease-id: "+one, "x-ms-proposed-lease-id: "+two)
	if a := lease("break", "202", "x-ms-lease-break-period: 60"); a.Header.Get("x-ms-lease-time") != "1" {
		t.Errorf("it breaks in %s", a.Header.Get("x-ms-lease-time"))
	}
	lease("renew", "409 LeaseIsBrokenAndCannotBeRenewed", "x-ms-lease-id: "+two)
	f.put("/box/l", "3").want(t, "412 LeaseIdMissing")
	f.clock.add(time.Second)
	f.put("/box/l", "3", "x-ms-lease-id: "+two).want(t, "412 LeaseLost")
	f.put("/box/l", "3").want(t, "201")
	lease("acquire", "201", "x-ms-lease-duration: -1", "x-ms-proposed-lease-id: "+one)
	f.clock.add(1000 * time.Hour)
	if a := f.get("/box/l").want(t, "200"); a.Header.Get("x-ms-lease-state") != "leased" || a.Header.Get("x-ms-lease-duration") != "infinite" {
		t.Errorf("%v", a.Header)
	}
	lease("release", "409 LeaseIdMismatchWithLeaseOperation", "x-ms-lease-id: "+two)
	lease("release", "200", "x-ms-lease-id: "+one)
	f.do("DELETE", "/box/l", "", bearer(owner)).want(t, "202")
}

func TestDigestsAreCompared(t *testing.T) {
	f := open(t)
	f.container("box")
	crc := make([]byte, 8)
	binary.LittleEndian.PutUint64(crc, crc64.Checksum([]byte("text"), crcTable))
	sum := md5.Sum([]byte("other"))
	f.put("/box/d", "text", "x-ms-content-crc64: "+base64.StdEncoding.EncodeToString(crc)).want(t, "201")
	f.put("/box/d", "TEXT", "x-ms-content-crc64: "+base64.StdEncoding.EncodeToString(crc)).want(t, "400 Crc64Mismatch")
	f.put("/box/d", "text", "Content-MD5: "+base64.StdEncoding.EncodeToString(sum[:])).want(t, "400 Md5Mismatch")
	f.put("/box/d", "text", "Content-MD5: AAAA").want(t, "400 InvalidMd5")
	f.do("PUT", "/box/d?comp=block&blockid=AAAA", "text", bearer(owner), "Content-MD5: "+base64.StdEncoding.EncodeToString(sum[:])).want(t, "400 Md5Mismatch")
	if a := f.get("/box/d").want(t, "200"); a.body != "text" || f.files() != 1 {
		t.Errorf("%q, %d files", a.body, f.files())
	}
}

func TestCopiesAreWhole(t *testing.T) {
	f := open(t)
	f.container("box")
	f.container("other")
	f.put("/box/s", "source", "Content-Type: a/b", "x-ms-meta-k: v").want(t, "201")
	from := "x-ms-copy-source: https://first." + blobHost + "/box/s"
	if a := f.do("PUT", "/other/t", "", bearer(owner), from).want(t, "202"); a.Header.Get("x-ms-copy-status") != "success" {
		t.Errorf("%v", a.Header)
	}
	f.do("DELETE", "/box/s", "", bearer(owner)).want(t, "202")
	if a := f.get("/other/t").want(t, "200"); a.body != "source" || a.Header.Get("Content-Type") != "a/b" || a.Header.Get("x-ms-meta-k") != "v" {
		t.Errorf("%q, %v", a.body, a.Header)
	}
	for _, bad := range []string{"https://first." + blobHost + "/box/s", "https://second." + blobHost + "/box/s", "https://169.254.169.254/first/box/s", "https://first." + blobHost + "/box/s?snapshot=1",
		"https://first." + blobHost + "/box", "https://evil.test/box/s"} {
		if a := f.do("PUT", "/other/u", "", bearer(owner), "x-ms-copy-source: "+bad); a.StatusCode != 404 && a.StatusCode != 400 {
			t.Errorf("%s: %d", bad, a.StatusCode)
		}
	}
	f.do("PUT", "/other/u", "", bearer(owner), "x-ms-copy-source: http://first."+blobHost+"/box/s").want(t, "400 InvalidHeaderValue")
	if f.files() != 1 {
		t.Errorf("%d files", f.files())
	}
}

func TestAReaderKeepsWhatItReads(t *testing.T) {
	f := open(t)
	f.container("box")
	f.put("/box/k", "former").want(t, "201")
	q := &request{plane: f.BlobHandler().(*plane), account: must(f.account("first")), container: "box", blob: "k", w: discard{make(http.Header)}}
	q.r = must(http.NewRequestWithContext(t.Context(), "GET", "/", nil))
	v, err := f.look(q, func(b *blob) (int64, int64, error) { return 0, b.Size, nil })
	if err != nil {
		t.Fatal(err)
	}
	f.put("/box/k", "latter").want(t, "201")
	f.do("DELETE", "/box/k", "", bearer(owner)).want(t, "202")
	if text, err := f.read(t.Context(), v, 6); err != nil || string(text) != "former" {
		t.Errorf("read %q, %v", text, err)
	}
	if f.files() != 1 {
		t.Errorf("%d files while it is read", f.files())
	}
	if v.release(); f.files() != 0 {
		t.Errorf("%d files after it was read", f.files())
	}
}

func TestManyWritersAndReadersAtOnce(t *testing.T) {
	f := open(t)
	f.container("box")
	body := func(n int) string { return strings.Repeat(string(rune('a'+n)), 100_000) }
	f.put("/box/k", body(0)).want(t, "201")
	var wg sync.WaitGroup
	for n := range 4 {
		wg.Go(func() {
			for range 5 {
				f.put("/box/k", body(n)).want(t, "201")
				got := f.get("/box/k").want(t, "200").body
				if len(got) != 100_000 || strings.Count(got, got[:1]) != 100_000 {
					t.Errorf("a mixed body of %d bytes", len(got))
				}
			}
		})
	}
	wg.Wait()
	if f.files() != 1 {
		t.Errorf("%d files are left", f.files())
	}
}

func TestWhatACrashLeavesIsRemoved(t *testing.T) {
	f := open(t)
	f.container("box")
	f.put("/box/k", "kept").want(t, "201")
	f.do("PUT", "/box/new?comp=block&blockid=AAAA", "staged", bearer(owner)).want(t, "201")
	folders := must(filepath.Glob(filepath.Join(f.dir, "blobs", "*")))
	orphan := filepath.Join(folders[0], newID())
	lost := filepath.Join(f.dir, "blobs", newID())
	foreign := filepath.Join(f.dir, "blobs", "lost+found")
	for _, dir := range []string{lost, foreign} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{orphan, filepath.Join(lost, newID())} {
		if err := os.WriteFile(name, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f.start()
	if f.files() != 2 {
		t.Errorf("%d files after the start, want the blob's and the block's", f.files())
	}
	if _, err := os.Stat(foreign); err != nil {
		t.Errorf("what is not ours: %v", err)
	}
	f.clock.add(blockLifetime + time.Hour)
	f.start()
	if a := f.get("/box/k").want(t, "200"); a.body != "kept" || f.files() != 1 {
		t.Errorf("%q, %d files when the block is old", a.body, f.files())
	}
}

func TestAFailedUploadLeavesNothing(t *testing.T) {
	f := open(t)
	f.container("box")
	r := must(http.NewRequestWithContext(t.Context(), "PUT", "https://first."+blobHost+"/box/k", io.MultiReader(strings.NewReader("short"), failing{})))
	r.ContentLength = 1000
	r.Header.Set("Authorization", strings.TrimPrefix(bearer(owner), "Authorization: "))
	r.Header.Set("x-ms-blob-type", "BlockBlob")
	c := client(f.blobs)
	defer c.CloseIdleConnections()
	if resp, err := c.Do(r); err == nil {
		resp.Body.Close()
		t.Errorf("it was answered with %d", resp.StatusCode)
	}
	f.blobs.Close() // waits for the handler
	f.start()
	f.get("/box/k").want(t, "404 BlobNotFound")
	if f.files() != 0 {
		t.Errorf("%d files are left", f.files())
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestABlobWhoseFileIsGoneIsNotAnsweredShort(t *testing.T) {
	f := open(t)
	f.container("box")
	f.put("/box/k", string(bytes.Repeat([]byte("x"), 1000))).want(t, "201")
	for _, name := range must(filepath.Glob(filepath.Join(f.dir, "blobs", "*", "*"))) {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	c := client(f.blobs)
	defer c.CloseIdleConnections()
	r := must(http.NewRequestWithContext(t.Context(), "GET", "https://first."+blobHost+"/box/k", nil))
	r.Header.Set("Authorization", strings.TrimPrefix(bearer(owner), "Authorization: "))
	resp, err := c.Do(r)
	if err == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	if err == nil {
		t.Error("an answer without its bytes looks whole")
	}
}
