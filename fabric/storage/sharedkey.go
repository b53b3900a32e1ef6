package storage

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxSkew is how far a signed date may be from ours. It bounds for how long a request that was overheard can be sent again.
const maxSkew = 15 * time.Minute

// checkSharedKey verifies "account:signature" of one of the two schemes with both of the account's keys.
func (q *request) checkSharedKey(scheme, value string) error {
	name, sent, ok := strings.Cut(value, ":")
	signature, err := base64.StdEncoding.DecodeString(sent)
	if !ok || err != nil || name != q.account.Name {
		return errAuthentication
	}
	good := false
	for _, byOrder := range []func(a, b string) int{compareWords, cmp.Compare[string]} {
		text := []byte(q.textToSign(scheme, byOrder))
		for _, key := range q.account.keys {
			good = matchesMAC(key, text, signature) || good
		}
	}
	switch {
	case !good:
		return errAuthentication
	case !q.account.AllowSharedKeyAccess:
		return errNoKeys
	}
	return q.checkDate()
}

func mac(key, text []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(text)
	return h.Sum(nil)
}

func matchesMAC(key, text, signature []byte) bool { return hmac.Equal(mac(key, text), signature) }

// checkDate runs after the signature was found good: the date is part of it.
func (q *request) checkDate() error {
	at, err := http.ParseTime(cmp.Or(q.r.Header.Get("x-ms-date"), q.r.Header.Get("Date")))
	if err != nil {
		return refuse(http.StatusForbidden, "AuthenticationFailed", "The date header in the request is missing or incorrect.")
	}
	if skew := q.plane.Now().Sub(at); skew > maxSkew || skew < -maxSkew {
		return refuse(http.StatusForbidden, "AuthenticationFailed", "Request date header too old or too far in the future.")
	}
	return nil
}

// textToSign is what a request's signature is made of: for blobs and for tables, and for each of the schemes, another.
// https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key
func (q *request) textToSign(scheme string, order func(a, b string) int) string {
	h, lite := q.r.Header, scheme == "SharedKeyLite"
	date := cmp.Or(h.Get("x-ms-date"), h.Get("Date"))
	switch {
	case q.plane.kind == 't' && lite:
		return date + "\n" + q.signedResource(true)
	case q.plane.kind == 't':
		return lines(q.r.Method, h.Get("Content-MD5"), h.Get("Content-Type"), date, q.signedResource(true))
	}
	if h.Get("x-ms-date") != "" { // it is among the other headers
		date = ""
	}
	if lite {
		return lines(q.r.Method, h.Get("Content-MD5"), h.Get("Content-Type"), date, signedHeaders(h, order)+q.signedResource(true))
	}
	return lines(q.r.Method, h.Get("Content-Encoding"), h.Get("Content-Language"), signedLength(q.r), h.Get("Content-MD5"), h.Get("Content-Type"), date,
		h.Get("If-Modified-Since"), h.Get("If-Match"), h.Get("If-None-Match"), h.Get("If-Unmodified-Since"), h.Get("Range"),
		signedHeaders(h, order)+q.signedResource(false))
}

func lines(parts ...string) string { return strings.Join(parts, "\n") }

func signedLength(r *http.Request) string {
	if r.ContentLength <= 0 {
		return ""
	}
	return strconv.FormatInt(r.ContentLength, 10)
}

// signedHeaders lists the x-ms- headers, each with its line's end.
func signedHeaders(h http.Header, order func(a, b string) int) string {
	var names []string
	for name := range h {
		if name = strings.ToLower(name); strings.HasPrefix(name, "x-ms-") {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, order)
	var b strings.Builder
	for _, name := range names {
		b.WriteString(name + ":" + strings.Join(h.Values(name), ",") + "\n")
	}
	return b.String()
}

// compareWords orders names as Azure's servers do, and its SDKs with them: hyphens count last.
func compareWords(a, b string) int {
	if c := cmp.Compare(strings.ReplaceAll(a, "-", ""), strings.ReplaceAll(b, "-", "")); c != 0 {
		return c
	}
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] { // one of them is a hyphen
			if a[i] == '-' {
				return 1
			}
			return -1
		}
	}
	return cmp.Compare(len(a), len(b))
}

// signedResource names account and path, as the path was sent; with the whole query, or brief with comp alone.
func (q *request) signedResource(brief bool) string {
	text := "/" + q.account.Name + cmp.Or(q.r.URL.EscapedPath(), "/")
	if brief {
		if comp, ok := q.query["comp"]; ok {
			text += "?comp=" + comp
		}
		return text
	}
	values, _ := url.ParseQuery(q.r.URL.RawQuery) // it was read before
	var parameters []string
	for name, v := range values {
		slices.Sort(v)
		parameters = append(parameters, "\n"+strings.ToLower(name)+":"+strings.Join(v, ","))
	}
	slices.Sort(parameters)
	return text + strings.Join(parameters, "")
}
