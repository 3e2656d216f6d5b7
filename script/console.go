package script

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dop251/goja"
)

const (
	mostLine   = 8 << 10 // bytes of what one call of the console prints
	mostDepth  = 4       // levels of nested objects shown
	mostItems  = 100     // items of an array, Map or Set shown
	mostLabels = 1000    // labels that count and time remember
)

// console is the global of that name.
type console struct {
	rt     *goja.Runtime
	print  func(level, text string)
	counts map[string]int
	timers map[string]time.Time
}

// newConsole makes a console; a nil print is silent.
func newConsole(rt *goja.Runtime, print func(level, text string)) goja.Value {
	if print == nil {
		print = func(string, string) {}
	}
	c := &console{rt: rt, print: print}
	return newLazy(rt, c.member, consoleNames)
}

func consoleNames() []string {
	return []string{"log", "info", "warn", "error", "debug", "trace", "dir", "table", "group", "groupCollapsed", "groupEnd",
		"assert", "count", "countReset", "time", "timeLog", "timeEnd"}
}

// member makes one of the console's functions.
func (c *console) member(name string) goja.Value {
	f := c.function(name)
	if f == nil {
		return nil
	}
	return newMethod(c.rt, name, 0, func(call goja.FunctionCall) goja.Value {
		f(call.Arguments)
		return goja.Undefined()
	})
}

func (c *console) function(name string) func([]goja.Value) {
	switch name {
	case "log", "info", "warn", "error", "debug":
		return func(args []goja.Value) { c.print(name, c.format(args)) }
	case "dir":
		return func(args []goja.Value) { c.print("log", c.format(args[:min(len(args), 1)])) }
	case "table", "group", "groupCollapsed":
		return func(args []goja.Value) { c.print("log", c.format(args)) }
	case "groupEnd":
		return func([]goja.Value) {}
	case "trace":
		return c.trace
	case "assert":
		return c.assert
	case "count":
		return func(args []goja.Value) { c.count(consoleLabel(args)) }
	case "countReset":
		return func(args []goja.Value) { delete(c.counts, consoleLabel(args)) }
	case "time":
		return func(args []goja.Value) { c.time(consoleLabel(args)) }
	case "timeLog":
		return func(args []goja.Value) { c.timeLog(consoleLabel(args), args) }
	case "timeEnd":
		return func(args []goja.Value) {
			c.timeLog(consoleLabel(args), nil)
			delete(c.timers, consoleLabel(args))
		}
	}
	return nil
}

// consoleLabel is the name that count and time are given.
func consoleLabel(args []goja.Value) string {
	if len(args) == 0 || goja.IsUndefined(args[0]) {
		return "default"
	}
	return args[0].String()
}

func (c *console) trace(args []goja.Value) {
	var b strings.Builder
	b.WriteString("Trace")
	if len(args) > 0 {
		b.WriteString(": " + c.format(args))
	}
	for i, frame := range c.rt.CaptureCallStack(20, nil) {
		if i > 0 { // the first is console.trace itself
			fmt.Fprintf(&b, "\n    at %s (%s)", frame.FuncName(), frame.Position())
		}
	}
	c.print("error", cutLine(b.String()))
}

func (c *console) assert(args []goja.Value) {
	if len(args) > 0 && args[0].ToBoolean() {
		return
	}
	text := "Assertion failed"
	if len(args) > 1 {
		text += ": " + c.format(args[1:])
	}
	c.print("error", cutLine(text))
}

func (c *console) count(label string) {
	if c.counts == nil {
		c.counts = map[string]int{}
	}
	if _, known := c.counts[label]; known || len(c.counts) < mostLabels {
		c.counts[label]++
	}
	c.print("log", cutLine(fmt.Sprintf("%s: %d", label, c.counts[label])))
}

func (c *console) time(label string) {
	if c.timers == nil {
		c.timers = map[string]time.Time{}
	}
	if _, known := c.timers[label]; !known && len(c.timers) < mostLabels {
		c.timers[label] = time.Now()
	}
}

