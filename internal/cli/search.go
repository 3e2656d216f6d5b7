package cli

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/tape"
)

func (a *app) searchCommand() *cobra.Command {
	s := &searcher{}
	cmd := &cobra.Command{
		Use:   "search EXPR|TEXT [SESSION…]",
		Short: "find messages in all sessions of a tape",
		Long: `Find messages: those for which an expression holds (see wstape help filter), or
those that have a text in them: as it was said, also where it was compressed, in
binary messages, in the reasons of close frames, and in what came in of an edited
message. Without sessions all of the tape are searched. What is found is shown as
soon as it is; Ctrl-C leaves it at that. Exit code 1 if nothing is found.
` + periodHelp + `, or +5s: five seconds after each session began.`,
		Example: `  wstape search BTC
  wstape search 'json.type == "error" && session.url startsWith "/chat"'
  wstape search 'lower(text) contains "btc"' --count
  wstape search timeout -C 3
  wstape search 'latency > 200ms' 3 --json`,
		Args: atLeastOne("what to search for: an expression, or a text"),
	}
	a.tapeFlag(cmd)
	fs := cmd.Flags()
	fs.StringVar(&s.lens.view, "view", "", "take messages for this `PROTOCOL`, where the expression asks for view or latency (default auto)")
	fs.BoolVar(&s.json, "json", false, "one JSON object a line, as show --json writes them, with the session's number as n, and its file")
	fs.IntVar(&s.limit, "limit", 0, "stop after this `COUNT`; 0 finds all")
	fs.BoolVar(&s.count, "count", false, "say only how many there are")
	fs.IntVarP(&s.around, "context", "C", 0, "show this many `LINES` before and after each, too, without a session's number")
	s.times.addFlags(fs, true)
	s.period.addFlags(fs, "messages")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s.whole, s.layout = a.whole, a.layoutFor(a.Stdout, len("12345    0.000000  "))
		if err := s.check(); err != nil {
			return err
		}
		if err := s.what(cmd.Context(), args[0]); err != nil {
			return err
		}
		t := a.openTape()
		defer t.Close()
		targets, err := a.resolve(cmd.Context(), t, args[1:])
		if err != nil {
			return err
		}
		if len(args) == 1 {
			targets = nil
		}
		return a.search(cmd.Context(), s, t, targets)
	}
	return a.paged(cmd, func() bool { return false })
}

// searcher looks for messages.
type searcher struct {
	lens   lens
	text   []byte // nil with an expression
	times  timeline
	period period
	layout layout
	whole  uint64 // bytes that are read of a message
	json   bool
	count  bool
	limit  int
	around int // lines before and after what is found
	found  int
	long   int // messages of which only the beginnings were looked at
	out    *bufio.Writer
	screen bool // a person sees each line as it comes
	pager  bool // which draws on the terminal itself
	route  route

	several bool   // the sessions are in more than one place
	place   string // where this one is: a file, or the tape
	member  string // that says so in JSON, "" on the tape
	named   string // the place that what was found last was said to be in
}

func (s *searcher) check() error {
	switch {
	case s.json && s.around > 0:
		return fail(exitUsage, "--json writes what is found; --context is for people")
	case s.limit < 0 || s.around < 0:
		return fail(exitUsage, "--limit and --context are numbers from 0 on")
	}
	return s.period.read(time.Now(), s.times.zone(), true)
}

