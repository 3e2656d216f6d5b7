package boltstore

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/tape"
)

// change is what one write does to a session. The live session is not touched
// before the transaction has been committed, so that a failed write can be
// tried again.
type change struct {
	live   *live
	entry  record.Entry
	rest   record.Segment   // what of the stream is in no block afterwards
	marks  []mark           // in it
	tail   []record.Segment // of the batch: what goes into its tail
	fresh  int              // bytes of it
	merged bool             // a block was made, so the tails before hold nothing of it any more
	store  bool             // the session itself is written
}

// Append implements [record.Writer].
func (s *Store) Append(_ context.Context, b record.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.write(b, mergeOld); err != nil {
		return fmt.Errorf("write tape %s: %w", s.path, err)
	}
	s.changes.Bump()
	if err := s.astray(); err != nil {
		return fmt.Errorf("write tape %s: %w", s.path, err)
	}
	return nil
}

// What is merged beside the sessions that have a full block or have ended.
type merging int

const (
	mergeOld  merging = iota // the oldest tails, when there are too many
	mergeNone                // nothing, but everything goes into the index
	mergeAll
)

// write stores a batch in one transaction. The caller holds s.mu.
func (s *Store) write(b record.Batch, merge merging) error {
	changes := map[uint64]*change{}
	var order []*change
	get := func(n uint64, l *live) *change {
		c := changes[n]
		if c == nil {
			c = &change{live: l, entry: l.entry, rest: l.rest, marks: l.marks}
			changes[n] = c
			order = append(order, c)
		}
		return c
	}
	s.beginWrite(&b)
	for _, e := range b.Entries {
		l, err := s.lively(e.N)
		if err != nil {
			return err
		}
		c := get(e.N, l)
		if c.live.stored && !e.Supersedes(&c.entry) {
			continue
		}
		c.store = c.store || !c.live.stored || e.State != tape.Open || e.Status != c.entry.Status || !maps.Equal(e.Tags, c.entry.Tags)
		c.entry = e
	}
	for i := range b.Segments {
		seg := &b.Segments[i]
		if changes[seg.Session] == nil {
			l, err := s.lively(seg.Session)
			if err != nil {
				return err
			}
			if !l.stored {
				return fmt.Errorf("session %d: %w", seg.Session, record.ErrNotFound)
			}
			get(seg.Session, l)
		}
		changes[seg.Session].add(s, seg)
	}
	for _, n := range s.overdue(merge) {
		get(n, s.live[n]).merge(s)
	}
	for _, c := range order {
		if c.entry.State != tape.Open || c.fresh >= s.directBytes {
			c.merge(s)
		}
		c.keep()
		c.store = c.store || c.entry.Size-c.live.counted >= countBytes
	}
	values := s.packBlocks()
	for _, w := range b.Windows {
		if changes[w.Session] == nil && s.live[w.Session] == nil {
			continue
		}
		values = append(values, s.seal(windows, windowKey(w.Session, w.From, w.Offset), w.Bytes, record.S2))
	}
	newTail := s.tailOf(order)
	if newTail.size > 0 {
		values = append(values, s.sealTail(order, newTail.key))
	}
	s.giveWay()
	values, err := s.storeEntries(order, values)
	if err != nil {
		return err
	}
	values, indexed := s.indexMade(merge, values)
	freed := s.freedTails(order)
	s.giveWay()
	done, err := s.commit(values, order, freed, indexed)
	if done {
		s.apply(order, freed, newTail)
		s.applyMade(indexed)
	}
	return err
}

// Past hurryBytes in one batch the disk or the CPU is what holds traffic up;
// s2 costs a third of zstd's time then.
// Growing the file costs an fsync, so it grows in larger steps, but to no more than
// about twice its length at once; Close gives back what was not needed.
const (
	hurryBytes = 2 << 20
	hurryAlloc = 128 << 20
	calmAlloc  = 16 << 20
	leastAlloc = 64 << 10
)

