package main_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/wstape/wstape"

// mayImport is the table of docs/architecture.md: which room may know which.
// "*" is everything. A room that is not here may not exist.
func mayImport() map[string][]string {
	return map[string][]string{
		".":                    {"*"},
		"internal/cli":         {"*"},
		"tape":                 {},
		"internal/wire":        {"tape"},
		"internal/config":      {"tape", "internal/filter", "internal/jsonpath", "internal/levenshtein"},
		"internal/decode":      {"tape"},
		"internal/admin":       {},
		"internal/metrics":     {"tape"},
		"internal/demo":        {},
		"internal/drain":       {},
		"internal/jsonpath":    {},
		"internal/levenshtein": {},
		"internal/stats":       {"tape", "internal/decode"},
		"internal/filter":      {"tape", "internal/decode", "internal/levenshtein"},
		"e2e":                  {},
		"bench":                {"tape", "internal/wire", "record", "record/boltstore"}, // to make long tapes without a proxy
		"internal/wstest":      {"tape", "internal/wire"},
		"internal/har":         {"tape", "record"},
		"internal/bridge":      {"tape", "record", "internal/wire"},
		"proxy":                {"tape", "internal/wire", "internal/drain"},
		"script":               {"tape", "internal/filter", "internal/levenshtein"},
		"replay":               {"tape", "record", "internal/wire", "internal/drain", "internal/jsonpath"},
		"record":               {"tape", "internal/wire", "internal/jsonpath"},
		"record/boltstore":     {"tape", "record"},
		"record/remote":        {"tape", "record"},
		"record/storetest":     {"tape", "record"},

		"examples/testing/go": {"replay", "record", "tape"},
	}
}

// door says which rooms alone may import a third-party library.
func doors() map[string][]string {
	return map[string][]string{
		"github.com/spf13/viper":        {"internal/config"},
		"github.com/go-viper":           {"internal/config"},
		"github.com/spf13/cobra":        {"internal/cli"},
		"github.com/spf13/pflag":        {"internal/cli"},
		"go.etcd.io/bbolt":              {"record/boltstore"},
		"github.com/klauspost/compress": {"internal/wire", "record"},
		"github.com/gorilla/websocket":  {"internal/demo", "internal/wstest", "replay", "bench", "examples/testing/go"},
		"github.com/google/uuid":        {"record"},
		"filippo.io/age":                {"record"},
		"golang.org/x/crypto":           {"record"},
		"github.com/HdrHistogram":       {"internal/stats", "replay"},
		"github.com/dop251/goja":        {"script"},
		"github.com/evanw/esbuild":      {"script"},
		"github.com/fsnotify/fsnotify":  {"script"},
		"github.com/dlclark/regexp2":    {"script"}, // goja's; to bound it
		"github.com/fxamacker/cbor":     {"internal/decode"},
		"github.com/vmihailenco":        {"internal/decode"},
		"google.golang.org/protobuf":    {"internal/decode"},
		"github.com/bufbuild":           {"internal/decode"},
		"golang.org/x/term":             {"internal/cli"},
		"github.com/coreos/go-systemd":  {"internal/cli"},
		"github.com/prometheus":         {"internal/metrics"},
		"golang.org/x/text":             {"internal/cli"}, // how wide characters are
		"golang.org/x/sys":              {"internal/drain", "internal/wstest", "record/boltstore"},
		"github.com/expr-lang/expr":     {"internal/filter"},
		"testing":                       {}, // helpers take an interface of their own
	}
}

// goFiles calls f for each file with its room and imports.
func goFiles(t *testing.T, f func(room, file string, imports []string)) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != "." || d.Name() == "node_modules" || d.Name() == "testdata" || path == "tools"):
			return filepath.SkipDir
		case d.IsDir() || filepath.Ext(path) != ".go":
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		var imports []string
		for _, spec := range parsed.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			imports = append(imports, name)
		}
		f(filepath.ToSlash(filepath.Dir(path)), path, imports)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestRoomsOnlyKnowWhomTheyMay(t *testing.T) {
	seen := 0
	goFiles(t, func(room, file string, imports []string) {
		if strings.HasSuffix(file, "_test.go") {
			return // tests may put any rooms together
		}
		seen++
		allowed, known := mayImport()[room]
		if !known {
			t.Errorf("%s: room %q is not in the table of rooms", file, room)
		}
		for _, name := range imports {
			if of, ok := strings.CutPrefix(name, module+"/"); ok && !slices.Contains(allowed, of) && !slices.Contains(allowed, "*") {
				t.Errorf("%s: room %q may not import %q", file, room, of)
			}
			for library, rooms := range doors() {
				if (name == library || strings.HasPrefix(name, library+"/")) && !slices.Contains(rooms, room) {
					t.Errorf("%s: %q may be imported by %v only", file, name, rooms)
				}
			}
		}
	})
	if seen == 0 {
		t.Fatal("no Go file seen")
	}
}

func TestNoInit(t *testing.T) {
	goFiles(t, func(_, file string, _ []string) {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s has an init function", file)
			}
		}
	})
}
