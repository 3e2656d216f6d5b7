package script

import (
	"crypto/rand"
	"errors"
	"time"

	"github.com/dop251/goja"
)

// environment is what a script's globals need of the world.
type environment struct {
	print  func(level, text string) // console.*: level log, info, warn, error, debug
	store  *Store
	env    map[string]string            // only what the config allows
	random func([]byte)                 // crypto/rand by default
	more   func(name string) goja.Value // globals beside those of globals; may be nil
}

// installGlobals gives a runtime the globals that are not part of JavaScript
// itself. Nothing is made until a script asks for it: a session that uses none
// of them pays for one object in the global object's prototype chain. `typeof URL`,
// `"URL" in globalThis` and `globalThis.URL = mine` work as usual; only, the names
// are inherited by the global object and not its own.
func installGlobals(rt *goja.Runtime, e *environment) {
	g := &globals{environment: e, rt: rt, started: time.Now()}
	if err := rt.GlobalObject().SetPrototype(newLazy(rt, g.make, nil)); err != nil {
		panic(err) // cannot be: a runtime's global object is extensible
	}
}

// globals makes the globals of one runtime.
type globals struct {
	*environment
	rt        *goja.Runtime
	started   time.Time               // what performance.now counts from
	libraries map[string]*goja.Object // what libraries that have run export
}

// make returns the global of that name, or nil if there is none.
func (g *globals) make(name string) goja.Value {
	switch name {
	case "console":
		return newConsole(g.rt, g.print)
	case "TextEncoder", "TextDecoder":
		return g.library("text", textLibrary).Get(name)
	case "URL":
		return g.library("url", urlLibrary).Get(name)
	case "URLSearchParams":
		return g.library("params", paramsLibrary).Get(name)
	case "DOMException":
		return g.library("errors", errorLibrary).Get(name)
	case "atob":
		return newMethod(g.rt, name, 1, g.atob)
	case "btoa":
		return newMethod(g.rt, name, 1, g.btoa)
	case "structuredClone":
		return newMethod(g.rt, name, 1, g.structuredClone)
	case "queueMicrotask":
		return newMethod(g.rt, name, 1, g.queueMicrotask)
	case "performance":
		return g.performance()
	case "crypto":
		return newLazy(g.rt, g.cryptoMember, func() []string { return []string{"getRandomValues", "randomUUID", "subtle"} })
	case "store":
		if g.store == nil {
			return nil
		}
		return newStoreObject(g.rt, g.store)
	case "env":
		return g.frozenEnv()
	}
	if g.more != nil {
		return g.more(name)
	}
	return nil
}

// library runs a program once in this runtime and returns what it exports. A
// program is a function of an object of Go functions.
func (g *globals) library(name string, load func(*globals) (*goja.Program, *goja.Object)) *goja.Object {
	if made := g.libraries[name]; made != nil {
		return made
	}
	program, natives := load(g)
	start, err := g.rt.RunProgram(program)
	propagate(err)
	made := callFunction(start, goja.Undefined(), natives).ToObject(g.rt)
	if g.libraries == nil {
		g.libraries = map[string]*goja.Object{}
	}
	g.libraries[name] = made
	return made
}

// natives makes what a library's program is given: the Go functions that it needs, and
// symbols, because asking JavaScript for Symbol costs 10 KiB.
func natives(rt *goja.Runtime, functions map[string]func(goja.FunctionCall) goja.Value) *goja.Object {
	o := rt.NewObject()
	for name, f := range functions {
		putProperty(o, name, rt.ToValue(f))
	}
	putProperty(o, "tag", goja.SymToStringTag)
	putProperty(o, "iterator", goja.SymIterator)
	return o
}

// throwDOM throws a DOMException.
func (g *globals) throwDOM(name, message string) {
	class := g.library("errors", errorLibrary).Get("DOMException")
	thrown, err := g.rt.New(class, g.rt.ToValue(message), g.rt.ToValue(name))
	propagate(err)
	panic(thrown)
}

