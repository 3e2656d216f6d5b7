package boltstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"time"

	"go.etcd.io/bbolt"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/tape"
)

// Report is what [Check] found.
type Report struct {
	Sessions uint64   `json:"sessions"`
	Blocks   uint64   `json:"blocks"`
	Frames   uint64   `json:"frames"`
	Bytes    uint64   `json:"bytes"`            // of the sessions' streams
	Locked   bool     `json:"locked,omitempty"` // it is encrypted and no key was given: frames and bytes are not known
	Problems []string `json:"problems,omitempty"`
}

// Check reads everything on a tape: the file's own structure, the checksum of
// every value, every record, and that no session's stream has a hole. It holds
// the file's shared lock throughout. Progress, if not nil, is called with the
// part done, from 0 to 1. Of an encrypted tape without its key, structure and
// checksums are checked.
func Check(ctx context.Context, path string, progress func(float64), opts ...Option) (*Report, error) {
	s, err := OpenReader(path, lockPatience, append(opts, blind)...)
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
	tx, err := c.begin()
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback() }()
	if err := guard(c.structure); err != nil || c.pages.looped {
		return &c.report, err // bbolt might follow for ever what leads in circles
	}
	steps := []func(*bbolt.Tx) error{c.about, c.sessions, c.blocks, c.tails, c.small, c.holes}
	if c.report.Locked = s.locked; s.locked {
		steps = []func(*bbolt.Tx) error{c.sums}
	}
	for _, step := range steps {
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

// maxProblems bounds a report: of a page whose header is damaged each element is a problem.
const maxProblems = 1000

type checker struct {
	store    *Store
	ctx      context.Context
	progress func(float64)
	pages    *pages
	report   Report
	entries  []record.Entry
	rests    []record.Segment
	refs     map[uint64][]ref  // blocks that the index does not name
	ends     map[uint64]uint64 // how far each session's stream is there
	done     uint64
	total    uint64
}

func (c *checker) problem(format string, args ...any) {
	switch n := len(c.report.Problems); {
	case n < maxProblems:
		c.report.Problems = append(c.report.Problems, fmt.Sprintf(format, args...))
	case n == maxProblems:
		c.report.Problems = append(c.report.Problems, "there are more problems than are named here")
	}
}

func (c *checker) liveRest(n uint64, l *live) {
	c.rests = append(c.rests, c.store.cut[n]...)
	rest := l.rest
	rest.Raw = bytes.Clone(rest.Raw)
	c.rests = append(c.rests, rest)
}

// begin takes down where the tape stands.
func (c *checker) begin() (tx *bbolt.Tx, err error) {
	s := c.store
	s.mu.Lock()
	defer s.mu.Unlock()
	for n, l := range s.live {
		c.liveRest(n, l)
	}
	c.refs = maps.Clone(s.latest.refs)
	if c.pages, err = openPages(s.file, c.problem); err != nil {
		return nil, err
	}
	return s.begin()
}

// structure checks bbolt's own pages.
func (c *checker) structure() error {
	return c.pages.check(c.ctx)
}

// about checks what the tape says about itself.
func (c *checker) about(tx *bbolt.Tx) error {
	for _, key := range []string{"key", "last"} {
		sealed := meta.in(tx).Get([]byte(key))
		if sealed == nil && key == "last" {
			continue // nothing has been recorded
		}
		if _, err := c.store.open(meta, []byte(key), sealed); err != nil {
			c.problem("%v", err)
		}
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
			c.problem("sessions %.32x: holds session %d", k, e.N)
		}
		c.store.mu.Lock()
		if l := c.store.live[e.N]; l != nil {
			e = l.entry
		} else if e.State == tape.Open && open.in(tx).Get(k) == nil {
			c.problem("session %d: is open and not listed as such", e.N)
		}
		c.store.mu.Unlock()
		c.entries = append(c.entries, e)
		c.total += e.Size
		return nil
	})
}

// blocks follows the index through every session's stream, and looks for blocks
// that it does not name.
func (c *checker) blocks(tx *bbolt.Tx) error {
	named := map[string]bool{}
	look := func(n, offset uint64, block []byte, err error) {
		var seg record.Segment
		if err == nil {
			named[string(block)] = true
			if sessions.in(tx).Get(number(n)) == nil {
				if open.in(tx).Get(number(n)) == nil {
					c.problem("session %d: is not there, but a part of its stream is", n)
				} // else it is being removed
				return
			}
			seg, err = c.store.openBlock(tx, n, offset, block)
		}
		if err != nil {
			c.problem("session %d: %v", n, err)
			c.ends[n] = unknown // where it ended is known from the next one; the hole is this one
			return
		}
		c.segment(&seg)
	}
	err := index.in(tx).ForEach(func(k, v []byte) error {
		if c.ctx.Err() != nil {
			return c.ctx.Err()
		}
		if len(k) != 16 {
			c.problem("index %.32x: wrong key", k)
			return nil
		}
		block, err := c.store.open(index, k, v)
		look(binary.BigEndian.Uint64(k), binary.BigEndian.Uint64(k[8:]), block, err)
		return nil
	})
	if err != nil {
		return err
	}
	for n, refs := range c.refs {
		for _, r := range refs {
			look(n, r.offset, number(r.block), c.ctx.Err())
		}
	}
	if c.ctx.Err() != nil {
		return c.ctx.Err()
	}
	return blocks.in(tx).ForEach(func(k, _ []byte) error {
		c.report.Blocks++
		if !named[string(k)] {
			c.problem("blocks %.32x: belongs to no session", k)
		}
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
	if recent.in(tx) == nil {
		return nil
	}
	return recent.in(tx).ForEach(func(k, v []byte) error {
		if _, err := c.store.openRecent(k, v); err != nil {
			c.problem("%v", err)
		}
		return nil
	})
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
