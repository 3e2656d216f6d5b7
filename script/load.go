package script

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/dop251/goja"
)

// maxSource is how large a source file, and what is bundled of all, may be.
const maxSource = 32 << 20

// bundleName is the file that code belongs to which stands in no file of the
// user: the helpers that esbuild adds. It must not look like a URL or an absolute
// path, which the source map's paths would be joined to.
const bundleName = "<wstape>"

// Program is a script, loaded: imports bundled, types stripped, compiled. It is
// immutable once its name is final, and shared by all sessions.
type Program struct {
	Name    string   // as it stands on the tape behind "script:", see [LoadAll]
	Path    string   // absolute, as it was given: symbolic links are not followed
	Files   []string // absolute paths of all files that were read, for watching; Path is the first
	Exports []string // names that an ES module exports; a CommonJS module's are known only when it has run

	code    *goja.Program
	module  bool     // it is an ES module, or neither that nor CommonJS
	symbols []string // well-known symbols that it mentions and goja lacks
	guards  guards   // methods that it mentions and that need a bound
}

// Load bundles and compiles the script with the given path and everything it
// imports. Nothing of it runs yet. The error is a [*LoadError] if the source
// is at fault.
func Load(path string) (*Program, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("load script %s: %w", path, err)
	}
	// esbuild names what it reads by real paths; with the real path of the script
	// as the root, all names are relative to the folder its imports start from.
	entry, err := filepath.EvalSymlinks(abs)
	if err == nil {
		_, err = readSource(entry, false)
	}
	if err != nil {
		return nil, fmt.Errorf("load script %s: %w", abs, plain(err))
	}
	b := &bundler{name: filepath.Base(abs), entry: entry, dir: filepath.Dir(entry), read: map[string]bool{}}
	p := &Program{Name: b.name, Path: abs}
	bundle, sourceMap, err := b.bundle()
	p.Exports = b.exports
	p.Files = b.files(abs)
	if err != nil {
		return nil, withFiles(err, p.Files)
	}
	p.module, p.symbols, p.guards = b.module, missingSymbols(bundle), guardsFor(string(bundle))
	if p.code, err = b.compile(bundle, sourceMap); err != nil {
		return nil, withFiles(err, p.Files)
	}
	return p, nil
}

// LoadAll loads several scripts and gives each a name of its own: the base name
// of its file, with as many folders before it as it takes to tell it from the
// others. The error tells of all scripts that cannot be loaded.
func LoadAll(paths []string) ([]*Program, error) {
	programs := make([]*Program, len(paths))
	loaded := make([]string, len(paths))
	var failed []error
	for i, path := range paths {
		p, err := Load(path)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		programs[i], loaded[i] = p, p.Path
	}
	if failed != nil {
		return nil, errors.Join(failed...)
	}
	for i, name := range distinctNames(loaded) {
		programs[i].Name = name
	}
	return programs, nil
}

// distinctNames returns the shortest ends of absolute paths that differ from the
// ends of all others. The same path again gets "#2", "#3" …
func distinctNames(paths []string) []string {
	tail := func(path string, n int) string {
		parts := strings.Split(filepath.ToSlash(path), "/")
		return strings.Join(parts[max(0, len(parts)-n):], "/")
	}
	names := make([]string, len(paths))
	for i, path := range paths {
		ambiguous := func(n int) bool {
			return slices.ContainsFunc(paths, func(other string) bool {
				return other != path && tail(other, n) == tail(path, n)
			})
		}
		n := 1
		for ambiguous(n) {
			n++
		}
		names[i] = tail(path, n)
		for again, same := 2, names[i]; slices.Contains(names[:i], names[i]); again++ {
			names[i] = same + "#" + strconv.Itoa(again)
		}
	}
	return names
}

// run evaluates the script in rt, which it must be the first to run in, and
// returns what it exports: an object with a property for each export, or
// module.exports, or the object it exports as default if that is where its
// hooks are.
func (p *Program) run(rt *goja.Runtime) (exports *goja.Object, err error) {
	if err := addSymbols(rt, p.symbols); err != nil {
		return nil, err
	}
	wrapper, err := rt.RunProgram(p.code)
	if err != nil {
		return nil, err
	}
	body, ok := goja.AssertFunction(wrapper)
	if !ok {
		return nil, fmt.Errorf("run script %s: the bundle is not a function; please report this as a bug", p.Name)
	}
	result, err := body(goja.Undefined(), rt.ToValue(require(rt)))
	if err != nil {
		return nil, err
	}
	if goja.IsUndefined(result) && p.module { // one that exports nothing
		return rt.NewObject(), nil
	}
	o, ok := result.(*goja.Object)
	if !ok {
		return nil, fmt.Errorf("run script %s: module.exports is not an object; assign hooks to its properties: exports.onMessage = …", p.Name)
	}
	// A property may be a getter, which may throw.
	if thrown := rt.Try(func() { exports = withHooks(o) }); thrown != nil {
		return nil, thrown
	}
	return exports, nil
}

// withHooks returns the object that has a script's hooks: what it exports, or
// what it exports as default.
func withHooks(exports *goja.Object) *goja.Object {
	if hasHook(exports) {
		return exports
	}
	if inner, ok := exports.Get("default").(*goja.Object); ok && hasHook(inner) {
		return inner
	}
	return exports
}

func hasHook(o *goja.Object) bool {
	return slices.ContainsFunc(
		[]string{"onRequest", "onResponse", "onOpen", "onMessage", "onControl", "onMatch", "onClose"},
		func(name string) bool {
			v := o.Get(name)
			return v != nil && !goja.IsUndefined(v)
		})
}

// require is what is left of require in a bundle: calls that could not be
// resolved when the script was loaded, in try blocks or with computed names.
func require(rt *goja.Runtime) func(goja.FunctionCall) goja.Value {
	return func(c goja.FunctionCall) goja.Value {
		e := rt.NewTypeError("Cannot find module '%s': what a script imports is bundled when it is loaded, and this was not there", c.Argument(0))
		_ = e.Set("code", "MODULE_NOT_FOUND")
		panic(e)
	}
}

// missingSymbols returns which of the well-known symbols that goja lacks occur
// in a bundle.
func missingSymbols(bundle []byte) (names []string) {
	for _, name := range []string{"asyncIterator", "dispose", "asyncDispose", "metadata"} {
		if bytes.Contains(bundle, []byte(name)) {
			names = append(names, name)
		}
	}
	return names
}

// addSymbols defines well-known symbols that goja lacks, as the same symbols
// that esbuild's helpers for async iteration, using and decorators fall back to.
func addSymbols(rt *goja.Runtime, names []string) error {
	if len(names) == 0 {
		return nil
	}
	symbol := rt.GlobalObject().Get("Symbol").ToObject(rt)
	register, ok := goja.AssertFunction(symbol.Get("for"))
	if !ok {
		return errors.New("run script: Symbol.for is gone; a script must be the first that runs in its runtime")
	}
	for _, name := range names {
		if symbol.Get(name) != nil {
			continue
		}
		s, err := register(symbol, rt.ToValue("Symbol."+name))
		if err != nil {
			return err
		}
		if err := symbol.DefineDataProperty(name, s, goja.FLAG_FALSE, goja.FLAG_FALSE, goja.FLAG_FALSE); err != nil {
			return err
		}
	}
	return nil
}
