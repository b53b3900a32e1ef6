package storage

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"

	"github.com/causeway-gateway/causeway/fabric/azure"
	"github.com/causeway-gateway/causeway/fabric/state"
)

const (
	maxBatch      = 100
	maxBatchBytes = 4 << 20
)

// An operation is a request within a batch, with the change that it asks for.
type operation struct {
	*request
	*change
	answer *partAnswer
}

var errBatch = errInput("the batch is not one changeset of requests")

// batch carries out changes of one partition, all or none.
func (s *Service) batch(q *request) error {
	if q.proof.isNobody() { // each operation is held to the proof, so there must be one
		return q.permitAnybody(need{})
	}
	body, err := q.readBody(maxBatchBytes)
	if err != nil {
		return err
	}
	parts, err := changeset(q.r.Header.Get("Content-Type"), body)
	if err != nil {
		return err
	}
	operations, err := q.readOperations(parts)
	if err != nil {
		return err
	}
	failed := 0
	err = s.State.Update(q.r.Context(), func(tx *state.Tx) error {
		t, err := getTable(tx, q.account, operations[0].table)
		if err != nil {
			return err
		}
		for i, o := range operations {
			e, err := s.apply(tx, t, o.change)
			if err == nil {
				err = o.changed(o.change, e)
			}
			if err != nil {
				failed = i
				return err
			}
		}
		return nil
	})
	answers := make([]*partAnswer, len(operations))
	for i, o := range operations {
		answers[i] = o.answer
	}
	if e, ok := errors.AsType[*azure.Error](err); ok {
		answers = []*partAnswer{refusal(q, failed, e)}
	} else if err != nil {
		return err
	}
	return q.writeBatch(answers)
}

// changeset takes the requests out of the two layers that they come in.
func changeset(contentType string, body []byte) (parts [][]byte, err error) {
	outer, err := split(contentType, body, 1)
	if err != nil || len(outer) != 1 {
		return nil, errBatch
	}
	inner, err := split(outer[0].Header.Get("Content-Type"), outer[0].text, maxBatch)
	if err != nil {
		return nil, err
	}
	for _, p := range inner {
		if kind, _, err := mime.ParseMediaType(p.Header.Get("Content-Type")); err != nil || kind != "application/http" {
			return nil, errBatch
		}
		parts = append(parts, p.text)
	}
	if len(parts) == 0 {
		return nil, errBatch
	}
	return parts, nil
}

type part struct {
	Header textproto.MIMEHeader
	text   []byte
}

// split takes a multipart text apart.
func split(contentType string, body []byte, most int) (parts []part, err error) {
	kind, parameters, err := mime.ParseMediaType(contentType)
	if err != nil || kind != "multipart/mixed" || parameters["boundary"] == "" {
		return nil, errBatch
	}
	for r := multipart.NewReader(bytes.NewReader(body), parameters["boundary"]); ; {
		p, err := r.NextRawPart()
		if err == io.EOF {
			return parts, nil
		}
		if err != nil {
			return nil, errBatch
		}
		if len(parts) == most {
			return nil, errInput("a batch has at most 100 operations")
		}
		text, err := io.ReadAll(p)
		if err != nil {
			return nil, errBatch
		}
		parts = append(parts, part{p.Header, text})
	}
}

// readOperations reads the requests, which are about different entities of one partition of one table.
func (q *request) readOperations(parts [][]byte) (operations []operation, err error) {
	rows := make(map[string]bool)
	for _, text := range parts {
		o, err := q.readOperation(text)
		if err != nil {
			return nil, err
		}
		if len(operations) > 0 && !strings.EqualFold(o.table, operations[0].table) {
			return nil, errInput("the operations of a batch are about one table")
		}
		if len(operations) > 0 && o.change.key.Partition != operations[0].change.key.Partition {
			return nil, refuse(http.StatusBadRequest, "CommandsInBatchActOnDifferentPartitions", "All commands in a batch must operate on same entity group.")
		}
		if rows[o.change.key.Row] {
			return nil, refuse(http.StatusBadRequest, "InvalidDuplicateRow", "The batch request contains multiple changes with same row key. An entity can appear only once in a batch request.")
		}
		rows[o.change.key.Row] = true
		operations = append(operations, o)
	}
	return operations, nil
}

