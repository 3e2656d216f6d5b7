package script

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"strings"
	"unicode/utf8"

	"github.com/dop251/goja"
	"github.com/wstape/wstape/tape"
)

// sessionObject returns session, as the script sees it.
func (v *vm) sessionObject() *goja.Object {
	if v.object == nil {
		v.object = v.rt.NewDynamicObject(&sessionObject{vm: v})
	}
	return v.object
}

// sessionObject makes session's properties when they are asked for.
type sessionObject struct {
	vm   *vm
	kept map[string]goja.Value // those that do not change
}

const sessionNames = "id number url client started t request response subprotocol state send ping close note tag"

// Keys implements [goja.DynamicObject].
func (o *sessionObject) Keys() []string { return strings.Fields(sessionNames) }

// Has implements [goja.DynamicObject].
func (o *sessionObject) Has(key string) bool {
	for _, name := range o.Keys() {
		if name == key {
			return true
		}
	}
	return false
}

// Delete implements [goja.DynamicObject].
func (o *sessionObject) Delete(key string) bool { return !o.Has(key) }

// Set implements [goja.DynamicObject].
func (o *sessionObject) Set(key string, value goja.Value) bool {
	if key == "state" {
		o.vm.state = value
	}
	return key == "state"
}

// Get implements [goja.DynamicObject].
func (o *sessionObject) Get(key string) goja.Value {
	v := o.vm
	about := v.session.about.Load()
	switch key {
	case "state":
		if v.state == nil {
			v.state = v.rt.NewObject()
		}
		return v.state
	case "t":
		return v.rt.ToValue(v.session.clock.Now().Sub(v.session.started).Seconds())
	case "subprotocol":
		return v.rt.ToValue(about.Subprotocol)
	case "response":
		if about.Handshake.Response.Status == 0 {
			return goja.Undefined()
		}
	}
	if value := o.kept[key]; value != nil {
		return value
	}
	value := o.make(key)
	if value != nil {
		if o.kept == nil {
			o.kept = map[string]goja.Value{}
		}
		o.kept[key] = value
	}
	return value
}

func (o *sessionObject) make(key string) goja.Value {
	v := o.vm
	about := v.session.about.Load()
	switch key {
	case "id":
		return v.rt.ToValue(about.ID.String())
	case "number":
		return v.rt.ToValue(about.N)
	case "url":
		return v.rt.ToValue(about.URL)
	case "client":
		return v.rt.ToValue(about.Client)
	case "started":
		return v.rt.ToValue(v.session.started.UnixMilli())
	case "request":
		r := about.Handshake.Request
		return v.frozen(map[string]any{"method": r.Method, "url": about.URL, "headers": v.headers(&headerList{list: r.Headers, readOnly: true})})
	case "response":
		r := about.Handshake.Response
		return v.frozen(map[string]any{"status": r.Status, "headers": v.headers(&headerList{list: r.Headers, readOnly: true})})
	case "send":
		return newMethod(v.rt, key, 2, o.send)
	case "ping":
		return newMethod(v.rt, key, 1, o.ping)
	case "close":
		return newMethod(v.rt, key, 2, o.close)
	case "note":
		return newMethod(v.rt, key, 1, func(c goja.FunctionCall) goja.Value {
			v.session.conn.Note(shorten(c.Argument(0).String(), maxNote), v.source.by())
			return goja.Undefined()
		})
	case "tag":
		return newMethod(v.rt, key, 2, func(c goja.FunctionCall) goja.Value {
			v.session.conn.Tag(c.Argument(0).String(), c.Argument(1).String())
			return goja.Undefined()
		})
	}
	return nil
}

func (v *vm) frozen(members map[string]any) *goja.Object {
	o := v.rt.NewObject()
	for name, value := range members {
		_ = o.DefineDataProperty(name, v.rt.ToValue(value), goja.FLAG_FALSE, goja.FLAG_FALSE, goja.FLAG_TRUE)
	}
	return o
}

// maxNote is how long a note may be, bytes.
const maxNote = 8 << 10

