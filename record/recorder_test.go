package record

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wstape/wstape/tape"
)

// gate is a tape whose Append can be held up or made to fail.
type gate struct {
	*Memory
	mu      sync.Mutex
	fail    error
	failed  int
	held    chan struct{} // Append waits for it to be closed
	batches []Batch
	times   []time.Time
}

func newGate() *gate { return &gate{Memory: NewMemory()} }

func (g *gate) Append(ctx context.Context, b Batch) error {
	g.mu.Lock()
	held := g.held
	g.mu.Unlock()
	if held != nil {
		<-held
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.fail != nil {
		g.failed++
		return g.fail
	}
	g.batches, g.times = append(g.batches, b), append(g.times, time.Now())
	return g.Memory.Append(ctx, b)
}

func (g *gate) hold() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held = make(chan struct{})
}

func (g *gate) release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.held)
	g.held = nil
}

func (g *gate) failures() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.failed
}

func (g *gate) setFail(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.fail = err
}

// begin opens a session that has been answered.
func begin(t testing.TB, r *Recorder, extensions ...string) *Tap {
	t.Helper()
	tap, err := r.Begin(tape.Session{URL: "/chat"})
	must(t, err)
	tap.Answered("ws://up/chat", 101, "", extensions, tape.Response{Status: 101})
	return tap
}

func say(tap *Tap, from tape.Side, words string) {
	tap.Parts(from, both, []tape.Part{whole(text, words)})
}

// inject records a frame of the operator's.
func inject(tap *Tap, from tape.Side, p tape.Part) {
	tap.Decided(tape.Decision{From: from, Fate: tape.Injected, By: []string{"operator"}}, []tape.Part{p})
}

var eof = tape.Ending{Kind: tape.EndEOF}

func TestFlushIntervalBoundsHowLongAFrameWaits(t *testing.T) {
	for _, c := range []struct{ set, want time.Duration }{
		{0, DefaultFlush}, {7 * time.Millisecond, 7 * time.Millisecond}, {time.Hour, MaxFlush},
	} {
		synctest.Test(t, func(t *testing.T) {
			store := newGate()
			r := NewRecorder(store, Options{Flush: c.set})
			defer r.Close()
			tap := begin(t, r)
			start := time.Now()
			say(tap, client, "hello")
			version, err := store.Wait(t.Context(), 0)
			must(t, err)
			_, err = store.Wait(t.Context(), version)
			must(t, err)
			if waited := store.times[0].Sub(start); waited != c.want {
				t.Errorf("flush %v: written after %v, want %v", c.set, waited, c.want)
			}
			equal(t, lines(t, store, ReadOptions{}), []string{`1 client text "hello"`})
		})
	}
}

func TestManyBytesAreWrittenAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newGate()
		r := NewRecorder(store, Options{Flush: MaxFlush})
		defer r.Close()
		tap := begin(t, r)
		start := time.Now()
		for range 5 {
			say(tap, client, strings.Repeat("x", flushBytes/4))
		}
		synctest.Wait()
		if len(store.times) == 0 || !store.times[0].Equal(start) {
			t.Error("more than flushBytes is waiting for the clock")
		}
	})
}

func TestFlushWritesWhatWasRecordedBeforeIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newGate()
		r := NewRecorder(store, Options{Flush: MaxFlush})
		defer r.Close()
		tap := begin(t, r)
		start := time.Now()
		for i := range 20 {
			say(tap, client, fmt.Sprint(i))
			must(t, r.Flush(t.Context()))
			if got := lines(t, store, ReadOptions{}); len(got) != i+1 {
				t.Fatalf("%d lines after Flush, want %d", len(got), i+1)
			}
		}
		must(t, r.Flush(t.Context())) // nothing to do
		if !time.Now().Equal(start) {
			t.Error("Flush waited for the clock")
		}
	})
}

