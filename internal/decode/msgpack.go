package decode

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"github.com/vmihailenco/msgpack/v5"
	"github.com/vmihailenco/msgpack/v5/msgpcode"

	"github.com/wstape/wstape/tape"
)

// MessagePack: one value in each message.

func sniffMsgPack(_ Hint, first []*tape.Message) int {
	return sniffValues(first, func(p []byte) (any, error) {
		v, _, err := readValue(p)
		return v, err
	})
}

func openMsgPack(Hint) reader {
	return func(m *tape.Message) (View, error) {
		v, summary, err := readValue(m.Payload)
		if err != nil {
			return View{}, err
		}
		return decoded(v, summary), nil
	}
}

func readValue(p []byte) (any, string, error) {
	d := newMsgPack(p)
	v, err := d.value(0)
	if err == nil && d.r.Len() > 0 {
		err = fmt.Errorf("%s behind the value", size(d.r.Len()))
	}
	return v, d.out.String(), d.explain(err)
}

// msgPack walks a payload with the library's decoder. It reads containers and
// bytes itself, because the library makes room for as much as a message says; here
// lengths are first checked against what is there.
type msgPack struct {
	*msgpack.Decoder
	p    []byte
	r    *bytes.Reader
	keep bool // containers are kept, not only shown
	out  brief
}

func newMsgPack(p []byte) *msgPack {
	r := bytes.NewReader(p)
	return &msgPack{Decoder: msgpack.NewDecoder(r), p: p, r: r, keep: len(p) <= maxKept}
}

func (d *msgPack) at() int { return len(d.p) - d.r.Len() }

func (d *msgPack) explain(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("not MessagePack: the message ends within a value")
	}
	return fmt.Errorf("not MessagePack: %w (byte %d)", err, d.at())
}

// value reads and shows a value. A container is nil if it is not kept, but has its type.
func (d *msgPack) value(depth int) (any, error) {
	c, err := d.PeekCode()
	if err != nil {
		return nil, err
	}
	if depth > maxDepth {
		return nil, fmt.Errorf("more than %d containers in one another", maxDepth)
	}
	switch {
	case msgpcode.IsFixedMap(c) || c == msgpcode.Map16 || c == msgpcode.Map32:
		return d.members(depth)
	case msgpcode.IsFixedArray(c) || c == msgpcode.Array16 || c == msgpcode.Array32:
		return d.elements(depth)
	case msgpcode.IsExt(c):
		return d.ext()
	}
	v, err := d.single(c)
	if err == nil {
		d.out.scalar(v)
	}
	return v, err
}

func (d *msgPack) members(depth int) (any, error) {
	n, err := d.DecodeMapLen()
	if err != nil {
		return nil, err
	}
	if n < 0 || n > d.r.Len()/2 {
		return nil, fmt.Errorf("a map of %d members in %s", uint32(n), size(d.r.Len()))
	}
	var all map[string]any
	if d.keep {
		all = map[string]any{}
	}
	d.out.add("{")
	for i := range n {
		if i > 0 {
			d.out.add(", ")
		}
		key, err := d.value(depth + 1)
		if err != nil {
			return nil, err
		}
		d.out.add(": ")
		v, err := d.value(depth + 1)
		if err != nil {
			return nil, err
		}
		if d.keep {
			all[keyText(key)] = v
		}
	}
	d.out.add("}")
	return all, nil
}

func (d *msgPack) elements(depth int) (any, error) {
	n, err := d.length()
	if err != nil {
		return nil, err
	}
	var all []any
	if d.keep {
		all = []any{}
	}
	d.out.add("[")
	for i := range n {
		if i > 0 {
			d.out.add(", ")
		}
		v, err := d.value(depth + 1)
		if err != nil {
			return nil, err
		}
		if d.keep {
			all = append(all, v)
		}
	}
	d.out.add("]")
	return all, nil
}

// length reads how many elements an array has.
func (d *msgPack) length() (int, error) {
	n, err := d.DecodeArrayLen()
	if err == nil && (n < 0 || n > d.r.Len()) {
		err = fmt.Errorf("an array of %d elements in %s", uint32(n), size(d.r.Len()))
	}
	return n, err
}

// single reads a string, bytes, a number, a boolean or nil.
func (d *msgPack) single(c byte) (any, error) {
	switch {
	case msgpcode.IsString(c):
		p, err := d.take(d.DecodeBytesLen())
		if !utf8.Valid(p) { // older than the type for bytes
			return bytes.Clone(p), err
		}
		return string(p), err
	case msgpcode.IsBin(c):
		p, err := d.take(d.DecodeBytesLen())
		return bytes.Clone(p), err
	}
	v, err := d.DecodeInterface()
	switch v := v.(type) {
	case nil, bool:
		return v, err
	case float32:
		return float(v), err
	case float64:
		return float(v), err
	}
	return json.Number(fmt.Sprint(v)), err // the widths of integers
}

// ext reads and shows a value of an application's type; -1 is the format's own, a time.
func (d *msgPack) ext() (any, error) {
	begin := d.at()
	id, n, err := d.DecodeExtHeader()
	p, err := d.take(n, err)
	if err != nil {
		return nil, err
	}
	var at time.Time
	if id == -1 && msgpack.Unmarshal(d.p[begin:d.at()], &at) == nil {
		s := at.UTC().Format(time.RFC3339Nano)
		d.out.add(s)
		return s, nil
	}
	d.out.add(fmt.Sprintf("ext(%d, ", id))
	d.out.scalar(p)
	d.out.add(")")
	return map[string]any{"ext": signed(int64(id)), "data": bytes.Clone(p)}, nil
}

// take returns the next n bytes.
func (d *msgPack) take(n int, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	if n < 0 || n > d.r.Len() {
		return nil, io.ErrUnexpectedEOF
	}
	begin := d.at()
	_, err = d.r.Seek(int64(n), io.SeekCurrent)
	return d.p[begin : begin+n], err
}
