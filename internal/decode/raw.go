package decode

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/wstape/wstape/tape"
)

// rawBytes is how many bytes of a binary message its summary shows.
const rawBytes = 24

func sniffRaw(Hint, []*tape.Message) int { return 0 }

func openRaw(Hint) reader {
	return func(m *tape.Message) (View, error) { return rawView(m), nil }
}

// rawView shows a message as what it is: text as text, the rest as hex and ASCII.
func rawView(m *tape.Message) View {
	v := View{Type: m.Op.String()}
	if m.Op == tape.Text && isText(m.Payload) {
		v.Summary = fold(string(head(m.Payload)), maxSummary)
	} else {
		v.Summary = hexView(m.Payload)
	}
	return v
}

// head is as much of a payload as a summary can show, and a rune more.
func head(p []byte) []byte { return p[:min(len(p), utf8.UTFMax*(maxSummary+1))] }

// isText reports whether the part of a payload that a summary shows is UTF-8.
func isText(p []byte) bool {
	h := head(p)
	for range utf8.UTFMax {
		if utf8.Valid(h) {
			return true
		}
		if len(h) == len(p) || len(h) == 0 {
			return false
		}
		h = h[:len(h)-1] // a rune may have been cut
	}
	return false
}

func hexView(p []byte) string {
	if len(p) == 0 {
		return "empty"
	}
	shown := p[:min(len(p), rawBytes)]
	ascii := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '.'
		}
		return r
	}, latin1(shown))
	more := ""
	if len(shown) < len(p) {
		more = "…"
	}
	return fmt.Sprintf("% x%s |%s%s| %s", shown, more, ascii, more, size(len(p)))
}

// latin1 makes each byte one rune.
func latin1(p []byte) string {
	var b strings.Builder
	for _, c := range p {
		b.WriteRune(rune(c))
	}
	return b.String()
}

func size(n int) string {
	if n == 1 {
		return "1 byte"
	}
	return fmt.Sprintf("%d bytes", n)
}
