//go:build unix

package boltstore_test

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"strconv"
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

// smallDisk is a file system of its own of so many bytes.
func smallDisk(t *testing.T, size int) string {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size="+strconv.Itoa(size), "none", dir).CombinedOutput(); err != nil {
		t.Skipf("SKIP: a small disk cannot be mounted here: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", "-l", dir).CombinedOutput(); err != nil {
			t.Errorf("unmount: %v: %s", err, out)
		}
	})
	return dir
}

// fill writes a file until there is no room left.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	zeros, err := os.Open("/dev/zero")
	must(t, err)
	defer zeros.Close()
	if _, err := io.Copy(f, zeros); !errors.Is(err, full) {
		t.Fatalf("the disk does not fill: %v", err)
	}
}
