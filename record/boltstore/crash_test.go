package boltstore_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/record/boltstore"
	"github.com/wstape/wstape/tape"
)

func TestCrashLosesNothingThatWasAppended(t *testing.T) {
	random := random(t)
	r := newRecording(t, 4<<10, 12<<10)
	dir := t.TempDir()
	for step := range 100 {
		for range 1 + random.IntN(3) {
			if len(r.taps) == 0 || random.IntN(8) == 0 {
				r.begin()
			}
			i := random.IntN(len(r.taps))
			say(r.taps[i], tape.Side(random.IntN(2)), chatter(random, random.IntN([]int{10, 300, 9000}[random.IntN(3)])))
			if random.IntN(10) == 0 {
				r.taps[i].End(tape.Ending{Kind: tape.EndEOF})
				r.taps = append(r.taps[:i], r.taps[i+1:]...)
			}
		}
		r.flush()
		if random.IntN(4) > 0 {
			continue
		}
		crashed := r.copyTo(filepath.Join(dir, fmt.Sprintf("%d.db", step)))
		clean(t, crashed)
		reader, err := boltstore.OpenReader(crashed, time.Second)
		must(t, err)
		sameSessions(t, reader, r.memory)
		must(t, reader.Close())
		recovered := open(t, crashed)
		sameSessions(t, recovered, r.memory)
		must(t, recovered.Close())
		report := clean(t, crashed)
		if report.Frames == 0 {
			t.Error("check saw no frames")
		}
	}
}

func TestTailsAreMergedWhenThereAreTooMany(t *testing.T) {
	random := random(t)
	r := newRecording(t, 64<<10, 4<<10)
	quiet, loud := r.begin(), r.begin()
	say(quiet, tape.Client, "once")
	for range 50 {
		say(loud, tape.Server, chatter(random, 1000))
		r.flush()
		if n := r.Tails(); n > 6 {
			t.Fatalf("%d tails of a kilobyte, where four are allowed", n)
		}
	}
	quiet.End(tape.Ending{Kind: tape.EndEOF})
	loud.End(tape.Ending{Kind: tape.EndEOF})
	r.flush()
	if n := r.Tails(); n > 0 {
		t.Errorf("%d tails are left when all sessions have ended", n)
	}
	sameSessions(t, r, r.memory)
	must(t, r.Store.Close())
	clean(t, r.path)
}

func TestDamagedTailCostsOnlyItself(t *testing.T) {
	r := newRecording(t, 64<<10, 64<<10)
	tap := r.begin()
	for i := range 3 {
		say(tap, tape.Client, fmt.Sprintf("message %d", i))
		r.flush()
	}
	crashed := r.copyTo(filepath.Join(t.TempDir(), "crashed.db"))
	spoil(t, crashed, "tails", 1)
	want := func(s *boltstore.Store) {
		t.Helper()
		got := lines(t, s, 1)
		if len(got) != 3 || got[0] != lines(t, r.memory, 1)[0] || got[2] != lines(t, r.memory, 1)[2] {
			t.Errorf("lines %s, want the first and the last around a gap", got)
		}
	}
	reader, err := boltstore.OpenReader(crashed, time.Second)
	must(t, err)
	want(reader)
	must(t, reader.Close())
	want(open(t, crashed))
}

// What a script tags an open session with is in the file with the next flush,
// although an open session's entry is otherwise written again only now and then.
func TestTagsSurviveACrash(t *testing.T) {
	r := newRecording(t, 64<<10, 64<<10)
	tap := r.begin()
	say(tap, tape.Client, "hello")
	r.flush()
	tap.Tag("user", "alice")
	r.flush()
	say(tap, tape.Client, "more")
	tap.Tag("user", "bob")
	tap.Tag("bug", "17")
	r.flush()
	say(tap, tape.Client, "and more")
	r.flush()
	must(t, r.SetLabel(t.Context(), 1, record.Label{Tags: map[string]string{"mine": "", "user": "bob"}}))
	tap.Tag("late", "1")
	r.flush()
	crashed := r.copyTo(filepath.Join(t.TempDir(), "crashed.db"))
	want := func(s *boltstore.Store) {
		t.Helper()
		e, err := s.Session(t.Context(), 1)
		must(t, err)
		if got := fmt.Sprint(e.Tags); got != "map[late:1 mine: user:bob]" {
			t.Errorf("tags %s", got)
		}
	}
	reader, err := boltstore.OpenReader(crashed, time.Second)
	must(t, err)
	want(reader)
	must(t, reader.Close())
	recovered := open(t, crashed)
	want(recovered)
	must(t, recovered.Close())
	clean(t, crashed)
}

// A session that a crash left half removed is not there, and the next writer
// removes the rest.
func TestCrashWhileASessionIsRemoved(t *testing.T) {
	random := random(t)
	r := newRecording(t, 64<<10, 64<<10)
	long, other := r.begin(), r.begin()
	for range 60 {
		say(long, tape.Client, chatter(random, 90_000))
		say(other, tape.Client, chatter(random, 100))
		r.flush()
	}
	long.End(tape.Ending{Kind: tape.EndEOF})
	other.End(tape.Ending{Kind: tape.EndEOF})
	r.flush()
	whole, err := r.DeletePart(1)
	must(t, err)
	if whole {
		t.Fatal("one transaction removed all of it")
	}
	must(t, r.memory.Delete(t.Context(), 1))
	crashed := r.copyTo(filepath.Join(t.TempDir(), "crashed.db"))
	clean(t, crashed)
	reader, err := boltstore.OpenReader(crashed, time.Second)
	must(t, err)
	sameSessions(t, reader, r.memory)
	if _, err := reader.Segments(t.Context(), 1, 0); !errors.Is(err, record.ErrNotFound) {
		t.Errorf("its stream: %v", err)
	}
	before, err := reader.Usage(t.Context())
	must(t, err)
	must(t, reader.Close())
	recovered := open(t, crashed)
	sameSessions(t, recovered, r.memory)
	after, err := recovered.Usage(t.Context())
	must(t, err)
	if after.Sessions != 1 || before.Sessions != 1 || after.Bytes > before.Bytes/4 {
		t.Errorf("%+v were in use, and %+v are when the rest has been removed", before, after)
	}
	must(t, recovered.Close())
	clean(t, crashed)
}
