//go:build unix

package remote

import (
	"io/fs"
	"os"
	"syscall"
)

// closed keeps others from a socket from the moment that it is there, whatever the
// umask: Linux takes its mode from what is not bound yet, others ignore it.
func closed(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) { _ = syscall.Fchmod(int(fd), 0o600) })
}

// mine reports whether what was looked at belongs to this user.
func mine(info fs.FileInfo) bool {
	s, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(s.Uid) == os.Getuid()
}
