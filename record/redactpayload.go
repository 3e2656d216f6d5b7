package record

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/wstape/wstape/internal/jsonpath"
	"github.com/wstape/wstape/tape"
)

// errUnreadable says that a text names what a rule for JSON is about, and is not JSON.
var errUnreadable = errors.New("it names a key of record.redact.json, but is not valid JSON")

// Payloads reports whether there are rules for payloads.
func (r *Redactor) Payloads() bool { return r != nil && (r.json != nil || len(r.rules.Text) > 0) }

// payload returns a message's plain payload without its secrets: the same slice
// if there are none. An error means that it cannot be told.
func (r *Redactor) payload(op tape.Opcode, p []byte) ([]byte, error) {
	switch {
	case op == tape.Close:
		if len(p) <= 2 {
			return p, nil
		}
		reason, err := r.search(p[2:], true)
		if err != nil || !replaced(p[2:], reason) {
			return p, err
		}
		return append(p[:2:2], reason...), nil
	case len(p) == 0:
		return p, nil
	}
	return r.search(p, op == tape.Text || utf8.Valid(p))
}

// Line returns a line without its secrets: the same one if there are none, a gap
// if it cannot be told.
func (r *Redactor) Line(l *tape.Line) *tape.Line {
	if !r.Payloads() || l.Gap != nil {
		return l
	}
	if l.Note != nil {
		if text := r.Text(l.Note.Text); text != l.Note.Text {
			return &tape.Line{T: l.T, Note: &tape.Note{Text: text, By: l.Note.By}}
		}
		return l
	}
	m := *l.Message
	lost := func(why string) *tape.Line {
		return &tape.Line{T: l.T, Gap: &tape.Gap{Frames: uint64(max(1, len(m.Frames))), Bytes: max(m.WireLen, m.Len), Why: why}}
	}
	switch {
	case m.Op == tape.OpRaw:
		return lost(whyRaw)
	case m.Partial:
		return lost(whyTorn)
	case m.Error != "" || m.ReceivedError != "":
		return lost(whyPlain + m.Error + m.ReceivedError)
	case m.Op == tape.Continuation:
		return lost(whyStray)
	}
	for _, c := range []*tape.Content{&m.Content, m.Received} {
		if c == nil {
			continue
		}
		if int64(len(c.Payload)) > r.rules.MaxMessage {
			return lost(whyLong)
		}
		payload, err := r.payload(c.Op, c.Payload)
		if err != nil {
			return lost(whySecret + err.Error())
		}
		if !replaced(c.Payload, payload) {
			continue
		}
		m.Redacted = true
		plain := tape.Content{Op: c.Op, Payload: payload, Len: uint64(len(payload))}
		if c == m.Received {
			m.Received = &plain
		} else {
			m.Content = plain
		}
	}
	return &tape.Line{T: l.T, Message: &m}
}

// replaced reports whether something was, in a payload.
func replaced(before, after []byte) bool {
	return len(before) != len(after) || len(after) > 0 && &before[0] != &after[0]
}

// Text returns a text of a session without its secrets. One that cannot be read
// is all secret.
func (r *Redactor) Text(s string) string {
	if !r.Payloads() || s == "" {
		return s
	}
	plain, err := r.search([]byte(s), true)
	if err != nil {
		return r.pseudonym(s)
	}
	return string(plain)
}

// search applies the rules for payloads. Of what is no text, an attempt to read
// JSON proves nothing.
func (r *Redactor) search(p []byte, text bool) ([]byte, error) {
	named := r.json.names(p)
	if named || len(r.rules.Text) > 0 && bytes.IndexByte(p, '\\') >= 0 {
		s := jsonSearch{r: r, b: p, named: named, starts: []int{0}}
		if err := s.text(); err != nil && text {
			return nil, err
		}
		p = s.apply()
	}
	return r.matching(p), nil
}

// pseudonyms finds them in a text.
var pseudonyms = regexp.MustCompile(PseudonymPattern)

// matching replaces what the regular expressions match, each in what the ones
// before it have left.
func (r *Redactor) matching(p []byte) []byte {
	for _, re := range r.rules.Text {
		found := re.FindAllSubmatchIndex(p, -1)
		if found == nil {
			continue
		}
		var known [][]int
		if bytes.Contains(p, []byte(pseudonymPrefix)) {
			known = pseudonyms.FindAllIndex(p, -1)
		}
		edits := edits{b: p}
		for _, m := range found {
			from, to := m[0], m[1]
			if len(m) > 2 && m[2] >= 0 {
				from, to = m[2], m[3]
			}
			for _, k := range known {
				switch {
				case to <= k[0] || k[1] <= from:
				case k[0] <= from && to <= k[1]:
					to = from // a part of what has been redacted
				default:
					from, to = min(from, k[0]), max(to, k[1])
				}
			}
			if from < to {
				edits.add(from, to, r.pseudonym(string(p[from:to])))
			}
		}
		p = edits.apply()
	}
	return p
}

