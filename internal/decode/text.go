package decode

import (
	"strings"
	"unicode"
)

// How many runes a view says at most.
const (
	maxType    = 64
	maxSummary = 200
)

// fold makes a text one line of at most n runes: each run of white space becomes
// one space, what is too much becomes "…". The result is UTF-8.
func fold(s string, n int) string {
	var b strings.Builder
	runes, spaced := 0, false
	for _, r := range s {
		if unicode.IsSpace(r) {
			if spaced {
				continue
			}
			r = ' '
		}
		spaced = r == ' '
		if runes++; runes > n {
			return cut(b.String(), n-1) + "…"
		}
		b.WriteRune(r)
	}
	return b.String()
}

// cut returns the first n runes of a text.
func cut(s string, n int) string {
	for i := range s {
		if n--; n < 0 {
			return s[:i]
		}
	}
	return s
}

// words joins what is not empty with spaces.
func words(parts ...string) string {
	var b strings.Builder
	for _, p := range parts {
		if p != "" && b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(p)
	}
	return b.String()
}

// maxParts is how many of a protocol's messages in one of WebSocket are looked at.
const maxParts = 500

// together is the view of several of a protocol's messages in one of WebSocket:
// the key is that of the first one that has a key. With maxParts there may be more.
func together(all []View) View {
	if len(all) == 1 {
		return all[0]
	}
	v := View{Heartbeat: len(all) > 0}
	var types, summaries []string
	values := make([]any, len(all))
	for i, one := range all {
		switch {
		case one.Key == "":
		case v.Key == "":
			v.Key, v.Answer = one.Key, one.Answer
		default:
			v.More = append(v.More, Ref{one.Key, one.Answer})
		}
		v.Heartbeat = v.Heartbeat && one.Heartbeat
		if i < maxSummary { // no more can be seen
			summaries = append(summaries, one.Summary)
		}
		if len(types) == 0 || i < maxType && types[len(types)-1] != one.Type {
			types = append(types, one.Type)
		}
		values[i] = one.Value
	}
	v.Type, v.Summary = strings.Join(types, "+"), strings.Join(summaries, " | ")
	if len(all) < maxParts {
		v.Value = values
	} else {
		v.Heartbeat = false
	}
	return v
}
