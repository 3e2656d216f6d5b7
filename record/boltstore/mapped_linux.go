package boltstore

import "golang.org/x/sys/unix"

// mapRoom is how long a tape may get before its map must be made anew: 64 GiB, of
// addresses only; 1 MiB where they have 32 bits.
const mapRoom = 1 << (20 + 16*(^uint(0)>>63))

// forget unmaps the pages of the file that bbolt has touched: what it inserts
// makes it read the neighbours, through its map of the file, and those pages
// would count as this process's memory for good. They stay in the page cache.
// The caller holds s.mu, so that the map is not replaced meanwhile.
func (s *Store) forget(size int64) {
	if size > 0 {
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, s.db.Info().Data, uintptr(size), unix.MADV_DONTNEED)
	}
}
