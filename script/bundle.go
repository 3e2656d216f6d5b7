package script

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/dop251/goja"
	"github.com/dop251/goja/file"
	"github.com/dop251/goja/parser"
	"github.com/evanw/esbuild/pkg/api"
)

// bundler is the loading of one script.
type bundler struct {
	name    string   // of the script, in errors
	entry   string   // the script's real path
	dir     string   // its folder, which names of files are relative to
	module  bool     // see Program
	strict  bool     // it is made of ES modules only
	exports []string // see Program
	end     int      // the line of the bundle where the user's code ends

	define map[string]string // free names, and what to put in their place

	mu   sync.Mutex // esbuild reads files concurrently
	read map[string]bool
}

// A bundle is a function expression. ES modules are strict; CommonJS modules
// need not be, and then as many spaces stand in the place of "use strict", so that
// the source map holds.
const (
	useStrict = `"use strict";`
	prologue  = "(function(require){"
	epilogue  = "})"
)

// bundle joins the script and what it imports to the text of a function that
// returns what it exports, as goja understands it, and makes a source map for it.
func (b *bundler) bundle() (bundle, sourceMap []byte, err error) {
	if strings.Contains(b.entry, "*") { // esbuild would take it for a pattern
		return nil, nil, b.failed(Problem{Text: "the path of a script cannot contain an asterisk", Hint: "rename " + b.entry})
	}
	result := api.Build(b.options())
	problems := b.problems(append(result.Errors, b.refused(result.Warnings)...))
	if len(problems) > 0 {
		return nil, nil, b.failed(problems...)
	}
	for _, f := range result.OutputFiles {
		switch {
		case strings.HasSuffix(f.Path, ".js"):
			bundle = f.Contents
		case strings.HasSuffix(f.Path, ".js.map"):
			sourceMap = f.Contents
		}
	}
	if len(bundle) > maxSource {
		return nil, nil, b.failed(Problem{
			Text: fmt.Sprintf("what it imports makes a bundle of %d MiB, the limit is %d", len(bundle)>>20, maxSource>>20),
			Hint: "import less, or only the part of a package that you need",
		})
	}
	if err := b.about(result.Metafile); err != nil {
		return nil, nil, err
	}
	if !b.strict {
		bundle = bytes.Replace(bundle, []byte(prologue+useStrict), []byte(prologue+strings.Repeat(" ", len(useStrict))), 1)
	}
	function, tail, module := returnExports(bundle)
	if len(b.exports) > 0 && bytes.Equal(function, bundle) { // a new version of esbuild may print it in another way
		return nil, nil, fmt.Errorf("load script %s: the exports of the bundle are not understood; please report this as a bug", b.name)
	}
	b.end = bytes.Count(function[:tail], []byte("\n")) + 1
	b.module = module
	if !module {
		b.exports = nil
	}
	return function, sourceMap, nil
}

// about takes what it needs from what esbuild says about the bundle.
func (b *bundler) about(metafile string) error {
	var meta struct {
		Inputs  map[string]struct{ Format string }
		Outputs map[string]struct{ Exports []string }
	}
	if err := json.Unmarshal([]byte(metafile), &meta); err != nil {
		return fmt.Errorf("load script %s: read esbuild's metafile: %w", b.name, err)
	}
	b.strict = true
	for _, input := range meta.Inputs {
		b.strict = b.strict && input.Format != "cjs"
	}
	for _, output := range meta.Outputs {
		b.exports = append(b.exports, output.Exports...)
	}
	return nil
}

// returnExports puts a return statement in the place of the export statement
// that ends an ES module as esbuild prints it. esbuild's own way to make a
// function of a module costs each session ten times as much. It reports where
// the user's code ends, and whether it was a module before, or a CommonJS module,
// which is returned by a call.
func returnExports(bundle []byte) (function []byte, end int, module bool) {
	tail := regexp.MustCompile(`^\nexport (?:default ([^\s;]+\(\))|\{((?:\n  [^\n]+)*)\n\});\n\}\)\n$`)
	start := bytes.LastIndex(bundle, []byte("\nexport "))
	found := tail.FindSubmatch(bundle[max(0, start):])
	switch {
	case found == nil: // no exports, or the text of a string
		return bundle, max(0, len(bundle)-len("\n"+epilogue+"\n")) + 1, true
	case found[1] != nil:
		return slices.Concat(bundle[:start], []byte("\nreturn "), found[1], []byte(";\n"+epilogue+"\n")), start + 1, false
	}
	exports := regexp.MustCompile(`(?m)^  (\S+) as (.+?)(,?)$`).ReplaceAll(found[2], []byte("  $2: $1$3"))
	return slices.Concat(bundle[:start], []byte("\nreturn {"), exports, []byte("\n};\n"+epilogue+"\n")), start + 1, true
}

