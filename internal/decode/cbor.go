package decode

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"

	"github.com/fxamacker/cbor/v2"

	"github.com/wstape/wstape/tape"
)

// CBOR: one item in each message, shown in diagnostic notation (RFC 8949, 8).

const (
	// maxDiagnosed is how long an item may be to be written in diagnostic notation,
	// of which only the beginning is shown.
	maxDiagnosed = 64 << 10
	// maxBits is how long an integer may be to be written in decimal: that takes
	// time with the square of the length.
	maxBits = 4096
)

func sniffCBOR(_ Hint, first []*tape.Message) int {
	c := newCBOR()
	return sniffValues(first, func(p []byte) (any, error) {
		if err := c.check(p); err != nil {
			return nil, err
		}
		return c.value(p)
	})
}

func openCBOR(Hint) reader { return newCBOR().read }

// cborModes are the library's decoder and its diagnostic notation, with our limits.
type cborModes struct {
	dec  cbor.DecMode
	diag cbor.DiagMode
	err  error
}

func newCBOR() *cborModes {
	// The library first looks whether all elements are there, so their number is no danger.
	dec, err := cbor.DecOptions{
		MaxNestedLevels: maxDepth, MaxArrayElements: math.MaxInt32, MaxMapPairs: math.MaxInt32,
		MapKeyByteString: cbor.MapKeyByteStringAllowed,
	}.DecMode()
	diag, err2 := cbor.DiagOptions{
		MaxNestedLevels: maxDepth, MaxArrayElements: math.MaxInt32, MaxMapPairs: math.MaxInt32,
	}.DiagMode()
	return &cborModes{dec, diag, errors.Join(err, err2)}
}

func (c *cborModes) read(m *tape.Message) (View, error) {
	p := m.Payload
	if err := c.check(p); err != nil {
		return View{}, err
	}
	long := "an item of " + size(len(p))
	if len(p) > maxKept {
		return View{Type: cborType(p), Summary: long}, nil
	}
	var v any
	err := c.dec.Unmarshal(p, &v)
	var unkept *cbor.InvalidMapKeyTypeError // fine in CBOR, not in Go
	if err != nil && !errors.As(err, &unkept) {
		return View{}, notCBOR(err)
	}
	var view View
	if unkept == nil {
		view = decoded(fromCBOR(v), long)
	}
	if _, tagged := v.(cbor.Tag); tagged || unkept != nil {
		view.Type = cborType(p)
	}
	if len(p) <= maxDiagnosed {
		notation, err := c.diag.Diagnose(p)
		if err != nil {
			return View{}, notCBOR(err)
		}
		view.Summary = readable(notation)
	} else if view.Value != nil {
		view.Summary = shown(view.Value)
	}
	return view, nil
}

// readable undoes the library's escapes of characters that are not ASCII.
func readable(notation string) string {
	s := notation[:min(len(notation), 12*(maxSummary+1))] // a character may be two escapes
	var b strings.Builder
	for len(s) > 0 {
		n := strings.IndexByte(s, '\\')
		if n < 0 || n+1 == len(s) {
			break
		}
		b.WriteString(s[:n])
		s = s[n:]
		r, size := escape(s)
		if r2, size2 := escape(s[size:]); utf16.IsSurrogate(r) {
			r, size = utf16.DecodeRune(r, r2), size+size2
		}
		if r == 0 || !unicode.IsPrint(r) {
			b.WriteString(s[:max(size, 2)])
		} else {
			b.WriteRune(r)
		}
		s = s[max(size, 2):]
	}
	return b.String() + s
}

// escape reads the \u0000 that a text begins with; the size is 0 if there is none.
func escape(s string) (r rune, size int) {
	if len(s) < 6 || s[:2] != `\u` {
		return 0, 0
	}
	n, err := strconv.ParseUint(s[2:6], 16, 16)
	if err != nil {
		return 0, 0
	}
	return rune(n), 6
}

// check reports whether a payload is one item and no more.
func (c *cborModes) check(p []byte) error {
	if c.err != nil {
		return c.err
	}
	err := c.dec.Wellformed(p)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("not CBOR: the message ends within an item")
	}
	return notCBOR(err)
}

func notCBOR(err error) error {
	if err == nil {
		return nil
	}
	return errors.New("not CBOR: " + fold(strings.TrimPrefix(err.Error(), "cbor: "), maxSummary))
}

func cborType(p []byte) string {
	return strings.Fields("number number bytes string array map tag simple")[p[0]>>5]
}

// value decodes an item that has been checked.
func (c *cborModes) value(p []byte) (any, error) {
	var v any
	if err := c.dec.Unmarshal(p, &v); err != nil {
		return nil, err
	}
	return fromCBOR(v), nil
}

// fromCBOR makes what a View's Value is made of of the library's values.
func fromCBOR(v any) any {
	switch v := v.(type) {
	case uint64:
		return unsigned(v)
	case int64:
		return signed(v)
	case float64:
		return float(v)
	case big.Int:
		if v.BitLen() > maxBits {
			return fmt.Sprintf("%#x", &v)
		}
		return json.Number(v.String())
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano)
	case cbor.ByteString:
		return []byte(v)
	case cbor.SimpleValue:
		return fmt.Sprintf("simple(%d)", v)
	case cbor.Tag:
		return map[string]any{"tag": unsigned(v.Number), "value": fromCBOR(v.Content)}
	case []any:
		for i := range v {
			v[i] = fromCBOR(v[i])
		}
	case map[any]any:
		all := make(map[string]any, len(v))
		for key, e := range v {
			name, isText := key.(string)
			if !isText {
				name = keyText(fromCBOR(key))
			}
			if _, twice := all[name]; isText || !twice { // 1 and "1" are different keys
				all[name] = fromCBOR(e)
			}
		}
		return all
	}
	return v
}
