package record

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/wstape/wstape/tape"
)

// Redacted returns a reader that shows a tape without the secrets that are on it.
// What it shows is a stream of its own, made while it is read, so reading a
// session again begins anew. Sizes of streams are not known: they are 0.
func Redacted(r Reader, redact *Redactor) Reader {
	return &redactedReader{Reader: r, redact: redact, streams: map[uint64]*redactedStream{}}
}

type redactedReader struct {
	Reader
	redact *Redactor

	mu      sync.Mutex
	streams map[uint64]*redactedStream
}

func (r *redactedReader) Sessions(ctx context.Context, after uint64) ([]Entry, error) {
	page, err := r.Reader.Sessions(ctx, after)
	for i := range page {
		r.entry(&page[i])
	}
	return page, err
}

func (r *redactedReader) Session(ctx context.Context, n uint64) (Entry, error) {
	e, err := r.Reader.Session(ctx, n)
	r.entry(&e)
	return e, err
}

func (r *redactedReader) entry(e *Entry) {
	r.redact.Session(&e.Session)
	if r.redact.Payloads() {
		e.Size = 0
	}
}

func (r *redactedReader) Window(ctx context.Context, n uint64, from tape.Side, offset uint64) (Window, error) {
	if r.redact.Payloads() {
		return Window{}, nil
	}
	return r.Reader.Window(ctx, n, from, offset)
}

func (r *redactedReader) Segments(ctx context.Context, n, offset uint64) ([]Segment, error) {
	if !r.redact.Payloads() {
		return r.Reader.Segments(ctx, n, offset)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.streams[n]
	if s == nil || offset < s.given {
		e, err := r.Reader.Session(ctx, n)
		if err != nil {
			return nil, err
		}
		s = newRedactedStream(r, &e)
		r.streams[n] = s
	}
	return s.segments(ctx, offset)
}

// redactedStream is one session as it is being read.
type redactedStream struct {
	records cursor
	rewrite *rewriter
	entry   Entry
	given   uint64 // what stands before it is gone
	over    bool
	bufs    buffers
	scratch []byte
}

func newRedactedStream(r *redactedReader, e *Entry) *redactedStream {
	s := &redactedStream{records: cursor{r: r.Reader, n: e.N}, entry: *e}
	s.rewrite = newRewriter(r.redact, e.N, DefaultInflate, &s.bufs, &s.scratch)
	s.rewrite.agree(&e.Session)
	return s
}

// segments returns the next ones from an offset on, which is what was given last,
// or behind it.
func (s *redactedStream) segments(ctx context.Context, offset uint64) ([]Segment, error) {
	for !s.over {
		page, err := s.records.r.Segments(ctx, s.records.n, s.records.offset)
		if err != nil {
			return nil, err
		}
		each := func(rec *Record, _ error) bool { s.rewrite.record(rec); return true }
		for i := range page {
			s.records.offset = page[i].End()
			s.records.segment(&page[i], each)
		}
		if len(page) == 0 {
			if s.entry.State == tape.Open {
				return nil, nil
			}
			s.over = true
			s.records.end(&s.entry, each)
			s.rewrite.finish()
		}
		made := s.rewrite.take(&Entry{})
		for len(made) > 0 && made[0].End() <= offset {
			made = made[1:]
		}
		if len(made) > 0 {
			s.given = made[len(made)-1].End()
			return made, nil
		}
	}
	return nil, nil
}

// Redacting returns a store that what is appended to is redacted in first. A
// batch may not be appended a second time.
func Redacting(s Store, redact *Redactor) Store {
	return &redactingStore{Store: s, redact: redact, rewriters: map[uint64]*rewriter{}}
}

type redactingStore struct {
	Store
	redact  *Redactor
	bufs    buffers
	scratch []byte

	mu        sync.Mutex
	rewriters map[uint64]*rewriter
}

func (s *redactingStore) Append(ctx context.Context, b Batch) error {
	if !s.redact.Payloads() {
		b.Entries = slices.Clone(b.Entries)
		for i := range b.Entries {
			s.redact.Session(&b.Entries[i].Session)
		}
		return s.Store.Append(ctx, b)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := Batch{}
	for _, e := range b.Entries {
		w := s.rewriters[e.N]
		if w == nil {
			w = newRewriter(s.redact, e.N, DefaultInflate, &s.bufs, &s.scratch)
			s.rewriters[e.N] = w
		}
		w.agree(&e.Session)
		for i := range b.Segments {
			if b.Segments[i].Session == e.N {
				w.rewrite(&b.Segments[i])
			}
		}
		if e.State != tape.Open {
			w.finish()
			delete(s.rewriters, e.N)
		}
		s.redact.Session(&e.Session)
		out.Segments = append(out.Segments, w.take(&e)...)
		out.Entries = append(out.Entries, e)
	}
	for i := range b.Segments {
		n := b.Segments[i].Session
		if !slices.ContainsFunc(out.Entries, func(e Entry) bool { return e.N == n }) {
			return fmt.Errorf("append to session %d: a segment without its session cannot be redacted", n)
		}
	}
	return s.Store.Append(ctx, out)
}

func (s *redactingStore) SetLabel(ctx context.Context, n uint64, l Label) error {
	about := tape.Session{Tags: l.Tags, Notes: l.Notes}
	s.redact.Session(&about)
	return s.Store.SetLabel(ctx, n, Label{Tags: about.Tags, Notes: about.Notes})
}
