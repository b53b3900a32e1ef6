package storage

import (
	"cmp"
	"encoding/base64"
	"math"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/causeway-gateway/causeway/fabric/azure"
	"github.com/causeway-gateway/causeway/fabric/state"
)

// entityKey names an entity within its table.
type entityKey struct{ Partition, Row string }

// keySeparator comes before all characters that keys may have, so that the index orders by partition, then by row.
const keySeparator = "\x01"

func (k entityKey) String() string { return k.Partition + keySeparator + k.Row }

func (k entityKey) compare(other entityKey) int {
	return cmp.Or(cmp.Compare(k.Partition, other.Partition), cmp.Compare(k.Row, other.Row))
}

const (
	maxKeyBytes      = 1 << 10
	maxEntityBytes   = 1 << 20
	maxProperties    = 252 // besides keys and timestamp
	maxPropertyName  = 255
	maxPropertyBytes = 64 << 10
)

// check refuses keys that Azure does not take.
func (k entityKey) check() error {
	for _, text := range []string{k.Partition, k.Row} {
		if 2*utf16Length(text) > maxKeyBytes {
			return refuse(http.StatusBadRequest, "KeyValueTooLarge", "The specified PartitionKey or RowKey is too large.")
		}
		if !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 || strings.ContainsRune(`/\#?`, r) }) {
			return refuse(http.StatusBadRequest, "OutOfRangeInput", "The 'PartitionKey' or 'RowKey' parameter is out of range: it has a character that keys cannot have.")
		}
	}
	return nil
}

func utf16Length(s string) (n int) {
	for _, r := range s {
		n += max(1, utf16.RuneLen(r))
	}
	return n
}

// An entity is a row of a table.
type entity struct {
	entityKey  `json:"-"`  // stands in the key
	Time       time.Time   `json:"t"`
	Properties []*property `json:"p"`
}

// A property has its value as a text that its type has one of.
type property struct {
	Name  string `json:"n"`
	Type  string `json:"e"`
	Value string `json:"v"`
}

// Types of properties.
const (
	edmString   = "Edm.String"
	edmBoolean  = "Edm.Boolean"
	edmInt32    = "Edm.Int32"
	edmInt64    = "Edm.Int64"
	edmDouble   = "Edm.Double"
	edmDateTime = "Edm.DateTime"
	edmGUID     = "Edm.Guid"
	edmBinary   = "Edm.Binary"
)

const dateTimeFormat = "2006-01-02T15:04:05.0000000Z"

func (e *entity) timestamp() string { return e.Time.UTC().Format(dateTimeFormat) }

func (e *entity) etag() string { return `W/"datetime'` + url.QueryEscape(e.timestamp()) + `'"` }

// value is what a filter sees of an entity.
func (e *entity) value(name string) (literal, bool) {
	switch name {
	case "PartitionKey":
		return literal{kind: kindString, text: e.Partition}, true
	case "RowKey":
		return literal{kind: kindString, text: e.Row}, true
	case "Timestamp":
		return literal{kind: kindTime, time: e.Time}, true
	}
	i := slices.IndexFunc(e.Properties, func(p *property) bool { return p.Name == name })
	if i < 0 {
		return literal{}, false
	}
	return e.Properties[i].literal(), true
}

func (p *property) literal() (l literal) {
	switch p.Type {
	case edmBoolean:
		return literal{kind: kindBool, bool: p.Value == "true"}
	case edmInt32, edmInt64:
		n, _ := strconv.ParseInt(p.Value, 10, 64) // was checked when it came
		return literal{kind: kindInt, int: n}
	case edmDouble:
		n, _ := strconv.ParseFloat(p.Value, 64)
		return literal{kind: kindFloat, float: n}
	case edmDateTime:
		t, _ := time.Parse(time.RFC3339, p.Value)
		return literal{kind: kindTime, time: t}
	case edmGUID:
		return literal{kind: kindGUID, text: p.Value}
	case edmBinary:
		raw, _ := base64.StdEncoding.DecodeString(p.Value)
		return literal{kind: kindBinary, text: string(raw)}
	}
	return literal{kind: kindString, text: p.Value}
}

var isPropertyName = regexp.MustCompile(`^[\p{L}_][\p{L}\p{Nd}\p{Mn}\p{Mc}\p{Pc}]*$`)

