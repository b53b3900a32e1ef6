package storage

import (
	"net/http"
	"strings"
	"time"

	"github.com/causeway-gateway/causeway/fabric/azure"
)

// conditions are what must hold for a request to be carried out.
type conditions struct {
	match, noneMatch     string    // a list of ETags, or "*"; "" for none
	modified, unmodified time.Time // since when; zero for none
	lease                string
}

var errCondition = refuse(http.StatusPreconditionFailed, "ConditionNotMet", "The condition specified using HTTP conditional header(s) is not met.")

func readConditions(h http.Header) (conditions, error) {
	c := conditions{match: h.Get("If-Match"), noneMatch: h.Get("If-None-Match"), lease: strings.ToLower(h.Get("x-ms-lease-id"))}
	var err error
	if c.modified, err = readTime(h, "If-Modified-Since"); err != nil {
		return c, err
	}
	if c.unmodified, err = readTime(h, "If-Unmodified-Since"); err != nil {
		return c, err
	}
	if c.lease != "" && !azure.IsGUID(c.lease) {
		return c, errHeader("x-ms-lease-id")
	}
	for _, name := range []string{"x-ms-if-tags", "x-ms-source-if-tags"} {
		if h.Get(name) != "" {
			return c, errUnsupported(name)
		}
	}
	return c, nil
}

// errUnsupported refuses a header that asks for what is not here, rather than to ignore it.
func errUnsupported(name string) error {
	return refuse(http.StatusBadRequest, "UnsupportedHeader", "One of the HTTP headers specified in the request is not supported: "+name+".")
}

func readTime(h http.Header, name string) (time.Time, error) {
	v := h.Get(name)
	if v == "" {
		return time.Time{}, nil
	}
	t, err := http.ParseTime(v)
	if err != nil {
		return t, errHeader(name)
	}
	return t, nil
}

// lists reports whether an ETag is in a list of them, with or without quotes.
func lists(list, etag string) bool {
	for one := range strings.SplitSeq(list, ",") {
		if one = strings.Trim(strings.TrimSpace(one), `"`); one == "*" || one == etag {
			return true
		}
	}
	return false
}

// holds checks the conditions against what is there: the answer to what does not match is notMatch, and to what has not
// changed unchanged.
func (c conditions) holds(etag string, modified time.Time, unchanged error) error {
	modified = modified.Truncate(time.Second) // headers know no more
	switch {
	case c.match != "" && !lists(c.match, etag), !c.unmodified.IsZero() && modified.After(c.unmodified):
		return errCondition
	case c.noneMatch != "" && lists(c.noneMatch, etag), !c.modified.IsZero() && !modified.After(c.modified):
		return unchanged
	}
	return nil
}

// read checks a request that changes nothing.
func (c conditions) read(etag string, modified time.Time) error {
	return c.holds(etag, modified, refuse(http.StatusNotModified, "ConditionNotMet", errCondition.Message))
}

// write checks a request that changes what is there.
func (c conditions) write(etag string, modified time.Time) error {
	return c.holds(etag, modified, errCondition)
}

// replace checks a request that makes something, or puts it in place of what is there.
func (c conditions) replace(old *blob) error {
	switch {
	case old == nil && c.match != "":
		return errCondition
	case old == nil:
		return nil
	case strings.TrimSpace(c.noneMatch) == "*":
		return refuse(http.StatusConflict, "BlobAlreadyExists", "The specified blob already exists.")
	}
	return c.write(old.etag(), old.Modified)
}
