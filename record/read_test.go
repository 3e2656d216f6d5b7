package record

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wstape/wstape/tape"
)

// A reader that follows a session sees every line once, in order, whether it
// was stored before or came while it was looking.
func TestFollowHasNoSeam(t *testing.T) {
	const messages = 500
	store := NewMemory()
	r := NewRecorder(store, Options{Flush: time.Millisecond})
	tap := begin(t, r, takeover)
	z := newDeflater(t, true)
	send := func(i int) {
		tap.Parts(server, both, []tape.Part{whole(compressed, z.message(fmt.Sprint("message ", i)))})
		if i%5 == 0 {
			must(t, r.Flush(t.Context()))
		}
	}
	for i := range messages / 2 {
		send(i)
	}
	must(t, r.Flush(t.Context()))
	readers := make(chan []string)
	for range 3 {
		go func() {
			var got []string
			for line, err := range Lines(context.Background(), store, 1, ReadOptions{Follow: true}) {
				if err != nil {
					t.Error(err)
					break
				}
				got = append(got, string(line.Message.Payload))
			}
			readers <- got
		}()
	}
	for i := range messages / 2 {
		send(messages/2 + i)
	}
	tap.End(eof)
	must(t, r.Close())
	var want []string
	for i := range messages {
		want = append(want, fmt.Sprint("message ", i))
	}
	for range 3 {
		equal(t, <-readers, want)
	}
}

// endsMeanwhile is a tape on which a session goes on and ends just before it is
// looked at for the nth time.
type endsMeanwhile struct {
	Reader
	looks int
	end   func()
}

func (e *endsMeanwhile) Session(ctx context.Context, n uint64) (Entry, error) {
	if e.looks--; e.looks == 0 {
		e.end()
	}
	return e.Reader.Session(ctx, n)
}

// TestSessionEndsWhileItIsRead: what came last is neither damaged nor missing.
func TestSessionEndsWhileItIsRead(t *testing.T) {
	read := func(looks int, view func(r Reader) []string) []string {
		store := NewMemory()
		r := NewRecorder(store, Options{})
		tap := begin(t, r, "")
		tap.Parts(server, both, []tape.Part{whole(text, "first"), beginning(text, 6, "sec")})
		must(t, r.Flush(t.Context()))
		got := view(&endsMeanwhile{store, looks, func() {
			tap.Parts(server, both, []tape.Part{piece("ond"), whole(text, "third")})
			tap.End(eof)
			must(t, r.Flush(t.Context()))
		}})
		must(t, r.Close())
		return got
	}
	for looks := 1; looks <= 2; looks++ { // when reading begins, and when it comes to its end
		got := read(looks, func(r Reader) []string { return linesOnce(t, r, ReadOptions{}) })
		equal(t, got, []string{`1 server text "first"`, `2 server text "second"`, `3 server text "third"`})
	}
	got := read(1, func(r Reader) (out []string) {
		for f, err := range Frames(t.Context(), r, 1, ReadOptions{}) {
			must(t, err)
			out = append(out, string(f.Payload))
		}
		return out
	})
	equal(t, got, []string{"first", "second", "third"})
}

func TestFollowEndsWithItsContext(t *testing.T) {
	w := newWriter(t)
	w.send(client, whole(text, "a"))
	store := w.store("", tape.Open)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var failed error
	for line, err := range Lines(ctx, store, 1, ReadOptions{Follow: true}) {
		if failed = err; line != nil {
			cancel()
		}
	}
	if failed != context.Canceled {
		t.Errorf("ended with %v", failed)
	}
}

func TestReaderMayStopAnywhere(t *testing.T) {
	w := newWriter(t)
	for range 10 {
		w.send(client, whole(text, "a"))
		w.cut()
	}
	store := w.store("", tape.Closed)
	for stop := range 10 {
		seen := 0
		for range Lines(t.Context(), store, 1, ReadOptions{}) {
			if seen++; seen > stop {
				break
			}
		}
		for range Frames(t.Context(), store, 1, ReadOptions{}) {
			if seen--; seen == 0 {
				break
			}
		}
	}
}

func TestMissingSessionCannotBeRead(t *testing.T) {
	var got []string
	for line, err := range Lines(t.Context(), NewMemory(), 3, ReadOptions{}) {
		got = append(got, fmt.Sprint(line, err))
	}
	for frame, err := range Frames(t.Context(), NewMemory(), 3, ReadOptions{}) {
		got = append(got, fmt.Sprint(frame, err))
	}
	equal(t, got, []string{"<nil> session 3: no such session", "<nil> session 3: no such session"})
}

