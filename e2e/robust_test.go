package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/wstape/wstape/tape"
)

// The robustness suite holds the tape against a model: raw peers drive random
// sessions through the real binary and keep their own history of what each end
// sent and received, while scripts are reloaded, commands read and edit the tape,
// and the proxy is stopped, told to end, and killed. Then the tape must agree with
// the history (robust_check_test.go says how). One seed is several lives of a
// proxy on one tape.
//
//	ROBUST_SEEDS=200   so many seeds (make robust)
//	ROBUST_SEED=n      one seed again
//	ROBUST_KEEP=DIR    keep the tapes of seeds that fail

// fewSeeds is the short form.
const fewSeeds = 2

func TestRobust(t *testing.T) {
	t.Parallel()
	var sum tally
	t.Run("seeds", func(t *testing.T) {
		for _, seed := range seeds(t) {
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel()
				robust(t, seed, &sum)
			})
		}
	})
	t.Logf("%d lives, %d of them killed, %d told to stop; %d sessions, %d frames checked; %d commands beside a running proxy, %d pauses, %d reloads",
		sum.lives.Load(), sum.kills.Load(), sum.stops.Load(), sum.sessions.Load(), sum.frames.Load(), sum.commands.Load(), sum.pauses.Load(), sum.reloads.Load())
	if sum.sessions.Load() == 0 || sum.frames.Load() == 0 || sum.lives.Load() > 20 && sum.kills.Load() == 0 {
		t.Error("nothing was tested")
	}
}

// tally is what a run has done.
type tally struct {
	lives, kills, stops, sessions, frames, commands, pauses, reloads atomic.Int64
}

// seeds are those to run: one that is asked for, or those that failed once and
// new ones.
func seeds(t *testing.T) (list []uint64) {
	t.Helper()
	if text := os.Getenv("ROBUST_SEED"); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		must(t, err)
		return []uint64{seed}
	}
	n := fewSeeds
	if text := os.Getenv("ROBUST_SEEDS"); text != "" {
		var err error
		n, err = strconv.Atoi(text)
		must(t, err)
		list = failedOnce(t)
	}
	for range n {
		list = append(list, rand.Uint64()>>16) // short enough to be typed
	}
	return list
}

// failedOnce reads the seeds that found something.
func failedOnce(t *testing.T) (list []uint64) {
	t.Helper()
	text, err := os.ReadFile("testdata/robust.seeds")
	must(t, err)
	for line := range strings.Lines(string(text)) {
		number, _, _ := strings.Cut(line, "#")
		if number = strings.TrimSpace(number); number != "" {
			seed, err := strconv.ParseUint(number, 10, 64)
			must(t, err)
			list = append(list, seed)
		}
	}
	return list
}

// course is where the lives of one seed happen.
type course struct {
	t      *testing.T
	seed   uint64
	rng    *rand.Rand
	sum    *tally
	dir    string
	tape   tapeFile
	up     *upstream
	staged map[string]*staged // by path
	gone   map[string]bool    // removed with rm; false: it may have been
	tags   map[string]string  // by path: the tag that was set last
	pinned map[string]bool    // by path: it has the tag keep
	bound  int                // so many sessions were left when others went to keep the tape small; 0: none went
	diary  lockedBuffer
}

// note writes into the diary, which is shown when something went wrong.
func (h *course) note(format string, args ...any) {
	fmt.Fprintf(&h.diary, time.Now().Format("05.000000 ")+format+"\n", args...)
}

