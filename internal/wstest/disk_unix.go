//go:build unix

package wstest

import (
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"syscall"
)

// SmallDisk mounts a file system of its own of so many bytes and returns its
// directory, whose path is short enough for a socket. Where that is not allowed
// the test is skipped.
func SmallDisk(tb TB, bytes int) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", "disk")
	if err != nil {
		tb.Fatalf("a directory for a small disk: %v", err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size="+strconv.Itoa(bytes), "none", dir).CombinedOutput(); err != nil {
		tb.Skipf("SKIP: a small disk cannot be mounted here: %v: %s", err, out)
	}
	tb.Cleanup(func() {
		if out, err := exec.Command("umount", "-l", dir).CombinedOutput(); err != nil {
			tb.Errorf("unmount: %v: %s", err, out)
		}
	})
	return dir
}

// FillDisk writes a file until there is no room left on its disk.
func FillDisk(tb TB, path string) {
	tb.Helper()
	f, err := os.Create(path)
	if err != nil {
		tb.Fatalf("fill a disk: %v", err)
	}
	defer f.Close()
	if _, err := io.Copy(f, rand.NewChaCha8([32]byte{})); !errors.Is(err, syscall.ENOSPC) {
		tb.Fatalf("the disk does not fill: %v", err)
	}
}
