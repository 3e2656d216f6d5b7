package remote_test

import (
	"context"
	"testing"

	"go.uber.org/goleak"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/record/remote"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- remote.Serve(ctx, ln, tape) }()
	c, err := remote.Dial(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = c.Close()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return c
}
