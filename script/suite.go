package script

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/dop251/goja"
)

// Suite is a script and the file beside it that tests it: chat.js and
// chat.test.js.
type Suite struct{ Script, File string }

// SuiteOptions say how tests are run.
type SuiteOptions struct {
	Options                // of the script under test
	Limit   time.Duration  // that one test may take; default 10 s
	Only    *regexp.Regexp // run the tests whose names match; nil means all
}

// DefaultTestLimit is how long one test may take.
const DefaultTestLimit = 10 * time.Second

// TestTimeout is how long a script may run without yielding while it is tested:
// longer than usual, so that a busy machine fails no test.
const TestTimeout = time.Second

// Outcome is what became of one test.
type Outcome struct {
	Name    string
	Skipped bool
	Failure *Failure // nil: it passed
	Took    time.Duration
	Log     []string // what the test printed and, if it failed, the script
}

// Failure says why a test failed.
type Failure struct {
	Text     string
	Place    string // in the user's files, FILE:LINE:COLUMN relative to the tests' folder; "" if it is not known
	Stack    []string
	Compared bool // two values, which follow
	Actual   string
	Expected string
}

// Errors that say that there is nothing to run.
var (
	ErrNoTests  = errors.New("there are no tests")
	errNoScript = errors.New("there is no script to test")
)

// sourceEndings are those of what may be a script.
func sourceEndings() []string {
	return []string{".js", ".ts", ".mjs", ".mts", ".cjs", ".cts", ".jsx", ".tsx"}
}

// Suites finds the tests that a path means: those of a script, those of a file
// of tests, or all below a folder.
func Suites(path string) ([]Suite, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", path, plain(err))
	case info.IsDir():
		return suitesBelow(path)
	}
	if _, ok := testedBy(path); ok {
		s, err := suiteOf(path)
		return []Suite{s}, err
	}
	stem := strings.TrimSuffix(path, filepath.Ext(path))
	if file, ok := beside(stem+".test", filepath.Ext(path)); ok {
		return []Suite{{path, file}}, nil
	}
	return nil, fmt.Errorf("%w for %s: write them into %s.test%s beside it", ErrNoTests, path, stem, filepath.Ext(path))
}

func suitesBelow(dir string) ([]Suite, error) {
	var suites []Suite
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return fmt.Errorf("look for tests: %s: %w", path, plain(err))
		case d.IsDir() && path != dir && (d.Name() == "node_modules" || strings.HasPrefix(d.Name(), ".")):
			return filepath.SkipDir
		case d.IsDir():
			return nil
		}
		if _, ok := testedBy(path); !ok {
			return nil
		}
		s, err := suiteOf(path)
		suites = append(suites, s)
		return err
	})
	if err == nil && len(suites) == 0 {
		err = fmt.Errorf("%w below %s: the tests of chat.js stand beside it in chat.test.js", ErrNoTests, dir)
	}
	return suites, err
}

// testedBy returns the path, without its ending, of the script that a file of
// tests is about.
func testedBy(path string) (stem string, ok bool) {
	if !slices.Contains(sourceEndings(), filepath.Ext(path)) {
		return "", false
	}
	return strings.CutSuffix(strings.TrimSuffix(path, filepath.Ext(path)), ".test")
}

func suiteOf(file string) (Suite, error) {
	stem, _ := testedBy(file)
	script, ok := beside(stem, filepath.Ext(file))
	if !ok {
		return Suite{}, fmt.Errorf("%w beside %s: neither %s.js nor %[3]s.ts is there", errNoScript, file, filepath.Base(stem))
	}
	return Suite{script, file}, nil
}

// beside finds the source file with the given path but for its ending, which is
// best the given one.
func beside(stem, best string) (path string, ok bool) {
	for _, ending := range append([]string{best}, sourceEndings()...) {
		if info, err := os.Stat(stem + ending); err == nil && info.Mode().IsRegular() {
			return stem + ending, true
		}
	}
	return "", false
}

