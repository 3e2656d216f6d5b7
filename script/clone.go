package script

import (
	"fmt"
	"math"
	"math/big"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dop251/goja"
)

const (
	cloneLimit    = 256 << 20 // bytes that structuredClone copies at most
	mostCloneDeep = 1000      // levels of nested objects
)

// cloned is a value without a runtime: what the structured clone algorithm kept of
// it. It does not change, so that any number of runtimes may make values of it at once.
type cloned struct {
	root  cloneRef
	nodes []cloneNode
	bytes int64
}

// cloneRef is a primitive value or an object of the same cloned, by its number.
// Primitive values belong to no runtime.
type cloneRef struct {
	primitive goja.Value // nil: an object
	object    int
}

// cloneNode is an object.
type cloneNode struct {
	kind   cloneKind
	class  string     // of an error, view or boxed value: its constructor
	keys   []string   // of the members; nil in an array without holes
	odd    []oddKey   // keys that a Go string cannot hold
	values []cloneRef // members, or a Map's keys and values in turns, or a Set's values
	data   []byte     // an ArrayBuffer's
	number float64    // a Date's, an array's length, a view's byte offset
	length int        // a view's
}

// oddKey is a key with a lone surrogate, for the member of that index.
type oddKey struct {
	member int
	key    goja.Value
}

type cloneKind uint8

const (
	clonedObject cloneKind = iota
	clonedArray
	clonedDate
	clonedRegExp // values: source, flags
	clonedBoxed  // values: the primitive
	clonedMap
	clonedSet
	clonedBuffer
	clonedView  // values: the buffer
	clonedError // keys and values: name, message, stack, cause as far as there
)

// cloneError says which part of a value cannot be cloned.
type cloneError struct {
	Path string // from the value: `.socket.onmessage`, `[3]`
	Why  string
}

// Error says it of a value without a name.
func (e *cloneError) Error() string { return e.in("value") }

// in says it of a value that the user knows by that name.
func (e *cloneError) in(name string) string { return name + e.Path + " " + e.Why }

// snapshot clones v as far as the structured clone algorithm can: what it makes may
// go to another runtime, and what happens to v later does not show in it. It fails
// with a *cloneError if part of v cannot be cloned, if v is nested too deep or takes
// more than limit bytes by a rough guess, and with goja's error if the runtime was
// interrupted in a getter of v.
func snapshot(rt *goja.Runtime, v goja.Value, limit int64) (c *cloned, err error) {
	s := &snapshooter{rt: rt, limit: limit, seen: map[*goja.Object]int{}, cloned: &cloned{}}
	defer func() {
		switch x := recover().(type) {
		case nil:
		case *cloneError:
			err = x
		case *goja.InterruptedError:
			err = x
		case *goja.StackOverflowError:
			err = x
		default:
			panic(x)
		}
	}()
	if failed := rt.Try(func() { s.cloned.root = s.ref(v) }); failed != nil {
		s.fail("cannot be read: " + failed.Value().String())
	}
	return s.cloned, nil
}

// size is a guess of the memory that the clone and a value made of it take.
func (c *cloned) size() int64 { return c.bytes }

// snapshooter walks a value.
type snapshooter struct {
	*cloned
	rt    *goja.Runtime
	limit int64
	seen  map[*goja.Object]int // number of its node
	path  []string
}

// fail ends the snapshot with an error about the value it is at.
func (s *snapshooter) fail(why string) {
	panic(&cloneError{Path: shortPath(s.path), Why: why})
}

// shortPath joins the steps of a path, leaving out the middle of a very long one.
func shortPath(path []string) string {
	const most = 20
	if len(path) > most {
		path = slices.Concat(path[:most/2], []string{" … "}, path[len(path)-most/2:])
	}
	return strings.Join(path, "")
}

// take counts bytes.
func (s *snapshooter) take(n int64) {
	if s.bytes += n; s.bytes > s.limit {
		s.path = nil
		s.fail(fmt.Sprintf("is too big to clone: more than %d bytes", s.limit))
	}
}

// at clones something under a step of the path.
func (s *snapshooter) at(step string, v goja.Value) cloneRef {
	s.path = append(s.path, step)
	ref := s.ref(v)
	s.path = s.path[:len(s.path)-1]
	return ref
}

// ref clones a value.
func (s *snapshooter) ref(v goja.Value) cloneRef {
	switch v := v.(type) {
	case nil:
		return cloneRef{primitive: goja.Undefined()}
	case *goja.Object:
		return cloneRef{object: s.node(v)}
	case *goja.Symbol:
		s.fail("is a symbol")
	case goja.String:
		// Length also makes goja find out now how the string is encoded, which would
		// be a race if it were left to the runtimes that share the string.
		s.take(16 + int64(v.Length()))
	default:
		s.take(16)
	}
	return cloneRef{primitive: v}
}

