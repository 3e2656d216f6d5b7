package script

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/dop251/goja"
)

// maxJSONBytes is the longest text that a view writes unless its limit says otherwise,
// or it was parsed from a longer one.
const maxJSONBytes = 64 << 20

var (
	// errJSONCycle: the value contains itself.
	errJSONCycle = errors.New("json: the value contains itself")

	// errJSONDepth: the value is nested deeper than maxJSONDepth.
	errJSONDepth = fmt.Errorf("json: nested deeper than %d levels", maxJSONDepth)

	// errJSONSize: the text would be longer than the view's limit.
	errJSONSize = errors.New("json: the text is too long")

	// errJSONBigInt: as in JavaScript, a BigInt without a toJSON has no JSON.
	errJSONBigInt = errors.New("json: a BigInt has no JSON form")

	// errJSONNothing: undefined, a function or a symbol where a value must be.
	errJSONNothing = errors.New("json: undefined, functions and symbols have no JSON form")
)

// jsonView is a payload as a JavaScript value: what is behind msg.json. The value is made
// of ordinary objects and arrays, which scripts change as they like; the view finds
// out what they changed by comparing the value with the text it came from. Everything
// that is still equal keeps its bytes: white space, the order of keys, the spelling of
// numbers and strings. Objects and arrays are known by identity wherever a script has
// moved them.
//
// A view belongs to its runtime's goroutine.
type jsonView struct {
	rt    *goja.Runtime
	text  []byte // never written to
	tree  jsonTree
	root  goja.Value
	limit int // bytes; longer results are errJSONSize

	known map[*goja.Object]int32 // containers' nodes; made when first needed
	wide  wideKeys
}

// newJSONView parses text; ok is false if it is not one JSON value.
// The view keeps text and relies on nobody changing it.
func newJSONView(rt *goja.Runtime, text []byte) (v *jsonView, ok bool) {
	tree, ok := parseJSON(text)
	if !ok {
		return nil, false
	}
	v = &jsonView{rt: rt, text: text, tree: tree, limit: max(maxJSONBytes, len(text))}
	v.wide.rt = rt
	b := jsonBuilder{rt: rt, tree: &v.tree, wide: &v.wide}
	v.root = b.value(0)
	return v, b.err == nil
}

// value returns the live value, the same one every time until set.
func (v *jsonView) value() goja.Value { return v.root }

// set replaces the whole value, as msg.json = val does.
func (v *jsonView) set(val goja.Value) { v.root = val }

// bytes returns the text of the value as it is now. If nothing has changed, that is
// the very slice that was parsed. The caller must not write to it.
//
// Getters, toJSON methods and proxies of the script may run and throw; exceptions
// and *goja.InterruptedError come back as errors. After an interruption the
// runtime's interrupt flag is for the caller to clear.
func (v *jsonView) bytes() ([]byte, error) {
	e := jsonEncoder{v: v}
	err := v.protect(func() error {
		root := &v.tree.nodes[0]
		e.span(0, root.start)
		if err := e.root(v.root, 0); err != nil {
			return err
		}
		e.span(root.end, int32(len(v.text)))
		return nil
	})
	return e.result(err)
}

// encode returns val as JSON.stringify would, but with the bytes that are known from
// the view's text. The result may be a part of that text; the caller must not write to it.
func (v *jsonView) encode(val goja.Value) ([]byte, error) {
	if obj, ok := val.(*goja.Object); ok && v.root == obj {
		return v.bytes()
	}
	e := jsonEncoder{v: v}
	err := v.protect(func() error { return e.root(val, noNode) })
	return e.result(err)
}

// encodeJSON returns val as JSON.stringify would.
func encodeJSON(rt *goja.Runtime, val goja.Value) ([]byte, error) {
	v := &jsonView{rt: rt, limit: maxJSONBytes}
	v.wide.rt = rt
	return v.encode(val)
}

// protect runs f, which may call JavaScript, and returns what that throws. Interruptions
// and stack overflows pass through Try as panics, by design of goja.
func (v *jsonView) protect(f func() error) (err error) {
	defer func() {
		x := recover()
		if x == nil {
			return
		}
		var interrupted *goja.InterruptedError
		var overflow *goja.StackOverflowError
		thrown, _ := x.(error)
		if !errors.As(thrown, &interrupted) && !errors.As(thrown, &overflow) {
			panic(x)
		}
		err = thrown
	}()
	if thrown := v.rt.Try(func() { err = f() }); thrown != nil {
		return thrown
	}
	return err
}

