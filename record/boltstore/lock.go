package boltstore

import (
	"errors"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/wstape/wstape/record"
)

// lockKey holds the tape's own key, wrapped by the operator's, on a tape that is
// encrypted.
const lockKey = "lock"

// ErrNotLocked means that a key was given for a tape that is not encrypted.
var ErrNotLocked = errors.New("the tape is not encrypted")

// Option changes how a tape is opened.
type Option func(*Store)

// WithKey gives the operator's key: a tape that is made is encrypted for it, and
// one that is there is opened with it. A nil key is none.
func WithKey(k *record.Key) Option { return func(s *Store) { s.operator = k } }

// blind opens an encrypted tape without its key, to check what can be checked.
func blind(s *Store) { s.blind = true }

// lock makes the tape's own key and gives it, wrapped, to an empty tape.
func (s *Store) lock(m *bbolt.Bucket) error {
	own := newKey()
	wrapped, err := s.operator.Wrap(own)
	if err != nil {
		return fmt.Errorf("encrypt the tape: %w", err)
	}
	sealed := record.NewSealer().Seal(place(meta, []byte(lockKey)), wrapped, record.Plain) // it is encrypted already
	return errors.Join(m.Put([]byte(lockKey), sealed), s.sealer.Encrypt(own))
}

// unlock finds the key of an encrypted tape.
func (s *Store) unlock(m *bbolt.Bucket, encrypted bool) error {
	sealed := m.Get([]byte(lockKey))
	switch {
	case !encrypted && s.operator != nil && !s.readOnly: // what is written would be there to read
		return ErrNotLocked
	case !encrypted:
		return nil
	case sealed == nil:
		return fmt.Errorf("%w: its key is missing", record.ErrCorrupt)
	case s.operator == nil && s.blind:
		s.locked = true
		return nil
	case s.operator == nil:
		return record.ErrLocked
	}
	wrapped, err := record.NewSealer().Open(place(meta, []byte(lockKey)), sealed)
	if err != nil {
		return fmt.Errorf("its key: %w", err)
	}
	own, err := s.operator.Unwrap(wrapped)
	if err != nil {
		return err
	}
	return s.sealer.Encrypt(own)
}

// sums checks the checksum of every value of a tape whose key is not known.
func (c *checker) sums(tx *bbolt.Tx) error {
	for _, b := range buckets() {
		in := b.in(tx)
		if in == nil || b == open {
			continue
		}
		err := in.ForEach(func(k, v []byte) error {
			if b == meta && (string(k) == "magic" || string(k) == "version") {
				return c.ctx.Err()
			}
			switch b {
			case sessions:
				c.report.Sessions++
			case blocks, tails:
				c.report.Blocks++
			}
			if err := record.Verify(place(b, k), v); err != nil {
				c.problem("%s %x: %v", b, k, err)
			}
			return c.ctx.Err()
		})
		if err != nil {
			return err
		}
	}
	return nil
}
