package script

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/dlclark/regexp2/v2"
	"github.com/dop251/goja"
)

const (
	// maxCallStack is how deep functions may call each other. A recursion that goes
	// through goja's own functions (map, sort, a getter) and is then interrupted
	// takes quadratic time to come back: at 2000 about 0.2 to 0.4 s, at 4000 up to
	// 3 s. Go's stack of 1 GB would be enough for 200,000.
	maxCallStack = 1000

	// mostNested is how deep JSON.parse and flat go. goja's parser recurses, and 10 MB
	// of opening brackets would overflow Go's stack, which ends the process.
	mostNested = 1000

	// mostDigits is how long a text BigInt takes; goja needs quadratic time.
	mostDigits = 300_000
)

// guards is a set of methods of strings and arrays to watch.
type guards uint16

const (
	guardRepeat guards = 1 << iota
	guardPadStart
	guardPadEnd
	guardReplace
	guardReplaceAll
	guardJoin
	guardFill
	guardFlat
	guardAll guards = 1<<iota - 1
)

// guarded is a method that a guard watches.
type guarded struct {
	bit     guards
	name    string
	ofArray bool
	check   func(*guarder, goja.FunctionCall) goja.FunctionCall
}

func guardedMethods() [8]guarded {
	return [8]guarded{
		{guardRepeat, "repeat", false, (*guarder).repeat},
		{guardPadStart, "padStart", false, (*guarder).pad},
		{guardPadEnd, "padEnd", false, (*guarder).pad},
		{guardReplace, "replace", false, (*guarder).replace},
		{guardReplaceAll, "replaceAll", false, (*guarder).replace},
		{guardJoin, "join", true, (*guarder).join},
		{guardFill, "fill", true, (*guarder).fill},
		{guardFlat, "flat", true, (*guarder).flat},
	}
}

// guardsFor returns the guards that a program needs: a method whose name is nowhere in
// its text is hardly called. Each guard costs a runtime more than a KiB.
func guardsFor(source string) guards {
	var needed guards
	for _, method := range guardedMethods() {
		if strings.Contains(source, method.name) {
			needed |= method.bit
		}
	}
	if needed&guardJoin == 0 && strings.Contains(source, "String") {
		needed |= guardJoin // toString of an array calls it
	}
	return needed
}

// install makes those of goja's functions refuse to make more than maxBytes that can
// do so in one call: goja has no limit of its own, its functions do not notice an
// interrupt, and when there is no more memory the whole process ends. This is for
// mistakes, such as a length read from a message, and not against a script that
// means harm.
func (g guards) install(rt *goja.Runtime, maxBytes int) {
	if maxBytes <= 0 {
		return
	}
	w := &guarder{rt: rt, most: maxBytes}
	w.shadowGlobals()
	for _, method := range guardedMethods() {
		if g&method.bit == 0 {
			continue
		}
		if method.ofArray {
			w.watch(rt.NewArray().Prototype(), method)
		} else {
			w.watch(rt.ToValue("").ToObject(rt).Prototype(), method)
		}
	}
}

// limitRegexps makes a backtracking regular expression end after about timeout, as if
// it had not matched. The script never sees that answer if the timeout is at least
// script.timeout, because it is interrupted by then. It must be called before any
// program is compiled, and only the first call counts: the limit is a variable of
// the regexp2 library, which goja offers no other way to set.
func limitRegexps(timeout time.Duration) {
	regexpLimit(timeout)
}

var regexpLimit = onceWith(func(timeout time.Duration) { regexp2.DefaultMatchTimeout = timeout })

// onceWith is sync.OnceFunc for a function with an argument.
func onceWith[T any](f func(T)) func(T) {
	var once sync.Once
	return func(v T) { once.Do(func() { f(v) }) }
}

// guarder watches the functions of one runtime.
type guarder struct {
	rt   *goja.Runtime
	most int
}

// refuse throws a RangeError that says what would have been made.
func (w *guarder) refuse(function, thing string, bytes float64) {
	rangeError(w.rt, fmt.Sprintf("%s would make %s of %.0f bytes; script.memory allows %d", function, thing, bytes, w.most))
}

