package decode

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/wstape/wstape/tape"
)

// What MessagePack, CBOR and Protobuf share. Nothing announces them, and much that
// is none of them reads as one, so they are sniffed only when several messages
// that differ read to their last byte and hold text.

const (
	// maxDepth is how deep containers may be in one another.
	maxDepth = 100
	// maxKept is how long a message may be to be decoded into a View's Value. It is
	// less than in JSON, because a map may be written in one byte.
	maxKept = 256 << 10
)

// brief writes a summary; what a summary could not show is dropped.
type brief struct{ b strings.Builder }

func (s *brief) full() bool { return s.b.Len() > utf8.UTFMax*maxSummary }

func (s *brief) add(text string) {
	if !s.full() {
		s.b.WriteString(text)
	}
}

// scalar writes a decoded value that is no container.
func (s *brief) scalar(v any) {
	if s.full() {
		return
	}
	switch v := v.(type) {
	case nil:
		s.add("null")
	case string:
		s.add(strconv.Quote(v[:min(len(v), utf8.UTFMax*(maxSummary+1))]))
	case []byte:
		s.add("h'" + hex.EncodeToString(v[:min(len(v), rawBytes)]))
		if len(v) > rawBytes {
			s.add("…")
		}
		s.add("'")
	default:
		s.add(fmt.Sprint(v))
	}
}

func (s *brief) String() string { return fold(s.b.String(), maxSummary) }

func signed(n int64) json.Number { return json.Number(strconv.FormatInt(n, 10)) }

func unsigned(n uint64) json.Number { return json.Number(strconv.FormatUint(n, 10)) }

// float writes a float32 or float64 as JSON does; what JSON has no number for
// becomes a string.
func float[F float32 | float64](f F) any {
	switch {
	case f != f:
		return "NaN"
	case math.IsInf(float64(f), 1):
		return "Infinity"
	case math.IsInf(float64(f), -1):
		return "-Infinity"
	}
	b, _ := json.Marshal(f)
	return json.Number(b)
}

// keyText makes the name of a map's member of a decoded key.
func keyText(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case []byte:
		return hex.EncodeToString(v)
	}
	return shown(v)
}

// decoded is the view of a message that is one value. A container that was too
// long to be kept is a nil one.
func decoded(v any, summary string) View {
	view := View{Summary: summary, Value: v}
	switch v := v.(type) {
	case map[string]any:
		view.Type = "map"
		for _, name := range kinds() {
			if s, ok := v[name].(string); ok && s != "" {
				view.Type = s
				break
			}
		}
		// With more members it may well be an application's own ping.
		view.Heartbeat = len(v) == 1 && (view.Type == "ping" || view.Type == "pong" || view.Type == "heartbeat")
		if v == nil {
			view.Value = nil
		}
	case []any:
		view.Type = "array"
		if v == nil {
			view.Value = nil
		}
	case string:
		view.Type = "string"
	case []byte:
		view.Type = "bytes"
	case bool:
		view.Type = "boolean"
	case nil:
		view.Type = "null"
	default:
		view.Type = "number"
	}
	return view
}

// differing returns the messages with distinct payloads if all are binary; nil
// otherwise. An echo is no evidence.
func differing(first []*tape.Message) [][]byte {
	var all [][]byte
next:
	for _, m := range first {
		if m.Op != tape.Binary {
			return nil
		}
		for _, p := range all {
			if bytes.Equal(p, m.Payload) {
				continue next
			}
		}
		all = append(all, m.Payload)
	}
	return all
}

// sniffValues says whether at least two messages that differ read as maps or
// arrays, and hold text.
func sniffValues(first []*tape.Message, read func(p []byte) (any, error)) int {
	all := differing(first)
	if len(all) < 2 {
		return 0
	}
	told := 0
	for _, p := range all {
		v, err := read(p)
		if err != nil {
			return 0
		}
		switch v.(type) {
		case map[string]any, []any:
			told += plain(v)
		default:
			return 0
		}
	}
	if told < 8 {
		return 0
	}
	return structured
}

// plain counts the bytes of readable text in a decoded value.
func plain(v any) int {
	n := 0
	switch v := v.(type) {
	case string:
		if isPlain(v) {
			n = len(v)
		}
	case []any:
		for _, e := range v {
			n += plain(e)
		}
	case map[string]any:
		for name, e := range v {
			n += plain(name) + plain(e)
		}
	}
	return n
}

// isPlain reports whether a text is one of two characters or more, all of which
// can be seen.
func isPlain(s string) bool {
	return len(s) > 1 && utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}
