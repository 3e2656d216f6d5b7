package cli

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"math"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/tape"
)

type showOptions struct {
	follow, frames, json, full, hide bool
	from                             string
	maxBytes                         int64
	lens                             lens
	times                            timeline
	period                           period
	page                             page
}

func (a *app) showCommand() *cobra.Command {
	var o showOptions
	cmd := &cobra.Command{
		Use:   "show SESSION…",
		Short: "show the messages of a session",
		Long: `Show the messages of a session, one a line: joined, unmasked and inflated, in
the order in which they began. With --frames, the frames as they were on the wire.

On a terminal, messages are shown as what their protocol says that they are, where it
is known (--view auto); --view none shows them as they came.
` + periodHelp + `, or +5s: five seconds after the session began. A message is
as old as its first frame.`,
		Example: `  wstape show 3
  wstape show -1 --follow
  wstape show -1 --last 20
  wstape show 3 --full --filter 'json.type == "error"'
  wstape show 3 --hide-heartbeats --since +10s
  wstape show 3 --json --from server
  wstape show chat.cassette.jsonl`,
		Args: atLeastOne(aSession),
	}
	a.tapeFlag(cmd)
	fs := cmd.Flags()
	fs.BoolVarP(&o.follow, "follow", "f", false, "go on with what is being recorded, until the session ends")
	fs.BoolVar(&o.frames, "frames", false, "show wire frames instead of messages")
	fs.BoolVar(&o.json, "json", false, "one JSON object a line")
	fs.BoolVar(&o.full, "full", false, "show payloads whole below their lines: JSON indented, binary as hex and ASCII")
	fs.BoolVar(&o.hide, "hide-heartbeats", false, "one line for each run of pings, pongs and the application's own heartbeats")
	fs.StringVar(&o.from, "from", "", "only what this side sent: `client|server`")
	fs.Int64Var(&o.maxBytes, "max-bytes", -1, "show at most so many `BYTES` of each payload; 0 shows all (default all in JSON, what fits else)")
	fs.Lookup("max-bytes").DefValue = "0" // help would add "(default -1)"
	o.lens.addFlags(fs)
	o.times.addFlags(fs, true)
	o.period.addFlags(fs, "messages")
	o.page.addFlags(fs)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := o.check(cmd.Context()); err != nil {
			return err
		}
		t := a.openTape()
		defer t.Close()
		targets, err := a.resolve(cmd.Context(), t, args)
		if err != nil {
			return err
		}
		out := bufio.NewWriterSize(a.Stdout, 64<<10)
		defer out.Flush()
		for _, at := range targets {
			if err := a.show(cmd.Context(), out, at, &o, len(targets) > 1); err != nil {
				return err
			}
		}
		return out.Flush()
	}
	return a.paged(cmd, func() bool { return o.follow })
}

// check reads the flags and refuses those that say nothing together.
func (o *showOptions) check(ctx context.Context) error {
	if err := o.lens.compile(ctx); err != nil {
		return err
	}
	if o.from != "" {
		if _, err := tape.ParseSide(o.from); err != nil {
			return fail(exitUsage, "--from: %w", err)
		}
	}
	switch {
	case o.frames && (o.lens.whole() || o.hide || o.full):
		return fail(exitUsage, "--filter, --view, --full and --hide-heartbeats look at messages; --frames shows frames")
	case o.frames && o.maxBytes >= 0:
		return fail(exitUsage, "--max-bytes folds messages; --frames shows frames whole")
	case o.full && o.json:
		return fail(exitUsage, "--json shows payloads whole; --full is for people")
	}
	if err := o.page.check(o.frames); err != nil {
		return err
	}
	return o.period.read(time.Now(), o.times.zone(), true)
}

func (o *showOptions) wants(from tape.Side) bool { return o.from == "" || o.from == from.String() }

