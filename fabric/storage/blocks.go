package storage

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/causeway-gateway/causeway/fabric/state"
)

const (
	maxBlockBytes     = 4000 << 20
	maxBlocks         = 50_000
	maxUncommitted    = 100_000
	maxBlockID        = 64 // bytes, before base64
	maxBlockListBytes = 16 << 20
)

// A block is one that was put and not committed.
type block struct {
	File    string    `json:"file"`
	Size    int64     `json:"size"`
	Created time.Time `json:"created"`
}

// staged is what is known of all uncommitted blocks of a blob.
type staged struct {
	IDBytes int `json:"idBytes"`
	Count   int `json:"count"`
}

// blockPrefix is where a blob's uncommitted blocks stand. Names have slashes, so it takes their hash.
func blockPrefix(container, name string) string {
	sum := sha256.Sum256([]byte(name))
	return container + "/" + hex.EncodeToString(sum[:]) + "/"
}

// readBlockID returns a block's id in the one form that base64 has for it, and its length.
func readBlockID(text string) (id string, bytes int, err error) {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(raw) == 0 || len(raw) > maxBlockID {
		return "", 0, refuse(http.StatusBadRequest, "InvalidQueryParameterValue", "Value for one of the query parameters specified in the request URI is invalid: blockid.")
	}
	return base64.StdEncoding.EncodeToString(raw), len(raw), nil
}

// putBlock keeps a block for the list that commits it.
func (s *Service) putBlock(q *request) error {
	if err := q.permit(needPut); err != nil {
		return err
	}
	id, length, err := readBlockID(q.query["blockid"])
	if err != nil {
		return err
	}
	if err := refuseUnsupported(q.r.Header, "x-ms-copy-source"); err != nil {
		return err
	}
	if q.r.ContentLength == 0 {
		return errHeader("Content-Length")
	}
	q.conditions = conditions{lease: q.conditions.lease} // it knows no others
	container, err := s.beforeBody(q)
	if err != nil {
		return err
	}
	g, sum, err := s.receive(q, container, maxBlockBytes)
	if err != nil {
		return err
	}
	err = s.update(q.r.Context(), container, []segment{g}, func(tx *state.Tx) ([]file, error) {
		return s.stage(tx, q, container, id, length, g)
	})
	if err != nil {
		return err
	}
	q.w.Header().Set("Content-MD5", base64.StdEncoding.EncodeToString(sum))
	q.w.Header().Set("x-ms-request-server-encrypted", "true")
	q.w.WriteHeader(http.StatusCreated)
	return nil
}

// stage writes a block to the index, in place of one with the same id.
func (s *Service) stage(tx *state.Tx, q *request, container, id string, length int, g segment) (gone []file, err error) {
	old, err := s.replaceable(tx, q, container)
	if err != nil {
		return nil, err
	}
	var all staged
	if _, err := tx.Get(stagedBucket, container+"/"+q.blob, &all); err != nil {
		return nil, err
	}
	if all.Count > 0 && all.IDBytes != length || old != nil && old.IDBytes != 0 && old.IDBytes != length {
		return nil, refuse(http.StatusBadRequest, "InvalidBlobOrBlock", "The specified blob or block content is invalid: the ids of a blob's blocks have the same length.")
	}
	var former block
	key := blockPrefix(container, q.blob) + id
	switch ok, err := tx.Get(blockBucket, key, &former); {
	case err != nil:
		return nil, err
	case ok:
		gone = []file{{container, former.File}}
	case all.Count >= maxUncommitted:
		return nil, refuse(http.StatusConflict, "BlockCountExceedsLimit", "The uncommitted block count cannot exceed the maximum limit of 100,000 blocks.")
	default:
		all.Count++
	}
	all.IDBytes = length
	return gone, errors.Join(tx.Put(stagedBucket, container+"/"+q.blob, all), tx.Put(blockBucket, key, block{g.File, g.Size, s.Now().UTC()}))
}

// uncommitted reads a blob's blocks that were not committed, by id.
func uncommitted(tx *state.Tx, container, name string) (map[string]block, error) {
	blocks, prefix := make(map[string]block), blockPrefix(container, name)
	for e, err := range tx.Scan(blockBucket, prefix, "") {
		var b block
		if err = errors.Join(err, decode(e, &b)); err != nil {
			return nil, err
		}
		blocks[strings.TrimPrefix(e.Key, prefix)] = b
	}
	return blocks, nil
}

// forgetBlocks removes a blob's uncommitted blocks, and returns those of their files that are not kept.
func forgetBlocks(tx *state.Tx, container, name string, kept map[string]bool) (gone []file, err error) {
	was, err := tx.Delete(stagedBucket, container+"/"+name)
	if err != nil || !was {
		return nil, err
	}
	blocks, err := uncommitted(tx, container, name)
	if err != nil {
		return nil, err
	}
	for _, b := range blocks {
		if !kept[b.File] {
			gone = append(gone, file{container, b.File})
		}
	}
	return gone, tx.DeletePrefix(blockBucket, blockPrefix(container, name))
}

