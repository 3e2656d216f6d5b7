package boltstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/tape"
)

// What one call hands out at most.
const (
	pageSessions = 256
	pageBytes    = 1 << 20
)

// view runs f in a read transaction that sees what memory sees.
func (s *Store) view(f func(tx *bbolt.Tx) error) error {
	return guard(func() error { return s.db.View(f) })
}

// Sessions implements [record.Reader].
func (s *Store) Sessions(_ context.Context, after uint64) (out []record.Entry, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	err = s.view(func(tx *bbolt.Tx) error {
		c := sessions.in(tx).Cursor()
		for k, v := c.Seek(number(after + 1)); k != nil && len(out) < pageSessions; k, v = c.Next() {
			e, err := s.entry(tx, k, v)
			if errors.Is(err, record.ErrCorrupt) {
				continue // check reports it
			}
			if err != nil {
				return err
			}
			out = append(out, e)
		}
		return nil
	})
	return out, err
}

// Session implements [record.Reader].
func (s *Store) Session(_ context.Context, n uint64) (e record.Entry, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	err = s.view(func(tx *bbolt.Tx) error {
		v := sessions.in(tx).Get(number(n))
		if v == nil {
			return fmt.Errorf("session %d: %w", n, record.ErrNotFound)
		}
		e, err = s.entry(tx, number(n), v)
		return err
	})
	return e, err
}

// entry returns a session as it stands: the live one if there is one, with its label.
func (s *Store) entry(tx *bbolt.Tx, key, sealed []byte) (e record.Entry, err error) {
	if len(key) == 8 {
		if l := s.live[binary.BigEndian.Uint64(key)]; l != nil {
			e = l.entry
		}
	}
	if e.N == 0 {
		if e, err = s.openEntry(key, sealed); err != nil {
			return e, err
		}
	}
	if sealed := labels.in(tx).Get(key); sealed != nil {
		body, err := s.open(labels, key, sealed)
		if err != nil {
			return e, nil // a lost label is no reason to lose the session
		}
		var l record.Label
		if err := json.Unmarshal(body, &l); err == nil {
			e.Tags, e.Notes = l.Tags, l.Notes
		}
	}
	return e, nil
}

// Segments implements [record.Reader]. A damaged block comes as lost bytes.
func (s *Store) Segments(_ context.Context, n, offset uint64) (out []record.Segment, err error) {
	var rest *record.Segment
	var tx *bbolt.Tx
	s.mu.Lock()
	if l := s.live[n]; l != nil {
		seg := l.rest
		seg.Raw = bytes.Clone(l.rest.Raw)
		rest = &seg
	}
	err = guard(func() error { tx, err = s.db.Begin(false); return err })
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback() }()
	err = guard(func() error {
		if sessions.in(tx).Get(number(n)) == nil {
			return fmt.Errorf("session %d: %w", n, record.ErrNotFound)
		}
		size := 0
		full := false
		err := s.eachBlock(tx, n, offset, func(seg record.Segment) bool {
			out = append(out, seg)
			size += len(seg.Raw)
			full = size >= pageBytes
			return !full
		})
		if !full && rest != nil && len(rest.Raw) > 0 && rest.End() > offset {
			out = append(out, *rest)
		}
		return err
	})
	return out, err
}

// eachBlock hands out a session's blocks from the one that holds offset on,
// until f says stop.
func (s *Store) eachBlock(tx *bbolt.Tx, n, offset uint64, f func(record.Segment) bool) error {
	c := blocks.in(tx).Cursor()
	prefix := number(n)
	k, v := c.Seek(blockKey(n, offset))
	if k == nil || !bytes.Equal(k, blockKey(n, offset)) {
		// The block before may reach past offset.
		if before, sealed := seekBefore(c, blockKey(n, offset)); len(before) == 16 && bytes.HasPrefix(before, prefix) {
			k, v = before, sealed
		} else {
			k, v = c.Seek(blockKey(n, offset))
		}
	}
	for ; len(k) == 16 && bytes.HasPrefix(k, prefix); k, v = c.Next() {
		seg, err := s.openBlock(k, v)
		if errors.Is(err, record.ErrVersion) {
			return err
		}
		if err != nil {
			seg = record.Segment{Session: n, Offset: binary.BigEndian.Uint64(k[8:]), Lost: 1, Why: err.Error()}
		}
		if seg.End() > offset && !f(seg) {
			return nil
		}
	}
	return nil
}

// Window implements [record.Reader].
func (s *Store) Window(_ context.Context, n uint64, from tape.Side, offset uint64) (w record.Window, err error) {
	w = record.Window{Session: n, From: from}
	err = s.view(func(tx *bbolt.Tx) error {
		c := windows.in(tx).Cursor()
		prefix := append(number(n), byte(from))
		k, v := seekBefore(c, windowKey(n, from, offset+1))
		for ; len(k) == 17 && bytes.HasPrefix(k, prefix); k, v = c.Prev() {
			body, err := s.open(windows, k, v)
			if errors.Is(err, record.ErrCorrupt) {
				continue // an earlier one will do
			}
			if err != nil {
				return err
			}
			w.Offset, w.Bytes = binary.BigEndian.Uint64(k[9:]), body
			return nil
		}
		return nil
	})
	return w, err
}