func (c *console) timeLog(label string, args []goja.Value) {
	started, known := c.timers[label]
	if !known {
		c.print("warn", cutLine("No such label '"+label+"' for console.time"))
		return
	}
	text := fmt.Sprintf("%s: %.3fms", label, float64(time.Since(started).Microseconds())/1000)
	if len(args) > 1 {
		text += " " + c.format(args[1:])
	}
	c.print("log", cutLine(text))
}

// cutLine shortens what is too long for a line.
func cutLine(text string) string {
	const mark = " … (cut)"
	if len(text) <= mostLine {
		return text
	}
	end := mostLine - len(mark)
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + mark
}

// format is what console.log prints: the arguments, the first of which may be a
// format, with spaces between.
func (c *console) format(args []goja.Value) string {
	in := &inspector{rt: c.rt}
	if len(args) > 1 && goja.IsString(args[0]) {
		args = in.expand(args[0].String(), args[1:])
	}
	for _, arg := range args {
		in.space()
		in.argument(arg)
	}
	return cutLine(in.String())
}

// inspect describes a value in one line, like Node's util.inspect.
func inspect(rt *goja.Runtime, v goja.Value) string {
	in := &inspector{rt: rt}
	in.value(v, 0)
	return cutLine(in.String())
}

// inspector writes values. It reads them through their getters and traps, which
// may throw anything, and stops when the line is full.
type inspector struct {
	strings.Builder
	rt   *goja.Runtime
	path []*goja.Object // objects that it is inside of
}

func (in *inspector) full() bool { return in.Len() > mostLine }

func (in *inspector) space() {
	if in.Len() > 0 {
		in.WriteByte(' ')
	}
}

// text writes a string, or of a very long one as much as can show.
func (in *inspector) text(s goja.String) {
	if s.Length() > mostLine {
		s = s.Substring(0, mostLine+1)
	}
	in.WriteString(s.String())
}

// argument writes a value that is an argument itself: a string shows without quotes.
func (in *inspector) argument(v goja.Value) {
	if s, ok := v.(goja.String); ok {
		in.text(s)
		return
	}
	in.value(v, 0)
}

// expand writes a format and returns the arguments that it did not take.
func (in *inspector) expand(format string, args []goja.Value) []goja.Value {
	for {
		before, after, found := strings.Cut(format, "%")
		in.WriteString(before)
		if !found {
			return args
		}
		if after == "" {
			in.WriteByte('%')
			return args
		}
		verb, rest := after[0], after[1:]
		switch {
		case verb == '%':
			in.WriteByte('%')
		case strings.IndexByte("sdifjoOc", verb) < 0 || len(args) == 0:
			in.WriteString("%")
			rest = after
		default:
			in.verb(verb, args[0])
			args = args[1:]
		}
		format = rest
	}
}

// verb writes an argument as one of the verbs of a format says.
func (in *inspector) verb(verb byte, v goja.Value) {
	_, isObject := v.(*goja.Object)
	_, isSymbol := v.(*goja.Symbol)
	switch {
	case verb == 'c': // a style, of which a line has none
	case verb == 'j':
		in.guarded(func() {
			stringify := in.rt.GlobalObject().Get("JSON").ToObject(in.rt).Get("stringify")
			in.argument(callFunction(stringify, goja.Undefined(), v))
		})
	case verb == 's' && !isObject, verb == 'o', verb == 'O', verb == 's':
		in.argument(v)
	case isObject || isSymbol:
		in.WriteString("NaN")
	case goja.IsBigInt(v):
		in.value(v, 0)
	case verb == 'i' && !math.IsNaN(v.ToFloat()):
		in.value(in.rt.ToValue(math.Trunc(v.ToFloat())), 0)
	default:
		in.value(in.rt.ToValue(v.ToFloat()), 0)
	}
}

