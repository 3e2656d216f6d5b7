package remote_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/record/remote"
	"github.com/wstape/wstape/tape"
)

func TestSocketStandsBesideTheTape(t *testing.T) {
	tape := place(t)
	must(t, os.WriteFile(tape, nil, 0o600))
	path, err := remote.SocketPath(tape)
	must(t, err)
	resolved, err := filepath.EvalSymlinks(tape)
	must(t, err)
	if path != resolved+".sock" {
		t.Errorf("socket %s for tape %s", path, tape)
	}
}

func TestSocketOfALongPathStandsInTheRuntimeDirectory(t *testing.T) {
	runtimeDir := filepath.Dir(place(t))
	t.Setenv("XDG_RUNTIME_DIR", runtimeDir)
	long := filepath.Join(t.TempDir(), strings.Repeat("x", 120), "t.db")
	path, err := remote.SocketPath(long)
	must(t, err)
	if filepath.Dir(path) != runtimeDir || len(path) > 103 {
		t.Errorf("socket %s", path)
	}
	if other, err := remote.SocketPath(long + "2"); err != nil || other == path {
		t.Errorf("another tape has the same socket %s, %v", other, err)
	}
	must(t, os.Mkdir(filepath.Dir(long), 0o700))
	if _, err := serve(t, long, record.NewMemory()).Sessions(t.Context(), 0); err != nil {
		t.Errorf("a tape of a long path cannot be asked: %v", err)
	}
}

func TestLinksToATapeLeadToItsSocket(t *testing.T) {
	real := place(t)
	link := real + ".link"
	must(t, os.WriteFile(real, nil, 0o600))
	if err := os.Symlink(real, link); err != nil {
		t.Skip(err)
	}
	a, err := remote.SocketPath(real)
	must(t, err)
	if b, err := remote.SocketPath(link); err != nil || a != b {
		t.Errorf("sockets %s and %s, %v", a, b, err)
	}
}

func TestSocketIsItsOwnersAlone(t *testing.T) {
	path := place(t)
	serve(t, path, record.NewMemory())
	socket, err := remote.SocketPath(path)
	must(t, err)
	info, err := os.Stat(socket)
	must(t, err)
	if info.Mode().Perm() != 0o600 && runtime.GOOS != "windows" {
		t.Errorf("mode %v, want 0600", info.Mode())
	}
}

func TestStaleSocketIsReplacedAndAFileIsNot(t *testing.T) {
	path := place(t)
	socket, err := remote.SocketPath(path)
	must(t, err)
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	must(t, err)
	stale.SetUnlinkOnClose(false)
	must(t, stale.Close())
	if _, err := remote.Dial(t.Context(), path); err == nil {
		t.Error("a socket without a proxy answers")
	}
	if _, err := serve(t, path, record.NewMemory()).Begin(t.Context()); err != nil {
		t.Errorf("behind a stale socket: %v", err)
	}

	other := place(t)
	socket, err = remote.SocketPath(other)
	must(t, err)
	must(t, os.WriteFile(socket, []byte("mine"), 0o600))
	if ln, err := remote.Listen(other); err == nil {
		ln.Close()
		t.Error("somebody's file was taken for a socket")
	}
	if text, _ := os.ReadFile(socket); string(text) != "mine" {
		t.Error("somebody's file is gone")
	}
}

// broken fails every call with an error of its own.
type broken struct {
	record.Store
	err error
}

func (b broken) Session(context.Context, uint64) (record.Entry, error) { return record.Entry{}, b.err }

func TestErrorsStayWhatTheyAre(t *testing.T) {
	for _, kind := range []error{record.ErrNotFound, record.ErrOpen, record.ErrCorrupt, record.ErrVersion} {
		store := broken{record.NewMemory(), fmt.Errorf("session 7: %w", kind)}
		_, err := serve(t, place(t), store).Session(t.Context(), 7)
		if !errors.Is(err, kind) || err.Error() != store.err.Error() {
			t.Errorf("%v becomes %v", store.err, err)
		}
	}
	plain := broken{record.NewMemory(), errors.New("disk on fire")}
	if _, err := serve(t, place(t), plain).Session(t.Context(), 7); err == nil || err.Error() != "disk on fire" {
		t.Errorf("got %v", err)
	}
}