func TestFramesAreAsTheyWereOnTheWire(t *testing.T) {
	w := newWriter(t)
	odd := masked(0x4b, "odd", 0x0d0c0b0a)
	odd.Violation = "reserved"
	w.send(client, masked(textOpen, "he", 0x04030201), beginning(bin, 9, "one"))
	w.send(server, whole(ping, "p"))
	w.send(client, piece("two"), piece("six"), odd, raw("zz"))
	w.part(server, in, whole(text, "in"))
	w.decide(server, tape.Edited, "s")
	w.part(server, out, whole(text, "out"))
	w.send(server, beginning(text, 7, "cut"))
	var got []string
	for f, err := range Frames(t.Context(), w.store("", tape.Closed), 1, ReadOptions{}) {
		must(t, err)
		got = append(got, fmt.Sprintf("%d %v %v %v fin %v rsv %d mask %x %q of %d %s", f.Seq, f.From, f.Leg, f.Opcode, f.Fin, f.RSV, f.Mask, f.Payload, f.Len, f.Violation))
	}
	equal(t, got, []string{
		`1 client both text fin false rsv 0 mask 01020304 "he" of 2 `,
		`2 client both binary fin true rsv 0 mask 00000000 "onetwosix" of 9 `,
		`3 server both ping fin true rsv 0 mask 00000000 "p" of 1 `,
		`4 client both reserved(11) fin false rsv 4 mask 0a0b0c0d "odd" of 3 reserved`,
		`5 client both raw fin false rsv 0 mask 00000000 "zz" of 2 not frames`,
		`6 server in text fin true rsv 0 mask 00000000 "in" of 2 `,
		`7 server out text fin true rsv 0 mask 00000000 "out" of 3 `,
		`8 server both text fin true rsv 0 mask 00000000 "cut" of 7 `,
	})
}

func TestFollowedFramesWaitForTheirEnd(t *testing.T) {
	w := newWriter(t)
	w.send(client, beginning(text, 6, "abc"))
	w.cut()
	w.send(server, whole(text, "x"))
	w.send(client, piece("def"))
	w.cut()
	store := w.store("", tape.Open, w.done[0])
	e, err := store.Session(t.Context(), 1)
	must(t, err)
	ended := e
	ended.State = tape.Closed
	got := make(chan string, 2)
	go func() {
		defer close(got)
		for f, err := range Frames(context.Background(), store, 1, ReadOptions{Follow: true}) {
			if err != nil {
				t.Error(err)
				return
			}
			got <- fmt.Sprintf("%d %s", f.Seq, f.Payload)
		}
	}()
	must(t, store.Append(t.Context(), Batch{Entries: []Entry{e}, Segments: w.done[1:]}))
	must(t, store.Append(t.Context(), Batch{Entries: []Entry{ended}}))
	var all []string
	for s := range got {
		all = append(all, s)
	}
	equal(t, all, []string{"1 abcdef", "2 x"})
}

func TestDamagedSegmentsBecomeGaps(t *testing.T) {
	w := newWriter(t)
	for i := range 4 {
		w.send(client, whole(text, fmt.Sprint("c", i)))
		w.send(server, whole(text, fmt.Sprint("s", i)))
		w.cut()
	}
	size := len(w.done[0].Raw)
	message := func(n int) string {
		return fmt.Sprintf(`%d %v text "%c%d"`, n, tape.Side((n+1)%2), "cs"[(n+1)%2], (n-1)/2)
	}
	gap := func(frames, bytes int) string {
		return fmt.Sprintf("gap %d frames %d bytes: this part of the tape is damaged: see wstape check", frames, bytes)
	}
	lost := func(seg Segment) Segment {
		return Segment{Session: 1, Offset: seg.Offset, Lost: "checksum"}
	}
	garbled := func(seg Segment) Segment {
		seg.Raw = bytes.Clone(seg.Raw)
		seg.Raw[size/2] = 0xff // the kind of the second record, which there is none of
		return seg
	}
	for _, c := range []struct {
		name     string
		segments []Segment
		want     []string
	}{
		{"missing at the beginning", w.done[1:], []string{gap(2, size), message(3), message(4), message(5), message(6), message(7), message(8)}},
		{"missing in the middle", []Segment{w.done[0], w.done[3]}, []string{message(1), message(2), gap(4, 2*size), message(7), message(8)}},
		{"missing at the end", w.done[:2], []string{message(1), message(2), message(3), message(4), gap(4, 2*size)}},
		{"all of it", []Segment{lost(w.done[0])}, []string{gap(8, 4*size)}},
		{
			"said to be lost", []Segment{w.done[0], lost(w.done[1]), w.done[2], lost(w.done[3])},
			[]string{message(1), message(2), gap(2, size), message(5), message(6), gap(2, size)},
		},
		{
			"not to be decoded", []Segment{w.done[0], garbled(w.done[1]), w.done[2], w.done[3]},
			[]string{message(1), message(2), message(3), gap(1, size-size/2), message(5), message(6), message(7), message(8)},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			equal(t, lines(t, w.store("", tape.Closed, c.segments...), ReadOptions{}), c.want)
		})
	}
}

