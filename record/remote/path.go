package remote

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
)

// maxSocketPath is what fits into a sockaddr_un on every supported system.
const maxSocketPath = 103

// SocketPath returns where the socket of a tape is: beside it, or, when that
// path is too long for a socket, in the user's runtime directory.
func SocketPath(tape string) (string, error) {
	abs, err := filepath.Abs(tape)
	if err != nil {
		return "", fmt.Errorf("find the socket of tape %s: %w", tape, err)
	}
	if resolved, err := filepath.EvalSymlinks(abs); err == nil {
		abs = resolved
	}
	if path := abs + ".sock"; len(path) <= maxSocketPath {
		return path, nil
	}
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if dir == "" || len(dir) > maxSocketPath-50 {
		dir = filepath.Join(os.TempDir(), fmt.Sprintf("wstape-%d", os.Getuid()))
		if err := makePrivate(dir); err != nil {
			return "", fmt.Errorf("find the socket of tape %s: %w", tape, err)
		}
	}
	sum := sha256.Sum256([]byte(abs))
	return filepath.Join(dir, "wstape-"+hex.EncodeToString(sum[:12])+".sock"), nil
}

// makePrivate makes a directory that nobody else can reach into, in a place where
// everybody may make one of that name first.
func makePrivate(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	switch info, err := os.Lstat(dir); {
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is not a directory", dir)
	case !mine(info):
		return fmt.Errorf("%s belongs to another user", dir)
	}
	return os.Chmod(dir, 0o700)
}

// Listen opens the socket of a tape whose lock the caller holds: whatever is
// there already belongs to nobody and is removed.
func Listen(tape string) (net.Listener, error) {
	path, err := SocketPath(tape)
	if err != nil {
		return nil, err
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == os.ModeSocket {
		_ = os.Remove(path)
	}
	ln, err := (&net.ListenConfig{Control: closed}).Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen for readers of tape %s: %w", tape, err)
	}
	if err := os.Chmod(path, 0o600); err != nil { // elsewhere than on Linux its mode is as the umask says until now
		ln.Close()
		return nil, fmt.Errorf("listen for readers of tape %s: %w", tape, err)
	}
	return ln, nil
}