// node finds the node that obj was made from. near is the node that obj most likely is.
func (v *jsonView) node(obj *goja.Object, near int32) int32 {
	if near != noNode && sameValue(v.tree.nodes[near].val, obj) {
		return near
	}
	if v.known == nil {
		v.known = make(map[*goja.Object]int32)
		for i := range v.tree.nodes {
			if made, ok := v.tree.nodes[i].val.(*goja.Object); ok {
				v.known[made] = int32(i)
			}
		}
	}
	if i, ok := v.known[obj]; ok {
		return i
	}
	return noNode
}

// sameValue says whether a value that came from the text is still what it was.
func sameValue(was, is goja.Value) bool {
	if was == nil || is == nil {
		return false
	}
	if obj, ok := is.(*goja.Object); ok {
		made, ok := was.(*goja.Object)
		return ok && made == obj
	}
	if was.SameAs(is) {
		return true
	}
	// goja has two kinds of numbers, and SameAs is not symmetric between them.
	return goja.IsNumber(was) && goja.IsNumber(is) &&
		math.Float64bits(was.ToFloat()) == math.Float64bits(is.ToFloat())
}

// jsonEncoder writes one text. Known bytes are not copied at once: spans that follow
// on each other grow into one, so that an unchanged value is the text itself.
type jsonEncoder struct {
	v        *jsonView
	out      []byte
	from, to int32 // a span of v.text that comes behind out
	stack    []*goja.Object
}

// span writes bytes of the original text.
func (e *jsonEncoder) span(from, to int32) {
	if from == e.to && e.from < e.to {
		e.to = to
		return
	}
	if from < to {
		e.flush()
		e.from, e.to = from, to
	}
}

// flush copies the pending span.
func (e *jsonEncoder) flush() {
	e.out = append(e.out, e.v.text[e.from:e.to]...)
	e.from, e.to = 0, 0
}

// text writes new bytes.
func (e *jsonEncoder) text(s string) {
	e.flush()
	e.out = append(e.out, s...)
}

// size is the length of what has been written.
func (e *jsonEncoder) size() int { return len(e.out) + int(e.to-e.from) }

// result is the text, if err is nil and it is not too long.
func (e *jsonEncoder) result(err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	if len(e.out) == 0 {
		if e.from == 0 && int(e.to) == len(e.v.text) {
			return e.v.text, nil
		}
		if e.size() <= e.v.limit {
			return e.v.text[e.from:e.to:e.to], nil
		}
	}
	if e.size() > e.v.limit {
		return nil, errJSONSize
	}
	e.flush()
	return e.out, nil
}

// root writes a whole value.
func (e *jsonEncoder) root(val goja.Value, near int32) error {
	val, ok, err := e.resolve(val, "")
	if err != nil {
		return err
	}
	if !ok {
		return errJSONNothing
	}
	return e.value(val, near)
}

// resolve gives what JSON shows of a property's value: the result of its toJSON,
// and the inside of a boxed primitive. ok is false if it shows nothing.
func (e *jsonEncoder) resolve(val goja.Value, key string) (_ goja.Value, ok bool, err error) {
	if val == nil || goja.IsUndefined(val) {
		return nil, false, nil
	}
	obj, isObject := val.(*goja.Object)
	if isObject || goja.IsBigInt(val) {
		if val, err = e.callToJSON(val, key); err != nil {
			return nil, false, err
		}
		obj, isObject = val.(*goja.Object)
	}
	if isObject {
		return e.unbox(obj)
	}
	if goja.IsBigInt(val) {
		return nil, false, errJSONBigInt
	}
	_, isSymbol := val.(*goja.Symbol)
	return val, val != nil && !isSymbol && !goja.IsUndefined(val), nil
}

// callToJSON replaces val by what its toJSON method returns, if it has one.
func (e *jsonEncoder) callToJSON(val goja.Value, key string) (goja.Value, error) {
	method, ok := val.ToObject(e.v.rt).Get("toJSON").(*goja.Object)
	if !ok {
		return val, nil
	}
	toJSON, ok := goja.AssertFunction(method)
	if !ok {
		return val, nil
	}
	return toJSON(val, e.v.wide.keyValue(key))
}

