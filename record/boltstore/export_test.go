package boltstore

// SetSizes makes blocks and tails small, so that a test sees many of them.
func (s *Store) SetSizes(block, tail int) {
	s.blockBytes, s.directBytes, s.tailBytes = block, block, tail
	s.latest.max = 5
}

// Tails says how many tail blocks there are.
func (s *Store) Tails() int { return len(s.tails) }

// OpenPatient is Open, waiting for the lock no longer than OpenReader does.
var OpenPatient = func(path string) (*Store, error) { return openStore(path, false, Patience, nil) }

// DeletePart does the first transaction of removing a session; whole says that it
// was the only one.
func (s *Store) DeletePart(n uint64) (whole bool, err error) {
	_, whole, err = s.deleteSome([]uint64{n})
	return whole, err
}