// edits are changes of a text, in its order.
type edits struct {
	b    []byte
	list []edit
}

type edit struct {
	from, to int
	text     string
}

func (e *edits) add(from, to int, text string) {
	if n := len(e.list); n > 0 && from < e.list[n-1].to { // grown over a pseudonym
		from = e.list[n-1].to
	}
	if from < to && string(e.b[from:to]) != text {
		e.list = append(e.list, edit{from, to, text})
	}
}

// apply returns the text itself if nothing is to be changed.
func (e *edits) apply() []byte {
	if len(e.list) == 0 {
		return e.b
	}
	out := make([]byte, 0, len(e.b)+len(e.list)*(len(pseudonymPrefix)+2*pseudonymBytes))
	done := 0
	for _, x := range e.list {
		out = append(append(out, e.b[done:x.from]...), x.text...)
		done = x.to
	}
	return append(out, e.b[done:]...)
}

// jsonRules are the rules for JSON. Nil names nothing.
type jsonRules struct {
	patterns []*jsonpath.Pattern
	keys     []string // the last of each pattern
	keyless  bool     // there is a pattern without a key
	spelled  bool     // there is a key that JSON can write otherwise than with \u
}

func newJSONRules(patterns []*jsonpath.Pattern) *jsonRules {
	if len(patterns) == 0 {
		return nil
	}
	j := &jsonRules{patterns: patterns}
	for _, p := range patterns {
		i := len(p.Parts) - 1
		for i >= 0 && (p.Parts[i].Any || p.Parts[i].IsIndex) {
			i--
		}
		if i < 0 {
			j.keyless = true
			continue
		}
		key := p.Parts[i].Key
		j.keys = append(j.keys, key)
		j.spelled = j.spelled || key == "" || !utf8.ValidString(key) || strings.ContainsFunc(key, func(c rune) bool {
			return c < ' ' || strings.ContainsRune(`"\/`, c)
		})
	}
	return j
}

// names reports whether a text may hold what one of the rules is about. Most
// messages are done with here.
func (j *jsonRules) names(p []byte) bool {
	return j != nil && (j.keyless || j.spelled || bytes.Contains(p, []byte(`\u`)) ||
		slices.ContainsFunc(j.keys, func(key string) bool { return bytes.Contains(p, []byte(key)) }))
}

// escaped is a character as JSON, or JSON in a string of JSON, may write it.
var escaped = regexp.MustCompile(`\\+u[0-9a-fA-F]{4}`)

