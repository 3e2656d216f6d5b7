//go:build unix

package boltstore_test

import (
	"syscall"
	"testing"
)

var full error = syscall.ENOSPC

// limited is a fault that needs no rights: this process may not write past the
// first 64 KiB of any file.
func limited(t *testing.T) fault {
	var was syscall.Rlimit
	must(t, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &was))
	set := func(limit syscall.Rlimit) {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
			panic(err)
		}
	}
	short := was
	short.Cur = 64 << 10
	return fault{name: "write error", says: syscall.EFBIG.Error(), begin: func() { set(short) }, end: func() { set(was) }}
}