// unbox turns Number, String and Boolean objects into primitives and leaves out functions.
func (e *jsonEncoder) unbox(obj *goja.Object) (_ goja.Value, ok bool, err error) {
	switch obj.ClassName() {
	case "Number":
		return obj.ToNumber(), true, nil
	case "String":
		return obj.ToString(), true, nil
	case "Boolean":
		boxed, _ := obj.Export().(bool)
		return e.v.rt.ToValue(boxed), true, nil
	case "Array":
		return obj, true, nil
	}
	if obj.ExportType() == reflect.TypeFor[*big.Int]() {
		return nil, false, errJSONBigInt
	}
	_, isFunction := goja.AssertFunction(obj)
	return obj, !isFunction, nil
}

// value writes a resolved value. near is the node that stood in its place.
func (e *jsonEncoder) value(val goja.Value, near int32) error {
	if e.size() > e.v.limit {
		return errJSONSize
	}
	if obj, ok := val.(*goja.Object); ok {
		return e.container(obj, near)
	}
	if near != noNode {
		if n := &e.v.tree.nodes[near]; sameValue(n.val, val) {
			e.span(n.start, n.end)
			return nil
		}
	}
	e.primitive(val)
	return nil
}

// primitive writes a value that is not known.
func (e *jsonEncoder) primitive(val goja.Value) {
	if s, ok := val.(goja.String); ok {
		e.flush()
		e.out = appendJSONString(e.out, s)
		return
	}
	if goja.IsNumber(val) {
		if f := val.ToFloat(); math.IsNaN(f) || math.IsInf(f, 0) {
			e.text("null")
			return
		}
	}
	e.text(val.String())
}

// container writes an object or array. An array that a script made to stand in the place of
// a known one (filter, map, concat) is compared with that one.
func (e *jsonEncoder) container(obj *goja.Object, near int32) error {
	if err := e.enter(obj); err != nil {
		return err
	}
	defer e.leave()
	if i := e.v.node(obj, near); i != noNode {
		if e.v.tree.nodes[i].kind == jsonArray {
			return e.array(obj, i)
		}
		return e.object(obj, i)
	}
	if obj.ClassName() == "RawJSON" {
		e.text(obj.Get("rawJSON").String())
		return nil
	}
	if !isArray(obj) {
		return e.newObject(obj)
	}
	if near != noNode && e.v.tree.nodes[near].kind == jsonArray {
		return e.array(obj, near)
	}
	return e.newArray(obj)
}

// enter notes that obj is being written. Cycles are looked for among the nearest
// ancestors only, which keeps deep texts cheap; longer ones end at the depth limit.
func (e *jsonEncoder) enter(obj *goja.Object) error {
	const nearest = 32
	if slices.Contains(e.stack[max(0, len(e.stack)-nearest):], obj) {
		return errJSONCycle
	}
	if len(e.stack) == maxJSONDepth {
		if slices.Contains(e.stack, obj) {
			return errJSONCycle
		}
		return errJSONDepth
	}
	e.stack = append(e.stack, obj)
	return nil
}

func (e *jsonEncoder) leave() { e.stack = e.stack[:len(e.stack)-1] }

// newObject writes an object that is not known.
func (e *jsonEncoder) newObject(obj *goja.Object) error {
	names, err := e.v.wide.names(obj)
	if err != nil {
		return err
	}
	between := "{"
	for _, name := range names {
		written, err := e.newMember(obj, name, between, ":")
		if err != nil {
			return err
		}
		if written {
			between = ","
		}
	}
	if between == "{" {
		e.text("{")
	}
	e.text("}")
	return nil
}

// newMember writes a member that is not known, if JSON shows it.
func (e *jsonEncoder) newMember(obj *goja.Object, name, before, colon string) (written bool, err error) {
	val, err := e.v.wide.get(obj, name)
	if err != nil {
		return false, err
	}
	val, ok, err := e.resolve(val, name)
	if err != nil || !ok {
		return false, err
	}
	e.text(before)
	e.out = appendJSONName(e.out, name)
	e.out = append(e.out, colon...)
	return true, e.value(val, noNode)
}

// newArray writes an array that is not known.
func (e *jsonEncoder) newArray(arr *goja.Object) error {
	length, err := e.length(arr)
	if err != nil {
		return err
	}
	e.text("[")
	for i := range length {
		if i > 0 {
			e.text(",")
		}
		if err := e.element(arr.Get(strconv.Itoa(i)), i, noNode); err != nil {
			return err
		}
	}
	e.text("]")
	return nil
}