// beginWrite readies the memory that a write packs into.
func (s *Store) beginWrite(b *record.Batch) {
	size := 0
	for i := range b.Segments {
		size += len(b.Segments[i].Raw)
	}
	s.packing, s.latest.made = s.packing[:0], s.latest.made[:0]
	s.blockCodec, s.db.AllocSize = record.Zstd, calmAlloc
	if size > hurryBytes {
		s.blockCodec, s.db.AllocSize = record.S2, hurryAlloc
	} else {
		s.db.AllocSize = min(calmAlloc, max(leastAlloc, int(s.length)))
	}
	for i := range s.packers {
		s.packers[i].room.reset()
	}
}

// hurried reports whether traffic may have to wait for the write under way.
func (s *Store) hurried() bool { return s.blockCodec == record.S2 }

// giveWay interrupts a write that is not in a hurry for what is.
func (s *Store) giveWay() {
	if !s.hurried() {
		yield()
	}
}

// lively returns the live session of that number, a new one if there is none.
// Of one that has ended it knows what is stored, so that a batch which is
// appended again changes nothing.
func (s *Store) lively(n uint64) (*live, error) {
	if l := s.live[n]; l != nil {
		return l, nil
	}
	l := &live{rest: record.Segment{Session: n}}
	if n > s.stored {
		return l, nil
	}
	err := s.view(func(tx *bbolt.Tx) error {
		sealed := sessions.in(tx).Get(number(n))
		if sealed == nil {
			return nil
		}
		e, err := s.openEntry(number(n), sealed)
		l.entry, l.stored, l.rest.Offset = e, true, e.Size
		return err
	})
	return l, err
}

// add takes a segment into the session's stream. What is there already is left out.
func (c *change) add(s *Store, seg *record.Segment) {
	end := c.rest.End()
	if n := len(c.tail); n > 0 {
		end = c.tail[n-1].End()
	}
	if seg.Offset < end {
		return
	}
	if seg.Offset > end {
		c.merge(s) // something is missing between: they cannot be one segment
	}
	c.tail = append(c.tail, *seg)
	c.fresh += len(seg.Raw)
	if len(c.rest.Raw)+c.fresh >= s.blockBytes {
		c.merge(s)
	}
}

// merge makes a block of what is in no block yet.
func (c *change) merge(s *Store) {
	cut := s.cut[c.entry.N]
	for i := range cut {
		s.block(c.live, &cut[i], nil)
	}
	pieces := c.tail
	if len(c.rest.Raw) > 0 {
		pieces = append([]record.Segment{c.rest}, c.tail...)
	}
	if len(pieces) == 0 {
		return
	}
	s.block(c.live, &pieces[0], pieces[1:])
	// A new buffer: a failed write must find its data again.
	c.rest = record.Segment{Session: pieces[0].Session, Offset: pieces[len(pieces)-1].End()}
	c.tail, c.marks, c.fresh, c.merged = nil, nil, 0, true
}

// keep takes what goes into a tail along in memory, to be merged later.
func (c *change) keep() {
	for i := range c.tail {
		seg := &c.tail[i]
		if len(c.rest.Raw) == 0 {
			c.rest = record.Segment{Session: seg.Session, Offset: seg.Offset, Seq: seg.Seq, T: seg.T, Raw: c.rest.Raw}
		}
		c.mark(seg)
		c.rest.Raw = append(c.rest.Raw, seg.Raw...)
	}
}

// mark is a place in live.rest where reading can begin, so that who follows a
// session need not be given all of it again and again.
type mark struct {
	at     int // in rest.Raw
	offset uint64
	seq    uint64
	t      time.Duration
}

// markEvery keeps marks few beside what they mark.
const markEvery = 1 << 10

// mark notes where a segment begins that is about to be taken into the rest.
func (c *change) mark(seg *record.Segment) {
	at, last := len(c.rest.Raw), 0
	if n := len(c.marks); n > 0 {
		last = c.marks[n-1].at
	}
	if at-last >= markEvery {
		c.marks = append(c.marks, mark{at, seg.Offset, seg.Seq, seg.T})
	}
}

