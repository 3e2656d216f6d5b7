package bridge

import (
	"bufio"
	"context"
	"embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/tape"
)

// Options are what every script is told.
type Options struct {
	Version string // of wstape, for the first line
}

// telling are the keys of JSON that say what a message is. Of a live peer's
// messages their values must be as recorded, of all others only the kind.
func telling() []string {
	return []string{"type", "op", "event", "kind", "action", "method", "command", "cmd", "status", "code", "ok", "success", "channel", "topic"}
}

//go:embed templates
var templates embed.FS

// scripting writes recordings as JavaScript data, the same for whichever side the
// script plays: what it sends, and what it hears.
type scripting struct {
	ctx     context.Context
	out     *bufio.Writer // keeps its first error
	role    tape.Side     // whom the script plays; what it sees is the other side's leg
	secrets *secrets      // nil: the script has no use for live ones
	pings   int           // of the script's side
	began   time.Time     // when the first session did
}

func (w *scripting) printf(format string, args ...any) { fmt.Fprintf(w.out, format, args...) }

// script writes a template with the sessions in it. What is left out comes back
// in words.
func script(ctx context.Context, to io.Writer, name string, sessions []Session, role tape.Side, live bool, o Options) (*scripting, error) {
	text, err := templates.ReadFile("templates/" + name)
	if err != nil {
		return nil, err
	}
	shared, err := templates.ReadFile("templates/alike.js")
	if err != nil {
		return nil, err
	}
	before, after, _ := strings.Cut(string(text), "// @recordings\n")
	alike := strings.Replace(string(shared), `"@telling"`, list2js(telling()), 1)
	w := &scripting{ctx: ctx, out: bufio.NewWriterSize(to, 64<<10), role: role}
	if live {
		w.secrets = newSecrets()
	}
	w.printf("// Written by wstape %s.\n%s", o.Version, before)
	w.printf("const recordings = [\n")
	for _, s := range sessions {
		if err := w.session(s); err != nil {
			return nil, inSession(s, err)
		}
	}
	w.printf("];\n%s%s", after, alike)
	return w, w.out.Flush()
}

func (w *scripting) session(s Session) error {
	e, err := playable(w.ctx, s)
	if err != nil {
		return err
	}
	if w.began.IsZero() {
		w.began = e.Started
	}
	server, target := dialled(e)
	if w.role == tape.Server {
		target = "/" + strings.TrimPrefix(e.URL, "/") // what the client asked for, wherever it went
	}
	w.printf("  {\n    name: %s,\n    recorded: %s,\n    server: %s,\n    target: %s,\n",
		quote(fmt.Sprintf("session %d", s.N)), quote(e.Started.UTC().Format(time.RFC3339)), quote(server), w.value(target, nameBefore))
	w.printf("    begin: %s, // ms after the first session\n", milliseconds(max(0, e.Started.Sub(w.began))))
	if list := protocols(e); len(list) > 0 {
		w.printf("    protocols: %s,\n", list2js(list))
	}
	if w.role == tape.Client {
		w.handshake(e)
	}
	w.printf("    steps: [\n")
	var last time.Duration
	for st, err := range steps(w.ctx, s, w.role.Other()) {
		if err != nil {
			return err
		}
		if st.Op == tape.Ping && st.from != w.role {
			continue // answered by itself
		}
		if err := w.step(st, max(0, st.t-last)); err != nil {
			return err
		}
		last = max(last, st.t)
	}
	if end := e.Ending; end != nil && end.From != nil && *end.From == w.role && end.Kind != tape.EndClose {
		w.printf("      { after: %s, drop: true },\n", milliseconds(max(0, e.Duration-last)))
	}
	w.printf("    ],\n  },\n")
	return nil
}

// handshake writes what a client's request says beside its address.
func (w *scripting) handshake(s *tape.Session) {
	w.printf("    headers: {")
	for i, h := range ownHeaders(s) {
		if i > 0 {
			w.printf(",")
		}
		name := strings.ToLower(h[0])
		w.printf("\n      %s: %s", quote(h[0]), w.value(h[1], func(before string) string { return nameOfHeader(name, before) }))
	}
	w.printf("\n    },\n")
	if record.Compression(s).On {
		w.printf("    compression: \"deflate\",\n")
	}
}