// assigned reports whether what is no JSON has a key of the rules and a colon
// behind it.
func (j *jsonRules) assigned(p []byte) bool {
	if j.keyless || j.spelled {
		return true
	}
	p = escaped.ReplaceAllFunc(p, func(e []byte) []byte {
		return jsonpath.Unquote(append(append([]byte(`"\`), bytes.TrimLeft(e, `\`)...), '"'))
	})
	for _, key := range j.keys {
		for rest := p; ; {
			i := bytes.Index(rest, []byte(key))
			if i < 0 {
				break
			}
			rest = rest[i+len(key):]
			if bytes.HasPrefix(bytes.TrimLeft(rest, "\\\"'` \t\r\n"), []byte(":")) {
				return true
			}
		}
	}
	return false
}

// jsonSearch looks for secrets in the JSON that stands in a text: all of it,
// behind the prefix of a protocol, several documents with something between
// them, or in a string of such a document.
type jsonSearch struct {
	r      *Redactor
	b      []byte
	named  bool // the rules for JSON apply, not only those for text
	at     jsonpath.Path
	starts []int // where in at documents begin: the message's, and those in its strings
	loose  bool  // something before was no JSON, so the place of what follows is not known
	err    error
	edits
}

func (s *jsonSearch) text() error {
	s.edits.b = s.b
	if i := jsonpath.Space(s.b, 0); i < len(s.b) {
		if n, ok := jsonpath.Scan(s.b[i:]); ok && jsonpath.Space(s.b, i+n) == len(s.b) {
			return s.document(i, i+n)
		}
	}
	known := 0 // what stands before it has been looked at
	for i := 0; ; {
		n := bytes.IndexAny(s.b[i:], "{[")
		if n < 0 {
			break
		}
		i += n
		n, ok := jsonpath.Scan(s.b[i:])
		if !ok {
			if !s.loose {
				s.loose, known = true, i
			}
			i += max(n, 1)
			continue
		}
		if s.unreadable(known, i) {
			return errUnreadable
		}
		if err := s.document(i, i+n); err != nil {
			return err
		}
		i += n
		known = i
	}
	if s.unreadable(known, len(s.b)) {
		return errUnreadable
	}
	return nil
}

// unreadable reports whether what is no JSON may hold a secret.
func (s *jsonSearch) unreadable(from, to int) bool {
	return s.loose && s.named && s.r.json.assigned(s.b[from:to])
}

// document looks at one that is valid.
func (s *jsonSearch) document(from, to int) error {
	b := s.b[:to]
	jsonpath.Walk(b, from, &s.at, func(i int) int {
		switch {
		case s.err != nil:
			return jsonpath.End(b, i)
		case s.secret():
			end := jsonpath.End(b, i)
			s.replace(i, end)
			return end
		case b[i] == '"':
			end := jsonpath.End(b, i)
			s.str(i, end)
			return end
		}
		return 0
	})
	return s.err
}

// secret reports whether a rule names the place.
func (s *jsonSearch) secret() bool {
	if !s.named {
		return false
	}
	if n := len(s.at); s.loose && n > 0 && !s.at[n-1].IsIndex && slices.Contains(s.r.json.keys, s.at[n-1].Key) {
		return true
	}
	return slices.ContainsFunc(s.r.json.patterns, func(p *jsonpath.Pattern) bool {
		return slices.ContainsFunc(s.starts, func(start int) bool { return p.Exactly(s.at[start:]) })
	})
}

// replace puts a pseudonym in the place of a value. That of a string is the one
// that it has wherever else it stands; null is nobody's secret.
func (s *jsonSearch) replace(from, to int) {
	value := s.b[from:to]
	secret := string(canonical(value))
	switch value[0] {
	case 'n':
		return
	case '"':
		if secret = string(jsonpath.Unquote(value)); secret == "" || isPseudonym(secret) {
			return
		}
	}
	s.add(from, to, `"`+s.r.pseudonym(secret)+`"`)
}

// canonical writes JSON so that spaces and escapes make no difference.
func canonical(b []byte) []byte {
	var out []byte
	for i := 0; i < len(b); {
		if b[i] == '"' {
			end := jsonpath.End(b, i)
			out = append(out, quoted(string(jsonpath.Unquote(b[i:end])))...)
			i = end
		} else if end := jsonpath.Space(b, i); end > i {
			i = end
		} else {
			out = append(out, b[i])
			i++
		}
	}
	return out
}

// quoted writes a JSON string.
func quoted(s string) []byte {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string can always be written
	return bytes.TrimSuffix(out.Bytes(), []byte("\n"))
}

// str looks into a string with escapes: others than those that can be seen in
// the message may stand in it, and JSON.
func (s *jsonSearch) str(from, to int) {
	value := s.b[from:to]
	if bytes.IndexByte(value, '\\') < 0 {
		return
	}
	was := jsonpath.Unquote(value)
	now := was
	if s.named {
		inner := jsonSearch{r: s.r, b: was, named: s.r.json.names(was), at: slices.Clone(s.at), starts: append(slices.Clone(s.starts), len(s.at))}
		if s.err = inner.text(); s.err != nil {
			return
		}
		now = inner.apply()
	}
	if now = s.r.matching(now); bytes.Equal(was, now) {
		return
	}
	// Between what is the same at both ends is what must be written anew.
	p := commonPrefix(was, now)
	q := commonSuffix(was[p:], now[p:])
	s.add(from+jsonpath.Offset(value, p), from+jsonpath.Offset(value, len(was)-q), string(inQuotes(now[p:len(now)-q])))
}

func inQuotes(b []byte) []byte {
	text := quoted(string(b))
	return text[1 : len(text)-1]
}

// commonPrefix returns how many bytes of whole characters two texts begin with.
func commonPrefix(a, b []byte) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	for n > 0 && n < len(a) && !utf8.RuneStart(a[n]) {
		n--
	}
	return n
}

// commonSuffix is the same at the end.
func commonSuffix(a, b []byte) int {
	n := 0
	for n < len(a) && n < len(b) && a[len(a)-1-n] == b[len(b)-1-n] {
		n++
	}
	for n > 0 && !utf8.RuneStart(a[len(a)-n]) {
		n--
	}
	return n
}
