package script

import (
	"errors"
	"fmt"
	"reflect"
	"runtime/metrics"
	"slices"
	"sync"
	"time"

	"github.com/dop251/goja"

	"github.com/wstape/wstape/tape"
)

// Hooks says which hooks a script exports.
type Hooks struct {
	Request, Response, Open, Message, Control, Match, Close bool
}

const hookNames = "onRequest, onResponse, onOpen, onMessage, onControl, onMatch, onClose"

// vm is one script's runtime in one session. All of it but what the session's
// lock guards belongs to who has the session's turn.
type vm struct {
	session *Session
	source  *source
	program *Program
	rt      *goja.Runtime
	failed  bool // its own code did not run through
	stale   bool // there is a newer version, which waits for the hooks that are under way

	staleSince time.Time

	replaced bool // a newer version runs in its place, or the older one goes on

	hooks     Hooks
	only      *tape.Side // whose messages it wants to see; nil means both
	onMessage goja.Callable
	onControl goja.Callable
	others    map[string]goja.Callable // the other hooks

	exports  *goja.Object
	object   *goja.Object // session
	state    goja.Value
	awaited  int      // hooks whose promise is not settled
	parked   []func() // jobs that wait for the new version
	rejected map[*goja.Promise]struct{}
	task     *task              // whose code runs; nil if that is nobody's
	tasks    map[*task]struct{} // those that somebody waits for
	suspect  bool               // it had to be stopped
	awaiter  goja.Callable      // made when it is first wanted
	errors   errorCount         // guarded by session.mu
}

// task is a hook's call. Code that runs because of it later on, when a promise is
// settled or a timer is due, belongs to it.
type task struct {
	fail func(error) // ends it; nil if nobody waits for it
	view *view       // the message that it looks at; nil if it looks at none
}

var (
	errNotStarted = errors.New("the script's own code failed when the session began")
	errUnreadable = errors.New("the message cannot be shown to the script")
)

func newVM(s *Session, src *source, p *Program) *vm {
	return &vm{session: s, source: src, program: p, rt: goja.New()}
}

// load sets the runtime up and runs the script's own code.
func (v *vm) load() error {
	o := &v.session.set.opts
	v.rt.SetMaxCallStackSize(maxCallStack)
	v.rt.SetPromiseRejectionTracker(v.track)
	v.rt.SetAsyncContextTracker(v)
	v.rt.SetTimeSource(v.session.clock.Now)
	installGlobals(v.rt, &environment{print: v.print, store: v.session.set.store, env: o.Env, more: v.timer})
	v.program.guards.install(v.rt, int(o.Memory))
	exports, err := v.program.run(v.rt)
	v.settleRejections(nil)
	if err != nil {
		return err
	}
	return protect(v.rt, func() error { return v.bind(exports) })
}

// bind finds the hooks among what the script exports.
func (v *vm) bind(exports *goja.Object) error {
	v.exports = exports
	h := &v.hooks
	for _, hook := range [...]struct {
		name string
		has  *bool
	}{
		{"onRequest", &h.Request}, {"onResponse", &h.Response}, {"onOpen", &h.Open},
		{"onMessage", &h.Message}, {"onControl", &h.Control}, {"onMatch", &h.Match}, {"onClose", &h.Close}, {"onReload", new(bool)},
	} {
		value := exports.Get(hook.name)
		if value == nil || goja.IsUndefined(value) {
			continue
		}
		f, ok := goja.AssertFunction(value)
		if !ok {
			return fmt.Errorf("%s exports %s, which is not a function", v.source.name, hook.name)
		}
		*hook.has = true
		switch hook.name {
		case "onMessage":
			v.onMessage = f
		case "onControl":
			v.onControl = f
		default:
			if v.others == nil {
				v.others = map[string]goja.Callable{}
			}
			v.others[hook.name] = f
		}
	}
	if value := exports.Get("from"); value != nil && !goja.IsUndefined(value) {
		var side tape.Side
		if err := side.UnmarshalText([]byte(value.String())); err != nil {
			return fmt.Errorf("%s exports from = %q, which is neither \"client\" nor \"server\"", v.source.name, value.String())
		}
		v.only = &side
	}
	return nil
}