func robust(t *testing.T, seed uint64, sum *tally) {
	t.Logf("ROBUST_SEED=%d", seed)
	dir := t.TempDir()
	h := &course{t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 1)), sum: sum, dir: dir, tape: tapeFile{t, filepath.Join(dir, "t.db")},
		staged: map[string]*staged{}, gone: map[string]bool{}, tags: map[string]string{}, pinned: map[string]bool{}}
	up, err := startUpstream()
	must(t, err)
	h.up = up
	t.Cleanup(func() {
		up.close()
		if t.Failed() {
			t.Logf("what happened:\n%s", h.diary.String())
		}
		if keep := os.Getenv("ROBUST_KEEP"); t.Failed() && keep != "" {
			must(t, os.CopyFS(filepath.Join(keep, fmt.Sprintf("%d-%d", seed, time.Now().Unix())), os.DirFS(dir)))
		}
	})
	more := 1 + h.rng.IntN(3)
	if os.Getenv("ROBUST_SEED") == "" && os.Getenv("ROBUST_SEEDS") == "" {
		more = 1 // make test has not the time
	}
	for n := more; n >= 0 && !t.Failed(); n-- {
		h.live(len(h.staged))
		if h.rng.IntN(2) == 0 {
			h.compact()
		}
	}
	h.lookBack()
	if len(up.lost) > 0 {
		t.Errorf("the server got what nobody asked for: %q", up.lost)
	}
}

// compact gives back the room that is free in the tape.
func (h *course) compact() {
	if out, code := h.tape.run("compact"); code != 0 {
		h.t.Errorf("wstape compact: exit code %d:\n%s", code, out)
	}
}

// lookBack holds the sessions of all lives against their histories once more.
func (h *course) lookBack() {
	for path, entry := range h.sessions(h.tape.sessions()) {
		if s := h.staged[path]; !h.t.Failed() {
			s.life.look(s, entry, s.life.dueAtEnd(), false)
		}
	}
}

// life is one run of the proxy.
type life struct {
	*course
	proxy   *recorder
	flush   time.Duration
	drop    bool // record.when_full
	onError string
	script  string
	cast    []*staged
	disk    *probe
	told    bool // to end, and so says goodbye
	ended   bool // and did

	mu       sync.Mutex
	versions int            // of the script that were written
	paused   [][2]time.Time // when it was stopped
	barrier  time.Time      // a command that reads all had begun, and has succeeded
	end      time.Time      // it was killed, or told to end
}

// fatal is when the proxy was told to end or killed; a time to come if it was not.
func (l *life) fatal() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.end.IsZero() {
		return time.Now().Add(time.Hour)
	}
	return l.end
}

// over reports whether it was killed or told to end.
func (l *life) over() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.end.IsZero()
}

// goodbye reports whether it may have sent close frames of its own.
func (l *life) goodbye() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.told
}

func (l *life) published() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.versions
}

// live runs the proxy with some sessions until it ends in one way or another, and
// looks at the tape.
func (h *course) live(number int) {
	t := h.t
	l := &life{course: h, drop: h.rng.IntN(6) == 0, onError: []string{"pass", "drop"}[h.rng.IntN(2)]}
	l.flush = []time.Duration{1, 10, 50, 50, 200, 500}[h.rng.IntN(6)] * time.Millisecond
	dir := filepath.Join(h.dir, fmt.Sprint("life-", number))
	must(t, os.Mkdir(dir, 0o700))
	l.script = filepath.Join(dir, "robust.js")
	l.publish()
	l.proxy = startProxy(t, "ws://"+h.up.ln.Addr().String(), "--quiet", "--tape", h.tape.path, "--config", l.config(dir))
	h.sum.lives.Add(1)
	l.disk = startProbe(t, dir)
	length := time.Duration(500+h.rng.IntN(3000)) * time.Millisecond
	ctx, cancel := context.WithTimeout(context.Background(), length)
	defer cancel()
	var players, others sync.WaitGroup
	for n := range 3 + h.rng.IntN(8) {
		s := &staged{act: planAct(h.rng, number, n), life: l}
		for _, side := range tape.Sides() {
			s.ends[side] = newActor(s.act, side, h.rng.Uint64())
		}
		h.staged[s.path], l.cast = s, append(l.cast, s)
		h.up.expect(s.ends[tape.Server])
		delay := time.Duration(h.rng.Int64N(int64(length)))
		if n < 3 {
			delay = 0
		}
		players.Go(func() {
			if delay == 0 || wait(ctx, delay) {
				s.ends[tape.Client].call(l.proxy.addr)
			}
		})
	}
	trouble, reading := rand.New(rand.NewPCG(h.rng.Uint64(), 0)), rand.New(rand.NewPCG(h.rng.Uint64(), 0))
	others.Go(func() { l.trouble(ctx, trouble) })
	others.Go(func() { l.commands(ctx, reading) })
	<-ctx.Done()
	l.finish(h.rng)
	others.Wait()
	players.Wait()
	l.await()
	l.disk.stop()
	l.judge()
}

