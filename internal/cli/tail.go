package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"time"

	"github.com/spf13/cobra"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/tape"
)

func (a *app) tailCommand() *cobra.Command {
	w := &tailer{open: map[uint64]*tailed{}, period: period{coming: true}}
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "show what is being recorded, all sessions live",
		Long: `Show what is being recorded to a tape from now on, all sessions, until Ctrl-C.
A tape that is there is watched until a proxy records to it. With --since, what was
recorded since then comes first; with --until it ends by itself.
` + periodHelp + `; of a time of day, --until means the next.`,
		Example: `  wstape tail
  wstape tail --filter 'from == "server" && json.type == "error"'
  wstape tail --since 5m --view auto`,
		Args: noArguments,
	}
	a.tapeFlag(cmd)
	fs := cmd.Flags()
	fs.BoolVar(&w.json, "json", false, "one JSON object a line, with time, event and n")
	w.lens.addFlags(fs)
	w.times.addFlags(fs, false)
	w.period.addFlags(fs, "what was recorded")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := w.lens.compile(cmd.Context()); err != nil {
			return err
		}
		if err := w.period.read(time.Now(), w.times.zone(), false); err != nil {
			return err
		}
		if w.period.since.none() && !w.period.until.none() && w.period.until.at.Before(time.Now()) {
			return fail(exitUsage, "--until %s is over; --since shows what was recorded before now", w.period.untilText)
		}
		w.Env, w.tape = a.Env, a.openTape()
		defer w.tape.Close()
		w.out, w.layout = bufio.NewWriterSize(a.Stdout, 64<<10), a.layoutFor(a.Stdout, len(liveBefore))
		w.layout.views = w.lens.shows(w.layout, w.json)
		ctx, cancel := w.period.bound(cmd.Context())
		defer cancel()
		err := w.run(ctx)
		if ctx.Err() != nil && cmd.Context().Err() == nil {
			return w.last(cmd.Context()) // it is time
		}
		return err
	}
	return cmd
}

// tailer follows every session of a tape on one goroutine.
type tailer struct {
	Env
	tape   *tapeFile
	out    *bufio.Writer
	layout layout
	json   bool
	lens   lens
	times  timeline
	period period
	after  uint64 // sessions up to here have ended
	open   map[uint64]*tailed
}

// tailed is a session that is being followed.
type tailed struct {
	lines   *record.Follower
	sight   *sight
	size    uint64 // of its stream when it was last read
	shown   bool   // its handshake has been shown
	opening string // or waits until there is more to show, which a filter may find
	matched bool   // more of it has been shown
}

// sparing reports whether of a session in which a filter finds nothing nothing is
// shown. Programs are told of all.
func (w *tailer) sparing() bool { return !w.json && w.lens.filter != nil }

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

// last shows what came up to the end of the period.
func (w *tailer) last(ctx context.Context) error {
	if err := w.update(ctx); err != nil {
		return err
	}
	return w.out.Flush()
}

// start passes over what has been recorded already and is not asked for.
func (w *tailer) start(ctx context.Context) error {
	following := false
	for e, err := range record.Sessions(ctx, w.tape) {
		switch {
		case err != nil:
			return err
		case !w.period.since.none() && w.period.mayHave(&e.Session):
			following = true // from its beginning
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
	if w.period.since.none() {
		return nil
	}
	if err := w.update(ctx); err != nil {
		return err
	}
	return w.out.Flush()
}

func (w *tailer) follow(ctx context.Context, e *record.Entry, offset uint64) error {
	read := record.ReadOptions{Offset: offset, Follow: true, Keep: 512}
	if w.layout.views || w.lens.whole() {
		read.Keep = w.whole
	}
	f, err := record.NewFollower(ctx, w.tape, e.N, read)
	if err != nil {
		return err
	}
	sight, err := w.lens.sight(&e.Session, w.layout.views)
	w.open[e.N] = &tailed{lines: f, sight: sight, size: offset, shown: offset > 0}
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
		if s.opening = w.layout.openText(&e.Session); !w.sparing() {
			w.announce(e, s)
		}
	}
	if e.Size > s.size {
		s.size = e.Size
		if err := w.print(e, s, s.lines.Poll(ctx)); err != nil {
			return err
		}
	}
	if e.State == tape.Open {
		return nil
	}
	if err := w.print(e, s, s.lines.Finish(ctx)); err != nil {
		return err
	}
	w.open[e.N] = nil
	if s.matched || !w.sparing() {
		w.event(e, "end", e.Duration, &e.Session, w.layout.closeText(&e.Session))
	}
	return nil
}

// announce shows a session's handshake, unless it was shown before.
func (w *tailer) announce(e *record.Entry, s *tailed) {
	if s.opening != "" {
		w.event(e, "open", 0, &e.Session, s.opening)
		s.opening = ""
	}
}

func (w *tailer) print(e *record.Entry, s *tailed, lines iter.Seq2[*tape.Line, error]) error {
	for line, err := range lines {
		if err != nil {
			return err
		}
		if line.Message == nil {
			w.announce(e, s)
			s.matched = s.matched || w.period.has(e.Started, line.T)
			w.event(e, "mark", line.T, line, w.layout.line(line, nil))
			continue
		}
		if beyond(line.Message, w.whole) {
			w.sayBeyond(fmt.Sprintf("session %d", e.N), 1)
		}
		x := s.sight.see(line.Message)
		if !x.passes {
			continue
		}
		if !w.layout.views || !x.shown(w.lens.chosen()) {
			x.view = nil
		}
		var body any = line
		if w.json && x.view != nil {
			text, err := viewJSON(line, &x)
			if err != nil {
				return err
			}
			body = json.RawMessage(text)
		}
		w.announce(e, s)
		s.matched = s.matched || w.period.has(e.Started, line.T)
		w.event(e, "message", line.T, body, w.layout.line(line, &x))
	}
	return nil
}

// event shows what happened t after a session began, if that is in the period.
func (w *tailer) event(e *record.Entry, event string, t time.Duration, body any, text string) {
	if !w.period.has(e.Started, t) {
		return
	}
	at := e.Started.Add(t)
	if w.json {
		writeEvent(w.out, at, event, &e.Session, body)
		return
	}
	fmt.Fprintf(w.out, "%s  #%-3d %s\n", w.layout.paint.paint(dim, at.In(w.times.zone()).Format("15:04:05.000")), e.N, text)
}