// hook returns what looks at a message or control frame; nil if nothing does.
func (v *vm) hook(m *tape.Message) goja.Callable {
	switch {
	case v.only != nil && *v.only != m.From:
		return nil
	case m.Op.Control():
		return v.onControl
	}
	return v.onMessage
}

// wanted reports whether a script that did not start would have looked at a
// message or control frame.
func (v *vm) wanted(m *tape.Message) bool {
	h := v.source.hooks.Load()
	if m.Op.Control() {
		return h.Control
	}
	return h.Message
}

func (v *vm) hookName(m *tape.Message) string {
	if m.Op.Control() {
		return "onControl"
	}
	return "onMessage"
}

// leaveState returns session.state for the version that is to follow; nil if it
// was never used.
func (v *vm) leaveState() (*cloned, error) {
	if v.state == nil {
		return nil, nil
	}
	var state *cloned
	err := protect(v.rt, func() (err error) {
		state, err = snapshot(v.rt, v.state, v.session.set.opts.Memory)
		return err
	})
	if err != nil {
		return nil, v.failure(&during{"session.state cannot be carried over", err})
	}
	return state, nil
}

// inherit takes the state of the version before over.
func (v *vm) inherit(state *cloned) error {
	var old goja.Value
	if state != nil {
		old = state.value(v.rt)
	}
	f := v.others["onReload"]
	if f == nil {
		v.state = old
		return nil
	}
	if old == nil {
		old = v.rt.NewObject()
	}
	result, err := f(goja.Undefined(), old, v.sessionObject())
	v.settleRejections(result)
	if _, p := asPromise(result); p != nil && p.State() == goja.PromiseStateRejected {
		err = v.thrown(p.Result())
	} else if o, ok := result.(*goja.Object); ok && p == nil {
		v.state = o
	}
	if err != nil {
		return &during{"onReload", err}
	}
	return nil
}

// awaiterProgram tells how a promise ends. It is code and not a call of the
// promise's method then, because that is the script's to change.
var awaiterProgram = sync.OnceValue(func() *goja.Program {
	return goja.MustCompile(bundleName, `(async function (promise, fulfilled, rejected) {
		let value;
		try { value = await promise } catch (reason) { rejected(reason); return }
		fulfilled(value);
	})`, true)
})

// then calls one of two functions, in a turn, when a promise is settled.
func (v *vm) then(p *goja.Object, fulfilled func(goja.Value), rejected func(error)) {
	if v.awaiter == nil {
		f, err := v.rt.RunProgram(awaiterProgram())
		if err != nil {
			rejected(err)
			return
		}
		v.awaiter, _ = goja.AssertFunction(f)
	}
	_, err := v.awaiter(goja.Undefined(), p,
		v.rt.ToValue(func(c goja.FunctionCall) goja.Value { fulfilled(c.Argument(0)); return goja.Undefined() }),
		v.rt.ToValue(func(c goja.FunctionCall) goja.Value {
			rejected(v.thrown(c.Argument(0)))
			return goja.Undefined()
		}))
	if err != nil {
		rejected(err)
	}
}

// settles reports whether promises are still settled.
func (v *vm) settles() (ok bool) {
	v.then(v.rt.CreateObject(nil), func(goja.Value) { ok = true }, func(error) {})
	return ok
}

// wait notes that somebody waits for the end of a task, which fail brings about.
func (v *vm) wait(t *task, fail func(error)) {
	if t.fail = fail; v.tasks == nil {
		v.tasks = map[*task]struct{}{}
	}
	v.tasks[t] = struct{}{}
}

// done notes that nobody waits any more.
func (v *vm) done(t *task) {
	t.fail = nil
	delete(v.tasks, t)
}

// Grab, Resumed and Exited implement [goja.AsyncContextTracker].
func (v *vm) Grab() any { return v.task }

// Resumed says that code runs that belongs to what Grab returned before.
func (v *vm) Resumed(t any) { v.task, _ = t.(*task) }

// Exited says that it has ended.
func (v *vm) Exited() { v.task = nil }

