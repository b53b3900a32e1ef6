package storage

import (
	"net/http"

	"github.com/causeway-gateway/causeway/fabric/state"
)

// A change is one of an entity.
type change struct {
	method     string // POST inserts, PUT replaces, PATCH merges, DELETE
	key        entityKey
	properties []*property
	match      string // the ETag that is to be replaced, "*" for any; "" lets PUT and PATCH insert, too
}

// The needs of changes.
var (
	entityActions = tableActions + "entities/"
	needInsert    = need{action: entityActions + "write", or: entityActions + "add/action", data: true, kind: 'o', service: true, perms: "a"}
	needUpdate    = need{action: entityActions + "write", or: entityActions + "update/action", data: true, kind: 'o', service: true, perms: "u"}
	needRemove    = need{action: entityActions + "delete", data: true, kind: 'o', service: true, perms: "d"}
)

// readChange reads what a request wants to do, and whether it may do that at all; fill adds what its body says.
func (q *request) readChange() (*change, error) {
	c := &change{method: q.r.Method, key: q.key, match: q.r.Header.Get("If-Match")}
	if c.method == "MERGE" {
		c.method = http.MethodPatch
	}
	if err := q.permitChange(c); err != nil {
		return nil, err
	}
	if c.method == http.MethodDelete && c.match == "" {
		return nil, refuse(http.StatusBadRequest, "MissingRequiredHeader", "An HTTP header that's mandatory for this request is not specified: If-Match.")
	}
	return c, nil
}

func (c *change) fill(q *request, body []byte) error {
	if c.method == http.MethodDelete {
		return q.coversKey(c.key)
	}
	e, keyed, err := readEntity(body)
	switch {
	case err != nil:
		return err
	case c.method == http.MethodPost && keyed != [2]bool{true, true}:
		return refuse(http.StatusBadRequest, "PropertiesNeedValue", "The values are not specified for all properties in the entity: PartitionKey and RowKey are needed.")
	case c.method == http.MethodPost:
		c.key = e.entityKey
	case keyed[0] && e.Partition != c.key.Partition || keyed[1] && e.Row != c.key.Row:
		return errInput("the keys in the body are not those in the URI")
	}
	c.properties = e.Properties
	return orElse(c.key.check(), q.coversKey(c.key))
}

func (q *request) permitChange(c *change) error {
	needs := []need{needUpdate}
	switch {
	case c.method == http.MethodPost:
		needs = []need{needInsert}
	case c.method == http.MethodDelete:
		needs = []need{needRemove}
	case c.match == "":
		needs = []need{needInsert, needUpdate}
	}
	for _, n := range needs {
		if err := q.permit(n); err != nil {
			return err
		}
	}
	return nil
}

// apply carries a change out.
func (s *Service) apply(tx *state.Tx, t *table, c *change) (*entity, error) {
	old, ok, err := getEntity(tx, t, c.key)
	switch {
	case err != nil:
		return nil, err
	case c.method == http.MethodPost && ok:
		return nil, refuse(http.StatusConflict, "EntityAlreadyExists", "The specified entity already exists.")
	case c.method != http.MethodPost && c.match != "" && !ok:
		return nil, errNoEntity
	case c.method != http.MethodPost && c.match != "" && c.match != "*" && c.match != old.etag():
		return nil, refuse(http.StatusPreconditionFailed, "UpdateConditionNotSatisfied", "The update condition specified in the request was not satisfied.")
	}
	place := t.ID + "/" + c.key.String()
	if c.method == http.MethodDelete {
		_, err := tx.Delete(entityBucket, place)
		return nil, err
	}
	e := &entity{entityKey: c.key, Time: s.stamp(), Properties: c.properties}
	if c.method == http.MethodPatch && ok {
		e.Properties = old.merge(c.properties)
	}
	if err := e.checkSize(); err != nil {
		return nil, err
	}
	return e, tx.Put(entityBucket, place, e)
}

// changeOne carries out a request for one entity.
func (s *Service) changeOne(q *request) error {
	c, err := q.readChange()
	if err != nil {
		return err
	}
	body, err := q.readBody(2 * maxEntityBytes) // JSON may be longer than what it says
	if err != nil {
		return err
	}
	if err := c.fill(q, body); err != nil {
		return err
	}
	var e *entity
	err = s.State.Update(q.r.Context(), func(tx *state.Tx) error {
		t, err := getTable(tx, q.account, q.table)
		if err == nil {
			e, err = s.apply(tx, t, c)
		}
		return err
	})
	if err != nil {
		return err
	}
	return q.changed(c, e)
}

// changed answers that a change was made.
func (q *request) changed(c *change, e *entity) error {
	if e != nil {
		q.w.Header().Set("ETag", e.etag())
	}
	if c.method != http.MethodPost {
		q.w.WriteHeader(http.StatusNoContent)
		return nil
	}
	id := q.url() + q.table + "(PartitionKey='" + escapeKey(e.Partition) + "',RowKey='" + escapeKey(e.Row) + "')"
	q.w.Header().Set("Location", id)
	q.w.Header().Set("DataServiceId", id)
	if q.prefersNothing() {
		q.w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return q.writeEntity(http.StatusCreated, e, nil)
}
