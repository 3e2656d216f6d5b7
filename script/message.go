package script

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/dop251/goja"

	"github.com/wstape/wstape/tape"
)

// view is msg, as a script sees one message or control frame: text, bytes and
// json are ways to look at the same payload; change one, and the rest follow.
// The payload itself is never changed, and never decoded and encoded again
// unless the script assigned to it.
type view struct {
	vm      *vm
	object  *goja.Object
	from    tape.Side
	t       time.Duration
	before  content
	payload []byte // as it stands
	task    task   // the hook's

	text     goja.Value // of payload; nil when not asked for
	json     *jsonView  // of payload; nil when not asked for, or not JSON
	notJSON  bool
	syncing  bool         // json is being written, and may have the view itself in it
	jsonLast []byte       // what json was when payload was last brought up to date
	bytes    *goja.Object // of payload; nil when not asked for
	buffer   []byte       // what bytes looks at
	extra    map[string]goja.Value
	readOnly bool // nothing can be assigned to it, and what is done to its parts stays there
}

func newView(v *vm, m *tape.Message, c content) *view {
	w := &view{vm: v, from: m.From, t: m.T, before: c, payload: c.payload}
	w.object = v.rt.NewDynamicObject(w)
	return w
}

// release is called when the hook is done and the message goes its way: its memory
// is no longer ours to look at, but the script may have kept the view.
func (w *view) release() {
	w.payload, w.before.payload = bytes.Clone(w.payload), nil
	if w.json != nil {
		w.json.text = bytes.Clone(w.json.text)
		w.jsonLast = bytes.Clone(w.jsonLast)
	}
}

// throw throws an error into the script.
func (w *view) throw(err error) {
	if err != nil {
		w.vm.rethrow(err)
	}
}

// sync brings payload up to date with what the script did to the views.
func (w *view) sync() error {
	if w.readOnly {
		return nil
	}
	if w.json != nil {
		if w.syncing {
			return errJSONCycle
		}
		w.syncing = true
		text, err := w.json.bytes()
		w.syncing = false
		if err != nil {
			return &during{"msg.json", err}
		}
		if !sameBytes(text, w.jsonLast) {
			w.payload, w.jsonLast, w.text, w.bytes = text, text, nil, nil
		}
	}
	if w.bytes != nil && !bytes.Equal(w.buffer, w.payload) {
		w.set(bytes.Clone(w.buffer))
	}
	return nil
}

// set puts another payload in the place of the one that was.
func (w *view) set(payload []byte) {
	w.payload, w.text, w.json, w.notJSON, w.bytes = payload, nil, nil, false, nil
}

// Keys implements [goja.DynamicObject].
func (w *view) Keys() []string {
	keys := []string{"from", "op", "t", "len", "text", "utf8", "bytes", "json"}
	for name := range w.extra {
		keys = append(keys, name)
	}
	return keys
}

// Has implements [goja.DynamicObject].
func (w *view) Has(key string) bool {
	switch key {
	case "from", "op", "t", "len", "text", "utf8", "bytes", "json":
		return true
	}
	return w.extra[key] != nil
}

// Delete implements [goja.DynamicObject].
func (w *view) Delete(key string) bool {
	delete(w.extra, key)
	return w.extra[key] != nil || !w.Has(key)
}

// Get implements [goja.DynamicObject].
func (w *view) Get(key string) goja.Value {
	rt := w.vm.rt
	switch key {
	case "from":
		return rt.ToValue(w.from.String())
	case "op":
		return rt.ToValue(w.before.op.String())
	case "t":
		return rt.ToValue(w.t.Seconds())
	case "text", "utf8", "bytes", "json", "len":
		w.throw(w.sync())
	default:
		return w.extra[key]
	}
	switch key {
	case "text":
		return w.getText()
	case "utf8":
		return rt.ToValue(utf8.Valid(w.payload))
	case "bytes":
		return w.getBytes()
	case "json":
		return w.getJSON()
	}
	return rt.ToValue(len(w.payload))
}

func (w *view) getText() goja.Value {
	if w.before.op == tape.Binary {
		return goja.Undefined()
	}
	if w.text == nil {
		w.text = decodeText(w.payload)
	}
	return w.text
}

func (w *view) getBytes() goja.Value {
	if w.bytes == nil {
		w.buffer = bytes.Clone(w.payload)
		w.bytes = newBytes(w.vm.rt, w.buffer).(*goja.Object)
	}
	return w.bytes
}

func (w *view) getJSON() goja.Value {
	if w.json == nil && !w.notJSON {
		json, ok := newJSONView(w.vm.rt, w.payload)
		if !ok {
			w.notJSON = true
			return goja.Undefined()
		}
		w.json, w.jsonLast = json, w.payload
	}
	if w.json == nil {
		return goja.Undefined()
	}
	return w.json.value()
}

// Set implements [goja.DynamicObject].
func (w *view) Set(key string, value goja.Value) bool {
	if w.readOnly {
		w.throw(fmt.Errorf("%s cannot be set: this message is only looked at", key))
	}
	switch key {
	case "from", "op", "t", "len", "utf8":
		return false
	case "text", "bytes", "json":
		w.throw(w.sync())
	}
	switch key {
	case "text":
		w.throw(w.setText(value))
	case "bytes":
		p, ok := bufferSource(value)
		if !ok {
			w.throw(errors.New("msg.bytes must be set to a Uint8Array or ArrayBuffer"))
		}
		if !bytes.Equal(p, w.payload) {
			w.set(bytes.Clone(p))
		}
	case "json":
		w.throw(w.setJSON(value))
	default:
		if w.extra == nil {
			w.extra = map[string]goja.Value{}
		}
		w.extra[key] = value
	}
	return true
}

