package replay

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// LoadTest says how a recording is made a load.
type LoadTest struct {
	Clients int           // at once, each of which plays the whole recording; default 1
	Repeat  int           // runs of each client, one after the other; default 1
	Rate    float64       // new runs a second over all clients, at most; 0 means as they come
	Ramp    time.Duration // the clients start spread over this time
	// Progress is told a few times a second how far it is, and once at the end;
	// may be nil.
	Progress func(LoadSnapshot)
}

// LoadSnapshot is how far a load test is.
type LoadSnapshot struct {
	Elapsed  time.Duration
	Runs     int // in all
	Done     int
	Failed   int     // of those done
	Share    float64 // of the whole that is done, 0 to 1: runs and parts of runs
	Messages uint64  // both ways
	Rate     float64 // messages a second since the last snapshot
	Answer   Latency // so far
}

// Unreached is a session of a load test that no connection came about for.
const Unreached Kind = "unreached"

const (
	progressEvery = 250 * time.Millisecond
	// maxUnreached is after how many failures a server counts as not there to
	// which nobody ever connected.
	maxUnreached = 3
)

func (l *LoadTest) complete() error {
	l.Clients, l.Repeat = max(l.Clients, 1), max(l.Repeat, 1)
	switch {
	case l.Rate < 0 || l.Rate != l.Rate:
		return fmt.Errorf("a load of %v runs a second: the rate is not above 0", l.Rate)
	case l.Ramp < 0:
		return fmt.Errorf("a load that starts over %s: the time is not above 0", l.Ramp)
	}
	return nil
}

// Load drives a real server with many clients, each of which plays the whole
// recording as [Recording.Drive] does. What it finds is counted, not kept: the
// memory that it takes does not depend on the number of runs. When ctx is done
// it reports what it has measured; runs that were cut short then have not failed.
// The error is about what kept it from playing: [ErrReach] if nobody ever
// connected.
func (r *Recording) Load(ctx context.Context, to Dialing, opts Options, l LoadTest) (*LoadReport, error) {
	if err := l.complete(); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	opts.Ended, opts.buffers = nil, &sync.Pool{}
	t := &loadRun{
		LoadTest: l, recording: r, to: &to, opts: &opts, stop: stop, started: time.Now(),
		meters: make([]meter, min(l.Clients, 4*runtime.GOMAXPROCS(0))),
	}
	for i := range t.meters {
		t.meters[i].init()
	}
	over := make(chan struct{})
	var reporter, clients sync.WaitGroup
	if l.Progress != nil {
		reporter.Go(func() { t.tell(over) })
	}
	for i := range l.Clients {
		clients.Go(func() { t.client(ctx, i) })
	}
	clients.Wait()
	elapsed := time.Since(t.started)
	close(over)
	reporter.Wait()
	report := t.report(elapsed)
	if t.broken.Load() {
		return report, context.Cause(ctx)
	}
	return report, nil
}

// loadRun is a load test while it runs.
type loadRun struct {
	LoadTest
	recording *Recording
	to        *Dialing
	opts      *Options
	started   time.Time
	meters    []meter // shared by some clients each, so that few wait for each other
	stop      context.CancelCauseFunc
	broken    atomic.Bool // it was stopped from inside
	unreached atomic.Int32

	mu   sync.Mutex
	next time.Time // when the next run may begin, with a rate
}

// client is one of the clients.
func (t *loadRun) client(ctx context.Context, i int) {
	m := &t.meters[i%len(t.meters)]
	opts := *t.opts
	opts.meter, opts.Answered = m, m.answered
	if also := t.opts.Answered; also != nil {
		opts.Answered = func(d time.Duration) { m.answered(d); also(d) }
	}
	begin := t.started.Add(time.Duration(float64(t.Ramp) * float64(i) / float64(t.Clients)))
	for n := range t.Repeat {
		if !sleepUntil(ctx, begin) || !sleepUntil(ctx, t.slot()) {
			return
		}
		outcomes, errs := t.recording.driveAll(ctx, t.to, &opts)
		m.ran(outcomes, errs, LoadError{Client: i + 1, Run: n + 1}, ctx.Err() != nil)
		if err := t.hopeless(errors.Join(errs...)); err != nil && ctx.Err() == nil {
			t.broken.Store(true)
			t.stop(err)
		}
	}
}

