package cli

import (
	"bufio"
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/spf13/cobra"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/tape"
)

func (a *app) tailCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "show what is being recorded, all sessions live",
		Long: `Show what is being recorded to a tape from now on, all sessions, until Ctrl-C.
A tape that no proxy records to yet is waited for.`,
		Args: cobra.NoArgs,
	}
	a.tapeFlag(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line, with time, event and n")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		t := openTape(a.tape)
		defer t.Close()
		w := &tailer{
			tape: t, out: bufio.NewWriterSize(a.Stdout, 64<<10), json: asJSON, paint: a.painter(a.Stdout),
			columns: width(a.Stdout), open: map[uint64]*tailed{},
		}
		return w.run(cmd.Context())
	}
	return cmd
}

// tailer follows every session of a tape on one goroutine.
type tailer struct {
	tape    *tapeFile
	out     *bufio.Writer
	json    bool
	paint   painter
	columns int
	after   uint64 // sessions up to here have ended
	open    map[uint64]*tailed
}

// tailed is a session that is being followed.
type tailed struct {
	lines *record.Follower
	size  uint64 // of its stream when it was last read
	shown bool   // its handshake has been shown
}

func (w *tailer) run(ctx context.Context) error {
	version, err := w.tape.Wait(ctx, 0)
	if err != nil {
		return err
	}
	if err := w.start(ctx); err != nil {
		return err
	}
	for {
		if version, err = w.tape.Wait(ctx, version); err != nil {
			return err
		}
		if err := w.update(ctx); err != nil {
			return err
		}
		if err := w.out.Flush(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(tailPause):
		}
	}
}

// tailPause is between two looks at the tape: the proxy writes more often than
// anybody can read, and each look costs it something for every session.
const tailPause = 150 * time.Millisecond

// start passes over what has been recorded already.
func (w *tailer) start(ctx context.Context) error {
	following := false
	for e, err := range record.Sessions(ctx, w.tape) {
		switch {
		case err != nil:
			return err
		case e.State == tape.Open:
			following = true
			if err := w.follow(ctx, e, e.Size); err != nil {
				return err
			}
		case following:
			w.open[e.N] = nil // over: nothing to show
		default:
			w.after = e.N
		}
	}
	return nil
}

func (w *tailer) follow(ctx context.Context, e *record.Entry, offset uint64) error {
	f, err := record.NewFollower(ctx, w.tape, e.N, record.ReadOptions{Offset: offset, Follow: true, Keep: 512})
	w.open[e.N] = &tailed{lines: f, size: offset, shown: offset > 0}
	return err
}

// update shows what has come since the last time.
func (w *tailer) update(ctx context.Context) error {
	following := false
	for after := w.after; ; {
		page, err := w.tape.Sessions(ctx, after)
		if err != nil || len(page) == 0 {
			return err
		}
		for i := range page {
			e := &page[i]
			after = e.N
			if err := w.session(ctx, e); err != nil {
				return err
			}
			if following = following || e.State == tape.Open; !following {
				w.after = e.N
				delete(w.open, e.N)
			}
		}
	}
}

func (w *tailer) session(ctx context.Context, e *record.Entry) error {
	s, known := w.open[e.N]
	switch {
	case known && s == nil:
		return nil // it had ended
	case !known:
		if err := w.follow(ctx, e, 0); err != nil {
			return err
		}
		s = w.open[e.N]
	}
	if !s.shown && e.Status != 0 {
		s.shown = true
		w.event(e, "open", e.Started, &e.Session, w.paint.openText(&e.Session))
	}
	if e.Size > s.size {
		s.size = e.Size
		if err := w.print(e, s.lines.Poll(ctx)); err != nil {
			return err
		}
	}
	if e.State == tape.Open {
		return nil
	}
	if err := w.print(e, s.lines.Finish(ctx)); err != nil {
		return err
	}
	w.open[e.N] = nil
	w.event(e, "end", e.Started.Add(e.Duration), &e.Session, w.paint.closeText(&e.Session))
	return nil
}

func (w *tailer) print(e *record.Entry, lines iter.Seq2[*tape.Line, error]) error {
	for line, err := range lines {
		if err != nil {
			return err
		}
		event := "message"
		if line.Message == nil {
			event = "mark"
		}
		w.event(e, event, e.Started.Add(line.T), line, w.paint.lineText(line, w.columns-20))
	}
	return nil
}

func (w *tailer) event(e *record.Entry, event string, at time.Time, body any, text string) {
	if w.json {
		writeEvent(w.out, at, event, &e.Session, body)
		return
	}
	fmt.Fprintf(w.out, "%s  #%-3d %s\n", w.paint.paint(dim, at.Local().Format("15:04:05.000")), e.N, text)
}
