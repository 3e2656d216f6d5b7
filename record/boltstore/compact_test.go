package boltstore_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/record/boltstore"
	"github.com/wstape/wstape/tape"
)

// spacious is a tape of which most has been removed, and what is left on it.
func spacious(t *testing.T) (path string, left *record.Memory) {
	t.Helper()
	random := random(t)
	r := newRecording(t, 8<<10, 64<<10)
	for n := range uint64(30) {
		tap := r.begin()
		for range 8 {
			say(tap, tape.Client, chatter(random, 20_000))
		}
		if n%10 == 0 {
			r.flush()
			must(t, r.Store.Append(t.Context(), record.Batch{Windows: []record.Window{{Session: n + 1, Offset: 10, Bytes: []byte("window")}}}))
		}
		if n != 29 { // a crash interrupts this one
			tap.End(tape.Ending{Kind: tape.EndEOF})
		}
		r.flush()
		if n%10 == 0 {
			must(t, r.Store.SetLabel(t.Context(), n+1, record.Label{Notes: []string{"a note"}}))
		}
	}
	for n := uint64(1); n <= 20; n++ {
		must(t, r.Store.Delete(t.Context(), n))
		must(t, r.memory.Delete(t.Context(), n))
	}
	return r.copyTo(filepath.Join(quickDir(t), "spacious.db")), r.memory
}

// holds checks that a tape has what it should, and nothing beside it.
func holds(t *testing.T, path string, want *record.Memory) {
	t.Helper()
	clean(t, path)
	reader, err := boltstore.OpenReader(path, time.Second)
	must(t, err)
	defer reader.Close()
	sameSessions(t, reader, want)
	page, err := reader.Sessions(t.Context(), 0)
	must(t, err)
	if len(page) != 10 {
		t.Errorf("%d sessions are there, want 10", len(page))
	}
}

func alone(t *testing.T, path string) {
	t.Helper()
	beside, err := filepath.Glob(path + "*")
	must(t, err)
	if len(beside) != 1 {
		t.Errorf("beside the tape: %v", beside)
	}
}

func TestCompactKeepsEverythingInLessRoom(t *testing.T) {
	path, want := spacious(t)
	link := filepath.Join(t.TempDir(), "link.db")
	must(t, os.Symlink(path, link))
	key := open(t, path)
	secret := slices.Clone(key.Key())
	must(t, key.Close())
	var parts []float64
	before, after, err := boltstore.Compact(t.Context(), link, func(part float64) { parts = append(parts, part) })
	must(t, err)
	info, err := os.Stat(path)
	must(t, err)
	if after != info.Size() || after > before/2 || info.Mode().Perm() != 0o600 {
		t.Errorf("%d bytes became %d; the file has %d and mode %v", before, after, info.Size(), info.Mode())
	}
	if len(parts) == 0 || !slices.IsSorted(parts) || parts[len(parts)-1] > 1 {
		t.Errorf("progress: %v", parts)
	}
	holds(t, path, want)
	alone(t, path)
	again := open(t, path)
	if !bytes.Equal(again.Key(), secret) {
		t.Error("the tape has another key")
	}
	if n, err := again.Begin(t.Context()); err != nil || n != 31 {
		t.Errorf("the next session is %d, %v", n, err)
	}
	e, err := again.Session(t.Context(), 21)
	must(t, err)
	w, err := again.Window(t.Context(), 21, tape.Client, 20)
	if len(e.Notes) != 1 || string(w.Bytes) != "window" || err != nil {
		t.Errorf("notes %v, window %q, %v", e.Notes, w.Bytes, err)
	}
	must(t, again.Close())
	_, small, err := boltstore.Compact(t.Context(), path, nil)
	if err != nil || small > after {
		t.Errorf("%d bytes became %d the second time, %v", after, small, err)
	}
	holds(t, path, want)
}

func TestCompactThatIsInterruptedChangesNothing(t *testing.T) {
	path, want := spacious(t)
	ctx, cancel := context.WithCancel(t.Context())
	_, _, err := boltstore.Compact(ctx, path, func(float64) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	alone(t, path)
	holds(t, path, want)
}

func TestCompactRefuses(t *testing.T) {
	path, want := spacious(t)
	holder := open(t, path)
	if _, _, err := boltstore.Compact(t.Context(), path, nil); !errors.Is(err, record.ErrBusy) {
		t.Errorf("a tape that is held: %v", err)
	}
	must(t, holder.Close())
	holds(t, path, want)
	if _, _, err := boltstore.Compact(t.Context(), path+".none", nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no tape: %v", err)
	}
	alone(t, path)
	_, _, err := boltstore.Compact(t.Context(), path, nil)
	must(t, err)
	data, err := os.ReadFile(path)
	must(t, err)
	tried, refused := 0, 0
	for at := 2 * os.Getpagesize(); at < len(data) && tried < 20; at += os.Getpagesize() {
		if page := binary.NativeEndian.Uint64(data[at:]); page != uint64(at/os.Getpagesize()) {
			continue // more of the page before
		}
		tried++
		flip(t, path, int64(at+10), 1) // the number of elements in the page
		if _, _, err := boltstore.Compact(t.Context(), path, nil); err != nil {
			refused++
			alone(t, path)
		}
		must(t, os.WriteFile(path, data, 0o600))
	}
	if refused < 10 { // a few are free
		t.Errorf("%d of %d damaged pages were noticed", refused, tried)
	}
	holds(t, path, want)
}

// TestCompactKilledAnywhere kills processes that compact the tape over and over.
func TestCompactKilledAnywhere(t *testing.T) {
	if path := os.Getenv("WSTAPE_COMPACT"); path != "" {
		for {
			fmt.Println("compacting")
			_, _, err := boltstore.Compact(t.Context(), path, nil)
			must(t, err)
		}
	}
	path, want := spacious(t)
	random := random(t)
	left := 0
	for range 20 {
		child := exec.Command(os.Args[0], "-test.run=^TestCompactKilledAnywhere$", "-test.timeout=1m")
		child.Env = append(os.Environ(), "WSTAPE_COMPACT="+path)
		out, err := child.StdoutPipe()
		must(t, err)
		must(t, child.Start())
		lines := bufio.NewScanner(out)
		if !lines.Scan() || lines.Text() != "compacting" {
			t.Fatalf("the child says %q", lines.Text())
		}
		<-time.After(time.Duration(random.IntN(60)) * time.Millisecond)
		must(t, child.Process.Kill())
		_ = child.Wait()
		if _, err := os.Stat(path + ".compact"); err == nil {
			left++
		}
		holds(t, path, want)
		must(t, open(t, path).Close())
		alone(t, path)
	}
	t.Logf("%d of 20 were killed with a half written file", left)
}

// Who waited for the lock while the tape was replaced gets the new one.
func TestOpenBehindACompact(t *testing.T) {
	path, _ := spacious(t)
	holder := open(t, path)
	opened := make(chan *boltstore.Store)
	go func() {
		s, err := boltstore.Open(path)
		if err != nil {
			t.Error(err)
		}
		opened <- s
	}()
	data, err := os.ReadFile(path)
	must(t, err)
	must(t, os.WriteFile(path+".new", data, 0o600))
	must(t, os.Rename(path+".new", path))
	must(t, holder.Close())
	s := <-opened
	must(t, fat(s, 31, "in the new file"))
	must(t, s.Close())
	report := clean(t, path)
	if report.Sessions != 11 {
		t.Errorf("%d sessions are in the new file, want 11", report.Sessions)
	}
}
