// Package har writes sessions as HAR 1.2 files with Chrome's
// `_webSocketMessages`, and reads such files by whichever program made them.
//
// [Export] writes what Chrome DevTools, HTTP Toolkit and Playwright read, and
// beside it, under `_wstape`, what HAR has no word for. [Import] understands the
// dialects of those programs, of mitmproxy and of gori, and gives a session that
// [Export] wrote back as it was, as far as a cassette can. It refuses what a
// tape cannot hold, saying where it stands.
package har

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/wstape/wstape/tape"
)

// Dialect says how programs differ in what they write.
type Dialect string

// The dialects that [Export] writes.
const (
	Chrome     Dialect = "chrome"     // times of messages in seconds
	Playwright Dialect = "playwright" // in milliseconds
)

// ParseDialect reads a dialect's name.
func ParseDialect(s string) (Dialect, error) {
	switch d := Dialect(s); d {
	case Chrome, Playwright:
		return d, nil
	}
	return "", fmt.Errorf("HAR dialect %q is neither chrome nor playwright", s)
}

// Is reports whether a file that begins so is a HAR file, or an archive that may
// hold one.
func Is(head []byte) bool {
	if isZip(head) {
		return true
	}
	rest, ok := bytes.CutPrefix(bytes.TrimLeft(withoutBOM(head), " \t\r\n"), []byte("{"))
	return ok && bytes.HasPrefix(bytes.TrimLeft(rest, " \t\r\n"), []byte(`"log"`))
}

func isZip(head []byte) bool {
	return bytes.HasPrefix(head, []byte("PK\x03\x04")) || bytes.HasPrefix(head, []byte("PK\x05\x06"))
}

func withoutBOM(b []byte) []byte { return bytes.TrimPrefix(b, []byte("\xef\xbb\xbf")) }

// What a row is about; an error is one that DevTools shows.
const (
	typeSend    = "send"
	typeReceive = "receive"
	typeError   = "error"
)

const websocketType = "websocket"

// ownVersion stands in an entry's `_wstape`.
const ownVersion = 1

// mark is the `_wstape` of a row: what a line of `show --json` says and the row
// does not, by the same names.
type mark struct {
	Seq       uint64          `json:"seq,omitempty"`
	T         *float64        `json:"t,omitempty"`
	Fate      tape.Fate       `json:"fate,omitempty"`
	By        string          `json:"by,omitempty"`
	ByAll     []string        `json:"by_all,omitempty"`
	Received  json.RawMessage `json:"received,omitempty"`
	Frames    []uint64        `json:"frames,omitempty"`
	Wire      json.RawMessage `json:"wire,omitempty"`
	Violation string          `json:"violation,omitempty"`
	Redacted  bool            `json:"redacted,omitempty"`
	Partial   bool            `json:"partial,omitempty"`
	Error     string          `json:"error,omitempty"`
}

// between is a line that is no row, and before which row it stands.
type between struct {
	Before int             `json:"before"`
	Line   json.RawMessage `json:"line"`
}

// pair is a header field or a query parameter.
type pair struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// marshal is json.Marshal without the escapes that only HTML needs.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return tape.EscapeJSON(bytes.TrimSuffix(b.Bytes(), []byte("\n"))), nil
}

// strict is json.Unmarshal that refuses keys it does not know.
func strict(data []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	return dec.Decode(v)
}