// guarded writes something that may throw. What the script must not catch, such as
// an interrupt, goes on.
func (in *inspector) guarded(write func()) {
	failed := in.rt.Try(write)
	if failed == nil {
		return
	}
	in.WriteString("[threw")
	thrown := failed.Value()
	if o, ok := thrown.(*goja.Object); ok {
		thrown = nil
		_ = in.rt.Try(func() { thrown = o.Get("message") })
	}
	if s, ok := thrown.(goja.String); ok {
		in.WriteByte(' ')
		in.text(s)
	}
	in.WriteByte(']')
}

// value writes a value inside others.
func (in *inspector) value(v goja.Value, depth int) {
	switch v := v.(type) {
	case nil:
		in.WriteString("undefined")
	case goja.String:
		in.quoted(v)
	case *goja.Symbol:
		in.WriteString("Symbol(" + v.String() + ")")
	case *goja.Object:
		in.guarded(func() { in.object(v, depth) })
	default:
		in.primitive(v)
	}
}

func (in *inspector) primitive(v goja.Value) {
	in.WriteString(primitiveText(v))
}

// primitiveText shows what is neither a string nor an object.
func primitiveText(v goja.Value) string {
	text := v.String()
	switch {
	case goja.IsBigInt(v):
		text += "n"
	case goja.IsNumber(v) && v.ToFloat() == 0 && math.Signbit(v.ToFloat()):
		text = "-0"
	}
	return text
}