func shorten(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit] + "…"
}

// side reads "client" or "server".
func (v *vm) side(function string, value goja.Value) tape.Side {
	var side tape.Side
	if err := side.UnmarshalText([]byte(value.String())); err != nil {
		panic(v.rt.NewTypeError(`%s needs "client" or "server" first, not %s`, function, inspect(v.rt, value)))
	}
	return side
}

func (v *vm) throw(format string, args ...any) {
	panic(v.rt.NewTypeError(fmt.Sprintf(format, args...)))
}

// send is session.send(to, data).
func (o *sessionObject) send(c goja.FunctionCall) goja.Value {
	v := o.vm
	to := v.side("session.send", c.Argument(0))
	data, err := newContent(v.rt, v.encode, c.Argument(1))
	if err != nil {
		v.rethrow(&during{"session.send", err})
	}
	o.put(to, data.op, data.payload)
	return goja.Undefined()
}

// newContent makes a message of a script's value: text of a string, binary of a
// buffer, and JSON of anything else.
func newContent(rt *goja.Runtime, encode func(goja.Value) ([]byte, error), value goja.Value) (content, error) {
	switch data := value.(type) {
	case goja.String:
		return content{tape.Text, encodeText(data)}, nil
	case *goja.Object:
		if p, ok := bufferSource(data); ok {
			return content{tape.Binary, bytes.Clone(p)}, nil
		}
		text, err := encode(data)
		if err == nil && text == nil {
			err = errors.New("it is a function or the like")
		}
		if err != nil {
			return content{}, &during{"the data has no JSON form", err}
		}
		return content{tape.Text, text}, nil
	}
	return content{}, fmt.Errorf("the data must be a string, a Uint8Array or an object, not %s", inspect(rt, value))
}

// ping is session.ping(to, data).
func (o *sessionObject) ping(c goja.FunctionCall) goja.Value {
	v := o.vm
	to := v.side("session.ping", c.Argument(0))
	var payload []byte
	if s, ok := c.Argument(1).(goja.String); ok {
		payload = encodeText(s)
	} else if p, ok := bufferSource(c.Argument(1)); ok {
		payload = bytes.Clone(p)
	}
	if len(payload) > maxControl {
		v.throw("session.ping: %v", errControl)
	}
	o.put(to, tape.Ping, payload)
	return goja.Undefined()
}

func (o *sessionObject) put(to tape.Side, op tape.Opcode, payload []byte) {
	if err := o.vm.session.conn.Send(to, op, payload, o.vm.source.by()); err != nil {
		o.vm.throw("cannot send to the %s: %v", to, err)
	}
}

// close is session.close(code, reason).
func (o *sessionObject) close(c goja.FunctionCall) goja.Value {
	code, reason := 1000, ""
	if value := c.Argument(0); !goja.IsUndefined(value) {
		code = int(value.ToInteger())
	}
	if value := c.Argument(1); !goja.IsUndefined(value) {
		reason = value.String()
	}
	switch {
	case code != 1000 && (code < 1001 || code > 1014 || code >= 1004 && code <= 1006) && (code < 3000 || code > 4999):
		o.vm.throw("session.close: %d is not a code that may be sent; use 1000 to 1003, 1007 to 1014 or 3000 to 4999 (RFC 6455 7.4)", code)
	case len(reason) > maxControl-2:
		o.vm.throw("session.close: the reason is longer than %d bytes", maxControl-2)
	}
	o.vm.session.conn.Close(code, reason, o.vm.source.by())
	return goja.Undefined()
}

// headerList is the fields of a handshake's head.
type headerList struct {
	list     []tape.Header
	readOnly bool
	fixed    func(name string) bool // names that must stay
	changed  []string
}

func (h *headerList) is(i int, name string) bool { return strings.EqualFold(h.list[i][0], name) }

func (h *headerList) get(name string) []string {
	var values []string
	for i := range h.list {
		if h.is(i, name) {
			values = append(values, h.list[i][1])
		}
	}
	return values
}