// wait waits; false when there is nothing to wait for any more.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// config writes the proxy's configuration.
func (l *life) config(dir string) string {
	path := filepath.Join(dir, "wstape.yaml")
	keep := 0
	if l.rng.IntN(4) == 0 {
		keep = 4 + l.rng.IntN(8)
		l.prunes(keep)
	}
	text := fmt.Sprintf(`
record: {flush: %v, buffer: %s, when_full: %s, keep: {sessions: %d}}
limits: {held: %s, close_timeout: 60s}
script: {timeout: 60s, await_timeout: 60s, on_error: %s}
routes:
  - {path: %s, upstream: "ws://%s", script: [%s]}
  - {path: %s, upstream: "ws://%[8]s", script: [%[11]s]}
`, l.flush, []string{"1MiB", "2MiB", "16MiB"}[l.rng.IntN(3)], map[bool]string{true: "drop", false: "block"}[l.drop], keep,
		[]string{"1MiB", "4MiB"}[l.rng.IntN(2)], l.onError, bothScript, l.up.ln.Addr(), l.script, fromClient, l.clientScript())
	must(l.t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// prunes is told that sessions may go as long as more than n are there.
func (h *course) prunes(n int) {
	if h.bound == 0 || n < h.bound {
		h.bound = n
	}
}

// publish writes the next version of the scripts.
func (l *life) publish() {
	l.mu.Lock()
	l.versions++
	n := l.versions
	l.mu.Unlock()
	l.save(robustScript(n, ""), robustScript(n, `export const from = "client";`))
}

// save puts other scripts in the place of those for both sides and for the client's.
func (l *life) save(both, client string) {
	for path, text := range map[string]string{l.script: both, l.clientScript(): client} {
		if err := errors.Join(os.WriteFile(path+"~", []byte(text), 0o600), os.Rename(path+"~", path)); err != nil {
			l.t.Error(err)
		}
	}
}

func (l *life) clientScript() string { return l.script + ".client.js" }

// trouble stops the proxy for a while, now and then, and changes its scripts.
func (l *life) trouble(ctx context.Context, rng *rand.Rand) {
	for wait(ctx, time.Duration(50+rng.IntN(600))*time.Millisecond) {
		switch rng.IntN(4) {
		case 0:
			l.pause(ctx, time.Duration(rng.IntN(700))*time.Millisecond)
		case 1:
			l.publish()
			l.sum.reloads.Add(1)
		case 2:
			l.save("this is no script", "nor is this")
			l.sum.reloads.Add(1)
		}
	}
}

// pause stops the proxy. Its own clock stands still meanwhile, as far as what it
// owes is concerned.
func (l *life) pause(ctx context.Context, d time.Duration) {
	l.sum.pauses.Add(1)
	began := time.Now()
	l.note("paused for %v", d)
	_ = l.proxy.cmd.Process.Signal(syscall.SIGSTOP)
	wait(ctx, d)
	_ = l.proxy.cmd.Process.Signal(syscall.SIGCONT)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.paused = append(l.paused, [2]time.Time{began, time.Now()})
}

// finish ends the proxy.
func (l *life) finish(rng *rand.Rand) {
	process := l.proxy.cmd.Process
	mark := func(told bool) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.end.IsZero() {
			l.end, l.told = time.Now(), told
			l.note("life %d is to end, told %v", len(l.staged), told)
		}
	}
	how := rng.IntN(10)
	switch {
	case how < 3:
		l.sum.stops.Add(1)
		mark(true)
		_ = process.Signal([]os.Signal{syscall.SIGTERM, os.Interrupt}[rng.IntN(2)])
		receive(l.t, "the proxy to end", l.proxy.done)
		if code := l.proxy.cmd.ProcessState.ExitCode(); code != 0 {
			l.t.Errorf("wstape proxy: exit code %d after a signal to end", code)
		}
		l.ended = true
		return
	case how < 5: // in the middle of ending
		mark(true)
		_ = process.Signal(syscall.SIGTERM)
		wait(context.Background(), time.Duration(rng.IntN(30))*time.Millisecond)
	case how < 6:
		mark(false)
		_ = process.Signal(syscall.SIGSTOP)
	}
	mark(false)
	l.sum.kills.Add(1)
	l.proxy.kill()
}

// await waits for the server's ends, which have lost their proxy.
func (l *life) await() {
	for _, s := range l.cast {
		for _, end := range s.ends {
			if h := end.history(); !h.opened.IsZero() {
				receive(l.t, "an end of "+s.path, end.readerDone)
			}
		}
	}
}

// slack is what a flush may take longer than it should on this machine, by
// measure of this test's own writes.
func (l *life) slack() time.Duration { return 500*time.Millisecond + 10*l.disk.worst() }

// due reports whether what was received at a time must be on the tape: because all
// was written when the proxy ended well, because a command has read all since, or
// because it is older than a crash may cost.
func (l *life) due(at time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if at.Before(l.barrier) {
		return true
	}
	ran := l.end.Sub(at)
	for _, p := range l.paused {
		from, to := p[0], p[1]
		if from.Before(at) {
			from = at
		}
		if to.After(l.end) {
			to = l.end
		}
		ran -= max(0, to.Sub(from))
	}
	return ran > l.flush+l.slack()
}

// age says what is known of a moment that was due.
func (l *life) age(at time.Time) string {
	return fmt.Sprintf("%v before the end, %v before all was read, flush %v, slack %v", l.fatal().Sub(at), l.barrier.Sub(at), l.flush, l.slack())
}

// probe measures how long a little work and a small write take on this machine now.
type probe struct {
	ctx     context.Context
	cancel  context.CancelFunc
	done    sync.WaitGroup
	longest atomic.Int64
}

func startProbe(t *testing.T, dir string) *probe {
	f, err := os.Create(filepath.Join(dir, "probe"))
	must(t, err)
	p := &probe{}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.done.Go(func() {
		defer f.Close()
		work := make([]byte, 1<<20)
		for going := true; going; going = wait(p.ctx, 50*time.Millisecond) {
			began := time.Now()
			sum := sha256.Sum256(work)
			_, err := f.WriteAt(sum[:], 0)
			if err = errors.Join(err, f.Sync()); err != nil {
				t.Error(err)
			}
			p.longest.Store(max(p.longest.Load(), int64(time.Since(began))))
		}
	})
	return p
}

func (p *probe) stop() {
	p.cancel()
	p.done.Wait()
}

func (p *probe) worst() time.Duration { return time.Duration(p.longest.Load()) }

// dueAtEnd is due, of what the proxy left behind.
func (l *life) dueAtEnd() func(time.Time) bool {
	if l.ended {
		return func(time.Time) bool { return true }
	}
	return l.due
}

// judge looks at the whole tape, which nobody holds.
func (l *life) judge() {
	if out, code := l.tape.run("check"); code != 0 {
		l.t.Errorf("wstape check: exit code %d:\n%s", code, out)
	}
	due := l.dueAtEnd()
	found := l.sessions(l.tape.sessions())
	for path, s := range l.staged {
		entry, on := found[path]
		removed, tried := l.gone[path]
		switch {
		case on && removed:
			l.t.Errorf("%s was removed, and is there again", path)
			continue
		case !on && (tried || l.outdated(s) && len(found)+len(l.gone) >= l.bound):
			continue
		case !on && s.life != l:
			if s.there {
				l.t.Errorf("LOST: %s was on the tape when an earlier proxy had ended", path)
			}
			continue
		case !on:
			l.missing(s, due)
			continue
		}
		s.there = true
		if want, ok := l.tags[path]; ok && entry.Tags["robust"] != want {
			l.t.Errorf("%s was tagged %q, the tape says %q", path, want, entry.Tags["robust"])
		}
		if s.life == l {
			l.sum.sessions.Add(1)
			l.look(s, entry, due, false)
		}
	}
	if l.t.Failed() {
		l.note("seed %d, %d sessions: flush %v, drop %v, told %v, slack %v, script versions %d, paused %v, ended %v after the last barrier",
			l.seed, len(l.cast), l.flush, l.drop, l.told, l.slack(), l.versions, l.paused, l.end.Sub(l.barrier))
	}
}

// outdated reports whether a session may have gone to keep the tape small.
func (l *life) outdated(s *staged) bool {
	return l.bound > 0 && !l.pinned[s.path] && (s.life != l || s.act.ends != endStay || s.refused || l.goodbye())
}

// sessions finds the sessions on the tape by their path.
func (h *course) sessions(list []session) map[string]session {
	found := map[string]session{}
	for _, e := range list {
		if _, twice := found[e.URL]; twice || h.staged[e.URL] == nil {
			h.t.Errorf("session %d is of %s, which nobody opened or which is there already", e.N, e.URL)
		}
		found[e.URL] = e
	}
	return found
}

// missing is told of a session that is not on the tape.
func (l *life) missing(s *staged, due func(time.Time) bool) {
	for side, end := range s.ends {
		h := end.history()
		if !h.opened.IsZero() && due(h.opened) && side == int(tape.Client) || h.due(due) > 0 || h.refused && due(h.done) {
			l.t.Errorf("LOST: session %s is not on the tape, the %v had received %d bytes when they were due: %s", s.path, tape.Side(side), h.due(due), l.age(h.opened))
			return
		}
	}
}

// look holds one session on the tape against its history.
func (l *life) look(s *staged, entry session, due func(time.Time) bool, live bool) {
	t := trial{staged: s, due: due, live: live, entry: entry}
	t.lines = read[touched](l.tape, "show", strconv.Itoa(entry.N), "--json")
	t.frames = read[frame](l.tape, "show", strconv.Itoa(entry.N), "--frames", "--json")
	for side, end := range s.ends {
		t.history[side] = end.history()
	}
	if s.refused {
		turned := entry.Status == 403 && entry.State == "refused"
		unanswered := entry.State == "interrupted" || l.goodbye() && entry.State == "refused"
		if told := t.history[tape.Client].refused && due(t.history[tape.Client].done); !turned && (told || !unanswered) || len(t.frames) > 0 {
			t.errorf("status %d, state %s, %d frames", entry.Status, entry.State, len(t.frames))
		}
	} else {
		t.check()
	}
	l.sum.frames.Add(int64(t.checked))
	for _, wrong := range t.wrong {
		l.t.Error(wrong)
	}
}

// commands reads and edits the tape while the proxy holds it.
func (l *life) commands(ctx context.Context, rng *rand.Rand) {
	for wait(ctx, time.Duration(rng.IntN(400))*time.Millisecond) {
		list := l.barriered()
		if len(list) == 0 {
			continue
		}
		e := list[rng.IntN(len(list))]
		n := strconv.Itoa(e.N)
		switch rng.IntN(10) {
		case 0, 1, 2:
			l.peek(list[len(list)-1-rng.IntN(min(3, len(list)))]) // those that came last are busy
		case 9:
			l.command("export", n, "--out", filepath.Join(l.dir, "out.cassette.jsonl"))
		case 3:
			l.command("check")
		case 4:
			l.command("search", `op == "ping"`, "--limit", "5")
		case 5, 6:
			value := fmt.Sprint(rng.IntN(1000))
			l.unsure(e.URL)
			if _, ok := l.command("tag", n, "robust="+value); ok {
				l.tags[e.URL] = value
			}
		case 7:
			l.tidy(e, n, rng)
		case 8:
			l.tail(ctx, rng)
		}
	}
}

// unsure forgets a tag that is about to be changed.
func (l *life) unsure(path string) { delete(l.tags, path) }

// tidy has sessions stay, or go.
func (l *life) tidy(e session, n string, rng *rand.Rand) {
	switch {
	case rng.IntN(3) == 0:
		if _, ok := l.command("tag", n, "keep"); ok {
			l.pinned[e.URL] = true
		}
	case rng.IntN(4) == 0:
		left := 5 + rng.IntN(20)
		l.prunes(left)
		l.command("prune", "--sessions", strconv.Itoa(left))
	case e.State != "open" && !l.pinned[e.URL]:
		l.remove(e, n)
	}
}

// remove removes a session; whether one is gone that the proxy's end interrupted
// cannot be known.
func (l *life) remove(e session, n string) {
	l.gone[e.URL] = false
	if _, ok := l.command("rm", n); ok {
		l.gone[e.URL] = true
	}
}

// barriered lists the sessions, and knows that all is on the tape that had been
// received when it began.
func (l *life) barriered() (list []session) {
	began := time.Now()
	out, ok := l.command("ls", "--json")
	if !ok {
		return nil
	}
	for line := range strings.Lines(out) {
		var e session
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			l.t.Errorf("ls printed %q: %v", line, err)
			return nil
		}
		list = append(list, e)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.end.IsZero() {
		l.barrier = began
	}
	return list
}

// peek compares a session with what has been seen of it so far.
func (l *life) peek(e session) {
	s := l.staged[e.URL]
	if s == nil || s.refused {
		return
	}
	began := time.Now()
	t := trial{staged: s, live: true, entry: e, due: func(at time.Time) bool { return at.Before(began) }}
	if _, gone := l.gone[e.URL]; gone {
		return
	}
	var heard [2]history // first, for the tape may only be ahead of it
	for side, end := range s.ends {
		heard[side] = end.history()
	}
	n := strconv.Itoa(e.N)
	frames, ok1 := l.command("show", n, "--frames", "--json")
	lines, ok2 := l.command("show", n, "--json") // with all the gaps that were there before
	if !ok1 || !ok2 || l.over() {
		return // what the commands found, the proxy may not have written for them
	}
	if err := errors.Join(unmarshalLines(lines, &t.lines), unmarshalLines(frames, &t.frames)); err != nil {
		l.t.Error(err)
	}
	for side, end := range s.ends {
		t.history[side] = end.history()
		t.history[side].got, t.history[side].marks = heard[side].got, heard[side].marks
		t.history[side].done = time.Time{}
	}
	if s.life != l {
		t.due = s.life.due
	}
	t.check()
	for _, wrong := range t.wrong {
		l.t.Error("while it runs: " + wrong)
	}
}

func unmarshalLines[T any](text string, into *[]T) error {
	for line := range strings.Lines(text) {
		var one T
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			return fmt.Errorf("%q: %w", fold(line), err)
		}
		*into = append(*into, one)
	}
	return nil
}

