package cli

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/tape"
)

func (a *app) searchCommand() *cobra.Command {
	var view string
	var asJSON bool
	var limit int
	cmd := &cobra.Command{
		Use:   "search EXPR|TEXT [SESSION…]",
		Short: "find messages in all sessions of a tape",
		Long: `Find messages: those for which an expression holds (see wstape help filter), or
those that have a text in them. Without sessions all of the tape are searched.
Exit code 1 if nothing is found.`,
		Example: `  wstape search BTC
  wstape search 'json.type == "error" && session.url startsWith "/chat"'
  wstape search 'latency > 200ms' 3 --json`,
		Args: atLeastOne("what to search for: an expression, or a text"),
	}
	a.tapeFlag(cmd)
	cmd.Flags().StringVar(&view, "view", "", "take messages for this `PROTOCOL`, where the expression asks for view or latency (default auto)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line, as show --json writes them, with the session's number as n")
	cmd.Flags().IntVar(&limit, "limit", 0, "stop after this many; 0 finds all")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s := &searcher{paint: a.painter(a.Stdout), room: width(a.Stdout) - len("12345    0.000000  "), json: asJSON, limit: limit}
		s.lens.view = view
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
	return cmd
}

// searcher looks for messages.
type searcher struct {
	lens  lens
	text  []byte // nil with an expression
	paint painter
	room  int
	json  bool
	limit int
	found int
	out   *bufio.Writer
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
	sight, err := s.lens.on(&e.Session)
	if err != nil {
		return err
	}
	for line, err := range record.Lines(ctx, r, n, record.ReadOptions{}) {
		switch {
		case err != nil:
			return err
		case s.done():
			return nil
		case line.Message == nil:
			continue
		}
		x := sight.see(line.Message)
		if !x.passes || s.text != nil && !bytes.Contains(line.Message.Payload, s.text) {
			continue
		}
		s.found++
		if err := s.print(n, line, &x); err != nil {
			return err
		}
	}
	return nil
}

func (s *searcher) print(n uint64, line *tape.Line, x *seen) error {
	if s.json {
		text, err := viewJSON(line, x)
		if err == nil {
			_, err = fmt.Fprintf(s.out, `{"n":%d,%s`, n, text[1:])
		}
		return err
	}
	what := s.paint.lineText(line, s.room)
	if x.view != nil && x.view.Err == nil {
		what = s.paint.viewText(line.Message, x, s.room)
	}
	_, err := fmt.Fprintf(s.out, "%s %s  %s\n", s.paint.paint(dim, fmt.Sprintf("%5d", n)), s.paint.paint(dim, strings.TrimPrefix(clock(line.T), "  ")), what)
	return err
}