// node clones an object unless that has happened, and returns its number.
func (s *snapshooter) node(o *goja.Object) int {
	if n, known := s.seen[o]; known {
		return n
	}
	if len(s.path) > mostCloneDeep {
		s.fail(fmt.Sprintf("is nested more than %d levels deep", mostCloneDeep))
	}
	s.take(200)
	n := len(s.nodes)
	s.seen[o] = n
	s.nodes = append(s.nodes, cloneNode{})
	node := s.describe(o)
	s.nodes[n] = node
	return n
}

// describe clones an object by its kind.
func (s *snapshooter) describe(o *goja.Object) cloneNode {
	if _, callable := goja.AssertFunction(o); callable {
		s.fail("is a function")
	}
	if isArray(o) {
		return s.array(o)
	}
	switch class := o.ClassName(); class {
	case "Date":
		return cloneNode{kind: clonedDate, number: dateNumber(o)}
	case "RegExp":
		return cloneNode{kind: clonedRegExp, values: []cloneRef{s.ref(o.Get("source")), s.ref(o.Get("flags"))}}
	case "Error":
		return s.error(o)
	case "Number", "Boolean":
		return cloneNode{kind: clonedBoxed, values: []cloneRef{s.ref(s.rt.ToValue(o.Export()))}}
	case "String":
		return cloneNode{kind: clonedBoxed, values: []cloneRef{s.ref(toText(s.rt, o))}}
	}
	switch exported := o.ExportType(); {
	case exported == arrayBufferType():
		return s.buffer(o)
	case exported == mapType():
		return s.collection(o, clonedMap)
	case exported == setType():
		return s.collection(o, clonedSet)
	case exported == promiseType():
		s.fail("is a Promise")
	case exported == reflect.TypeFor[*big.Int]():
		return cloneNode{kind: clonedBoxed, values: []cloneRef{s.ref(s.rt.ToValue(o.Export()))}}
	}
	return s.tagged(o)
}

// tagged clones an object that only its tag tells from a plain one.
func (s *snapshooter) tagged(o *goja.Object) cloneNode {
	if viewKind(o) != "" {
		return s.view(o)
	}
	if tag, ok := o.GetSymbol(goja.SymToStringTag).(goja.String); ok {
		switch tag := tag.String(); tag {
		case "WeakMap", "WeakSet", "WeakRef", "Generator", "AsyncGenerator":
			s.fail("is a " + tag)
		case "Symbol":
			s.fail("is a symbol")
		}
	}
	node := cloneNode{kind: clonedObject}
	s.members(&node, o)
	return node
}

// members clones own enumerable properties with string keys.
func (s *snapshooter) members(node *cloneNode, o *goja.Object) {
	node.keys = o.Keys()
	node.values = make([]cloneRef, len(node.keys))
	for i, key := range node.keys {
		s.take(32 + int64(len(key)))
		if strings.ContainsRune(key, '\uFFFD') {
			s.oddMembers(node, o)
			return
		}
		s.path = append(s.path, pathStep(key)) // before the getter, which may throw
		node.values[i] = s.ref(o.Get(key))
		s.path = s.path[:len(s.path)-1]
	}
}

// pathStep shows a key the way that JavaScript reads it.
func pathStep(key string) string {
	if isIdentifier(key) {
		return "." + key
	}
	if _, err := strconv.ParseUint(key, 10, 32); err == nil {
		return "[" + key + "]"
	}
	return "[" + strconv.Quote(key) + "]"
}

// oddMembers clones members some of whose keys may have lone surrogates, which Go's
// strings cannot hold: it asks JavaScript for each.
func (s *snapshooter) oddMembers(node *cloneNode, o *goja.Object) {
	entries := s.rt.GlobalObject().Get("Object").ToObject(s.rt).Get("entries")
	list := callFunction(entries, goja.Undefined(), o).ToObject(s.rt)
	for i := range node.keys {
		pair, ok := list.Get(strconv.Itoa(i)).(*goja.Object)
		if !ok {
			s.fail("changes while it is read")
		}
		key := pair.Get("0")
		node.odd = append(node.odd, oddKey{member: i, key: key})
		node.values[i] = s.at(pathStep(key.String()), pair.Get("1"))
	}
}

