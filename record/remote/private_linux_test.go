package remote

import (
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestSocketIsClosedToOthersAtOnce(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	path := filepath.Join(t.TempDir(), "s.sock")
	ln, err := (&net.ListenConfig{Control: closed}).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestDirectoryOfSomebodyElse(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "wstape-0")
	if err := makePrivate(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, 12345, 12345); err != nil {
		t.Skip("only root can give a directory away")
	}
	if err := makePrivate(dir); err == nil {
		t.Error("it is taken for one's own")
	}
}

func TestLinkInThePlaceOfTheDirectory(t *testing.T) {
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(t.TempDir(), link); err != nil {
		t.Fatal(err)
	}
	if err := makePrivate(link); err == nil {
		t.Error("a link is taken for a directory")
	}
}
