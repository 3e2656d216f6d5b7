package bridge

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// Tags of tnetstrings: <decimal length>:<payload><tag>.
const (
	tagBytes  = ','
	tagString = ';'
	tagInt    = '#'
	tagFloat  = '^'
	tagBool   = '!'
	tagNull   = '~'
	tagList   = ']'
	tagDict   = '}'
)

// maxDigits is the longest length that mitmproxy reads.
const maxDigits = 12

// tnetstrings reads values as they come. What a value is stands behind it, so the
// caller says what it expects; what it does not want is skipped without being
// held. No length is believed beyond what encloses it, and memory is only taken
// for bytes that have come.
type tnetstrings struct {
	in    *bufio.Reader
	at    int64 // in the file
	left  int64 // bytes of the innermost value that is open; those of the outermost are only bounded by the file
	taken int64 // bytes held since the caller reset it
	limit int64 // of taken
}

// unbounded is what is left where nothing encloses.
const unbounded = int64(1) << 62

func newTnetstrings(r io.Reader, limit int64) *tnetstrings {
	return &tnetstrings{in: bufio.NewReaderSize(r, 64<<10), left: unbounded, limit: limit}
}

func (t *tnetstrings) wrong(format string, args ...any) error {
	return fmt.Errorf("byte %d: %s", t.at, fmt.Sprintf(format, args...))
}

func (t *tnetstrings) cut(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return t.wrong("the file is cut short")
	}
	return err
}

// byte reads one byte.
func (t *tnetstrings) byte() (byte, error) {
	if t.left <= 0 {
		return 0, t.wrong("a value is longer than what encloses it")
	}
	c, err := t.in.ReadByte()
	if err == nil {
		t.at++
		t.left--
	}
	return c, err
}

// length reads what begins a value. At the end of the file it is io.EOF, if no
// value encloses it.
func (t *tnetstrings) length() (int64, error) {
	n, digits := int64(0), 0
	for {
		c, err := t.byte()
		switch {
		case err == io.EOF && digits == 0 && t.left > unbounded/2:
			return 0, io.EOF
		case err != nil:
			return 0, t.cut(err)
		case c == '\n' && digits == 0 && t.left > unbounded/2:
			continue // an editor has put it there
		case c == ':' && digits > 0:
			if n >= t.left {
				return 0, t.wrong("a value is said to have %d bytes, and %d are left", n, t.left)
			}
			return n, nil
		case c < '0' || c > '9' || digits == maxDigits:
			return 0, t.wrong("%q stands where a length must", c)
		}
		n, digits = n*10+int64(c-'0'), digits+1
	}
}

// open enters a value that should be of a tag; f reads what is in it. A null is
// left alone: there is nothing in it.
func (t *tnetstrings) open(tag byte, what string, f func() error) (null bool, err error) {
	n, err := t.length()
	if err != nil {
		return false, err
	}
	outside := t.left - n
	t.left = n
	for t.left > 0 {
		if err := f(); err != nil {
			return false, err
		}
	}
	t.left = outside
	got, err := t.byte()
	switch {
	case err != nil:
		return false, t.cut(err)
	case got == tagNull && n == 0:
		return true, nil
	case got != tag:
		return false, t.wrong("%s has the type %q, not %q", what, got, tag)
	}
	return false, nil
}

// dict calls f for each key of a dictionary; f reads the value.
func (t *tnetstrings) dict(what string, f func(key string) error) (null bool, err error) {
	return t.open(tagDict, what, func() error {
		tag, key, err := t.scalar(maxKey)
		switch {
		case err != nil:
			return err
		case tag != tagBytes && tag != tagString:
			return t.wrong("a key of %s has the type %q", what, tag)
		}
		return f(string(key))
	})
}

// list calls f for each element of a list; f reads it.
func (t *tnetstrings) list(what string, f func(i int) error) (null bool, err error) {
	i := -1
	return t.open(tagList, what, func() error { i++; return f(i) })
}

const (
	maxKey    = 1 << 10 // bytes of a key
	maxNumber = 1 << 10 // of a number; Python's have no bound
	maxText   = 1 << 20 // of a header, a path, a name
)

var errTooMuch = errors.New("a flow holds more than is read at once")

