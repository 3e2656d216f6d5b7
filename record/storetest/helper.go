package storetest

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/tape"
)

func must(t T, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v", err)
	}
}

func expect(t T, want, got error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// second returns a call's error.
func second[V any](_ V, err error) error { return err }

// session is what the writer of a session knows of it. Its stream is arbitrary
// bytes: an engine knows nothing of what is in it.
type session struct {
	entry record.Entry

	mu   sync.Mutex
	raw  []byte
	cuts map[uint64]record.Segment // by offset, without Raw
}

// begun reserves a session; nothing of it is stored.
func begun(t T, s record.Store) *session {
	t.Helper()
	n, err := s.Begin(context.Background())
	must(t, err)
	e := record.Entry{Session: tape.Session{
		N: n, ID: tape.ID{15: byte(n)}, Started: time.Unix(int64(1e9+n), 0).UTC(), State: tape.Open,
		URL: "/chat?<&>", Upstream: "ws://127.0.0.1/chat", Client: "127.0.0.1:1234",
	}}
	return &session{entry: e, cuts: map[uint64]record.Segment{}}
}

// change is what one batch says of a session.
type change struct {
	entry   *record.Entry
	segment *record.Segment
	batch   *record.Batch
}

// peek makes a change without remembering it.
func (s *session) peek(n int) change {
	seq := uint64(len(s.cuts) + 1)
	seg := record.Segment{Session: s.entry.N, Offset: uint64(len(s.raw)), Seq: seq, T: time.Duration(seq) * time.Millisecond}
	r := rand.New(rand.NewPCG(s.entry.N, seg.Offset))
	seg.Raw = make([]byte, n)
	for i := range seg.Raw { // shrinks to about half when it is compressed
		seg.Raw[i] = "0123456789abcdef"[r.IntN(16)]
	}
	e := s.entry
	e.Size, e.Duration = seg.End(), seg.T
	e.Frames.Client, e.Bytes.Client = e.Frames.Client+1, e.Bytes.Client+uint64(n)
	return change{entry: &e, segment: &seg}
}

// more makes the session n bytes longer.
func (s *session) more(n int) change {
	c := s.peek(n)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.raw = append(s.raw, c.segment.Raw...)
	bare := *c.segment
	bare.Raw = nil
	s.cuts[bare.Offset] = bare
	s.entry = *c.entry
	return c
}

// end ends the session.
func (s *session) end() change {
	s.entry.State, s.entry.Ending = tape.Closed, &tape.Ending{Kind: tape.EndEOF}
	e := s.entry
	return change{entry: &e}
}

func join(changes ...change) (b record.Batch) {
	for _, c := range changes {
		if c.batch != nil {
			b.Entries = append(b.Entries, c.batch.Entries...)
		}
		if c.entry != nil {
			b.Entries = append(b.Entries, *c.entry)
		}
		if c.segment != nil {
			b.Segments = append(b.Segments, *c.segment)
		}
	}
	return b
}

func add(t T, s record.Store, changes ...change) {
	t.Helper()
	must(t, s.Append(context.Background(), join(changes...)))
}

// piece checks a stored segment against what was appended.
func (s *session) piece(t T, seg *record.Segment) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	cut, ok := s.cuts[seg.Offset]
	if !ok || seg.Seq != cut.Seq || seg.T != cut.T || seg.Session != s.entry.N {
		t.Errorf("segment of session %d at %d with frame %d, time %v, want session %d, frame %d, time %v",
			seg.Session, seg.Offset, seg.Seq, seg.T, s.entry.N, cut.Seq, cut.T)
	}
	if seg.Lost != "" || seg.End() > uint64(len(s.raw)) || !bytes.Equal(seg.Raw, s.raw[seg.Offset:seg.End()]) {
		t.Errorf("session %d: bytes %d to %d are not what was appended (%s)", s.entry.N, seg.Offset, seg.End(), seg.Lost)
	}
}

// same checks that the store has the session as it should be.
func (s *session) same(t T, store record.Store) {
	t.Helper()
	e, err := store.Session(context.Background(), s.entry.N)
	must(t, err)
	equalEntries(t, &e, &s.entry)
	at := uint64(0)
	for _, seg := range stream(t, store, s.entry.N, 0) {
		if seg.Offset != at {
			t.Errorf("session %d: segment at %d behind one that ends at %d", s.entry.N, seg.Offset, at)
		}
		s.piece(t, &seg)
		at = seg.End()
	}
	if at != uint64(len(s.raw)) {
		t.Errorf("session %d: %d bytes of its stream are there, want %d", s.entry.N, at, len(s.raw))
	}
}

// listed checks that the list of sessions shows the session as it should be.
func (s *session) listed(t T, store record.Store) {
	t.Helper()
	page, err := store.Sessions(context.Background(), s.entry.N-1)
	must(t, err)
	if len(page) == 0 {
		t.Fatalf("session %d is not listed", s.entry.N)
	}
	equalEntries(t, &page[0], &s.entry)
}

// equalEntries compares what JSON shows of them, which is what engines keep.
func equalEntries(t T, got, want *record.Entry) {
	t.Helper()
	g, err := got.MarshalFull()
	must(t, err)
	w, err := want.MarshalFull()
	must(t, err)
	if !bytes.Equal(g, w) || got.Size != want.Size {
		t.Errorf("session %d:\n got %d %s\nwant %d %s", want.N, got.Size, g, want.Size, w)
	}
}

// stream reads a session's stream page by page.
func stream(t T, s record.Store, n, offset uint64) (out []record.Segment) {
	t.Helper()
	for {
		page, err := s.Segments(context.Background(), n, offset)
		must(t, err)
		if len(page) == 0 {
			return out
		}
		end := page[len(page)-1].End()
		if end <= offset {
			t.Fatalf("session %d: a page from %d on ends at %d", n, offset, end)
		}
		out, offset = append(out, page...), end
	}
}

// sessions lists all sessions page by page.
func sessions(t T, s record.Store) (out []record.Entry) {
	t.Helper()
	for after := uint64(0); ; after = out[len(out)-1].N {
		page, err := s.Sessions(context.Background(), after)
		must(t, err)
		if len(page) == 0 {
			return out
		}
		out = append(out, page...)
	}
}

func numbers(entries []record.Entry) []uint64 {
	out := make([]uint64, len(entries))
	for i := range entries {
		out[i] = entries[i].N
	}
	return out
}
