package storage

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/causeway-gateway/causeway/fabric/azure"
	"github.com/causeway-gateway/causeway/fabric/state"
)

// table is a table of entities.
type table struct {
	Name string `json:"name"` // in the case that it was made with
	ID   string `json:"id"`
}

// What a request of the table plane may be about.
const (
	aboutNothing = iota
	aboutTables  // /Tables, /Tables('name')
	aboutBatch   // /$batch
	aboutTable   // /name, /name()
	aboutEntity  // /name(PartitionKey='…',RowKey='…')
)

var (
	isTableName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]{2,62}$`)
	isAddress   = regexp.MustCompile(`^(\$?[A-Za-z0-9]+)(?:\((.*)\))?$`)
	isTableKey  = regexp.MustCompile(`^'([A-Za-z0-9]*)'$`)
	isEntityKey = regexp.MustCompile(`^PartitionKey='((?:[^']|'')*)',\s*RowKey='((?:[^']|'')*)'$`)
)

var (
	errNoTable  = refuse(http.StatusNotFound, "TableNotFound", "The table specified does not exist.")
	errTableURI = refuse(http.StatusBadRequest, "InvalidUri", "The requested URI does not represent any resource on the server.")
)

// nameTable reads the table and the entity in the path.
func nameTable(q *request) error {
	if q.path == "" {
		return nil
	}
	parts := isAddress.FindStringSubmatch(q.path)
	if parts == nil {
		return errTableURI
	}
	name, inner, brackets := parts[1], parts[2], strings.HasSuffix(q.path, ")")
	switch {
	case name == "$batch" && !brackets:
		q.about = aboutBatch
		return nil
	case strings.EqualFold(name, "Tables"):
		q.about = aboutTables
		return q.nameInTables(inner)
	case !isTableName.MatchString(name):
		return errTableName(name)
	case inner == "":
		q.about, q.table = aboutTable, name
		return nil
	}
	keys := isEntityKey.FindStringSubmatch(inner)
	if keys == nil {
		return errTableURI
	}
	q.about, q.table = aboutEntity, name
	q.key = entityKey{strings.ReplaceAll(keys[1], "''", "'"), strings.ReplaceAll(keys[2], "''", "'")}
	return q.key.check()
}

func (q *request) nameInTables(inner string) error {
	if inner == "" {
		return nil
	}
	parts := isTableKey.FindStringSubmatch(inner)
	if parts == nil {
		return errTableURI
	}
	q.table = parts[1]
	return CheckTableName(q.table)
}

// CheckTableName takes what Azure takes.
func CheckTableName(name string) error {
	if !isTableName.MatchString(name) || strings.EqualFold(name, "Tables") {
		return errTableName(name)
	}
	return nil
}

func errTableName(name string) error {
	if len(name) < 3 || len(name) > 63 {
		return refuse(http.StatusBadRequest, "OutOfRangeInput", "The specified resource name length is not within the permissible limits.")
	}
	return refuse(http.StatusBadRequest, "InvalidResourceName", "The specified resource name contains invalid characters.")
}

// routeTable finds what a request of the table plane asks for.
func (s *Service) routeTable(q *request) error {
	if q.query["comp"] != "" || q.query["restype"] != "" {
		return errOperation(q, q.r.Method)
	}
	if err := q.chooseFormat(); err != nil {
		return err
	}
	h := q.w.Header()
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("DataServiceVersion", "3.0;")
	switch q.about {
	case aboutTables:
		return s.serveTables(q)
	case aboutBatch:
		if q.r.Method != http.MethodPost {
			return errOperation(q, http.MethodPost)
		}
		return s.batch(q)
	case aboutTable:
		return s.serveTable(q)
	case aboutEntity:
		return s.serveEntity(q)
	}
	return errTableURI
}

func (s *Service) serveTables(q *request) error {
	switch {
	case q.r.Method == http.MethodPost && q.table == "":
		return s.putTable(q)
	case q.r.Method == http.MethodGet && q.table == "":
		return s.listTables(q)
	case q.r.Method == http.MethodGet:
		return s.showTable(q)
	case q.r.Method == http.MethodDelete && q.table != "":
		return s.dropTable(q)
	}
	return errOperation(q)
}

func (s *Service) serveTable(q *request) error {
	switch q.r.Method {
	case http.MethodGet:
		return s.query(q)
	case http.MethodPost:
		return s.changeOne(q)
	}
	return errOperation(q)
}

func (s *Service) serveEntity(q *request) error {
	switch q.r.Method {
	case http.MethodGet:
		return s.showEntity(q)
	case http.MethodPut, http.MethodPatch, "MERGE", http.MethodDelete:
		return s.changeOne(q)
	}
	return errOperation(q)
}

const tableActions = "Microsoft.Storage/storageAccounts/tableServices/tables/"

// CreateTable makes a table. One that is there is no error.
func (s *Service) CreateTable(ctx context.Context, account, name string) error {
	a, err := s.account(account)
	if err != nil {
		return err
	}
	_, err = s.createTable(ctx, a, name)
	return err
}

func (s *Service) createTable(ctx context.Context, a *account, name string) (made bool, err error) {
	if err := CheckTableName(name); err != nil {
		return false, err
	}
	key := a.ID + "/" + strings.ToLower(name)
	err = s.State.Update(ctx, func(tx *state.Tx) error {
		ok, err := tx.Get(tableBucket, key, new(table))
		if made = !ok; err != nil || ok {
			return err
		}
		if ok, err := tx.Get(accountBucket, a.Name, new(Account)); err != nil || !ok { // it was deleted meanwhile
			return orElse(err, errNoAccount(a.Name))
		}
		return tx.Put(tableBucket, key, table{name, newID()})
	})
	return made && err == nil, err
}

// DeleteTable removes a table with its entities.
func (s *Service) DeleteTable(ctx context.Context, account, name string) error {
	a, err := s.account(account)
	if err != nil {
		return err
	}
	return s.deleteTable(ctx, a, name)
}

func (s *Service) deleteTable(ctx context.Context, a *account, name string) error {
	return s.State.Update(ctx, func(tx *state.Tx) error {
		t, err := getTable(tx, a, name)
		if err != nil {
			return err
		}
		return forgetTable(tx, a.ID, t)
	})
}

func getTable(tx *state.Tx, a *account, name string) (*table, error) {
	t := new(table)
	ok, err := tx.Get(tableBucket, a.ID+"/"+strings.ToLower(name), t)
	if err != nil || !ok {
		return nil, orElse(err, errNoTable)
	}
	return t, nil
}

func forgetTable(tx *state.Tx, account string, t *table) error {
	_, err := tx.Delete(tableBucket, account+"/"+strings.ToLower(t.Name))
	return errors.Join(err, tx.DeletePrefix(entityBucket, t.ID+"/"))
}

// forgetTables removes all tables of an account.
func forgetTables(tx *state.Tx, account string) error {
	return eachTable(tx, account, "", func(t *table) (bool, error) { return true, forgetTable(tx, account, t) })
}

// eachTable calls f for an account's tables until it says no.
func eachTable(tx *state.Tx, account, from string, f func(*table) (more bool, err error)) error {
	prefix := account + "/"
	for e, err := range tx.Scan(tableBucket, prefix, prefix+strings.ToLower(from)) {
		t := new(table)
		if err = errors.Join(err, decode(e, t)); err != nil {
			return err
		}
		if more, err := f(t); err != nil || !more {
			return err
		}
	}
	return nil
}

// Tables lists tables by name, from the first that is not before from. next is where to go on, "" at the end.
func (s *Service) Tables(ctx context.Context, account, from string, most int) (names []string, next string, err error) {
	a, err := s.account(account)
	if err != nil {
		return nil, "", err
	}
	return s.tables(ctx, a, from, page(most, maxRows), nil)
}

func (s *Service) tables(ctx context.Context, a *account, from string, most int, filter expression) (names []string, next string, err error) {
	err = s.State.View(ctx, func(tx *state.Tx) error {
		return eachTable(tx, a.ID, from, func(t *table) (bool, error) {
			switch {
			case filter != nil && !filter.holds(tableRow(t.Name)):
				return true, nil
			case len(names) == most:
				next = t.Name
				return false, nil
			}
			names = append(names, t.Name)
			return true, nil
		})
	})
	return names, next, err
}

// A tableRow is what a filter sees of a table.
type tableRow string

func (r tableRow) value(name string) (literal, bool) {
	return literal{kind: kindString, text: string(r)}, name == "TableName"
}

func (s *Service) putTable(q *request) error {
	text, err := q.readBody(maxSmallBody)
	if err != nil {
		return err
	}
	var asked struct{ TableName string }
	if err := json.Unmarshal(text, &asked); err != nil || asked.TableName == "" {
		return errInput("the body names no table")
	}
	q.table = asked.TableName
	if err := CheckTableName(q.table); err != nil {
		return err
	}
	if err := q.permit(need{action: tableActions + "write", kind: 'c', perms: "cw"}); err != nil {
		return err
	}
	made, err := s.createTable(q.r.Context(), q.account, q.table)
	if err == nil && !made {
		err = refuse(http.StatusConflict, "TableAlreadyExists", "The table specified already exists.")
	}
	if err != nil {
		return err
	}
	q.w.Header().Set("Location", q.url()+"Tables('"+q.table+"')")
	if q.prefersNothing() {
		q.w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return q.writeTable(http.StatusCreated, q.table)
}

// writeTable answers with one table.
func (q *request) writeTable(status int, name string) error {
	o := newObject()
	if q.level != noMetadata {
		o.text("odata.metadata", q.url()+"$metadata#Tables/@Element")
	}
	q.tableProperties(o, name)
	q.writeJSON(status, o.end())
	return nil
}

func (q *request) tableProperties(o *object, name string) {
	if q.level == fullMetadata {
		o.text("odata.type", q.account.Name+".Tables")
		o.text("odata.id", q.url()+"Tables('"+name+"')")
		o.text("odata.editLink", "Tables('"+name+"')")
	}
	o.text("TableName", name)
}

func (s *Service) showTable(q *request) error {
	if err := q.permit(need{action: tableActions + "read", kind: 'c', perms: "lr"}); err != nil {
		return err
	}
	var t *table
	err := s.State.View(q.r.Context(), func(tx *state.Tx) (err error) {
		t, err = getTable(tx, q.account, q.table)
		return err
	})
	if err != nil {
		return err
	}
	return q.writeTable(http.StatusOK, t.Name)
}

func (s *Service) dropTable(q *request) error {
	if err := q.permit(need{action: tableActions + "delete", kind: 'c', perms: "d"}); err != nil {
		return err
	}
	if err := s.deleteTable(q.r.Context(), q.account, q.table); err != nil {
		return err
	}
	q.w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Service) listTables(q *request) error {
	if err := q.permit(need{action: tableActions + "read", kind: 'c', perms: "l"}); err != nil {
		return err
	}
	most, filter, err := q.queryOptions()
	if err != nil {
		return err
	}
	from, err := readContinuation(q.query["nexttablename"])
	if err != nil {
		return err
	}
	names, next, err := s.tables(q.r.Context(), q.account, from, most, filter)
	if err != nil {
		return err
	}
	o := newObject()
	if q.level != noMetadata {
		o.text("odata.metadata", q.url()+"$metadata#Tables")
	}
	list := o.list("value")
	for _, name := range names {
		item := newObject()
		q.tableProperties(item, name)
		list.add(item)
	}
	if next != "" {
		q.w.Header().Set("x-ms-continuation-NextTableName", continuation(next))
	}
	q.writeJSON(http.StatusOK, o.endList(list))
	return nil
}

func errInput(what string) error {
	return azure.Errorf(http.StatusBadRequest, "InvalidInput", "One of the request inputs is not valid: %s.", what)
}

// queryOptions reads $top and $filter.
func (q *request) queryOptions() (most int, filter expression, err error) {
	most = maxRows
	if text, ok := q.query["$top"]; ok {
		if most, err = strconv.Atoi(text); err != nil || most < 1 || most > maxRows {
			return 0, nil, errInput("$top is a number from 1 to 1000")
		}
	}
	if text := q.query["$filter"]; text != "" {
		filter, err = parseFilter(text)
	}
	return most, filter, err
}
