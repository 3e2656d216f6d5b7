package main

import (
	"os"
	"syscall"
	"time"
)

// sleep is precise to about 50 µs. time.Sleep may be 1 ms late, as long as the
// poller waits in whole milliseconds, and that would be counted as latency.
func sleep(d time.Duration) {
	if d <= 0 {
		return
	}
	left := syscall.NsecToTimespec(int64(d))
	_ = syscall.Nanosleep(&left, nil)
}

func fdatasync(f *os.File) error { return syscall.Fdatasync(int(f.Fd())) }
