//go:build unix

package boltstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wstape/wstape/internal/wstest"
	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/record/boltstore"
	"github.com/wstape/wstape/tape"
)

// eventually waits until something holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(20 * time.Second); !holds(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// trial records through a fault of the disk. Every frame says its number, so
// that what is on the tape can be compared with what was sent.
type trial struct {
	t        testing.TB
	path     string
	store    *boltstore.Store
	recorder *record.Recorder
	tap      *record.Tap
	random   *rand.Rand

	mu      sync.Mutex
	reports []error

	sent   uint64
	bytes  uint64
	frames [][]byte // by number
}

const trialBuffer = 256 << 10

func newTrial(t testing.TB, path string, drop bool) *trial {
	t.Helper()
	r := &trial{t: t, path: path, store: open(t, path), random: random(t)}
	r.recorder = record.NewRecorder(r.store, record.Options{Buffer: trialBuffer, Drop: drop, OnError: func(err error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.reports = append(r.reports, err)
	}})
	t.Cleanup(func() { _ = r.recorder.Close() })
	tap, err := r.recorder.Begin(tape.Session{URL: "/chat"})
	must(t, err)
	tap.Answered("ws://127.0.0.1/chat", 101, "", nil, tape.Response{Status: 101})
	r.tap = tap
	return r
}

func (r *trial) reported() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.reports)
}

// send sends frames that do not shrink.
func (r *trial) send(n int) {
	for range n {
		payload := make([]byte, 1000+r.random.IntN(8000))
		for i := 0; i+8 <= len(payload); i += 8 {
			v := r.random.Uint64()
			for j := range 8 {
				payload[i+j] = byte(v >> (8 * j))
			}
		}
		copy(payload, fmt.Sprintf("frame %d:", r.sent+1))
		r.frames = append(r.frames, payload)
		r.sent++
		r.bytes += uint64(len(payload))
		r.tap.Parts(tape.Client, tape.LegBoth, []tape.Part{{Begin: true, Head: 0x82, Len: uint64(len(payload)), Payload: payload}})
	}
}

// failing sends until writing is reported to fail.
func (r *trial) failing() {
	r.t.Helper()
	before := r.reported()
	for range 10_000 {
		r.send(1)
		if r.reported() > before {
			return
		}
		if r.recorder.Waiting() > trialBuffer/2 {
			_ = r.flush()
		}
	}
	r.t.Fatal("writing never failed")
}

// flush waits for what was sent, or until it is known that it cannot be written.
func (r *trial) flush() error {
	ctx, cancel := context.WithTimeout(r.t.Context(), 50*time.Millisecond)
	defer cancel()
	return r.recorder.Flush(ctx)
}

// works waits until writing works again, and lets it.
func (r *trial) works() {
	r.t.Helper()
	eventually(r.t, "writing works again", func() bool { return r.recorder.Healthy() == nil })
	must(r.t, r.recorder.Flush(r.t.Context()))
}

// readable checks that what was written can be read while writing fails.
func (r *trial) readable(frames int) {
	r.t.Helper()
	if n := len(lines(r.t, r.store, 1)); n < frames {
		r.t.Errorf("%d frames can be read while writing fails, want %d", n, frames)
	}
	page, err := r.store.Sessions(r.t.Context(), 0)
	if err != nil || len(page) != 1 {
		r.t.Errorf("%d sessions are listed while writing fails: %v", len(page), err)
	}
}

// done ends the session and compares the tape with what was sent; it returns how
// many frames are in gaps.
func (r *trial) done() (gone uint64) {
	t := r.t
	t.Helper()
	r.tap.End(tape.Ending{Kind: tape.EndEOF})
	must(t, r.recorder.Close())
	must(t, r.store.Close())
	clean(t, r.path)
	reader, err := boltstore.OpenReader(r.path, time.Second)
	must(t, err)
	defer reader.Close()
	e, err := reader.Session(t.Context(), 1)
	must(t, err)
	if e.State != tape.Closed || e.Frames.Client != r.sent || e.Bytes.Client != r.bytes {
		t.Errorf("the session is %s and has %d frames of %d bytes; sent were %d of %d", e.State, e.Frames.Client, e.Bytes.Client, r.sent, r.bytes)
	}
	var there, goneBytes uint64
	next := uint64(1)
	for line, err := range record.Lines(t.Context(), reader, 1, record.ReadOptions{}) {
		must(t, err)
		if line.Gap != nil {
			gone, goneBytes, next = gone+line.Gap.Frames, goneBytes+line.Gap.Bytes, next+line.Gap.Frames
			continue
		}
		m := line.Message
		if m.Seq != next || m.Seq > r.sent || !bytes.Equal(m.Payload, r.frames[m.Seq-1]) {
			t.Fatalf("frame %d stands where frame %d should, or is not what was sent", m.Seq, next)
		}
		next++
		there++
		goneBytes += uint64(len(m.Payload))
	}
	if there+gone != r.sent || goneBytes != r.bytes {
		t.Errorf("%d frames are there and %d in gaps, %d bytes in all; sent were %d of %d bytes", there, gone, goneBytes, r.sent, r.bytes)
	}
	return gone
}