// replace puts fields of one name in the place of those that there are.
func (h *headerList) replace(name string, values ...string) error {
	if err := h.may(name, values...); err != nil {
		return err
	}
	kept := make([]tape.Header, 0, len(h.list)+1)
	for i := range h.list {
		if !h.is(i, name) {
			kept = append(kept, h.list[i])
		}
	}
	h.list = kept
	return h.add(name, values...)
}

func (h *headerList) add(name string, values ...string) error {
	if err := h.may(name, values...); err != nil {
		return err
	}
	for _, value := range values {
		h.list = append(h.list, tape.Header{textproto.CanonicalMIMEHeaderKey(name), value})
	}
	h.changed = append(h.changed, textproto.CanonicalMIMEHeaderKey(name))
	return nil
}

// may refuses what would break the handshake, or break out of the field.
func (h *headerList) may(name string, values ...string) error {
	switch {
	case h.readOnly:
		return errors.New("these headers have been sent; change them in onRequest or onResponse")
	case !validName(name):
		return fmt.Errorf("%q is not a header's name", name)
	case h.fixed != nil && h.fixed(http.CanonicalHeaderKey(name)):
		return fmt.Errorf("the header %s belongs to the handshake itself and cannot be changed", name)
	}
	for _, value := range values {
		if !validValue(value) {
			return fmt.Errorf("the value of header %s has a line break or another control character in it", name)
		}
	}
	return nil
}

// validName reports whether a name is a token (RFC 9110 section 5.6.2).
func validName(name string) bool {
	for _, c := range []byte(name) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return name != ""
}

// validValue reports whether a value stays within its field.
func validValue(value string) bool {
	for _, c := range []byte(value) {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// headers returns an object with the methods of fetch's Headers.
func (v *vm) headers(h *headerList) *goja.Object {
	rt := v.rt
	o := rt.NewObject()
	must := func(err error) goja.Value {
		if err != nil {
			v.throw("%v", err)
		}
		return goja.Undefined()
	}
	define := func(name string, length int, f func(goja.FunctionCall) goja.Value) {
		_ = o.DefineDataProperty(name, newMethod(rt, name, length, f), goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_FALSE)
	}
	define("get", 1, func(c goja.FunctionCall) goja.Value {
		values := h.get(c.Argument(0).String())
		if values == nil {
			return goja.Null()
		}
		return rt.ToValue(strings.Join(values, ", "))
	})
	define("getAll", 1, func(c goja.FunctionCall) goja.Value {
		var list []any
		for _, value := range h.get(c.Argument(0).String()) {
			list = append(list, value)
		}
		return rt.NewArray(list...)
	})
	define("has", 1, func(c goja.FunctionCall) goja.Value { return rt.ToValue(h.get(c.Argument(0).String()) != nil) })
	define("set", 2, func(c goja.FunctionCall) goja.Value {
		return must(h.replace(c.Argument(0).String(), c.Argument(1).String()))
	})
	define("append", 2, func(c goja.FunctionCall) goja.Value {
		return must(h.add(c.Argument(0).String(), c.Argument(1).String()))
	})
	define("delete", 1, func(c goja.FunctionCall) goja.Value { return must(h.replace(c.Argument(0).String())) })
	define("entries", 0, func(goja.FunctionCall) goja.Value { return h.entries(rt) })
	define("toJSON", 0, func(goja.FunctionCall) goja.Value { return h.entries(rt) })
	_ = o.SetSymbol(goja.SymIterator, newMethod(rt, "[Symbol.iterator]", 0, func(goja.FunctionCall) goja.Value {
		list := h.entries(rt)
		values, _ := goja.AssertFunction(list.Get("values"))
		iterator, err := values(list)
		must(err)
		return iterator
	}))
	return o
}

func (h *headerList) entries(rt *goja.Runtime) *goja.Object {
	var list []any
	for _, f := range h.list {
		list = append(list, rt.NewArray(f[0], f[1]))
	}
	return rt.NewArray(list...)
}