// stopped ends the task whose code was interrupted, or ran out of stack: it does
// not go on, and nothing else would ever tell those who wait for it. It reports
// whether somebody did.
func (v *vm) stopped(err error) bool {
	t := v.task
	v.task = nil
	if !uncatchable(err) {
		return false
	}
	v.suspect = true
	if t == nil || t.fail == nil {
		return false
	}
	t.fail(err)
	return true
}

// uncatchable reports whether an error is none that scripts can catch.
func uncatchable(err error) bool {
	if _, ok := find[*goja.InterruptedError](err); ok {
		return true
	}
	_, ok := find[*goja.StackOverflowError](err)
	return ok
}

// during says what an error is about. Unlike fmt.Errorf it does not look at the error
// before somebody asks: to say what was thrown may take running the script's code.
type during struct {
	what string
	err  error
}

func (d *during) Error() string { return d.what + ": " + d.err.Error() }
func (d *during) Unwrap() error { return d.err }

// find is errors.As, but does not look into exceptions: that may run the script's
// code.
func find[T error](err error) (found T, ok bool) {
	for err != nil {
		if found, ok = err.(T); ok {
			return found, true
		}
		if _, ok := err.(*goja.Exception); ok {
			break
		}
		err = errors.Unwrap(err)
	}
	return found, false
}

// protect runs Go code that may run a script's, and returns what that throws.
// Interruptions and stack overflows pass through Try as panics.
func protect(rt *goja.Runtime, f func() error) (err error) {
	defer func() {
		if x := recover(); x != nil {
			failed, ok := x.(error)
			if !ok || !uncatchable(failed) {
				panic(x)
			}
			err = failed
		}
	}()
	if thrown := rt.Try(func() { err = f() }); thrown != nil {
		return thrown
	}
	return err
}

// rethrow throws an error into the script: its own exceptions as they were.
func (v *vm) rethrow(err error) {
	if e, ok := find[*goja.Exception](err); ok {
		panic(e.Value())
	}
	if uncatchable(err) {
		panic(err)
	}
	panic(v.rt.NewTypeError(err.Error()))
}

// failure says what was thrown, in an error that may leave the turn: to say it
// may take running the script's code.
func (v *vm) failure(err error) error {
	if _, ok := find[*goja.Exception](err); !ok {
		return err
	}
	text := "threw something that cannot be shown"
	_ = protect(v.rt, func() error {
		text = Explain(err)
		panic(goja.Undefined()) // has goja forget what code the explaining left unfinished
	})
	return errors.New(text)
}

// thrown makes an error of what a promise was rejected with.
func (v *vm) thrown(reason goja.Value) error { return thrown(v.rt, reason) }

// thrown makes an error of what a promise was rejected with.
func thrown(rt *goja.Runtime, reason goja.Value) error {
	if reason == nil {
		reason = goja.Undefined()
	}
	if e := rt.Try(func() { panic(reason) }); e != nil {
		return e
	}
	return errors.New("rejected") // cannot be
}

// encode makes JSON of a value. What comes from the msg.json of the hook that
// runs keeps its bytes.
func (v *vm) encode(value goja.Value) ([]byte, error) {
	if v.task != nil && v.task.view != nil && v.task.view.json != nil {
		return v.task.view.json.encode(value)
	}
	return encodeJSON(v.rt, value)
}

// asPromise returns the promise that a value is.
func asPromise(value goja.Value) (*goja.Object, *goja.Promise) {
	o, ok := value.(*goja.Object)
	if !ok || o.ExportType() != reflect.TypeFor[*goja.Promise]() {
		return nil, nil
	}
	p, _ := o.Export().(*goja.Promise)
	return o, p
}

// track notes promises that are rejected and handled by nobody.
func (v *vm) track(p *goja.Promise, op goja.PromiseRejectionOperation) {
	if op == goja.PromiseRejectionHandle {
		delete(v.rejected, p)
		return
	}
	if v.rejected == nil {
		v.rejected = map[*goja.Promise]struct{}{}
	}
	if len(v.rejected) < maxErrors {
		v.rejected[p] = struct{}{}
	}
}

// settleRejections reports the rejections that nobody has handled; of the hook's
// own promise somebody will.
func (v *vm) settleRejections(own goja.Value) {
	if len(v.rejected) == 0 {
		return
	}
	_, mine := asPromise(own)
	for p := range v.rejected {
		if p != mine {
			v.session.report(v, "a promise that nobody awaits", v.thrown(p.Result()))
		}
	}
	v.rejected = nil
}