func TestFlushSaysWhyItCannot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newGate()
		r := NewRecorder(store, Options{})
		defer r.Close()
		say(begin(t, r), client, "x")
		full := errors.New("disk full")
		store.setFail(full)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.Flush(ctx); !errors.Is(err, full) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the store's error and the deadline's", err)
		}
		store.setFail(nil)
		must(t, r.Flush(t.Context()))
	})
}

func TestCloseWritesTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newGate()
		r := NewRecorder(store, Options{})
		tap := begin(t, r)
		say(tap, client, "hello")
		tap.Note("a note", "wstape")
		tap.End(eof)
		tap.End(tape.Ending{Kind: tape.EndReset}) // too late
		must(t, r.Close())
		must(t, r.Close())
		equal(t, lines(t, store, ReadOptions{}), []string{`1 client text "hello"`, "note wstape: a note"})
		e, err := store.Session(t.Context(), 1)
		must(t, err)
		if e.State != tape.Closed || e.Ending == nil || e.Ending.Kind != tape.EndEOF {
			t.Errorf("the session is %v, %+v", e.State, e.Ending)
		}
	})
}

func TestFailingStoreIsTriedAgainAndReportedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newGate()
		var reports []string
		r := NewRecorder(store, Options{OnError: func(err error) { reports = append(reports, fmt.Sprint(err)) }})
		defer r.Close()
		tap := begin(t, r)
		must(t, r.Flush(t.Context()))
		store.setFail(errors.New("disk full"))
		say(tap, client, "hello")
		<-time.After(10 * retryPause)
		if n := store.failures(); n < 5 {
			t.Errorf("tried %d times in ten pauses", n)
		}
		store.setFail(nil)
		say(tap, server, "world")
		must(t, r.Flush(t.Context()))
		equal(t, reports, []string{"disk full", "<nil>"})
		equal(t, lines(t, store, ReadOptions{}), []string{`1 client text "hello"`, `2 server text "world"`})
	})
}

func TestCloseOnAFailingStore(t *testing.T) {
	full := errors.New("disk full")
	for _, c := range []struct {
		name     string
		recovers bool
		want     error
		lines    int
	}{
		{"that works again", true, nil, 2},
		{"that does not", false, full, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newGate()
				r := NewRecorder(store, Options{})
				tap := begin(t, r)
				say(tap, client, "written")
				must(t, r.Flush(t.Context()))
				store.setFail(full)
				say(tap, client, "waiting")
				<-time.After(DefaultFlush + retryPause/2) // the recorder is between two tries
				if c.recovers {
					store.setFail(nil)
				}
				if err := r.Close(); !errors.Is(err, c.want) {
					t.Errorf("Close says %v, want %v", err, c.want)
				}
				if got := lines(t, store, ReadOptions{}); len(got) != c.lines {
					t.Errorf("lines %s, want %d", got, c.lines)
				}
				if err := r.Flush(t.Context()); !errors.Is(err, c.want) {
					t.Errorf("Flush says %v afterwards", err)
				}
			})
		})
	}
}

func TestFullBufferHoldsTheLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newGate()
		store.hold()
		r := NewRecorder(store, Options{Buffer: 1000})
		tap := begin(t, r)
		sent := 0
		go func() {
			for range 100 {
				say(tap, client, strings.Repeat("x", 100))
				sent++
			}
			tap.End(eof)
		}()
		<-time.After(time.Minute)
		synctest.Wait()
		if sent > 12 {
			t.Errorf("%d frames of 100 bytes went into a buffer of 1000", sent)
		}
		store.release()
		synctest.Wait()
		<-time.After(time.Minute)
		must(t, r.Close())
		if got := lines(t, store, ReadOptions{}); len(got) != 100 {
			t.Errorf("%d of 100 frames are on the tape", len(got))
		}
	})
}

func TestClosedRecorderHoldsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newGate()
		store.setFail(errors.New("disk full"))
		r := NewRecorder(store, Options{Buffer: 10})
		tap := begin(t, r)
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range 10 {
				say(tap, client, "more than there is room for")
			}
		}()
		synctest.Wait()
		if err := r.Close(); err == nil {
			t.Error("Close says nothing of what was lost")
		}
		<-done
	})
}