// forgetOldBlocks removes the blocks of blobs in a container to which no block was added since a time. Their files are
// the sweep's.
func forgetOldBlocks(tx *state.Tx, container string, since time.Time) error {
	for e, err := range tx.Scan(stagedBucket, container+"/", "") {
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(e.Key, container+"/")
		blocks, err := uncommitted(tx, container, name)
		if err != nil {
			return err
		}
		old := true
		for _, b := range blocks {
			old = old && b.Created.Before(since)
		}
		if old {
			if _, err := forgetBlocks(tx, container, name, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// A blockChoice is an element of a block list: which block, and where it is looked for.
type blockChoice struct {
	XMLName xml.Name
	ID      string `xml:",chardata"`
}

var errBlockList = refuse(http.StatusBadRequest, "InvalidBlockList", "The specified block list is invalid.")

// putBlockList makes a blob of blocks that were put before, or that the blob has.
func (s *Service) putBlockList(q *request) error {
	if err := q.permit(needPut); err != nil {
		return err
	}
	b, err := newBlob(q.r.Header, false)
	if err != nil {
		return err
	}
	var asked struct {
		XMLName xml.Name      `xml:"BlockList"`
		Blocks  []blockChoice `xml:",any"`
	}
	if err := q.readXML(&asked, maxBlockListBytes); err != nil {
		return err
	}
	if len(asked.Blocks) > maxBlocks {
		return refuse(http.StatusBadRequest, "BlockListTooLong", "The block list may not contain more than 50,000 blocks.")
	}
	container, err := s.beforeBody(q)
	if err != nil {
		return err
	}
	err = s.update(q.r.Context(), container, nil, func(tx *state.Tx) ([]file, error) {
		old, err := s.replaceable(tx, q, container)
		if err != nil {
			return nil, err
		}
		list, err := b.choose(tx, container, q.blob, old, asked.Blocks)
		if err != nil {
			return nil, err
		}
		return s.replace(tx, q, container, old, b, list)
	})
	if err != nil {
		return err
	}
	q.stored(b)
	return nil
}

// choose finds the blocks of a list.
func (b *blob) choose(tx *state.Tx, container, name string, old *blob, asked []blockChoice) (list []segment, err error) {
	fresh, err := uncommitted(tx, container, name)
	if err != nil {
		return nil, err
	}
	former, err := segments(tx, container, old)
	if err != nil {
		return nil, err
	}
	have := make(map[string]segment)
	for _, g := range former {
		if g.Block != "" {
			have[g.Block] = g
		}
	}
	for _, a := range asked {
		id, length, err := readBlockID(strings.TrimSpace(a.ID))
		if err != nil {
			return nil, errBlockList
		}
		g, ok := find(a.XMLName.Local, id, fresh, have)
		if !ok || b.IDBytes != 0 && b.IDBytes != length {
			return nil, errBlockList
		}
		list, b.IDBytes, b.Size = append(list, g), length, b.Size+g.Size
	}
	return list, nil
}

func find(where, id string, fresh map[string]block, have map[string]segment) (g segment, ok bool) {
	if where == "Latest" || where == "Uncommitted" {
		if f, ok := fresh[id]; ok {
			return segment{id, f.File, f.Size}, true
		}
	}
	if where == "Latest" || where == "Committed" {
		g, ok = have[id]
	}
	return g, ok
}

// xmlBlock is a block in the answer to Get Block List.
type xmlBlock struct {
	Name string
	Size int64
}

// blockList is the answer to Get Block List.
type blockList struct {
	XMLName     xml.Name    `xml:"BlockList"`
	Committed   *[]xmlBlock `xml:"CommittedBlocks>Block"`
	Uncommitted *[]xmlBlock `xml:"UncommittedBlocks>Block"`
}

// getBlockList tells which blocks a blob has.
func (s *Service) getBlockList(q *request) error {
	if err := q.permit(needRead); err != nil {
		return err
	}
	kind := q.query["blocklisttype"]
	if !slices.Contains([]string{"", "committed", "uncommitted", "all"}, kind) {
		return errParameter("blocklisttype")
	}
	var answer blockList
	err := s.State.View(q.r.Context(), func(tx *state.Tx) error {
		c, b, err := findBlob(tx, q)
		if err != nil {
			return err
		}
		fresh, err := uncommitted(tx, c.ID, q.blob)
		if err != nil {
			return err
		}
		if b == nil && len(fresh) == 0 {
			return errNoBlob
		}
		list, err := segments(tx, c.ID, b)
		if err != nil {
			return err
		}
		if kind != "uncommitted" {
			answer.Committed = committedBlocks(list)
		}
		if kind == "uncommitted" || kind == "all" {
			answer.Uncommitted = uncommittedBlocks(fresh)
		}
		if b == nil {
			return nil
		}
		q.version(b.etag(), b.Modified)
		q.w.Header().Set("x-ms-blob-content-length", strconv.FormatInt(b.Size, 10))
		return q.mayRead(b)
	})
	if err != nil {
		return err
	}
	return q.writeXML(answer)
}

func committedBlocks(list []segment) *[]xmlBlock {
	blocks := []xmlBlock{}
	for _, g := range list {
		if g.Block != "" {
			blocks = append(blocks, xmlBlock{g.Block, g.Size})
		}
	}
	return &blocks
}

func uncommittedBlocks(fresh map[string]block) *[]xmlBlock {
	blocks := []xmlBlock{}
	for id, b := range fresh {
		blocks = append(blocks, xmlBlock{id, b.Size})
	}
	slices.SortFunc(blocks, func(a, b xmlBlock) int { return strings.Compare(a.Name, b.Name) })
	return &blocks
}
