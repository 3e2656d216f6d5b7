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
	"sync"
	"syscall"
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
	file     *os.File // bbolt's own: what is at path may be another one by now
	readOnly bool
	made     bool // there was no file before
	sealer   *record.Sealer
	changes  record.Changes
	key      []byte
	operator *record.Key // nil if none was given
	blind    bool        // the key may be missing
	locked   bool        // and it is: only checksums can be looked at

	starting sync.Mutex // one transaction begins at a time
	stuck    error      // why bbolt cannot be used any more, nil if it can
	length   int64      // what the file is long at least

	unseen map[bucket][]leafRef // of a reader: leaves that nothing is known of yet

	blockBytes  int // how much of a session's stream makes a full block
	directBytes int // this much in one write makes a block too: packing it twice would cost more than it saves
	tailBytes   int // how much may be in tails only; past it the oldest are merged into blocks however small

	mu         sync.Mutex // one writer at a time; also guards what follows
	written    int        // bytes since the last forget
	packing    []packing  // blocks of the write under way
	packers    []packer
	latest     latest
	blockCodec record.Codec // for the blocks of the write under way
	lastBlock  uint64       // highest number of a block in the file
	last       uint64       // highest session number given out
	stored     uint64       // highest session number in the file
	count      uint64       // sessions in the file
	counted    bool         // count is known: nobody asks on most tapes
	live       map[uint64]*live
	cut        map[uint64][]record.Segment // by session, after a crash: what is in tails before a damaged one
	tails      []tail                      // oldest first
	tailSize   int                         // raw bytes in tails
	tailed     int                         // sessions that have some there
}

// live is a session that is not wholly in blocks: open, or recovered from a crash.
type live struct {
	entry   record.Entry
	stored  bool           // the session itself is in the file
	noise   bool           // its last block did not shrink
	counted uint64         // size of its stream when it was last stored
	marks   []mark         // in rest
	rest    record.Segment // the end of the stream, in tails only
	tails   []uint64       // the tails that hold it
}

// tail is one flush's block of many sessions.
type tail struct {
	key      uint64
	size     int
	sessions []uint64
	needed   int // sessions whose data is nowhere else
}

var _ record.Store = (*Store)(nil)

// The default sizes.
const (
	blockBytes  = 128 << 10
	directBytes = 24 << 10
	tailBytes   = 8 << 20
)

// What may be in tails grows with the sessions that share them: merging at
// tailShare each gives blocks that compress well, and the pages that tails leave
// behind stay few beside what is recorded.
const (
	tailShare = 16 << 10
	tailMin   = 256 << 10
)

// countBytes is how much an open session's stream grows between two times that
// its counts are stored: what recovery has to read to bring them up to date.
const countBytes = 16 << 20

// lockPatience is how long an opener waits for the file's lock. Readers hold it
// for a page at a time only, so a writer that waits longer meets another writer.
const lockPatience = 2 * time.Second

// Open opens the tape at path for reading and writing and creates it, mode
// 0600, if it is not there. Sessions that a crash left open become interrupted.
func Open(path string, opts ...Option) (*Store, error) {
	return openStore(path, false, lockPatience, opts)
}

// OpenReader opens an existing tape for reading; a crashed one is shown as Open
// would leave it, without being changed. It waits no longer than patience for
// the file's lock.
func OpenReader(path string, patience time.Duration, opts ...Option) (*Store, error) {
	return openStore(path, true, patience, opts)
}

func openStore(path string, readOnly bool, patience time.Duration, opts []Option) (s *Store, err error) {
	for range replacedTries {
		if s, err = tryOpen(path, readOnly, patience, opts); !errors.Is(err, errReplaced) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open tape %s: %w", path, err)
	}
	return s, nil
}

func tryOpen(path string, readOnly bool, patience time.Duration, opts []Option) (s *Store, err error) {
	fresh, err := prepare(path, readOnly)
	if err != nil {
		return nil, err
	}
	_, err = os.Lstat(path)
	made := errors.Is(err, fs.ErrNotExist)
	s = &Store{
		path: path, readOnly: readOnly, sealer: record.NewSealer(), live: map[uint64]*live{}, cut: map[uint64][]record.Segment{}, packers: newPackers(), latest: latest{refs: map[uint64][]ref{}, max: maxLatest},
		blockBytes: blockBytes, directBytes: directBytes, tailBytes: tailBytes,
	}
	for _, set := range opts {
		set(s)
	}
	err = guard(func() error {
		if !readOnly && !fresh {
			// bbolt reads its free list as soon as it may write, and believes it.
			if err := s.openFile(true, patience); err != nil {
				return err
			}
			if err := errors.Join(s.checkOpening(true), s.db.Close()); err != nil {
				return err
			}
		}
		if err := s.openFile(readOnly, patience); err != nil {
			return err
		}
		if err := s.checkOpening(false); err != nil {
			return err
		}
		if !readOnly {
			_ = os.Remove(path + compactSuffix) // the lock is held, so nobody is writing it
		}
		return s.start(fresh)
	})
	if err != nil {
		if fresh {
			s.discard(made)
		}
		if s.db != nil {
			_ = s.closeFile()
		}
		return nil, err
	}
	s.made = fresh && made
	return s, nil
}

// errReplaced means that the file which was opened and waited for is not the one
// at its path any more: a compact came to its end meanwhile.
var errReplaced = errors.New("it was replaced while it was being opened")

const replacedTries = 5

