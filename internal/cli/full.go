package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/wstape/wstape/tape"
)

const (
	fullIndent = "    "
	// maxIndent is how deep JSON is indented: what is nested further would be
	// mostly spaces, and a few bytes would make pages of them.
	maxIndent = 32
)

// full writes a message's payload whole, below its line, unless all of it stands
// there already; and what came in, of an edited one.
func (y layout) full(out *bufio.Writer, m *tape.Message) error {
	if m.Received != nil && !plainLine(m.Received) {
		fmt.Fprintf(out, "%s%s\n", fullIndent, y.paint.paint(dim, "was"))
		payload(out, m.Received, m.ReceivedError != "")
		fmt.Fprintf(out, "%s%s\n", fullIndent, y.paint.paint(dim, "is"))
	}
	if !plainLine(&m.Content) || m.Error != "" {
		payload(out, &m.Content, m.Error != "")
	}
	_, err := out.Write(nil) // fails if anything before did
	return err
}

// plainLine reports whether a message's own line shows all of it.
func plainLine(c *tape.Content) bool {
	if c.Op == tape.Close || len(c.Payload) == 0 {
		return true
	}
	return c.Op != tape.Binary && len(c.Payload) <= 40 && printable(c.Payload) && !container(c.Payload)
}

// container reports whether a payload looks like a JSON object or array.
func container(p []byte) bool {
	p = bytes.TrimLeft(p, " \t\r\n")
	return len(p) > 0 && (p[0] == '{' || p[0] == '[')
}

// payload writes a payload in lines of its own. It writes as it goes: long ones
// are in memory once.
func payload(out *bufio.Writer, c *tape.Content, unreadable bool) {
	switch {
	case c.Op != tape.Text || unreadable || !utf8.Valid(c.Payload):
		hexLines(out, c.Payload)
	case container(c.Payload) && json.Valid(c.Payload):
		jsonLines(out, c.Payload)
	default:
		for line := range bytes.Lines(c.Payload) {
			out.WriteString(fullIndent)
			escape(out, bytes.TrimSuffix(line, []byte("\n")))
			out.WriteByte('\n')
		}
	}
	if more := c.Len - uint64(len(c.Payload)); more > 0 && more < c.Len {
		fmt.Fprintf(out, "%s… and %s more\n", fullIndent, size(more))
	}
}

// escape writes text of any length so that a terminal cannot be harmed by it.
func escape(out *bufio.Writer, p []byte) {
	const chunk = 8 << 10
	var e escaper
	var buffer []byte
	for len(p) > 0 {
		n := min(len(p), chunk)
		for k := 1; n < len(p) && k < utf8.UTFMax && !utf8.RuneStart(p[n]); k++ {
			n--
		}
		buffer = buffer[:0]
		for s := string(p[:n]); len(s) > 0; {
			var used int
			buffer, _, used = e.next(buffer, s)
			s = s[used:]
		}
		out.Write(buffer)
		p = p[n:]
	}
}

// jsonLines writes valid JSON, indented. Its spelling stays as it is.
func jsonLines(out *bufio.Writer, p []byte) {
	depth := 0
	newline := func() {
		out.WriteByte('\n')
		out.WriteString(fullIndent)
		for range min(depth, maxIndent) {
			out.WriteString("  ")
		}
	}
	out.WriteString(fullIndent)
	for i := 0; i < len(p); i++ {
		switch c := p[i]; c {
		case ' ', '\t', '\r', '\n':
		case '"':
			end := i + 1
			for ; p[end] != '"'; end++ {
				if p[end] == '\\' {
					end++
				}
			}
			escape(out, p[i:end+1])
			i = end
		case '{', '[':
			out.WriteByte(c)
			if rest := bytes.TrimLeft(p[i+1:], " \t\r\n"); rest[0] == '}' || rest[0] == ']' {
				out.WriteByte(rest[0])
				i = len(p) - len(rest)
				continue
			}
			depth++
			newline()
		case '}', ']':
			depth--
			newline()
			out.WriteByte(c)
		case ',':
			out.WriteByte(c)
			newline()
		case ':':
			out.WriteString(": ")
		default:
			out.WriteByte(c)
		}
	}
	out.WriteByte('\n')
}

const hexRow = 16 // bytes

// hexLines writes bytes as hex and ASCII.
func hexLines(out *bufio.Writer, p []byte) {
	for at := 0; at < len(p); at += hexRow {
		row := p[at:min(len(p), at+hexRow)]
		fmt.Fprintf(out, "%s%08x  %-47s  |%s|\n", fullIndent, at, fmt.Sprintf("% x", row), ascii(row))
	}
}

// ascii shows bytes as characters, a dot for each that is none.
func ascii(p []byte) string {
	var b strings.Builder
	for _, c := range p {
		if c < ' ' || c > '~' {
			c = '.'
		}
		b.WriteByte(c)
	}
	return b.String()
}