func TestMessageAcrossADamagedPartIsPartial(t *testing.T) {
	w := newWriter(t)
	w.send(client, beginning(text, 9, "one"))
	w.send(server, whole(textOpen, "a"))
	w.cut()
	w.send(client, piece("two"))
	w.cut()
	w.send(client, piece("six"), whole(text, "after"))
	w.send(server, whole(last, "b"))
	w.cut()
	got := lines(t, w.store("", tape.Closed, w.done[0], w.done[2]), ReadOptions{})
	equal(t, got, []string{
		`1 client text "one" partial`, `2 server text "a" partial`,
		"gap 0 frames 5 bytes: this part of the tape is damaged: see wstape check",
		`3 client text "after"`, `4 server continuation "b"`,
	})
}

// counting counts the bytes that are read of a tape.
type counting struct {
	Reader
	bytes int
}

func (c *counting) Segments(ctx context.Context, n, offset uint64) ([]Segment, error) {
	page, err := c.Reader.Segments(ctx, n, offset)
	for _, seg := range page {
		c.bytes += len(seg.Raw)
	}
	return page, err
}

// Reading may begin anywhere in a session: it gives what reading from the
// beginning gives from there on, and reads little of what is before.
func TestReadingFromTheMiddle(t *testing.T) {
	const mixed = takeover + "; client_no_context_takeover"
	for _, c := range []struct {
		extensions string
		quiet      bool // the client says very little
	}{{takeover, false}, {takeover, true}, {mixed, false}, {noTakeover, false}, {"", false}} {
		t.Run(fmt.Sprint(c.extensions, c.quiet), func(t *testing.T) {
			store, places := conversation(t, c.extensions, c.quiet)
			all := lines(t, store, ReadOptions{})
			if strings.Contains(strings.Join(all, "\n"), "error") {
				t.Fatal("reading from the beginning fails")
			}
			for _, tape := range []Reader{store, merged(t, store)} {
				for _, at := range places {
					got := linesOnce(t, tape, ReadOptions{Offset: at.offset, Reuse: true})
					if len(got) == 0 || !slices.Equal(got, all[len(all)-len(got):]) {
						t.Fatalf("from %d on: %d lines, which are not the last of %d", at.offset, len(got), len(all))
					}
					notes := func(line string) bool { return strings.HasPrefix(line, "note") }
					if want := at.behind(all); !slices.Equal(slices.DeleteFunc(got, notes), want) {
						t.Fatalf("from %d on: %d messages, want %d", at.offset, len(got), len(want))
					}
				}
			}
			if n := len(store.sessions[1].windows); n > 40 {
				t.Errorf("%d windows", n)
			}
			end, size := &counting{Reader: store}, store.sessions[1].entry.Size
			linesOnce(t, end, ReadOptions{Offset: places[len(places)-1].offset})
			if end.bytes >= int(size) {
				t.Errorf("all %d bytes are read for what is behind %d", size, places[len(places)-1].offset)
			}
		})
	}
}

// conversation records a session of a few thousand frames, often with a message
// of one side inside one of the other, and names a few places in its stream.
func conversation(t *testing.T, extensions string, quiet bool) (store *Memory, places []spot) {
	r := random(t)
	store = NewMemory()
	rec := NewRecorder(store, Options{})
	tap := begin(t, rec, extensions)
	alone := Compression(&tape.Session{Extensions: extensions}).NoTakeover
	sides := [2]*deflater{newDeflater(t, !alone[client]), newDeflater(t, !alone[server])}
	var rest [2][]tape.Part // by side: of the message that is open
	for i := range 800 {
		if i%150 == 120 {
			must(t, rec.Flush(t.Context()))
			e, err := store.Session(t.Context(), 1)
			must(t, err)
			places = append(places, spot{e.Size, e.Frames.Client + e.Frames.Server + 1})
		}
		from := tape.Side(r.IntN(2))
		if quiet && i != 0 {
			from = server
		}
		if parts := rest[from]; parts != nil {
			rest[from] = nil
			tap.Parts(from, both, parts)
			continue
		}
		head, payload := byte(text), chatter(r, 1000+r.IntN(5000))
		if extensions != "" {
			head, payload = compressed, sides[from].message(payload)
		}
		if cut := r.IntN(len(payload)); i > 0 && r.IntN(2) == 0 {
			tap.Parts(from, both, []tape.Part{whole(head&^0x80, payload[:cut])})
			rest[from] = []tape.Part{whole(last, payload[cut:])}
		} else {
			tap.Parts(from, both, []tape.Part{whole(head, payload)})
		}
		if i%100 == 50 {
			tap.Note("here", "wstape")
		}
	}
	for _, from := range tape.Sides() {
		tap.Parts(from, both, rest[from])
	}
	tap.End(eof)
	must(t, rec.Close())
	return store, places
}

