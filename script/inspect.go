package script

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/dop251/goja"
	"github.com/dop251/goja/parser"

	"github.com/wstape/wstape/internal/levenshtein"
)

// Inspection is what can be said about a script without running it on messages.
type Inspection struct {
	Name     string
	Path     string
	Hooks    []string // that it exports
	From     string   // the side that it wants to see the messages of; "" means both
	Files    []string // absolute paths of all that was read
	Warnings []Problem
}

// Inspect loads a script, runs its own code once, and says which hooks it has
// and what in it looks like a mistake.
func Inspect(path string, o Options) (*Inspection, error) {
	p, err := Load(path)
	if err != nil {
		return nil, err
	}
	v, err := trial(o.withDefaults(), &source{name: p.Name, path: p.Path}, p)
	if err != nil {
		return nil, err
	}
	i := &Inspection{Name: p.Name, Path: p.Path, Files: p.Files}
	for _, name := range hookList() {
		if callable(property(v.exports, name)) {
			i.Hooks = append(i.Hooks, name)
		}
	}
	var nearly []string
	for _, name := range v.exports.Keys() {
		if slices.Contains(i.Hooks, name) || !callable(property(v.exports, name)) {
			continue
		}
		if text := mistyped(name); text != "" {
			nearly = append(nearly, text)
		}
	}
	if v.only != nil {
		i.From = v.only.String()
	}
	if v.hooks == (Hooks{}) {
		return nil, errors.New(strings.Join(append([]string{fmt.Sprintf("script %s exports no hook (%s)", p.Path, hookNames)}, nearly...), "\n    "))
	}
	for _, text := range nearly {
		i.Warnings = append(i.Warnings, Problem{File: p.Name, Text: text})
	}
	absent, err := absentGlobals(p, v.rt)
	i.Warnings = append(i.Warnings, absent...)
	return i, err
}

func callable(v goja.Value) bool {
	_, ok := goja.AssertFunction(v)
	return ok
}

// hookList is the names of all hooks, in the order in which they run.
func hookList() []string { return append(strings.Split(hookNames, ", "), "onReload") }

// mistyped says which hook an exported function was perhaps meant to be; "" if
// it does not look like one.
func mistyped(name string) string {
	nearest, least := "", 4
	for _, hook := range hookList() {
		if d := levenshtein.Distance(strings.ToLower(name), strings.ToLower(hook)); d < least {
			nearest, least = hook, d
		}
	}
	switch {
	case nearest != "" && least <= max(1, len(name)/4):
		return fmt.Sprintf("it exports %s, which is no hook; did you mean %s?", name, nearest)
	case regexp.MustCompile(`^on[A-Z]`).MatchString(name):
		return fmt.Sprintf("it exports %s, which is no hook; there are %s and onReload", name, hookNames)
	}
	return ""
}

// elsewhere is the globals of browsers and of Node that people may expect, and
// what to use here; "" if there is nothing.
func elsewhere() map[string]string {
	const ends = "a script can talk only to the two ends of its session: session.send"
	const files = "scripts have no file system"
	return map[string]string{
		"fetch": ends, "XMLHttpRequest": ends, "WebSocket": ends, "EventSource": ends, "Worker": "",
		"process": insteadOf("process"), "Buffer": insteadOf("buffer"), "__dirname": files, "__filename": files,
		"setImmediate": "use setTimeout(f, 0) or queueMicrotask(f)", "clearImmediate": "use setTimeout and clearTimeout",
		"requestAnimationFrame": "use setTimeout", "window": "use globalThis", "self": "use globalThis",
		"document": "", "navigator": "", "location": "use session.url", "alert": "use console.log or session.note",
		"localStorage": "use store, which all sessions share", "sessionStorage": "use session.state",
		"Blob": "use Uint8Array", "File": files, "FormData": "", "Headers": "", "Request": "", "Response": "",
		"AbortController": "", "AbortSignal": "", "Event": "", "EventTarget": "", "MessageChannel": "", "BroadcastChannel": "use store",
		"ReadableStream": "", "WritableStream": "", "TransformStream": "", "CompressionStream": "", "Intl": "", "WebAssembly": "",
		"SharedArrayBuffer": "", "Atomics": "", "WeakRef": "", "FinalizationRegistry": "",
	}
}

const absentMark = "__wstape_absent_"

// absentGlobals finds where a script's own files use globals that rt does not
// have. What they check with typeof is theirs to know.
func absentGlobals(p *Program, rt *goja.Runtime) ([]Problem, error) {
	entry, err := filepath.EvalSymlinks(p.Path)
	if err != nil {
		return nil, fmt.Errorf("load script %s: %w", p.Path, plain(err))
	}
	hints, absent := elsewhere(), map[string]string{}
	for name := range hints {
		if rt.GlobalObject().Get(name) == nil {
			absent[name] = absentMark + name
		}
	}
	b := &bundler{name: p.Name, entry: entry, dir: filepath.Dir(entry), define: absent, read: map[string]bool{}}
	bundle, sourceMap, err := b.bundle()
	if err != nil || !bytes.Contains(bundle, []byte(absentMark)) {
		return nil, err
	}
	if sourceMap, err = gojaSourceMap(sourceMap, b.end); err != nil {
		return nil, fmt.Errorf("load script %s: read the source map: %w", p.Name, err)
	}
	source := string(bundle) + "//# sourceMappingURL=map\n"
	tree, err := parser.ParseFile(nil, bundleName, source, 0, parser.WithSourceMapLoader(func(string) ([]byte, error) { return sourceMap, nil }))
	if err != nil {
		return nil, b.failed(Problem{Text: err.Error()})
	}
	type use struct{ file, name string }
	guarded, told := map[use]bool{}, map[use]bool{}
	var problems []Problem
	for _, at := range regexp.MustCompile(`(typeof )?`+absentMark+`(\w+)`).FindAllStringSubmatchIndex(source, -1) {
		name := source[at[4]:at[5]]
		place := tree.File.Position(at[4] - len(absentMark))
		file := unescapePath(place.Filename)
		if slices.Contains(strings.Split(file, "/"), "node_modules") {
			continue
		}
		if at[2] >= 0 {
			guarded[use{file, name}] = true
		}
		if told[use{file, name}] {
			continue
		}
		told[use{file, name}] = true
		problem := b.problemAt(place, name+" does not exist here")
		problem.Hint = hints[name]
		problems = append(problems, problem)
	}
	return slices.DeleteFunc(problems, func(p Problem) bool {
		name, _, _ := strings.Cut(p.Text, " ")
		return guarded[use{p.File, name}]
	}), nil
}

// Describe writes a problem with its place, the line and what to do.
func (p *Problem) Describe() string {
	var text strings.Builder
	p.write(&text)
	return text.String()
}