func (a *app) show(ctx context.Context, out *bufio.Writer, at target, o *showOptions, headed bool) error {
	e, err := at.store.Session(ctx, at.n)
	if err != nil {
		return err
	}
	y := a.layoutFor(a.Stdout, 0)
	if !o.json && (headed || isTerminal(a.Stdout)) {
		began := e.Started.In(o.times.zone()).Format("2006-01-02 15:04:05")
		head := y.paint.paint(dim, safe(at.name, 200)+"  "+began) + "  "
		if e.Status == 101 {
			head = y.cut(head)
		}
		fmt.Fprintln(out, head+y.behind(head).openText(&e.Session))
	}
	if o.frames {
		err = a.showFrames(ctx, out, at, o, &e)
	} else {
		err = a.showLines(ctx, out, at, o, &e)
	}
	if err != nil {
		return err
	}
	if e, err = at.store.Session(ctx, at.n); err == nil && !o.json && e.State != tape.Open && o.period.has(e.Started, e.Duration) {
		stamp := y.paint.paint(dim, o.times.stamp(e.Started, e.Duration)) + "  "
		fmt.Fprintln(out, stamp+y.behind(stamp).closeText(&e.Session))
	}
	return err
}

// wholeMessage is how much is read of one message that is wanted whole: a few
// bytes may inflate to more than any machine has.
const wholeMessage = 256 << 20

// beyond reports whether a message is longer than whole, and that much of it was read.
func beyond(m *tape.Message, whole uint64) bool {
	return m.Len > whole && uint64(len(m.Payload)) > whole-utf8.UTFMax
}

// sayBeyond says of how many messages only the beginnings were looked at.
func (e Env) sayBeyond(where string, long int) {
	if long > 0 {
		fmt.Fprintf(e.Stderr, "wstape: %s: %s longer than %s: only their beginnings were looked at\n", safe(where, 200), count(long, "message"), size(e.whole))
	}
}

// shower shows the lines of one session.
type shower struct {
	options *showOptions
	out     *bufio.Writer
	layout  layout
	sight   *sight
	start   time.Time
	whole   uint64 // bytes that are read of a message
	long    int    // messages that are longer
	beats   beats
	page    page
}

func (a *app) showLines(ctx context.Context, out *bufio.Writer, at target, o *showOptions, e *record.Entry) (err error) {
	s := &shower{options: o, out: out, start: e.Started, whole: a.whole, layout: a.layoutFor(a.Stdout, len(o.times.stamp(e.Started, 0)+"  "))}
	s.layout.views = o.lens.shows(s.layout, o.json)
	if s.sight, err = o.lens.sight(&e.Session, s.layout.views || o.hide); err != nil {
		return err
	}
	read := record.ReadOptions{Follow: o.follow, Keep: a.whole}
	if !s.layout.views && !o.lens.whole() && !o.hide && !o.full && !o.json {
		read.Keep = uint64(headBytes(s.layout.columns))
	}
	switch {
	case o.maxBytes >= 0:
		s.layout.columns = math.MaxInt32
		fallthrough
	case o.maxBytes > 0 && !s.layout.views && !o.lens.whole() && !o.hide:
		read.Keep = cmp.Or(uint64(o.maxBytes), a.whole)
	}
	if s.page, err = o.page.begin(ctx, at, s, &read); err != nil {
		return err
	}
	for line, err := range record.Lines(ctx, at.store, at.n, read) {
		if err != nil {
			return err
		}
		if o.period.over(s.start, line.T) {
			break
		}
		if err := s.line(line); err != nil {
			return err
		}
		if o.follow {
			if err := out.Flush(); err != nil {
				return err
			}
		}
	}
	a.sayBeyond(at.name, s.long)
	return s.collapse()
}

