package record

import (
	"context"
	"math"

	"github.com/wstape/wstape/tape"
)

// Place is where some lines of a session begin.
type Place struct {
	Offset uint64 // reading may begin here,
	After  uint64 // and they are behind this frame,
	Skip   int    // so many lines further, which are not messages
}

// The part of a stream that is looked at first for its last lines, and how much
// more it is when it was not enough.
const (
	lastBytes = 64 << 10
	lastMore  = 4
)

// Last finds where the last n lines (at least 1) begin of those that are shown, reading no
// more from the end of the session than it must. Shown is asked about the lines in
// their order, and about some of them again when reading has to begin further ahead;
// one that must see each line once wants the whole session to be read.
func Last(ctx context.Context, r Reader, session uint64, n int, opts ReadOptions, whole bool, shown func(*tape.Line) bool) (Place, error) {
	opts.Follow, opts.Reuse = false, !whole
	back := uint64(lastBytes)
	if whole {
		back = math.MaxUint64
	}
	return lastFrom(ctx, r, session, n, opts, shown, back)
}

func lastFrom(ctx context.Context, r Reader, session uint64, n int, opts ReadOptions, shown func(*tape.Line) bool, back uint64) (Place, error) {
	e, err := r.Session(ctx, session)
	if err != nil {
		return Place{}, err
	}
	for ; ; back *= lastMore {
		opts.Offset = 0
		if back < e.Size {
			if opts.Offset, err = segmentAt(ctx, r, session, e.Size-back); err != nil {
				return Place{}, err
			}
		}
		l := lastOnes{places: make([]Place, 0, min(n, 1<<10)), n: n}
		for line, err := range Lines(ctx, r, session, opts) {
			if err != nil {
				return Place{}, err
			}
			l.line(line, shown)
		}
		if at, ok := l.first(); ok || opts.Offset == 0 {
			at.Offset = opts.Offset
			return at, nil
		}
	}
}

// segmentAt returns where the segment begins that holds an offset.
func segmentAt(ctx context.Context, r Reader, session, offset uint64) (uint64, error) {
	page, err := r.Segments(ctx, session, offset)
	if err != nil || len(page) == 0 {
		return 0, err
	}
	return page[0].Offset, nil
}

// lastOnes remembers the places of the last n lines.
type lastOnes struct {
	n      int
	places []Place // a ring, when it is full
	next   int
	at     Place // of the next line
}

func (l *lastOnes) line(line *tape.Line, shown func(*tape.Line) bool) {
	shows, here := shown(line), l.at
	switch {
	case line.Message != nil:
		l.at = Place{After: line.Message.Seq}
	case shows:
		l.at.Skip++
	}
	switch {
	case !shows:
	case len(l.places) < l.n:
		l.places = append(l.places, here)
	default:
		l.places[l.next] = here
		l.next = (l.next + 1) % l.n
	}
}

// first is where the first of them begins; false if there are fewer than n of
// them, or it is not known what comes before it.
func (l *lastOnes) first() (Place, bool) {
	if len(l.places) < l.n {
		return Place{}, false
	}
	at := l.places[l.next]
	return at, at.After > 0
}

// nearEnough is how far before a frame reading may begin.
const nearEnough = 256 << 10

// before finds a segment that begins with a frame of that number or an earlier
// one, near bytes from it if segments are that short. A segment that begins with
// the next one would be too late: there may be notes before it.
func before(ctx context.Context, r Reader, e *Entry, seq, near uint64) (uint64, error) {
	low, high := uint64(0), e.Size
	for high-low > near {
		middle := low + (high-low)/2
		page, err := r.Segments(ctx, e.N, middle)
		if err != nil {
			return 0, err
		}
		for len(page) > 0 && page[0].Lost != "" {
			page = page[1:]
		}
		switch {
		case len(page) == 0 || page[0].Seq > seq:
			high = middle
		case page[0].Offset <= low:
			return low, nil // one segment is all that is left
		default:
			low = page[0].Offset
		}
	}
	return low, nil
}
