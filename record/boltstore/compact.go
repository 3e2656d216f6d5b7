package boltstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"go.etcd.io/bbolt"

	"github.com/wstape/wstape/record"
)

// compactSuffix names the new file of a [Compact] until it is in place.
const compactSuffix = ".compact"

// compactChunk is how much one transaction of a [Compact] writes.
const compactChunk = 8 << 20

// ErrNoRoom means that the disk has no room for what was about to be written.
var ErrNoRoom = errors.New("there is not enough room on the disk")

// Compact writes a tape into a new file, without the pages that are free, and
// puts that in its place. Whatever happens on the way, one of the two is there
// whole; what an interrupted one leaves beside the tape is removed by the next
// [Open] or Compact. It holds the tape all the while; progress, if not nil, is
// called with the part done, from 0 to 1.
func Compact(ctx context.Context, path string, progress func(float64), opts ...Option) (before, after int64, err error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return 0, 0, fmt.Errorf("compact tape %s: %w", path, unwrapPath(err))
	}
	path = real
	if info, err := os.Stat(path); err == nil && info.Size() == 0 {
		return 0, 0, fmt.Errorf("compact tape %s: %w: the file is empty", path, record.ErrNotATape)
	}
	s, err := Open(path, opts...)
	if err != nil {
		return 0, 0, err
	}
	before, after, err = s.compact(ctx, progress)
	if after == 0 {
		_ = os.Remove(path + compactSuffix)
		return 0, 0, fmt.Errorf("compact tape %s, which is as it was: %w", path, errors.Join(unwrapPath(err), s.Close()))
	}
	return before, after, errors.Join(err, s.db.Close())
}

// compact replaces the file of an open tape, which is of no use afterwards. After
// is 0 if it did not come to that.
func (s *Store) compact(ctx context.Context, progress func(float64)) (before, after int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	info, err := s.file.Stat()
	if err != nil {
		return 0, 0, err
	}
	before = info.Size()
	c := &compactor{store: s, ctx: ctx, progress: progress, path: s.path + compactSuffix}
	for _, step := range []func() error{c.sound, c.room, func() error { return c.copy(info) }} {
		if err := guard(step); err != nil {
			return 0, 0, err
		}
	}
	if runtime.GOOS == "windows" { // where an open file cannot be replaced
		if err := s.db.Close(); err != nil {
			return 0, 0, err
		}
	}
	if err := os.Rename(c.path, s.path); err != nil {
		return 0, 0, err
	}
	return before, c.size, syncDir(filepath.Dir(s.path))
}

type compactor struct {
	store    *Store
	ctx      context.Context
	progress func(float64)
	path     string
	total    int64 // bytes in use
	size     int64 // of the new file
}

// sound refuses a tape that has damaged pages: what cannot be reached through
// them would be gone.
func (c *compactor) sound() error {
	var first error
	p, err := openPages(c.store.file, func(format string, args ...any) {
		if first == nil {
			first = fmt.Errorf("%w: "+format, append([]any{record.ErrCorrupt}, args...)...)
		}
	})
	if err == nil {
		err = p.check(c.ctx)
	}
	return cmp.Or(c.ctx.Err(), err, first)
}

// room looks whether the disk has room for the new file beside the old one.
func (c *compactor) room() error {
	stats := c.store.db.Stats()
	free := int64(stats.FreePageN + stats.PendingPageN)
	err := c.store.view(func(tx *bbolt.Tx) error {
		c.total = tx.Size() - free*int64(c.store.db.Info().PageSize)
		return nil
	})
	if err != nil {
		return err
	}
	need := uint64(c.total + c.total/16 + 1<<20)
	if have, ok := freeSpace(filepath.Dir(c.path)); ok && have < need {
		return fmt.Errorf("%w: %d bytes are needed beside the tape, %d are free", ErrNoRoom, need, have)
	}
	return nil
}

// copy writes the new file and makes it last.
func (c *compactor) copy(old os.FileInfo) (err error) {
	if err := os.Remove(c.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var f *os.File
	db, err := bbolt.Open(c.path, 0o600, &bbolt.Options{
		NoSync: true, NoGrowSync: true, FreelistType: bbolt.FreelistMapType, PageSize: c.store.db.Info().PageSize,
		OpenFile: func(path string, flag int, mode os.FileMode) (_ *os.File, err error) {
			f, err = os.OpenFile(path, flag|os.O_EXCL, mode)
			return f, err
		},
	})
	if err != nil {
		return err
	}
	err = guard(func() error {
		if err := c.store.view(func(from *bbolt.Tx) error { return c.buckets(from, db) }); err != nil {
			return err
		}
		if err := db.View(func(tx *bbolt.Tx) error { c.size = tx.Size(); return nil }); err != nil {
			return err
		}
		return errors.Join(f.Truncate(c.size), keepOwner(f, old), f.Sync())
	})
	return errors.Join(err, db.Close())
}

// buckets copies everything in the order of the keys, which fills the pages.
func (c *compactor) buckets(from *bbolt.Tx, to *bbolt.DB) error {
	done := int64(0)
	return from.ForEach(func(name []byte, b *bbolt.Bucket) error {
		cursor := b.Cursor()
		k, v := cursor.First()
		for more := true; more; more = k != nil {
			err := to.Update(func(tx *bbolt.Tx) error {
				target, err := tx.CreateBucketIfNotExists(name)
				if err != nil {
					return err
				}
				target.FillPercent = 1
				for chunk := 0; k != nil && chunk < compactChunk; k, v = cursor.Next() {
					if err := target.Put(k, v); err != nil {
						return err
					}
					chunk += len(k) + len(v)
				}
				return nil
			})
			if err != nil {
				return err
			}
			if err := c.ctx.Err(); err != nil {
				return err
			}
			if c.progress != nil {
				err := to.View(func(tx *bbolt.Tx) error { done = tx.Size(); return nil })
				if err != nil {
					return err
				}
				c.progress(min(1, float64(done)/float64(max(1, c.total))))
			}
		}
		return nil
	})
}