// length is the number of an array's elements, each of which takes two bytes at least.
func (e *jsonEncoder) length(arr *goja.Object) (int, error) {
	val := arr.Get("length")
	if val == nil {
		return 0, nil
	}
	length := val.ToInteger()
	if length > int64(e.v.limit/2) {
		return 0, errJSONSize
	}
	return int(max(length, 0)), nil
}

// element writes an array's element; what JSON does not show is null there.
func (e *jsonEncoder) element(val goja.Value, index int, near int32) error {
	name := ""
	if _, isPrimitive := val.(goja.String); !isPrimitive && !goja.IsNumber(val) {
		name = strconv.Itoa(index) // for toJSON
	}
	val, ok, err := e.resolve(val, name)
	if err != nil {
		return err
	}
	if !ok {
		val = goja.Null()
	}
	return e.value(val, near)
}

// object writes the object of node i: its members in their places, without those that
// are gone, and the new ones behind them.
func (e *jsonEncoder) object(obj *goja.Object, i int32) error {
	names, err := e.v.wide.names(obj)
	if err != nil {
		return err
	}
	w := objectWriter{jsonEncoder: e, obj: obj, node: i, names: nameSet{names: names}}
	if e.v.tree.nodes[i].shadows {
		if err := w.resolveMembers(); err != nil {
			return err
		}
	}
	if err := w.members(); err != nil {
		return err
	}
	if err := w.newMembers(); err != nil {
		return err
	}
	e.closing(i, w.started)
	return nil
}

// objectWriter writes one known object.
type objectWriter struct {
	*jsonEncoder
	obj     *goja.Object
	node    int32
	names   nameSet
	started bool
	// values has the members' resolved values if some are shadowed: whether a shadowed
	// member stays depends on a later one, and getters should run once.
	values map[string]goja.Value
}

// resolveMembers fills values.
func (w *objectWriter) resolveMembers() error {
	tree := &w.v.tree
	w.values = make(map[string]goja.Value)
	for c := w.node + 1; c < tree.nodes[w.node].next; c = tree.nodes[c].next {
		if tree.nodes[c].shadowed {
			continue
		}
		val, ok, err := w.member(c)
		if err != nil {
			return err
		}
		if ok {
			w.values[tree.keys[tree.nodes[c].key]] = val
		}
	}
	return nil
}

// member is the resolved value of the member of node c.
func (w *objectWriter) member(c int32) (_ goja.Value, ok bool, err error) {
	n := &w.v.tree.nodes[c]
	key := w.v.tree.keys[n.key]
	if !w.names.find(key) {
		return nil, false, nil
	}
	var val goja.Value
	if n.wideKey {
		if val, err = w.v.wide.get(w.obj, key); err != nil {
			return nil, false, err
		}
	} else {
		val = w.obj.Get(key)
	}
	return w.resolve(val, key)
}

// members writes the members that the text had and the object still has.
func (w *objectWriter) members() error {
	tree := &w.v.tree
	object := &tree.nodes[w.node]
	before := object.start // where what stands before the next member begins
	for c := w.node + 1; c < object.next; c = tree.nodes[c].next {
		n := &tree.nodes[c]
		var val goja.Value
		var ok bool
		var err error
		if w.values == nil {
			val, ok, err = w.member(c)
		} else {
			val, ok = w.values[tree.keys[n.key]]
		}
		if err != nil {
			return err
		}
		switch {
		case !ok:
		case w.started:
			w.span(before, n.start)
		default:
			// Whatever comes first takes the white space behind the brace.
			w.opening(w.node)
			w.span(n.slot, n.start)
			w.started = true
		}
		if ok && n.shadowed {
			w.span(n.start, n.end)
		} else if ok {
			if err := w.value(val, c); err != nil {
				return err
			}
		}
		before = n.end
	}
	return nil
}

// newMembers writes the members that the text did not have.
func (w *objectWriter) newMembers() error {
	if w.names.found() {
		return nil
	}
	added := w.names.rest()
	if len(added) == 0 {
		return nil
	}
	tree := &w.v.tree
	between, colon := tree.separator(w.node), tree.colon(w.node)
	for _, name := range added {
		before := between
		if !w.started {
			before = tree.opening(w.node)
		}
		written, err := w.newMember(w.obj, name, before, colon)
		if err != nil {
			return err
		}
		w.started = w.started || written
	}
	return nil
}