// allow refuses a string of that many characters.
func (w *guarder) allow(function string, characters float64) {
	if characters > float64(w.most) {
		w.refuse(function, "a string", characters)
	}
}

// watch replaces a method by one that checks its arguments first.
func (w *guarder) watch(proto *goja.Object, method guarded) {
	replaceFunction(w.rt, proto, method.name, func(original func(goja.FunctionCall) goja.Value, c goja.FunctionCall) goja.Value {
		return original(method.check(w, c))
	})
}

// replaceFunction replaces one of goja's own functions in an object.
func replaceFunction(rt *goja.Runtime, o *goja.Object, name string, with func(original func(goja.FunctionCall) goja.Value, c goja.FunctionCall) goja.Value) {
	f, _ := o.Get(name).(*goja.Object)
	original, ok := f.Export().(func(goja.FunctionCall) goja.Value)
	if !ok {
		return // cannot be: the script has not run yet
	}
	replaced := newMethod(rt, name, int(f.Get("length").ToInteger()), func(c goja.FunctionCall) goja.Value { return with(original, c) })
	propagate(o.DefineDataProperty(name, replaced, goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_FALSE))
}

// thisLength returns how long the string is whose method is called, 0 for something
// else: its toString would run twice.
func thisLength(c goja.FunctionCall) float64 {
	if s, ok := c.This.(goja.String); ok {
		return float64(s.Length())
	}
	return 0
}

// number is an argument as a number; goja's function will convert it again, so what
// is neither number nor string is left to it.
func number(v goja.Value) float64 {
	if goja.IsNumber(v) || goja.IsString(v) {
		return v.ToFloat()
	}
	return 0
}

func (w *guarder) repeat(c goja.FunctionCall) goja.FunctionCall {
	if times := number(c.Argument(0)); !math.IsInf(times, 0) { // which goja refuses itself
		w.allow("repeat", max(thisLength(c), 1)*times)
	}
	return c
}

func (w *guarder) pad(c goja.FunctionCall) goja.FunctionCall {
	w.allow("padStart or padEnd", number(c.Argument(0)))
	return c
}

// replace looks closer only if text and replacement are both long.
func (w *guarder) replace(c goja.FunctionCall) goja.FunctionCall {
	by, ok := c.Argument(1).(goja.String)
	if !ok {
		return c
	}
	text := thisLength(c)
	references := 0.0 // to parts of the text, such as $&
	if by.Length() > 1 {
		references = float64(strings.Count(by.String(), "$"))
	}
	each := float64(by.Length()) + references*text
	if (text+1)*each <= float64(w.most) {
		return c
	}
	w.allow("replace", text+each*w.matches(c))
	return c
}

// matches tells how often what replace looks for is in the text, at most.
func (w *guarder) matches(c goja.FunctionCall) float64 {
	if pattern, ok := c.Argument(0).(goja.String); ok {
		return float64(strings.Count(c.This.String(), pattern.String()))
	}
	pattern, ok := c.Argument(0).(*goja.Object)
	if !ok || pattern.ClassName() != "RegExp" || !pattern.Get("global").ToBoolean() {
		return 1
	}
	found := callFunction(pattern.GetSymbol(goja.SymMatch), pattern, c.This)
	if list, ok := found.(*goja.Object); ok {
		return list.Get("length").ToFloat()
	}
	return 0
}

// arrayLength returns the length of what an array's method is called on.
func arrayLength(c goja.FunctionCall) (*goja.Object, float64) {
	o, ok := c.This.(*goja.Object)
	if !ok {
		return nil, 0
	}
	length := o.Get("length")
	if length == nil {
		return o, 0
	}
	return o, number(length)
}

