package storage

import (
	"encoding/base64"
	"errors"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/causeway-gateway/causeway/fabric/state"
)

// blob is a block blob that was committed.
type blob struct {
	Created  time.Time         `json:"created"`
	Modified time.Time         `json:"modified"`
	Size     int64             `json:"size"`
	Content  string            `json:"content"`         // id of the list of segments, "" for one without bytes
	IDBytes  int               `json:"idBytes"`         // how long the ids of its blocks are, 0 without blocks
	Headers  map[string]string `json:"headers"`         // Content-Type and its like, as they are answered
	MD5      []byte            `json:"md5,omitempty"`   // as the client has it, or of what was put at once
	Meta     map[string]string `json:"meta,omitempty"`  // names in lower case
	Lease    *lease            `json:"lease,omitempty"` // nil when there never was one
	Copy     *copied           `json:"copy,omitempty"`
}

// A segment is a run of a blob's bytes: a block, or all of what was put at once.
type segment struct {
	Block string `json:"block,omitempty"` // its id as base64
	File  string `json:"file"`
	Size  int64  `json:"size"`
}

func (b *blob) etag() string { return etagOf(b.Modified) }

const (
	maxBlobName     = 1024 // characters
	maxBlobSegments = 254  // between slashes
	maxMetadata     = 8 << 10
	maxHeaderBytes  = 1024 // of one that is kept
)

// checkBlobName refuses what no client means, or two clients mean differently: paths that would be other paths after
// cleaning. No name reaches the file system.
func checkBlobName(name string) error {
	if n := utf8.RuneCountInString(name); n > maxBlobName || strings.Count(name, "/") >= maxBlobSegments {
		return refuse(http.StatusBadRequest, "OutOfRangeInput", "The specified resource name length is not within the permissible limits.")
	}
	bad := !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool {
		return r < ' ' || r >= 0x7f && r < 0xa0 || r == '\\' || r == 0xfffe || r == 0xffff || r == utf8.RuneError
	})
	for part := range strings.SplitSeq(name, "/") {
		bad = bad || part == "." || part == ".."
	}
	if bad {
		return refuse(http.StatusBadRequest, "InvalidResourceName", "The specified resource name contains invalid characters.")
	}
	return nil
}

const blobActions = containerActions + "blobs/"

// What the operations on a blob need.
var (
	needRead   = need{action: blobActions + "read", data: true, kind: 'o', service: true, perms: "r", public: "blob"}
	needWrite  = need{action: blobActions + "write", data: true, kind: 'o', service: true, perms: "w"}
	needPut    = need{action: blobActions + "write", newAction: blobActions + "add/action", data: true, kind: 'o', service: true, perms: "w", newPerms: "c"}
	needDelete = need{action: blobActions + "delete", data: true, kind: 'o', service: true, perms: "d"}
)

var errNoBlob = refuse(http.StatusNotFound, "BlobNotFound", "The specified blob does not exist.")

// findBlob reads the container and the blob that a request is about; the blob is nil if there is none.
func findBlob(tx *state.Tx, q *request) (c *container, b *blob, err error) {
	if c, err = getContainer(tx, q.account, q.container); err != nil {
		return nil, nil, err
	}
	b = new(blob)
	ok, err := tx.Get(blobBucket, c.ID+"/"+q.blob, b)
	if err != nil || !ok {
		return c, nil, err
	}
	return c, b, nil
}

// mayReplace checks whether a request may put something in the place of what is there, old or nothing.
func (q *request) mayReplace(old *blob, now time.Time) error {
	if old != nil && q.mustBeNew {
		return errPermission
	}
	if err := q.conditions.replace(old); err != nil {
		return err
	}
	return checkLease(old, q.conditions.lease, now)
}

// change alters a blob that is there: its headers, metadata or lease.
func (s *Service) change(q *request, f func(b *blob, now time.Time) error) (b *blob, err error) {
	err = s.State.Update(q.r.Context(), func(tx *state.Tx) error {
		c, found, err := findBlob(tx, q)
		if err == nil && found == nil {
			err = errNoBlob
		}
		if err == nil {
			err = q.conditions.write(found.etag(), found.Modified)
		}
		if err == nil {
			err = f(found, s.Now())
		}
		if err != nil {
			return err
		}
		b = found
		return tx.Put(blobBucket, c.ID+"/"+q.blob, b)
	})
	return b, err
}

func (s *Service) setMetadata(q *request) error {
	if err := q.permit(needWrite); err != nil {
		return err
	}
	meta, err := metadataOf(q.r.Header)
	if err != nil {
		return err
	}
	return s.alter(q, func(b *blob) { b.Meta = meta })
}

func (s *Service) setProperties(q *request) error {
	if err := q.permit(needWrite); err != nil {
		return err
	}
	headers, md5, err := blobHeaders(q.r.Header, false)
	if err != nil {
		return err
	}
	return s.alter(q, func(b *blob) { b.Headers, b.MD5 = headers, md5 })
}

func (s *Service) alter(q *request, f func(*blob)) error {
	b, err := s.change(q, func(b *blob, now time.Time) error {
		if err := checkLease(b, q.conditions.lease, now); err != nil {
			return err
		}
		f(b)
		b.Modified = s.stamp()
		b.dropEndedLease(now)
		return nil
	})
	if err != nil {
		return err
	}
	q.version(b.etag(), b.Modified)
	q.w.Header().Set("x-ms-request-server-encrypted", "true")
	q.w.WriteHeader(http.StatusOK)
	return nil
}

