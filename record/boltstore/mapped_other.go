//go:build !linux

package boltstore

// forget has no counterpart here: see mapped_linux.go.
func (s *Store) forget(int64) {}
