package bridge

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/tape"
)

// Artillery writes sessions as scenarios for Artillery's engine ws. It knows text
// only, and drops what comes while no step waits for it; so each recorded message
// of the server is waited for at once, and thinking comes before sending. What is
// left out, and what it wants, comes back in words.
func Artillery(ctx context.Context, w io.Writer, sessions []Session, o Options) (remarks []string, err error) {
	a := &artillery{ctx: ctx, out: bufio.NewWriterSize(w, 64<<10), secrets: newSecrets()}
	if err := a.config(sessions, o); err != nil {
		return nil, err
	}
	for _, s := range sessions {
		if err := a.scenario(s); err != nil {
			return nil, inSession(s, err)
		}
	}
	if a.pings > 0 {
		remarks = append(remarks, fmt.Sprintf("left out the client's pings (%d): Artillery sends none", a.pings))
	}
	if a.closes > 0 {
		remarks = append(remarks, fmt.Sprintf("left out how sessions were closed (%d): Artillery closes without a code, and does not look at the server's", a.closes))
	}
	return append(remarks, a.secrets.wanted("the environment")...), a.out.Flush()
}

type artillery struct {
	ctx     context.Context
	out     *bufio.Writer // keeps its first error
	secrets *secrets
	pings   int
	closes  int
}

func (a *artillery) printf(format string, args ...any) { fmt.Fprintf(a.out, format, args...) }

// patience is how much later than in the recording a message may come.
const patience = 10 * time.Second

// config writes what all scenarios share. A message may take as long as the longest did.
func (a *artillery) config(sessions []Session, o Options) error {
	if len(sessions) == 0 {
		return nil
	}
	var longest time.Duration
	for _, s := range sessions {
		var last time.Duration
		for line, err := range record.Lines(a.ctx, s.From, s.N, record.ReadOptions{Keep: 1}) {
			if err != nil {
				return inSession(s, err)
			}
			longest, last = max(longest, line.T-last), line.T
		}
	}
	e, err := playable(a.ctx, sessions[0])
	if err != nil {
		return inSession(sessions[0], err)
	}
	server, _ := dialled(e)
	a.printf(`# Written by wstape %s.
#
#   artillery run FILE                                  each scenario with the same probability
#   artillery run --target wss://staging.example FILE   against another server
config:
  target: %s
  timeout: %d # seconds that a message of the server may take
  phases:
    - duration: 1
      arrivalCount: %d
scenarios:
`, o.Version, scalar(server), int((patience+longest)/time.Second), len(sessions))
	return nil
}

func (a *artillery) scenario(s Session) error {
	e, err := playable(a.ctx, s)
	if err != nil {
		return err
	}
	_, target := dialled(e)
	target, err = a.plain("its URL", target, nameBefore)
	if err != nil {
		return err
	}
	a.printf("  - name: %s\n    engine: ws\n    flow:\n      - connect:\n          target: %s\n",
		scalar(fmt.Sprintf("session %d, recorded %s", s.N, e.Started.UTC().Format(time.RFC3339))), scalar("{{ target }}"+target))
	if list := protocols(e); len(list) > 0 {
		a.printf("          subprotocols: %s\n", list2js(list))
	}
	if headers := ownHeaders(e); len(headers) > 0 {
		a.printf("          headers:\n")
		for _, h := range headers {
			name := strings.ToLower(h[0])
			value, err := a.plain("its header "+h[0], h[1], func(before string) string { return nameOfHeader(name, before) })
			if err != nil {
				return err
			}
			a.printf("            %s: %s\n", scalar(h[0]), scalar(value))
		}
	}
	return a.flow(s)
}

// flow writes the steps. A send is written when it is known what answers it.
func (a *artillery) flow(s Session) error {
	var sending string // a payload that is not written yet
	pending := false
	send := func(match string) {
		switch {
		case pending && match == "":
			a.printf("      - send: %s\n", sending)
		case pending:
			a.printf("      - send:\n          payload: %s\n%s", sending, match)
		case match != "":
			a.printf("      - wait:\n%s", match)
		}
		pending = false
	}
	var last time.Duration
	for st, err := range steps(a.ctx, s, tape.Server) {
		switch {
		case err != nil:
			return err
		case st.Op == tape.Ping && st.from == tape.Client:
			a.pings++
		case st.Op == tape.Ping:
		case st.Op == tape.Close:
			a.closes++
		case st.Op == tape.Binary:
			return cannot(st.place(), "it is binary, and Artillery's engine ws knows text only; --format k6 sends binary")
		case st.from == tape.Server && len(st.Payload) == 0:
			return cannot(st.place(), "it is empty, which Artillery takes for an error; --format k6 does not")
		case st.from == tape.Server:
			match, err := a.match(st)
			if err != nil {
				return err
			}
			send(match)
			last = st.t
		default:
			send("")
			if d := (st.t - last).Round(time.Millisecond); d > 0 {
				a.printf("      - think: %s\n", scalar(fmt.Sprintf("%dms", d.Milliseconds())))
			}
			text, err := a.plain(st.place(), string(st.Payload), nameBefore)
			if err != nil {
				return err
			}
			sending, pending, last = scalar(text), true, st.t
		}
	}
	send("")
	return nil
}

// plain is text in which Artillery finds nothing to fill in but the secrets.
func (a *artillery) plain(place, text string, name func(before string) string) (string, error) {
	if strings.Contains(text, "{{") {
		return "", cannot(place, "it holds {{, which Artillery takes for a template; --format k6 does not")
	}
	var b strings.Builder
	a.secrets.split(text, name, func(plain, secret string) {
		b.WriteString(plain)
		if secret != "" {
			b.WriteString("{{ $env." + secret + " }}")
		}
	})
	return b.String(), nil
}

// scalar writes a string for YAML, whose single quotes know no escapes.
func scalar(s string) string {
	if strings.Contains(s, `"`) && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0 {
		return "'" + strings.ReplaceAll(s, "'", "''") + "'"
	}
	return quoted(s, '"')
}

// match says what the server's message must be: the same in what tells its kind,
// or, if it is no JSON, the same.
func (a *artillery) match(st *step) (string, error) {
	const indent = "          "
	text := string(st.Payload)
	var object map[string]any
	var value any
	dec := json.NewDecoder(bytes.NewReader(st.Payload))
	dec.UseNumber()
	isJSON := dec.Decode(&value) == nil && !dec.More()
	object, _ = value.(map[string]any)
	for _, key := range telling() {
		switch v := object[key].(type) {
		case string:
			if !strings.Contains(v, "{{") && !pseudonyms.MatchString(v) {
				return fmt.Sprintf("%smatch:\n%s  - json: %s\n%s    value: %s\n", indent, indent, scalar("$."+key), indent, scalar(v)), nil
			}
		case bool, json.Number:
			return fmt.Sprintf("%smatch:\n%s  - json: %s\n%s    value: %v\n", indent, indent, scalar("$."+key), indent, v), nil
		}
	}
	_, list := value.([]any)
	switch {
	case isJSON && (object != nil || list):
		return fmt.Sprintf("%scapture:\n%s  - json: \"$\"\n%s    as: answer%d\n", indent, indent, indent, st.seq), nil
	case isJSON, pseudonyms.MatchString(text), strings.Contains(text, "{{"):
		return fmt.Sprintf("%smatch:\n%s  - regexp: \".\"\n", indent, indent), nil // any message will do
	}
	return fmt.Sprintf("%smatch:\n%s  - regexp: %s\n%s    value: %s\n", indent, indent, scalar(`^[\s\S]*$`), indent, scalar(text)), nil
}
