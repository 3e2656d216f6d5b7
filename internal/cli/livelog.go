package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/tape"
)

// liveLog prints what is recorded, a line an event. It is fed by the recorder's
// goroutine and never holds it up: what it has no room for is counted and said.
type liveLog struct {
	events  chan logged
	skipped atomic.Uint64 // and not yet owned up to
	lost    atomic.Uint64 // of those that were
	done    chan struct{}

	out    *bufio.Writer
	paint  painter
	layout func() layout // the terminal's width may change
	json   bool
}

// logged is an event or, with a text, a line that is about no session.
type logged struct {
	record.Event
	text string
}

// liveLogRoom is how many events may wait to be printed.
const liveLogRoom = 4096

// liveLogRun is how many bytes of lines are written at once, about.
const liveLogRun = 16 << 10

func newLiveLog(env *Env, asJSON bool) *liveLog {
	l := &liveLog{
		events: make(chan logged, liveLogRoom), done: make(chan struct{}),
		out: bufio.NewWriterSize(env.Stderr, 32<<10), json: asJSON,
		paint: env.painter(env.Stderr), layout: func() layout { return env.layoutFor(env.Stderr, len(liveBefore)) },
	}
	go l.run()
	return l
}

// Event implements [record.Feed].
func (l *liveLog) Event(e record.Event) bool {
	select {
	case l.events <- logged{Event: e}:
		return true
	default:
		if e.Line == nil || e.Line.Message == nil {
			l.skipped.Add(1)
		}
		return false
	}
}

// Say prints a line of its own among the events.
func (l *liveLog) Say(line string) {
	select {
	case l.events <- logged{text: line}:
	default:
		l.skipped.Add(1)
	}
}

// Skipped implements [record.Feed].
func (l *liveLog) Skipped(frames uint64) { l.skipped.Add(frames) }

// Close prints what is left. No event may come afterwards.
func (l *liveLog) Close() {
	close(l.events)
	<-l.done
}

func (l *liveLog) run() {
	defer close(l.done)
	for e := range l.events {
		if e.text != "" {
			fmt.Fprintln(l.out, e.text)
		} else {
			l.print(&e.Event)
		}
		switch {
		case len(l.events) == 0:
			l.sayShort()
			_ = l.out.Flush()
		case l.out.Buffered() > liveLogRun: // at a line's end: others write to stderr too
			_ = l.out.Flush()
		}
	}
	l.sayShort()
	_ = l.out.Flush()
}

// sayShort owns up to what was not printed.
func (l *liveLog) sayShort() {
	n := l.skipped.Swap(0)
	l.lost.Add(n)
	switch {
	case n == 0:
	case l.json:
		fmt.Fprintf(l.out, `{"event":"skipped","lines":%d}`+"\n", n)
	default:
		fmt.Fprintln(l.out, l.paint.paint(dim, fmt.Sprintf("(%s not shown: they came faster than they can be printed; all are on the tape)", count(n, "line"))))
	}
}

func (l *liveLog) print(e *record.Event) {
	s := e.Session
	if l.json {
		l.printJSON(e)
		return
	}
	at := s.Started
	var text string
	switch {
	case e.Begun:
		text = l.layout().openText(s)
	case e.Ended:
		at = at.Add(s.Duration)
		text = l.layout().closeText(s)
	default:
		at = at.Add(e.Line.T)
		text = l.layout().line(e.Line, nil)
	}
	fmt.Fprintf(l.out, "%s  #%-3d %s\n", l.paint.paint(dim, at.Format("15:04:05.000")), s.N, text)
}

// liveBefore is what stands before each line.
const liveBefore = "15:04:05.000  #0000 "

// printJSON writes the event's own JSON with time, event and session in front.
func (l *liveLog) printJSON(e *record.Event) {
	at, event, body := e.Session.Started, "message", any(e.Line)
	switch {
	case e.Begun:
		event, body = "open", e.Session
	case e.Ended:
		event, body, at = "end", e.Session, at.Add(e.Session.Duration)
	default:
		at = at.Add(e.Line.T)
		if e.Line.Message == nil {
			event = "mark"
		}
	}
	writeEvent(l.out, at, event, e.Session, body)
}

func writeEvent(w io.Writer, at time.Time, event string, s *tape.Session, body any) {
	var text, b bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(body); err != nil {
		return
	}
	fmt.Fprintf(&b, `{"time":%q,"event":%q`, at.UTC().Format(time.RFC3339Nano), event)
	if event == "message" || event == "mark" {
		fmt.Fprintf(&b, `,"n":%d`, s.N)
	}
	b.WriteByte(',')
	b.Write(text.Bytes()[1:])
	_, _ = w.Write(b.Bytes())
}
