package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/tape"
)

func begin(t T, s record.Store) {
	for want := uint64(1); want <= 3; want++ {
		n, err := s.Begin(context.Background())
		must(t, err)
		if n != want {
			t.Fatalf("Begin gave %d, want %d", n, want)
		}
	}
	if all := sessions(t, s); len(all) > 0 {
		t.Errorf("sessions that were begun and not appended are there: %v", numbers(all))
	}
	expect(t, record.ErrNotFound, second(s.Session(context.Background(), 1)))
}

func missing(t T, s record.Store) {
	ctx := context.Background()
	for what, err := range map[string]error{
		"Session":  second(s.Session(ctx, 9)),
		"Segments": second(s.Segments(ctx, 9, 0)),
		"Window":   second(s.Window(ctx, 9, tape.Client, 0)),
		"SetLabel": s.SetLabel(ctx, 9, record.Label{}),
		"Delete":   s.Delete(ctx, 9),
		"Append":   s.Append(ctx, record.Batch{Segments: []record.Segment{{Session: 9, Seq: 1, Raw: []byte("x")}}}),
	} {
		if !errors.Is(err, record.ErrNotFound) {
			t.Errorf("%s of a missing session: %v, want ErrNotFound", what, err)
		}
	}
}

func keeps(t T, s record.Store) {
	one, two := begun(t, s), begun(t, s)
	for range 3 { // both sessions say something in every batch
		add(t, s, one.more(100), two.more(7))
	}
	one.same(t, s)
	two.same(t, s)
	add(t, s, one.more(50), two.end())
	one.same(t, s)
	two.same(t, s)
}

func twice(t T, s record.Store) {
	one, two := begun(t, s), begun(t, s)
	var batches []record.Batch
	for i, d := range []change{one.more(300), two.more(5), one.more(200_000), two.end(), one.more(40), one.end()} {
		batch := join(d)
		batches = append(batches, batch)
		for range 2 {
			must(t, s.Append(context.Background(), batch))
		}
		for _, old := range batches[:i] { // and one whose fate was unknown for longer
			must(t, s.Append(context.Background(), old))
		}
		t.Logf("batch %d", i)
	}
	one.same(t, s)
	two.same(t, s)
	must(t, s.Delete(context.Background(), two.entry.N)) // it is still ended
}

func atomic(t T, s record.Store) {
	one := begun(t, s)
	add(t, s, one.more(10))
	bad := join(one.peek(10), begun(t, s).peek(10))
	bad.Segments = append(bad.Segments, record.Segment{Session: 99, Seq: 1, Raw: []byte("nobody's")})
	bad.Windows = []record.Window{{Session: one.entry.N, Offset: 10, Bytes: []byte("w")}}
	expect(t, record.ErrNotFound, s.Append(context.Background(), bad))
	one.same(t, s)
	if all := sessions(t, s); len(all) != 1 {
		t.Errorf("a refused batch left sessions %v", numbers(all))
	}
	w, err := s.Window(context.Background(), one.entry.N, tape.Client, 10)
	must(t, err)
	if w.Bytes != nil {
		t.Errorf("a refused batch left a window")
	}
}

func borrowed(t T, s record.Store) {
	one := begun(t, s)
	for range 3 {
		batch := join(one.more(500))
		batch.Segments[0].Raw = append([]byte(nil), batch.Segments[0].Raw...)
		must(t, s.Append(context.Background(), batch))
		clear(batch.Segments[0].Raw) // as the recorder does, which uses its buffers again
	}
	one.same(t, s)
}

// hole is what a writer leaves behind that had to give up on a batch.
func hole(t T, s record.Store) {
	one := begun(t, s)
	add(t, s, one.more(100))
	lost := one.more(30)
	add(t, s, one.more(20))
	for _, seg := range stream(t, s, one.entry.N, 0) {
		if seg.Offset < lost.segment.End() && seg.End() > lost.segment.Offset {
			t.Errorf("bytes %d to %d are there; %d to %d were never appended",
				seg.Offset, seg.End(), lost.segment.Offset, lost.segment.End())
		}
		one.piece(t, &seg)
	}
}

