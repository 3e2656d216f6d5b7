package record

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/wstape/wstape/internal/wire"
	"github.com/wstape/wstape/tape"
)

// lastLines reads the last n lines that are shown, looking for them from back
// bytes before the end on, and for their first, if it is not known where, near bytes before it.
func lastLines(t *testing.T, r Reader, n int, shown func(*tape.Line) bool, back, near uint64) (out []string) {
	t.Helper()
	at, err := lastFrom(t.Context(), r, 1, n, ReadOptions{}, shown, back)
	must(t, err)
	if near > 0 {
		e, err := r.Session(t.Context(), 1)
		must(t, err)
		at.Offset, err = before(t.Context(), r, &e, at.After, near)
		must(t, err)
	}
	skip := at.Skip
	for line, err := range Lines(t.Context(), r, 1, ReadOptions{Offset: at.Offset, After: at.After, Reuse: true}) {
		must(t, err)
		if !shown(line) {
			continue
		}
		if skip--; skip < 0 {
			out = append(out, brief(line))
		}
	}
	return out
}

type lastFilter struct {
	name  string
	shown func(*tape.Line) bool
}

// lastAgree compares the last lines with the end of all lines, looking for them
// from up to some bytes before the end on.
func lastAgree(t *testing.T, rng *rand.Rand, r Reader, before uint64) {
	t.Helper()
	filters := []lastFilter{
		{"all", func(*tape.Line) bool { return true }},
		{"messages of the server", func(l *tape.Line) bool { return l.Message != nil && l.Message.From == tape.Server }},
		{"some", func(l *tape.Line) bool { return l.Message == nil || l.Message.Seq%7 == 0 }},
		{"none", func(*tape.Line) bool { return false }},
	}
	if e, err := r.Session(t.Context(), 1); err != nil || e.Size > 100<<10 {
		filters = filters[rng.IntN(4):][:1] // one is enough of what takes long to read
	}
	for _, filter := range filters {
		var all []string
		for line, err := range Lines(t.Context(), r, 1, ReadOptions{Reuse: true}) {
			must(t, err)
			if filter.shown(line) {
				all = append(all, brief(line))
			}
		}
		for _, n := range []int{1 + rng.IntN(3), 1 + rng.IntN(len(all)+2)} {
			back, near := 1+rng.Uint64N(before), rng.Uint64N(2)*rng.Uint64N(before)
			got, want := lastLines(t, r, n, filter.shown, back, near), all[max(0, len(all)-n):]
			if !slices.Equal(got, want) {
				t.Fatalf("%s: the last %d (from %d, %d): %d lines\n%s\nshould be %d\n%s", filter.name, n, back, near,
					len(got), strings.Join(got[:min(9, len(got))], "\n"), len(want), strings.Join(want[:min(9, len(want))], "\n"))
			}
		}
	}
}

func TestTheLastLinesOfConversations(t *testing.T) {
	const mixed = takeover + "; client_no_context_takeover"
	rng := random(t)
	for _, extensions := range []string{takeover, []string{mixed, noTakeover, ""}[rng.IntN(3)]} {
		store, _ := conversation(t, extensions, rng.IntN(2) == 0)
		if rng.IntN(2) == 0 {
			store = merged(t, store)
		}
		lastAgree(t, rng, store, 100<<10)
	}
}

func TestTheLastLinesAmongRandomDecisions(t *testing.T) {
	r := random(t)
	for range 60 {
		store := NewMemory()
		rec := NewRecorder(store, Options{})
		s := &modelled{Rand: r, tap: begin(t, rec)}
		for range 80 {
			s.step()
			switch r.IntN(8) {
			case 0:
				must(t, rec.Flush(t.Context()))
			case 1:
				s.tap.Note(s.words(), "wstape")
			}
		}
		s.tap.End(eof)
		must(t, rec.Close())
		lastAgree(t, r, store, 200)
	}
}

// Frames that break the rules, gaps, and messages that never end.
func TestTheLastLinesOfBrokenSessions(t *testing.T) {
	r := random(t)
	for range 60 {
		w := newWriter(t)
		for i := range 80 {
			from, words := tape.Side(r.IntN(2)), fmt.Sprint("message ", i)
			switch r.IntN(9) {
			case 0:
				w.send(from, whole(textOpen, words))
			case 1, 2:
				w.send(from, whole(ping, words))
			case 3:
				stray := whole(last, words)
				stray.Violation = wire.ViolationStray
				w.send(from, whole(text, words), stray)
			case 4:
				w.note(words)
			case 5:
				w.gap(from, uint64(r.IntN(3)), 5)
			case 6:
				w.send(from, raw(words))
			default:
				w.send(from, whole(text, words))
			}
			if r.IntN(3) == 0 {
				w.cut()
			}
		}
		lastAgree(t, r, w.store("", []tape.State{tape.Closed, tape.Open}[r.IntN(2)]), 200)
	}
}

// shortPages hands out one segment a page.
type shortPages struct{ Reader }

func (s shortPages) Segments(ctx context.Context, n, offset uint64) ([]Segment, error) {
	page, err := s.Reader.Segments(ctx, n, offset)
	return page[:min(1, len(page))], err
}

// Of a long session only the end is read.
func TestTheLastLinesAreFoundNearTheEnd(t *testing.T) {
	for _, extensions := range []string{"", takeover} {
		store, rng := NewMemory(), random(t)
		rec := NewRecorder(store, Options{})
		tap := begin(t, rec, extensions)
		z := newDeflater(t, true)
		for i := range 1200 {
			head, payload := byte(text), chatter(rng, 1000)
			if extensions != "" {
				head, payload = compressed, z.message(payload)
			}
			tap.Parts(server, both, []tape.Part{whole(head, payload)})
			if i%50 == 0 {
				must(t, rec.Flush(t.Context()))
			}
		}
		tap.End(eof)
		must(t, rec.Close())
		r := &counting{Reader: shortPages{store}}
		at, err := Last(t.Context(), r, 1, 5, ReadOptions{Keep: 1}, false, func(*tape.Line) bool { return true })
		must(t, err)
		found, size := r.bytes, int(store.sessions[1].entry.Size)
		got := linesOnce(t, r, ReadOptions{Offset: at.Offset, After: at.After})
		if shown := r.bytes - found; len(got) != 5 || found > size/2 || shown > size/2 {
			t.Errorf("%q: %d bytes were read to find them, %d to show them, of %d; %d lines", extensions, found, shown, size, len(got))
		}
		r.bytes = 0
		if got := linesOnce(t, r, ReadOptions{After: 1190}); len(got) != 10 || r.bytes > size {
			t.Errorf("%q: %d bytes of %d were read to show what is behind a message near the end; %d lines", extensions, r.bytes, size, len(got))
		}
	}
}
