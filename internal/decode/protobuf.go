package decode

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/wstape/wstape/tape"
)

// Protobuf without its schema: fields have numbers and a wire type. Whether bytes
// are a text, a message or bytes is a guess from what they hold.

func sniffProtobuf(_ Hint, first []*tape.Message) int {
	all := differing(first)
	if len(all) < 3 {
		return 0
	}
	told := 0
	for _, p := range all {
		if isText(p) && isPlain(string(head(p))) {
			return 0
		}
		n, ok := protobufTexts(p, 0)
		if !ok {
			return 0
		}
		told += min(n, 1)
	}
	if told < 2 {
		return 0
	}
	return unsure
}

// protobufTexts counts the texts in a message; ok is whether it is a likely one.
func protobufTexts(p []byte, depth int) (n int, ok bool) {
	for len(p) > 0 {
		f, size, err := nextField(p)
		if err != nil || f.number > 200 || f.kind == protowire.StartGroupType {
			return 0, false
		}
		if len(f.bytes) >= 4 && isPlain(string(f.bytes)) {
			n++
		} else if depth < maxDepth {
			inner, _ := protobufTexts(f.bytes, depth+1)
			n += inner
		}
		p = p[size:]
	}
	return n, true
}

func openProtobuf(Hint) reader { return readProtobuf }

func readProtobuf(m *tape.Message) (View, error) {
	p := m.Payload
	if at, err := checkFields(p); err != nil {
		return View{}, fmt.Errorf("not Protobuf: %w (byte %d)", err, at)
	}
	w := &protobufWalk{keep: len(p) <= maxKept}
	v := View{Type: "message"}
	if fields := w.fields(p, 0); w.keep {
		v.Value = fields
	}
	if v.Summary = w.out.String(); len(p) == 0 {
		v.Summary = "empty"
	}
	return v, nil
}

// field is one field of a message: of number, or bytes, what its kind has.
type field struct {
	number protowire.Number
	kind   protowire.Type
	bits   uint64
	bytes  []byte // of a group, its fields
}

// nextField reads the field that p begins with, and says how long it is.
func nextField(p []byte) (field, int, error) {
	number, kind, tag := protowire.ConsumeTag(p)
	if tag < 0 {
		return field{}, 0, errors.New("no field begins here")
	}
	f := field{number: number, kind: kind}
	n := 0
	switch rest := p[tag:]; kind {
	case protowire.VarintType:
		f.bits, n = protowire.ConsumeVarint(rest)
	case protowire.Fixed32Type:
		var bits uint32
		bits, n = protowire.ConsumeFixed32(rest)
		f.bits = uint64(bits)
	case protowire.Fixed64Type:
		f.bits, n = protowire.ConsumeFixed64(rest)
	case protowire.BytesType:
		f.bytes, n = protowire.ConsumeBytes(rest)
	case protowire.StartGroupType:
		f.bytes, n = protowire.ConsumeGroup(number, rest)
	default:
		n = -1
	}
	if n < 0 {
		return field{}, 0, fmt.Errorf("field %d does not end", number)
	}
	return f, tag + n, nil
}

// checkFields reports whether bytes are fields to their end, and where not.
func checkFields(p []byte) (at int, err error) {
	for at < len(p) {
		_, n, err := nextField(p[at:])
		if err != nil {
			return at, err
		}
		at += n
	}
	return at, nil
}

// protobufWalk shows a message's fields, and keeps them by their numbers.
type protobufWalk struct {
	keep bool
	out  brief
}

// fields walks bytes that have been checked.
func (w *protobufWalk) fields(p []byte, depth int) map[string]any {
	var all map[string]any
	if w.keep {
		all = map[string]any{}
	}
	for first := true; len(p) > 0 && (w.keep || !w.out.full()); first = false {
		f, n, err := nextField(p)
		if err != nil {
			break
		}
		p = p[n:]
		if !first {
			w.out.add(" ")
		}
		name := fmt.Sprint(f.number)
		w.out.add(name + ": ")
		v := w.field(f, depth)
		if !w.keep {
			continue
		}
		before, again := all[name]
		if !again {
			all[name] = v
		} else if list, ok := before.([]any); ok {
			all[name] = append(list, v)
		} else {
			all[name] = []any{before, v}
		}
	}
	return all
}

func (w *protobufWalk) field(f field, depth int) any {
	nested := f.kind == protowire.StartGroupType
	if f.kind == protowire.BytesType && !isPlain(string(head(f.bytes))) {
		_, err := checkFields(f.bytes)
		nested = err == nil && len(f.bytes) > 0
	}
	if nested && depth < maxDepth {
		w.out.add("{")
		v := w.fields(f.bytes, depth+1)
		w.out.add("}")
		return v
	}
	v := f.value()
	w.out.scalar(v)
	return v
}

// value is that of a field that is no message.
func (f field) value() any {
	switch f.kind {
	case protowire.Fixed32Type:
		if n := math.Float32frombits(uint32(f.bits)); likely(float64(n)) {
			return float(n)
		}
	case protowire.Fixed64Type:
		if n := math.Float64frombits(f.bits); likely(n) {
			return float(n)
		}
	case protowire.BytesType, protowire.StartGroupType:
		if isReadable(f.bytes) {
			return string(f.bytes)
		}
		return bytes.Clone(f.bytes)
	}
	return unsigned(f.bits)
}

// likely reports whether bits that may be a float's or an integer's are a float's.
func likely(f float64) bool {
	f = math.Abs(f)
	return f >= 1e-6 && f < 1e15
}

// isReadable reports whether bytes are a text, which may have lines.
func isReadable(p []byte) bool {
	return utf8.Valid(p) && !slices.ContainsFunc(p, func(c byte) bool { return c < ' ' && !strings.ContainsRune("\t\r\n", rune(c)) || c == 0x7f })
}
