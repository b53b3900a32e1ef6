package storage

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"time"

	"github.com/causeway-gateway/causeway/fabric/state"
)

// A byteRange is what of a blob a client asks for.
type byteRange struct {
	first int64
	last  int64 // included; -1 for all of it
}

var isRange = regexp.MustCompile(`^bytes=([0-9]{1,18})-([0-9]{1,18})?$`)

// parseRange reads the one form of ranges that Azure knows: no lists, and none from the end.
func parseRange(text string) (r byteRange, err error) {
	parts := isRange.FindStringSubmatch(text)
	if parts == nil {
		return r, errHeader("Range")
	}
	r.last = -1
	if r.first, err = strconv.ParseInt(parts[1], 10, 64); err == nil && parts[2] != "" {
		r.last, err = strconv.ParseInt(parts[2], 10, 64)
	}
	if err != nil || r.last >= 0 && r.last < r.first {
		return r, errHeader("Range")
	}
	return r, nil
}

// within returns where the range lies in so many bytes, and ok if any of it does.
func (r byteRange) within(size int64) (off, n int64, ok bool) {
	if r.first >= size {
		return 0, 0, false
	}
	last := size - 1
	if r.last >= 0 {
		last = min(last, r.last)
	}
	return r.first, last - r.first + 1, true
}

// A reading is a blob whose bytes stay where they are until release.
type reading struct {
	*blob
	container string
	list      []segment
	pieces    []piece
	release   func()
}

// A piece is a part of a file.
type piece struct {
	file
	off, n int64
}