// closing writes the end of the container of node i; started says whether its
// beginning was written.
func (e *jsonEncoder) closing(i int32, started bool) {
	n := &e.v.tree.nodes[i]
	last := e.v.tree.lastChild(i)
	switch {
	case started && last != noNode:
		e.span(e.v.tree.nodes[last].end, n.end)
	case started:
		e.text(e.v.tree.src[n.end-1 : n.end])
	case last != noNode: // all are gone
		e.span(n.start, n.start+1)
		e.span(n.end-1, n.end)
	default:
		e.span(n.start, n.end)
	}
}

// nameSet is an object's own names. Looked for in the order in which they come,
// as in an object that nobody has changed, they cost nothing.
type nameSet struct {
	names []string
	next  int            // names[:next] were found in order
	index map[string]int // all names, if the order did not hold and they are many
	used  []bool         // the names that were found, once the order did not hold
}

// find says whether name is in the set.
func (s *nameSet) find(name string) bool {
	if s.used == nil {
		if s.next < len(s.names) && s.names[s.next] == name {
			s.next++
			return true
		}
		s.used = make([]bool, len(s.names))
		for i := range s.next {
			s.used[i] = true
		}
		s.makeIndex()
	}
	i, ok := s.at(name)
	if ok {
		s.used[i] = true
	}
	return ok
}

func (s *nameSet) makeIndex() {
	if len(s.names) <= 8 {
		return
	}
	s.index = make(map[string]int, len(s.names))
	for i, name := range s.names {
		s.index[name] = i
	}
}

func (s *nameSet) at(name string) (int, bool) {
	if s.index != nil {
		i, ok := s.index[name]
		return i, ok
	}
	i := slices.Index(s.names, name)
	return i, i >= 0
}

// found says that every name was found, and in order.
func (s *nameSet) found() bool { return s.used == nil && s.next == len(s.names) }

// rest is the names that were not found.
func (s *nameSet) rest() []string {
	if s.used == nil {
		return s.names[s.next:]
	}
	var rest []string
	for i, name := range s.names {
		if !s.used[i] {
			rest = append(rest, name)
		}
	}
	return rest
}

// lastChild is the last member or element of node i.
func (t *jsonTree) lastChild(i int32) int32 {
	last := noNode
	for c := i + 1; c < t.nodes[i].next; c = t.nodes[c].next {
		last = c
	}
	return last
}

// opening is what stands before the first thing in the container of node i.
func (t *jsonTree) opening(i int32) string {
	n := &t.nodes[i]
	if i+1 == n.next {
		return t.src[n.start : n.start+1]
	}
	return t.src[n.start:t.nodes[i+1].slot]
}

// separator is what to write between new things in the container of node i: what
// stands between its last two, or else something in the style of the text.
func (t *jsonTree) separator(i int32) string {
	last, before := noNode, noNode
	for c := i + 1; c < t.nodes[i].next; c = t.nodes[c].next {
		last, before = c, last
	}
	if before != noNode {
		return t.src[t.nodes[before].end:t.nodes[last].slot]
	}
	if space := t.opening(i)[1:]; strings.Contains(space, "\n") {
		return "," + space
	}
	if strings.HasSuffix(t.colon(i), " ") {
		return ", "
	}
	return ","
}

// colon is what to write between a new key and its value in the object of node i.
func (t *jsonTree) colon(i int32) string {
	member := noNode
	if t.nodes[i].kind == jsonObject {
		member = t.lastChild(i)
	}
	if member == noNode { // the first member of the text speaks for it
		if member = t.member; member == noNode {
			return ":"
		}
	}
	value := t.nodes[member].start
	key := strings.TrimRight(t.src[t.nodes[member].slot:value], ": \t\r\n")
	return t.src[t.nodes[member].slot+int32(len(key)) : value]
}

// array writes arr with the bytes of the array of node i, which it is or replaces.
func (e *jsonEncoder) array(arr *goja.Object, i int32) error {
	length, err := e.length(arr)
	if err != nil {
		return err
	}
	w := arrayWriter{jsonEncoder: e, arr: arr, node: i, length: length}
	w.child, w.before = i+1, e.v.tree.nodes[i].start
	first, err := w.unchanged()
	if err != nil {
		return err
	}
	if err := w.changed(first); err != nil {
		return err
	}
	e.closing(i, length > 0)
	return nil
}

// arrayWriter writes one known array.
type arrayWriter struct {
	*jsonEncoder
	arr    *goja.Object
	node   int32
	length int
	index  int   // how many elements are written
	child  int32 // the node behind those that are written
	before int32 // where what stands before the next element begins
}

