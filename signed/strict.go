package signed

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// maxDepth bounds nesting. Our documents need a handful of levels.
const maxDepth = 32

// strictJSON decodes exactly one value: unknown fields, repeated fields (in any case, because encoding/json
// matches names in any case), invalid UTF-8 and bytes behind the value are errors.
func strictJSON(b []byte, into any) error {
	if !utf8.Valid(b) {
		return errors.New("invalid UTF-8")
	}
	if err := noDuplicates(b); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("data behind the value")
	}
	return nil
}

// noDuplicates walks one value and reports a name that stands twice in one object.
func noDuplicates(b []byte) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var open []map[string]bool // one for each open object or array; nil for an array
	var isKey bool
	for {
		t, err := d.Token()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		switch t := t.(type) {
		case json.Delim:
			switch t {
			case '{':
				open = append(open, map[string]bool{})
			case '[':
				open = append(open, nil)
			default:
				open = open[:len(open)-1]
			}
			if len(open) > maxDepth {
				return fmt.Errorf("nested deeper than %d levels", maxDepth)
			}
			isKey = len(open) > 0 && open[len(open)-1] != nil
			continue
		case string:
			if isKey {
				names := open[len(open)-1]
				name := strings.ToLower(t)
				if names[name] {
					return fmt.Errorf("field %q stands twice", t)
				}
				names[name] = true
				isKey = false
				continue
			}
		}
		isKey = len(open) > 0 && open[len(open)-1] != nil
	}
}