// search searches the sessions, or all of a tape, and says how that went.
func (a *app) search(ctx context.Context, s *searcher, t *tapeFile, targets []target) (err error) {
	s.out, s.screen = bufio.NewWriterSize(a.Stdout, 64<<10), isTerminal(a.Stdout)
	_, s.pager = a.Stdout.(*screen)
	if s.route.meter = a.meter("search"); s.route.meter != nil {
		if err := s.route.measure(ctx, t, targets); err != nil {
			return err
		}
	}
	on := newAhead(t, s.page)
	if targets == nil {
		err = s.tape(ctx, on)
	}
	for _, at := range targets {
		s.several = s.several || at.file != targets[0].file
	}
	for _, at := range targets {
		if at.store == record.Reader(t) {
			at.store = on
		}
		if s.place, s.member = cmp.Or(at.file, t.path), ""; at.file != "" {
			file, _ := json.Marshal(at.file) // a string
			s.member = fmt.Sprintf(`"file":%s,`, tape.EscapeJSON(file))
		}
		var e record.Entry
		if e, err = at.store.Session(ctx, at.n); err == nil {
			err = s.session(ctx, at.store, &e)
		}
		if err != nil || s.done() {
			break
		}
	}
	s.route.meter.clear()
	a.sayBeyond("search", s.long)
	interrupted := ctx.Err() != nil && errors.Is(err, context.Canceled)
	if interrupted {
		err = nil
	}
	if err == nil && s.count {
		_, err = fmt.Fprintln(s.out, s.found)
	}
	switch err := errors.Join(err, s.out.Flush()); {
	case err != nil:
		return err
	case s.found == 0 && interrupted:
		return fail(exitNo, "interrupted; nothing found so far")
	case s.found == 0:
		return fail(exitNo, "nothing found")
	case interrupted && !s.pager:
		fmt.Fprintf(a.Stderr, "wstape: interrupted in session %d: what is behind it was not searched\n", s.route.n)
	}
	return nil
}

// route is how far a search has come.
type route struct {
	meter           *meter // nil if nobody looks
	total, sessions uint64 // bytes and sessions to search
	past, searched  uint64 // those that are behind
	n               uint64 // the session being searched
}

// measure finds out how much there is to search.
func (r *route) measure(ctx context.Context, t *tapeFile, targets []target) error {
	for _, at := range targets {
		e, err := at.store.Session(ctx, at.n)
		if err != nil {
			return err
		}
		r.total, r.sessions = r.total+e.Size, r.sessions+1
	}
	if targets != nil {
		return nil
	}
	for e, err := range record.Sessions(ctx, t) {
		if err != nil {
			return err
		}
		r.total, r.sessions = r.total+e.Size, r.sessions+1
	}
	return nil
}

func (r *route) draw(offset uint64) {
	if r.meter == nil || r.total == 0 {
		return
	}
	done := r.past + offset
	r.meter.at(float64(done)/float64(r.total), fmt.Sprintf("%d of %s, %s, %s", r.searched, count(r.sessions, "session"),
		size(done), rate(done, r.meter.now().Sub(r.meter.began))))
}

// page is called before each page that is read: what was found shows now.
func (s *searcher) page(_, offset uint64) {
	s.flush()
	s.route.draw(offset)
}

// flush writes what was found. An error is found again by the next write.
func (s *searcher) flush() {
	if s.out.Buffered() == 0 {
		return
	}
	if s.screen {
		s.route.meter.clear()
	}
	if s.pager {
		s.route.meter = nil
	}
	_ = s.out.Flush()
}

// operator is what only expressions have.
var operator = regexp.MustCompile(`==|!=|<|>|&&|\|\||\b(contains|matches|startsWith|endsWith|in|and|or|not)\b`)

// what reads what to search for: an expression, or else a text.
func (s *searcher) what(ctx context.Context, arg string) error {
	if arg == "" {
		return fail(exitUsage, "there is nothing to search for in \"\"; wstape show shows everything")
	}
	s.lens.filterText = arg
	err := s.lens.compile(ctx)
	if err == nil || s.lens.view != "" && s.lens.filter != nil {
		return err
	}
	if operator.MatchString(arg) {
		return err
	}
	s.lens.filterText, s.text = "", []byte(arg)
	return s.lens.compile(ctx)
}

func (s *searcher) done() bool { return s.limit > 0 && s.found >= s.limit }

func (s *searcher) tape(ctx context.Context, r record.Reader) error {
	for e, err := range record.Sessions(ctx, r) {
		if err != nil {
			return err
		}
		if err := s.session(ctx, r, e); err != nil || s.done() {
			return err
		}
	}
	return nil
}

