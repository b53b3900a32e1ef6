package storage

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/causeway-gateway/causeway/fabric/azure"
)

// copied says where a blob was copied from.
type copied struct {
	ID        string    `json:"id"`
	Source    string    `json:"source"` // without its signature
	Completed time.Time `json:"completed"`
}

var errCopySource = refuse(http.StatusBadRequest, "CannotVerifyCopySource", "The copy source cannot be verified: only blobs of the same account can be copied.")

// copyBlob makes a blob of another one of the account, before it answers.
func (s *Service) copyBlob(q *request) error {
	if err := q.permit(needPut); err != nil {
		return err
	}
	meta, err := metadataOf(q.r.Header)
	if err != nil {
		return err
	}
	if err := refuseUnsupported(q.r.Header, "x-ms-copy-source-authorization", "x-ms-source-lease-id", "x-ms-tags", "x-ms-legal-hold"); err != nil {
		return err
	}
	container, err := s.beforeBody(q)
	if err != nil {
		return err
	}
	from, err := q.source()
	if err != nil {
		return err
	}
	v, err := s.look(from, func(b *blob) (int64, int64, error) {
		return 0, b.Size, from.conditions.write(b.etag(), b.Modified)
	})
	if err != nil {
		return err
	}
	defer v.release()
	list, err := s.duplicate(q.r.Context(), v, container)
	if err != nil {
		return err
	}
	if len(meta) == 0 {
		meta = v.Meta
	}
	source := url.URL{Scheme: "https", Host: from.r.URL.Host, Path: from.r.URL.Path}
	b := &blob{Headers: v.Headers, MD5: v.MD5, Meta: meta, Size: v.Size, IDBytes: v.IDBytes, Copy: &copied{azure.NewGUID(), source.String(), s.Now().UTC()}}
	if err := s.store(q, container, b, list); err != nil {
		return err
	}
	q.w.Header().Set("x-ms-copy-id", b.Copy.ID)
	q.w.Header().Set("x-ms-copy-status", "success")
	q.version(b.etag(), b.Modified)
	q.w.WriteHeader(http.StatusAccepted)
	return nil
}

// source reads the URL to copy from as a request of its own: by the proof in it, or by that of the request.
func (q *request) source() (*request, error) {
	u, err := url.Parse(q.r.Header.Get("x-ms-copy-source"))
	if err != nil || u.Scheme != "https" || u.User != nil {
		return nil, errHeader("x-ms-copy-source")
	}
	h := make(http.Header)
	for _, name := range []string{"If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"} {
		if v := q.r.Header.Get("x-ms-source-" + name); v != "" {
			h.Set(name, v)
		}
	}
	h.Set("x-ms-version", q.apiVersion)
	r := (&http.Request{Method: http.MethodGet, URL: u, Host: u.Host, Header: h, TLS: q.r.TLS, RemoteAddr: q.r.RemoteAddr}).WithContext(q.r.Context())
	from := &request{w: discard{make(http.Header)}, r: r, plane: q.plane, id: q.id}
	if err := from.read(); err != nil || from.account.ID != q.account.ID || from.blob == "" || len(from.query) > 0 && from.proof.sas == nil {
		return nil, errCopySource
	}
	if from.proof.sas == nil {
		if q.proof.sas != nil && !q.proof.sas.account {
			return nil, errCopySource // it was made for the place to copy to, and says nothing of the source
		}
		from.proof = q.proof
	}
	if from.permit(needRead) != nil {
		return nil, errCopySource
	}
	return from, nil
}

// discard takes what would be said to whoever had sent the source's URL.
type discard struct{ h http.Header }

func (d discard) Header() http.Header         { return d.h }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}

// duplicate copies the files of a blob into a container.
func (s *Service) duplicate(ctx context.Context, v *reading, container string) (list []segment, err error) {
	defer func() {
		if err != nil {
			for _, g := range list {
				s.shelf.remove(file{container, g.File})
			}
			list = nil
		}
	}()
	for _, g := range v.list {
		id, err := s.duplicateFile(file{v.container, g.File}, container)
		if err = orElse(err, ctx.Err()); err != nil {
			return list, err
		}
		list = append(list, segment{g.Block, id, g.Size})
	}
	return list, nil
}

func (s *Service) duplicateFile(from file, container string) (id string, err error) {
	source, err := s.shelf.open(piece{file: from})
	if err != nil {
		return "", err
	}
	defer source.Close()
	f, h, err := s.shelf.create(container)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(h, source)
	if err == nil {
		err = s.shelf.sync(f, h)
	}
	if err != nil {
		_ = h.Close()
		s.shelf.remove(f)
	}
	return f.id, err
}
