package document

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestObjectsKeepOrderAndFindNamesInAnyCase(t *testing.T) {
	v, err := Parse([]byte(`{"b":1,"A":{"Inner":[true,null]},"c":"x"}`))
	if err != nil {
		t.Fatal(err)
	}
	o := v.(*Object)
	o.Set("B", int64(2))
	if got := Text(o); got != `{"b":2,"A":{"Inner":[true,null]},"c":"x"}` {
		t.Errorf("Text = %s", got)
	}
	if got, ok := o.At("a", "INNER"); !ok || Text(got) != "[true,null]" {
		t.Errorf("At = %v, %v", got, ok)
	}
	o.Delete("a")
	if got, _ := o.Get("C"); got != "x" || o.Len() != 2 || o.Has("A") {
		t.Errorf("after Delete: %s", Text(o))
	}
	o.Delete("nobody")
	var none *Object
	if none.Has("x") || none.Len() != 0 || none.String("x", "y") != "" || none.Object("x").Array("y") != nil {
		t.Error("a nil object has properties")
	}
	for range none.All() {
		t.Error("a nil object yields properties")
	}
}

func TestClonesShareNothing(t *testing.T) {
	o := NewObject("a", NewObject("b", []any{int64(1)}))
	c := Clone(o)
	c.Object("a").Array("b")[0] = int64(2)
	c.Object("a").Set("x", true)
	if Text(o) != `{"a":{"b":[1]}}` {
		t.Errorf("the original is now %s", Text(o))
	}
	if Clone[*Object](nil) != nil {
		t.Error("a clone of nil is something")
	}
}

func TestValuesAreEqualWhateverTheirOrder(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{`{"a":1,"b":[1,2]}`, `{"B":[1,2],"A":1.0}`, true},
		{`[1,2]`, `[2,1]`, false},
		{`{"a":1}`, `{"a":1,"b":null}`, false},
		{`{"a":1}`, `{"b":1}`, false},
		{`1`, `"1"`, false},
		{`null`, `false`, false},
		{`{}`, `[]`, false},
	} {
		a, _ := Parse([]byte(tt.a))
		b, _ := Parse([]byte(tt.b))
		if Equal(a, b) != tt.want || Equal(b, a) != tt.want || (Key(a) == Key(b)) != tt.want {
			t.Errorf("Equal(%s, %s) is not %v", tt.a, tt.b, tt.want)
		}
	}
}

func TestSizeStopsCounting(t *testing.T) {
	big := strings.Repeat("x", 1000)
	for _, tt := range []struct {
		v    any
		most int
		want int
	}{
		{nil, 100, 8}, {big, 5000, 1008}, {big, 100, 100}, {[]any{big, big, big}, 5000, 3032}, {[]any{big, big, big}, 1500, 1500}, {NewObject("a", big, "b", big), 1200, 1200},
	} {
		if got := Size(tt.v, tt.most); got != tt.want {
			t.Errorf("Size of %.20q up to %d is %d, want %d", Text(tt.v), tt.most, got, tt.want)
		}
	}
}

func TestLenientReading(t *testing.T) {
	for text, want := range map[string]string{
		"\ufeff{ // comment\n \"a\": 1, /* more\n */ }": `{"a":1}`,
		`{properties: {template: {"a": [1,2,],}}}`:      `{"properties":{"template":{"a":[1,2]}}}`,
		"{\"a\": \"two\nlines\"}":                       `{"a":"two\nlines"}`,
		`{'a': 'it\'s "quoted"'}`:                       `{"a":"it's \"quoted\""}`,
		`"http://not.a/comment /* nor this */"`:         `"http://not.a/comment /* nor this */"`,
		`[1, -2, 1.5, 1e3, 9223372036854775808]`:        `[1,-2,1.5,1000.0,9.223372036854776e+18]`,
		`"\u00e4\ud83d\ude00\ud800x\n"`:                 "\"ä😀\ufffdx\\n\"",
		`{"A":1,"a":2}`:                                 `{"A":2}`,
		"// nothing but\nnull // a comment":             `null`,
		`{"$schema":1,"x-y":2}`:                         `{"$schema":1,"x-y":2}`,
		`{"<>&":"<>&"}`:                                 `{"<>&":"<>&"}`,
	} {
		v, err := ParseLenient([]byte(text))
		if err != nil || Text(v) != want {
			t.Errorf("ParseLenient(%q) = %s, %v, want %s", text, Text(v), err, want)
		}
	}
}

func TestSyntaxErrorsSayWhere(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"", "line 1, column 1: a value is missing"},
		{"{\n  \"a\": 1\n  \"b\": 2\n}", "line 3, column 3: a comma or a closing brace is missing"},
		{"[1", "line 1, column 3: a comma or a closing bracket is missing"},
		{`{"a"`, "line 1, column 5: a colon is missing after \"a\""},
		{`{"a":1} x`, "line 1, column 9: there is more after the value"},
		{"{\n \"a\": \"never\n ends}", "line 2, column 7: a string does not end"},
		{"/* never ends", "line 1, column 1: a comment does not end"},
		{`[01]`, "line 1, column 2: \"01\" is no number"},
		{`1e999`, "line 1, column 1: 1e999 is too large for a number"},
		{`"\x"`, "line 1, column 3: a string holds an unknown escape"},
		{`"\u12"`, "line 1, column 3: a string holds half an escape"},
		{"\"\xff\"", "line 1, column 2: a string is not UTF-8"},
		{`nul`, "line 1, column 1: a value cannot begin with 'n'"},
		{`{,}`, "line 1, column 2: a property's name is missing"},
		{strings.Repeat("[", 1000), "line 1, column 130: it is nested deeper than 128"},
	} {
		if _, err := ParseLenient([]byte(tt.text)); err == nil || err.Error() != tt.want {
			t.Errorf("ParseLenient(%.40q): %v, want %s", tt.text, err, tt.want)
		}
	}
	for _, text := range []string{`{'a':1}`, `{a:1}`, `[1,]`, `{"a":1,}`, "//x\n1", "\"a\nb\"", "\ufeff1", `"\'"`} {
		if _, err := Parse([]byte(text)); err == nil {
			t.Errorf("Parse takes %q", text)
		}
	}
}

// Whatever encoding/json takes is taken, with the same meaning, and what is written is read as the same.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{`{"a":[1,2.5,"x",null,true]}`, `"\ud800"`, `{"a":1,"A":2}`, "[1e400]", `{unquoted:1}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v, err := Parse([]byte(text))
		if (err == nil) != json.Valid([]byte(text)) && !known(text, err) {
			t.Errorf("Parse(%q): %v, json.Valid says otherwise", text, err)
		}
		lenient, lenientErr := ParseLenient([]byte(text))
		if err == nil && (lenientErr != nil || !Equal(v, lenient)) {
			t.Errorf("the lenient reading of %q is another: %v", text, lenientErr)
		}
		if lenientErr != nil {
			return
		}
		again, err := Parse([]byte(Text(lenient)))
		if err != nil || !Equal(lenient, again) {
			t.Errorf("%q is written as %s, which reads otherwise: %v", text, Text(lenient), err)
		}
	})
}

// known are the texts that we refuse and encoding/json takes: invalid UTF-8, numbers out of range, and depth.
func known(text string, err error) bool {
	return err != nil && (strings.Contains(err.Error(), "UTF-8") || strings.Contains(err.Error(), "too large") || strings.Contains(err.Error(), "deeper"))
}
