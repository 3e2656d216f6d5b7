package boltstore_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"go.uber.org/goleak"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/record/boltstore"
	"github.com/wstape/wstape/tape"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open opens a tape for the time of a test.
func open(t testing.TB, path string) *boltstore.Store {
	t.Helper()
	s, err := boltstore.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() }) // closed already in many tests
	return s
}

// quickDir is a directory where a sync costs nothing, if there is such a place: for
// tests of which the time would be the disk's.
func quickDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "wstape")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// random returns a seeded source and says with what; WSTAPE_SEED gives another.
func random(t testing.TB) *rand.Rand {
	seed := uint64(1)
	if text := os.Getenv("WSTAPE_SEED"); text != "" {
		var err error
		seed, err = strconv.ParseUint(text, 10, 64)
		must(t, err)
	}
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// tee records on two tapes: one to be damaged and one that knows better.
type tee struct {
	*boltstore.Store
	memory *record.Memory
}

func (w tee) Begin(ctx context.Context) (uint64, error) {
	if _, err := w.memory.Begin(ctx); err != nil {
		return 0, err
	}
	return w.Store.Begin(ctx)
}

func (w tee) Append(ctx context.Context, b record.Batch) error {
	return errors.Join(w.memory.Append(ctx, b), w.Store.Append(ctx, b))
}

// recording is a tape that is being made.
type recording struct {
	t    testing.TB
	path string
	tee
	recorder *record.Recorder
	taps     []*record.Tap
}

// newRecording makes a tape with small blocks and tails.
func newRecording(t testing.TB, block, tails int) *recording {
	t.Helper()
	path := filepath.Join(t.TempDir(), "t.db")
	w := tee{open(t, path), record.NewMemory()}
	w.SetSizes(block, tails)
	r := &recording{t: t, path: path, tee: w, recorder: record.NewRecorder(w, record.Options{})}
	t.Cleanup(func() { _ = r.recorder.Close() })
	return r
}

func (r *recording) begin() *record.Tap {
	r.t.Helper()
	tap, err := r.recorder.Begin(tape.Session{URL: "/chat", Client: "127.0.0.1:1"})
	must(r.t, err)
	tap.Answered("ws://127.0.0.1/chat", 101, "", nil, tape.Response{Status: 101})
	r.taps = append(r.taps, tap)
	return tap
}

func (r *recording) flush() {
	r.t.Helper()
	must(r.t, r.recorder.Flush(context.Background()))
}

// say records one text message.
func say(tap *record.Tap, from tape.Side, text string) {
	tap.Parts(from, tape.LegBoth, []tape.Part{{Begin: true, Head: 0x81, Len: uint64(len(text)), Payload: []byte(text)}})
}

// chatter returns text that does not shrink much.
func chatter(r *rand.Rand, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(' ' + r.IntN(90))
	}
	return string(b)
}

// copyTo copies the file as it is, which is what a crash leaves.
func (r *recording) copyTo(path string) string {
	r.t.Helper()
	data, err := os.ReadFile(r.path)
	must(r.t, err)
	must(r.t, os.WriteFile(path, data, 0o600))
	return path
}

// stream joins a session's segments; a part that is lost becomes one "?".
func stream(t testing.TB, s record.Reader, n uint64) (out string) {
	t.Helper()
	for at := uint64(0); ; {
		page, err := s.Segments(context.Background(), n, at)
		must(t, err)
		if len(page) == 0 {
			return out
		}
		for _, seg := range page {
			if seg.Lost != "" {
				out += "?"
			}
			out, at = out+string(seg.Raw), seg.End()
		}
	}
}

// lines reads a session as JSON lines.
func lines(t testing.TB, s record.Reader, n uint64) (out []string) {
	t.Helper()
	for line, err := range record.Lines(context.Background(), s, n, record.ReadOptions{}) {
		must(t, err)
		text, err := json.Marshal(line)
		must(t, err)
		out = append(out, string(text))
	}
	return out
}

// clean checks that a tape has no problems.
func clean(t testing.TB, path string) *boltstore.Report {
	t.Helper()
	report, err := boltstore.Check(context.Background(), path, nil)
	must(t, err)
	for _, p := range report.Problems {
		t.Errorf("check: %s", p)
	}
	return report
}

// sameSessions checks that a tape holds what memory says; what was open there
// is interrupted.
func sameSessions(t testing.TB, got record.Reader, want *record.Memory) {
	t.Helper()
	ctx := context.Background()
	entries, err := want.Sessions(ctx, 0)
	must(t, err)
	for _, w := range entries {
		g, err := got.Session(ctx, w.N)
		must(t, err)
		if w.State == tape.Open {
			w.State = tape.Interrupted
		}
		g.Duration, w.Duration = 0, 0 // of an interrupted one it ends with its last frame
		if g, w := fmt.Sprint(g.State, g.Frames, g.Bytes, g.Size), fmt.Sprint(w.State, w.Frames, w.Bytes, w.Size); g != w {
			t.Errorf("session: got %s, want %s", g, w)
		}
		if stream(t, got, w.N) != stream(t, want, w.N) {
			t.Errorf("session %d: its stream is not what was recorded", w.N)
		}
	}
}

// fat writes a session that has ended and said one thing.
func fat(s *boltstore.Store, n uint64, text string) error {
	raw := append(binary.AppendUvarint([]byte{0, 0x81, 0}, uint64(len(text))), text...) // a frame of the client's
	seg := record.Segment{Session: n, Seq: 1, Raw: raw}
	e := record.Entry{Session: tape.Session{N: n, State: tape.Closed}, Size: seg.End()}
	return s.Append(context.Background(), record.Batch{Entries: []record.Entry{e}, Segments: []record.Segment{seg}})
}
