package replay

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// SetRules puts rules into the first line of a session in a cassette, in place of
// those that it has; all else in the line stays as it is, byte for byte.
func SetRules(header []byte, rules *Rules) ([]byte, error) {
	if rules == nil {
		rules = &Rules{}
	}
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(rules); err != nil {
		return nil, err
	}
	value := bytes.TrimSuffix(text.Bytes(), []byte("\n"))
	session, _, err := member(header, 0, "session")
	if err != nil {
		return nil, fmt.Errorf("put rules into a cassette's session line: %w", err)
	}
	if session.to == 0 || header[session.from] != '{' {
		return nil, errors.New(`put rules into a cassette's session line: it has no "session":{…}`)
	}
	own, first, err := member(header[:session.to], session.from, "rules")
	if err != nil {
		return nil, fmt.Errorf("put rules into a cassette's session line: %w", err)
	}
	if own.to == 0 {
		own = span{session.to - 1, session.to - 1}
		value = append([]byte(`"rules":`), value...)
		if !first {
			value = append([]byte{','}, value...)
		}
	}
	out := append([]byte(nil), header[:own.from]...)
	return append(append(out, value...), header[own.to:]...), nil
}

// member finds a key's value in the object that begins at an offset; the last
// one, as decoders do. Empty is whether the object has no key at all.
func member(b []byte, offset int, key string) (value span, empty bool, err error) {
	dec := json.NewDecoder(bytes.NewReader(b[offset:]))
	token, err := dec.Token()
	if err != nil {
		return value, false, err
	}
	if token != json.Delim('{') {
		return value, false, errors.New("it is not a JSON object")
	}
	empty = true
	for dec.More() {
		empty = false
		name, err := dec.Token()
		if err != nil {
			return value, false, err
		}
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return value, false, err
		}
		if text, ok := name.(string); ok && strings.EqualFold(text, key) {
			to := offset + int(dec.InputOffset())
			value = span{to - len(raw), to}
		}
	}
	if _, err = dec.Token(); err != nil {
		return value, false, err
	}
	if offset == 0 { // the line holds nothing else
		if _, err := dec.Token(); err != io.EOF {
			return value, false, errors.New("there is something after the object")
		}
	}
	return value, empty, nil
}