// print takes a line of console.
func (v *vm) print(level, text string) {
	if level == "log" {
		level = "info"
	}
	v.session.say(v, level, text)
}

// timer returns setTimeout and its kin.
func (v *vm) timer(name string) goja.Value {
	switch name {
	case "setTimeout":
		return newMethod(v.rt, name, 2, func(c goja.FunctionCall) goja.Value { return v.setTimer(c, false) })
	case "setInterval":
		return newMethod(v.rt, name, 2, func(c goja.FunctionCall) goja.Value { return v.setTimer(c, true) })
	case "clearTimeout", "clearInterval":
		return newMethod(v.rt, name, 1, v.clearTimer)
	}
	return nil
}

// maxDelay is the longest that a timer waits.
const maxDelay = 1 << 31 // ms

func (v *vm) setTimer(c goja.FunctionCall, repeat bool) goja.Value {
	f, ok := goja.AssertFunction(c.Argument(0))
	if !ok {
		panic(v.rt.NewTypeError("a timer needs a function"))
	}
	ms := min(max(c.Argument(1).ToFloat(), 0), maxDelay)
	if ms != ms {
		ms = 0
	}
	d, every := time.Duration(ms*float64(time.Millisecond)), time.Duration(0)
	if repeat {
		d = max(d, time.Millisecond)
		every = d
	}
	var args []goja.Value
	if len(c.Arguments) > 2 {
		args = slices.Clone(c.Arguments[2:]) // which goja keeps on its stack
	}
	task := v.task
	t, err := v.session.after(v, d, every, func() {
		v.task = task
		v.call("a timer", f, args...)
	})
	if err != nil {
		rangeError(v.rt, err.Error())
	}
	return v.rt.ToValue(t.id)
}

func (v *vm) clearTimer(c goja.FunctionCall) goja.Value {
	id := uint64(c.Argument(0).ToInteger())
	v.session.cancel(func(t *timer) bool { return t.vm == v && t.id == id })
	return goja.Undefined()
}

// call runs a function of the script that is no hook, in its turn.
func (v *vm) call(what string, f goja.Callable, args ...goja.Value) {
	_, err := f(goja.Undefined(), args...)
	if err != nil && !v.stopped(err) {
		v.session.report(v, what, err)
	}
	v.task = nil
	v.settleRejections(nil)
}

// heapBytes is about how much memory the program's objects take.
func heapBytes() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// errorCount counts a script's errors in one session, so that one that fails
// with each message does not fill log and tape.
type errorCount map[string]uint64

// maxErrors is how many errors of a script are told apart in a session.
const maxErrors = 100

// worth reports whether an error is to be told: the first of its kind, the
// tenth, the hundredth …; times says how often it has come. When there are too
// many kinds, the rest counts as one.
func (e *errorCount) worth(text string) (times uint64, tell bool) {
	if *e == nil {
		*e = errorCount{}
	}
	if (*e)[text] == 0 && len(*e) >= maxErrors {
		text = ""
	}
	(*e)[text]++
	n := (*e)[text]
	for n >= 10 && n%10 == 0 {
		n /= 10
	}
	return (*e)[text], n == 1
}

// report tells the log and the tape that a hook failed. If err comes from the
// script, it is called in a turn.
func (s *Session) report(v *vm, what string, err error) {
	text := shorten(what+" failed: "+Explain(v.failure(err)), maxNote)
	v.source.failures.Add(1)
	if why := interruptedBy(err); why != nil {
		text = what + " was stopped: it " + why.Error()
	}
	s.mu.Lock()
	times, tell := v.errors.worth(text)
	s.mu.Unlock()
	if interrupted, ok := find[*goja.InterruptedError](err); ok {
		text += trace(interrupted.Stack())
	}
	if !tell && !s.set.opts.every {
		return
	}
	if times > 1 && !s.set.opts.every {
		text += fmt.Sprintf(" (for the %dth time)", times)
	}
	s.tell(v, Entry{Level: "error", Text: text, Failed: true})
}