func TestReadingFlushesFirstUntilTheReaderFollows(t *testing.T) {
	var flushes atomic.Int32
	c := serveTape(t, place(t), remote.Tape{
		Store: record.NewMemory(),
		Flush: func(context.Context) error { flushes.Add(1); return errors.New("disk full") }, // which is no reason not to read
	})
	read := func(want int32) {
		t.Helper()
		_, err := c.Sessions(t.Context(), 0)
		must(t, err)
		if n := flushes.Load(); n != want {
			t.Errorf("%d flushes, want %d", n, want)
		}
	}
	read(1)
	read(2)
	_, err := c.Wait(t.Context(), 0)
	must(t, err)
	read(3) // by the first Wait
	read(3)
}

func TestCheckIsTheProxys(t *testing.T) {
	c := serveTape(t, place(t), remote.Tape{
		Store: record.NewMemory(),
		Flush: func(context.Context) error { return nil },
		Check: func(context.Context) ([]byte, error) { return []byte(`{"Problems":["one"]}`), nil },
	})
	report, err := c.Check(t.Context())
	must(t, err)
	if string(report) != `{"Problems":["one"]}` {
		t.Errorf("report %s", report)
	}
}

func TestClientSeesThatTheProxyIsGone(t *testing.T) {
	path := place(t)
	ln, err := remote.Listen(path)
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	store := record.NewMemory()
	go func() {
		done <- remote.Serve(ctx, ln, remote.Tape{Store: store, Flush: func(context.Context) error { return nil }})
	}()
	c, err := remote.Dial(t.Context(), path)
	must(t, err)
	defer c.Close()
	version, err := c.Wait(t.Context(), 0)
	must(t, err)
	waiting := make(chan error)
	go func() { _, err := c.Wait(t.Context(), version); waiting <- err }()
	cancel()
	must(t, <-done)
	if err := <-waiting; !errors.Is(err, remote.ErrGone) {
		t.Errorf("who was waiting is told %v", err)
	}
	if _, err := c.Session(t.Context(), 1); !errors.Is(err, remote.ErrGone) {
		t.Errorf("got %v", err)
	}
}

// A session as rich as they get keeps everything on its way.
func TestSessionComesWhole(t *testing.T) {
	ctx := t.Context()
	store := record.NewMemory()
	c := serve(t, place(t), store)
	n, err := c.Begin(ctx)
	must(t, err)
	e := record.Entry{Size: 4, Session: tape.Session{
		N: n, State: tape.Refused, Status: 403, Rules: []byte(`{"a":1}`),
		Handshake: tape.Handshake{
			Request:  tape.Request{Method: "GET", Target: "/?<&>", Headers: []tape.Header{{"A", "1"}, {"A", "2"}}},
			Response: tape.Response{Status: 403, Body: []byte{0, 0xff}},
		},
	}}
	must(t, c.Append(ctx, record.Batch{
		Entries:  []record.Entry{e},
		Segments: []record.Segment{{Session: n, Seq: 1, Raw: []byte{0, 1, 2, 0xff}}},
		Windows:  []record.Window{{Session: n, From: tape.Server, Offset: 3, Bytes: []byte("w")}},
	}))
	got, err := c.Session(ctx, n)
	must(t, err)
	want, err := e.MarshalFull()
	must(t, err)
	if text, err := got.MarshalFull(); err != nil || string(text) != string(want) || got.Size != 4 {
		t.Errorf("got %s, %v", text, err)
	}
	must(t, c.Delete(ctx, n))
	if _, err := store.Session(ctx, n); !errors.Is(err, record.ErrNotFound) {
		t.Errorf("deleted, and still there: %v", err)
	}
}