// unchanged writes the elements up to the first that differs, and returns that one.
func (w *arrayWriter) unchanged() (differs goja.Value, err error) {
	nodes := w.v.tree.nodes
	for w.index < w.length {
		val := w.arr.Get(strconv.Itoa(w.index))
		if w.child == nodes[w.node].next || !sameValue(nodes[w.child].val, val) {
			return val, nil
		}
		n := &nodes[w.child]
		w.span(w.before, n.start)
		if err := w.element(val, w.index, w.child); err != nil {
			return nil, err
		}
		w.index++
		w.child, w.before = n.next, n.end
	}
	return nil, nil
}

// changed writes the other elements, of which the first has been read already.
func (w *arrayWriter) changed(first goja.Value) error {
	if w.index == w.length {
		return nil
	}
	vals, err := w.rest(first)
	if err != nil {
		return err
	}
	tree := &w.v.tree
	var old []int32
	for c := w.child; c < tree.nodes[w.node].next; c = tree.nodes[c].next {
		old = append(old, c)
	}
	places := tree.align(old, vals)
	between := ""
	for j, val := range vals {
		slot, near := places[j].slot, noNode
		switch {
		case w.index+j == 0:
			w.opening(w.node)
		case slot == 0 && w.index > 0:
			w.span(w.before, tree.nodes[old[0]].slot)
		case slot > 0:
			w.span(tree.nodes[old[slot-1]].end, tree.nodes[old[slot]].slot)
		default:
			if between == "" {
				between = tree.separator(w.node)
			}
			w.text(between)
		}
		if from := places[j].from; from >= 0 {
			near = old[from]
		} else if slot >= 0 {
			near = old[slot] // an array may replace an array
		}
		if err := w.element(val, w.index+j, near); err != nil {
			return err
		}
	}
	return nil
}

// rest reads the elements that are not written yet. A sparse array is refused before it
// fills the memory: a hole is written as null.
func (w *arrayWriter) rest(first goja.Value) ([]goja.Value, error) {
	vals := []goja.Value{first}
	size := 0
	for i := w.index + 1; i < w.length; i++ {
		val := w.arr.Get(strconv.Itoa(i))
		if val == nil {
			size += len("null,")
		}
		if size > w.v.limit {
			return nil, errJSONSize
		}
		vals = append(vals, val)
	}
	return vals, nil
}

// opening writes what stands before the first thing in the container of node i.
func (e *jsonEncoder) opening(i int32) {
	start := e.v.tree.nodes[i].start
	e.span(start, start+int32(len(e.v.tree.opening(i))))
}

// appendJSONName quotes a key, which may have lone surrogates in the manner of WTF-8.
func appendJSONName(out []byte, name string) []byte {
	if utf8.ValidString(name) {
		return appendQuoted(out, name)
	}
	return appendJSONString(out, goja.StringFromUTF16(wtf8Units(name)))
}

// appendJSONString quotes a JavaScript string.
func appendJSONString(out []byte, s goja.String) []byte {
	// Where UTF-16 does not fit a Go string, String has put replacement characters,
	// or bytes that a Go caller once passed in.
	if plain := s.String(); utf8.ValidString(plain) && !strings.ContainsRune(plain, utf8.RuneError) {
		return appendQuoted(out, plain)
	}
	return appendQuoted(out, stringWTF8(s))
}

// appendQuoted quotes a string as JSON.stringify does: it escapes what it must, and lone
// surrogates.
func appendQuoted(out []byte, s string) []byte {
	const hex = "0123456789abcdef"
	out = append(out, '"')
	done := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		// In WTF-8, 0xED before 0xA0 and above is a surrogate.
		surrogate := c == 0xED && s[i+1] >= 0xA0
		if c >= 0x20 && c != '"' && c != '\\' && !surrogate {
			continue
		}
		out = append(out, s[done:i]...)
		if short := strings.IndexByte("\"\\\b\f\n\r\t", c); short >= 0 {
			out = append(out, '\\', `"\bfnrt`[short])
		} else {
			unit := uint16(c)
			if surrogate {
				unit = 0xD000 | uint16(s[i+1]&0x3F)<<6 | uint16(s[i+2]&0x3F)
				i += 2
			}
			out = append(out, '\\', 'u', hex[unit>>12], hex[unit>>8&0xF], hex[unit>>4&0xF], hex[unit&0xF])
		}
		done = i + 1
	}
	out = append(out, s[done:]...)
	return append(out, '"')
}