// restFrom returns a copy of what is in no block, from the last mark at or
// before offset on.
func (l *live) restFrom(offset uint64) record.Segment {
	seg := l.rest
	for i := len(l.marks) - 1; i >= 0; i-- {
		if m := &l.marks[i]; m.offset <= offset {
			seg.Offset, seg.Seq, seg.T, seg.Raw = m.offset, m.seq, m.t, seg.Raw[m.at:]
			break
		}
	}
	seg.Raw = bytes.Clone(seg.Raw)
	return seg
}

// block takes a segment, and those that follow it directly, on the list of blocks
// to pack. They are numbered in the order in which they are written, because
// bbolt rewrites the neighbours of what it inserts: those of a block are then
// the newest ones, which were just written, and not a few of each session's.
func (s *Store) block(l *live, seg *record.Segment, more []record.Segment) {
	n := s.lastBlock + uint64(len(s.packing)) + 1
	s.packing = append(s.packing, packing{live: l, key: number(n), segment: *seg, more: more, codec: s.blockCodec})
	s.latest.made = append(s.latest.made, ref{seg.Session, seg.Offset, n})
}

// overdue lists the sessions whose tails must go: all of them, or those in the
// oldest tails while there are too many bytes in tails.
func (s *Store) overdue(merge merging) []uint64 {
	var out []uint64
	excess := s.tailSize - min(s.tailBytes, max(tailMin, s.tailed*tailShare))
	for _, t := range s.tails {
		if merge != mergeAll && excess <= 0 {
			break
		}
		out = append(out, t.sessions...)
		excess -= t.size
	}
	slices.Sort(out)
	return slices.DeleteFunc(slices.Compact(out), func(n uint64) bool { return s.live[n] == nil })
}

// tailOf describes the tail block that the changes need, if they need one.
func (s *Store) tailOf(order []*change) tail {
	t := tail{key: 1}
	if n := len(s.tails); n > 0 {
		t.key = s.tails[n-1].key + 1
	}
	for _, c := range order {
		t.size += c.fresh
		if len(c.tail) > 0 {
			t.sessions = append(t.sessions, c.entry.N)
		}
	}
	t.needed = len(t.sessions)
	return t
}

func (s *Store) sealTail(order []*change, key uint64) value {
	p := &s.packers[0]
	p.body = p.body[:0]
	for _, c := range order {
		for i := range c.tail {
			p.body = record.AppendTail(p.body, &c.tail[i])
		}
	}
	codec := s.blockCodec
	if len(p.body) > zstdTail {
		codec = record.S2
	}
	return value{tails, number(key), p.pack(s.sealer, place(tails, number(key)), codec)}
}

func (s *Store) storeEntries(order []*change, values []value) ([]value, error) {
	for _, c := range order {
		if !c.store {
			continue
		}
		v, err := s.sealEntry(&c.entry)
		if err != nil {
			return nil, err
		}
		values = append(values, v)
	}
	return values, nil
}

// freedTails lists the tails that nobody needs once the changes are committed.
func (s *Store) freedTails(order []*change) map[uint64]bool {
	needed := map[uint64]int{}
	for _, t := range s.tails {
		needed[t.key] = t.needed
	}
	freed := map[uint64]bool{}
	for _, c := range order {
		if !c.merged {
			continue
		}
		for _, key := range c.live.tails {
			if needed[key]--; needed[key] == 0 {
				freed[key] = true
			}
		}
	}
	return freed
}

// forgetBytes is how much is written before the pages that this made bbolt read
// are unmapped.
const forgetBytes = 8 << 20