func list2js(list []string) string {
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = quote(s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

func milliseconds(d time.Duration) string {
	return strings.TrimSuffix(fmt.Sprintf("%.3f", float64(d)/float64(time.Millisecond)), ".000")
}

func (w *scripting) step(st *step, after time.Duration) error {
	sends := st.from == w.role
	word := "hear"
	if sends {
		word = "send"
	}
	w.printf("      { after: %s, ", milliseconds(after))
	switch st.Op {
	case tape.Ping:
		w.pings++
		w.printf("ping: true")
	case tape.Close:
		code, reason, ok := tape.ParseClose(st.Payload)
		if !ok {
			return cannot(st.place(), "what it closes with is not a code and a reason; %s and pcapng", elsewhere)
		}
		word = "closed"
		if sends {
			word = "close"
		}
		w.printf("%s: %d, reason: %s", word, code, quote(reason))
	case tape.Binary:
		w.printf("%s: bytes(\"", word)
		enc := base64.NewEncoder(base64.StdEncoding, w.out)
		_, _ = enc.Write(st.Payload) // w.out keeps the error
		_ = enc.Close()
		w.printf("\")")
	default:
		w.printf("%s: ", word)
		w.text(string(st.Payload), sends)
	}
	w.printf(" }, // %d\n", st.seq)
	return nil
}

// text writes a message. Of a heard one that is no JSON and holds a pseudonym
// nothing can be expected.
func (w *scripting) text(text string, sends bool) {
	switch {
	case sends && w.secrets != nil:
		_, _ = w.out.WriteString(w.value(text, nameBefore))
	case !sends && pseudonyms.MatchString(text) && !json.Valid([]byte(text)):
		w.printf("null")
	default:
		_, _ = w.out.WriteString(quote(text))
	}
}

// value writes a string, with the live secrets where pseudonyms stand.
func (w *scripting) value(text string, name func(before string) string) string {
	if w.secrets == nil {
		return quote(text)
	}
	var parts []string
	w.secrets.split(text, name, func(plain, secret string) {
		if plain != "" {
			parts = append(parts, quote(plain))
		}
		if secret != "" {
			parts = append(parts, "secret("+quote(secret)+")")
		}
	})
	if len(parts) == 0 {
		return `""`
	}
	return strings.Join(parts, " + ")
}

var pseudonyms = regexp.MustCompile(record.PseudonymPattern)

// secrets gives the pseudonyms of a recording names for the environment: equal
// ones the same.
type secrets struct {
	names map[string]string // by pseudonym
	taken map[string]bool
}

func newSecrets() *secrets { return &secrets{names: map[string]string{}, taken: map[string]bool{}} }

// split calls f for the text between pseudonyms, each with the name of the secret
// that follows it, "" at the end. What stands before a pseudonym names it.
func (s *secrets) split(text string, name func(before string) string, f func(plain, secret string)) {
	from := 0
	for _, at := range pseudonyms.FindAllStringIndex(text, -1) {
		f(text[from:at[0]], s.name(text[at[0]:at[1]], func() string { return name(text[:at[0]]) }))
		from = at[1]
	}
	f(text[from:], "")
}

func (s *secrets) name(pseudonym string, suggest func() string) string {
	if known := s.names[pseudonym]; known != "" {
		return known
	}
	base := strings.Trim(notEnv.ReplaceAllString(strings.ToUpper(suggest()), "_"), "_")
	if base == "" || base[0] >= '0' && base[0] <= '9' {
		base = strings.TrimSuffix("SECRET_"+base, "_")
	}
	name := base
	for i := 2; s.taken[name]; i++ {
		name = fmt.Sprintf("%s_%d", base, i)
	}
	s.names[pseudonym], s.taken[name] = name, true
	return name
}

// wanted says which live secrets somebody must give.
func (s *secrets) wanted(where string) []string {
	if len(s.taken) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("the recording has no secrets: give the live ones in %s: %s", where, strings.Join(slices.Sorted(maps.Keys(s.taken)), ", "))}
}

var (
	notEnv  = regexp.MustCompile(`[^A-Z0-9]+`)
	lastKey = regexp.MustCompile(`([A-Za-z0-9_.-]+)"?\s*[=:]\s*"?(?:[A-Za-z]+ )?$`)
)

// nameOfHeader is the header's name, and of a cookie also the cookie's.
func nameOfHeader(header, before string) string {
	if key := lastKey.FindStringSubmatch(before); header == "cookie" && key != nil {
		return "cookie_" + key[1]
	}
	return header
}

// nameBefore is the key that stands before a value.
func nameBefore(before string) string {
	if key := lastKey.FindStringSubmatch(before); key != nil {
		return key[1]
	}
	return "secret"
}
