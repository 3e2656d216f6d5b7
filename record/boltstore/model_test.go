package boltstore_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/record/boltstore"
	"github.com/wstape/wstape/tape"
)

// model is a tape that lives through what tapes live through, beside one in
// memory that says what must be left of it.
type model struct {
	*testing.T
	random   *rand.Rand
	path     string
	tee      tee
	recorder *record.Recorder
	open     []*record.Tap
	deeds    map[string]int
}

// TestTapeAgreesWithAModel records, tags, removes, prunes, compacts, crashes and
// opens again in random order, and compares the tape with the model.
func TestTapeAgreesWithAModel(t *testing.T) {
	m := &model{T: t, random: random(t), path: filepath.Join(quickDir(t), "t.db"), tee: tee{memory: record.NewMemory()}, deeds: map[string]int{}}
	m.start()
	for range 400 {
		m.step()
	}
	m.stop()
	clean(t, m.path)
	t.Logf("%v", m.deeds)
	for _, deed := range []string{"removed", "pruned by age", "pruned by size", "pruned by number", "unmet", "compacted", "crashed"} {
		if m.deeds[deed] == 0 {
			t.Errorf("nothing was %s", deed)
		}
	}
}

func (m *model) start() {
	m.tee.Store = open(m, m.path)
	m.tee.SetSizes(4<<10, 16<<10)
	m.recorder = record.NewRecorder(m.tee, record.Options{})
}

func (m *model) stop() {
	for _, tap := range m.open {
		tap.End(tape.Ending{Kind: tape.EndEOF})
	}
	m.open = nil
	must(m, m.recorder.Close())
	must(m, m.tee.Store.Close())
}

func (m *model) step() {
	ctx := context.Background()
	switch m.random.IntN(12) {
	case 0, 1, 2:
		tap, err := m.recorder.Begin(tape.Session{URL: "/chat"})
		must(m, err)
		m.open = append(m.open, tap)
	case 3, 4, 5, 6:
		if len(m.open) > 0 {
			say(m.open[m.random.IntN(len(m.open))], tape.Side(m.random.IntN(2)), chatter(m.random, m.random.IntN([]int{100, 3000, 60_000}[m.random.IntN(3)])))
		}
	case 7, 8:
		if len(m.open) > 0 {
			i := m.random.IntN(len(m.open))
			m.open[i].End(tape.Ending{Kind: tape.EndEOF})
			m.open = append(m.open[:i], m.open[i+1:]...)
		}
	case 9:
		m.flush()
		if n, ok := m.some(); ok {
			label := record.Label{Tags: map[string]string{record.Pinned: ""}}
			if m.random.IntN(2) == 0 {
				label.Tags = nil
			}
			must(m, errors.Join(m.tee.SetLabel(ctx, n, label), m.tee.memory.SetLabel(ctx, n, label)))
		}
	case 10:
		m.flush()
		if n, ok := m.some(); ok {
			got, want := m.tee.Store.Delete(ctx, n), m.tee.memory.Delete(ctx, n)
			if errors.Is(got, record.ErrOpen) != errors.Is(want, record.ErrOpen) || (got == nil) != (want == nil) {
				m.Fatalf("remove session %d: %v, and the model says %v", n, got, want)
			}
			m.deeds["removed"]++
		}
	case 11:
		m.flush()
		m.rare()
	}
}

func (m *model) rare() {
	switch m.random.IntN(5) {
	case 0, 1, 2:
		m.prune()
	case 3:
		m.stop()
		_, _, err := boltstore.Compact(context.Background(), m.path, nil)
		must(m, err)
		m.deeds["compacted"]++
		m.start()
	case 4: // all that was flushed is there, what was open is interrupted
		r := recording{t: m, path: m.path}
		crashed := r.copyTo(filepath.Join(quickDir(m), "t.db"))
		m.stop()
		m.path = crashed
		fresh := record.NewMemory()
		m.deeds["crashed"]++
		m.start()
		m.copyModel(fresh)
	}
	m.same()
}

// copyModel replaces the model by what the tape says: of a crash sameSessions has
// other tests.
func (m *model) copyModel(fresh *record.Memory) {
	ctx := context.Background()
	for e, err := range record.Sessions(ctx, m.tee.Store) {
		must(m, err)
		if e.State == tape.Open {
			m.Errorf("session %d is open after a crash", e.N)
		}
		b := record.Batch{Entries: []record.Entry{*e}}
		for at := uint64(0); ; {
			page, err := m.tee.Store.Segments(ctx, e.N, at)
			must(m, err)
			if len(page) == 0 {
				break
			}
			b.Segments, at = append(b.Segments, page...), page[len(page)-1].End()
		}
		label := record.Label{Tags: e.Tags, Notes: e.Notes}
		b.Entries[0].Tags = nil
		must(m, fresh.Append(ctx, b))
		must(m, fresh.SetLabel(ctx, e.N, label))
	}
	next, err := m.tee.Store.Begin(ctx)
	must(m, err)
	for n := uint64(0); n < next; { // numbers are not used again
		n, err = fresh.Begin(ctx)
		must(m, err)
	}
	must(m, m.recorder.Close())
	m.tee.memory = fresh
	m.recorder = record.NewRecorder(m.tee, record.Options{})
}

