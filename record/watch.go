package record

import (
	"slices"
	"time"

	"github.com/wstape/wstape/tape"
)

const (
	windowEvery = 256 << 10 // plain bytes of one side between two stored windows
	previewKeep = 256       // bytes of a payload that a live view gets
)

// watcher reads a session's segments behind the links, in the recorder's
// goroutine: it stores the windows that make random access to compressed
// messages possible, and feeds the live view.
type watcher struct {
	lines    *assembler
	takeover bool // windows are needed
	behind   bool // segments were skipped, so message boundaries are not known
}

func newWatcher(s *tape.Session, inflate uint64) *watcher {
	lines := newAssembler(s, inflate, previewKeep, true)
	lines.out.limit = followLimit
	return &watcher{lines: lines, takeover: needsWindows(s)}
}

// needsWindows reports whether windows are needed to read the session from its middle.
func needsWindows(s *tape.Session) bool {
	c := Compression(s)
	return c.On && !s.Redacted && !(c.NoTakeover[tape.Client] && c.NoTakeover[tape.Server])
}

// view gathers what one batch shows of all sessions.
type view struct {
	on      bool // somebody looks
	events  []Event
	skipped uint64
}

// viewEvents is how many lines one batch shows at most; decoding more than
// anybody can read would only cost time.
const viewEvents = 2000

func (v *view) full() bool { return !v.on || len(v.events) >= viewEvents }

func (v *view) add(e Event) {
	if v.on {
		v.events = append(v.events, e)
	}
}

// at is when an event happened.
func (e *Event) at() time.Time {
	switch {
	case e.Line != nil:
		return e.Session.Started.Add(e.Line.T)
	case e.Ended:
		return e.Session.Started.Add(e.Session.Duration)
	}
	return e.Session.Started
}

// feed hands the events over in the order in which they happened.
func (v *view) feed(feed Feed) {
	slices.SortStableFunc(v.events, func(a, b Event) int { return a.at().Compare(b.at()) })
	for _, e := range v.events {
		if !feed.Event(e) {
			v.skipped++
		}
	}
	if v.skipped > 0 {
		feed.Skipped(v.skipped)
	}
}

// segment reads one segment and appends the windows to store.
func (w *watcher) segment(seg *Segment, s *tape.Session, v *view, windows []Window) []Window {
	if !v.on && !w.takeover {
		return windows
	}
	d := newDecoder(seg)
	var rec Record
	for d.next(&rec) {
		if v.full() && !w.takeover {
			// Only count: where messages begin is not known afterwards.
			w.behind = true
			if rec.Kind == kindFrame {
				v.skipped++
			}
			continue
		}
		if w.behind {
			w.behind = false
			w.restart(s)
		}
		w.lines.record(&rec)
		windows = w.window(&rec, seg.Session, windows)
		w.drain(s, v)
	}
	return windows
}

func (w *watcher) drain(s *tape.Session, v *view) {
	for line, ok := w.lines.next(); ok; line, ok = w.lines.next() {
		if v.on && v.full() {
			v.skipped++
			continue
		}
		v.add(Event{Session: s, Line: line})
	}
}

// restart forgets where messages stood.
func (w *watcher) restart(s *tape.Session) {
	w.lines = newAssembler(s, w.lines.inflate, previewKeep, false)
	w.lines.out.limit = followLimit
}

// window takes both sides' windows when enough of one has been inflated since
// the last ones: reading begins at the earlier of the two. A side that is in the
// middle of a message has to wait for the next time.
func (w *watcher) window(rec *Record, session uint64, windows []Window) []Window {
	if w.lines.compression.NoTakeover[rec.From] || w.lines.sides[rec.From].plain < windowEvery {
		return windows
	}
	for _, from := range tape.Sides() {
		side := &w.lines.sides[from]
		if w.lines.compression.NoTakeover[from] || side.message != nil || side.lost {
			continue
		}
		side.plain = 0
		history := append([]byte{}, w.lines.inflater(from).Window()...)
		windows = append(windows, Window{Session: session, From: from, Offset: rec.End, Bytes: history})
	}
	return windows
}

// end notes what never came to its end, and the ending.
func (w *watcher) end(s *tape.Session, v *view) {
	if !v.on {
		return
	}
	w.lines.finish(false)
	w.drain(s, v)
	v.add(Event{Session: s, Ended: true})
}
