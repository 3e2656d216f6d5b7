package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wstape/wstape/internal/decode"
	"github.com/wstape/wstape/replay"
	"github.com/wstape/wstape/tape"
)

type diffOptions struct {
	match  string
	ignore []string
	all    bool
	json   bool
	lens   lens
}

func (a *app) diffCommand() *cobra.Command {
	var o diffOptions
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "compare two sessions: what only one says, what changed, and where",
		Long: fmt.Sprintf(`Compare two sessions, message by message. Messages of each side are aligned in
their order, by what they say, their type and their correlation key (see --view);
how the two sides interleave does not count. Handshake and ending are compared
too; pings and pongs are not.

What may differ is what a replay lets differ: by shape, the default, ids and tokens
that differ in every run, times near the clock, and values that one side chose and
the other repeated, if they are replaced everywhere; by json the order and spacing
of JSON; by bytes nothing. --ignore names more, as do the rules of a cassette (see
replay learn). Binary messages, and text that is not JSON, are compared as what
their view reads, but by bytes as they are.

  -  only A has it        ~  changed: the place, what A has → what B has
  +  only B has it        >  moved: both have it, at another place among others

Of each session the first %d messages and %s are compared, messages longer
than %s as bytes; --filter picks others, like '!view.heartbeat'.
Of files with several sessions the n-th is compared with the n-th.
Exit code 0 if they are equal, 1 if they are not, or not all could be compared, and
3 if one is not there.`, replay.MaxDiffMessages, size(replay.MaxDiffBytes), size(replay.MaxDiffJSON)),
		Example: `  wstape diff -2 -1
  wstape diff yesterday.cassette.jsonl 3 --ignore '$.price'
  wstape diff 3 4 --match json --filter 'from == "server"'
  wstape diff 3 4 --json | jq -c 'select(.change == "changed").diff'`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return errors.New("diff: name two sessions, each by its number (3), -1 for the last, the beginning of its UUID, or as a cassette, HAR file or mitmproxy dump")
			}
			return nil
		},
	}
	a.tapeFlag(cmd)
	fs := cmd.Flags()
	fs.StringVar(&o.match, "match", "shape", "how closely messages must be the same: `bytes|json|shape`")
	fs.StringArrayVar(&o.ignore, "ignore", nil, "values at this `PATH` may differ: '$.price' (may be given several times)")
	fs.BoolVar(&o.all, "all", false, "show what is equal, too, instead of how much")
	fs.BoolVar(&o.json, "json", false, "one JSON object a line: for each change, and at the end for all")
	o.lens.addFlags(fs)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := o.lens.compile(cmd.Context()); err != nil {
			return err
		}
		if o.lens.view == "" {
			o.lens.view = decode.Auto
		}
		m := replay.Matching{Level: replay.Level(o.match), Ignore: o.ignore}
		if err := m.Validate(); err != nil {
			return fail(exitUsage, "--%w", err)
		}
		if m.Level == replay.Script {
			return fail(exitUsage, "--match script is for live peers: use bytes, json or shape")
		}
		return a.diff(cmd.Context(), &o, m, args)
	}
	return a.paged(cmd, func() bool { return false })
}

func (a *app) diff(ctx context.Context, o *diffOptions, m replay.Matching, args []string) error {
	t := a.openTape()
	defer t.Close()
	var sides [2][]target
	for i, arg := range args {
		var err error
		if sides[i], err = a.resolveOne(ctx, t, arg); err != nil {
			if exitCode(err) == exitNo { // which says here that they differ
				err = fail(exitReach, "%w", err)
			}
			return err
		}
	}
	names := [2][]replay.Source{sources(sides[0]), sources(sides[1])}
	out := bufio.NewWriterSize(a.Stdout, 64<<10)
	p := &differences{diffOptions: o, out: out, paint: a.painter(a.Stdout), room: width(a.Stdout)}
	equal := true
	for i := range min(len(names[0]), len(names[1])) {
		from, to := names[0][i], names[1][i]
		left, err := o.source(ctx, from)
		if err != nil {
			return err
		}
		right, err := o.source(ctx, to)
		if err != nil {
			return err
		}
		d, err := replay.Compare(ctx, left, right, m)
		if err != nil {
			return err
		}
		equal = equal && d.Equal()
		if err := p.print(from.Name, to.Name, d); err != nil {
			return err
		}
	}
	if err := out.Flush(); err != nil {
		return err
	}
	switch less, more := len(names[0]), len(names[1]); {
	case less != more:
		return fail(exitNo, "%s holds %s, %s %d", args[0], count(less, "session"), args[1], more)
	case !equal:
		return fail(exitNo, "they differ")
	}
	return nil
}

