package tape

import (
	"bytes"
	"encoding/base64"
	"io"
	"unicode/utf8"
)

// longPayload is the length from which on a payload is encoded on its way out
// instead of in memory.
const longPayload = 64 << 10

func (c *Content) long() bool { return len(c.Payload) >= longPayload }

// WriteJSON writes what MarshalJSON does and a line end, without holding a long
// payload in memory in another form.
func (f *Frame) WriteJSON(w io.Writer) error {
	head, err := marshal(f.json(true))
	if err != nil {
		return err
	}
	if len(f.Payload) < longPayload {
		return writeLine(w, head)
	}
	return splice(w, head, "b64", writeBase64, f.Payload)
}

// WriteJSON writes what MarshalJSON does and a line end, without holding a long
// payload in memory in another form.
func (l *Line) WriteJSON(w io.Writer) error {
	form := l.json(true)
	head, err := marshal(form)
	if err != nil {
		return err
	}
	switch j, _ := form.(messageJSON); {
	case l.Message == nil || !l.Message.long():
	case j.Text != nil:
		return splice(w, head, "text", writeText, l.Message.Payload)
	case j.B64 != nil:
		return splice(w, head, "b64", writeBase64, l.Message.Payload)
	}
	return writeLine(w, head)
}

func writeLine(w io.Writer, line []byte) error {
	_, err := w.Write(append(line, '\n'))
	return err
}

// splice writes head with the payload put into the first empty string of that
// key. Inside of other strings quotes are escaped, so it cannot be mistaken.
func splice(w io.Writer, head []byte, key string, write func(io.Writer, []byte) error, payload []byte) error {
	before, after, _ := bytes.Cut(head, []byte(`"`+key+`":""`))
	if _, err := w.Write(append(before, `"`+key+`":"`...)); err != nil {
		return err
	}
	if err := write(w, payload); err != nil {
		return err
	}
	return writeLine(w, append([]byte(`"`), after...))
}

func writeBase64(w io.Writer, p []byte) error {
	enc := base64.NewEncoder(base64.StdEncoding, w)
	if _, err := enc.Write(p); err != nil {
		return err
	}
	return enc.Close()
}

// writeText writes valid UTF-8 as the inside of a JSON string.
func writeText(w io.Writer, p []byte) error {
	for len(p) > 0 {
		n := min(len(p), longPayload)
		for n < len(p) && !utf8.RuneStart(p[n]) {
			n--
		}
		text, err := marshal(string(p[:n]))
		if err != nil {
			return err
		}
		if _, err := w.Write(text[1 : len(text)-1]); err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}
