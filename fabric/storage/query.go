package storage

import (
	"net/http"
	"strings"

	"github.com/causeway-gateway/causeway/fabric/state"
)

const (
	maxRows        = 1000    // in one answer
	maxScanned     = 50_000  // rows that one answer looks at
	maxAnswerBytes = 4 << 20 // after which no further row begins
	maxSelect      = maxProperties + 3
)

var needQuery = need{action: tableActions + "entities/read", data: true, kind: 'o', service: true, perms: "r"}

// showEntity answers with one entity.
func (s *Service) showEntity(q *request) error {
	if err := q.permit(needQuery); err != nil {
		return err
	}
	if err := q.coversKey(q.key); err != nil {
		return err
	}
	chosen, err := q.chosen()
	if err != nil {
		return err
	}
	var e *entity
	err = s.State.View(q.r.Context(), func(tx *state.Tx) error {
		t, err := getTable(tx, q.account, q.table)
		if err != nil {
			return err
		}
		var ok bool
		if e, ok, err = getEntity(tx, t, q.key); err == nil && !ok {
			err = errNoEntity
		}
		return err
	})
	if err != nil {
		return err
	}
	return q.writeEntity(http.StatusOK, e, chosen)
}

func (q *request) writeEntity(status int, e *entity, chosen []string) error {
	o := newObject()
	if q.level != noMetadata {
		o.text("odata.metadata", q.url()+"$metadata#"+q.table+"/@Element")
	}
	e.describe(o, q, chosen)
	q.w.Header().Set("ETag", e.etag())
	q.writeJSON(status, o.end())
	return nil
}

// chosen reads $select.
func (q *request) chosen() ([]string, error) {
	text := q.query["$select"]
	if text == "" || text == "*" {
		return nil, nil
	}
	names := strings.Split(text, ",")
	if len(names) > maxSelect {
		return nil, errInput("$select has too many names")
	}
	for i := range names {
		names[i] = strings.TrimSpace(names[i])
	}
	return names, nil
}

// A cursor is where the rows of a query are looked for: keys with a prefix, from the first to the last.
type cursor struct{ prefix, from, to string }

// narrow makes of a filter the least part of a table that all its rows lie in, as far as its first level tells.
func narrow(filter expression) (c cursor) {
	all, ok := filter.(andExpression)
	if !ok {
		all = andExpression{filter}
	}
	partition, only := "", false
	for _, e := range all {
		switch op, text := keyComparison(e, "PartitionKey"); {
		case op == "eq" && !only:
			partition, only = text, true
		case op == "ge" || op == "gt":
			c.from = max(c.from, text)
		}
	}
	if !only {
		return c
	}
	c.prefix = partition + keySeparator
	for _, e := range all {
		op, text := keyComparison(e, "RowKey")
		key := entityKey{partition, text}.String()
		if op == "eq" || op == "ge" || op == "gt" {
			c.from = max(c.from, key)
		}
		if (op == "eq" || op == "le" || op == "lt") && (c.to == "" || key < c.to) {
			c.to = key
		}
	}
	return c
}

// keyComparison returns with what an expression compares a key; op is "" if it is none of that kind.
func keyComparison(e expression, name string) (op, text string) {
	c, ok := e.(comparison)
	if !ok || c.left.name != name || c.right.name != "" || c.right.kind != kindString {
		return "", ""
	}
	return c.op, c.right.text
}

// query answers with the entities that a filter holds for, and where to go on.
func (s *Service) query(q *request) error {
	if err := q.permit(needQuery); err != nil {
		return err
	}
	most, filter, err := q.queryOptions()
	if err != nil {
		return err
	}
	chosen, err := q.chosen()
	if err != nil {
		return err
	}
	c := cursor{}
	if filter != nil {
		c = narrow(filter)
	}
	from, err := q.resume()
	if err != nil {
		return err
	}
	c.from = max(c.from, from, c.prefix)
	o := newObject()
	if q.level != noMetadata {
		o.text("odata.metadata", q.url()+"$metadata#"+q.table)
	}
	rows := o.list("value")
	next, more, err := s.collect(q, c, filter, most, func(e *entity) int {
		item := newObject()
		e.describe(item, q, chosen)
		rows.add(item)
		return rows.Len()
	})
	if err != nil {
		return err
	}
	if more {
		q.w.Header().Set("x-ms-continuation-NextPartitionKey", continuation(next.Partition))
		q.w.Header().Set("x-ms-continuation-NextRowKey", continuation(next.Row))
	}
	q.writeJSON(http.StatusOK, o.endList(rows))
	return nil
}

// resume reads where a page begins.
func (q *request) resume() (from string, err error) {
	if q.query["nextpartitionkey"] == "" {
		return "", nil
	}
	partition, err := readContinuation(q.query["nextpartitionkey"])
	if err != nil {
		return "", err
	}
	row, err := readContinuation(q.query["nextrowkey"])
	return entityKey{partition, row}.String(), err
}

// collect calls take with the rows of a page, until that says that they are large. When more is true there may be
// further ones from next on.
func (s *Service) collect(q *request, c cursor, filter expression, most int, take func(*entity) int) (next entityKey, more bool, err error) {
	err = s.State.View(q.r.Context(), func(tx *state.Tx) error {
		t, err := getTable(tx, q.account, q.table)
		if err != nil {
			return err
		}
		scanned, taken, bytes := 0, 0, 0
		for entry, err := range tx.Scan(entityBucket, t.ID+"/"+c.prefix, t.ID+"/"+c.from) {
			if err != nil {
				return err
			}
			text := strings.TrimPrefix(entry.Key, t.ID+"/")
			if c.to != "" && text > c.to {
				return nil
			}
			key := keyOf(text)
			if scanned++; scanned > maxScanned || taken == most || bytes > maxAnswerBytes {
				next, more = key, true
				return nil
			}
			e := &entity{entityKey: key}
			if err := decode(entry, e); err != nil {
				return err
			}
			if q.coversKey(key) == nil && (filter == nil || filter.holds(e)) {
				taken, bytes = taken+1, take(e)
			}
		}
		return nil
	})
	return next, more, err
}

func keyOf(text string) entityKey {
	partition, row, _ := strings.Cut(text, keySeparator)
	return entityKey{partition, row}
}

// coversKey holds a request to the keys that its signature is for.
func (q *request) coversKey(key entityKey) error {
	if g := q.proof.sas; g != nil && !g.covers(key) {
		return errPermission
	}
	return nil
}
