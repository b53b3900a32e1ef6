package storage

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"encoding/binary"
	"encoding/xml"
	"errors"
	"hash"
	"hash/crc64"
	"io"
	"net/http"
	"os"
	"time"
)

const (
	maxSmallBody = 64 << 10
	// patience is how long a client may take for the next piece of a body. The length of bodies says nothing of how long
	// they may take as a whole.
	patience   = time.Minute
	pieceBytes = 1 << 20 // of an answer, within patience
	copyBytes  = 64 << 10
)

// patientBody reads a request's body, each piece of it within patience.
type patientBody struct {
	body    io.Reader
	control *http.ResponseController
}

func (b patientBody) Read(p []byte) (int, error) {
	_ = b.control.SetReadDeadline(time.Now().Add(patience)) // what cannot have deadlines is a test
	n, err := b.body.Read(p)
	if err != nil { // the server waits for the client to hang up meanwhile, and must not take a deadline for that
		_ = b.control.SetReadDeadline(time.Time{})
	}
	return n, err
}

func (q *request) body(most int64) io.Reader {
	return patientBody{http.MaxBytesReader(q.w, q.r.Body, most), http.NewResponseController(q.w)}
}

var (
	errTooLarge   = refuse(http.StatusRequestEntityTooLarge, "RequestBodyTooLarge", "The request body is too large and exceeds the maximum permissible limit.")
	errIncomplete = refuse(http.StatusBadRequest, "InvalidInput", "One of the request inputs is not valid: the body could not be read to its end.")
)

// readBody reads a small body as a whole.
func (q *request) readBody(most int64) ([]byte, error) {
	if q.r.ContentLength > most {
		return nil, errTooLarge
	}
	text, err := io.ReadAll(q.body(most))
	if err != nil {
		return nil, bodyError(err)
	}
	q.account.usage.ingress.Add(int64(len(text)))
	if sum, err := readMD5(q.r.Header, "Content-MD5"); err != nil || sum != nil && md5.Sum(text) != [16]byte(sum) {
		return nil, orElse(err, errMD5)
	}
	return text, nil
}

func bodyError(err error) error {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return errTooLarge
	}
	return errIncomplete
}

// readXML reads a small document. Go's parser knows no entities but the five, so none can grow.
func (q *request) readXML(into any, most int64) error {
	text, err := q.readBody(most)
	if err != nil {
		return err
	}
	if err := xml.Unmarshal(bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")), into); err != nil {
		return refuse(http.StatusBadRequest, "InvalidXmlDocument", "XML specified is not syntactically valid.")
	}
	return nil
}

func (q *request) writeXML(v any) error {
	text, err := xml.Marshal(v)
	if err != nil {
		return err
	}
	text = append([]byte(xml.Header), text...)
	q.account.usage.egress.Add(int64(len(text)))
	writeBody(q.w, q.r, http.StatusOK, "application/xml", text, "")
	return nil
}

var (
	errMD5 = refuse(http.StatusBadRequest, "Md5Mismatch", "The MD5 value specified in the request did not match with the MD5 value calculated by the server.")
	errCRC = refuse(http.StatusBadRequest, "Crc64Mismatch", "The CRC64 value specified in the request did not match with the CRC64 value calculated by the server.")
	// The polynomial of Azure Storage, its bits reversed.
	crcTable = crc64.MakeTable(0x9A6C9329AC4BC9B5)
)

// digests are what a client says that a body has.
type digests struct {
	md5, crc []byte // nil for what it does not say
	sum      hash.Hash
	check    hash.Hash64
}

func readDigests(h http.Header) (d digests, err error) {
	if d.md5, err = readMD5(h, "Content-MD5"); err != nil {
		return d, err
	}
	d.sum = md5.New()
	if v := h.Get("x-ms-content-crc64"); v != "" {
		if d.crc, err = base64.StdEncoding.DecodeString(v); err != nil || len(d.crc) != 8 {
			return d, errHeader("x-ms-content-crc64")
		}
		d.check = crc64.New(crcTable)
	}
	for _, name := range []string{"x-ms-structured-body", "x-ms-encryption-key", "x-ms-encryption-scope"} {
		if h.Get(name) != "" {
			return d, errUnsupported(name)
		}
	}
	return d, nil
}

func (d *digests) Write(p []byte) (int, error) {
	d.sum.Write(p)
	if d.check != nil {
		d.check.Write(p)
	}
	return len(p), nil
}

func (d *digests) compare() error {
	switch {
	case d.md5 != nil && !bytes.Equal(d.md5, d.sum.Sum(nil)):
		return errMD5
	case d.crc != nil && binary.LittleEndian.Uint64(d.crc) != d.check.Sum64():
		return errCRC
	}
	return nil
}

// receive writes a request's body to a new file in a container's folder, and returns when it is on disk. The caller
// removes the file if the index does not take it. A body without bytes has no file.
func (s *Service) receive(q *request, container string, most int64) (g segment, sum []byte, err error) {
	switch n := q.r.ContentLength; {
	case n < 0:
		return g, nil, refuse(http.StatusLengthRequired, "MissingContentLengthHeader", "Content-Length HTTP header was not specified.")
	case n > most:
		return g, nil, errTooLarge
	}
	d, err := readDigests(q.r.Header)
	if err != nil {
		return g, nil, err
	}
	if q.r.ContentLength == 0 {
		return g, d.sum.Sum(nil), d.compare()
	}
	f, h, err := s.shelf.create(container)
	if err != nil {
		return g, nil, err
	}
	g = segment{File: f.id, Size: q.r.ContentLength}
	err = q.save(h, &d)
	if err == nil {
		err = d.compare()
	}
	if err == nil {
		err = s.shelf.sync(f, h)
	}
	if err != nil {
		_ = h.Close()
		s.shelf.remove(f)
		return segment{}, nil, err
	}
	return g, d.sum.Sum(nil), nil
}

// save copies the body into a file, and tells the disk's errors from the client's.
func (q *request) save(h *os.File, d *digests) error {
	body, buffer := q.body(q.r.ContentLength), make([]byte, copyBytes)
	for saved := int64(0); ; {
		n, err := body.Read(buffer)
		if _, err := h.Write(buffer[:n]); err != nil {
			return err
		}
		_, _ = d.Write(buffer[:n]) // does not fail
		saved += int64(n)
		q.account.usage.ingress.Add(int64(n))
		switch {
		case err == io.EOF && saved == q.r.ContentLength:
			return nil
		case err != nil:
			return errIncomplete
		}
	}
}