func offsets(t T, s record.Store) {
	one := begun(t, s)
	for _, n := range []int{1, 1000, 150_000, 3, 200_000, 77} {
		add(t, s, one.more(n))
	}
	check := func() {
		for offset := uint64(0); offset < one.entry.Size; offset += 4999 {
			got := stream(t, s, one.entry.N, offset)
			if len(got) == 0 || got[0].Offset > offset || got[0].End() <= offset {
				t.Fatalf("the stream from %d on does not begin with the segment that holds it", offset)
			}
		}
		if got := stream(t, s, one.entry.N, one.entry.Size); len(got) > 0 {
			t.Errorf("there are segments behind the end of the stream")
		}
		one.same(t, s)
	}
	check()
	add(t, s, one.end())
	check()
}

func segmentPages(t T, s record.Store) {
	one := begun(t, s)
	for range 24 {
		add(t, s, one.more(200<<10))
	}
	page, err := s.Segments(context.Background(), one.entry.N, 0)
	must(t, err)
	size := 0
	for _, seg := range page {
		size += len(seg.Raw)
	}
	if uint64(size) >= one.entry.Size {
		t.Errorf("one page holds all %d bytes", size)
	}
	one.same(t, s)
}

func sessionPages(t T, s record.Store) {
	const count = 600
	var batch record.Batch
	for range count {
		batch = join(begun(t, s).end(), change{batch: &batch})
	}
	must(t, s.Append(context.Background(), batch))
	page, err := s.Sessions(context.Background(), 0)
	must(t, err)
	if len(page) == 0 || len(page) == count {
		t.Errorf("the first page holds %d of %d sessions", len(page), count)
	}
	all := sessions(t, s)
	for i, e := range all {
		if e.N != uint64(i+1) {
			t.Fatalf("session %d comes as number %d", e.N, i+1)
		}
	}
	if len(all) != count {
		t.Errorf("%d sessions, want %d", len(all), count)
	}
	if page, err = s.Sessions(context.Background(), count-1); len(page) != 1 || err != nil {
		t.Errorf("after %d come %v, %v", count-1, numbers(page), err)
	}
}

func label(t T, s record.Store) {
	ctx := context.Background()
	one := begun(t, s)
	add(t, s, one.more(10))
	for _, l := range []record.Label{
		{Tags: map[string]string{"bug": "17", "bare": ""}, Notes: []string{"first", "second"}},
		{Tags: map[string]string{"other": "x"}},
	} {
		must(t, s.SetLabel(ctx, one.entry.N, l))
		one.entry.Tags, one.entry.Notes = l.Tags, l.Notes
		one.same(t, s)
		one.listed(t, s)
	}
	bare := one.end()
	bare.entry.Tags, bare.entry.Notes = nil, nil // the recorder knows nothing of labels
	must(t, s.Append(ctx, join(bare)))
	one.same(t, s)
}

// tags are the recorder's own: scripts set them while a session is open.
func tags(t T, s record.Store) {
	ctx := context.Background()
	one := begun(t, s)
	set := func(what string, recorded, shown map[string]string) {
		t.Helper()
		one.entry.Tags = recorded
		e := one.entry
		must(t, s.Append(ctx, record.Batch{Entries: []record.Entry{e}})) // nothing but the tags is new
		one.entry.Tags = shown
		t.Logf("%s", what)
		one.same(t, s)
		one.listed(t, s)
	}
	add(t, s, one.more(10))
	set("the first", map[string]string{"a": "1"}, map[string]string{"a": "1"})
	first := one.entry
	set("one more and one changed", map[string]string{"a": "2", "b": ""}, map[string]string{"a": "2", "b": ""})
	must(t, s.Append(ctx, record.Batch{Entries: []record.Entry{first}})) // again
	one.same(t, s)

	must(t, s.SetLabel(ctx, one.entry.N, record.Label{Tags: map[string]string{"b": "", "mine": "x"}, Notes: []string{"a note"}}))
	one.entry.Notes = []string{"a note"}
	set("the label replaced them", map[string]string{"a": "2", "b": ""}, map[string]string{"b": "", "mine": "x"})
	set("what is set afterwards is added", map[string]string{"a": "3", "b": "", "c": "4"}, map[string]string{"a": "3", "b": "", "c": "4", "mine": "x"})

	old := one.more(10)
	old.entry.Tags = map[string]string{"a": "3", "b": "", "c": "4"}
	must(t, s.Append(ctx, join(old)))
	one.same(t, s)
	one.entry.State, one.entry.Ending = tape.Closed, &tape.Ending{Kind: tape.EndEOF}
	set("at the end", map[string]string{"a": "3", "b": "", "c": "4", "d": "5"}, map[string]string{"a": "3", "b": "", "c": "4", "d": "5", "mine": "x"})
	must(t, s.Append(ctx, join(old))) // again
	one.same(t, s)
	must(t, s.SetLabel(ctx, one.entry.N, record.Label{}))
	one.entry.Tags, one.entry.Notes = nil, nil
	one.same(t, s)
}

