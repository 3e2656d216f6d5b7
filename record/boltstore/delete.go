package boltstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/tape"
)

// deletePages is how many pages of the file one transaction frees, about. bbolt
// rewrites the neighbours of large values that go, some three pages for each; for
// that long nothing else is written.
const deletePages = 512

// pagesOf is how many pages removing a value frees, about.
func pagesOf(value []byte) int { return 1 + len(value)/4096 }

// Delete implements [record.Store]. A session that is too large for one
// transaction loses its entry in the first one, and stays on the list of open
// sessions until the last: so nobody sees a part of it, and what a crash leaves
// is removed when the tape is next opened.
func (s *Store) Delete(ctx context.Context, numbers ...uint64) error {
	for len(numbers) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		done, whole, err := s.deleteSome(numbers)
		if err != nil {
			return err
		}
		for !whole {
			if whole, err = s.clearSome(numbers[done-1]); err != nil {
				return err
			}
		}
		numbers = numbers[done:]
	}
	return nil
}

// deleteSome removes as many of the sessions as one transaction may. Whole says
// that nothing is left of the last of them.
func (s *Store) deleteSome(numbers []uint64) (done int, whole bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.indexAll(numbers); err != nil {
		return 0, false, err
	}
	_, err = s.update(func(tx *bbolt.Tx) error {
		done, whole = 0, true
		for room := deletePages; done < len(numbers) && room > 0 && whole; done++ {
			n := numbers[done]
			if err := s.removable(tx, n); err != nil {
				if done > 0 {
					return nil // the next call says so
				}
				return err
			}
			for _, b := range []bucket{sessions, open, labels} {
				if err := b.in(tx).Delete(number(n)); err != nil {
					return err
				}
			}
			if whole, err = s.clear(tx, n, &room); err != nil {
				return err
			}
			if !whole {
				if err := open.in(tx).Put(number(n), []byte{}); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return 0, false, fmt.Errorf("write tape %s: %w", s.path, err)
	}
	s.count -= uint64(done) // which matters only when it is known
	s.changes.Bump()
	return done, whole, nil
}

func (s *Store) removable(tx *bbolt.Tx, n uint64) error {
	if sessions.in(tx).Get(number(n)) == nil {
		return fmt.Errorf("session %d: %w", n, record.ErrNotFound)
	}
	if l := s.live[n]; l != nil && l.entry.State == tape.Open {
		return fmt.Errorf("session %d: %w", n, record.ErrOpen)
	}
	return nil
}

// clearSome goes on removing a session.
func (s *Store) clearSome(n uint64) (whole bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err = s.update(func(tx *bbolt.Tx) error {
		room := deletePages
		if whole, err = s.clear(tx, n, &room); err != nil || !whole {
			return err
		}
		return open.in(tx).Delete(number(n))
	})
	if err != nil {
		return false, fmt.Errorf("write tape %s: %w", s.path, err)
	}
	return whole, nil
}

// clear removes what a session's stream and windows take, as far as there is
// room in the transaction.
func (s *Store) clear(tx *bbolt.Tx, n uint64, room *int) (whole bool, err error) {
	*room -= 3 // the entry's own
	var blockKeys, indexKeys, windowKeys [][]byte
	c := index.in(tx).Cursor()
	for k, v := c.Seek(number(n)); bytes.HasPrefix(k, number(n)) && k != nil; k, v = c.Next() {
		if *room <= 0 {
			break
		}
		*room--
		indexKeys = append(indexKeys, bytes.Clone(k))
		if block, err := s.open(index, k, v); err == nil {
			*room -= pagesOf(blocks.in(tx).Get(block))
			blockKeys = append(blockKeys, block)
		}
	}
	c = windows.in(tx).Cursor()
	for k, v := c.Seek(number(n)); bytes.HasPrefix(k, number(n)) && k != nil; k, v = c.Next() {
		if *room <= 0 {
			break
		}
		*room -= pagesOf(v)
		windowKeys = append(windowKeys, bytes.Clone(k))
	}
	for b, keys := range map[bucket][][]byte{blocks: blockKeys, index: indexKeys, windows: windowKeys} {
		for _, k := range keys {
			if err := b.in(tx).Delete(k); err != nil {
				return false, err
			}
		}
	}
	return *room > 0, nil
}

// indexAll puts all blocks into the index if it does not have those of the
// sessions. The caller holds s.mu.
func (s *Store) indexAll(numbers []uint64) error {
	for _, n := range numbers {
		if len(s.latest.refs[n]) > 0 {
			return s.write(record.Batch{}, mergeNone)
		}
	}
	return nil
}

// finishDeleting removes what is left of sessions that were being removed when a
// writer ended.
func (s *Store) finishDeleting() error {
	var left []uint64
	err := s.view(func(tx *bbolt.Tx) error {
		return open.in(tx).ForEach(func(k, _ []byte) error {
			if len(k) == 8 && sessions.in(tx).Get(k) == nil {
				left = append(left, binary.BigEndian.Uint64(k))
			}
			return nil
		})
	})
	for _, n := range left {
		for whole := false; !whole && err == nil; {
			whole, err = s.clearSome(n)
		}
	}
	return err
}

// Usage implements [record.Store]: the file's pages that are in use. Pages that
// are free, and the room by which the file grows in advance, are not.
func (s *Store) Usage(context.Context) (u record.Usage, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	err = s.view(func(tx *bbolt.Tx) error {
		if !s.counted {
			s.count = 0
			c := sessions.in(tx).Cursor()
			for k, _ := c.First(); k != nil; k, _ = c.Next() {
				s.count++
			}
			s.counted = !s.readOnly // which others may write in between
		}
		stats := s.db.Stats()
		free := int64(stats.FreePageN + stats.PendingPageN)
		if s.readOnly { // bbolt has not read the list
			if free, err = s.freePages(); err != nil {
				return err
			}
		}
		u = record.Usage{Sessions: s.count, Bytes: tx.Size() - free*int64(s.db.Info().PageSize)}
		return nil
	})
	return u, err
}

// freePages reads how many pages are free from the file.
func (s *Store) freePages() (n int64, err error) {
	p, err := openPages(s.file, func(string, ...any) {})
	if err != nil {
		return 0, err
	}
	p.seen = make([]bool, p.highWater)
	p.free()
	for _, free := range p.seen[min(uint64(len(p.seen)), 2):] {
		if free {
			n++
		}
	}
	return n, nil
}
