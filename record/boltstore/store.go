// Package boltstore keeps a tape in one bbolt file: the default engine.
//
// A flush writes one tail block for all sessions that said little, which costs
// one page however many they are; a session's data is rewritten as a full block
// of its own when enough has gathered or when it ends, in the same transaction
// that drops the tails nobody needs any more. docs/format.md has the layout.
package boltstore

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/wstape/wstape/record"
)

// Store is an open tape. It holds the file's lock until Close: exclusively
// when it may write, shared when it may only read.
type Store struct {
	path     string
	db       *bbolt.DB
	readOnly bool
	sealer   *record.Sealer
	changes  record.Changes
	key      []byte

	mu       sync.Mutex // one writer at a time; also guards what follows
	last     uint64     // highest session number given out
	stored   uint64     // highest session number in the file
	live     map[uint64]*live
	tails    []tail // oldest first
	tailSize int    // raw bytes in tails
}

// live is a session that is not wholly in blocks: open, or recovered from a crash.
type live struct {
	entry  record.Entry
	stored bool           // the session itself is in the file
	rest   record.Segment // the end of the stream, in tails only
	tails  []uint64       // the tails that hold it
}

// tail is one flush's block of many sessions.
type tail struct {
	key      uint64
	size     int
	sessions []uint64
	needed   int // sessions whose data is nowhere else
}

var _ record.Store = (*Store)(nil)

// lockPatience is how long an opener waits for the file's lock. Readers hold it
// for a page at a time only, so a writer that waits longer meets another writer.
const lockPatience = 2 * time.Second

// Open opens the tape at path for reading and writing and creates it, mode
// 0600, if it is not there. Sessions that a crash left open become interrupted.
func Open(path string) (*Store, error) {
	return openStore(path, false, lockPatience)
}

// OpenReader opens an existing tape for reading; a crashed one is shown as Open
// would leave it, without being changed. It waits no longer than patience for
// the file's lock.
func OpenReader(path string, patience time.Duration) (*Store, error) {
	return openStore(path, true, patience)
}

func openStore(path string, readOnly bool, patience time.Duration) (s *Store, err error) {
	fresh, err := prepare(path, readOnly)
	if err != nil {
		return nil, fmt.Errorf("open tape %s: %w", path, err)
	}
	s = &Store{path: path, readOnly: readOnly, sealer: record.NewSealer(), live: map[uint64]*live{}}
	err = guard(func() error {
		s.db, err = bbolt.Open(path, 0o600, &bbolt.Options{
			Timeout: patience, ReadOnly: readOnly, FreelistType: bbolt.FreelistMapType,
		})
		if err != nil {
			return explain(err)
		}
		return s.start(fresh)
	})
	if err != nil {
		if s.db != nil {
			_ = s.db.Close()
		}
		return nil, fmt.Errorf("open tape %s: %w", path, err)
	}
	return s, nil
}

// prepare looks at the file before bbolt does, which trusts it too much. Fresh
// means that there is nothing in it.
func prepare(path string, readOnly bool) (fresh bool, err error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !readOnly:
		return true, nil
	case err != nil:
		return false, unwrapPath(err)
	case info.IsDir():
		return false, fmt.Errorf("%w: it is a directory", record.ErrNotATape)
	case info.Size() == 0 && readOnly:
		return false, fmt.Errorf("%w: the file is empty", record.ErrNotATape)
	case info.Size() == 0:
		return true, nil
	}
	return false, checkHeader(path, info.Size())
}

// unwrapPath drops the path from an error whose reader is told it anyway.
func unwrapPath(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// explain puts bbolt's errors into the words of package record.
func explain(err error) error {
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return record.ErrBusy
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrVersionMismatch):
		return fmt.Errorf("%w: %w", record.ErrNotATape, err)
	case errors.Is(err, bolterrors.ErrChecksum):
		return fmt.Errorf("%w: both header pages: %w", record.ErrCorrupt, err)
	}
	return unwrapPath(err)
}

// guard turns a panic or a memory fault of bbolt, which a damaged file can
// cause, into an error.
func guard(f func() error) (err error) {
	old := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(old)
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", record.ErrCorrupt, p)
		}
	}()
	return f()
}

// start reads what the file says about itself, writes that first if it is
// fresh, and recovers from a crash.
func (s *Store) start(fresh bool) error {
	if fresh {
		if err := s.db.Update(create); err != nil {
			return err
		}
	}
	err := s.db.View(func(tx *bbolt.Tx) error {
		if err := s.identify(tx); err != nil {
			return err
		}
		return s.load(tx)
	})
	if err != nil || s.readOnly {
		return err
	}
	return s.settle()
}

// create lays out an empty tape.
func create(tx *bbolt.Tx) error {
	for _, b := range buckets() {
		if _, err := tx.CreateBucketIfNotExists([]byte(b)); err != nil {
			return err
		}
	}
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return err
	}
	m := meta.in(tx)
	return errors.Join(
		m.Put([]byte("magic"), []byte(Magic)),
		m.Put([]byte("version"), binary.BigEndian.AppendUint16(nil, Version)),
		m.Put([]byte("key"), key),
	)
}

// identify is the one place that decides whether a file is a tape that this
// version can read.
func (s *Store) identify(tx *bbolt.Tx) error {
	m := meta.in(tx)
	if m == nil || string(m.Get([]byte("magic"))) != Magic {
		return fmt.Errorf("%w: it is a bbolt database of something else", record.ErrNotATape)
	}
	version := m.Get([]byte("version"))
	if len(version) != 2 {
		return fmt.Errorf("%w: no version", record.ErrCorrupt)
	}
	if v := binary.BigEndian.Uint16(version); v > Version {
		return fmt.Errorf("%w: format version %d, this wstape reads up to %d", record.ErrVersion, v, Version)
	}
	for _, b := range buckets() {
		if b.in(tx) == nil {
			return fmt.Errorf("%w: bucket %q is missing", record.ErrCorrupt, b)
		}
	}
	s.key = append([]byte(nil), m.Get([]byte("key"))...)
	if last := m.Get([]byte("last")); len(last) == 8 {
		s.last = binary.BigEndian.Uint64(last)
		s.stored = s.last
	}
	return nil
}

// Key is the tape's own secret, for pseudonyms.
func (s *Store) Key() []byte { return s.key }

// Path is where the tape is.
func (s *Store) Path() string { return s.path }

// Begin reserves the next session number.
func (s *Store) Begin(context.Context) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	return s.last, nil
}

// Wait implements [record.Reader] for writes through this Store.
func (s *Store) Wait(ctx context.Context, since uint64) (uint64, error) {
	return s.changes.Wait(ctx, since)
}

// Close writes what is only in tails into blocks and gives the file back.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	if !s.readOnly {
		err = s.write(record.Batch{}, mergeAll)
	}
	return errors.Join(err, s.db.Close())
}