// line shows one line, unless it is not wanted.
func (s *shower) line(l *tape.Line) error {
	o := s.options
	m := l.Message
	x := seen{passes: o.lens.filter == nil}
	if m != nil {
		if beyond(m, s.whole) {
			s.long++
		}
		x = s.sight.see(m)
	}
	if s.page.before(l) || !s.wants(l, &x) || s.page.skips() {
		return nil
	}
	if o.hide && s.beats.take(m, &x) {
		return nil
	}
	if err := s.collapse(); err != nil {
		return err
	}
	if !s.layout.views || !x.shown(o.lens.chosen()) {
		x.view = nil
	}
	if m != nil && o.maxBytes > 0 {
		m.Payload = m.Payload[:min(uint64(len(m.Payload)), uint64(o.maxBytes))]
	}
	switch {
	case o.json && x.view != nil:
		text, err := viewJSON(l, &x)
		if err == nil {
			_, err = s.out.Write(text)
		}
		return err
	case o.json:
		return l.WriteJSON(s.out)
	}
	if err := s.put(l.T, s.layout.line(l, &x)); err != nil || !o.full || m == nil {
		return err
	}
	return s.layout.full(s.out, m)
}

// wants reports whether a line is among those that are asked for.
func (s *shower) wants(l *tape.Line, x *seen) bool {
	return x.passes && (l.Message == nil || s.options.wants(l.Message.From)) && s.options.period.has(s.start, l.T)
}

// put writes a line behind its time.
func (s *shower) put(t time.Duration, text string) error {
	_, err := fmt.Fprintf(s.out, "%s  %s\n", s.layout.paint.paint(dim, s.options.times.stamp(s.start, t)), text)
	return err
}

// collapse shows the heartbeats that were held back as one line.
func (s *shower) collapse() error {
	b := &s.beats
	defer b.reset()
	switch {
	case b.lines == 0:
		return nil
	case s.options.json:
		_, err := fmt.Fprintf(s.out, "%s\n", b.json())
		return err
	}
	return s.put(b.first, s.layout.paint.paint(dim, b.text()))
}

func (a *app) showFrames(ctx context.Context, out *bufio.Writer, at target, o *showOptions, e *record.Entry) error {
	y := a.layoutFor(a.Stdout, len(o.times.stamp(e.Started, 0)+"  "))
	for f, err := range record.Frames(ctx, at.store, at.n, record.ReadOptions{Follow: o.follow}) {
		if err != nil {
			return err
		}
		if o.period.over(e.Started, f.T) {
			break
		}
		switch {
		case !o.wants(f.From) || !o.period.has(e.Started, f.T):
			continue
		case o.json:
			if err := f.WriteJSON(out); err != nil {
				return err
			}
		default:
			if _, err := fmt.Fprintf(out, "%s  %s\n", y.paint.paint(dim, o.times.stamp(e.Started, f.T)), y.frame(f)); err != nil {
				return err
			}
		}
		if o.follow {
			if err := out.Flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// frame writes one frame's header and the start of its payload.
func (y layout) frame(f *tape.Frame) string {
	p, way := y.paint, cyan
	if f.From == tape.Server {
		way = green
	}
	text := fmt.Sprintf("%5d %s %s", f.Seq, p.paint(way, arrow(f.From)), opText(f.Opcode))
	if f.Opcode != tape.OpRaw {
		text += fmt.Sprintf(" fin=%d rsv=%03b", map[bool]int{true: 1}[f.Fin], f.RSV)
	}
	if f.Masked {
		text += fmt.Sprintf(" mask=%x", f.Mask)
	}
	if f.Leg != tape.LegBoth {
		text += " leg=" + f.Leg.String()
	}
	text += fmt.Sprintf(" len=%d", f.Len)
	if f.Partial() {
		text += p.paint(red, fmt.Sprintf(" (%d came)", len(f.Payload)))
	}
	violation := ""
	if f.Violation != "" {
		violation = "  " + p.paint(red, safe(f.Violation, 200))
	}
	keep := min(len(f.Payload), 24)
	if y.table {
		keep = min(keep, max(4, (y.columns-visible(text)-visible(violation)-3)/2))
	}
	text += fmt.Sprintf("  %x", f.Payload[:keep])
	if keep < len(f.Payload) {
		text += "…"
	}
	if f.Redacted {
		text += p.paint(dim, "  redacted")
	}
	return text + violation
}