// tail follows the tape for a while.
func (l *life) tail(ctx context.Context, rng *rand.Rand) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(rng.IntN(500))*time.Millisecond)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, "tail", "--json", "--tape", l.tape.path)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = patience
	cmd.Env = cleanEnv()
	l.judgeCommand(cmd, "tail")
}

// command runs wstape; it must succeed unless the proxy ends meanwhile.
func (l *life) command(args ...string) (out string, ok bool) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, append(args, "--tape", l.tape.path)...)
	cmd.Env, cmd.Dir = cleanEnv(), l.dir
	return l.judgeCommand(cmd, args...)
}

func (l *life) judgeCommand(cmd *exec.Cmd, args ...string) (out string, ok bool) {
	l.sum.commands.Add(1)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	began := time.Now()
	_ = cmd.Run()
	code := cmd.ProcessState.ExitCode()
	l.note("%s: exit code %d, begun %v before", strings.Join(args, " "), code, time.Since(began))
	switch {
	case code == 0:
	case slices.Contains([]int{1, 3}, code) && l.over() && !strings.Contains(stderr.String(), "goroutine "):
	case args[0] == "search" && code == 1, args[0] == "tail" && code == -1:
	case code == 1 && (l.bound > 0 || args[0] == "prune"): // it has gone meanwhile, or those that are open are too many
	default:
		l.t.Errorf("wstape %s: exit code %d: %s", strings.Join(args, " "), code, stderr.String())
	}
	return stdout.String(), code == 0
}
