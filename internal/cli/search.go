package cli

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
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
those that have a text in them. Without sessions all of the tape are searched.
Exit code 1 if nothing is found.
` + periodHelp + `, or +5s: five seconds after each session began.`,
		Example: `  wstape search BTC
  wstape search 'json.type == "error" && session.url startsWith "/chat"'
  wstape search 'latency > 200ms' 3 --json`,
		Args: atLeastOne("what to search for: an expression, or a text"),
	}
	a.tapeFlag(cmd)
	fs := cmd.Flags()
	fs.StringVar(&s.lens.view, "view", "", "take messages for this `PROTOCOL`, where the expression asks for view or latency (default auto)")
	fs.BoolVar(&s.json, "json", false, "one JSON object a line, as show --json writes them, with the session's number as n")
	fs.IntVar(&s.limit, "limit", 0, "stop after this many; 0 finds all")
	s.times.addFlags(fs, true)
	s.period.addFlags(fs, "messages")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s.whole, s.layout = a.whole, a.layoutFor(a.Stdout, len("12345    0.000000  "))
		if err := s.period.read(time.Now(), s.times.zone(), true); err != nil {
			return err
		}
		if err := s.what(cmd.Context(), args[0]); err != nil {
			return err
		}
		t := openTape(a.tape)
		defer t.Close()
		targets, err := a.resolve(cmd.Context(), t, args[1:])
		if err != nil {
			return err
		}
		s.out = bufio.NewWriterSize(a.Stdout, 64<<10)
		defer s.out.Flush()
		if len(args) == 1 {
			err = s.tape(cmd.Context(), t)
		} else {
			for _, at := range targets {
				if err = s.session(cmd.Context(), at.store, at.n); err != nil {
					break
				}
			}
		}
		if err != nil {
			return err
		}
		if s.found == 0 {
			return fail(exitNo, "nothing found")
		}
		return s.out.Flush()
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
	limit  int
	found  int
	out    *bufio.Writer
}

// operator is what only expressions have.
var operator = regexp.MustCompile(`==|!=|<|>|&&|\|\||\b(contains|matches|startsWith|endsWith|in|and|or|not)\b`)

// what reads what to search for: an expression, or else a text.
func (s *searcher) what(ctx context.Context, arg string) error {
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
		if err := s.session(ctx, r, e.N); err != nil || s.done() {
			return err
		}
	}
	return nil
}

func (s *searcher) session(ctx context.Context, r record.Reader, n uint64) error {
	e, err := r.Session(ctx, n)
	if err != nil {
		return err
	}
	if !s.period.mayHave(&e.Session) {
		return nil
	}
	sight, err := s.lens.on(&e.Session)
	if err != nil {
		return err
	}
	for line, err := range record.Lines(ctx, r, n, record.ReadOptions{Keep: s.whole}) {
		switch {
		case err != nil:
			return err
		case s.done() || s.period.over(e.Started, line.T):
			return nil
		case line.Message == nil:
			continue
		}
		x := sight.see(line.Message)
		if !x.passes || !s.period.has(e.Started, line.T) || s.text != nil && !bytes.Contains(line.Message.Payload, s.text) {
			continue
		}
		s.found++
		if err := s.print(&e.Session, line, &x); err != nil {
			return err
		}
	}
	return nil
}

func (s *searcher) print(of *tape.Session, line *tape.Line, x *seen) error {
	if s.json {
		text, err := viewJSON(line, x)
		if err == nil {
			_, err = fmt.Fprintf(s.out, `{"n":%d,%s`, of.N, text[1:])
		}
		return err
	}
	y := s.layout
	if y.views = x.shown(false); !y.views {
		x.view = nil
	}
	at := strings.TrimPrefix(s.times.stamp(of.Started, line.T), "  ")
	_, err := fmt.Fprintf(s.out, "%s %s  %s\n", y.paint.paint(dim, fmt.Sprintf("%5d", of.N)), y.paint.paint(dim, at), y.line(line, x))
	return err
}