func (m *model) flush() { must(m, m.recorder.Flush(context.Background())) }

// some picks a session that is on the tape.
func (m *model) some() (uint64, bool) {
	page, err := m.tee.memory.Sessions(context.Background(), 0)
	must(m, err)
	if len(page) == 0 {
		return 0, false
	}
	return page[m.random.IntN(len(page))].N, true
}

// prune keeps the tape within random bounds, and checks that the right sessions
// went.
func (m *model) prune() {
	ctx, now := context.Background(), time.Now()
	before, err := m.tee.Store.Sessions(ctx, 0) // the model knows times to the nanosecond
	must(m, err)
	usage, err := m.tee.Store.Usage(ctx)
	must(m, err)
	if usage.Sessions != uint64(len(before)) {
		m.Fatalf("%d sessions are counted, and there are %d", usage.Sessions, len(before))
	}
	var k record.Keep
	deed := ""
	switch m.random.IntN(3) {
	case 0:
		if len(before) > 0 {
			e := before[m.random.IntN(len(before))]
			k.Age, deed = max(1, now.Sub(e.Started.Add(e.Duration))), "pruned by age"
		}
	case 1:
		k.Sessions, deed = uint64(1+m.random.IntN(len(before)+1)), "pruned by number"
	case 2:
		k.Bytes, deed = 1+m.random.Int64N(usage.Bytes+1), "pruned by size"
	}
	gone := map[uint64]bool{}
	err = record.Prune(ctx, m.tee.Store, k, now, func(e *record.Entry) { gone[e.N] = true })
	unmet := errors.Is(err, record.ErrUnmet)
	if err != nil && !unmet {
		m.Fatal(err)
	}
	after, err := m.tee.Store.Usage(ctx)
	must(m, err)
	if unmet {
		m.deeds["unmet"]++
	} else if k.Sessions > 0 && after.Sessions > k.Sessions || k.Bytes > 0 && after.Bytes > k.Bytes {
		m.Errorf("%+v is left, which is more than %+v", after, k)
	}
	stays := false // one that might have gone: no later one has
	for _, e := range before {
		switch {
		case e.State == tape.Open || e.IsPinned():
			if gone[e.N] {
				m.Errorf("session %d is gone, which was %s and had the tags %v", e.N, e.State, e.Tags)
			}
		case k.Age > 0:
			if old := now.Sub(e.Started.Add(e.Duration)) > k.Age; old != gone[e.N] {
				m.Errorf("session %d: it is too old: %v; it is gone: %v", e.N, old, gone[e.N])
			}
		case gone[e.N] && stays || !gone[e.N] && unmet:
			m.Errorf("session %d: gone: %v; an older one stays: %v; the bound cannot be met: %v", e.N, gone[e.N], stays, unmet)
		case !gone[e.N]:
			stays = true
		}
	}
	if k.Sessions > 0 && !unmet && len(gone) != max(0, len(before)-int(k.Sessions)) {
		m.Errorf("%d of %d sessions are gone, where %d may be", len(gone), len(before), k.Sessions)
	}
	for n := range gone {
		must(m, m.tee.memory.Delete(ctx, n))
		m.deeds[deed]++
	}
}

// same compares the tape with the model.
func (m *model) same() {
	m.Helper()
	ctx := context.Background()
	got, err := m.tee.Store.Sessions(ctx, 0)
	must(m, err)
	want, err := m.tee.memory.Sessions(ctx, 0)
	must(m, err)
	if len(got) != len(want) {
		m.Fatalf("%d sessions, and the model has %d", len(got), len(want))
	}
	for i, w := range want {
		g := got[i]
		if g, w := fmt.Sprint(g.N, g.State, g.Size, g.Frames, g.Bytes, g.IsPinned()), fmt.Sprint(w.N, w.State, w.Size, w.Frames, w.Bytes, w.IsPinned()); g != w {
			m.Errorf("session %s, and the model has %s", g, w)
		}
		if stream(m, m.tee.Store, w.N) != stream(m, m.tee.memory, w.N) {
			m.Errorf("session %d: its stream is not the model's", w.N)
		}
	}
	if m.Failed() {
		m.FailNow()
	}
}
