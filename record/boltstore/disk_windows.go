package boltstore

import (
	"os"

	win "golang.org/x/sys/windows"
)

// unlock does nothing: the lock goes with the process, and a file that is
// mapped cannot be cut short by others here.
func unlock(*os.File) error { return nil }

// freeSpace returns how many bytes may still be written below a directory.
func freeSpace(dir string) (free uint64, ok bool) {
	p, err := win.UTF16PtrFromString(dir)
	if err != nil || win.GetDiskFreeSpaceEx(p, &free, nil, nil) != nil {
		return 0, false
	}
	return free, true
}

// keepOwner does nothing: a new file belongs to whoever owns its folder.
func keepOwner(*os.File, os.FileInfo) error { return nil }

// syncDir does nothing: there is no such call.
func syncDir(string) error { return nil }