// With the policy to drop, what is on the tape and what the gap marks say add
// up to what was sent, for each side.
func TestDroppedFramesAreMarkedExactly(t *testing.T) {
	for name, pieces := range map[string]bool{"whole frames": false, "frames in pieces": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { dropped(t, pieces) })
		})
	}
}

func dropped(t *testing.T, pieces bool) {
	r := random(t)
	store := newGate()
	writes := 0
	rec := NewRecorder(store, Options{Buffer: 2000, Drop: true, OnWrite: func(time.Duration, error) { writes++ }})
	tap := begin(t, rec)
	var frames, size tape.Counts
	send := func() {
		from, n := tape.Side(r.IntN(2)), 1+r.IntN(100)
		words := strings.Repeat("x", n)
		frames.Add(from, 1)
		size.Add(from, uint64(n))
		if !pieces {
			say(tap, from, words)
			return
		}
		cut := r.IntN(n)
		tap.Parts(from, both, []tape.Part{beginning(text, uint64(n), words[:cut])})
		if r.IntN(3) == 0 {
			must(t, rec.Flush(t.Context())) // so that room comes in the middle of a frame
		}
		tap.Parts(from, both, []tape.Part{piece(words[cut:])})
	}
	for range 5 {
		if !pieces {
			store.hold()
		}
		for range 60 {
			send()
		}
		if !pieces {
			store.release()
		}
		must(t, rec.Flush(t.Context()))
		send()
	}
	tap.End(eof)
	must(t, rec.Close())

	e, err := store.Session(t.Context(), 1)
	must(t, err)
	if e.Frames != frames || e.Bytes != size {
		t.Errorf("the session says %v frames, %v bytes; sent were %v, %v", e.Frames, e.Bytes, frames, size)
	}
	recount := Entry{}
	segments, err := store.Segments(t.Context(), 1, 0)
	must(t, err)
	for i := range segments {
		must(t, recount.Extend(&segments[i]))
	}
	if recount.Frames != frames || recount.Bytes != size || recount.Size != e.Size {
		t.Errorf("the stream holds %v frames, %v bytes; sent were %v, %v", recount.Frames, recount.Bytes, frames, size)
	}
	gaps, next := 0, uint64(1)
	var missing tape.Gap
	for line, err := range Lines(t.Context(), store, 1, ReadOptions{}) {
		must(t, err)
		if line.Gap != nil {
			gaps++
			if line.Gap.Why != "tape buffer full (record.buffer)" {
				t.Errorf("why: %s", line.Gap.Why)
			}
			next += line.Gap.Frames
			missing.Frames += line.Gap.Frames
			missing.Bytes += line.Gap.Bytes
			continue
		}
		if line.Message.Seq < next {
			t.Errorf("frame %d behind frame %d", line.Message.Seq, next)
		}
		next = line.Message.Seq + 1
	}
	if got := rec.Gaps(); got != missing {
		t.Errorf("the recorder says %+v was dropped, the tape %+v", got, missing)
	}
	if writes < 5 {
		t.Errorf("told of %d writes", writes)
	}
	if gaps == 0 && !pieces {
		t.Error("nothing was dropped")
	}
}

// listener takes down what the recorder feeds it.
type listener struct {
	room    int
	events  []Event
	skipped uint64
}

func (l *listener) Event(e Event) bool {
	if len(l.events) >= l.room {
		return false
	}
	l.events = append(l.events, e)
	return true
}

func (l *listener) Skipped(n uint64) { l.skipped += n }

func (l *listener) brief() (out []string) {
	for _, e := range l.events {
		switch {
		case e.Begun:
			out = append(out, fmt.Sprintf("session %d begun", e.Session.N))
		case e.Ended:
			out = append(out, fmt.Sprintf("session %d ended", e.Session.N))
		default:
			out = append(out, fmt.Sprintf("session %d: %s", e.Session.N, brief(e.Line)))
		}
	}
	return out
}

func TestFeedTellsWhatHappenedInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		live := &listener{room: 100}
		r := NewRecorder(new(Nowhere), Options{Feed: live})
		tick := func() { <-time.After(time.Millisecond) }
		one := begin(t, r)
		tick()
		two := begin(t, r)
		tick()
		z := newDeflater(t, true)
		for _, words := range []string{"a", "b"} {
			say(one, client, words)
			tick()
			say(two, server, words)
			tick()
		}
		one.End(eof)
		must(t, r.Flush(t.Context()))
		three := begin(t, r, takeover)
		for range 2 {
			three.Parts(client, both, []tape.Part{whole(compressed, z.message("again"))})
			must(t, r.Flush(t.Context()))
		}
		must(t, r.Close())
		equal(t, live.brief(), []string{
			"session 1 begun", "session 2 begun",
			`session 1: 1 client text "a"`, `session 2: 1 server text "a"`,
			`session 1: 2 client text "b"`, `session 2: 2 server text "b"`, "session 1 ended",
			"session 3 begun", `session 3: 1 client text "again"`, `session 3: 2 client text "again"`,
		})
		if live.skipped > 0 {
			t.Errorf("%d were skipped", live.skipped)
		}
	})
}

func TestFeedWithoutRoomIsToldHowMuchItMissed(t *testing.T) {
	for name, c := range map[string]struct{ room, frames int }{
		"a slow listener":              {10, 50},
		"more than anybody could read": {1 << 30, 2 * viewEvents},
		"both":                         {100, 2 * viewEvents},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				live := &listener{room: c.room}
				r := NewRecorder(new(Nowhere), Options{Feed: live})
				tap := begin(t, r)
				for range c.frames {
					say(tap, client, "x")
				}
				must(t, r.Close())
				if got := uint64(len(live.events)) + live.skipped; got != uint64(c.frames)+1 {
					t.Errorf("%d events and %d skipped make %d, want %d", len(live.events), live.skipped, got, c.frames+1)
				}
			})
		})
	}
}

func TestInjectedFrameSaysWhoDecided(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newGate()
		r := NewRecorder(store, Options{})
		tap := begin(t, r)
		say(tap, server, "a")
		inject(tap, server, whole(closing, "\x03\xe9"))
		tap.End(eof)
		must(t, r.Close())
		equal(t, lines(t, store, ReadOptions{}), []string{`1 server text "a"`, `2 server close "\x03\xe9" injected [operator]`})
		if e, _ := store.Session(t.Context(), 1); e.Frames.Server != 2 || e.Bytes.Server != 3 {
			t.Errorf("counts %v %v", e.Frames, e.Bytes)
		}
	})
}

func TestTagsAreStoredWithTheNextFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newGate()
		r := NewRecorder(store, Options{})
		defer r.Close()
		tap := begin(t, r)
		must(t, r.Flush(t.Context()))
		tap.Tag("user", "alice")
		tap.Tag("bare", "")
		must(t, r.Flush(t.Context()))
		before, err := store.Session(t.Context(), 1)
		must(t, err)
		tap.Tag("user", "bob")
		must(t, r.Flush(t.Context()))
		after, err := store.Session(t.Context(), 1)
		must(t, err)
		if got := fmt.Sprint(before.Tags, after.Tags); got != "map[bare: user:alice] map[bare: user:bob]" {
			t.Errorf("tags %s", got)
		}
		flushes := len(store.batches)
		tap.Tag("user", "bob") // nothing new
		must(t, r.Flush(t.Context()))
		if len(store.batches) != flushes {
			t.Error("a tag that says what it said is written again")
		}
	})
}

func TestTagsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newGate()
		r := NewRecorder(store, Options{})
		tap := begin(t, r)
		tap.Tag("long", strings.Repeat("x", maxTag-len("long")))
		tap.Tag("longer", strings.Repeat("x", maxTag-len("longer")+1))
		for i := range 2 * maxTags {
			tap.Tag(fmt.Sprint("key ", i), "1")
		}
		tap.Tag("key 0", "2") // is there already
		tap.End(eof)
		must(t, r.Close())
		e, err := store.Session(t.Context(), 1)
		must(t, err)
		if _, longer := e.Tags["longer"]; len(e.Tags) != maxTags || longer || len(e.Tags["long"]) != maxTag-4 || e.Tags["key 0"] != "2" {
			t.Errorf("%d tags: %v", len(e.Tags), e.Tags)
		}
		equal(t, lines(t, store, ReadOptions{}), []string{"note wstape: a tag was ignored: a session has at most 64, of 1024 bytes each"})
	})
}

func TestMadeMessagesWaitForRoomAndControlFramesDoNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newGate()
		store.hold()
		r := NewRecorder(store, Options{Buffer: 1000})
		tap := begin(t, r)
		say(tap, client, strings.Repeat("x", 1500))
		came := make(chan string, 2)
		go func() {
			inject(tap, server, whole(text, "made"))
			came <- "message"
		}()
		synctest.Wait()
		inject(tap, server, whole(closing, "\x03\xe9"))
		tap.Decided(tape.Decision{From: client, Fate: tape.Passed}, nil)
		came <- "close"
		store.release()
		equal(t, []string{<-came, <-came}, []string{"close", "message"})
		tap.End(eof)
		must(t, r.Close())
		equal(t, lines(t, store, ReadOptions{})[1:], []string{
			`2 server close "\x03\xe9" injected [operator]`, `3 server text "made" injected [operator]`,
		})
	})
}

func TestMadeMessagesWithoutRoomAreInTheGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newGate()
		store.hold()
		r := NewRecorder(store, Options{Buffer: 1000, Drop: true})
		tap := begin(t, r)
		tap.Parts(client, in, []tape.Part{whole(text, "kept")})
		tap.Parts(client, in, []tape.Part{whole(text, strings.Repeat("x", 1500)), whole(text, "kept too")})
		tap.Parts(client, in, []tape.Part{whole(text, "lost")})
		inject(tap, client, whole(text, "made"))
		for range 4 {
			tap.Decided(tape.Decision{From: client, Fate: tape.Edited, By: []string{"s"}}, []tape.Part{whole(text, "edited")})
		}
		store.release()
		must(t, r.Flush(t.Context()))
		say(tap, client, "after")
		tap.End(eof)
		must(t, r.Close())
		equal(t, lines(t, store, ReadOptions{}), []string{
			`1 client text "edited" edited [s] received text "kept"`,
			`2 client text "edited" edited [s] received text "xxxxxxxx"…1500`,
			`3 client text "edited" edited [s] received text "kept too"`,
			"gap 2 frames 8 bytes: tape buffer full (record.buffer)", `9 client text "after"`,
		})
	})
}

// Nothing may come behind what was dropped, and then a crash: the mark does not
// wait for either.
func TestGapsAreMarkedWithTheNextFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newGate()
		store.hold()
		r := NewRecorder(store, Options{Buffer: 1000, Drop: true})
		tap := begin(t, r)
		say(tap, client, strings.Repeat("x", 1500))
		say(tap, client, "lost")
		tap.Parts(server, both, []tape.Part{beginning(text, 8, "lost")})
		inject(tap, server, whole(text, "made"))
		store.release()
		must(t, r.Flush(t.Context()))
		want := []string{
			`1 client text "xxxxxxxx"…1500`,
			"gap 1 frames 4 bytes: tape buffer full (record.buffer)", "gap 2 frames 8 bytes: tape buffer full (record.buffer)",
		}
		equal(t, lines(t, store, ReadOptions{}), want)
		tap.Parts(server, both, []tape.Part{piece(" too")})
		must(t, r.Flush(t.Context()))
		want = append(want, "gap 0 frames 4 bytes: tape buffer full (record.buffer)")
		equal(t, lines(t, store, ReadOptions{}), want)
		tap.End(eof)
		must(t, r.Close())
		equal(t, lines(t, store, ReadOptions{}), want)
	})
}