func (w *view) setText(value goja.Value) error {
	s, ok := value.(goja.String)
	switch {
	case w.before.op == tape.Binary:
		return errors.New("msg.text of a binary message cannot be set; return a string to send text in its place")
	case !ok:
		return errors.New("msg.text must be set to a string")
	case !w.getText().StrictEquals(s):
		w.set(encodeText(s))
	}
	return nil
}

func (w *view) setJSON(value goja.Value) error {
	if w.getJSON(); w.json != nil {
		before := w.json.value()
		w.json.set(value)
		err := w.sync()
		if err != nil {
			w.json.set(before)
		}
		return err
	}
	text, err := encodeJSON(w.vm.rt, value)
	if err != nil {
		return &during{"msg.json", err}
	}
	w.set(text)
	return nil
}

// content returns the message as the script left it.
func (w *view) content() (content, error) {
	if err := w.sync(); err != nil {
		return content{}, err
	}
	if w.before.op.Control() && len(w.payload) > maxControl {
		return content{}, errControl
	}
	return content{w.before.op, w.payload}, nil
}

// maxControl is the longest payload of a control frame (RFC 6455 section 5.5).
const maxControl = 125

var errControl = fmt.Errorf("a ping or pong holds at most %d bytes", maxControl)

// result makes messages of what a hook returned: nothing or the message itself
// means the message as it was left, false means none, and anything else what is
// to be sent in its place.
func (w *view) result(value goja.Value) ([]content, error) {
	var out []content
	err := protect(w.vm.rt, func() (err error) {
		out, err = w.convert(value)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (w *view) convert(value goja.Value) ([]content, error) {
	if value == nil || goja.IsUndefined(value) || goja.IsNull(value) {
		return w.kept()
	}
	o, ok := value.(*goja.Object)
	switch {
	case !ok && value.StrictEquals(w.vm.rt.ToValue(false)):
		return nil, nil
	case !ok && value.StrictEquals(w.vm.rt.ToValue(true)) || w.is(value):
		return w.kept()
	case ok && isArray(o):
		return w.list(o)
	}
	c, err := w.element(value)
	return []content{c}, err
}

// list makes messages of an array's elements.
func (w *view) list(o *goja.Object) ([]content, error) {
	n := o.Get("length").ToInteger()
	switch {
	case n > maxOut:
		return nil, fmt.Errorf("the hook returned %d messages; in the place of one there may be %d", n, maxOut)
	case n > 1 && w.before.op.Control():
		return nil, errors.New("onControl returned several frames; a ping or pong can only be replaced by one")
	}
	var out []content
	total := int64(0)
	for i := range int(n) {
		value := o.Get(strconv.Itoa(i))
		if value == nil { // a hole
			value = goja.Undefined()
		}
		c, err := w.element(value)
		if total += int64(len(c.payload)); err == nil && n > 1 && total > w.vm.session.set.opts.Memory {
			err = fmt.Errorf("the messages that the hook returned have more than %d bytes (script.memory)", w.vm.session.set.opts.Memory)
		}
		if err != nil {
			return nil, &during{fmt.Sprintf("[%d]", i), err}
		}
		out = append(out, c)
	}
	return out, nil
}

func (w *view) kept() ([]content, error) {
	c, err := w.content()
	return []content{c}, err
}

// is reports whether a value is the message or a view of it as a whole.
func (w *view) is(value goja.Value) bool {
	o, ok := value.(*goja.Object)
	switch {
	case w.json != nil && value.SameAs(w.json.value()), ok && o == w.object:
		return true
	case !ok:
		return false
	case w.bytes == nil || o != w.bytes:
		return false
	}
	return w.sync() != nil || o == w.bytes // unless they have changed through json
}

// element makes one message of a value.
func (w *view) element(value goja.Value) (content, error) {
	if w.is(value) {
		return w.content()
	}
	c, err := w.fresh(value)
	switch {
	case err != nil:
		return c, err
	case w.before.op.Control():
		c.op = w.before.op
		if len(c.payload) > maxControl {
			return c, errControl
		}
	}
	return c, nil
}

// fresh makes a message of a value that is none of the views.
func (w *view) fresh(value goja.Value) (content, error) {
	if s, ok := value.(goja.String); ok {
		if w.text != nil && w.text.StrictEquals(s) && w.sync() == nil && w.text != nil {
			return w.content() // what the message says already, though perhaps not in valid UTF-8
		}
		return content{tape.Text, encodeText(s)}, nil
	}
	if p, ok := bufferSource(value); ok {
		return content{tape.Binary, bytes.Clone(p)}, nil
	}
	o, ok := value.(*goja.Object)
	if !ok {
		return content{}, fmt.Errorf("the hook returned %s; it may return nothing, false, a string, a Uint8Array, an object, or an array of these", inspect(w.vm.rt, value))
	}
	if o.ExportType() == reflect.TypeFor[*view]() {
		return o.Export().(*view).content()
	}
	var text []byte
	var err error
	if w.json != nil {
		text, err = w.json.encode(value)
	} else {
		text, err = encodeJSON(w.vm.rt, value)
	}
	if err == nil && text == nil {
		err = fmt.Errorf("the hook returned %s, which has no JSON form", inspect(w.vm.rt, value))
	}
	return content{tape.Text, text}, err
}
