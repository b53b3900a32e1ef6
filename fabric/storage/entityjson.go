package storage

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// How much an answer tells about itself.
const (
	minimalMetadata = iota
	noMetadata
	fullMetadata
)

var jsonTypes = []string{"application/json;odata=minimalmetadata", "application/json;odata=nometadata", "application/json;odata=fullmetadata"}

// chooseFormat reads what the client wants to be answered with.
func (q *request) chooseFormat() error {
	text := q.query["$format"]
	if text == "" {
		text = q.r.Header.Get("Accept")
	}
	text = strings.ToLower(strings.ReplaceAll(text, " ", ""))
	switch {
	case strings.Contains(text, "odata=nometadata"):
		q.level = noMetadata
	case strings.Contains(text, "odata=fullmetadata"):
		q.level = fullMetadata
	case text != "" && !strings.Contains(text, "json") && !strings.Contains(text, "*/*") && !strings.Contains(text, "multipart/mixed") && q.r.Method == http.MethodGet:
		return refuse(http.StatusUnsupportedMediaType, "AtomFormatNotSupported", "Atom format is not supported.")
	}
	return nil
}

func (q *request) writeJSON(status int, text []byte) {
	q.account.usage.egress.Add(int64(len(text)))
	writeBody(q.w, q.r, status, jsonTypes[q.level]+";streaming=true;charset=utf-8", text, "")
}

func (q *request) prefersNothing() bool {
	switch strings.TrimSpace(q.r.Header.Get("Prefer")) {
	case "return-no-content":
		q.w.Header().Set("Preference-Applied", "return-no-content")
		return true
	case "return-content":
		q.w.Header().Set("Preference-Applied", "return-content")
	}
	return false
}

// An object is a JSON object that is being written.
type object struct{ bytes.Buffer }

func newObject() *object {
	o := new(object)
	o.WriteByte('{')
	return o
}

func (o *object) raw(name, value string) {
	if o.Len() > 1 {
		o.WriteByte(',')
	}
	o.Write(quote(name))
	o.WriteByte(':')
	o.WriteString(value)
}

func (o *object) text(name, value string) { o.raw(name, string(quote(value))) }

func (o *object) end() []byte {
	o.WriteByte('}')
	return o.Bytes()
}

func quote(s string) []byte {
	text, _ := json.Marshal(s) // a string always can be
	return text
}

// A list is a JSON array that is being written into an object.
type list struct {
	bytes.Buffer
	name string
	n    int
}

func (o *object) list(name string) *list { return &list{name: name} }

func (l *list) add(item *object) {
	if l.n++; l.n > 1 {
		l.WriteByte(',')
	}
	l.Write(item.end())
}

func (o *object) endList(l *list) []byte {
	o.raw(l.name, "["+l.String()+"]")
	return o.end()
}

// describe writes an entity, or those of its properties that are chosen.
func (e *entity) describe(o *object, q *request, chosen []string) {
	wanted := func(name string) bool { return len(chosen) == 0 || slices.Contains(chosen, name) }
	if q.level == fullMetadata {
		id := q.table + "(PartitionKey='" + escapeKey(e.Partition) + "',RowKey='" + escapeKey(e.Row) + "')"
		o.text("odata.type", q.account.Name+"."+q.table)
		o.text("odata.id", q.url()+id)
		o.text("odata.editLink", id)
	}
	if q.level != noMetadata {
		o.text("odata.etag", e.etag())
	}
	if wanted("PartitionKey") {
		o.text("PartitionKey", e.Partition)
	}
	if wanted("RowKey") {
		o.text("RowKey", e.Row)
	}
	if wanted("Timestamp") {
		if q.level == fullMetadata {
			o.text("Timestamp@odata.type", edmDateTime)
		}
		o.text("Timestamp", e.timestamp())
	}
	for _, p := range e.Properties {
		if wanted(p.Name) {
			p.describe(o, q.level)
		}
	}
}

// escapeKey writes a key as it stands in a URL, and so also in headers.
func escapeKey(s string) string { return url.PathEscape(strings.ReplaceAll(s, "'", "''")) }

// describe writes a property, with its type where JSON does not tell it.
func (p *property) describe(o *object, level int) {
	switch p.Type {
	case edmBoolean, edmInt32:
		o.raw(p.Name, p.Value)
		return
	case edmDouble:
		if c := p.Value[len(p.Value)-1]; c >= '0' && c <= '9' {
			o.raw(p.Name, p.Value)
			return
		}
	}
	if level == fullMetadata || level == minimalMetadata && p.Type != edmString {
		o.text(p.Name+"@odata.type", p.Type)
	}
	o.text(p.Name, p.Value)
}