// array clones an array; it keeps keys only if it has holes or more than items.
func (s *snapshooter) array(o *goja.Object) cloneNode {
	node := cloneNode{kind: clonedArray, number: o.Get("length").ToFloat()}
	s.members(&node, o)
	if int(node.number) == len(node.keys) && inOrder(node.keys) {
		node.keys, node.odd = nil, nil
	}
	return node
}

// inOrder tells whether keys are 0, 1, 2 and so on.
func inOrder(keys []string) bool {
	for i, key := range keys {
		if key != strconv.Itoa(i) {
			return false
		}
	}
	return true
}

// dateNumber returns a Date's time in milliseconds, NaN if it has none.
func dateNumber(o *goja.Object) float64 {
	at, valid := o.Export().(time.Time)
	if !valid {
		return math.NaN()
	}
	return float64(at.UnixMilli())
}

// error clones an error: those of JavaScript itself keep their class, others become
// an Error.
func (s *snapshooter) error(o *goja.Object) cloneNode {
	node := cloneNode{kind: clonedError, class: "Error"}
	if name, ok := o.Get("name").(goja.String); ok && isErrorClass(name.String()) {
		node.class = name.String()
	}
	for _, key := range []string{"message", "stack", "cause"} {
		v := o.Get(key)
		if v == nil || key != "cause" && !goja.IsString(v) {
			continue
		}
		node.keys = append(node.keys, key)
		node.values = append(node.values, s.at("."+key, v))
	}
	return node
}

func isErrorClass(name string) bool {
	switch name {
	case "Error", "EvalError", "RangeError", "ReferenceError", "SyntaxError", "TypeError", "URIError":
		return true
	}
	return false
}

func (s *snapshooter) buffer(o *goja.Object) cloneNode {
	b := o.Export().(goja.ArrayBuffer)
	if b.Detached() {
		s.fail("is a detached ArrayBuffer")
	}
	s.take(int64(len(b.Bytes())))
	return cloneNode{kind: clonedBuffer, data: slices.Clone(b.Bytes())}
}

// view clones a typed array or DataView and all of its buffer, which others may share.
func (s *snapshooter) view(o *goja.Object) cloneNode {
	buffer, ok := o.Get("buffer").(*goja.Object)
	if _, whole := bufferSource(o); !ok || !whole {
		s.fail("is not what it says: a " + viewKind(o))
	}
	length := o.Get("length")
	if viewKind(o) == "DataView" {
		length = o.Get("byteLength")
	}
	return cloneNode{
		kind: clonedView, class: viewKind(o), values: []cloneRef{s.at(".buffer", buffer)},
		number: o.Get("byteOffset").ToFloat(), length: int(length.ToInteger()),
	}
}

// collection clones a Map or a Set.
func (s *snapshooter) collection(o *goja.Object, kind cloneKind) cloneNode {
	var items []goja.Value // all, before a getter can change them
	s.rt.ForOf(o, func(item goja.Value) bool {
		s.take(64)
		if pair, ok := item.(*goja.Object); ok && kind == clonedMap {
			items = append(items, pair.Get("0"), pair.Get("1"))
		} else {
			items = append(items, item)
		}
		return true
	})
	node := cloneNode{kind: kind, values: make([]cloneRef, len(items))}
	for i, item := range items {
		step := fmt.Sprintf(" (item %d)", i)
		switch {
		case kind == clonedMap && i%2 == 0:
			step = fmt.Sprintf(" (key %d)", i/2)
		case kind == clonedMap:
			step = fmt.Sprintf(" (value %d)", i/2)
		}
		node.values[i] = s.at(step, item)
	}
	return node
}

// value makes the value in a runtime. Every call makes new objects.
func (c *cloned) value(rt *goja.Runtime) goja.Value {
	if c.root.primitive != nil {
		return c.root.primitive
	}
	m := &cloneMaker{cloned: c, rt: rt, objects: make([]*goja.Object, len(c.nodes))}
	return m.value(c.root)
}

// cloneMaker makes the objects of a cloned in one runtime.
type cloneMaker struct {
	*cloned
	rt      *goja.Runtime
	objects []*goja.Object // nil: not made yet
}

func (m *cloneMaker) value(ref cloneRef) goja.Value {
	if ref.primitive != nil {
		return ref.primitive
	}
	if made := m.objects[ref.object]; made != nil {
		return made
	}
	node := &m.nodes[ref.object]
	o := m.object(node)
	m.objects[ref.object] = o // before its members, which may refer to it
	m.fill(o, node)
	return o
}

