package storage

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/causeway-gateway/causeway/fabric/access"
	"github.com/causeway-gateway/causeway/fabric/state"
)

// numbered is a blob's content that tells whether it is whole.
func numbered(n int) []byte { return bytes.Repeat([]byte(fmt.Sprintf("%09d\n", n)), 1+n%5000) }

// call carries a request out within this process.
func call(h http.Handler, method, url string, body []byte, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, url, bytes.NewReader(body))
	r.TLS = &tls.ConnectionState{Version: tls.VersionTLS13}
	for _, line := range append(headers, bearer(owner)) {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// TestWriterToBeKilled is the process that TestNothingAcknowledgedIsLost kills. It writes until then, and says what was
// acknowledged.
func TestWriterToBeKilled(t *testing.T) {
	if flag.NArg() != 2 {
		t.Skip("it is started by another test")
	}
	f := &fixture{t: t, dir: flag.Arg(0), clock: &clock{t: time.Now()}}
	f.store = must(state.Open(t.Context(), f.dir))
	f.access = must(access.Open(t.Context(), f.store, f.clock.now))
	f.start()
	blobs, tables := f.BlobHandler(), f.TableHandler()
	id := "AAAA"
	for n := must(strconv.Atoi(flag.Arg(1))); ; n++ {
		name := fmt.Sprintf("https://first.%s/box/%d", blobHost, n%7)
		w := &httptest.ResponseRecorder{}
		switch n % 3 {
		case 0:
			call(blobs, "PUT", name+"?comp=block&blockid="+id, numbered(n))
			w = call(blobs, "PUT", name+"?comp=blocklist", []byte("<BlockList><Latest>"+id+"</Latest></BlockList>"))
		case 1:
			w = call(blobs, "PUT", name, numbered(n), "x-ms-blob-type: BlockBlob")
		case 2:
			w = call(tables, "PUT", fmt.Sprintf("https://first.%s/Tab(PartitionKey='p',RowKey='%d')", tableHost, n%7), []byte(fmt.Sprintf(`{"n":%d}`, n)))
		}
		if w.Code == http.StatusCreated || w.Code == http.StatusNoContent {
			fmt.Println("acknowledged", n)
		} else {
			fmt.Println("refused", n, w.Code, w.Body)
		}
	}
}

// TestNothingAcknowledgedIsLost kills a writer at moments nobody chooses, and opens what it leaves.
func TestNothingAcknowledgedIsLost(t *testing.T) {
	f := openTables(t, "Tab")
	f.container("box")
	f.blobs.Close()
	if err := f.store.Close(); err != nil {
		t.Fatal(err)
	}
	acknowledged := map[string]int{} // by what was written: the last one
	last := 1
	for round := range 4 {
		last = killWriter(t, f.dir, last+1, 1+rand.IntN(40), acknowledged)
		f.store = must(state.Open(t.Context(), f.dir))
		f.start()
		checkAcknowledged(t, f, acknowledged, last)
		f.blobs.Close()
		if err := f.store.Close(); err != nil {
			t.Fatal(err)
		}
		t.Logf("round %d: %d acknowledged at most", round, last)
	}
}

// place is what the writer's n-th write writes.
func place(n int) string {
	if n%3 == 2 {
		return fmt.Sprint("row ", n%7)
	}
	return fmt.Sprint("blob ", n%7)
}

// killWriter lets a writer begin with a number, kills it after some acknowledgements, and returns the last one.
func killWriter(t *testing.T, dir string, first, after int, acknowledged map[string]int) (last int) {
	c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestWriterToBeKilled$", "--", dir, fmt.Sprint(first))
	out := must(c.StdoutPipe())
	c.Stderr = os.Stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	last = first
	lines := bufio.NewScanner(out)
	for seen := 0; lines.Scan(); {
		n, ok := strings.CutPrefix(lines.Text(), "acknowledged ")
		if !ok {
			t.Errorf("the writer says %s", lines.Text())
			break
		}
		last = must(strconv.Atoi(n))
		acknowledged[place(last)] = last
		if seen++; seen == after {
			_ = c.Process.Kill()
		}
	}
	_ = c.Process.Kill()
	_, _ = io.Copy(io.Discard, out)
	if err := c.Wait(); err == nil {
		t.Error("the writer ended by itself")
	}
	return last
}

// checkAcknowledged finds what was acknowledged, or what came right after it, and nothing half-made.
func checkAcknowledged(t *testing.T, f tables, acknowledged map[string]int, last int) {
	t.Helper()
	blobs, rows := f.BlobHandler(), f.TableHandler()
	whole := 0
	for at, n := range acknowledged {
		kind, name, _ := strings.Cut(at, " ")
		got := 0
		if kind == "row" {
			w := call(rows, "GET", fmt.Sprintf("https://first.%s/Tab(PartitionKey='p',RowKey='%s')?$select=n", tableHost, name), nil, "Accept: application/json;odata=nometadata")
			_, _ = fmt.Sscanf(w.Body.String(), `{"n":%d}`, &got)
		} else {
			w := call(blobs, "GET", fmt.Sprintf("https://first.%s/box/%s", blobHost, name), nil)
			_, _ = fmt.Sscanf(w.Body.String(), "%d", &got)
			if !bytes.Equal(w.Body.Bytes(), numbered(got)) {
				t.Errorf("%s holds %d bytes of %d", at, w.Body.Len(), got)
			}
			whole++
		}
		if got != n && got <= last {
			t.Errorf("%s is %d, and %d was acknowledged", at, got, n)
		}
	}
	if n := f.files(); n < whole || n > whole+2 { // one may have been written, and one staged, and not acknowledged
		t.Errorf("%d files for %d blobs", n, whole)
	}
}
