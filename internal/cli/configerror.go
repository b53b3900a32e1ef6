package cli

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"github.com/causeway-gateway/causeway"
)

// configError says where a configuration file is wrong: file, line and key, and nothing else of what stands there. A
// value can be a secret, the message ends up in a journal, and the file may be a wrong one that is nobody's business.
func configError(path string, text []byte, err error) error {
	if !ourConfig.Match(text) {
		return causeway.WithHint(misuse{fmt.Errorf("configuration %s is not one of causeway's", path)},
			"give a config.yaml that was written by: causeway site export")
	}
	line := 0
	if ye, ok := errors.AsType[yaml.Error](err); ok && ye.GetToken() != nil {
		line = ye.GetToken().Position.Line
	}
	if bad, ok := errors.AsType[*badValue](err); ok {
		line = bad.line
	}
	where := fmt.Sprintf("configuration %s", path)
	if line > 0 {
		where += fmt.Sprintf(", line %d", line)
	}
	key := keyOf(text, line)
	if key != "" {
		where += ", " + key
	}
	_, syntax := errors.AsType[*yaml.SyntaxError](err)
	_, unknown := errors.AsType[*yaml.UnknownFieldError](err)
	switch {
	case syntax && isTwice(text, line, key):
		return misuse{fmt.Errorf("%s: the field is there twice", where)}
	case unknown:
		return causeway.WithHint(misuse{fmt.Errorf("%s: %s", where, configFault(err))}, "%s", unknownHint(key))
	}
	return misuse{fmt.Errorf("%s: %s", where, configFault(err))}
}

// isTwice reports whether a line's key stands on an earlier one, too.
func isTwice(text []byte, line int, key string) bool {
	for i := 1; i < line && key != ""; i++ {
		if keyOf(text, i) == key {
			return true
		}
	}
	return false
}

// unknownHint says what to do about a field that there is not. Whoever mixed up two folders finds the other role's.
func unknownHint(key string) string {
	switch key {
	case "gateway", "instance", "slot", "devices_listen", "channels_listen", "health_listen":
		return "a gateway's configuration has it: start that with causeway gateway run"
	case "id", "connection_id", "transports", "proxy":
		return "a connection point's configuration has it: start that with causeway connection-point run"
	}
	return "take it away; the comments of an exported config.yaml name what there is"
}

// A badValue is a value that a field does not take. It says where it stands and what is wanted, not what it is.
type badValue struct {
	line int
	want string
}

func (e *badValue) Error() string { return e.want }

// unmarshalField reads the text of a value, and says what is wanted when that fails.
func unmarshalField(n ast.Node, into encoding.TextUnmarshaler, want string) error {
	if scalar, ok := n.(ast.ScalarNode); ok && into.UnmarshalText([]byte(fmt.Sprint(scalar.GetValue()))) == nil {
		return nil
	}
	return newBadValue(n, want)
}

func newBadValue(n ast.Node, want string) error {
	bad := &badValue{want: want}
	if t := n.GetToken(); t != nil && t.Position != nil {
		bad.line = t.Position.Line
	}
	return bad
}

// A wholeNumber is a number that is counted in: 1.5 is none.
type wholeNumber int

// UnmarshalYAML reads a field of a configuration file.
func (w *wholeNumber) UnmarshalYAML(n ast.Node) error {
	return unmarshalField(n, w, "want a whole number")
}

func (w *wholeNumber) UnmarshalText(b []byte) error {
	n, err := strconv.Atoi(string(b))
	if err != nil {
		return err
	}
	*w = wholeNumber(n)
	return nil
}

// fieldOf says where in a configuration file a field of the top level stands, for a value that is understood but cannot
// be. A file that cannot be read again has no lines.
func fieldOf(path, field string) string {
	text, _ := os.ReadFile(path)
	for i, line := range bytes.Split(text, []byte("\n")) {
		if m := lineKey.FindSubmatch(line); m != nil && string(m[1]) == field && line[0] == field[0] {
			return fmt.Sprintf("configuration %s, line %d, %s", path, i+1, field)
		}
	}
	return fmt.Sprintf("configuration %s: %s", path, field)
}

// ourConfig finds a field that every configuration file of a role has.
var ourConfig = regexp.MustCompile(`(?m)^(site|site_key):(\s|$)`)

// lineKey finds the key that a line of YAML begins with.
var lineKey = regexp.MustCompile(`^[ \t]*([a-z][a-z0-9_]{0,40})[ \t]*:(\s|$)`)

// keyOf returns the key on a line, "" when the line begins with something else.
func keyOf(text []byte, line int) string {
	lines := bytes.Split(text, []byte("\n"))
	if line < 1 || line > len(lines) {
		return ""
	}
	if m := lineKey.FindSubmatch(lines[line-1]); m != nil {
		return string(m[1])
	}
	return ""
}

// configFault is what is wrong, in words of ours: the library's hold what it read.
func configFault(err error) string {
	var (
		unknown   *yaml.UnknownFieldError
		duplicate *yaml.DuplicateKeyError
		syntax    *yaml.SyntaxError
		wrongType *yaml.TypeError
		overflow  *yaml.OverflowError
	)
	if bad, ok := errors.AsType[*badValue](err); ok {
		return bad.want
	}
	switch {
	case errors.As(err, &unknown):
		return "there is no such field"
	case errors.As(err, &duplicate):
		return "the field is there twice"
	case errors.As(err, &syntax):
		return "this is not YAML"
	case errors.As(err, &wrongType):
		return "the value is of the wrong kind, want " + kindName(wrongType)
	case errors.As(err, &overflow):
		return "the number is out of range"
	}
	return "the value is not understood"
}

// kindName says for people what a field takes.
func kindName(e *yaml.TypeError) string {
	switch e.DstType.String() {
	case "int", "int64", "uint64":
		return "a number"
	case "bool":
		return "true or false"
	}
	switch e.DstType.Kind().String() {
	case "struct":
		return "fields of its own"
	case "int", "int64", "uint64":
		return "a number"
	}
	return "text"
}