// A frame of wstape's own that has no room leaves the one whole that comes in.
func TestAGapDoesNotTearTheFrameThatComesIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newGate()
		r := NewRecorder(store, Options{Buffer: 1000, Drop: true})
		tap := begin(t, r)
		store.hold()
		tap.Parts(client, both, []tape.Part{beginning(text, 1503, strings.Repeat("x", 1500))})
		inject(tap, client, whole(text, "made"))
		store.release()
		must(t, r.Flush(t.Context()))
		tap.Parts(client, both, []tape.Part{piece("end")})
		must(t, r.Flush(t.Context()))
		tap.End(eof)
		must(t, r.Close())
		equal(t, lines(t, store, ReadOptions{}), []string{`1 client text "xxxxxxxx"…1503`, "gap 1 frames 4 bytes: tape buffer full (record.buffer)"})
	})
}

func TestHugePartsAreStoredInPieces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newGate()
		r := NewRecorder(store, Options{})
		tap := begin(t, r)
		huge := strings.Repeat("0123456789abcde", 5<<20/15)
		tap.Parts(client, both, []tape.Part{masked(text, huge, 0x0a0b0c0d), masked(text, "next", 7)})
		inject(tap, server, whole(bin, huge))
		tap.Parts(server, both, []tape.Part{raw(huge[:maxPiece+5])})
		tap.End(eof)
		must(t, r.Close())
		for _, b := range store.batches {
			for _, seg := range b.Segments {
				if len(seg.Raw) > 2*maxPiece {
					t.Errorf("a segment of %d bytes", len(seg.Raw))
				}
			}
		}
		var plain []string
		for line, err := range Lines(t.Context(), store, 1, ReadOptions{}) {
			must(t, err)
			if m := line.Message; m.Op != tape.OpRaw && len(m.Payload) > 9 && string(m.Payload) != huge {
				t.Errorf("message %d is not what was sent", m.Seq)
			}
			plain = append(plain, brief(line))
		}
		equal(t, plain, []string{
			`1 client text "01234567"…5242875`, `2 client text "next"`, `3 server binary "01234567"…5242875 injected [operator]`,
			`4 server raw "01234567"…1048576 violation`, `5 server raw "12345"`,
		})
	})
}

func TestRefusedHandshakeIsARefusedSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newGate()
		r := NewRecorder(store, Options{})
		tap, err := r.Begin(tape.Session{URL: "/chat"})
		must(t, err)
		tap.Answered("ws://up/chat", 403, "", nil, tape.Response{Status: 403, Body: []byte("no")})
		tap.End(eof)
		must(t, r.Close())
		e, err := store.Session(t.Context(), 1)
		must(t, err)
		if e.State != tape.Refused || e.Status != 403 || string(e.Handshake.Response.Body) != "no" || e.ID == (tape.ID{}) {
			t.Errorf("got %+v", e)
		}
	})
}

func BenchmarkTapParts(b *testing.B) {
	r := NewRecorder(new(Nowhere), Options{})
	defer r.Close()
	tap, err := r.Begin(tape.Session{})
	must(b, err)
	parts := []tape.Part{masked(text, strings.Repeat("x", 128), 0x01020304)}
	b.ReportAllocs()
	b.SetBytes(128)
	for b.Loop() {
		tap.Parts(client, both, parts)
	}
}

// BenchmarkTapDecided is a message that a script looks at and lets pass.
func BenchmarkTapDecided(b *testing.B) {
	r := NewRecorder(new(Nowhere), Options{})
	defer r.Close()
	tap, err := r.Begin(tape.Session{})
	must(b, err)
	parts := []tape.Part{masked(text, strings.Repeat("x", 128), 0x01020304)}
	b.ReportAllocs()
	b.SetBytes(128)
	for b.Loop() {
		tap.Parts(client, in, parts)
		tap.Decided(tape.Decision{From: client, Fate: tape.Passed}, nil)
	}
}
