package cli

import (
	"context"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/tape"
)

// ahead reads a tape from its first session to its last. Opening the file for
// each call, as tapeFile does, would cost more than reading a small session; so
// while it is open for one, those that follow are read too, up to a page. In
// between the file is not held.
type ahead struct {
	*tapeFile
	page   func(n, offset uint64)      // is called before each page with where it begins
	next   []record.Entry              // sessions that come next
	whole  map[uint64][]record.Segment // all of a session's stream
	looked map[uint64]record.Entry     // sessions that have ended
}

// aheadBytes is what is read of sessions that follow.
const aheadBytes = 1 << 20

func newAhead(t *tapeFile, page func(n, offset uint64)) *ahead {
	return &ahead{tapeFile: t, page: page, whole: map[uint64][]record.Segment{}, looked: map[uint64]record.Entry{}}
}

// Sessions remembers the page for what follows.
func (a *ahead) Sessions(ctx context.Context, after uint64) ([]record.Entry, error) {
	page, err := a.tapeFile.Sessions(ctx, after)
	a.next = page
	clear(a.whole)
	clear(a.looked)
	for _, e := range page {
		if e.State != tape.Open { // else there is more of it every time
			a.looked[e.N] = e
		}
	}
	return page, err
}

func (a *ahead) Session(ctx context.Context, n uint64) (record.Entry, error) {
	if e, ok := a.looked[n]; ok {
		return e, nil
	}
	return a.tapeFile.Session(ctx, n)
}

func (a *ahead) Segments(ctx context.Context, n, offset uint64) ([]record.Segment, error) {
	if segments, ok := a.whole[n]; ok && offset == 0 {
		delete(a.whole, n)
		return segments, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	clear(a.whole) // of sessions that were passed over
	a.page(n, offset)
	var out []record.Segment
	err := a.do(ctx, false, func(s record.Store) (err error) {
		if out, err = s.Segments(ctx, n, offset); err != nil {
			return err
		}
		room := uint64(aheadBytes)
		for i := range out {
			room -= min(room, uint64(len(out[i].Raw)))
		}
		return a.follow(ctx, s, n, room)
	})
	return out, err
}

// follow reads the sessions behind one, as far as there is room for them and
// they do not change any more.
func (a *ahead) follow(ctx context.Context, s record.Store, n, room uint64) error {
	for len(a.next) > 0 && a.next[0].N <= n {
		a.next = a.next[1:]
	}
	for len(a.next) > 0 && a.next[0].State != tape.Open && a.next[0].Size <= room {
		e := &a.next[0]
		segments, err := s.Segments(ctx, e.N, 0)
		if err != nil {
			return nil // whoever asks for it is told
		}
		a.whole[e.N], a.next = segments, a.next[1:]
		room -= e.Size
	}
	return nil
}
