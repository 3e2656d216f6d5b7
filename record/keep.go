package record

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/wstape/wstape/tape"
)

// Keep bounds what a tape holds: the oldest sessions that have ended go. Zero
// means no bound.
type Keep struct {
	Age      time.Duration // how long ago a session ended
	Bytes    int64         // of the tape, as [Usage] counts them
	Sessions uint64
}

// Pinned is the tag of sessions that only their number removes.
const Pinned = "keep"

// IsPinned reports whether an operator or a script wants to keep the session.
func (e *Entry) IsPinned() bool {
	_, ok := e.Tags[Pinned]
	return ok
}

// ErrUnmet means that a tape is past its bounds although nothing is left on it
// that may go.
var ErrUnmet = errors.New("what is left is open or kept")

// deleteAtOnce is how many sessions one call removes at most.
const deleteAtOnce = 64

// Prune removes what is past the bounds, oldest first, and tells removed of each
// session. Sessions that are open or pinned stay; if the bounds cannot be met
// because of them, the error wraps ErrUnmet.
func Prune(ctx context.Context, s Store, k Keep, now time.Time, removed func(*Entry)) error {
	if k.Age > 0 {
		old := func(e *Entry) bool { return now.Sub(e.Started.Add(e.Duration)) > k.Age }
		p := pruner{store: s, removed: removed, may: old}
		for {
			some, err := p.next(ctx, deleteAtOnce, 0)
			if err != nil {
				return err
			}
			if len(some) == 0 {
				break
			}
			if err := p.remove(ctx, some); err != nil {
				return err
			}
		}
	}
	if k.Bytes <= 0 && k.Sessions == 0 {
		return nil
	}
	p := pruner{store: s, removed: removed, may: func(*Entry) bool { return true }}
	for {
		u, err := s.Usage(ctx)
		if err != nil {
			return err
		}
		tooMany, tooLong := k.over(u)
		if tooMany == 0 && tooLong == 0 {
			return nil
		}
		some, err := p.next(ctx, tooMany, tooLong)
		if err != nil {
			return err
		}
		if len(some) == 0 {
			return p.unmet(k, u)
		}
		if err := p.remove(ctx, some); err != nil {
			return err
		}
	}
}

// over returns how many sessions and bytes there are too many.
func (k Keep) over(u Usage) (sessions uint64, bytes int64) {
	if k.Sessions > 0 {
		sessions = max(u.Sessions, k.Sessions) - k.Sessions
	}
	if k.Bytes > 0 {
		bytes = max(u.Bytes, k.Bytes) - k.Bytes
	}
	return sessions, bytes
}

// pruner goes through a tape once, from the oldest session on.
type pruner struct {
	store        Store
	removed      func(*Entry)
	may          func(*Entry) bool
	page         []Entry
	after        uint64
	open, pinned int // that were passed by
}

// entryBytes is more than a session takes beside its stream.
const entryBytes = 16 << 10

// next returns the next sessions that may go: as many as there are too many, and
// as surely free no more than there is too much; one at least, if one is left.
func (p *pruner) next(ctx context.Context, tooMany uint64, tooLong int64) (some []Entry, err error) {
	for len(some) < deleteAtOnce {
		if len(p.page) == 0 {
			if p.page, err = p.store.Sessions(ctx, p.after); err != nil || len(p.page) == 0 {
				return some, err
			}
		}
		e := p.page[0]
		switch {
		case e.State == tape.Open:
			p.open++
		case e.IsPinned():
			p.pinned++
		case p.may(&e):
			tooLong -= int64(e.Size) + entryBytes
			if len(some) > 0 && uint64(len(some)) >= tooMany && tooLong < 0 {
				return some, nil // perhaps it need not go
			}
			some = append(some, e)
		}
		p.page, p.after = p.page[1:], e.N
	}
	return some, nil
}

// remove removes sessions. One that is gone already was removed by somebody who
// was faster.
func (p *pruner) remove(ctx context.Context, some []Entry) error {
	numbers := make([]uint64, len(some))
	for i := range some {
		numbers[i] = some[i].N
	}
	err := p.store.Delete(ctx, numbers...)
	if errors.Is(err, ErrNotFound) {
		for _, n := range numbers {
			if err = p.store.Delete(ctx, n); err != nil && !errors.Is(err, ErrNotFound) {
				return err
			}
		}
		err = nil
	}
	if err != nil {
		return err
	}
	for i := range some {
		p.removed(&some[i])
	}
	return nil
}

