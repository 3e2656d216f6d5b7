package record

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/wstape/wstape/tape"
)

// Memory is a tape that lives in memory: for cassettes while they are looked
// at, and as the oracle of the engines' tests. Safe for concurrent use.
type Memory struct {
	changes Changes

	mu       sync.Mutex
	last     uint64
	sessions map[uint64]*memSession
}

type memSession struct {
	entry    Entry
	label    *Attached
	segments []Segment // sorted by offset
	windows  []Window
}

var _ Store = (*Memory)(nil)

// NewMemory returns an empty tape.
func NewMemory() *Memory { return &Memory{sessions: map[uint64]*memSession{}} }

// pageSessions and pageBytes bound what one call hands out.
const (
	pageSessions = 256
	pageBytes    = 1 << 20
)

func (m *Memory) Begin(context.Context) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last++
	return m.last, nil
}

func (m *Memory) Append(_ context.Context, b Batch) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, seg := range b.Segments {
		inBatch := func(e Entry) bool { return e.N == seg.Session }
		if m.sessions[seg.Session] == nil && !slices.ContainsFunc(b.Entries, inBatch) {
			return fmt.Errorf("append to session %d: %w", seg.Session, ErrNotFound)
		}
	}
	for _, e := range b.Entries {
		s := m.sessions[e.N]
		if s == nil {
			s = &memSession{}
			m.sessions[e.N] = s
			m.last = max(m.last, e.N)
		}
		if e.Supersedes(&s.entry) || s.entry.N == 0 {
			s.entry = e
		}
	}
	for _, seg := range b.Segments {
		s := m.sessions[seg.Session]
		if n := len(s.segments); n == 0 || s.segments[n-1].End() <= seg.Offset {
			seg.Raw, seg.buf = slices.Clone(seg.Raw), nil
			s.segments = append(s.segments, seg)
		}
	}
	for _, w := range b.Windows {
		if s := m.sessions[w.Session]; s != nil {
			s.windows = append(s.windows, w)
		}
	}
	m.changes.Bump()
	return nil
}

func (s *memSession) labelled() Entry {
	e := s.entry
	if s.label != nil {
		s.label.Apply(&e)
	}
	return e
}

func (m *Memory) Sessions(_ context.Context, after uint64) ([]Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []Entry
	for n := after + 1; n <= m.last && len(out) < pageSessions; n++ {
		if s := m.sessions[n]; s != nil {
			out = append(out, s.labelled())
		}
	}
	return out, nil
}

func (m *Memory) get(n uint64) (*memSession, error) {
	s := m.sessions[n]
	if s == nil {
		return nil, fmt.Errorf("session %d: %w", n, ErrNotFound)
	}
	return s, nil
}

func (m *Memory) Session(_ context.Context, n uint64) (Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, err := m.get(n)
	if err != nil {
		return Entry{}, err
	}
	return s.labelled(), nil
}

func (m *Memory) Segments(_ context.Context, n, offset uint64) ([]Segment, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, err := m.get(n)
	if err != nil {
		return nil, err
	}
	var out []Segment
	size := 0
	for _, seg := range s.segments {
		if seg.End() > offset && size < pageBytes {
			out = append(out, seg)
			size += len(seg.Raw)
		}
	}
	return out, nil
}

func (m *Memory) Window(_ context.Context, n uint64, from tape.Side, offset uint64) (Window, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, err := m.get(n)
	if err != nil {
		return Window{}, err
	}
	best := Window{Session: n, From: from}
	for _, w := range s.windows {
		if w.From == from && w.Offset <= offset && w.Offset >= best.Offset {
			best = w
		}
	}
	return best, nil
}

func (m *Memory) Wait(ctx context.Context, since uint64) (uint64, error) {
	return m.changes.Wait(ctx, since)
}

func (m *Memory) SetLabel(_ context.Context, n uint64, l Label) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, err := m.get(n)
	if err != nil {
		return err
	}
	label := Attach(l, &s.entry)
	s.label = &label
	m.changes.Bump()
	return nil
}

func (m *Memory) Delete(_ context.Context, numbers ...uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, n := range numbers {
		s, err := m.get(n)
		if err != nil {
			return err
		}
		if s.entry.State == tape.Open {
			return fmt.Errorf("session %d: %w", n, ErrOpen)
		}
		delete(m.sessions, n)
		m.changes.Bump()
	}
	return nil
}

// Usage counts the streams.
func (m *Memory) Usage(context.Context) (Usage, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	u := Usage{Sessions: uint64(len(m.sessions))}
	for _, s := range m.sessions {
		for i := range s.segments {
			u.Bytes += int64(len(s.segments[i].Raw))
		}
	}
	return u, nil
}

// Close does nothing: the tape goes with the process.
func (m *Memory) Close() error { return nil }
