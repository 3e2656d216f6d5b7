package boltstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/tape"
)

// load finds what a writer that did not come to its end left behind: sessions
// marked open, and tails. After it, memory shows them as interrupted sessions
// with everything that was written of them; the file is as it was.
func (s *Store) load(tx *bbolt.Tx) error {
	if err := s.seen(blocks, bytes.Repeat([]byte{0xff}, 8)); err != nil {
		return err
	}
	if k, _ := blocks.in(tx).Cursor().Last(); len(k) == 8 {
		s.lastBlock = binary.BigEndian.Uint64(k)
	}
	if err := s.loadRecent(tx); err != nil {
		return err
	}
	err := open.in(tx).ForEach(func(k, _ []byte) error {
		_, err := s.recall(tx, k)
		return err
	})
	if err != nil {
		return err
	}
	err = tails.in(tx).ForEach(func(k, sealed []byte) error {
		segments, err := s.openTail(k, sealed)
		if err != nil {
			return nil // check reports it; the rest is worth having
		}
		for i := range segments {
			if err := s.reclaim(tx, binary.BigEndian.Uint64(k), &segments[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, l := range s.live {
		if err := s.catchUp(tx, l); err != nil {
			return err
		}
	}
	return nil
}

// recall loads one session that was not finished, nil if it cannot be read.
func (s *Store) recall(tx *bbolt.Tx, key []byte) (*live, error) {
	if len(key) != 8 {
		return nil, nil
	}
	n := binary.BigEndian.Uint64(key)
	if l := s.live[n]; l != nil {
		return l, nil
	}
	entry, err := s.openEntry(key, sessions.in(tx).Get(key))
	if errors.Is(err, record.ErrCorrupt) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	l := &live{entry: entry, stored: true, rest: record.Segment{Session: n, Offset: s.blocksEnd(tx, n)}}
	if entry.State == tape.Open {
		l.entry.State = tape.Interrupted
	}
	s.live[n] = l
	return l, nil
}

// blocksEnd returns how much of a session's stream is in blocks.
func (s *Store) blocksEnd(tx *bbolt.Tx, n uint64) (end uint64) {
	refs := s.latest.refs[n]
	if len(refs) > 0 {
		end = refs[len(refs)-1].offset
	} else if k, _ := seekBefore(index.in(tx).Cursor(), blockKey(n+1, 0)); len(k) == 16 && binary.BigEndian.Uint64(k) == n {
		end = binary.BigEndian.Uint64(k[8:])
	} else {
		return 0
	}
	_ = s.eachBlock(tx, n, end, refs, func(seg record.Segment) bool {
		if seg.Lost == "" {
			end = seg.End()
		}
		return true
	})
	return end
}

// reclaim takes a segment out of a tail into the end of its session's stream,
// unless a block has it already.
func (s *Store) reclaim(tx *bbolt.Tx, tailKey uint64, seg *record.Segment) error {
	l, err := s.recall(tx, number(seg.Session))
	if err != nil || l == nil || seg.Offset < l.rest.End() {
		return err
	}
	if len(l.rest.Raw) > 0 && seg.Offset > l.rest.End() {
		s.cut[seg.Session] = append(s.cut[seg.Session], l.rest) // a damaged tail lies between: they cannot be joined
		l.rest.Raw = nil
	}
	if len(l.rest.Raw) == 0 {
		l.rest = *seg
		l.rest.Raw = append([]byte(nil), seg.Raw...)
		return nil
	}
	l.rest.Raw = append(l.rest.Raw, seg.Raw...)
	return nil
}

// catchUp counts what was written after the session itself was.
func (s *Store) catchUp(tx *bbolt.Tx, l *live) error {
	n := l.entry.N
	err := s.eachBlock(tx, n, l.entry.Size, s.latest.refs[n], func(seg record.Segment) bool {
		return seg.Lost != "" || l.entry.Extend(&seg) == nil
	})
	if err != nil {
		return err
	}
	for _, seg := range append(slices.Clone(s.cut[n]), l.rest) {
		if l.entry.Size < seg.End() && l.entry.Extend(&seg) != nil {
			break // check reports it
		}
	}
	return nil
}

// settle makes the file say what load found out, and removes what is left of
// sessions that a writer was removing.
func (s *Store) settle() error {
	if err := s.settleLive(); err != nil {
		return err
	}
	return s.finishDeleting()
}

func (s *Store) settleLive() error {
	if len(s.live)+s.latest.count == 0 {
		return s.dropTails()
	}
	var b record.Batch
	for _, l := range s.live {
		b.Entries = append(b.Entries, l.entry)
	}
	if err := s.write(b, mergeAll); err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	return s.dropTails()
}

func (s *Store) dropTails() error {
	_, err := s.update(func(tx *bbolt.Tx) error {
		return deletePrefix(tails.in(tx), nil)
	})
	return err
}

func (s *Store) openTail(k, sealed []byte) ([]record.Segment, error) {
	if len(k) != 8 {
		return nil, fmt.Errorf("tails %.32x: %w: wrong key", k, record.ErrCorrupt)
	}
	body, err := s.open(tails, k, sealed)
	if err != nil {
		return nil, err
	}
	segments, err := record.ParseTail(body)
	if err != nil {
		return nil, fmt.Errorf("tails %.32x: %w", k, err)
	}
	return segments, nil
}

// openBlock unpacks the block that the index names for a place in a stream.
func (s *Store) openBlock(tx *bbolt.Tx, n, offset uint64, block []byte) (record.Segment, error) {
	if err := s.seen(blocks, block); err != nil {
		return record.Segment{}, err
	}
	sealed := blocks.in(tx).Get(block)
	if sealed == nil {
		return record.Segment{}, fmt.Errorf("blocks %.32x: %w: it is missing", block, record.ErrCorrupt)
	}
	body, err := s.open(blocks, block, sealed)
	if err != nil {
		return record.Segment{}, err
	}
	segments, err := record.ParseTail(body)
	if err != nil || len(segments) != 1 || segments[0].Session != n || segments[0].Offset != offset {
		return record.Segment{}, fmt.Errorf("blocks %.32x: %w: it is not what the index says", block, record.ErrCorrupt)
	}
	return segments[0], nil
}

// seekBefore returns the last entry whose key is below key.
func seekBefore(c *bbolt.Cursor, key []byte) (k, v []byte) {
	if k, _ := c.Seek(key); k == nil {
		return c.Last()
	}
	return c.Prev()
}