func remove(t T, s record.Store) {
	ctx := context.Background()
	one, two := begun(t, s), begun(t, s)
	add(t, s, one.more(200_000), two.more(300_000))
	expect(t, record.ErrOpen, s.Delete(ctx, one.entry.N))
	one.same(t, s)
	add(t, s, one.end())
	must(t, s.Delete(ctx, one.entry.N))

	n := one.entry.N
	expect(t, record.ErrNotFound, second(s.Session(ctx, n)))
	expect(t, record.ErrNotFound, second(s.Segments(ctx, n, 0)))
	expect(t, record.ErrNotFound, s.Delete(ctx, n))
	if all := sessions(t, s); len(all) != 1 || all[0].N != two.entry.N {
		t.Errorf("sessions %v are there, want the other one only", numbers(all))
	}
	two.same(t, s)
	if next, err := s.Begin(ctx); err != nil || next != 3 {
		t.Errorf("the next session is %d, %v: numbers are not used again", next, err)
	}
}

func removeMany(t T, s record.Store) {
	ctx := context.Background()
	var all []*session
	var batch record.Batch
	for range 300 {
		one := begun(t, s)
		b := join(one.more(10), one.end())
		batch.Entries, batch.Segments = append(batch.Entries, b.Entries...), append(batch.Segments, b.Segments...)
		all = append(all, one)
	}
	long := begun(t, s)
	must(t, s.Append(ctx, batch))
	for range 80 { // as blocks of its own
		add(t, s, long.more(130<<10))
	}
	add(t, s, long.end())
	open := begun(t, s)
	add(t, s, open.more(10))
	var first []uint64
	for _, one := range all[:250] {
		first = append(first, one.entry.N)
	}
	must(t, s.Delete(ctx, first...))
	must(t, s.Delete(ctx))
	expect(t, record.ErrOpen, s.Delete(ctx, long.entry.N, all[250].entry.N, open.entry.N, all[251].entry.N))
	expect(t, record.ErrNotFound, s.Delete(ctx, all[252].entry.N, all[252].entry.N, all[253].entry.N))
	want := append(all[253:], open)
	if got := sessions(t, s); len(got) != len(want)+1 || got[0].N != all[251].entry.N {
		t.Errorf("sessions %v are there", numbers(got))
	}
	for _, one := range append(want, all[251]) {
		one.same(t, s)
	}
}

// usage grows with what is appended and shrinks with what is removed.
func usage(t T, s record.Store) {
	ctx := context.Background()
	say := func(sessions uint64) int64 {
		t.Helper()
		u, err := s.Usage(ctx)
		must(t, err)
		if u.Sessions != sessions {
			t.Errorf("%d sessions, want %d", u.Sessions, sessions)
		}
		return u.Bytes
	}
	empty := say(0)
	one, two := begun(t, s), begun(t, s)
	add(t, s, one.more(2<<20), one.end())
	afterOne := say(1)
	add(t, s, two.more(1<<20))
	add(t, s, two.more(10), two.end())
	both := say(2)
	must(t, s.SetLabel(ctx, one.entry.N, record.Label{Notes: []string{"a note"}}))
	say(2)
	if afterOne < empty+1<<19 || both < afterOne+1<<18 {
		t.Errorf("%d bytes, %d with 2 MiB that shrink to half, %d with one more", empty, afterOne, both)
	}
	must(t, s.Delete(ctx, one.entry.N))
	if left := say(1); left > both-1<<19 {
		t.Errorf("%d bytes of %d are in use when the larger of two sessions is gone", left, both)
	}
}

