package boltstore

import "golang.org/x/sys/unix"

// yield lets other threads that wait for this core go first. To the scheduler of
// the system a write is one long run of a thread, which what wakes up meanwhile
// does not interrupt before a few milliseconds are over: a link, or the peer
// that it serves. runtime.Gosched only knows of our own.
func yield() { _, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0) }