// look finds the blob that a request is about, and keeps the bytes that choose wants of it from being removed.
func (s *Service) look(q *request, choose func(b *blob) (off, n int64, err error)) (*reading, error) {
	s.shelf.gate.RLock()
	defer s.shelf.gate.RUnlock()
	v := new(reading)
	err := s.State.View(q.r.Context(), func(tx *state.Tx) error {
		c, b, err := findBlob(tx, q)
		if err == nil && b == nil {
			err = errNoBlob
		}
		if err != nil {
			return err
		}
		v.blob, v.container = b, c.ID
		off, n, err := choose(b)
		if err != nil || n == 0 {
			return err
		}
		if v.list, err = segments(tx, c.ID, b); err == nil {
			v.pieces = cut(v.list, c.ID, off, n)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	files := make([]file, len(v.pieces))
	for i, p := range v.pieces {
		files[i] = p.file
	}
	v.release = s.shelf.pin(files)
	return v, nil
}

// cut returns the parts of segments that n bytes from off lie in.
func cut(list []segment, container string, off, n int64) (pieces []piece) {
	for _, g := range list {
		if off < g.Size && n > 0 {
			p := piece{file{container, g.File}, off, min(n, g.Size-off)}
			pieces, n = append(pieces, p), n-p.n
		}
		off = max(0, off-g.Size)
	}
	return pieces
}

// showBlob answers with what is known of a blob, without its bytes.
func (s *Service) showBlob(q *request) error {
	if err := q.permit(needRead); err != nil {
		return err
	}
	v, err := s.look(q, func(b *blob) (int64, int64, error) { return 0, 0, q.mayRead(b) })
	if err != nil {
		return err
	}
	v.release()
	q.describe(v.blob)
	q.w.WriteHeader(http.StatusOK)
	return nil
}

func (q *request) mayRead(b *blob) error {
	if err := q.conditions.read(b.etag(), b.Modified); err != nil {
		q.version(b.etag(), b.Modified)
		return err
	}
	return checkLeaseToRead(b, q.conditions.lease, q.plane.Now())
}

// getBlob answers with a blob, or a range of it.
func (s *Service) getBlob(q *request) error {
	if err := q.permit(needRead); err != nil {
		return err
	}
	if err := refuseUnsupported(q.r.Header, "x-ms-range-get-content-crc64", "x-ms-structured-body", "x-ms-encryption-key"); err != nil {
		return err
	}
	status, off, n := http.StatusOK, int64(0), int64(0)
	v, err := s.look(q, func(b *blob) (int64, int64, error) {
		err := q.mayRead(b)
		if err == nil {
			status, off, n, err = q.chooseRange(b)
		}
		if q.r.Method == http.MethodHead {
			return 0, 0, err
		}
		return off, n, err
	})
	if err != nil {
		return err
	}
	defer v.release()
	q.describe(v.blob)
	q.describeBody(v.blob, status, off, n)
	if q.r.Header.Get("x-ms-range-get-content-md5") == "true" && q.r.Method == http.MethodGet {
		return s.sendSummed(q, v, status, n)
	}
	q.w.WriteHeader(status)
	if q.r.Method == http.MethodGet {
		s.send(q, v)
	}
	return nil
}

// describeBody sets the headers that tell which bytes of a blob follow.
func (q *request) describeBody(b *blob, status int, off, n int64) {
	h := q.w.Header()
	h.Set("Content-Length", strconv.FormatInt(n, 10))
	sum := "Content-MD5"
	if status == http.StatusPartialContent {
		h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", off, off+n-1, b.Size))
		sum = "x-ms-blob-content-md5"
	}
	if b.MD5 != nil {
		h.Set(sum, base64.StdEncoding.EncodeToString(b.MD5))
	}
}

// chooseRange returns which bytes of a blob are asked for. A HEAD is about all of them.
func (q *request) chooseRange(b *blob) (status int, off, n int64, err error) {
	text := q.r.Header.Get("x-ms-range")
	if text == "" {
		text = q.r.Header.Get("Range")
	}
	if text == "" || q.r.Method == http.MethodHead {
		return http.StatusOK, 0, b.Size, nil
	}
	r, err := parseRange(text)
	if err != nil {
		return 0, 0, 0, err
	}
	off, n, ok := r.within(b.Size)
	if !ok {
		q.w.Header().Set("Content-Range", fmt.Sprintf("bytes */%d", b.Size))
		return 0, 0, 0, refuse(http.StatusRequestedRangeNotSatisfiable, "InvalidRange", "The range specified is invalid for the current size of the resource.")
	}
	return http.StatusPartialContent, off, n, nil
}

// send sends the bytes of a blob. The head is out, so what goes wrong ends the connection: a body that is too short must
// not look whole.
func (s *Service) send(q *request, v *reading) {
	control := http.NewResponseController(q.w)
	for _, p := range v.pieces {
		if err := s.sendPiece(q, control, p); err != nil {
			if q.r.Context().Err() == nil {
				s.Log.WarnContext(q.r.Context(), "storage answer cut", "request_id", q.id, "err", err)
			}
			panic(http.ErrAbortHandler)
		}
	}
	_ = control.SetWriteDeadline(time.Time{})
}

func (s *Service) sendPiece(q *request, control *http.ResponseController, p piece) error {
	f, err := s.shelf.open(p)
	if err != nil {
		return err
	}
	defer f.Close()
	for left := p.n; left > 0; {
		_ = control.SetWriteDeadline(time.Now().Add(patience)) // what cannot have deadlines is a test
		n, err := io.CopyN(q.w, f, min(left, pieceBytes))      // from file to socket by the kernel, where there is no TLS
		q.account.usage.egress.Add(n)
		if err != nil {
			return err
		}
		left -= n
	}
	return nil
}

// open opens a file at the beginning of a piece of it.
func (s *shelf) open(p piece) (*os.File, error) {
	f, err := os.Open(s.path(p.file))
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(p.off, io.SeekStart); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// maxSummedRange is how long a range may be whose hash a client asks for.
const maxSummedRange = 4 << 20

// sendSummed sends a short range with its MD5 in the head.
func (s *Service) sendSummed(q *request, v *reading, status int, n int64) error {
	if status != http.StatusPartialContent || n > maxSummedRange {
		return errHeader("x-ms-range-get-content-md5")
	}
	text, err := s.read(q.r.Context(), v, n)
	if err != nil {
		return err
	}
	sum := md5.Sum(text)
	q.w.Header().Set("Content-MD5", base64.StdEncoding.EncodeToString(sum[:]))
	q.w.WriteHeader(status)
	q.account.usage.egress.Add(n)
	_, _ = q.w.Write(text)
	return nil
}

func (s *Service) read(ctx context.Context, v *reading, n int64) ([]byte, error) {
	text := bytes.NewBuffer(make([]byte, 0, n))
	for _, p := range v.pieces {
		f, err := s.shelf.open(p)
		if err != nil {
			return nil, err
		}
		_, err = io.CopyN(text, f, p.n)
		if err = orElse(err, f.Close(), ctx.Err()); err != nil {
			return nil, err
		}
	}
	return text.Bytes(), nil
}
