package wire

import (
	"fmt"
	"strconv"
	"strings"
)

// Deflate is the name of the one extension that wstape can follow (RFC 7692).
const Deflate = "permessage-deflate"

// Extension is one element of a Sec-WebSocket-Extensions field (RFC 6455
// section 9.1).
type Extension struct {
	Name   string
	Params [][2]string // name and value; value "" where there is none
	Text   string      // as it was written
}

// ParseExtensions reads the values of Sec-WebSocket-Extensions fields, of which
// there may be several.
func ParseExtensions(values []string) ([]Extension, error) {
	var out []Extension
	for _, value := range values {
		for _, text := range splitQuoted(value, ',') {
			text = strings.TrimSpace(text)
			if text == "" {
				continue
			}
			ext := Extension{Text: text}
			for i, field := range splitQuoted(text, ';') {
				name, val, _ := strings.Cut(field, "=")
				name, val = strings.ToLower(strings.TrimSpace(name)), unquote(strings.TrimSpace(val))
				if name == "" {
					return nil, fmt.Errorf("extension %q has an empty name or parameter", text)
				}
				if i == 0 {
					ext.Name = name
				} else {
					ext.Params = append(ext.Params, [2]string{name, val})
				}
			}
			out = append(out, ext)
		}
	}
	return out, nil
}

// splitQuoted splits at sep outside of quoted strings.
func splitQuoted(s string, sep byte) []string {
	var out []string
	quoted, start := false, 0
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && quoted:
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == sep && !quoted:
			out = append(out, s[start:i])
			start = i + 1
		}
	}
	return append(out, s[start:])
}

// unquote reads a quoted string (RFC 9110 section 5.6.4), or a token as it is.
func unquote(s string) string {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return s
	}
	var b strings.Builder
	for s = s[1 : len(s)-1]; s != ""; s = s[1:] {
		if s[0] == '\\' && len(s) > 1 {
			s = s[1:]
		}
		b.WriteByte(s[0])
	}
	return b.String()
}

// FilterOffer takes what wstape cannot follow out of an offer. It returns the
// field's new value ("" if nothing is left) and what was removed; a value that
// holds nothing else comes back as it was written.
func FilterOffer(value string) (kept string, removed []string) {
	exts, err := ParseExtensions([]string{value})
	if err != nil {
		return "", []string{value}
	}
	var keep []string
	for _, ext := range exts {
		if ext.Name == Deflate {
			keep = append(keep, ext.Text)
		} else {
			removed = append(removed, ext.Text)
		}
	}
	if removed == nil {
		return value, nil
	}
	return strings.Join(keep, ", "), removed
}

// Compression is what the two ends agreed on about permessage-deflate
// (RFC 7692 section 7.1).
type Compression struct {
	On               bool
	NoTakeover       [2]bool // by side: each message is compressed on its own
	ServerWindowBits int     // 15 unless the answer says less
	ClientWindowBits int
}

// Granted reads the upstream's answer. Other is an extension in it that wstape
// cannot follow, "" if there is none.
func Granted(values []string) (c Compression, other string, err error) {
	exts, err := ParseExtensions(values)
	if err != nil {
		return c, "", err
	}
	for _, ext := range exts {
		if ext.Name != Deflate || c.On {
			other = ext.Text
			continue
		}
		c = Compression{On: true, ServerWindowBits: 15, ClientWindowBits: 15}
		for _, p := range ext.Params {
			switch p[0] {
			case "client_no_context_takeover":
				c.NoTakeover[0] = true
			case "server_no_context_takeover":
				c.NoTakeover[1] = true
			case "client_max_window_bits":
				c.ClientWindowBits, err = windowBits(p[1])
			case "server_max_window_bits":
				c.ServerWindowBits, err = windowBits(p[1])
			default:
				err = fmt.Errorf("unknown parameter %q", p[0])
			}
			if err != nil {
				return c, other, fmt.Errorf("extension %q: %w", ext.Text, err)
			}
		}
	}
	return c, other, nil
}

func windowBits(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 8 || n > 15 {
		return 0, fmt.Errorf("window bits %q are not a number from 8 to 15", s)
	}
	return n, nil
}