func (p *pruner) unmet(k Keep, u Usage) error {
	what := fmt.Sprintf("%d sessions are on the tape, which should be %d", u.Sessions, k.Sessions)
	if _, bytes := k.over(u); bytes > 0 {
		what = fmt.Sprintf("%d bytes of the tape are in use, which should be %d", u.Bytes, k.Bytes)
	}
	return fmt.Errorf("%s: %w (%d open, %d with the tag %s)", what, ErrUnmet, p.open, p.pinned, Pinned)
}

// Rehearsal is a tape from which nothing is removed: it only says what would be
// left. What each session takes is estimated.
type Rehearsal struct {
	Store
	usage Usage
	share float64 // bytes of the tape for a byte of a session
	sizes map[uint64]uint64
}

// Rehearse reads how large the sessions of a tape are.
func Rehearse(ctx context.Context, s Store) (*Rehearsal, error) {
	r := &Rehearsal{Store: s, sizes: map[uint64]uint64{}}
	var err error
	if r.usage, err = s.Usage(ctx); err != nil {
		return nil, err
	}
	total := uint64(0)
	for e, err := range Sessions(ctx, s) {
		if err != nil {
			return nil, err
		}
		r.sizes[e.N] = e.Size + rehearsedBytes
		total += r.sizes[e.N]
	}
	r.share = float64(r.usage.Bytes) / float64(max(1, total))
	return r, nil
}

// rehearsedBytes is about what a session takes beside its stream.
const rehearsedBytes = 1 << 10

// Usage says what would be left.
func (r *Rehearsal) Usage(context.Context) (Usage, error) { return r.usage, nil }

// Delete notes that the sessions would be gone.
func (r *Rehearsal) Delete(_ context.Context, numbers ...uint64) error {
	for _, n := range numbers {
		r.usage.Sessions--
		r.usage.Bytes -= int64(float64(r.sizes[n]) * r.share)
		delete(r.sizes, n)
	}
	return nil
}

// Sessions lists what would be left.
func (r *Rehearsal) Sessions(ctx context.Context, after uint64) ([]Entry, error) {
	for {
		page, err := r.Store.Sessions(ctx, after)
		if err != nil || len(page) == 0 {
			return page, err
		}
		after = page[len(page)-1].N
		left := slices.DeleteFunc(page, func(e Entry) bool { return r.sizes[e.N] == 0 })
		if len(left) > 0 {
			return left, nil
		}
	}
}

// The pace of [Keep.Enforce].
const (
	enforceEvery = 2 * time.Second  // asking for the usage costs nothing
	unmetEvery   = 30 * time.Second // looking for what may go reads all entries
	ageSteps     = 20               // looking for old ones too: they stay a twentieth of their age longer at most,
	ageMax       = time.Hour        // and no longer than this
)

// Enforce keeps a tape within bounds until ctx is done. It tells report when it
// has removed sessions, and with an error when it begins to fail: because of the
// store, or, wrapping ErrUnmet, because nothing is left that may go.
func (k Keep) Enforce(ctx context.Context, s Store, report func(removed int, err error)) {
	ageEvery := min(ageMax, max(enforceEvery, k.Age/ageSteps))
	failing := ""
	for aged := (time.Time{}); ; {
		now, turn := time.Now(), k
		if now.Sub(aged) < ageEvery {
			turn.Age = 0
		} else {
			aged = now
		}
		removed := 0
		err := Prune(ctx, s, turn, now, func(*Entry) { removed++ })
		if ctx.Err() != nil {
			return
		}
		pause, why := enforceEvery, ""
		switch {
		case errors.Is(err, ErrUnmet):
			pause, why = unmetEvery, ErrUnmet.Error() // the numbers in it change all the time
		case err != nil:
			why = err.Error()
		}
		if why == failing {
			err = nil // that has been said
		}
		failing = why
		if removed > 0 || err != nil {
			report(removed, err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}
