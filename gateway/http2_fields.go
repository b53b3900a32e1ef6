package gateway

import (
	"net/http"
	"net/textproto"
	"slices"

	"github.com/causeway-gateway/causeway/internal/http1"
)

// http2Fields turns the spans of an answer's head into the map that net/http wants. All text of a head becomes one
// string and all lists of the map lie in one array, which is used again: two strings and a list for each field, as
// with Header.Add, were a third of what an HTTP/2 request allocated.
type http2Fields struct {
	text  []byte
	ends  []int // in text, of name and value in turn
	lists []string
}

// put makes fields of h those of r that travel outward.
func (f *http2Fields) put(h http.Header, r *http1.Response) {
	f.text, f.ends, f.lists = f.text[:0], f.ends[:0], f.lists[:0]
	for i := range r.Fields {
		if field := &r.Fields[i]; r.Outward(field) {
			f.add(field.Name)
			f.add(field.Value)
		}
	}
	text, at := string(f.text), 0
	f.lists = slices.Grow(f.lists, len(f.ends)/2+http2OwnFields)
	for i := 0; i < len(f.ends); i += 2 {
		name, value := text[at:f.ends[i]], text[f.ends[i]:f.ends[i+1]]
		at = f.ends[i+1]
		if name = textproto.CanonicalMIMEHeaderKey(name); h[name] != nil {
			h[name] = append(h[name], value)
			continue
		}
		f.set(h, name, value)
	}
}

// http2OwnFields is how many fields the gateway adds to an answer.
const http2OwnFields = 3

func (f *http2Fields) add(span []byte) {
	f.text = append(f.text, span...)
	f.ends = append(f.ends, len(f.text))
}

// set is h.Set for a name in its canonical form.
func (f *http2Fields) set(h http.Header, name, value string) {
	f.lists = append(f.lists, value)
	n := len(f.lists)
	h[name] = f.lists[n-1 : n : n]
}

// release takes the lists back. h must not be read any more.
func (f *http2Fields) release(h http.Header) {
	clear(h)
	clear(f.lists)
}
