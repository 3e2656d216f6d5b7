package har

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/wstape/wstape/tape"
)

// unknown stands for a time that the file does not say.
const unknown = -1

// row is one of `_webSocketMessages`: a message, or with note a remark, which is
// never traffic.
type row struct {
	number int
	at     int64 // microseconds since 1970, or unknown
	from   tape.Side
	op     tape.Opcode
	data   []byte
	note   *string
	by     string // who remarked it
	own    *mark
}

// Who remarks.
const (
	byDevTools = "devtools"
	byGori     = "gori"
)

func (r *row) received() []byte {
	if r.own == nil {
		return nil
	}
	return r.own.Received
}

// devTools is how Chrome's DevTools call themselves.
const devTools = "WebInspector"

// goriNotice begins what gori remarks; it writes that as if it had been received.
const goriNotice = "[gori] "

// parse reads a row of any dialect.
func (im *importer) parse(raw []byte) (row, error) {
	r := row{number: im.row, at: unknown}
	var j struct {
		Type     *string         `json:"type"`
		Time     *float64        `json:"time"`
		Opcode   *float64        `json:"opcode"`
		Data     *string         `json:"data"`
		Encoding string          `json:"encoding"`
		Own      json.RawMessage `json:"_wstape"`
	}
	if err := json.Unmarshal(raw, &j); err != nil {
		return r, explain(err)
	}
	switch {
	case j.Type == nil:
		return r, errors.New(`it has no "type": send or receive`)
	case j.Data == nil:
		return r, errors.New(`it has no "data"`)
	}
	if j.Own != nil {
		r.own = &mark{}
		if err := strict(j.Own, r.own); err != nil {
			return r, fmt.Errorf("%s: %w", keyOwn, explain(err))
		}
	}
	if j.Time != nil {
		r.at = im.moment(*j.Time)
	}
	im.whatIsUnicode(*j.Data, raw)
	switch *j.Type {
	case typeSend:
		r.from = tape.Client
	case typeReceive:
		r.from = tape.Server
	case typeError: // DevTools' own row, not a frame
		r.note, r.by = j.Data, byDevTools
		return r, nil
	default:
		return r, fmt.Errorf("type %q is neither send, receive nor error: correct the row or take it out", *j.Type)
	}
	if im.literal && strings.HasPrefix(*j.Data, goriNotice) {
		r.note, r.by = j.Data, byGori
		return r, nil
	}
	op := float64(tape.Text)
	if j.Opcode == nil {
		im.warn("it has no opcode, and is taken for text")
	} else {
		op = *j.Opcode
	}
	if op != math.Trunc(op) || op < 0 || op > 15 {
		return r, fmt.Errorf("opcode %v is not one of RFC 6455 (0 to 15): correct the row or take it out", op)
	}
	r.op = tape.Opcode(op)
	var err error
	r.data, err = im.payload(r.op, *j.Data, j.Encoding)
	if r.from == tape.Client && r.op == tape.Binary && len(r.data) == 0 && strings.HasPrefix(im.creator, devTools) {
		im.warn("an empty binary message: Chromium writes a Blob so, whatever was in it")
	}
	return r, err
}

// payload reads a row's data. The convention has base64 wherever the opcode is
// not 1, and does not say so; gori says so, and else means text.
func (im *importer) payload(op tape.Opcode, data, encoding string) ([]byte, error) {
	switch strings.ToLower(encoding) {
	case "base64":
		p, err := base64.StdEncoding.Strict().DecodeString(data)
		if err != nil {
			return nil, fmt.Errorf("its data is said to be base64 and is not: %w", err)
		}
		return p, nil
	case "", "utf8", "utf-8", "text":
	default:
		return nil, fmt.Errorf("encoding %q is not base64: decode it and write it so", encoding)
	}
	if op == tape.Text || im.literal || encoding != "" {
		return []byte(data), nil
	}
	p, err := base64.StdEncoding.Strict().DecodeString(data)
	if err != nil {
		im.warn("its data should be base64, for its opcode is %d, and is not; it is taken as it stands", op)
		return []byte(data), nil
	}
	return p, nil
}

// Times are seconds or, from Playwright, milliseconds since 1970; -1 is unknown.
const (
	leastMilliseconds = 1e11
	lastSecond        = 253402300800 // the year 10000
)

func (im *importer) moment(t float64) int64 {
	seconds := t
	if t > leastMilliseconds {
		seconds = t / 1000
	}
	switch {
	case t <= 0:
		return unknown
	case seconds >= lastSecond:
		im.warn("time %g is no time since 1970, and is not believed", t)
		return unknown
	}
	return int64(math.Round(seconds * 1e6))
}

// whatIsUnicode warns of a text that JSON could not carry, where U+FFFD stands
// now for something else.
func (im *importer) whatIsUnicode(data string, raw []byte) {
	if strings.ContainsRune(data, utf8.RuneError) && !bytes.Contains(raw, []byte("\uFFFD")) && !bytes.Contains(bytes.ToLower(raw), []byte(`\ufffd`)) {
		im.warn("its data is not valid Unicode; U+FFFD stands where it is not")
	}
}

// messageLine is a line of a cassette.
type messageLine struct {
	mark
	From tape.Side   `json:"from"`
	Op   tape.Opcode `json:"op"`
	Text *string     `json:"text,omitempty"`
	B64  *[]byte     `json:"b64,omitempty"`
}

type noteLine struct {
	T    *float64 `json:"t,omitempty"`
	Note string   `json:"note"`
	By   string   `json:"by"`
}

// line writes the row as a cassette does. Without a time it has that of the line
// before it.
func (r *row) line(started int64) any {
	var t *float64
	if r.at != unknown {
		since := float64(max(r.at-started, 0)) / 1e6
		t = &since
	}
	if r.note != nil {
		return noteLine{t, *r.note, r.by}
	}
	l := messageLine{From: r.from, Op: r.op}
	if r.own != nil {
		l.mark = *r.own
	}
	if l.T == nil {
		l.T = t
	}
	if r.op == tape.Text && l.Error == "" && utf8.Valid(r.data) {
		text := string(r.data)
		l.Text = &text
	} else {
		l.B64 = &r.data
		if r.data == nil {
			l.B64 = &[]byte{}
		}
	}
	return l
}