// scalar reads a value as it is written, of at most so many bytes.
func (t *tnetstrings) scalar(most int64) (tag byte, value []byte, err error) {
	n, err := t.length()
	switch {
	case err != nil:
		return 0, nil, err
	case n > most:
		return 0, nil, t.wrong("a value has %d bytes, where at most %d make sense", n, most)
	case n > t.limit-t.taken:
		return 0, nil, fmt.Errorf("byte %d: %w (%d bytes)", t.at, errTooMuch, t.limit)
	}
	t.taken += n
	const step = 1 << 20
	for n > 0 {
		have := len(value)
		value = append(value, make([]byte, min(n, step))...)
		got, err := io.ReadFull(t.in, value[have:])
		t.at, t.left, n = t.at+int64(got), t.left-int64(got), n-int64(got)
		if err != nil {
			return 0, nil, t.cut(err)
		}
	}
	tag, err = t.byte()
	return tag, value, t.cut(err)
}

// discard passes over bytes.
func (t *tnetstrings) discard(n int64) error {
	for n > 0 {
		got, err := t.in.Discard(int(min(n, 1<<30)))
		t.at, t.left, n = t.at+int64(got), t.left-int64(got), n-int64(got)
		if err != nil {
			return t.cut(err)
		}
	}
	return nil
}

// ahead is how many bytes the next value takes in all, 0 if none stands there.
func (t *tnetstrings) ahead() int64 {
	head, _ := t.in.Peek(maxDigits + 1)
	n := int64(0)
	for i, c := range head {
		switch {
		case c == ':' && i > 0 && n < t.left-int64(i)-1:
			return int64(i) + 1 + n + 1
		case c < '0' || c > '9':
			return 0
		}
		n = n*10 + int64(c-'0')
	}
	return 0
}

// skip passes over a value, whatever it is.
func (t *tnetstrings) skip() error {
	n, err := t.length()
	if err != nil {
		return err
	}
	return t.discard(n + 1)
}

// atMost reads bytes, or passes over them if they are more.
func (t *tnetstrings) atMost(what string, most int64) (value []byte, skipped bool, err error) {
	if t.ahead() > most {
		return nil, true, t.skip()
	}
	value, err = t.bytes(what, most)
	return value, false, err
}

// guarded has f read a value. If f finds a mistake in it, reading can go on behind it.
func (t *tnetstrings) guarded(f func() error) error {
	size := t.ahead()
	end, left := t.at+size, t.left-size
	err := f()
	if err == nil || size == 0 {
		return err
	}
	if err := t.discard(end - t.at); err != nil {
		return err
	}
	t.left = left
	return mistake{err}
}

// mistake is an error about a value that has been passed over.
type mistake struct{ error }

func (m mistake) Unwrap() error { return m.error }

// bytes reads bytes or a string; null is empty.
func (t *tnetstrings) bytes(what string, most int64) ([]byte, error) {
	tag, value, err := t.scalar(most)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", what, err)
	case tag == tagBytes, tag == tagString, tag == tagNull && len(value) == 0:
		return value, nil
	}
	return nil, t.wrong("%s has the type %q, not text", what, tag)
}

func (t *tnetstrings) text(what string) (string, error) {
	value, err := t.bytes(what, maxText)
	return string(value), err
}

// number reads an integer or a float; nil is null.
func (t *tnetstrings) number(what string) (*float64, error) {
	tag, value, err := t.scalar(maxNumber)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", what, err)
	case tag == tagNull && len(value) == 0:
		return nil, nil
	case tag == tagInt || tag == tagFloat:
		n, err := strconv.ParseFloat(string(value), 64)
		if err != nil {
			return nil, t.wrong("%s is %q, not a number", what, value)
		}
		return &n, nil
	}
	return nil, t.wrong("%s has the type %q, not a number", what, tag)
}

// truth reads a boolean; nil is null.
func (t *tnetstrings) truth(what string) (*bool, error) {
	tag, value, err := t.scalar(maxNumber)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	is := string(value) == "true"
	switch {
	case tag == tagNull && len(value) == 0:
		return nil, nil
	case tag == tagBool && (is || string(value) == "false"):
		return &is, nil
	}
	return nil, t.wrong("%s is %q of the type %q, not true or false", what, value, tag)
}