// readOperation reads one request. It has the proof of the batch, and is held to it as one that comes alone.
func (q *request) readOperation(text []byte) (o operation, err error) {
	reader := bufio.NewReader(bytes.NewReader(text))
	head := textproto.NewReader(reader)
	first, err := head.ReadLine()
	if err != nil {
		return o, errBatch
	}
	words := strings.Split(first, " ")
	header, err := head.ReadMIMEHeader()
	if err != nil && err != io.EOF || len(words) != 3 || words[2] != "HTTP/1.1" {
		return o, errBatch
	}
	body, err := io.ReadAll(reader)
	if err != nil {
		return o, errBatch
	}
	u, err := url.Parse(words[1])
	if err != nil {
		return o, errBatch
	}
	r := &http.Request{Method: words[0], URL: u, Host: u.Host, Header: http.Header(header), TLS: q.r.TLS, RemoteAddr: q.r.RemoteAddr}
	if r.Host == "" {
		r.Host = q.r.Host
	}
	o.answer = &partAnswer{header: make(http.Header)}
	o.request = &request{w: o.answer, r: r.WithContext(q.r.Context()), plane: q.plane, id: q.id, proof: q.proof, apiVersion: q.apiVersion}
	if err := o.address(q.account); err != nil {
		return o, err
	}
	if o.change, err = o.readChange(); err != nil {
		return o, err
	}
	return o, o.fill(o.request, bytes.TrimSpace(body))
}

// address finds out what a request within a batch is about.
func (q *request) address(of *account) (err error) {
	if q.query, err = readQuery(q.r.URL.RawQuery); err != nil {
		return err
	}
	if err := q.readAccount(); err != nil {
		return err
	}
	if q.account.ID != of.ID {
		return errBatch
	}
	if err := nameTable(q); err != nil {
		return err
	}
	if err := q.chooseFormat(); err != nil {
		return err
	}
	inserts := q.about == aboutTable && q.r.Method == http.MethodPost
	changes := q.about == aboutEntity && slices.Contains([]string{http.MethodPut, http.MethodPatch, "MERGE", http.MethodDelete}, q.r.Method)
	if !inserts && !changes {
		return errBatch
	}
	return nil
}

// A partAnswer is the answer to a request within a batch.
type partAnswer struct {
	header http.Header
	status int
	bytes.Buffer
}

func (p *partAnswer) Header() http.Header    { return p.header }
func (p *partAnswer) WriteHeader(status int) { p.status = status }

// refusal is the one answer of a batch of which nothing was done. It tells which operation was the cause.
func refusal(q *request, index int, e *azure.Error) *partAnswer {
	p := &partAnswer{header: make(http.Header)}
	indexed := *e
	indexed.Message = fmt.Sprintf("%d:%s", index, e.Message)
	failJSON(p, q.r, q.id, &indexed)
	return p
}

func (q *request) writeBatch(answers []*partAnswer) error {
	var inner, outer bytes.Buffer
	changes := multipart.NewWriter(&inner)
	_ = changes.SetBoundary("changesetresponse_" + azure.NewGUID())
	for _, a := range answers {
		w, err := changes.CreatePart(textproto.MIMEHeader{"Content-Type": {"application/http"}, "Content-Transfer-Encoding": {"binary"}})
		if err != nil {
			return err
		}
		a.write(w)
	}
	all := multipart.NewWriter(&outer)
	_ = all.SetBoundary("batchresponse_" + azure.NewGUID())
	w, err := all.CreatePart(textproto.MIMEHeader{"Content-Type": {"multipart/mixed; boundary=" + changes.Boundary()}})
	if err != nil {
		return err
	}
	_ = changes.Close() // both write to memory
	_, _ = w.Write(inner.Bytes())
	_ = all.Close()
	q.account.usage.egress.Add(int64(outer.Len()))
	writeBody(q.w, q.r, http.StatusAccepted, "multipart/mixed; boundary="+all.Boundary(), outer.Bytes(), "")
	return nil
}

// write writes an answer as it would stand on a connection. Its headers are ours, or checked, and have no ends of lines.
func (p *partAnswer) write(w io.Writer) {
	fmt.Fprintf(w, "HTTP/1.1 %d %s\r\n", p.status, http.StatusText(p.status))
	for _, name := range slices.Sorted(maps.Keys(p.header)) {
		fmt.Fprintf(w, "%s: %s\r\n", name, p.header.Get(name))
	}
	_, _ = io.WriteString(w, "\r\n")
	_, _ = w.Write(p.Bytes())
}