func (s *Service) deleteBlob(q *request) error {
	if err := q.permit(needDelete); err != nil {
		return err
	}
	var gone []file
	err := s.State.Update(q.r.Context(), func(tx *state.Tx) error {
		c, b, err := findBlob(tx, q)
		if err == nil && b == nil {
			err = errNoBlob
		}
		if err == nil {
			err = orElse(q.conditions.write(b.etag(), b.Modified), checkLease(b, q.conditions.lease, s.Now()))
		}
		if err != nil {
			return err
		}
		if gone, err = forgetContent(tx, c.ID, b); err != nil {
			return err
		}
		staged, err := forgetBlocks(tx, c.ID, q.blob, nil)
		gone = append(gone, staged...)
		if err != nil {
			return err
		}
		_, err = tx.Delete(blobBucket, c.ID+"/"+q.blob)
		return err
	})
	if err != nil {
		return err
	}
	s.shelf.remove(gone...)
	q.w.Header().Set("x-ms-delete-type-permanent", "true")
	q.w.WriteHeader(http.StatusAccepted)
	return nil
}

// segments reads where a blob's bytes lie.
func segments(tx *state.Tx, container string, b *blob) (list []segment, err error) {
	if b == nil || b.Content == "" {
		return nil, nil
	}
	ok, err := tx.Get(contentBucket, container+"/"+b.Content, &list)
	if err == nil && !ok {
		err = errors.New("a blob's content is not in the index")
	}
	return list, err
}

// forgetContent removes a blob's content from the index, and returns the files that are to go after that.
func forgetContent(tx *state.Tx, container string, b *blob) (gone []file, err error) {
	list, err := segments(tx, container, b)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	for _, g := range list {
		gone = append(gone, file{container, g.File})
	}
	_, err = tx.Delete(contentBucket, container+"/"+b.Content)
	return gone, err
}

var isIdentifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// metadataOf reads the x-ms-meta- headers.
func metadataOf(h http.Header) (map[string]string, error) {
	meta := make(map[string]string)
	for name, values := range h {
		if name, ok := strings.CutPrefix(strings.ToLower(name), "x-ms-meta-"); ok {
			meta[name] = strings.Join(values, ",")
		}
	}
	return meta, checkMetadata(meta)
}

func checkMetadata(meta map[string]string) error {
	size := 0
	for name, value := range meta {
		if !isIdentifier.MatchString(name) || !isPrintable(value) {
			return refuse(http.StatusBadRequest, "InvalidMetadata", "The specified metadata is invalid. It includes characters that are not permitted.")
		}
		size += len(name) + len(value)
	}
	if size > maxMetadata {
		return refuse(http.StatusBadRequest, "MetadataTooLarge", "The size of the specified metadata exceeds the maximum size permitted.")
	}
	return nil
}

// storedHeaders are those of a blob that a client gives and gets back, by the names under which it gives them.
var storedHeaders = map[string]string{"Content-Type": "x-ms-blob-content-type", "Content-Encoding": "x-ms-blob-content-encoding", "Content-Language": "x-ms-blob-content-language",
	"Content-Disposition": "x-ms-blob-content-disposition", "Cache-Control": "x-ms-blob-cache-control"}

// blobHeaders reads them. plain says that the ordinary names count, too, where the others are missing.
func blobHeaders(h http.Header, plain bool) (headers map[string]string, md5 []byte, err error) {
	headers = make(map[string]string)
	for name, given := range storedHeaders {
		v := h.Get(given)
		if v == "" && plain && name != "Content-Disposition" {
			v = h.Get(name)
		}
		if len(v) > maxHeaderBytes || !isPrintable(v) {
			return nil, nil, errHeader(given)
		}
		if v != "" {
			headers[name] = v
		}
	}
	if headers["Content-Type"] == "" {
		headers["Content-Type"] = "application/octet-stream"
	}
	md5, err = readMD5(h, "x-ms-blob-content-md5")
	return headers, md5, err
}

func readMD5(h http.Header, name string) ([]byte, error) {
	v := h.Get(name)
	if v == "" {
		return nil, nil
	}
	sum, err := base64.StdEncoding.DecodeString(v)
	if err != nil || len(sum) != 16 {
		return nil, refuse(http.StatusBadRequest, "InvalidMd5", "The MD5 value specified in the request is invalid. MD5 value must be 128 bits and base64-encoded.")
	}
	return sum, nil
}

// describe sets the headers that tell about a blob.
func (q *request) describe(b *blob) {
	h := q.w.Header()
	q.version(b.etag(), b.Modified)
	for name, v := range b.Headers {
		h.Set(name, v)
	}
	if q.proof.sas != nil {
		for name, v := range q.proof.sas.overrides {
			h.Set(name, v)
		}
	}
	for name, v := range b.Meta {
		h.Set("x-ms-meta-"+name, v)
	}
	h.Set("x-ms-blob-type", "BlockBlob")
	h.Set("x-ms-creation-time", b.Created.UTC().Format(http.TimeFormat))
	h.Set("x-ms-server-encrypted", "true")
	h.Set("x-ms-access-tier", "Hot")
	h.Set("x-ms-access-tier-inferred", "true")
	h.Set("Accept-Ranges", "bytes")
	state := b.Lease.state(q.plane.Now())
	h.Set("x-ms-lease-state", state)
	h.Set("x-ms-lease-status", leaseStatus(state))
	if state == leased {
		h.Set("x-ms-lease-duration", b.Lease.kind())
	}
	if b.Copy != nil {
		h.Set("x-ms-copy-id", b.Copy.ID)
		h.Set("x-ms-copy-source", b.Copy.Source)
		h.Set("x-ms-copy-status", "success")
		h.Set("x-ms-copy-completion-time", b.Copy.Completed.UTC().Format(http.TimeFormat))
		h.Set("x-ms-copy-progress", strconv.FormatInt(b.Size, 10)+"/"+strconv.FormatInt(b.Size, 10))
	}
}