// commit writes what a write has packed; for done see [Store.update].
func (s *Store) commit(values []value, order []*change, freed map[uint64]bool, indexed bool) (done bool, err error) {
	for _, v := range values {
		s.written += len(v.bytes)
	}
	done, err = s.update(func(tx *bbolt.Tx) error {
		blocks.in(tx).FillPercent = 1 // they are only ever added at the end
		defer s.giveWay()
		for _, v := range values {
			if err := v.in.in(tx).Put(v.key, v.bytes); err != nil {
				return err
			}
		}
		if indexed {
			if err := deletePrefix(recent.in(tx), nil); err != nil {
				return err
			}
		}
		for key := range freed {
			if err := tails.in(tx).Delete(number(key)); err != nil {
				return err
			}
		}
		for _, c := range order {
			if err := markOpen(tx, c); err != nil {
				return err
			}
		}
		last := s.seal(meta, []byte("last"), number(s.last), record.Plain)
		return meta.in(tx).Put(last.key, last.bytes)
	})
	if s.written > forgetBytes && err == nil {
		s.written = 0
		s.forget(s.length)
	}
	return done, err
}

// markOpen keeps the list of sessions that a crash would interrupt.
func markOpen(tx *bbolt.Tx, c *change) error {
	switch {
	case c.entry.State != tape.Open:
		return open.in(tx).Delete(number(c.entry.N))
	case !c.live.stored:
		return open.in(tx).Put(number(c.entry.N), []byte{})
	}
	return nil
}

// apply makes memory agree with what was committed.
func (s *Store) apply(order []*change, freed map[uint64]bool, newTail tail) {
	for _, c := range order {
		n, l := c.entry.N, c.live
		if c.merged {
			for i := range s.tails {
				if slices.Contains(l.tails, s.tails[i].key) {
					s.tails[i].needed--
				}
			}
			if l.tails != nil {
				s.tailed--
			}
			l.tails = nil
		}
		if len(c.tail) > 0 {
			if l.tails == nil {
				s.tailed++
			}
			l.tails = append(l.tails, newTail.key)
		}
		if c.store {
			if !l.stored && s.counted {
				s.count++
			}
			l.stored, l.counted = true, c.entry.Size
		}
		l.entry, l.rest, l.marks = c.entry, c.rest, c.marks
		s.last, s.stored = max(s.last, n), max(s.stored, n)
		if c.entry.State == tape.Open {
			s.live[n] = l
		} else {
			delete(s.live, n)
			delete(s.cut, n)
		}
	}
	s.lastBlock += uint64(len(s.packing))
	clear(s.packing) // it points to the batch
	s.tails = slices.DeleteFunc(s.tails, func(t tail) bool {
		if freed[t.key] {
			s.tailSize -= t.size
		}
		return freed[t.key]
	})
	if newTail.size > 0 {
		s.tails = append(s.tails, newTail)
		s.tailSize += newTail.size
	}
}

// SetLabel implements [record.Store].
func (s *Store) SetLabel(_ context.Context, n uint64, l record.Label) error {
	return s.edit(n, func(tx *bbolt.Tx) error {
		e, _ := s.recorded(number(n), sessions.in(tx).Get(number(n))) // a damaged one shows no tags of its own
		body, err := json.Marshal(record.Attach(l, &e))
		if err != nil {
			return err
		}
		v := s.seal(labels, number(n), body, record.Plain)
		return labels.in(tx).Put(v.key, v.bytes)
	})
}

// edit changes a session that must be there.
func (s *Store) edit(n uint64, f func(tx *bbolt.Tx) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.update(func(tx *bbolt.Tx) error {
		if sessions.in(tx).Get(number(n)) == nil {
			return fmt.Errorf("session %d: %w", n, record.ErrNotFound)
		}
		return f(tx)
	})
	if err == nil {
		s.changes.Bump()
	}
	return err
}

func deletePrefix(b *bbolt.Bucket, prefix []byte) error {
	var keys [][]byte // all of them first: deleting moves a cursor
	c := b.Cursor()
	for k, _ := c.Seek(prefix); k != nil && bytes.HasPrefix(k, prefix); k, _ = c.Next() {
		keys = append(keys, bytes.Clone(k))
	}
	for _, k := range keys {
		if err := b.Delete(k); err != nil {
			return err
		}
	}
	return nil
}