// spells checks that each failure and each recovery was reported once.
func (r *trial) spells(want int) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.reports) != 2*want {
		r.t.Errorf("%d reports of %d failures and as many recoveries: %v", len(r.reports), want, r.reports)
	}
	for i, err := range r.reports {
		if (err == nil) != (i%2 == 1) {
			r.t.Errorf("report %d is %v", i, err)
		}
	}
}

// fault is something wrong with the disk that begins and ends.
type fault struct {
	name       string
	begin, end func()
	says       string
}

func (f *fault) caused(t testing.TB, err error) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), f.says) { // bbolt does not wrap all of them
		t.Errorf("got %v, want %s", err, f.says)
	}
}

// survive records through a fault twice, with each policy.
func survive(t *testing.T, f fault, path func() string) {
	t.Run(f.name+", block", func(t *testing.T) {
		r := newTrial(t, path(), false)
		for range 2 {
			r.send(20)
			r.works()
			written := len(lines(t, r.store, 1))
			f.begin()
			r.failing()
			f.caused(t, r.recorder.Healthy())
			sent := make(chan struct{})
			go func() { defer close(sent); r.send(100) }()
			eventually(t, "the sender is held back", func() bool { return r.recorder.Waiting() >= trialBuffer })
			r.readable(written)
			select {
			case <-sent:
				t.Error("100 frames more were taken while nothing could be written")
			default:
			}
			f.end()
			<-sent
			r.works()
		}
		if gone := r.done(); gone > 0 {
			t.Errorf("%d frames are missing", gone)
		}
		r.spells(2)
	})
	t.Run(f.name+", drop", func(t *testing.T) {
		r := newTrial(t, path(), true)
		for range 2 {
			r.send(20)
			r.works()
			written := len(lines(t, r.store, 1))
			f.begin()
			r.failing()
			r.send(300)
			r.readable(written)
			f.end()
			r.works()
			r.send(1)
		}
		if gone := r.done(); gone < 400 {
			t.Errorf("only %d frames of 600 that there was no room for are in gaps", gone)
		}
		r.spells(2)
	})
	t.Run(f.name+", at the end", func(t *testing.T) {
		at := path()
		r := newTrial(t, at, false)
		r.send(20)
		r.works()
		written := len(lines(t, r.store, 1))
		f.begin()
		r.failing()
		r.tap.End(tape.Ending{Kind: tape.EndEOF})
		f.caused(t, r.recorder.Close())
		_ = r.store.Close()
		f.end()
		clean(t, at)
		again := open(t, at)
		e, err := again.Session(t.Context(), 1)
		must(t, err)
		if n := len(lines(t, again, 1)); n < written || e.State != tape.Interrupted {
			t.Errorf("the session is %s and has %d of at least %d frames", e.State, n, written)
		}
	})
}

// inChild runs the test again in a process of its own, for what would stay with
// this one; true if this is not that process.
func inChild(t *testing.T) bool {
	t.Helper()
	if os.Getenv("WSTAPE_FAULTS") != "" {
		return false
	}
	child := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.timeout=2m", "-test.v")
	child.Env = append(os.Environ(), "WSTAPE_FAULTS=1")
	out, err := child.CombinedOutput()
	if err != nil || testing.Verbose() {
		t.Logf("%s", out)
	}
	must(t, err)
	if bytes.Contains(out, []byte("SKIP: ")) {
		t.Skipf("%s", out)
	}
	return true
}

// An error that everybody may cause: the tape may not grow past a limit.
func TestWriteErrorsLoseNothing(t *testing.T) {
	if inChild(t) {
		return
	}
	survive(t, limited(t), func() string { return filepath.Join(quickDir(t), "t.db") })
}