// object makes an object without those members that may refer back to it.
func (m *cloneMaker) object(node *cloneNode) *goja.Object {
	switch node.kind {
	case clonedArray:
		return m.rt.NewArray()
	case clonedDate:
		return m.construct("Date", m.rt.ToValue(node.number))
	case clonedRegExp:
		return m.construct("RegExp", m.value(node.values[0]), m.value(node.values[1]))
	case clonedBoxed:
		return m.value(node.values[0]).ToObject(m.rt)
	case clonedMap:
		return m.construct("Map")
	case clonedSet:
		return m.construct("Set")
	case clonedBuffer:
		return m.rt.ToValue(m.rt.NewArrayBuffer(slices.Clone(node.data))).ToObject(m.rt)
	case clonedView:
		return m.construct(node.class, m.value(node.values[0]), m.rt.ToValue(node.number), m.rt.ToValue(node.length))
	case clonedError:
		return m.construct(node.class)
	}
	return m.rt.NewObject()
}

// construct makes an object with one of JavaScript's own constructors.
func (m *cloneMaker) construct(class string, args ...goja.Value) *goja.Object {
	o, err := m.rt.New(m.rt.GlobalObject().Get(class), args...)
	propagate(err)
	return o
}

// fill adds the members.
func (m *cloneMaker) fill(o *goja.Object, node *cloneNode) {
	switch node.kind {
	case clonedObject:
		m.members(o, node, goja.FLAG_TRUE)
	case clonedError:
		m.members(o, node, goja.FLAG_FALSE)
	case clonedArray:
		propagate(o.Set("length", node.number))
		if node.keys != nil {
			m.members(o, node, goja.FLAG_TRUE)
			return
		}
		for i, ref := range node.values {
			putProperty(o, strconv.Itoa(i), m.value(ref))
		}
	case clonedMap:
		add := o.Get("set")
		for i := 0; i < len(node.values); i += 2 {
			callFunction(add, o, m.value(node.values[i]), m.value(node.values[i+1]))
		}
	case clonedSet:
		add := o.Get("add")
		for _, ref := range node.values {
			callFunction(add, o, m.value(ref))
		}
	}
}

// members defines properties, even one called __proto__.
func (m *cloneMaker) members(o *goja.Object, node *cloneNode, enumerable goja.Flag) {
	if len(node.odd) > 0 {
		m.oddMembers(o, node)
		return
	}
	for i, key := range node.keys {
		propagate(o.DefineDataProperty(key, m.value(node.values[i]), goja.FLAG_TRUE, goja.FLAG_TRUE, enumerable))
	}
}

// oddMembers defines properties whose keys a Go string cannot hold.
func (m *cloneMaker) oddMembers(o *goja.Object, node *cloneNode) {
	define := m.rt.GlobalObject().Get("Object").ToObject(m.rt).Get("defineProperty")
	for i, odd := range node.odd {
		property := m.rt.NewObject()
		putProperty(property, "value", m.value(node.values[i]))
		for _, flag := range []string{"writable", "enumerable", "configurable"} {
			putProperty(property, flag, m.rt.ToValue(true))
		}
		callFunction(define, goja.Undefined(), o, odd.key, property)
	}
}

// isArray tells whether an object is an array, or a proxy of one.
func isArray(o *goja.Object) bool {
	for range 100 { // proxies of proxies of proxies
		if o.ExportType() != reflect.TypeFor[goja.Proxy]() {
			return o.ClassName() == "Array"
		}
		target := o.Export().(goja.Proxy).Target()
		if target == nil {
			return false // revoked
		}
		o = target
	}
	return false
}

// viewKind returns the name of a typed array's class, "DataView", or "" for others.
func viewKind(o *goja.Object) string {
	kind := o.ExportType().Kind()
	if kind != reflect.Slice && kind != reflect.Map { // goja shows a DataView as a map
		return ""
	}
	tag, ok := o.GetSymbol(goja.SymToStringTag).(goja.String)
	if !ok {
		return ""
	}
	switch name := tag.String(); name {
	case "Int8Array", "Uint8Array", "Uint8ClampedArray", "Int16Array", "Uint16Array", "Int32Array", "Uint32Array",
		"Float32Array", "Float64Array", "BigInt64Array", "BigUint64Array":
		if kind == reflect.Slice {
			return name
		}
	case "DataView":
		if kind == reflect.Map {
			return name
		}
	}
	return ""
}

// How goja shows the types of objects that have a class of their own in Go.

func arrayBufferType() reflect.Type { return reflect.TypeFor[goja.ArrayBuffer]() }
func mapType() reflect.Type         { return reflect.TypeFor[[][2]any]() }
func setType() reflect.Type         { return reflect.TypeFor[[]any]() }
func promiseType() reflect.Type     { return reflect.TypeFor[*goja.Promise]() }
