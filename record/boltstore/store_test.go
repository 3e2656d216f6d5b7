package boltstore_test

import (
	"context"
	"path/filepath"
	"sync"
	"testing"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/record/boltstore"
	"github.com/wstape/wstape/record/storetest"
	"github.com/wstape/wstape/tape"
)

func TestBoltIsAStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) record.Store { return open(t, filepath.Join(t.TempDir(), "t.db")) })
}

func TestBoltIsAStoreWhoseFileIsClosedBetweenCalls(t *testing.T) {
	storetest.Run(t, func(t *testing.T) record.Store {
		path := filepath.Join(t.TempDir(), "t.db")
		s := &reopening{t: t, path: path, Store: open(t, path), open: map[uint64]bool{}}
		return s
	})
}

// reopening closes and opens the tape before every call, unless a session is
// open, which that would interrupt.
type reopening struct {
	t    *testing.T
	path string
	mu   sync.Mutex
	*boltstore.Store
	open    map[uint64]bool
	begun   bool           // the last call was Begin, after which another may come at once
	changes record.Changes // outlive the stores
}

// call runs f on a store that was just opened.
func call[V any](r *reopening, f func(*boltstore.Store) (V, error)) (V, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.begun = false
	if len(r.open) == 0 {
		if err := r.Store.Close(); err != nil {
			r.t.Errorf("close: %v", err)
		}
		r.Store = open(r.t, r.path)
	}
	return f(r.Store)
}

func (r *reopening) change(f func(*boltstore.Store) error) error {
	_, err := call(r, func(s *boltstore.Store) (struct{}, error) { return struct{}{}, f(s) })
	if err == nil {
		r.changes.Bump()
	}
	return err
}

func (r *reopening) Begin(ctx context.Context) (uint64, error) {
	if !r.begun {
		defer func() { r.begun = true }()
		return call(r, func(s *boltstore.Store) (uint64, error) { return s.Begin(ctx) })
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.Store.Begin(ctx)
}

func (r *reopening) Append(ctx context.Context, b record.Batch) error {
	return r.change(func(s *boltstore.Store) error {
		err := s.Append(ctx, b)
		for _, e := range b.Entries {
			if now, err := s.Session(ctx, e.N); err == nil && now.State == tape.Open {
				r.open[e.N] = true
			} else {
				delete(r.open, e.N)
			}
		}
		return err
	})
}

func (r *reopening) SetLabel(ctx context.Context, n uint64, l record.Label) error {
	return r.change(func(s *boltstore.Store) error { return s.SetLabel(ctx, n, l) })
}

func (r *reopening) Delete(ctx context.Context, numbers ...uint64) error {
	return r.change(func(s *boltstore.Store) error { return s.Delete(ctx, numbers...) })
}

func (r *reopening) Usage(ctx context.Context) (record.Usage, error) {
	return call(r, func(s *boltstore.Store) (record.Usage, error) { return s.Usage(ctx) })
}

func (r *reopening) Sessions(ctx context.Context, after uint64) ([]record.Entry, error) {
	return call(r, func(s *boltstore.Store) ([]record.Entry, error) { return s.Sessions(ctx, after) })
}

func (r *reopening) Session(ctx context.Context, n uint64) (record.Entry, error) {
	return call(r, func(s *boltstore.Store) (record.Entry, error) { return s.Session(ctx, n) })
}

func (r *reopening) Segments(ctx context.Context, n, offset uint64) ([]record.Segment, error) {
	return call(r, func(s *boltstore.Store) ([]record.Segment, error) { return s.Segments(ctx, n, offset) })
}

func (r *reopening) Window(ctx context.Context, n uint64, from tape.Side, offset uint64) (record.Window, error) {
	return call(r, func(s *boltstore.Store) (record.Window, error) { return s.Window(ctx, n, from, offset) })
}

func (r *reopening) Wait(ctx context.Context, since uint64) (uint64, error) {
	return r.changes.Wait(ctx, since)
}
