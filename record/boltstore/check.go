package boltstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/tape"
)

// Report is what [Check] found.
type Report struct {
	Sessions, Blocks, Frames uint64
	Bytes                    uint64 // of the sessions' streams
	Problems                 []string
}

// Check reads everything on a tape: the file's own structure, the checksum of
// every value, every record, and that no session's stream has a hole. It holds
// the file's shared lock throughout. Progress, if not nil, is called with the
// part done, from 0 to 1.
func Check(ctx context.Context, path string, progress func(float64)) (*Report, error) {
	s, err := OpenReader(path, lockPatience)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	return s.check(ctx, progress)
}

// Check reads everything on an open tape.
func (s *Store) Check(ctx context.Context, progress func(float64)) (*Report, error) {
	return s.check(ctx, progress)
}

func (s *Store) check(ctx context.Context, progress func(float64)) (*Report, error) {
	c := &checker{store: s, ctx: ctx, progress: progress, ends: map[uint64]uint64{}}
	s.mu.Lock()
	for n, l := range s.live {
		c.liveRest(n, l)
	}
	tx, err := s.db.Begin(false)
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback() }()
	for _, step := range []func(*bbolt.Tx) error{c.structure, c.sessions, c.blocks, c.tails, c.small, c.holes} {
		// One damaged page must not hide what the other steps find.
		if err := guard(func() error { return step(tx) }); err != nil {
			c.problem("%v", err)
		}
		if ctx.Err() != nil {
			return &c.report, ctx.Err()
		}
	}
	return &c.report, nil
}

type checker struct {
	store    *Store
	ctx      context.Context
	progress func(float64)
	report   Report
	entries  []record.Entry
	rests    []record.Segment
	ends     map[uint64]uint64 // how far each session's stream is there
	done     uint64
	total    uint64
}

func (c *checker) problem(format string, args ...any) {
	c.report.Problems = append(c.report.Problems, fmt.Sprintf(format, args...))
}

func (c *checker) liveRest(n uint64, l *live) {
	rest := l.rest
	rest.Raw = bytes.Clone(rest.Raw)
	c.rests = append(c.rests, rest)
}

// structure runs bbolt's own check of its pages.
func (c *checker) structure(tx *bbolt.Tx) error {
	if c.store.readOnly {
		// The free list is not loaded in this mode; walking all buckets below
		// still touches every page that holds data.
		return nil
	}
	for err := range tx.Check() {
		c.problem("bbolt: %v", err)
	}
	return nil
}

func (c *checker) sessions(tx *bbolt.Tx) error {
	return sessions.in(tx).ForEach(func(k, v []byte) error {
		c.report.Sessions++
		e, err := c.store.openEntry(k, v)
		if err != nil {
			c.problem("%v", err)
			return nil
		}
		if !bytes.Equal(k, number(e.N)) {
			c.problem("sessions %x: holds session %d", k, e.N)
		}
		c.store.mu.Lock()
		if l := c.store.live[e.N]; l != nil {
			e = l.entry
		}
		c.store.mu.Unlock()
		c.entries = append(c.entries, e)
		c.total += e.Size
		return nil
	})
}

func (c *checker) blocks(tx *bbolt.Tx) error {
	return blocks.in(tx).ForEach(func(k, v []byte) error {
		if c.ctx.Err() != nil {
			return c.ctx.Err()
		}
		c.report.Blocks++
		if len(k) != 16 {
			c.problem("blocks %x: wrong key", k)
			return nil
		}
		seg, err := c.store.openBlock(k, v)
		if err != nil {
			c.problem("%v", err)
			// Where it ended is known from the next one; the hole is this one.
			c.ends[binary.BigEndian.Uint64(k)] = unknown
			return nil
		}
		c.segment(&seg)
		return nil
	})
}

// unknown stands for the end of a damaged block.
const unknown = ^uint64(0)

// segment reads a segment's records and joins it to the stream before it.
func (c *checker) segment(seg *record.Segment) {
	n := seg.Session
	if at, seen := c.ends[n]; at != unknown && seg.Offset != at && (seen || seg.Offset != 0) {
		c.problem("session %d: bytes %d to %d of its stream are missing", n, at, seg.Offset)
	}
	e := record.Entry{Size: seg.Offset}
	if err := e.Extend(seg); err != nil {
		c.problem("session %d: %v", n, err)
	}
	c.report.Frames += e.Frames.Client + e.Frames.Server
	c.report.Bytes += uint64(len(seg.Raw))
	c.ends[n] = seg.End()
	c.done += uint64(len(seg.Raw))
	if c.progress != nil && c.total > 0 {
		c.progress(min(1, float64(c.done)/float64(c.total)))
	}
}

func (c *checker) tails(tx *bbolt.Tx) error {
	err := tails.in(tx).ForEach(func(k, v []byte) error {
		c.report.Blocks++
		if _, err := c.store.openTail(k, v); err != nil {
			c.problem("%v", err)
		}
		return nil
	})
	for i := range c.rests {
		if len(c.rests[i].Raw) > 0 {
			c.segment(&c.rests[i])
		}
	}
	return err
}

// small checks the values that are not the stream.
func (c *checker) small(tx *bbolt.Tx) error {
	for _, b := range []bucket{labels, windows} {
		err := b.in(tx).ForEach(func(k, v []byte) error {
			if _, err := c.store.open(b, k, v); err != nil {
				c.problem("%v", err)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// holes looks for streams that end before their session says.
func (c *checker) holes(*bbolt.Tx) error {
	for i := range c.entries {
		e := &c.entries[i]
		if at := c.ends[e.N]; at != unknown && at < e.Size && e.State != tape.Open {
			c.problem("session %d: bytes %d to %d of its stream are missing", e.N, at, e.Size)
		}
	}
	return nil
}

// Patience is how long an offline reader waits for the file's lock before it
// looks for a proxy that holds it.
const Patience = 100 * time.Millisecond