// Run runs the tests in their order. The error says why they could not be run,
// or could not go on.
func (s Suite) Run(o SuiteOptions) ([]Outcome, error) {
	if o.Limit <= 0 {
		o.Limit = DefaultTestLimit
	}
	if o.Timeout <= 0 {
		o.Timeout = TestTimeout
	}
	o.every = true
	under, err := NewSet([]string{s.Script}, o.Options)
	if err != nil {
		return nil, err
	}
	tests, err := Load(s.File)
	if err != nil {
		return nil, err
	}
	o.Options = under.opts // with the defaults
	b := &bench{suite: s, opts: o, under: under.order[0], rt: goja.New()}
	if err := b.load(tests); err != nil {
		return nil, err
	}
	if len(b.tests) == 0 {
		return nil, fmt.Errorf("%w in %s: write test(\"what holds\", () => { … })", ErrNoTests, s.File)
	}
	return b.run()
}

// bench is a runtime in which the tests of one file run, each with sessions of
// its own.
type bench struct {
	suite Suite
	opts  SuiteOptions
	under *source
	rt    *goja.Runtime
	tests []benchTest

	// Of the test that runs.
	open     bool
	late     atomic.Bool // it has run out of time
	now      time.Duration
	timers   []*benchTimer
	number   int64 // of timers
	store    *Store
	sessions []*benchSession
	log      []string
	rejected map[*goja.Promise]struct{} // and handled by nobody
}

type benchTest struct {
	name string
	f    goja.Callable // nil to skip it
}

var (
	errTestLimit = errors.New("the test ran out of time")
	errTestStuck = errors.New("the test could not be stopped, so the others of its file did not run")
	errPending   = errors.New("the test never ends: it awaits what no timer of it is going to bring about")
)

// load gives the runtime its globals and runs the file's own code, which
// registers the tests.
func (b *bench) load(tests *Program) error {
	rt := b.rt
	rt.SetMaxCallStackSize(maxCallStack)
	rt.SetPromiseRejectionTracker(b.track)
	b.store = NewStore(b.opts.StoreBytes)
	installGlobals(rt, &environment{print: func(_, text string) { b.log = append(b.log, text) }, store: b.store, env: b.opts.Env})
	tests.guards.install(rt, int(b.opts.Memory))
	var err error
	if ex := rt.Try(func() { b.installTesting() }); ex != nil {
		return ex
	}
	if stuck := b.within(func() { _, err = tests.run(rt) }); stuck != nil {
		err = stuck
	}
	if err != nil {
		return fmt.Errorf("%s: %w", b.suite.File, err)
	}
	return nil
}

func (b *bench) installTesting() {
	rt := b.rt
	start, err := rt.RunProgram(suiteProgram())
	propagate(err)
	made := callFunction(start, goja.Undefined(), natives(rt, map[string]func(goja.FunctionCall) goja.Value{"register": b.register})).ToObject(rt)
	g := rt.GlobalObject()
	for name, value := range map[string]goja.Value{
		"test": made.Get("test"), "assert": made.Get("assert"), "open": newMethod(rt, "open", 1, b.openSession),
		"setTimeout":    newMethod(rt, "setTimeout", 2, func(c goja.FunctionCall) goja.Value { return b.setTimer(c, false) }),
		"setInterval":   newMethod(rt, "setInterval", 2, func(c goja.FunctionCall) goja.Value { return b.setTimer(c, true) }),
		"clearTimeout":  newMethod(rt, "clearTimeout", 1, b.clearTimer),
		"clearInterval": newMethod(rt, "clearInterval", 1, b.clearTimer),
	} {
		propagate(g.DefineDataProperty(name, value, goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_FALSE))
	}
}