func (b *bundler) options() api.BuildOptions {
	o := api.BuildOptions{
		EntryPoints:   []string{b.entry},
		AbsWorkingDir: b.dir,
		Outdir:        b.dir, // nothing is written: what sources are named relative to
		EntryNames:    "wstape-bundle",
		Bundle:        true,
		Metafile:      true,
		LogLevel:      api.LogLevelSilent,
		LogOverride:   warnings(),
		Plugins:       []api.Plugin{b.reader()},

		// A runtime is more like a browser than like Node: URL, TextEncoder and crypto
		// are there, fs and process are not. Packages with a variant for each need the
		// browser's. Neutral, so that nothing else of a browser is taken for granted.
		Platform:   api.PlatformNeutral,
		MainFields: []string{"browser", "module", "main"},
		Conditions: []string{"browser", "module"},
		Define:     map[string]string{"process.env.NODE_ENV": `"production"`, "global": "globalThis"},
		Loader:     map[string]api.Loader{".txt": api.LoaderText, ".bin": api.LoaderBinary},

		Format:    api.FormatESModule,
		Target:    api.ESNext,
		Supported: lacking(),
		Banner:    map[string]string{"js": prologue + useStrict},
		Footer:    map[string]string{"js": epilogue},

		// Positions are exact only if a column is a byte.
		Charset:        api.CharsetASCII,
		Sourcemap:      api.SourceMapExternal,
		SourcesContent: api.SourcesContentExclude,
		LegalComments:  api.LegalCommentsNone,
	}
	maps.Copy(o.Define, b.define)
	// esbuild's own search goes up to the root, so that a stray file in a parent
	// folder would change what a script means.
	if path := b.tsconfig(); path != "" {
		o.Tsconfig = path
	} else {
		o.TsconfigRaw = "{}"
	}
	return o
}

// tsconfig returns the path of the tsconfig.json next to the script, "" if there
// is none.
func (b *bundler) tsconfig() string {
	path := filepath.Join(b.dir, "tsconfig.json")
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return ""
	}
	return path
}

// lacking is the syntax that goja does not know. esbuild writes it in other words
// or says that it cannot. TestSyntax is the proof of this list.
func lacking() map[string]bool {
	lacks := map[string]bool{}
	for _, feature := range []string{
		"async-generator", "for-await", "using", "decorators",
		"dynamic-import", "import-meta", "top-level-await",
		"regexp-match-indices", "regexp-set-notation", "regexp-unicode-property-escapes",
	} {
		lacks[feature] = false
	}
	return lacks
}

// warnings makes esbuild tell of what it only remarks upon otherwise.
func warnings() map[string]api.LogLevel {
	levels := map[string]api.LogLevel{}
	for _, id := range []string{"unsupported-regexp", "unsupported-dynamic-import", "unsupported-require-call", "empty-import-meta"} {
		levels[id] = api.LogLevelWarning
	}
	return levels
}

// reader makes esbuild's reading of files known to b, and refuses what it would
// read wrongly.
func (b *bundler) reader() api.Plugin {
	return api.Plugin{Name: "wstape", Setup: func(build api.PluginBuild) {
		build.OnLoad(api.OnLoadOptions{Filter: ".*", Namespace: "file"}, b.load)
		build.OnResolve(api.OnResolveOptions{Filter: `^(https?:)?//`}, func(a api.OnResolveArgs) (api.OnResolveResult, error) {
			// esbuild leaves URLs to the engine.
			return api.OnResolveResult{Errors: []api.Message{{Text: fmt.Sprintf("%q is on the network, which scripts have no access to", a.Path),
				Notes: []api.Note{{Text: "save the file next to the script, or install the package with npm"}}}}}, nil
		})
	}}
}