// quoted writes a string with the quotes that need least escaping.
func (in *inspector) quoted(s goja.String) {
	if s.Length() > mostLine {
		s = s.Substring(0, mostLine+1)
	}
	text := s.String()
	quote := byte('\'')
	for _, candidate := range []byte{'\'', '"', '`'} {
		if strings.IndexByte(text, candidate) < 0 {
			quote = candidate
			break
		}
	}
	in.WriteByte(quote)
	for _, r := range text {
		switch {
		case r == rune(quote) || r == '\\':
			in.WriteString(`\` + string(r))
		case r < ' ' || r == 0x7F:
			escaped := strconv.QuoteRune(r)
			in.WriteString(escaped[1 : len(escaped)-1])
		default:
			in.WriteRune(r)
		}
	}
	in.WriteByte(quote)
}

// object writes an object, a short form of it if it is too deep or being written.
func (in *inspector) object(o *goja.Object, depth int) {
	if slices.Contains(in.path, o) {
		in.WriteString("[Circular]")
		return
	}
	if in.leaf(o) {
		return
	}
	name := className(o)
	if depth > mostDepth {
		if o.ClassName() == "Array" {
			name = "Array"
		}
		in.WriteString("[" + orObject(name) + "]")
		return
	}
	in.path = append(in.path, o)
	defer func(n int) { in.path = in.path[:n] }(len(in.path) - 1)
	in.collection(o, name, depth)
}

// leaf writes what has no members to show and tells whether it did.
func (in *inspector) leaf(o *goja.Object) bool {
	if _, callable := goja.AssertFunction(o); callable {
		in.WriteString(functionText(o))
		return true
	}
	switch class := o.ClassName(); class {
	case "Error":
		in.error(o)
	case "RegExp":
		in.WriteString("/" + o.Get("source").String() + "/" + o.Get("flags").String())
	case "Date":
		at, valid := o.Export().(time.Time)
		if !valid {
			in.WriteString("Invalid Date")
			return true
		}
		in.WriteString(at.UTC().Format("2006-01-02T15:04:05.000Z"))
	case "Number", "Boolean":
		in.WriteString("[" + class + ": " + primitiveText(in.rt.ToValue(o.Export())) + "]")
	case "String":
		in.WriteString("[String: ")
		in.quoted(toText(in.rt, o))
		in.WriteByte(']')
	default:
		return false
	}
	return true
}

// error writes an error's stack, which begins with its name and message.
func (in *inspector) error(o *goja.Object) {
	text := ""
	if stack, ok := o.Get("stack").(goja.String); ok {
		text = strings.TrimRight(stack.String(), "\n")
	}
	if text == "" {
		text = "[" + o.String() + "]"
	}
	in.WriteString(strings.ReplaceAll(text, "\n\t", "\n    "))
	if cause := o.Get("cause"); cause != nil && !goja.IsUndefined(cause) {
		if len(in.path) > mostDepth || slices.Contains(in.path, o) {
			return
		}
		in.path = append(in.path, o)
		in.WriteString("\n    [cause]: ")
		in.value(cause, len(in.path))
		in.path = in.path[:len(in.path)-1]
	}
}

// functionText shows a function by its name.
func functionText(o *goja.Object) string {
	kind := "Function"
	if o.ExportType() == constructorType() {
		kind = "class"
	} else if tag, ok := o.GetSymbol(goja.SymToStringTag).(goja.String); ok {
		kind = tag.String()
	}
	name := ""
	if s, ok := o.Get("name").(goja.String); ok {
		name = s.String()
	}
	switch {
	case kind == "class" && name == "":
		return "[class (anonymous)]"
	case kind == "class":
		return "[class " + name + "]"
	case name == "":
		return "[" + kind + " (anonymous)]"
	}
	return "[" + kind + ": " + name + "]"
}

func constructorType() reflect.Type {
	return reflect.TypeFor[func(goja.ConstructorCall) *goja.Object]()
}

// className returns the name of an object's class, "" for a plain object.
func className(o *goja.Object) string {
	proto := o.Prototype()
	if proto == nil {
		return "[Object: null prototype]"
	}
	constructor, ok := proto.Get("constructor").(*goja.Object)
	if !ok {
		return ""
	}
	name, _ := constructor.Get("name").(goja.String)
	if name == nil || name.String() == "Object" {
		return ""
	}
	return name.String()
}

func orObject(name string) string {
	if name == "" {
		return "Object"
	}
	return name
}

// collection writes an object with its members.
func (in *inspector) collection(o *goja.Object, name string, depth int) {
	switch exported := o.ExportType(); {
	case isArray(o):
		in.array(o, name, depth)
	case exported == arrayBufferType():
		in.buffer(o.Export().(goja.ArrayBuffer))
	case viewKind(o) == "DataView":
		fmt.Fprintf(in, "DataView { byteLength: %v, byteOffset: %v }", o.Get("byteLength"), o.Get("byteOffset"))
	case viewKind(o) != "":
		in.array(o, viewKind(o), depth)
	case exported == mapType():
		fmt.Fprintf(in, "%s(%v) ", name, o.Get("size"))
		in.entries(o, depth, true)
	case exported == setType():
		fmt.Fprintf(in, "%s(%v) ", name, o.Get("size"))
		in.entries(o, depth, false)
	case exported == promiseType():
		in.promise(o.Export().(*goja.Promise), depth)
	case name == "URL" || name == "URLSearchParams":
		in.WriteString(name + " ")
		in.quoted(decodeText([]byte(o.String())))
	default:
		in.members(o, name, depth)
	}
}

// array writes an array or a typed array; holes are counted.
func (in *inspector) array(o *goja.Object, name string, depth int) {
	length := o.Get("length").ToInteger()
	if name != "Array" && name != "" {
		fmt.Fprintf(in, "%s(%d) ", name, length)
	}
	if length == 0 {
		in.WriteString("[]")
		return
	}
	in.WriteString("[ ")
	holes, shown := int64(0), 0
	flush := func() {
		if holes > 0 {
			in.WriteString(counted(holes, "<%d empty item%s>"))
			holes = 0
		}
	}
	next := func() bool {
		if shown > 0 {
			in.WriteString(", ")
		}
		shown++
		return true
	}
	const mostProbes = 10_000 // of a sparse array that may say to have four billion items
	i := int64(0)
	for ; i < length && shown < mostItems && i < mostProbes && !in.full(); i++ {
		item := o.Get(strconv.FormatInt(i, 10))
		if item == nil {
			holes++
			continue
		}
		if holes > 0 {
			next()
			flush()
		}
		next()
		in.value(item, depth+1)
	}
	if holes > 0 {
		next()
		flush()
	}
	if i < length {
		next()
		in.WriteString(counted(length-i, "... %d more item%s"))
	}
	in.WriteString(" ]")
}

// counted formats a number and the s that it asks for.
func counted(n int64, format string) string {
	s := "s"
	if n == 1 {
		s = ""
	}
	return fmt.Sprintf(format, n, s)
}

// buffer writes the first bytes of an ArrayBuffer.
func (in *inspector) buffer(b goja.ArrayBuffer) {
	const mostBytes = 50
	p := b.Bytes()
	if b.Detached() {
		in.WriteString("ArrayBuffer { (detached) }")
		return
	}
	fmt.Fprintf(in, "ArrayBuffer { [Uint8Contents]: <% x", p[:min(len(p), mostBytes)])
	if len(p) > mostBytes {
		in.WriteString(counted(int64(len(p)-mostBytes), " ... %d more byte%s"))
	}
	fmt.Fprintf(in, ">, byteLength: %d }", len(p))
}

// entries writes a Map's pairs or a Set's values.
func (in *inspector) entries(o *goja.Object, depth int, pairs bool) {
	shown := int64(0)
	in.WriteByte('{')
	in.rt.ForOf(o, func(item goja.Value) bool {
		in.WriteString(memberSeparator(shown))
		if shown == mostItems {
			in.WriteString(counted(o.Get("size").ToInteger()-shown, "... %d more item%s"))
			return false
		}
		shown++
		if pair, ok := item.(*goja.Object); ok && pairs {
			in.value(pair.Get("0"), depth+1)
			in.WriteString(" => ")
			item = pair.Get("1")
		}
		in.value(item, depth+1)
		return !in.full()
	})
	in.closeBrace(shown)
}

// memberSeparator comes before the member after n others.
func memberSeparator(n int64) string {
	if n == 0 {
		return " "
	}
	return ", "
}

func (in *inspector) closeBrace(members int64) {
	if members > 0 {
		in.WriteByte(' ')
	}
	in.WriteByte('}')
}

func (in *inspector) promise(p *goja.Promise, depth int) {
	in.WriteString("Promise { ")
	switch p.State() {
	case goja.PromiseStatePending:
		in.WriteString("<pending>")
	case goja.PromiseStateRejected:
		in.WriteString("<rejected> ")
		in.value(p.Result(), depth+1)
	default:
		in.value(p.Result(), depth+1)
	}
	in.WriteString(" }")
}

// members writes an object's own enumerable properties.
func (in *inspector) members(o *goja.Object, name string, depth int) {
	if name != "" {
		in.WriteString(name + " ")
	}
	in.WriteByte('{')
	shown := int64(0)
	for _, key := range o.Keys() {
		in.WriteString(memberSeparator(shown))
		shown++
		in.key(key)
		in.WriteString(": ")
		in.guarded(func() { in.value(o.Get(key), depth+1) })
		if in.full() {
			break
		}
	}
	for _, symbol := range o.Symbols() {
		in.WriteString(memberSeparator(shown))
		shown++
		in.WriteString("[Symbol(" + symbol.String() + ")]: ")
		in.guarded(func() { in.value(o.GetSymbol(symbol), depth+1) })
		if in.full() {
			break
		}
	}
	in.closeBrace(shown)
}

// key writes a property's name, quoted if it is not an identifier.
func (in *inspector) key(name string) {
	if isIdentifier(name) {
		in.WriteString(name)
		return
	}
	in.quoted(decodeText([]byte(name)))
}

// isIdentifier tells whether a property's name needs no quotes.
func isIdentifier(name string) bool {
	for i, r := range name {
		letter := r == '_' || r == '$' || unicode.IsLetter(r)
		if !letter && (i == 0 || !unicode.IsDigit(r)) {
			return false
		}
	}
	return name != ""
}