// register is test(name, f).
func (b *bench) register(c goja.FunctionCall) goja.Value {
	if b.open {
		panic(b.rt.NewTypeError("a test cannot contain another; write them one after the other"))
	}
	f, _ := goja.AssertFunction(c.Argument(1))
	b.tests = append(b.tests, benchTest{c.Argument(0).String(), f})
	return goja.Undefined()
}

// stuckPatience is how long a test that was interrupted may take to come back.
const stuckPatience = 2 * time.Second

// within runs f, interrupts it when it has run for the limit, and gives up soon
// afterwards.
func (b *bench) within(f func()) error {
	done, rung := make(chan struct{}), make(chan struct{})
	b.late.Store(false)
	bell := time.AfterFunc(b.opts.Limit, func() {
		b.late.Store(true)
		b.rt.Interrupt(errTestLimit)
		close(rung)
	})
	patience := time.NewTimer(b.opts.Limit + stuckPatience)
	defer patience.Stop()
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-patience.C:
		return errTestStuck
	}
	if !bell.Stop() {
		<-rung
	}
	b.rt.ClearInterrupt()
	return nil
}

func (b *bench) run() ([]Outcome, error) {
	var outcomes []Outcome
	loading := b.log
	for _, t := range b.tests {
		if b.opts.Only != nil && !b.opts.Only.MatchString(t.name) {
			continue
		}
		o := Outcome{Name: t.name, Skipped: t.f == nil}
		if !o.Skipped {
			began := time.Now()
			var err error
			stuck := b.within(func() { err = b.one(t.f); o.Failure = b.failure(err) })
			o.Took = time.Since(began)
			if stuck != nil {
				// What belongs to the test is still in use.
				return append(outcomes, Outcome{Name: t.name, Took: o.Took, Failure: &Failure{Text: stuck.Error()}}), stuck
			}
			o.Log = b.log
			if o.Failure != nil {
				o.Log = append(o.Log, b.scriptLog()...)
			}
		}
		o.Log = append(loading, o.Log...)
		loading = nil
		outcomes = append(outcomes, o)
	}
	return outcomes, nil
}

// one runs one test to its end.
func (b *bench) one(f goja.Callable) error {
	b.open = true
	b.now, b.timers, b.sessions, b.log, b.rejected = 0, nil, nil, nil, nil
	for _, key := range b.store.keys() {
		b.store.remove(key)
	}
	defer func() {
		b.open = false
		for _, s := range b.sessions {
			s.end()
		}
	}()
	result, err := f(goja.Undefined())
	if err != nil {
		return err
	}
	if _, p := asPromise(result); p != nil {
		delete(b.rejected, p)
		if err := b.await(p); err != nil {
			return err
		}
	}
	for p := range b.rejected {
		return fmt.Errorf("a promise that the test does not await: %w", thrown(b.rt, p.Result()))
	}
	return b.unseen()
}

// await lets the test's time go by until a promise is settled.
func (b *bench) await(p *goja.Promise) error {
	for p.State() == goja.PromiseStatePending {
		if len(b.timers) == 0 {
			return errPending
		}
		if err := b.ring(); err != nil {
			return err
		}
	}
	delete(b.rejected, p)
	if p.State() == goja.PromiseStateRejected {
		return thrown(b.rt, p.Result())
	}
	return nil
}