// readEntity reads what a body says of an entity. The keys are "" where it does not say them; keyed tells which it says.
func readEntity(text []byte) (e *entity, keyed [2]bool, err error) {
	fields, err := readFields(text)
	if err != nil {
		return nil, keyed, err
	}
	types := make(map[string]string)
	for _, f := range fields {
		if name, ok := strings.CutSuffix(f.name, "@odata.type"); ok {
			s, ok := f.value.(string)
			if !ok {
				return nil, keyed, errInput("a type is not a text")
			}
			types[name] = s
		}
	}
	e = new(entity)
	for _, f := range fields {
		switch {
		case f.name == "PartitionKey" || f.name == "RowKey":
			if err := e.setKey(f, &keyed); err != nil {
				return nil, keyed, err
			}
		case f.name == "Timestamp" || f.value == nil || strings.HasPrefix(f.name, "odata.") || strings.Contains(f.name, "@odata."): // ours, or nothing
		default:
			p := &property{Name: f.name, Type: types[f.name]}
			if err := p.set(f.value); err != nil {
				return nil, keyed, err
			}
			e.Properties = append(e.Properties, p)
		}
	}
	return e, keyed, nil
}

func (e *entity) setKey(f field, keyed *[2]bool) error {
	s, ok := f.value.(string)
	if !ok {
		return refuse(http.StatusBadRequest, "PropertiesNeedValue", "The values are not specified for all properties in the entity: keys are texts.")
	}
	if f.name == "PartitionKey" {
		e.Partition, keyed[0] = s, true
	} else {
		e.Row, keyed[1] = s, true
	}
	return nil
}

// set takes a value from JSON, whose type follows from its form where none is said.
func (p *property) set(value any) error {
	form := ""
	switch v := value.(type) {
	case string:
		form, p.Value = edmString, v
	case bool:
		form, p.Value = edmBoolean, strconv.FormatBool(v)
	case json.Number:
		form, p.Value = edmDouble, v.String()
		if _, err := strconv.ParseInt(p.Value, 10, 32); err == nil {
			form = edmInt32
		}
	default:
		return errInput("a property is an object or an array")
	}
	if p.Type == "" {
		p.Type = form
	}
	number := p.Type == edmInt32 || p.Type == edmInt64 || p.Type == edmDouble
	if form == edmBoolean != (p.Type == edmBoolean) || form == edmString && p.Type == edmInt32 || form != edmString && form != edmBoolean && !number {
		return errInput("the value of the property " + strconv.Quote(p.Name) + " is not of the type that it has")
	}
	return p.check()
}

// A field is a member of a JSON object, in its order.
type field struct {
	name  string
	value any
}

var errBadJSON = errInput("the body is not a JSON object")

// readFields reads a flat object. A name that stands there twice is refused: two readers could see two values.
func readFields(text []byte) (fields []field, err error) {
	if !utf8.Valid(text) {
		return nil, errBadJSON
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if first, err := d.Token(); err != nil || first != json.Delim('{') {
		return nil, errBadJSON
	}
	seen := make(map[string]bool)
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, errBadJSON
		}
		value, err := d.Token()
		if err != nil {
			return nil, errBadJSON
		}
		if _, nested := value.(json.Delim); nested {
			return nil, errInput("a property is an object or an array")
		}
		f := field{name.(string), value} // the decoder gives no other names
		if seen[f.name] {
			return nil, errInput("a property stands there twice")
		}
		seen[f.name] = true
		fields = append(fields, f)
		if len(fields) > 3*(maxProperties+8) {
			return nil, refuse(http.StatusBadRequest, "TooManyProperties", "The entity contains more properties than allowed. Each entity can include up to 252 properties to store data. Each entity also has 3 system properties.")
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, errBadJSON
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errBadJSON
	}
	return fields, nil
}

// continuation is where the next page begins, in a form that headers and queries take unchanged.
func continuation(key string) string { return "1!" + base64.RawURLEncoding.EncodeToString([]byte(key)) }

func readContinuation(text string) (key string, err error) {
	if text == "" {
		return "", nil
	}
	encoded, ok := strings.CutPrefix(text, "1!")
	raw, err := base64.RawURLEncoding.DecodeString(encoded)
	if !ok || err != nil || !utf8.Valid(raw) {
		return "", errInput("the continuation is none of ours")
	}
	return string(raw), nil
}