// source looks at a session through the lens.
func (o *diffOptions) source(ctx context.Context, s replay.Source) (out replay.DiffSource, err error) {
	e, err := s.Reader.Session(ctx, s.N)
	if err != nil {
		return out, err
	}
	sight, err := o.lens.on(&e.Session)
	if err != nil {
		return out, err
	}
	return replay.DiffSource{Source: s, Look: func(m *tape.Message) replay.Looked {
		x := sight.see(m)
		return replay.Looked{Skip: !x.passes, Kind: x.view.Type, Key: x.view.Key, Value: plainValue(m, x.view)}
	}}, nil
}

// plainValue is what a message that is not JSON means as JSON, where the view's
// value is all of it; nil else.
func plainValue(m *tape.Message, v *decode.View) []byte {
	if !slices.Contains([]string{"msgpack", "cbor", "protobuf", "mqtt", "signalr", "stomp"}, v.Protocol) || v.Err != nil || v.Value == nil {
		return nil
	}
	if m.Op == tape.Text && json.Valid(m.Payload) {
		return nil
	}
	text, err := json.Marshal(v.Value)
	if err != nil {
		return nil // what JSON cannot say, as a number that is none
	}
	return text
}

// differences prints how sessions differ.
type differences struct {
	*diffOptions
	out   *bufio.Writer
	paint painter
	room  int
	some  bool // has been printed
}

func (p *differences) print(a, b string, d *replay.Diff) error {
	if p.json {
		return p.lines(a, b, d)
	}
	if p.some {
		fmt.Fprintln(p.out)
	}
	p.some = true
	head := func(mark, name string, c colour, s *tape.Session) {
		fmt.Fprintln(p.out, p.paint.paint(c, fmt.Sprintf("%s %s  %s  %s", mark, name, safe(s.URL, 200), s.Started.Local().Format("2006-01-02 15:04:05"))))
	}
	head("---", a, red, &d.A)
	head("+++", b, green, &d.B)
	p.whole("handshake", d.Handshake)
	equal := 0
	for i := range d.Changes {
		x := &d.Changes[i]
		if x.Kind == replay.Same && !p.all {
			equal++
			continue
		}
		p.folded(equal)
		equal = 0
		p.change(x)
	}
	p.folded(equal)
	p.whole("ending", d.Ending)
	for _, note := range d.Notes {
		fmt.Fprintln(p.out, p.paint.paint(yellow, "! "+safe(note, 400)))
	}
	_, err := fmt.Fprintln(p.out, verdict(d))
	return err
}

// verdict says in a line how two sessions differ.
func verdict(d *replay.Diff) string {
	parts := []string{count(d.Counts[replay.Same], "message") + " equal by " + string(d.Level)}
	for _, x := range []struct {
		kind replay.DiffKind
		text string
	}{{replay.Edit, "changed"}, {replay.Moved, "moved"}, {replay.OnlyA, "only in A"}, {replay.OnlyB, "only in B"}} {
		if n := d.Counts[x.kind]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, x.text))
		}
	}
	if len(d.Handshake) > 0 {
		parts = append(parts, "another handshake")
	}
	if len(d.Ending) > 0 {
		parts = append(parts, "another ending")
	}
	switch {
	case d.Equal():
		return "equal: " + strings.Join(parts, ", ")
	case len(d.Handshake)+len(d.Ending) == 0 && len(d.Changes) == d.Counts[replay.Same]:
		return "equal as far as could be compared: " + strings.Join(parts, ", ")
	}
	return "different: " + strings.Join(parts, ", ")
}

func (p *differences) folded(n int) {
	if n > 0 {
		fmt.Fprintln(p.out, p.paint.paint(dim, "  "+count(n, "message")+" equal"))
	}
}

// whole writes what differs of the session as a whole.
func (p *differences) whole(what string, diff []replay.Difference) {
	if len(diff) == 0 {
		return
	}
	fmt.Fprintln(p.out, p.paint.paint(yellow, "~ "+what))
	p.places(diff)
}

// change writes a message that is not the same in both.
func (p *differences) change(x *replay.Change) {
	said, mark, c, number := x.A, " ", dim, ""
	if said == nil {
		said = x.B
	}
	switch x.Kind {
	case replay.OnlyA:
		mark, c = "-", red
	case replay.OnlyB:
		mark, c = "+", green
	case replay.Edit:
		mark, c = "~", yellow
	case replay.Moved:
		mark, c = ">", blue
	}
	number = fmt.Sprintf("#%d", said.Seq)
	if x.A != nil && x.B != nil {
		number = fmt.Sprintf("#%d/#%d", x.A.Seq, x.B.Seq)
	}
	head := fmt.Sprintf("%s %s %s %-10s", mark, arrow(said.From), pad(safe(said.Kind, 40), viewColumns), number)
	if x.Kind == replay.Edit {
		fmt.Fprintln(p.out, p.paint.paint(c, strings.TrimRight(head, " ")))
		p.places(x.Diff)
		return
	}
	text := head + " " + strings.TrimPrefix(clock(said.T), "  ")
	fmt.Fprintln(p.out, p.paint.paint(c, text)+"  "+saidText(said, max(p.room-len(text)-2, 20)))
}