// openFile opens the bbolt file with its lock. A map that grows with the file would
// have writing wait for everybody who reads, so one that is written has room from
// the start, where there are addresses for that.
func (s *Store) openFile(readOnly bool, patience time.Duration) (err error) {
	o := bbolt.Options{
		Timeout: patience, ReadOnly: readOnly, FreelistType: bbolt.FreelistMapType,
		OpenFile: func(path string, flag int, mode os.FileMode) (_ *os.File, err error) {
			s.file, err = os.OpenFile(path, flag, mode)
			return s.file, err
		},
	}
	if !readOnly {
		o.InitialMmapSize = mapRoom
	}
	if s.db, err = bbolt.Open(s.path, 0o600, &o); errors.Is(err, syscall.ENOMEM) {
		o.InitialMmapSize = 0
		s.db, err = bbolt.Open(s.path, 0o600, &o)
	}
	if err != nil {
		return explain(err)
	}
	s.db.AllocSize = leastAlloc
	if !s.inPlace() {
		return errReplaced
	}
	return nil
}

// inPlace reports whether the file is still the one at its path.
func (s *Store) inPlace() bool {
	mine, err := s.file.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(s.path)
	return err == nil && os.SameFile(mine, there)
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

// checkOpening refuses a file in which bbolt would lose its way. The lock is held.
func (s *Store) checkOpening(writing bool) error {
	p, err := openPages(s.file, nil)
	if err != nil {
		return err
	}
	unseen, err := p.checkOpening(writing)
	if s.readOnly {
		s.unseen = unseen
	}
	return err
}

// start reads what the file says about itself, writes that first if it is
// fresh, and recovers from a crash.
func (s *Store) start(fresh bool) error {
	if fresh {
		if _, err := s.update(s.create); err != nil {
			return err
		}
	}
	older := false
	err := s.view(func(tx *bbolt.Tx) error {
		if err := s.identify(tx); err != nil {
			return err
		}
		if s.locked {
			return nil
		}
		older = recent.in(tx) == nil
		return s.load(tx)
	})
	if err != nil || s.readOnly {
		return err
	}
	if older {
		if _, err := s.update(func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte(recent)); return err }); err != nil {
			return err
		}
	}
	return s.settle()
}

func newKey() []byte {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	return key
}

// create lays out an empty tape.
func (s *Store) create(tx *bbolt.Tx) error {
	if k, _ := tx.Cursor().First(); k != nil {
		return nil // somebody else made it while we waited for the lock
	}
	for _, b := range buckets() {
		if _, err := tx.CreateBucketIfNotExists([]byte(b)); err != nil {
			return err
		}
	}
	m, version := meta.in(tx), uint16(readable)
	if s.operator != nil {
		version = encrypted
		if err := s.lock(m); err != nil {
			return err
		}
	}
	key := newKey()
	sealed := s.seal(meta, []byte("key"), key, record.Plain)
	return errors.Join(
		m.Put([]byte("magic"), []byte(Magic)),
		m.Put([]byte("version"), binary.BigEndian.AppendUint16(nil, version)),
		m.Put(sealed.key, sealed.bytes),
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
	switch v := binary.BigEndian.Uint16(version); {
	case v == 0:
		return fmt.Errorf("%w: version 0", record.ErrCorrupt)
	case v > Version:
		return fmt.Errorf("%w: format version %d, this wstape reads up to %d", record.ErrVersion, v, Version)
	}
	for _, b := range buckets() {
		if b.in(tx) == nil && b != recent { // tapes of before it have none
			return fmt.Errorf("%w: bucket %q is missing", record.ErrCorrupt, b)
		}
	}
	if err := s.unlock(m, binary.BigEndian.Uint16(version) == encrypted); err != nil {
		return err
	}
	s.about(tx)
	return nil
}

// about reads what a tape can do without: a damaged value is replaced for this
// time, and stays for check to report.
func (s *Store) about(tx *bbolt.Tx) {
	m := meta.in(tx)
	var err error
	if s.key, err = s.open(meta, []byte("key"), m.Get([]byte("key"))); err != nil {
		s.key = newKey() // equal secrets of before and after are not seen to be equal
	}
	if last, err := s.open(meta, []byte("last"), m.Get([]byte("last"))); err == nil && len(last) == 8 {
		s.last = binary.BigEndian.Uint64(last)
	}
	if k, _ := sessions.in(tx).Cursor().Last(); len(k) == 8 {
		s.last = max(s.last, binary.BigEndian.Uint64(k))
	}
	s.stored = s.last
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
	if !s.readOnly && s.stuck == nil {
		err = errors.Join(s.write(record.Batch{}, mergeAll), s.trim())
	}
	return errors.Join(err, s.closeFile())
}

// Abandon is Close for who failed at what the tape was opened for: if Open made it
// and it has no session, it goes again, where the system removes open files.
func (s *Store) Abandon() error {
	if s.made {
		if u, err := s.Usage(context.Background()); err == nil && u.Sessions == 0 {
			_ = os.Remove(s.path) // while the lock is held: who waits for it makes a new one
		}
	}
	return s.Close()
}

// trim gives back the room that the file grew by in advance.
func (s *Store) trim() error {
	var size int64
	if err := s.view(func(tx *bbolt.Tx) error { size = tx.Size(); return nil }); err != nil {
		return err
	}
	if info, err := s.file.Stat(); err != nil || info.Size() <= size {
		return err
	}
	return s.file.Truncate(size)
}