func (s *searcher) session(ctx context.Context, r record.Reader, e *record.Entry) error {
	s.route.n = e.N
	defer func() {
		s.route.past, s.route.searched = s.route.past+e.Size, s.route.searched+1
	}()
	if err := ctx.Err(); err != nil || !s.period.mayHave(&e.Session) {
		return err
	}
	sight, err := s.lens.on(&e.Session)
	if err != nil {
		return err
	}
	near := vicinity{searcher: s, of: &e.Session, missed: true}
	for line, err := range record.Lines(ctx, r, e.N, record.ReadOptions{Keep: s.whole, Reuse: !s.lens.decodes()}) {
		switch {
		case err != nil:
			return err
		case s.done() && near.after == 0 || s.period.over(e.Started, line.T):
			return nil
		case line.Message == nil && s.around == 0:
			continue
		}
		var x seen
		if m := line.Message; m != nil {
			if beyond(m, s.whole) {
				s.long++
			}
			x = sight.see(m)
			x.passes = x.passes && !s.done() && s.period.has(e.Started, line.T) && (s.text == nil || s.has(m))
		}
		if x.passes {
			s.found++
		}
		if s.count {
			continue
		}
		if err := near.line(line, &x); err != nil {
			return err
		}
		if s.screen {
			s.flush()
		}
	}
	return nil
}

// has reports whether the text is in a message: in what went out, or in what came in.
func (s *searcher) has(m *tape.Message) bool {
	return bytes.Contains(m.Payload, s.text) || m.Received != nil && bytes.Contains(m.Received.Payload, s.text)
}

// vicinity shows what is found in one session, with the lines around it.
type vicinity struct {
	*searcher
	of     *tape.Session
	before []string // the lines before this one that were not shown
	missed bool     // and there were more of them
	after  int      // how many more are shown
}

func (v *vicinity) line(line *tape.Line, x *seen) error {
	switch {
	case x.passes:
		if v.around > 0 && v.missed && v.found > 1 && (!v.several || v.named == v.place) {
			v.before = append([]string{"--\n"}, v.before...)
		}
		v.say()
		for _, text := range v.before {
			if _, err := v.out.WriteString(text); err != nil {
				return err
			}
		}
		v.before, v.missed, v.after = v.before[:0], false, v.around
		return v.print(v.out, v.of, line, x)
	case v.after > 0:
		v.after--
		return v.print(v.out, v.of, line, x)
	case v.around > 0:
		if len(v.before) == v.around {
			v.before, v.missed = v.before[1:], true
		}
		var text strings.Builder
		err := v.print(&text, v.of, line, x)
		v.before = append(v.before, text.String())
		return err
	}
	return nil
}

// say names the place of what is found next, if there are several. An error is
// found again by the next write.
func (s *searcher) say() {
	if !s.several || s.json || s.named == s.place {
		return
	}
	if s.named != "" {
		_ = s.out.WriteByte('\n')
	}
	s.named = s.place
	_, _ = fmt.Fprintln(s.out, s.layout.paint.paint(blue, safe(s.place, 200)))
}

// print writes a line: what was found with its session's number.
func (s *searcher) print(out io.Writer, of *tape.Session, line *tape.Line, x *seen) error {
	if s.json {
		text, err := viewJSON(line, x)
		if err == nil {
			_, err = fmt.Fprintf(out, `{%s"n":%d,%s`, s.member, of.N, text[1:])
		}
		return err
	}
	y := s.layout
	if y.views = x.shown(false); !y.views {
		x.view = nil
	}
	n := "     "
	if x.passes {
		n = fmt.Sprintf("%5d", of.N)
	}
	at := strings.TrimPrefix(s.times.stamp(of.Started, line.T), "  ")
	_, err := fmt.Fprintf(out, "%s %s  %s\n", y.paint.paint(dim, n), y.paint.paint(dim, at), y.line(line, x))
	return err
}