// join looks at three items, and at all if these are long.
func (w *guarder) join(c goja.FunctionCall) goja.FunctionCall {
	o, length := arrayLength(c)
	if length == 0 {
		return c
	}
	separator := 1.0
	if s, ok := c.Argument(0).(goja.String); ok {
		separator = float64(s.Length())
	}
	w.allow("join", length*separator)
	items := int64(length)
	longest := max(itemLength(o, 0), itemLength(o, items-1), itemLength(o, items/2))
	if length*(separator+longest) <= float64(w.most) {
		return c
	}
	total := length * separator
	for i := int64(0); i < items && total <= float64(w.most); i++ {
		total += itemLength(o, i)
	}
	w.allow("join", total)
	return c
}

// itemLength returns how long an item is, if it is a string.
func itemLength(o *goja.Object, i int64) float64 {
	if s, ok := o.Get(strconv.FormatInt(i, 10)).(goja.String); ok {
		return float64(s.Length())
	}
	return 0
}

func (w *guarder) fill(c goja.FunctionCall) goja.FunctionCall {
	_, length := arrayLength(c)
	w.allowItems("fill", length)
	return c
}

// allowItems refuses an array of that many items, which take 16 bytes each.
func (w *guarder) allowItems(function string, items float64) {
	if items*16 > float64(w.most) {
		w.refuse(function, "an array", items*16)
	}
}

// flat ends an array that contains itself.
func (w *guarder) flat(c goja.FunctionCall) goja.FunctionCall {
	if number(c.Argument(0)) > mostNested {
		c.Arguments = append([]goja.Value{w.rt.ToValue(mostNested)}, c.Arguments[1:]...)
	}
	return c
}

// shadowGlobals puts guarded constructors before goja's own. They are made when a
// script first asks for them, which takes a global object in front of the true one:
// replacing a property there would first make goja build what it holds.
func (w *guarder) shadowGlobals() {
	inherited := w.rt.GlobalObject()
	shadow := newLazy(w.rt, func(name string) goja.Value { return w.global(inherited, name) }, nil)
	propagate(shadow.SetPrototype(inherited))
	w.rt.SetGlobalObject(w.rt.CreateObject(shadow))
}

// global makes a guarded global, nil if that name has no guard.
func (w *guarder) global(inherited *goja.Object, name string) goja.Value {
	switch name {
	case "ArrayBuffer", "Int8Array", "Uint8Array", "Uint8ClampedArray", "Int16Array", "Uint16Array", "Int32Array", "Uint32Array",
		"Float32Array", "Float64Array", "BigInt64Array", "BigUint64Array":
		return w.buffers(inherited.Get(name).ToObject(w.rt), name)
	case "BigInt":
		return w.bigInt(inherited.Get(name).ToObject(w.rt))
	case "Array":
		array := inherited.Get(name).ToObject(w.rt)
		replaceFunction(w.rt, array, "from", w.arrayFrom)
		return array
	case "JSON":
		json := inherited.Get(name).ToObject(w.rt)
		replaceFunction(w.rt, json, "parse", w.jsonParse)
		return json
	}
	return nil
}

// buffers guards the constructor of a typed array or of ArrayBuffer.
func (w *guarder) buffers(class *goja.Object, name string) goja.Value {
	size := 1.0 // bytes of an item
	if v := class.Get("BYTES_PER_ELEMENT"); v != nil {
		size = v.ToFloat()
	}
	construct, _ := goja.AssertConstructor(class)
	proxy := w.rt.NewProxy(class, &goja.ProxyTrapConfig{
		Construct: func(_ *goja.Object, args []goja.Value, newTarget *goja.Object) *goja.Object {
			if len(args) > 0 {
				if bytes := w.items(args[0], name) * size; bytes > float64(w.most) {
					w.refuse("new "+name, "a buffer", bytes)
				}
			}
			made, err := construct(newTarget, args...)
			propagate(err)
			return made
		},
	})
	guarded := w.rt.ToValue(proxy).ToObject(w.rt)
	w.knowInstances(class)
	// So that new Uint8Array(1).constructor === Uint8Array still holds.
	proto := class.Get("prototype").ToObject(w.rt)
	propagate(proto.DefineDataProperty("constructor", guarded, goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_FALSE))
	return guarded
}