// slot is when a run may begin, which takes it.
func (t *loadRun) slot() time.Time {
	if t.Rate == 0 {
		return time.Time{}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	at := t.next
	if now := time.Now(); at.Before(now) {
		at = now // what was not used is not made up for
	}
	t.next = at.Add(time.Duration(float64(time.Second) / t.Rate))
	return at
}

// hopeless decides whether an error will come again with every run.
func (t *loadRun) hopeless(err error) error {
	switch {
	case err == nil:
		return nil
	case !errors.Is(err, ErrReach):
		return err
	}
	for i := range t.meters {
		if t.meters[i].reached.Load() {
			return nil
		}
	}
	if t.unreached.Add(1) < int32(min(maxUnreached, t.Clients*t.Repeat)) {
		return nil
	}
	return err
}

// sleepUntil is false if ctx was done before.
func sleepUntil(ctx context.Context, at time.Time) bool {
	d := time.Until(at)
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// tell tells the progress until it is over.
func (t *loadRun) tell(over <-chan struct{}) {
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	var last LoadSnapshot
	whole := 0 // messages, if all goes well
	for _, p := range t.recording.Plans {
		for i := range p.Steps {
			if p.Steps[i].message() {
				whole += t.Clients * t.Repeat
			}
		}
	}
	for going := true; going; {
		select {
		case <-tick.C:
		case <-over:
			going = false
		}
		r := t.report(time.Since(t.started))
		s := LoadSnapshot{
			Elapsed: r.Duration, Runs: r.Runs, Done: r.Done, Failed: r.Failed,
			Messages: r.Sent.Messages + r.Received.Messages, Answer: r.Answer,
		}
		s.Share = min(1, max(float64(s.Done)/float64(s.Runs), float64(s.Messages)/float64(max(whole, 1))))
		if d := s.Elapsed - last.Elapsed; d > 0 {
			s.Rate = float64(s.Messages-last.Messages) / d.Seconds()
		}
		t.Progress(s)
		last = s
	}
}

// report adds up what was measured so far.
func (t *loadRun) report(elapsed time.Duration) *LoadReport {
	r := &LoadReport{
		Clients: t.Clients, Repeat: t.Repeat, Rate: t.Rate, Ramp: t.Ramp, Server: t.to.URL.Redacted(), Pace: t.opts.Pace,
		Started: t.started, Duration: elapsed, Runs: t.Clients * t.Repeat, Connect: newLatency(), Answer: newLatency(),
	}
	for i := range t.meters {
		t.meters[i].addTo(r)
	}
	sortErrors(r.Errors)
	sortErrors(r.Skipped)
	return r
}

// meter measures some of the clients of a load test. Safe for concurrent use.
type meter struct {
	reached atomic.Bool // somebody connected
	out, in struct{ messages, bytes atomic.Uint64 }

	mu              sync.Mutex
	answers         Latency
	connects        Latency
	done, failed    int // runs
	unfinished      int
	sessions        int
	errors, skipped []LoadError // by kind

	_ [64]byte // the next one's counters are in another line of the processors' caches
}

func (m *meter) init() { m.answers, m.connects = newLatency(), newLatency() }

// sent counts a message to the server.
func (m *meter) sent(bytes int) {
	if m != nil {
		m.out.messages.Add(1)
		m.out.bytes.Add(uint64(bytes))
	}
}

// received counts a message from the server.
func (m *meter) received(bytes int) {
	if m != nil {
		m.in.messages.Add(1)
		m.in.bytes.Add(uint64(bytes))
	}
}

// connected measures how long the server took for a handshake.
func (m *meter) connected(d time.Duration) {
	if m == nil {
		return
	}
	if !m.reached.Load() {
		m.reached.Store(true)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.connects.record(d)
}

func (m *meter) answered(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.answers.record(d)
}

// ran takes down how a run went; at says whose it was. One that did not go as
// recorded and was cut short from outside has not failed.
func (m *meter) ran(outcomes []*Outcome, errs []error, at LoadError, cut bool) {
	held := errors.Join(errs...) == nil
	for _, o := range outcomes {
		held = held && o.Held()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !held && cut {
		m.unfinished++
		return
	}
	m.done++
	if !held {
		m.failed++
	}
	m.sessions += len(outcomes)
	for i, o := range outcomes {
		at.Session, at.At = o.Session, o.Started.Add(o.Duration)
		for _, list := range []struct {
			to   *[]LoadError
			from []Mismatch
		}{{&m.errors, o.Mismatches}, {&m.skipped, o.Skipped}} {
			for _, mismatch := range list.from {
				at.Kind, at.Count, at.First = mismatch.Kind, 1, mismatch
				to := list.to
				if errors.Is(errs[i], ErrReach) {
					at.Kind, to = Unreached, &m.errors // it is no matter of policy
				}
				*to = addError(*to, at)
			}
		}
	}
}

// addTo adds what was measured to a report.
func (m *meter) addTo(r *LoadReport) {
	r.Sent.Messages += m.out.messages.Load()
	r.Sent.Bytes += m.out.bytes.Load()
	r.Received.Messages += m.in.messages.Load()
	r.Received.Bytes += m.in.bytes.Load()
	m.mu.Lock()
	defer m.mu.Unlock()
	r.Done += m.done
	r.Failed += m.failed
	r.Unfinished += m.unfinished
	r.Sessions += m.sessions
	r.Connect.add(m.connects)
	r.Answer.add(m.answers)
	for _, e := range m.errors {
		r.Errors = addError(r.Errors, e)
	}
	for _, e := range m.skipped {
		r.Skipped = addError(r.Skipped, e)
	}
}

// Latency is how long something took, each time.
type Latency struct{ h *hdrhistogram.Histogram }

// maxLatency is what a longer time counts as.
const maxLatency = time.Hour

// newLatency counts microseconds, to three digits.
func newLatency() Latency { return Latency{hdrhistogram.New(1, maxLatency.Microseconds(), 3)} }

func (l Latency) record(d time.Duration) {
	_ = l.h.RecordValue(min(max(d, time.Microsecond), maxLatency).Microseconds()) // in range, so it cannot fail
}

func (l Latency) add(other Latency) { l.h.Merge(other.h) }

// Count is how often it was measured; 0 of the zero value.
func (l Latency) Count() int64 {
	if l.h == nil {
		return 0
	}
	return l.h.TotalCount()
}

// At is the time within which a percentage of all was done; 0 if nothing was
// measured, as Mean and Max.
func (l Latency) At(percent float64) time.Duration {
	if l.Count() == 0 {
		return 0
	}
	return time.Duration(l.h.ValueAtPercentile(percent)) * time.Microsecond
}

// Mean is the mean time.
func (l Latency) Mean() time.Duration {
	if l.Count() == 0 {
		return 0
	}
	return time.Duration(l.h.Mean() * float64(time.Microsecond))
}

// Max is the longest time.
func (l Latency) Max() time.Duration { return l.At(100) }