// wideKeys reads and writes properties whose names have lone surrogates. The Go side of goja
// names properties with Go strings, which cannot say that; JavaScript can. Names go about as
// unescapeJSON writes them.
type wideKeys struct {
	rt                 *goja.Runtime
	list, fetch, store goja.Callable
}

// wideKeysProgram uses syntax only: a script may have replaced any global.
var wideKeysProgram = sync.OnceValue(func() *goja.Program {
	return goja.MustCompile("wstape:json", `[
		o => { const r = []; let n = 0; for (const k in {__proto__: null, ...o}) r[n++] = k; return r },
		(o, k) => o[k],
		(o, k, v) => { o[k] = v },
	]`, true)
})

// load makes the functions when they are first needed.
func (w *wideKeys) load() error {
	if w.list != nil {
		return nil
	}
	made, err := w.rt.RunProgram(wideKeysProgram())
	if err != nil {
		return err
	}
	fn := func(index string) goja.Callable {
		call, _ := goja.AssertFunction(made.ToObject(w.rt).Get(index))
		return call
	}
	w.list, w.fetch, w.store = fn("0"), fn("1"), fn("2")
	return nil
}

// keyValue is a name as JavaScript has it.
func (w *wideKeys) keyValue(name string) goja.Value {
	if utf8.ValidString(name) {
		return w.rt.ToValue(name)
	}
	return goja.StringFromUTF16(wtf8Units(name))
}

// names lists an object's own enumerable names.
func (w *wideKeys) names(obj *goja.Object) ([]string, error) {
	names := obj.Keys()
	for _, name := range names {
		// A replacement character, EF BF BD, may be a lone surrogate that a Go string
		// cannot show.
		if strings.IndexByte(name, 0xEF) >= 0 && strings.Contains(name, "\uFFFD") {
			return w.wideNames(obj)
		}
	}
	return names, nil
}

func (w *wideKeys) wideNames(obj *goja.Object) ([]string, error) {
	if err := w.load(); err != nil {
		return nil, err
	}
	listed, err := w.list(goja.Undefined(), obj)
	if err != nil {
		return nil, err
	}
	list := listed.ToObject(w.rt)
	names := make([]string, list.Get("length").ToInteger())
	for i := range names {
		name, _ := list.Get(strconv.Itoa(i)).(goja.String)
		names[i] = stringWTF8(name)
	}
	return names, nil
}

// get reads a property.
func (w *wideKeys) get(obj *goja.Object, name string) (goja.Value, error) {
	if utf8.ValidString(name) {
		return obj.Get(name), nil
	}
	if err := w.load(); err != nil {
		return nil, err
	}
	return w.fetch(goja.Undefined(), obj, w.keyValue(name))
}

// set makes a property.
func (w *wideKeys) set(obj *goja.Object, name string, val goja.Value) error {
	if err := w.load(); err != nil {
		return err
	}
	_, err := w.store(goja.Undefined(), obj, w.keyValue(name), val)
	return err
}

// jsonPlace says how a new element of an array relates to the old ones, which it names by number.
type jsonPlace struct {
	slot int // the old element in whose place it stands, or -1
	from int // the old element whose bytes it has if it is a primitive, or -1
}

// align finds places for the elements of an array that differ from the nodes they were
// made from. It is a guess at what the script did; whatever it guesses, the text has the
// right values. Slots only increase.
func (t *jsonTree) align(old []int32, vals []goja.Value) []jsonPlace {
	places := make([]jsonPlace, len(vals))
	for j := range places {
		places[j] = jsonPlace{slot: -1, from: -1}
	}
	tail, shift := len(vals), len(old)-len(vals)
	for tail > 0 && tail+shift > 0 && sameValue(t.nodes[old[tail+shift-1]].val, vals[tail-1]) {
		tail--
		places[tail] = jsonPlace{slot: tail + shift, from: tail + shift}
	}
	old, vals = old[:tail+shift], vals[:tail]

	const few = 64 * 64
	switch {
	case len(old) == len(vals):
		t.alignInPlace(old, vals, places)
	case len(old)*len(vals) <= few:
		t.alignCommon(old, vals, places)
	default:
		t.alignForward(old, vals, places)
	}
	fillSlots(places[:tail], len(old))
	t.alignMoved(old, vals, places)
	return places
}

