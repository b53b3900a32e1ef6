package http1

import (
	"bytes"
	"strconv"
	"time"

	"github.com/causeway-gateway/causeway"
)

// A Response is a parsed answer head. Its slices are spans of Head. The zero value is ready; a Response may be
// parsed into again and again.
type Response struct {
	Status int // 100 to 599
	Minor  int // of HTTP/1.Minor: 0 or 1
	Reason []byte

	// Fields are all field lines in their order, those that will be dropped included.
	Fields []Field

	// ContentLength is what the answer declares, -1 if it declares nothing. An answer to HEAD and a 304 declare
	// the length of a body that does not come.
	ContentLength int64
	// BodyBytes is the length of the body that follows: 0 for none, -1 if it is chunked or ends with the connection.
	BodyBytes int64
	Chunked   bool
	NoBody    bool // by its status or the request's method no body can follow
	Close     bool // the connection ends with this answer

	// KeepAliveTimeout is how long the server promised to keep the idle connection; 0 if it did not say.
	KeepAliveTimeout time.Duration

	// Upgrade is what a 101 switches to, nil for every other status.
	Upgrade []byte

	// Head is what was parsed, status line and empty line included.
	Head []byte

	framing framing
}

// Parse reads a complete answer head: all bytes up to and including the empty line. The method is that of the
// request it answers. 1xx heads are parsed like others, and the caller reads on after them. Every error is a
// *causeway.Refusal with CodeConnectorBadAnswer, and the connection must be closed after it.
func (r *Response) Parse(head, requestMethod []byte, lim Limits) error {
	if refusal := r.parse(head, requestMethod, lim.forResponse()); refusal != nil {
		refusal.Code = causeway.CodeConnectorBadAnswer
		return refusal
	}
	return nil
}

// Get returns the value of the first field of that name, nil without one.
func (r *Response) Get(name string) []byte { return get(r.Fields, name) }

// Informational reports whether another head follows this one: a 1xx other than 101.
func (r *Response) Informational() bool { return r.Status < 200 && r.Status != 101 }

func (r *Response) parse(head, method []byte, lim Limits) *causeway.Refusal {
	fr := &r.framing
	fields, named := r.Fields[:0], fr.named[:0]
	*r = Response{}
	r.Head, r.Fields, r.ContentLength, fr.named = head, fields, -1, named
	if len(head) > lim.MaxHeadBytes {
		return bad("answer head of %d bytes", len(head))
	}
	line, rest, refusal := cutLine(head)
	if refusal != nil {
		return refusal
	}
	if refusal = r.parseStatusLine(line); refusal != nil {
		return refusal
	}
	if r.Fields, refusal = parseFields(rest, r.Fields, lim.MaxFields, fr); refusal != nil {
		return refusal
	}
	return r.settle(method)
}

func (r *Response) parseStatusLine(line []byte) *causeway.Refusal {
	const prefix = "HTTP/1.x 200"
	if len(line) < len(prefix) || string(line[:7]) != "HTTP/1." || line[7] != '0' && line[7] != '1' || line[8] != ' ' ||
		!all(line[9:12], isDigit) || line[9] < '1' || line[9] > '5' {
		return bad("status line %.64q", line)
	}
	r.Minor = int(line[7] - '0')
	r.Status = int(line[9]-'0')*100 + int(line[10]-'0')*10 + int(line[11]-'0')
	// The space before an absent reason is required, and many servers forget it.
	if reason := line[len(prefix):]; len(reason) > 0 {
		if reason[0] != ' ' || !all(reason, isValue) {
			return bad("status line %.64q", line)
		}
		r.Reason = reason[1:]
	}
	return nil
}

func (r *Response) settle(method []byte) *causeway.Refusal {
	fr := &r.framing
	length, given, chunked, refusal := fr.body(r.Minor)
	if refusal != nil {
		return refusal
	}
	if given {
		r.ContentLength = length
	}
	bodiless := r.Status < 200 || r.Status == 204
	if bodiless && (chunked || length != 0) {
		return bad("a %d with a body", r.Status)
	}
	r.Close = fr.close || r.Minor == 0 && !fr.persist
	switch r.NoBody = bodiless || r.Status == 304 || string(method) == "HEAD"; {
	case r.NoBody:
	case chunked:
		r.BodyBytes, r.Chunked = -1, true
	case given:
		r.BodyBytes = length
	default:
		r.BodyBytes, r.Close = -1, true
	}
	if r.Status == 101 {
		if !fr.upgrading || fr.upgrades != 1 || len(fr.upgrade) == 0 || r.Minor == 0 {
			return bad("a 101 that does not say what it switches to")
		}
		r.Upgrade = fr.upgrade
	}
	r.KeepAliveTimeout = keepAliveTimeout(fr.keepAlive)
	return nil
}

// keepAliveTimeout reads "timeout=5, max=100".
func keepAliveTimeout(value []byte) time.Duration {
	for list, more := value, len(value) > 0; more; {
		var element []byte
		element, list, more = cutList(list)
		name, seconds, ok := bytes.Cut(element, []byte{'='})
		if !ok || !EqualFold(trim(name), "timeout") {
			continue
		}
		if n, err := strconv.ParseUint(string(trim(seconds)), 10, 16); err == nil {
			return time.Duration(n) * time.Second
		}
	}
	return 0
}
