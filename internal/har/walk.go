package har

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// limits bound what a file can make the importer do.
type limits struct {
	value   int64 // text of one value, which is held in memory
	session int64 // messages of one session that must be put in order first
	file    int64 // what one file of an archive unpacks to
	archive int64 // what all files of an archive unpack to
}

func usualLimits() limits {
	return limits{value: 512 << 20, session: 1 << 30, file: 2 << 30, archive: 8 << 30}
}

// walker reads JSON value by value. It holds one value at a time, and none that
// is longer than the limit.
type walker struct {
	*json.Decoder
	meter meter
}

// meter bounds what is read for one value.
type meter struct {
	ctx         context.Context
	r           io.Reader
	left, limit int64
}

func (m *meter) Read(p []byte) (int, error) {
	if err := m.ctx.Err(); err != nil {
		return 0, err
	}
	if m.left <= 0 {
		return 0, fmt.Errorf("a single value is longer than %s, which is not read", size(m.limit))
	}
	n, err := m.r.Read(p[:min(int64(len(p)), m.left)])
	m.left -= int64(n)
	return n, err
}

// size writes bytes in the largest unit that is whole.
func size(n int64) string {
	for i, unit := range []string{"GiB", "MiB", "KiB"} {
		if one := int64(1) << (30 - 10*i); n >= one && n%one == 0 {
			return fmt.Sprintf("%d %s", n/one, unit)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}

func newWalker(ctx context.Context, r io.Reader, limit int64) *walker {
	w := &walker{meter: meter{ctx: ctx, r: r, limit: limit}}
	w.Decoder = json.NewDecoder(&w.meter)
	return w
}

// value reads the next value.
func (w *walker) value(v any) error {
	w.meter.left = w.meter.limit
	return explain(w.Decode(v))
}

// skipped is a value that is read and not kept.
type skipped struct{}

func (*skipped) UnmarshalJSON([]byte) error { return nil }

func (w *walker) skip() error { return w.value(new(skipped)) }

func (w *walker) token() (json.Token, error) {
	w.meter.left = w.meter.limit
	t, err := w.Token()
	return t, explain(err)
}

// object calls f for each key of an object; f reads the value.
func (w *walker) object(what string, f func(key string) error) error {
	switch t, err := w.token(); {
	case err != nil:
		return err
	case t != json.Delim('{'):
		return fmt.Errorf("%s is not an object", what)
	}
	for w.more() {
		t, err := w.token()
		if err != nil {
			return err
		}
		if err := f(t.(string)); err != nil { // a decoder gives nothing else where a key stands
			return err
		}
	}
	_, err := w.token()
	return err
}

// array calls f for each element of an array; f reads it. A null has none.
func (w *walker) array(what string, f func(i int) error) error {
	switch t, err := w.token(); {
	case err != nil:
		return err
	case t == nil:
		return nil
	case t != json.Delim('['):
		return fmt.Errorf("%s is not an array", what)
	}
	for i := 0; w.more(); i++ {
		if err := f(i); err != nil {
			return err
		}
	}
	_, err := w.token()
	return err
}

func (w *walker) more() bool {
	w.meter.left = w.meter.limit
	return w.More()
}

// explain says in words what went wrong with the text.
func explain(err error) error {
	var syntax *json.SyntaxError
	var wrong *json.UnmarshalTypeError
	switch {
	case err == io.EOF, err == io.ErrUnexpectedEOF:
		return fmt.Errorf("the file is cut short: %w", io.ErrUnexpectedEOF)
	case errors.As(err, &syntax):
		return fmt.Errorf("not JSON at byte %d: %w", syntax.Offset, err)
	case errors.As(err, &wrong) && wrong.Field != "":
		return fmt.Errorf("%q cannot be a JSON %s", wrong.Field, wrong.Value)
	case errors.As(err, &wrong):
		return fmt.Errorf("it cannot be a JSON %s", wrong.Value)
	}
	return err
}