// unseen is the error about hooks that failed without the test looking at it.
func (b *bench) unseen() error {
	for _, s := range b.sessions {
		if err := s.finish(); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) scriptLog() (lines []string) {
	for _, s := range b.sessions {
		for _, e := range s.printed {
			lines = append(lines, e.Script+": "+e.Text)
		}
	}
	return lines
}

func (b *bench) track(p *goja.Promise, op goja.PromiseRejectionOperation) {
	if op == goja.PromiseRejectionHandle {
		delete(b.rejected, p)
		return
	}
	if b.rejected == nil {
		b.rejected = map[*goja.Promise]struct{}{}
	}
	b.rejected[p] = struct{}{}
}

// benchTimer is a timer of a test. Its time goes by while the test awaits, and
// takes the test's sessions along.
type benchTimer struct {
	id    int64
	due   time.Duration
	every time.Duration
	call  func() error
}

func milliseconds(value goja.Value) time.Duration {
	ms := value.ToFloat()
	if ms != ms {
		return 0
	}
	return time.Duration(min(max(ms, 0), 1<<41) * float64(time.Millisecond))
}

func (b *bench) setTimer(c goja.FunctionCall, repeat bool) goja.Value {
	f, ok := goja.AssertFunction(c.Argument(0))
	if !ok {
		panic(b.rt.NewTypeError("a timer needs a function"))
	}
	d := milliseconds(c.Argument(1))
	var args []goja.Value
	if len(c.Arguments) > 2 {
		args = c.Arguments[2:]
	}
	b.number++
	t := &benchTimer{id: b.number, due: b.now + d, call: func() error { _, err := f(goja.Undefined(), args...); return err }}
	if repeat {
		t.every = max(d, time.Millisecond)
	}
	b.timers = append(b.timers, t)
	return b.rt.ToValue(t.id)
}

func (b *bench) clearTimer(c goja.FunctionCall) goja.Value {
	id := c.Argument(0).ToInteger()
	b.timers = slices.DeleteFunc(b.timers, func(t *benchTimer) bool { return t.id == id })
	return goja.Undefined()
}

// ring lets time go by until the next timer is due, and calls it.
func (b *bench) ring() error {
	t := slices.MinFunc(b.timers, func(a, b *benchTimer) int { return int(a.due - b.due) })
	for _, s := range b.sessions {
		if s.ready() {
			s.advance(s.rehearsal.Now() + t.due - b.now)
		}
	}
	b.now = max(b.now, t.due)
	if t.every > 0 {
		t.due += t.every
	} else {
		b.clear(t)
	}
	if b.late.Load() {
		return errTestLimit
	}
	return t.call()
}

func (b *bench) clear(gone *benchTimer) {
	b.timers = slices.DeleteFunc(b.timers, func(t *benchTimer) bool { return t == gone })
}

// failure describes why a test failed; nil if it did not.
func (b *bench) failure(err error) *Failure {
	if err == nil {
		return nil
	}
	f := &Failure{}
	text := Explain(err)
	if errors.Is(err, errTestLimit) || interruptedBy(err) != nil {
		_, stack, _ := strings.Cut(text, "\n")
		text = fmt.Sprintf("%v (%v)\n%s", errTestLimit, b.opts.Limit, stack)
	}
	lines := strings.Split(text, "\n")
	at := slices.IndexFunc(lines, func(line string) bool { return strings.HasPrefix(line, "    at ") })
	if at < 0 {
		at = len(lines)
	}
	f.Text = strings.TrimSuffix(strings.Join(lines[:at], "\n"), "\n")
	f.Text = strings.TrimPrefix(f.Text, "AssertionError: ")
	for _, line := range lines[at:] {
		line = strings.TrimPrefix(strings.TrimSpace(line), "at ")
		f.Stack = append(f.Stack, line)
		if f.Place == "" && !strings.HasSuffix(line, "(native)") && line != "native code" {
			_, place, ok := strings.Cut(line, " (")
			if !ok {
				place = line
			}
			f.Place = strings.TrimSuffix(place, ")")
		}
	}
	if o, ok := thrownObject(err); ok {
		actual, expected := property(o, "actual"), property(o, "expected")
		if goja.IsString(actual) && goja.IsString(expected) {
			f.Compared, f.Actual, f.Expected = true, actual.String(), expected.String()
		}
	}
	return f
}

// thrownObject returns what was thrown, if it is an object.
func thrownObject(err error) (*goja.Object, bool) {
	var ex *goja.Exception
	if !errors.As(err, &ex) {
		return nil, false
	}
	o, ok := ex.Value().(*goja.Object)
	return o, ok
}
