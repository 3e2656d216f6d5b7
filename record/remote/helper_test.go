package remote_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/wstape/wstape/internal/wstest"
	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/record/remote"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, wstest.Lingering()) }

// place returns a path for a tape that is short enough for a socket beside it,
// which t.TempDir with its long names is not.
func place(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "w")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "t.db")
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// serve serves a store as a proxy that holds it does, and returns its client.
func serve(t testing.TB, path string, s record.Store) *remote.Client {
	return serveTape(t, path, remote.Tape{
		Store: s,
		Flush: func(context.Context) error { return nil },
		Check: func(context.Context) ([]byte, error) { return []byte(`{}`), nil },
	})
}

func serveTape(t testing.TB, path string, tape remote.Tape) *remote.Client {
	t.Helper()
	ln, err := remote.Listen(path)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- remote.Serve(ctx, ln, tape) }()
	c, err := remote.Dial(ctx, path)
	must(t, err)
	t.Cleanup(func() {
		cancel()
		_ = c.Close()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return c
}
