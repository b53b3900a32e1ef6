package storage

import (
	"context"
	"encoding/base64"
	"net/http"

	"github.com/causeway-gateway/causeway/fabric/state"
)

// maxPutBytes is what one Put Blob may carry.
const maxPutBytes = 5000 << 20

// putBlob makes a blob of one body.
func (s *Service) putBlob(q *request) error {
	if err := q.permit(needPut); err != nil {
		return err
	}
	switch t := q.r.Header.Get("x-ms-blob-type"); {
	case t == "":
		return refuse(http.StatusBadRequest, "MissingRequiredHeader", "An HTTP header that's mandatory for this request is not specified: x-ms-blob-type.")
	case t != "BlockBlob":
		return errUnsupported("x-ms-blob-type " + t)
	}
	b, err := newBlob(q.r.Header, true)
	if err != nil {
		return err
	}
	container, err := s.beforeBody(q)
	if err != nil {
		return err
	}
	g, sum, err := s.receive(q, container, maxPutBytes)
	if err != nil {
		return err
	}
	if b.MD5 == nil {
		b.MD5 = sum
	}
	var list []segment
	if b.Size = g.Size; b.Size > 0 {
		list = []segment{g}
	}
	if err := s.store(q, container, b, list); err != nil {
		return err
	}
	q.w.Header().Set("Content-MD5", base64.StdEncoding.EncodeToString(sum))
	q.stored(b)
	return nil
}

// newBlob reads what is said of a blob that is to be made, besides its bytes. plain says that the ordinary headers tell
// about the blob, and not about the request alone.
func newBlob(h http.Header, plain bool) (b *blob, err error) {
	b = new(blob)
	if b.Headers, b.MD5, err = blobHeaders(h, plain); err != nil {
		return nil, err
	}
	if b.Meta, err = metadataOf(h); err != nil {
		return nil, err
	}
	if tier := h.Get("x-ms-access-tier"); tier != "" && tier != "Hot" {
		return nil, errUnsupported("x-ms-access-tier " + tier)
	}
	return b, refuseUnsupported(h, "x-ms-tags", "x-ms-encryption-key", "x-ms-encryption-scope", "x-ms-legal-hold", "x-ms-immutability-policy-mode", "x-ms-immutability-policy-until-date")
}

func refuseUnsupported(h http.Header, names ...string) error {
	for _, name := range names {
		if h.Get(name) != "" {
			return errUnsupported(name)
		}
	}
	return nil
}

// stored answers that a blob was made.
func (q *request) stored(b *blob) {
	q.version(b.etag(), b.Modified)
	q.w.Header().Set("x-ms-request-server-encrypted", "true")
	q.w.WriteHeader(http.StatusCreated)
}

// beforeBody refuses what would be refused after the body, too, before it is sent. It returns the container's id.
func (s *Service) beforeBody(q *request) (container string, err error) {
	err = s.State.View(q.r.Context(), func(tx *state.Tx) error {
		c, old, err := findBlob(tx, q)
		if err != nil {
			return err
		}
		container = c.ID
		return q.mayReplace(old, s.Now())
	})
	return container, err
}

// store puts a blob made of new files in the place of what is there.
func (s *Service) store(q *request, container string, b *blob, list []segment) error {
	return s.update(q.r.Context(), container, list, func(tx *state.Tx) (gone []file, err error) {
		old, err := s.replaceable(tx, q, container)
		if err != nil {
			return nil, err
		}
		return s.replace(tx, q, container, old, b, list)
	})
}

// replaceable finds what a request is about to replace, if the container is still the same.
func (s *Service) replaceable(tx *state.Tx, q *request, container string) (*blob, error) {
	c, old, err := findBlob(tx, q)
	switch {
	case err != nil:
		return nil, err
	case c.ID != container: // it was deleted, and another was made
		return nil, errNoContainer
	}
	return old, q.mayReplace(old, s.Now())
}

// replace writes a blob and its content to the index, and forgets the old one, if any, and uncommitted blocks. It returns
// the files that nothing names then.
func (s *Service) replace(tx *state.Tx, q *request, container string, old, b *blob, list []segment) (gone []file, err error) {
	kept := make(map[string]bool, len(list))
	for _, g := range list {
		kept[g.File] = true
	}
	now := s.stamp()
	b.Created, b.Modified = now, now
	if old != nil {
		b.Created, b.Lease = old.Created, old.Lease
		b.dropEndedLease(s.Now())
		former, err := forgetContent(tx, container, old)
		if err != nil {
			return nil, err
		}
		for _, f := range former {
			if !kept[f.id] {
				gone = append(gone, f)
			}
		}
	}
	staged, err := forgetBlocks(tx, container, q.blob, kept)
	gone = append(gone, staged...)
	if err != nil {
		return nil, err
	}
	if len(list) > 0 {
		b.Content = newID()
		if err := tx.Put(contentBucket, container+"/"+b.Content, list); err != nil {
			return nil, err
		}
	}
	return gone, tx.Put(blobBucket, container+"/"+q.blob, b)
}

// update changes the index so that it names new files, and then removes those that it names no more. If the change was
// refused, the new ones are removed. If it failed while it was being committed, nobody knows whether the index names them:
// they stay until New looks.
func (s *Service) update(ctx context.Context, container string, fresh []segment, f func(tx *state.Tx) (gone []file, err error)) error {
	var gone []file
	committing := false
	err := s.State.Update(ctx, func(tx *state.Tx) (err error) {
		gone, err = f(tx)
		committing = err == nil
		return err
	})
	switch {
	case err == nil:
		s.shelf.remove(gone...)
	case !committing:
		for _, g := range fresh {
			s.shelf.remove(file{container, g.File})
		}
	}
	return err
}
