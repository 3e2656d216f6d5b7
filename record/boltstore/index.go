package boltstore

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/wstape/wstape/record"
)

// ref says where a block is: what the index holds.
type ref struct{ session, offset, block uint64 }

// latest is the end of the index. A write of many sessions would touch a page
// of the index for each; instead it puts what it adds into one value of the
// bucket "recent", and when a few thousand have gathered all of them go into
// the index at once, many to a page.
type latest struct {
	refs  map[uint64][]ref // by session, in order; slices only ever grow
	count int
	key   uint64 // highest in the bucket
	made  []ref  // by the write under way
	max   int    // how many may gather
}

const maxLatest = 2048

// indexMade makes the values that keep what the write under way has added.
// Emptied means that everything is in the index now.
func (s *Store) indexMade(merge merging, values []value) (_ []value, emptied bool) {
	made := s.latest.made
	if s.latest.count+len(made) == 0 {
		return values, false
	}
	if merge == mergeOld && s.latest.count+len(made) < s.latest.max {
		if len(made) == 0 {
			return values, false
		}
		var body []byte
		for _, r := range made {
			for _, v := range [...]uint64{r.session, r.offset, r.block} {
				body = binary.AppendUvarint(body, v)
			}
		}
		return append(values, s.seal(recent, number(s.latest.key+1), body, record.Plain)), false
	}
	all := slices.Clone(made)
	for _, refs := range s.latest.refs {
		all = append(all, refs...)
	}
	sorted := make([]value, len(all))
	for i, r := range all {
		sorted[i] = s.seal(index, blockKey(r.session, r.offset), number(r.block), record.Plain)
	}
	slices.SortFunc(sorted, func(a, b value) int { return bytes.Compare(a.key, b.key) })
	return append(values, sorted...), true
}

// applyMade makes memory agree with what was committed.
func (s *Store) applyMade(emptied bool) {
	l := &s.latest
	if emptied {
		l.refs, l.count = map[uint64][]ref{}, 0
	} else if len(l.made) > 0 {
		l.key++
		s.remember(l.made)
	}
}

func (s *Store) remember(refs []ref) {
	for _, r := range refs {
		s.latest.refs[r.session] = append(s.latest.refs[r.session], r)
	}
	s.latest.count += len(refs)
}

// loadRecent reads what a writer left out of the index. Where a value is damaged
// the blocks themselves say whose they are; check reports it.
func (s *Store) loadRecent(tx *bbolt.Tx) error {
	if recent.in(tx) == nil {
		return nil
	}
	damaged := false
	err := recent.in(tx).ForEach(func(k, sealed []byte) error {
		refs, err := s.openRecent(k, sealed)
		if damaged = damaged || err != nil; err != nil {
			return nil
		}
		s.latest.key = max(s.latest.key, binary.BigEndian.Uint64(k))
		s.remember(refs)
		return nil
	})
	if err != nil || !damaged {
		return err
	}
	return s.adopt(tx)
}

// adopt looks at all blocks for those that nothing names.
func (s *Store) adopt(tx *bbolt.Tx) error {
	named := map[uint64]bool{}
	for _, refs := range s.latest.refs {
		for _, r := range refs {
			named[r.block] = true
		}
	}
	err := index.in(tx).ForEach(func(k, sealed []byte) error {
		if block, err := s.open(index, k, sealed); err == nil && len(block) == 8 {
			named[binary.BigEndian.Uint64(block)] = true
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := s.seenAll(blocks); err != nil {
		return err
	}
	err = blocks.in(tx).ForEach(func(k, sealed []byte) error {
		if len(k) != 8 || named[binary.BigEndian.Uint64(k)] {
			return nil
		}
		body, err := s.open(blocks, k, sealed)
		if err != nil {
			return nil
		}
		if segments, err := record.ParseTail(body); err == nil && len(segments) == 1 {
			s.remember([]ref{{segments[0].Session, segments[0].Offset, binary.BigEndian.Uint64(k)}})
		}
		return nil
	})
	for _, refs := range s.latest.refs {
		slices.SortFunc(refs, func(a, b ref) int { return cmp.Compare(a.offset, b.offset) })
	}
	return err
}

func (s *Store) openRecent(k, sealed []byte) (refs []ref, err error) {
	if len(k) != 8 {
		return nil, fmt.Errorf("recent %.32x: %w: wrong key", k, record.ErrCorrupt)
	}
	body, err := s.open(recent, k, sealed)
	for len(body) > 0 && err == nil {
		var v [3]uint64
		for i := range v {
			n := 0
			if v[i], n = binary.Uvarint(body); n <= 0 {
				return nil, fmt.Errorf("recent %.32x: %w: cut short", k, record.ErrCorrupt)
			}
			body = body[n:]
		}
		refs = append(refs, ref{v[0], v[1], v[2]})
	}
	return refs, err
}

// eachIndex hands out where a session's blocks begin and their keys, from the
// one that may hold offset on, until f says stop. A key that cannot be read is
// nil and comes with the reason. Refs are those that the index does not name.
func (s *Store) eachIndex(tx *bbolt.Tx, n, offset uint64, refs []ref, f func(at uint64, block []byte, err error) bool) {
	first, found := slices.BinarySearchFunc(refs, offset, func(r ref, offset uint64) int {
		if r.offset < offset {
			return -1
		}
		return int(min(r.offset-offset, 1))
	})
	if !found && first > 0 {
		first-- // the block before may reach past offset
	} else if !found {
		if !s.eachIndexed(tx, n, offset, f) {
			return
		}
	}
	for _, r := range refs[first:] {
		if !f(r.offset, number(r.block), nil) {
			return
		}
	}
}

// eachIndexed is eachIndex for what is in the bucket; false if f said stop.
func (s *Store) eachIndexed(tx *bbolt.Tx, n, offset uint64, f func(at uint64, block []byte, err error) bool) bool {
	c := index.in(tx).Cursor()
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
		block, err := s.open(index, k, v)
		if err == nil && len(block) != 8 {
			block, err = nil, fmt.Errorf("index %.32x: %w: wrong length", k, record.ErrCorrupt)
		}
		if !f(binary.BigEndian.Uint64(k[8:]), block, err) {
			return false
		}
	}
	return true
}