// spot is a place in a stream and the number of the frame that comes next.
type spot struct{ offset, next uint64 }

// behind keeps of lines the messages that begin behind a place.
func (s spot) behind(lines []string) (out []string) {
	for _, line := range lines {
		var seq uint64
		if n, _ := fmt.Sscan(line, &seq); n == 1 && seq >= s.next {
			out = append(out, line)
		}
	}
	return out
}

// merged returns a tape on which a few segments each have become one, as an
// engine makes blocks of them.
func merged(t *testing.T, from *Memory) *Memory {
	t.Helper()
	s := from.sessions[1]
	m := NewMemory()
	b := Batch{Entries: []Entry{s.entry}, Windows: s.windows}
	for i, seg := range s.segments {
		if n := len(b.Segments); i%4 > 0 {
			b.Segments[n-1].Raw = append(b.Segments[n-1].Raw, seg.Raw...)
		} else {
			seg.Raw = bytes.Clone(seg.Raw)
			b.Segments = append(b.Segments, seg)
		}
	}
	must(t, m.Append(t.Context(), b))
	return m
}

func TestReadingFromTheMiddleOfAMessageBeginsWithTheNext(t *testing.T) {
	w := newWriter(t)
	w.send(client, whole(textOpen, "a"))
	w.cut()
	w.note("between")
	w.send(client, whole(last, "b"))
	w.send(server, beginning(text, 6, "abc"))
	w.cut()
	w.send(server, piece("def"), whole(text, "next"))
	w.send(client, whole(text, "last"))
	store := w.store("", tape.Closed)
	equal(t, lines(t, store, ReadOptions{Offset: w.done[1].Offset}), []string{
		"note wstape: between", `3 server text "abcdef"`, `4 server text "next"`, `5 client text "last"`,
	})
	equal(t, lines(t, store, ReadOptions{Offset: w.done[2].Offset}), []string{`4 server text "next"`, `5 client text "last"`})
}

// Without a window reading begins at the beginning, and still shows nothing of it.
func TestNotesBeforeTheOffsetAreNotShownLate(t *testing.T) {
	w := newWriter(t)
	w.send(client, whole(textOpen, "a"))
	w.note("before")
	w.gap(server, 1, 1)
	w.cut()
	w.note("after")
	w.send(client, whole(last, "b"))
	w.send(server, whole(text, "x"))
	got := lines(t, w.store(takeover, tape.Closed), ReadOptions{Offset: w.done[0].End()})
	equal(t, got, []string{"note wstape: after", `4 server text "x"`})
}

func TestNotesAndGapsBehindACheckpointAreShown(t *testing.T) {
	store := NewMemory()
	rec := NewRecorder(store, Options{})
	tap := begin(t, rec, takeover)
	z, r := newDeflater(t, true), random(t)
	send := func(words string) {
		tap.Parts(server, both, []tape.Part{whole(compressed, z.message(words))})
	}
	for range 400 {
		send(chatter(r, 1000))
	}
	must(t, rec.Flush(t.Context()))
	e, err := store.Session(t.Context(), 1)
	must(t, err)
	tap.Note("first", "wstape")
	send("last")
	tap.End(eof)
	must(t, rec.Close())
	w, err := store.Window(t.Context(), 1, server, e.Size)
	must(t, err)
	if w.Offset == 0 || w.Offset >= e.Size {
		t.Fatalf("a window at %d of %d: this test needs one before the end", w.Offset, e.Size)
	}
	equal(t, lines(t, store, ReadOptions{Offset: e.Size}), []string{"note wstape: first", `401 server text "last"`})
	if all := strings.Join(lines(t, store, ReadOptions{}), "\n"); strings.Contains(all, "error") {
		t.Error("some messages could not be inflated")
	}
}