// fill fills p with random bytes.
func (g *globals) fill(p []byte) {
	if g.random != nil {
		g.random(p)
		return
	}
	_, _ = rand.Read(p) // never fails
}

// structuredClone copies a value deeply; ArrayBuffers in the option `transfer` are
// copied too and then detached, which a script cannot tell from a transfer.
func (g *globals) structuredClone(c goja.FunctionCall) goja.Value {
	if len(c.Arguments) == 0 {
		panic(g.rt.NewTypeError("structuredClone needs a value"))
	}
	copied, err := snapshot(g.rt, c.Arguments[0], cloneLimit)
	if err != nil {
		g.throwClone(err)
	}
	value := copied.value(g.rt)
	if options, ok := c.Argument(1).(*goja.Object); ok {
		g.detach(options.Get("transfer"))
	}
	return value
}

// throwClone throws what snapshot returned.
func (g *globals) throwClone(err error) {
	var failed *cloneError
	if !errors.As(err, &failed) {
		panic(err)
	}
	g.throwDOM("DataCloneError", failed.Error())
}

// detach takes the memory of the ArrayBuffers in a list away.
func (g *globals) detach(list goja.Value) {
	if list == nil || goja.IsUndefined(list) || goja.IsNull(list) {
		return
	}
	g.rt.ForOf(list, func(item goja.Value) bool {
		buffer, ok := item.Export().(goja.ArrayBuffer)
		if !ok {
			g.throwDOM("DataCloneError", "only an ArrayBuffer can be transferred")
		}
		buffer.Detach()
		return true
	})
}

// queueMicrotask runs a function after the running one, as a promise would.
func (g *globals) queueMicrotask(c goja.FunctionCall) goja.Value {
	run, ok := goja.AssertFunction(c.Argument(0))
	if !ok {
		panic(g.rt.NewTypeError("queueMicrotask needs a function"))
	}
	promise, resolve, _ := g.rt.NewPromise()
	propagate(resolve(goja.Undefined()))
	queued := g.rt.ToValue(promise).ToObject(g.rt)
	callFunction(queued.Get("then"), queued, g.rt.ToValue(func(goja.FunctionCall) goja.Value {
		_, err := run(goja.Undefined())
		propagate(err)
		return goja.Undefined()
	}))
	return goja.Undefined()
}

// performance tells milliseconds since the runtime was made.
func (g *globals) performance() goja.Value {
	o := g.rt.NewObject()
	putProperty(o, "now", newMethod(g.rt, "now", 0, func(goja.FunctionCall) goja.Value {
		return g.rt.ToValue(float64(time.Since(g.started).Nanoseconds()) / 1e6)
	}))
	putProperty(o, "timeOrigin", g.rt.ToValue(float64(g.started.UnixNano())/1e6))
	return o
}

// frozenEnv is the object `env`. It has no prototype, so that a name which the
// config does not allow is undefined, whatever it is.
func (g *globals) frozenEnv() goja.Value {
	o := g.rt.CreateObject(nil)
	for name, value := range g.env {
		propagate(o.DefineDataProperty(name, g.rt.ToValue(value), goja.FLAG_FALSE, goja.FLAG_FALSE, goja.FLAG_TRUE))
	}
	freeze := g.rt.GlobalObject().Get("Object").ToObject(g.rt).Get("freeze")
	return callFunction(freeze, goja.Undefined(), o)
}

// lazyObject is an object whose properties are made when they are first asked for.
type lazyObject struct {
	create func(name string) goja.Value // nil: no such property
	names  func() []string              // what Object.keys shows; may be nil
	made   map[string]goja.Value        // nil for a deleted one
}

var _ goja.DynamicObject = (*lazyObject)(nil)

func newLazy(rt *goja.Runtime, create func(string) goja.Value, names func() []string) *goja.Object {
	return rt.NewDynamicObject(&lazyObject{create: create, names: names})
}

