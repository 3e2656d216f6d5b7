//go:build !linux

package boltstore

// mapRoom is none: Windows makes the file as long as its map.
const mapRoom = 0

// forget has no counterpart here: see mapped_linux.go.
func (s *Store) forget(int64) {}