// saidText shows a message: as its view reads it where it is not text.
func saidText(s *replay.Said, room int) string {
	if s.Value != nil {
		return safe(string(s.Value), room)
	}
	return preview(&tape.Message{Content: s.Content}, room)
}

// maxShown is how long a value is shown.
const maxShown = 200

// places writes where two messages differ, and both values.
func (p *differences) places(diff []replay.Difference) {
	most := 0
	for _, x := range diff {
		most = max(most, len([]rune(x.Path)))
	}
	most = min(most, 40)
	room := min(max((p.room-most-len("      ")-len("   → "))/2, 20), maxShown)
	for _, x := range diff {
		at := commonLength(x.Want, x.Got)
		fmt.Fprintf(p.out, "      %-*s  %s → %s\n", most, safe(x.Path, 200),
			p.value(red, x.Want, at, room), p.value(green, x.Got, at, room))
	}
}

func (p *differences) value(c colour, text string, at, room int) string {
	if text == "" {
		return p.paint.paint(dim, "nothing")
	}
	return p.paint.paint(c, around(text, at, room))
}

// commonLength is how many bytes two texts begin with in common.
func commonLength(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// around shows a text so that a place in it is seen.
func around(text string, at, room int) string {
	if whole := safe(text, room); !strings.HasSuffix(whole, "…") || strings.HasSuffix(text, "…") {
		return whole
	}
	from := max(0, min(at-room/4, len(text)-room))
	for from > 0 && from < len(text) && text[from]&0xC0 == 0x80 {
		from-- // not within a rune
	}
	if from == 0 {
		return safe(text, room)
	}
	return "…" + safe(text[from:], room-1)
}

type placeJSON struct {
	Path string `json:"path"`
	A    string `json:"a,omitempty"`
	B    string `json:"b,omitempty"`
}

func placesJSON(diff []replay.Difference) (out []placeJSON) {
	for _, x := range diff {
		out = append(out, placeJSON{x.Path, x.Want, x.Got})
	}
	return out
}

type changeJSON struct {
	Change string          `json:"change"`
	From   *tape.Side      `json:"from,omitempty"`
	Type   string          `json:"type,omitempty"`
	A      json.RawMessage `json:"a,omitempty"` // as show --json writes it
	B      json.RawMessage `json:"b,omitempty"`
	Diff   []placeJSON     `json:"diff,omitempty"`
}

type diffSideJSON struct {
	Name string  `json:"name"`
	N    uint64  `json:"n"`
	ID   tape.ID `json:"id"`
	URL  string  `json:"url"`
}

type diffJSON struct {
	Equal   bool         `json:"equal"`
	Match   replay.Level `json:"match"`
	A       diffSideJSON `json:"a"`
	B       diffSideJSON `json:"b"`
	Same    int          `json:"same"`
	Changed int          `json:"changed"`
	Moved   int          `json:"moved"`
	OnlyA   int          `json:"only_a"`
	OnlyB   int          `json:"only_b"`
	Notes   []string     `json:"notes,omitempty"`
}

// lines writes a line for each change, and one for all.
func (p *differences) lines(a, b string, d *replay.Diff) error {
	enc := json.NewEncoder(&cleaner{out: p.out, json: true})
	enc.SetEscapeHTML(false)
	whole := func(what string, diff []replay.Difference) error {
		if len(diff) == 0 {
			return nil
		}
		return enc.Encode(changeJSON{Change: what, Diff: placesJSON(diff)})
	}
	if err := whole("handshake", d.Handshake); err != nil {
		return err
	}
	for i := range d.Changes {
		x := &d.Changes[i]
		if x.Kind == replay.Same && !p.all {
			continue
		}
		j := changeJSON{Change: string(x.Kind), Diff: placesJSON(x.Diff)}
		for _, side := range []struct {
			said *replay.Said
			to   *json.RawMessage
		}{{x.B, &j.B}, {x.A, &j.A}} {
			if s := side.said; s != nil {
				m := tape.Message{Content: s.Content, Seq: s.Seq, T: s.T, From: s.From, Fate: s.Fate, Partial: s.Partial}
				text, err := (&tape.Line{T: s.T, Message: &m}).MarshalJSON()
				if err != nil {
					return err
				}
				*side.to, j.Type, j.From = text, s.Kind, &s.From
			}
		}
		if err := enc.Encode(j); err != nil {
			return err
		}
	}
	if err := whole("ending", d.Ending); err != nil {
		return err
	}
	return enc.Encode(map[string]diffJSON{"diff": {
		Equal: d.Equal(), Match: d.Level, A: diffSideJSON{a, d.A.N, d.A.ID, d.A.URL}, B: diffSideJSON{b, d.B.N, d.B.ID, d.B.URL},
		Same: d.Counts[replay.Same], Changed: d.Counts[replay.Edit], Moved: d.Counts[replay.Moved],
		OnlyA: d.Counts[replay.OnlyA], OnlyB: d.Counts[replay.OnlyB], Notes: d.Notes,
	}})
}