// alignInPlace matches each element with the one at its index: as many elements as
// before mean that some were assigned or changed places.
func (t *jsonTree) alignInPlace(old []int32, vals []goja.Value, places []jsonPlace) {
	for j, val := range vals {
		if sameValue(t.nodes[old[j]].val, val) {
			places[j] = jsonPlace{slot: j, from: j}
		}
	}
}

// alignCommon matches a longest common subsequence.
func (t *jsonTree) alignCommon(old []int32, vals []goja.Value, places []jsonPlace) {
	width := len(vals) + 1
	longest := make([]uint16, (len(old)+1)*width) // of old[k:] and vals[j:]
	for k := len(old) - 1; k >= 0; k-- {
		for j := len(vals) - 1; j >= 0; j-- {
			if sameValue(t.nodes[old[k]].val, vals[j]) {
				longest[k*width+j] = longest[(k+1)*width+j+1] + 1
			} else {
				longest[k*width+j] = max(longest[(k+1)*width+j], longest[k*width+j+1])
			}
		}
	}
	for k, j := 0, 0; k < len(old) && j < len(vals); {
		switch longest[k*width+j] {
		case longest[(k+1)*width+j]:
			k++
		case longest[k*width+j+1]:
			j++
		default:
			places[j] = jsonPlace{slot: k, from: k}
			k++
			j++
		}
	}
}

// alignForward matches each element with the next old one that has the same value, in
// linear time. What filter, splice, push and shift leave over is found like this.
func (t *jsonTree) alignForward(old []int32, vals []goja.Value, places []jsonPlace) {
	where := make(map[valueKey][]int, len(old))
	for k, i := range old {
		key := keyOfValue(t.nodes[i].val)
		where[key] = append(where[key], k)
	}
	next := 0
	for j, val := range vals {
		key := keyOfValue(val)
		at := where[key]
		for len(at) > 0 && at[0] < next {
			at = at[1:]
		}
		where[key] = at
		if len(at) > 0 && sameValue(t.nodes[old[at[0]]].val, val) {
			places[j] = jsonPlace{slot: at[0], from: at[0]}
			next = at[0] + 1
		}
	}
}

// fillSlots gives elements between two matched ones the slots of the old elements between
// those, as far as they go: they were assigned. count is the number of old elements.
func fillSlots(places []jsonPlace, count int) {
	slot := 0
	for j := 0; j < len(places); j++ {
		if places[j].slot < 0 {
			end, limit := j, count
			for end < len(places) && places[end].slot < 0 {
				end++
			}
			if end < len(places) {
				limit = places[end].slot
			}
			for ; j < end && slot < limit; slot++ {
				places[j].slot = slot
				j++
			}
			j = end - 1
			continue
		}
		slot = places[j].slot + 1
	}
}

// alignMoved gives primitives that are not in order the bytes of old elements of the same
// value that are not in use: sort and reverse change the spelling of nothing.
func (t *jsonTree) alignMoved(old []int32, vals []goja.Value, places []jsonPlace) {
	used := make([]bool, len(old))
	missing := false
	for j := range vals {
		if from := places[j].from; from >= 0 {
			used[from] = true
		} else if _, isObject := vals[j].(*goja.Object); !isObject {
			missing = true
		}
	}
	if !missing {
		return
	}
	unused := make(map[valueKey][]int)
	for k, i := range old {
		if !used[k] {
			key := keyOfValue(t.nodes[i].val)
			unused[key] = append(unused[key], k)
		}
	}
	for j, val := range vals {
		if places[j].from >= 0 {
			continue
		}
		key := keyOfValue(val)
		if at := unused[key]; len(at) > 0 && sameValue(t.nodes[old[at[0]]].val, val) {
			places[j].from = at[0]
			unused[key] = at[1:]
		}
	}
}

// valueKey is equal for values that sameValue finds equal.
type valueKey struct {
	kind   jsonKind
	object *goja.Object
	number uint64
	text   string // strings and literals; lone surrogates are not told apart
}

func keyOfValue(val goja.Value) valueKey {
	switch v := val.(type) {
	case nil:
		return valueKey{}
	case *goja.Object:
		return valueKey{kind: jsonObject, object: v}
	case goja.String:
		return valueKey{kind: jsonString, text: v.String()}
	}
	if goja.IsNumber(val) {
		return valueKey{kind: jsonNumber, number: math.Float64bits(val.ToFloat())}
	}
	return valueKey{text: val.String()}
}