func TestFullDiskLosesNothing(t *testing.T) {
	dir := wstest.SmallDisk(t, 4<<20)
	filler := filepath.Join(dir, "filler")
	n := 0
	survive(t, fault{
		name: "full disk", says: full.Error(),
		begin: func() { wstest.FillDisk(t, filler) },
		end:   func() { must(t, os.Remove(filler)) },
	}, func() string {
		if n > 0 {
			must(t, os.Remove(filepath.Join(dir, fmt.Sprintf("%d.db", n))))
		}
		n++
		return filepath.Join(dir, fmt.Sprintf("%d.db", n))
	})
}

// A new tape for which there is no room leaves nothing behind that would be in
// the way when there is.
func TestFullDiskAtTheStart(t *testing.T) {
	dir := wstest.SmallDisk(t, 1<<20)
	filler, path := filepath.Join(dir, "filler"), filepath.Join(dir, "t.db")
	wstest.FillDisk(t, filler)
	for _, room := range []int64{0, 4 << 10, 8 << 10, 12 << 10, 16 << 10, 20 << 10} {
		must(t, os.Truncate(filler, 1<<20-room-(64<<10)))
		wstest.FillDisk(t, filepath.Join(dir, "rest"))
		must(t, os.Truncate(filepath.Join(dir, "rest"), max(0, 64<<10-room)))
		_, err := boltstore.Open(path)
		if err == nil {
			must(t, os.Remove(path))
			continue
		}
		if !errors.Is(err, full) {
			t.Errorf("with room for %d bytes: %v", room, err)
		}
		if _, err := os.Stat(path); err == nil {
			t.Errorf("with room for %d bytes: a part of a tape is left behind", room)
		}
	}
	must(t, os.Remove(filler))
	must(t, open(t, path).Close())
	clean(t, path)
}

// appendTo writes a session that is open.
func appendTo(s *boltstore.Store, n uint64) error {
	return s.Append(context.Background(), record.Batch{Entries: []record.Entry{{Session: tape.Session{N: n, State: tape.Open}}}})
}

func TestFileThatIsCutShortIsAnError(t *testing.T) {
	for _, size := range []int64{0, 4 << 10, 10 << 10, 100 << 10} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			r := newRecording(t, 300, 64<<10)
			tap, random := r.begin(), random(t)
			for range 200 {
				say(tap, tape.Client, chatter(random, 1000))
			}
			r.flush()
			must(t, os.Truncate(r.path, size))
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				for range 3 {
					_, _ = r.Store.Sessions(context.Background(), 0)
					_, _ = r.Store.Segments(context.Background(), 1, 0)
					_, _ = r.Store.Window(context.Background(), 1, tape.Client, 10)
					if err := appendTo(r.Store, 7); err == nil {
						t.Error("a batch was stored in a file that is not whole")
					}
					if err := r.Store.Delete(context.Background(), 1); err == nil {
						t.Error("a session was removed from a file that is not whole")
					}
					_, _ = r.Store.Check(context.Background(), nil)
				}
				if err := r.Store.Close(); err == nil {
					t.Error("Close says nothing")
				}
			}()
			select {
			case <-ended:
			case <-time.After(20 * time.Second):
				t.Fatal("bbolt's locks are held for ever")
			}
		})
	}
}

func TestFileThatIsGoneIsWrittenOnAndReported(t *testing.T) {
	for name, away := range map[string]func(path, other string) error{
		"removed":  func(path, _ string) error { return os.Remove(path) },
		"replaced": func(path, other string) error { return os.Rename(other, path) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path, other := filepath.Join(dir, "t.db"), filepath.Join(dir, "other.db")
			s := open(t, path)
			must(t, appendTo(s, 1))
			must(t, os.WriteFile(other, bytes.Repeat([]byte("somebody's letters\n"), 1<<20), 0o600))
			must(t, os.Rename(path, path+".kept"))
			must(t, os.Link(path+".kept", path))
			must(t, appendTo(s, 2))
			must(t, away(path, other))
			if err := appendTo(s, 3); !errors.Is(err, record.ErrAstray) {
				t.Errorf("got %v, want ErrAstray", err)
			}
			if page, err := s.Sessions(t.Context(), 0); err != nil || len(page) != 3 {
				t.Errorf("%d sessions can be read: %v", len(page), err)
			}
			must(t, s.Close())
			if text, err := os.ReadFile(path); name == "replaced" && (err != nil || len(text) != 19<<20) {
				t.Errorf("somebody's file has %d bytes now, %v", len(text), err)
			}
			clean(t, path+".kept")
		})
	}
}
