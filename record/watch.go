package record

import (
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
	c := Compression(s)
	lines := newAssembler(s, inflate, previewKeep, true)
	lines.out.limit = followLimit
	return &watcher{
		lines:    lines,
		takeover: c.On && !(c.NoTakeover[tape.Client] && c.NoTakeover[tape.Server]),
	}
}

// segment reads one segment and appends the windows to store.
func (w *watcher) segment(seg *Segment, s *tape.Session, feed Feed, windows []Window) []Window {
	if feed == nil && !w.takeover {
		return windows
	}
	d := newDecoder(seg)
	var rec Record
	var skipped uint64
	for d.next(&rec) {
		full := feed == nil || w.behind
		if full && !w.takeover {
			if rec.Kind == kindFrame {
				skipped++
			}
			continue
		}
		w.lines.record(&rec)
		windows = w.window(&rec, seg.Session, windows)
		for line, ok := w.lines.out.next(); ok; line, ok = w.lines.out.next() {
			if feed == nil {
				continue
			}
			if !w.behind && feed.Event(Event{Session: s, Line: line}) {
				continue
			}
			w.behind = true
			skipped += uint64(max(1, frameCount(line)))
		}
	}
	if feed != nil && skipped > 0 {
		feed.Skipped(skipped)
	}
	if w.behind {
		w.behind = false // try again with the next batch
		if !w.takeover {
			w.lines = newAssembler(s, w.lines.inflate, previewKeep, false)
			w.lines.out.limit = followLimit
		}
	}
	return windows
}

func frameCount(l *tape.Line) int {
	if l.Message == nil {
		return 0
	}
	return len(l.Message.Frames)
}

// window takes a side's window when enough has been inflated since the last one.
func (w *watcher) window(rec *Record, session uint64, windows []Window) []Window {
	side := &w.lines.sides[rec.From]
	if side.plain < windowEvery || side.inflater == nil {
		return windows
	}
	side.plain = 0
	history := append([]byte(nil), side.inflater.Window()...)
	return append(windows, Window{Session: session, From: rec.From, Offset: rec.End, Bytes: history})
}

// end feeds what never came to its end, and the ending.
func (w *watcher) end(s *tape.Session, feed Feed) {
	if feed == nil {
		return
	}
	w.lines.finish(false)
	for line, ok := w.lines.out.next(); ok; line, ok = w.lines.out.next() {
		feed.Event(Event{Session: s, Line: line})
	}
	feed.Event(Event{Session: s, Ended: true})
}