func window(t T, s record.Store) {
	ctx := context.Background()
	one, two := begun(t, s), begun(t, s)
	batch := join(one.more(1000), two.more(1000))
	at := func(n uint64, from tape.Side, offset uint64) record.Window {
		return record.Window{Session: n, From: from, Offset: offset, Bytes: fmt.Appendf(nil, "%d %v %d", n, from, offset)}
	}
	batch.Windows = []record.Window{at(1, tape.Client, 100), at(1, tape.Client, 300), at(1, tape.Server, 200), at(2, tape.Client, 50)}
	must(t, s.Append(ctx, batch))
	must(t, s.Append(ctx, join(one.more(1000))))
	must(t, s.Append(ctx, batch)) // again, which must not make an old window the last
	for _, want := range []struct {
		n, offset uint64
		from      tape.Side
		at        uint64 // 0 for none
	}{
		{1, 99, tape.Client, 0}, {1, 100, tape.Client, 100}, {1, 299, tape.Client, 100}, {1, 300, tape.Client, 300},
		{1, 9999, tape.Client, 300}, {1, 199, tape.Server, 0}, {1, 200, tape.Server, 200}, {1, 9999, tape.Server, 200},
		{2, 49, tape.Client, 0}, {2, 51, tape.Client, 50}, {2, 9999, tape.Server, 0},
	} {
		got, err := s.Window(ctx, want.n, want.from, want.offset)
		must(t, err)
		exp := record.Window{Session: want.n, From: want.from}
		if want.at > 0 {
			exp = at(want.n, want.from, want.at)
		}
		if got.Session != exp.Session || got.From != exp.From || got.Offset != exp.Offset || string(got.Bytes) != string(exp.Bytes) {
			t.Errorf("session %d, %v, at %d: window at %d %q, want %d %q",
				want.n, want.from, want.offset, got.Offset, got.Bytes, exp.Offset, exp.Bytes)
		}
	}
}

func wait(t T, s record.Store) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	version, err := s.Wait(ctx, 0)
	must(t, err)
	one := begun(t, s)
	for name, do := range map[string]func() error{
		"Append":   func() error { return s.Append(ctx, join(one.more(10))) },
		"SetLabel": func() error { add(t, s, one.peek(10)); return s.SetLabel(ctx, one.entry.N, record.Label{}) },
	} {
		woken := make(chan error, 1)
		since := version
		go func() {
			var err error
			if version, err = s.Wait(ctx, since); err == nil && version <= since {
				err = fmt.Errorf("version %d after %d", version, since)
			}
			woken <- err
		}()
		must(t, do())
		if err := <-woken; err != nil {
			t.Errorf("wait for %s: %v", name, err)
		}
	}
	for since := version; ; since = version { // until there is nothing new
		short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
		version, err = s.Wait(short, since)
		cancel()
		if err != nil {
			expect(t, context.DeadlineExceeded, err)
			return
		}
	}
}

func concurrent(t T, s record.Store) {
	one := begun(t, s)
	add(t, s, one.more(100))
	const appends = 40
	var wg sync.WaitGroup
	defer wg.Wait()
	for range 3 {
		wg.Go(func() {
			ctx := context.Background()
			for have, version := uint64(0), uint64(0); ; {
				var err error
				if version, err = s.Wait(ctx, version); err != nil {
					t.Errorf("wait: %v", err)
					return
				}
				e, err := s.Session(ctx, 1)
				if err != nil {
					t.Errorf("session: %v", err)
					return
				}
				got := stream(t, s, 1, have)
				for i := range got {
					one.piece(t, &got[i])
					have = got[i].End()
				}
				if have < e.Size {
					t.Errorf("the session says %d bytes, %d are there", e.Size, have)
				}
				if e.State != tape.Open {
					return
				}
			}
		})
	}
	for i := range appends {
		add(t, s, one.more(1+i*400))
	}
	add(t, s, one.end())
}