// check refuses a property that Azure does not take, and writes its value the one way.
func (p *property) check() error {
	switch {
	case utf16Length(p.Name) > maxPropertyName:
		return refuse(http.StatusBadRequest, "PropertyNameTooLong", "The property name exceeds the maximum allowed length (255).")
	case !isPropertyName.MatchString(p.Name):
		return refuse(http.StatusBadRequest, "PropertyNameInvalid", "The property name is invalid.")
	}
	if !p.canonical() {
		return errInput("the value of the property " + strconv.Quote(p.Name) + " is not of the type that it has")
	}
	if p.size() > maxPropertyBytes+4 {
		return refuse(http.StatusBadRequest, "PropertyValueTooLarge", "The property value exceeds the maximum allowed size (64KB). If the property value is a string, it is UTF-16 encoded and the maximum number of characters should be 32K or less.")
	}
	return nil
}

// canonical writes the value as it is kept, and reports whether it is one of its type.
func (p *property) canonical() bool {
	switch p.Type {
	case edmString:
		return true
	case edmBoolean:
		return p.Value == "true" || p.Value == "false"
	case edmInt32, edmInt64:
		bits := 64
		if p.Type == edmInt32 {
			bits = 32
		}
		n, err := strconv.ParseInt(p.Value, 10, bits)
		p.Value = strconv.FormatInt(n, 10)
		return err == nil
	case edmDouble:
		return p.canonicalDouble()
	case edmDateTime:
		t, err := time.Parse(time.RFC3339, p.Value)
		t = t.UTC().Truncate(100)
		p.Value = t.Format("2006-01-02T15:04:05.9999999Z")
		return err == nil && t.Year() >= 1601 && t.Year() <= 9999
	case edmGUID:
		p.Value = strings.ToLower(p.Value)
		return azure.IsGUID(p.Value)
	case edmBinary:
		raw, err := base64.StdEncoding.DecodeString(p.Value)
		p.Value = base64.StdEncoding.EncodeToString(raw)
		return err == nil
	}
	return false
}

// canonicalDouble keeps a point or an exponent in the text, by which a reader knows it from a whole number.
func (p *property) canonicalDouble() bool {
	switch p.Value {
	case "NaN", "Infinity", "-Infinity":
		return true
	}
	n, err := strconv.ParseFloat(p.Value, 64)
	if err != nil || math.IsInf(n, 0) || math.IsNaN(n) {
		return false
	}
	p.Value = strconv.FormatFloat(n, 'g', -1, 64)
	if !strings.ContainsAny(p.Value, ".e") {
		p.Value += ".0"
	}
	return true
}

// size is how much of an entity's megabyte the value takes.
func (p *property) size() int {
	switch p.Type {
	case edmBoolean:
		return 1
	case edmInt32:
		return 4
	case edmInt64, edmDouble, edmDateTime:
		return 8
	case edmGUID:
		return 16
	case edmBinary:
		return 4 + base64.StdEncoding.DecodedLen(len(p.Value)) - strings.Count(p.Value, "=")
	}
	return 4 + 2*utf16Length(p.Value)
}

// checkSize refuses an entity that has become too large.
func (e *entity) checkSize() error {
	if len(e.Properties) > maxProperties {
		return refuse(http.StatusBadRequest, "TooManyProperties", "The entity contains more properties than allowed. Each entity can include up to 252 properties to store data. Each entity also has 3 system properties.")
	}
	size := 4 + 2*(utf16Length(e.Partition)+utf16Length(e.Row))
	for _, p := range e.Properties {
		size += 8 + 2*utf16Length(p.Name) + p.size()
	}
	if size > maxEntityBytes {
		return refuse(http.StatusBadRequest, "EntityTooLarge", "The entity is larger than the maximum allowed size (1MB).")
	}
	return nil
}

// merge returns the entity's properties with others laid over them.
func (e *entity) merge(others []*property) []*property {
	merged := slices.Clone(e.Properties)
	for _, p := range others {
		if i := slices.IndexFunc(merged, func(m *property) bool { return m.Name == p.Name }); i >= 0 {
			merged[i] = p
		} else {
			merged = append(merged, p)
		}
	}
	return merged
}

func getEntity(tx *state.Tx, t *table, key entityKey) (*entity, bool, error) {
	e := &entity{entityKey: key}
	ok, err := tx.Get(entityBucket, t.ID+"/"+key.String(), e)
	return e, ok, err
}

var errNoEntity = refuse(http.StatusNotFound, "ResourceNotFound", "The specified resource does not exist.")
