package boltstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/tape"
)

// What one call hands out at most.
const (
	pageSessions = 256
	pageBytes    = 1 << 20
)

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

// recorded returns a session as the recorder wrote it: the live one if there is one.
func (s *Store) recorded(key, sealed []byte) (record.Entry, error) {
	if len(key) == 8 {
		if l := s.live[binary.BigEndian.Uint64(key)]; l != nil && l.entry.N != 0 {
			return l.entry, nil
		}
	}
	return s.openEntry(key, sealed)
}

// entry returns a session as it stands, with its label.
func (s *Store) entry(tx *bbolt.Tx, key, sealed []byte) (e record.Entry, err error) {
	if e, err = s.recorded(key, sealed); err != nil {
		return e, err
	}
	if sealed := labels.in(tx).Get(key); sealed != nil {
		body, err := s.open(labels, key, sealed)
		if err != nil {
			return e, nil // a lost label is no reason to lose the session
		}
		var l record.Attached
		if err := json.Unmarshal(body, &l); err == nil {
			l.Apply(&e)
		}
	}
	return e, nil
}

// Segments implements [record.Reader]. A damaged block comes as lost bytes.
func (s *Store) Segments(_ context.Context, n, offset uint64) (out []record.Segment, err error) {
	var rest []record.Segment // what is in no block
	var tx *bbolt.Tx
	s.mu.Lock()
	refs := s.latest.refs[n]
	if l := s.live[n]; l != nil {
		rest = append(slices.Clone(s.cut[n]), l.restFrom(offset))
	}
	tx, err = s.begin()
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
		add := func(seg record.Segment) bool {
			out = append(out, seg)
			size += len(seg.Raw)
			return size < pageBytes
		}
		err := s.eachBlock(tx, n, offset, refs, add)
		for _, seg := range rest {
			if size < pageBytes && len(seg.Raw) > 0 && seg.End() > offset {
				add(seg)
			}
		}
		return err
	})
	return out, err
}

// eachBlock hands out a session's blocks from the one that holds offset on,
// until f says stop. One that cannot be read comes as lost bytes.
func (s *Store) eachBlock(tx *bbolt.Tx, n, offset uint64, refs []ref, f func(record.Segment) bool) error {
	var newer error
	s.eachIndex(tx, n, offset, refs, func(at uint64, block []byte, err error) bool {
		var seg record.Segment
		if err == nil {
			seg, err = s.openBlock(tx, n, at, block)
		}
		if errors.Is(err, record.ErrVersion) {
			newer = err
			return false
		}
		if err != nil {
			seg = record.Segment{Session: n, Offset: at, Lost: err.Error()}
		}
		return seg.End() <= offset || f(seg)
	})
	return newer
}

// Window implements [record.Reader].
func (s *Store) Window(_ context.Context, n uint64, from tape.Side, offset uint64) (w record.Window, err error) {
	w = record.Window{Session: n, From: from}
	err = s.view(func(tx *bbolt.Tx) error {
		if sessions.in(tx).Get(number(n)) == nil {
			return fmt.Errorf("session %d: %w", n, record.ErrNotFound)
		}
		c := windows.in(tx).Cursor()
		prefix := append(number(n), byte(from))
		if err := s.seen(windows, windowKey(n, from, offset+1)); err != nil {
			return err
		}
		k, v := seekBefore(c, windowKey(n, from, offset+1))
		for ; len(k) == 17 && bytes.HasPrefix(k, prefix); k, v = c.Prev() {
			body, err := s.open(windows, k, v)
			if errors.Is(err, record.ErrCorrupt) {
				if err := s.seen(windows, k); err != nil {
					return err
				}
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
