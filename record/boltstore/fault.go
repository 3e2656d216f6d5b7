package boltstore

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"sort"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/wstape/wstape/record"
)

// What a storage fault does to bbolt, and what is done about it here:
//
//   - A write that fails is rolled back; memory is only changed behind it, so the
//     same batch can be written again. If the very last sync failed, the change
//     is there all the same: memory has to follow.
//   - A map of the file that could not be made leaves bbolt without one for good:
//     the file is opened again.
//   - A page that cannot be read is a memory fault. Go turns it into a panic, which
//     leaves bbolt's locks held if it comes while a transaction begins or is
//     given up: bbolt is not asked again then, because it would never answer.

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

// seen looks at the leaf that a key is in, and at those beside it, before a
// reader's bbolt follows what it finds there.
func (s *Store) seen(b bucket, key []byte) error {
	leaves := s.unseen[b]
	if len(leaves) == 0 {
		return nil
	}
	i := sort.Search(len(leaves), func(i int) bool { return leaves[i].key > string(key) }) // the leaf before this one has it
	return s.whole(leaves[max(0, i-2):min(len(leaves), i+1)])
}

// seenAll looks at all leaves of a bucket.
func (s *Store) seenAll(b bucket) error { return s.whole(s.unseen[b]) }

func (s *Store) whole(leaves []leafRef) error {
	if len(leaves) == 0 {
		return nil
	}
	p, err := openPages(s.file, nil)
	if err != nil {
		return err
	}
	for _, l := range leaves {
		if p.astray(l.id) {
			return errAstray(l.id)
		}
	}
	return nil
}

// errStuck is what every call gets after bbolt has been left with its locks held.
func errStuck(why error) error {
	return fmt.Errorf("%w; the file was changed by somebody else or cannot be read, and nothing more is written until wstape is started again", why)
}

// begin starts a read transaction, which the caller rolls back.
func (s *Store) begin() (tx *bbolt.Tx, err error) {
	s.starting.Lock()
	defer s.starting.Unlock()
	if s.stuck != nil {
		return nil, s.stuck
	}
	returned := false
	err = guard(func() error {
		tx, err = s.db.Begin(false)
		returned = true
		return err
	})
	if !returned {
		s.stuck = errStuck(err)
		return nil, s.stuck
	}
	return tx, err
}

// view runs f in a read transaction.
func (s *Store) view(f func(tx *bbolt.Tx) error) error {
	tx, err := s.begin()
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	return guard(func() error { return f(tx) })
}

// update runs f in a write transaction. With an error the file is as it was,
// unless done says that the change is in it and may not survive a power failure.
// The caller holds s.mu.
func (s *Store) update(f func(tx *bbolt.Tx) error) (done bool, err error) {
	if err := s.present(); err != nil {
		return false, err
	}
	done, err = s.tryUpdate(f)
	if errors.Is(err, bolterrors.ErrInvalidMapping) {
		if err = s.reopen(); err == nil {
			done, err = s.tryUpdate(f)
		}
	}
	return done, unwrapPath(err)
}

func (s *Store) tryUpdate(f func(tx *bbolt.Tx) error) (done bool, err error) {
	s.starting.Lock()
	if s.stuck != nil {
		defer s.starting.Unlock()
		return false, s.stuck
	}
	var tx *bbolt.Tx
	number, worked, returned := 0, false, false
	err = guard(func() error {
		err := s.db.Update(func(began *bbolt.Tx) error {
			s.starting.Unlock()
			tx, number = began, began.ID()
			err := f(tx)
			worked = err == nil
			return err
		})
		returned = true
		return err
	})
	if tx != nil {
		s.starting.Lock()
	}
	if !returned && (tx == nil || tx.DB() != nil) { // bbolt could not even give it up
		s.stuck = errStuck(err)
		err = s.stuck
	}
	s.starting.Unlock()
	if worked {
		_ = s.view(func(tx *bbolt.Tx) error {
			done, s.length = tx.ID() >= number, tx.Size()
			return nil
		})
	}
	return done, err
}

// reopen opens the file again after bbolt has lost its map of it.
func (s *Store) reopen() error {
	s.starting.Lock()
	defer s.starting.Unlock()
	if err := s.db.Close(); err != nil {
		return err
	}
	if err := guard(func() error { return s.openFile(false, lockPatience) }); err != nil {
		s.stuck = errStuck(fmt.Errorf("open it again: %w", err))
		return s.stuck
	}
	return nil
}

// present looks for what others have done to the file. One that is shorter than
// what has been written to it would only fault.
func (s *Store) present() error {
	info, err := s.file.Stat()
	if err != nil {
		return unwrapPath(err)
	}
	if info.Size() < s.length {
		return fmt.Errorf("%w: somebody else has cut the file short, to %d of %d bytes", record.ErrCorrupt, info.Size(), s.length)
	}
	return nil
}

// astray says, behind a write, if nobody will find what was written.
func (s *Store) astray() error {
	if s.inPlace() {
		return nil
	}
	return fmt.Errorf("%w: the file was removed or replaced", record.ErrAstray)
}

// closeFile gives the file back. If bbolt's locks are held for good it is not
// asked, only left without its lock on the file.
func (s *Store) closeFile() error {
	s.starting.Lock()
	defer s.starting.Unlock()
	if s.stuck == nil {
		return s.db.Close()
	}
	return errors.Join(s.stuck, unlock(s.file), s.file.Close())
}

// discard removes a new tape that could not be laid out: what is left of it is
// not a tape, and would be in the way next time. One that another process has
// laid out meanwhile stays.
func (s *Store) discard(made bool) {
	if s.db == nil {
		if info, err := os.Stat(s.path); err != nil || info.Size() >= int64(4*os.Getpagesize()) {
			return // bbolt lays out four pages at first
		}
	} else if s.view(func(tx *bbolt.Tx) error {
		if k, _ := tx.Cursor().First(); k != nil {
			return record.ErrOpen
		}
		return nil
	}) != nil {
		return
	}
	if made {
		_ = os.Remove(s.path)
	} else {
		_ = os.Truncate(s.path, 0)
	}
}