// knowInstances makes instanceof work with a proxy of a class, and with what extends
// that: goja forgets that such a proxy is a function.
func (w *guarder) knowInstances(class *goja.Object) {
	has := newMethod(w.rt, "[Symbol.hasInstance]", 1, func(c goja.FunctionCall) goja.Value {
		asked, isObject := c.This.(*goja.Object)
		o, _ := c.Argument(0).(*goja.Object)
		if !isObject || o == nil {
			return w.rt.ToValue(false)
		}
		proto, _ := asked.Get("prototype").(*goja.Object)
		for o = o.Prototype(); o != nil; o = o.Prototype() {
			if o == proto {
				return w.rt.ToValue(true)
			}
		}
		return w.rt.ToValue(false)
	})
	propagate(class.DefineDataPropertySymbol(goja.SymHasInstance, has, goja.FLAG_FALSE, goja.FLAG_TRUE, goja.FLAG_FALSE))
}

// items returns how many items the first argument of a typed array's constructor asks
// for: a number, or a list.
func (w *guarder) items(v goja.Value, name string) float64 {
	o, ok := v.(*goja.Object)
	if !ok {
		return number(v)
	}
	if name == "ArrayBuffer" || o.ExportType() == arrayBufferType() {
		return 0
	}
	length := o.Get("length")
	if length == nil {
		return 0
	}
	return number(length)
}

// bigInt guards the function BigInt.
func (w *guarder) bigInt(function *goja.Object) goja.Value {
	original, ok := function.Export().(func(goja.FunctionCall) goja.Value)
	if !ok {
		return function
	}
	w.knowInstances(function)
	return w.rt.ToValue(w.rt.NewProxy(function, &goja.ProxyTrapConfig{
		Apply: func(_ *goja.Object, this goja.Value, args []goja.Value) goja.Value {
			if len(args) > 0 {
				if s, ok := args[0].(goja.String); ok && s.Length() > mostDigits {
					rangeError(w.rt, fmt.Sprintf("BigInt takes at most %d digits, not %d", mostDigits, s.Length()))
				}
			}
			return original(goja.FunctionCall{This: this, Arguments: args})
		},
	}))
}

// arrayFrom guards Array.from({ length: n }).
func (w *guarder) arrayFrom(original func(goja.FunctionCall) goja.Value, c goja.FunctionCall) goja.Value {
	if o, ok := c.Argument(0).(*goja.Object); ok {
		if length := o.Get("length"); length != nil {
			w.allowItems("Array.from", number(length))
		}
	}
	return original(c)
}

// jsonParse guards JSON.parse.
func (w *guarder) jsonParse(original func(goja.FunctionCall) goja.Value, c goja.FunctionCall) goja.Value {
	if s, ok := c.Argument(0).(goja.String); ok && s.Length() > 2*mostNested && jsonDepth(s) > mostNested {
		class := w.rt.GlobalObject().Get("SyntaxError")
		thrown, err := w.rt.New(class, w.rt.ToValue(fmt.Sprintf("JSON.parse: nested more than %d levels deep", mostNested)))
		propagate(err)
		panic(thrown)
	}
	return original(c)
}

// jsonDepth returns how deep a text is nested; of one that is not JSON, at least how
// deep a parser gets before it notices.
func jsonDepth(s goja.String) int {
	var n nesting
	if isUTF16(s) {
		for i := range s.Length() {
			n.next(s.CharAt(i))
		}
		return n.deepest
	}
	text := s.String()
	for i := range len(text) {
		n.next(uint16(text[i]))
	}
	return n.deepest
}

// nesting follows the brackets of a JSON text.
type nesting struct {
	depth, deepest    int
	inString, escaped bool
}

func (n *nesting) next(c uint16) {
	switch {
	case n.escaped:
		n.escaped = false
	case n.inString && c == '\\':
		n.escaped = true
	case c == '"':
		n.inString = !n.inString
	case n.inString:
	case c == '[' || c == '{':
		n.depth++
		n.deepest = max(n.deepest, n.depth)
	case c == ']' || c == '}':
		n.depth--
	}
}