func (b *bundler) load(a api.OnLoadArgs) (api.OnLoadResult, error) {
	b.mu.Lock()
	b.read[a.Path] = true
	b.mu.Unlock()
	known := slices.Contains([]string{".js", ".mjs", ".cjs", ".jsx", ".ts", ".mts", ".cts", ".tsx"}, filepath.Ext(a.Path))
	text := known || a.Path == b.entry || slices.Contains([]string{".json", ".txt"}, filepath.Ext(a.Path))
	source, err := readSource(a.Path, text)
	if err != nil {
		var bad *encodingError
		problem := api.Message{Text: plain(err).Error(), Location: &api.Location{File: b.relative(a.Path)}}
		if errors.As(err, &bad) {
			problem.Location = &api.Location{File: b.relative(a.Path), Line: bad.line, Column: bad.column, LineText: bad.text}
		}
		return api.OnLoadResult{Errors: []api.Message{problem}}, nil
	}
	if a.Path == b.entry && !known { // a script may be called anything
		return api.OnLoadResult{Contents: &source, Loader: api.LoaderJS, ResolveDir: b.dir}, nil
	}
	return api.OnLoadResult{}, nil
}

// files returns the paths of all that was read; the script itself first.
func (b *bundler) files(script string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if path := b.tsconfig(); path != "" {
		b.read[path] = true
	}
	delete(b.read, script)
	files := []string{script}
	for path := range b.read {
		files = append(files, path)
	}
	slices.Sort(files[1:])
	return files
}

func (b *bundler) relative(path string) string {
	if rel, err := filepath.Rel(b.dir, path); err == nil {
		path = rel
	}
	return filepath.ToSlash(path)
}

// compile compiles a bundle, with positions in the user's files.
func (b *bundler) compile(bundle, sourceMap []byte) (code *goja.Program, err error) {
	// A script that makes the compiler panic must not end the program, and
	// with it the connections of everybody.
	defer func() {
		if p := recover(); p != nil {
			err = b.failed(Problem{Text: fmt.Sprintf("the compiler panics: %v", p), Hint: "please report this as a bug, with the script"})
		}
	}()
	sourceMap, err = gojaSourceMap(sourceMap, b.end)
	if err != nil {
		return nil, fmt.Errorf("load script %s: read the source map: %w", b.name, err)
	}
	source := string(bundle) + "//# sourceMappingURL=map\n"
	loader := parser.WithSourceMapLoader(func(string) ([]byte, error) { return sourceMap, nil })
	tree, err := parser.ParseFile(nil, bundleName, source, 0, loader)
	if err != nil {
		return nil, b.parseError(err, source, loader)
	}
	code, err = goja.CompileAST(tree, false)
	var syntax *goja.CompilerSyntaxError
	if errors.As(err, &syntax) && syntax.File != nil {
		return nil, b.failed(b.problemAt(syntax.File.Position(syntax.Offset), syntax.Message))
	}
	if err != nil {
		return nil, b.failed(Problem{Text: err.Error()})
	}
	return code, nil
}

// parseError makes a LoadError of what goja cannot parse in a bundle. Its parser
// reads the source map only behind what it could parse; so the positions are
// looked up in a bundle of the same shape that is blank.
func (b *bundler) parseError(err error, source string, loader parser.Option) error {
	var list parser.ErrorList
	blank := strings.Map(func(r rune) rune {
		if r == '\n' {
			return r
		}
		return ' '
	}, strings.TrimSuffix(source, "//# sourceMappingURL=map\n")) + "//# sourceMappingURL=map\n"
	tree, blankErr := parser.ParseFile(nil, bundleName, blank, 0, loader)
	if !errors.As(err, &list) || len(list) == 0 || blankErr != nil {
		return b.failed(Problem{Text: err.Error()})
	}
	at := list[0].Position // what follows is about the same place
	offset := at.Column - 1
	for line, rest := 1, blank; line < at.Line; line++ {
		length := strings.IndexByte(rest, '\n') + 1
		offset, rest = offset+length, rest[length:]
	}
	return b.failed(b.problemAt(tree.File.Position(offset), list[0].Message))
}

// problemAt is a problem that goja found in a bundle.
func (b *bundler) problemAt(at file.Position, text string) Problem {
	p := Problem{Text: text, Hint: "so says the engine that runs scripts, which may not know this syntax"}
	name := unescapePath(at.Filename)
	if name == bundleName {
		return p
	}
	p.File, p.Line, p.Column = name, at.Line, at.Column
	if source, err := os.ReadFile(filepath.Join(b.dir, filepath.FromSlash(p.File))); err == nil {
		lines := strings.Split(string(source), "\n")
		p.Source = strings.TrimSuffix(lines[min(p.Line, len(lines))-1], "\r")
	}
	return p
}
