package causeway_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/causeway-gateway/causeway"

// A layer is a row of the package table in ARCHITECTURE.md. Imports point from a layer to itself or further down,
// within the exceptions that mayImport knows.
type layer int

const (
	words      layer = iota // package causeway
	helpers                 // internal/…: could be in anybody's program
	mechanisms              // channel, identity, policy, …
	roles                   // gateway, connpoint, console
	ground                  // fabric/…: behaves as Azure does, on one machine
	edge                    // internal/cli, cmd, and the programs that only test and measure
)

var layers = map[string]layer{
	"":                words,
	"channel":         mechanisms,
	"identity":        mechanisms,
	"policy":          mechanisms,
	"signed":          mechanisms,
	"siteca":          mechanisms,
	"site":            mechanisms,
	"cmtrace":         mechanisms,
	"internal/http1":  mechanisms, // strict HTTP/1.1, but it knows which headers carry our identity
	"gateway":         roles,
	"connpoint":       roles,
	"console":         roles,
	"fabric":          ground,
	"internal/cli":    edge,
	"internal/sample": edge, // a program of its own, which internal/cli starts
	"cmd":             edge,
	"e2e":             edge,
	"bench":           edge,
}

// layerOf finds the longest entry that pkg lies under; what has none under internal is a helper.
func layerOf(pkg string) (layer, bool) {
	for p := pkg; ; {
		if l, ok := layers[p]; ok && (p != "" || pkg == "") {
			return l, true
		}
		i := strings.LastIndexByte(p, '/')
		if i < 0 {
			return helpers, strings.HasPrefix(pkg, "internal/")
		}
		p = p[:i]
	}
}

// mayImport is the rule: edge → roles → mechanisms → helpers → words. A role never imports a role, the ground
// imports no role, and only the edge imports the ground.
func mayImport(from, to string) bool {
	if within(from, to) || within(to, from) {
		return true
	}
	a, _ := layerOf(from)
	b, _ := layerOf(to)
	switch {
	case a == edge:
		return b != edge || to == "internal/cli" || to == "internal/sample"
	case b == roles || b == ground || b == edge:
		return a == ground && b == ground
	case a == helpers:
		return b == helpers || b == words
	}
	return b <= a
}

// within reports whether child is parent or lies below it: a package and its own inner packages are one.
func within(child, parent string) bool {
	return child == parent || parent != "" && strings.HasPrefix(child, parent+"/")
}

// eachFile calls do for every Go file of ours that is no test, with its package.
func eachFile(t *testing.T, do func(path, pkg string)) {
	t.Helper()
	packages := map[string]bool{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); path != "." && (strings.HasPrefix(name, ".") || name == "testdata" || name == "bin") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil // tests may start both ends of a wire
		}
		pkg := filepath.ToSlash(filepath.Dir(path))
		if pkg == "." {
			pkg = ""
		}
		packages[pkg] = true
		do(path, pkg)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range layers {
		lies := func(p string) bool { return p == pkg || strings.HasPrefix(p, pkg+"/") }
		if !slices.ContainsFunc(slices.Collect(maps.Keys(packages)), lies) {
			t.Errorf("no file of package %q was looked at: take it out of layers", pkg)
		}
	}
}

func TestImportsPointDownTheLayers(t *testing.T) {
	seen := 0
	eachFile(t, func(path, pkg string) {
		if _, known := layerOf(pkg); !known {
			t.Errorf("package %q stands in no layer: add it to layers and to ARCHITECTURE.md", pkg)
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range file.Imports {
			target, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if target != module && !strings.HasPrefix(target, module+"/") {
				continue
			}
			seen++
			if to := strings.TrimPrefix(strings.TrimPrefix(target, module), "/"); !mayImport(pkg, to) {
				t.Errorf("%s imports %q: imports point edge → roles → mechanisms → helpers → words", path, to)
			}
		}
	})
	if seen == 0 {
		t.Error("no import of ours was found: the test looks in the wrong place")
	}
}

func TestTheImportRuleRefusesWhatItShould(t *testing.T) {
	for _, tt := range []struct {
		from, to string
		want     bool
	}{
		{"internal/cli", "gateway", true},
		{"internal/cli", "fabric/network", true},
		{"gateway", "channel", true},
		{"gateway", "internal/http1", true},
		{"channel", "", true},
		{"policy", "identity", true},
		{"fabric/network", "internal/handoff", true},
		{"cmd/causeway", "internal/cli", true},
		{"gateway", "connpoint", false},
		{"connpoint", "gateway", false},
		{"console", "gateway", false},
		{"gateway", "fabric/network", false},
		{"channel", "gateway", false},
		{"fabric/network", "gateway", false},
		{"internal/confine", "policy", false},
		{"", "channel", false},
		{"gateway", "internal/cli", false},
	} {
		if got := mayImport(tt.from, tt.to); got != tt.want {
			t.Errorf("mayImport(%q, %q) = %v, want %v", tt.from, tt.to, got, tt.want)
		}
	}
}

// TestOnlyTheEdgeReadsTheEnvironment keeps settings in one place: a role is given what it needs.
func TestOnlyTheEdgeReadsTheEnvironment(t *testing.T) {
	eachFile(t, func(path, pkg string) {
		if l, _ := layerOf(pkg); l == edge {
			return
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, call := range []string{"os.Getenv(", "os.LookupEnv(", "os.Exit(", "context.Background()", "log.Fatal"} {
			if strings.Contains(string(text), call) {
				t.Errorf("%s uses %s: only internal/cli does", path, call)
			}
		}
	})
}