// Get returns a property, or nil if there is none.
func (l *lazyObject) Get(name string) goja.Value {
	if v, ok := l.made[name]; ok {
		return v
	}
	v := l.create(name)
	if v != nil {
		l.keep(name, v)
	}
	return v
}

// Set lets a script replace a property.
func (l *lazyObject) Set(name string, v goja.Value) bool {
	l.keep(name, v)
	return true
}

// Has tells whether there is such a property.
func (l *lazyObject) Has(name string) bool { return l.Get(name) != nil }

// Delete removes a property for good.
func (l *lazyObject) Delete(name string) bool {
	l.keep(name, nil)
	return true
}

// Keys lists the properties to enumerate.
func (l *lazyObject) Keys() []string {
	if l.names == nil {
		return nil
	}
	var keys []string
	for _, name := range l.names() {
		if l.Has(name) {
			keys = append(keys, name)
		}
	}
	return keys
}

func (l *lazyObject) keep(name string, v goja.Value) {
	if l.made == nil {
		l.made = map[string]goja.Value{}
	}
	l.made[name] = v
}

// newMethod makes a function with a proper name: goja would show the Go function's.
func newMethod(rt *goja.Runtime, name string, length int, f func(goja.FunctionCall) goja.Value) *goja.Object {
	o := rt.ToValue(f).ToObject(rt)
	propagate(o.DefineDataProperty("name", rt.ToValue(name), goja.FLAG_FALSE, goja.FLAG_TRUE, goja.FLAG_FALSE))
	if length == 0 {
		return o // as goja made it
	}
	propagate(o.DefineDataProperty("length", rt.ToValue(length), goja.FLAG_FALSE, goja.FLAG_TRUE, goja.FLAG_FALSE))
	return o
}

// putProperty defines an ordinary property of o, whatever its prototype says.
func putProperty(o *goja.Object, name string, v goja.Value) {
	propagate(o.DefineDataProperty(name, v, goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_TRUE))
}

// callFunction calls a function from Go code that JavaScript called.
func callFunction(f, this goja.Value, args ...goja.Value) goja.Value {
	run, ok := goja.AssertFunction(f)
	if !ok {
		panic(errors.New("script: not a function"))
	}
	v, err := run(this, args...)
	propagate(err)
	return v
}

// propagate goes on with what a nested run of the runtime ended with: an exception that
// the script may catch, or the interrupt that it may not.
func propagate(err error) {
	if err != nil {
		panic(err)
	}
}

// toText does what JavaScript's String(v) does, but throws for a symbol.
func toText(rt *goja.Runtime, v goja.Value) goja.String {
	s, ok := v.ToString().(goja.String)
	if !ok {
		panic(rt.NewTypeError("Cannot convert a symbol to a string"))
	}
	return s
}

// rangeError throws a RangeError.
func rangeError(rt *goja.Runtime, message string) {
	thrown, err := rt.New(rt.GlobalObject().Get("RangeError"), rt.ToValue(message))
	propagate(err)
	panic(thrown)
}

// bufferSource returns the bytes of an ArrayBuffer, typed array or DataView. They
// are the script's own: copy what has to last.
func bufferSource(v goja.Value) ([]byte, bool) {
	o, ok := v.(*goja.Object)
	if !ok {
		return nil, false
	}
	if o.ExportType() == arrayBufferType() {
		return o.Export().(goja.ArrayBuffer).Bytes(), true
	}
	if viewKind(o) == "" {
		return nil, false
	}
	inner, ok := o.Get("buffer").(*goja.Object)
	if !ok || inner.ExportType() != arrayBufferType() {
		return nil, false
	}
	p := inner.Export().(goja.ArrayBuffer).Bytes()
	from, size := o.Get("byteOffset").ToInteger(), o.Get("byteLength").ToInteger()
	if from < 0 || size < 0 || from+size > int64(len(p)) { // a script may have shadowed the getters
		return nil, false
	}
	return p[from : from+size], true
}
