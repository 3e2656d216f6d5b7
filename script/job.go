package script

import (
	"bytes"
	"fmt"
	"time"

	"github.com/dop251/goja"

	"github.com/wstape/wstape/tape"
)

// job is the way of one message through the chain. There is at most one at a
// time for the messages of a direction, and one for its control frames. What is
// in it belongs to the goroutine that is working on it or has the turn; who
// gives a waiting job on has claimed it.
type job struct {
	session *Session
	done    func(tape.Verdict) // nil when nobody waits; guarded by session.mu

	m       *tape.Message
	first   content   // as it came in
	in      []content // what the script at hand is still to see
	out     []content // what it has made
	at      int       // which script
	by      []string  // those that changed something
	bytes   int       // in out
	view    *view     // of the message at hand, while a script may look at it
	waiting bool      // for a promise, or for a script's new version
	serial  uint64    // of what it waits for
}

// content is one message on its way through the chain.
type content struct {
	op      tape.Opcode
	payload []byte
}

func (c content) same(d content) bool { return c.op == d.op && sameBytes(c.payload, d.payload) }

// sameBytes compares cheaply what is usually the very same memory.
func sameBytes(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	return len(a) == 0 || &a[0] == &b[0] || bytes.Equal(a, b)
}

// Message decides about one message, ping or pong, by running the scripts' hooks
// on the caller's goroutine as far as they do not have to wait.
func (s *Session) Message(m *tape.Message, done func(tape.Verdict)) {
	i := int(m.From)
	if m.Op.Control() {
		i += 2
	}
	if !m.Op.Control() && !s.concerns(m) {
		done(tape.Verdict{Fate: tape.Passed})
		return
	}
	j := &s.jobs[i]
	s.mu.Lock()
	dead := s.dead
	if !dead {
		j.done = done
	}
	s.mu.Unlock()
	if dead {
		done(tape.Verdict{Fate: tape.Passed})
		return
	}
	j.m, j.at, j.by, j.bytes = m, 0, nil, 0
	j.first = content{m.Op, m.Payload}
	j.in, j.out = append(j.in[:0], j.first), j.out[:0]
	j.next()
}

// next goes on until the job is done or has to wait.
func (j *job) next() {
	s := j.session
	for {
		switch {
		case len(j.in) > 0:
			v := s.enter(j.at, nil)
			if v == nil {
				j.give()
				return
			}
			waits := false
			s.within(v, func(v *vm) { waits = j.look(v) })
			if !s.leave(v) || waits {
				return // who ends the waiting goes on
			}
			continue
		case len(j.out) == 0:
			j.finish(j.verdict())
			return
		}
		j.in, j.out, j.bytes = j.out, j.in[:0], 0
		if j.at++; j.at == len(s.vms) {
			j.finish(j.verdict())
			return
		}
	}
}

// verdict compares what has come out of the chain with what went in, and lets go
// of the messages.
func (j *job) verdict() tape.Verdict {
	v := tape.Verdict{Fate: tape.Dropped, By: j.by}
	switch {
	case len(j.in) == 1 && j.in[0].same(j.first):
		v = tape.Verdict{Fate: tape.Passed}
	case len(j.in) > 0:
		v.Fate, v.Out = tape.Edited, make([]tape.Content, len(j.in))
		for i, c := range j.in {
			v.Out[i] = tape.Content{Op: c.op, Payload: c.payload, Len: uint64(len(c.payload))}
		}
	}
	j.m, j.first, j.in, j.out = nil, content{}, cleared(j.in), cleared(j.out)
	return v
}

// cleared returns a list's memory, unless that is much, to be used again.
func cleared(list []content) []content {
	list = list[:cap(list)]
	if len(list) > 16 {
		return nil
	}
	clear(list)
	return list[:0]
}

// finish hands the verdict over, unless that has been done.
func (j *job) finish(v tape.Verdict) {
	j.session.mu.Lock()
	done := j.done
	j.done = nil
	j.session.mu.Unlock()
	if done != nil {
		done(v)
	}
}

// give ends a job because a script has been given up. It may be called while the
// job is being worked on, and does not look at it.
func (j *job) give() {
	s := j.session
	if s.set.opts.OnError == Pass {
		j.finish(tape.Verdict{Fate: tape.Passed})
		return
	}
	s.mu.Lock()
	by := s.killer
	s.mu.Unlock()
	j.finish(tape.Verdict{Fate: tape.Dropped, By: []string{by}})
}

// overlap is how long the version before may go on beside hooks of its own that
// are under way: without end, those of both directions could take turns for ever.
const overlap = time.Second

// look has the script at hand look at the next message, in its turn, and reports
// whether the job now waits for something. If it does, it is somebody else's when
// the turn is over.
func (j *job) look(v *vm) (waits bool) {
	j.waiting = false
	switch {
	case !v.stale:
	case v.awaited == 0:
		v = j.session.renew(v)
	case j.session.clock.Now().Sub(v.staleSince) > overlap:
		j.waiting = true
		v.parked = append(v.parked, j.next)
		return true
	}
	j.ask(v)
	return j.waiting
}

// ask calls the script's hook, if it has one for the message.
func (j *job) ask(v *vm) {
	c := j.in[0]
	hook := v.hook(j.m)
	switch {
	case hook == nil && !v.failed || v.source.disabled.Load():
		j.accept(v, c)
		return
	case v.failed && !v.wanted(j.m):
		j.accept(v, c)
		return
	case v.failed:
		j.fail(v, errNotStarted)
		return
	case j.m.Error != "":
		j.fail(v, fmt.Errorf("%s: %w: %s", j.m.Op, errUnreadable, j.m.Error))
		return
	}
	j.view = newView(v, j.m, c)
	j.view.task.view = j.view
	v.task = &j.view.task
	result, err := hook(goja.Undefined(), j.view.object, v.sessionObject())
	v.stopped(err)
	v.task = nil
	v.settleRejections(result)
	if err != nil {
		j.fail(v, err)
		return
	}
	o, p := asPromise(result)
	switch {
	case p == nil:
		j.take(v, result)
	case p.State() == goja.PromiseStateFulfilled:
		j.take(v, p.Result())
	case p.State() == goja.PromiseStateRejected:
		j.fail(v, v.thrown(p.Result()))
	default:
		j.await(v, o)
	}
}

// take makes messages of what the hook returned.
func (j *job) take(v *vm, result goja.Value) {
	out, err := j.view.result(result)
	for _, c := range out {
		j.bytes += len(c.payload)
	}
	switch {
	case err != nil:
		j.fail(v, err)
	case len(j.out)+len(out) > maxOut:
		j.fail(v, fmt.Errorf("%d messages are to be sent in the place of one, which is more than %d", len(j.out)+len(out), maxOut))
	case len(out) > 1 && int64(j.bytes) > v.session.set.opts.Memory:
		j.fail(v, fmt.Errorf("%d bytes are to be sent in the place of one message, which is more than script.memory", j.bytes))
	default:
		j.accept(v, out...)
	}
}

// maxOut is how many messages may take the place of one.
const maxOut = 10_000

// accept notes what the script at hand has made of the message at hand.
func (j *job) accept(v *vm, out ...content) {
	if len(out) != 1 || !out[0].same(j.in[0]) {
		if by := v.source.by(); len(j.by) == 0 || j.by[len(j.by)-1] != by {
			j.by = append(j.by, by)
		}
	}
	j.out = append(j.out, out...)
	j.in = j.in[1:]
	if j.view != nil {
		j.view.release()
		j.view = nil
	}
}

// fail reports that the hook failed and does what is to be done then.
func (j *job) fail(v *vm, err error) {
	s := j.session
	v.suspect = v.suspect || uncatchable(err)
	s.report(v, v.hookName(j.m), err)
	switch s.set.opts.OnError {
	case Pass:
		j.accept(v, j.in[0])
	case Close:
		s.conn.Close(internalError, "script failed", v.source.by())
		fallthrough
	default:
		j.accept(v)
	}
}

// internalError is the close code for what goes wrong inside (RFC 6455 section 7.4.1).
const internalError = 1011

// await goes on with the job when the promise is settled, or it is too late.
func (j *job) await(v *vm, p *goja.Object) {
	s := j.session
	j.waiting = true
	j.serial++
	serial := j.serial
	v.awaited++
	var late *timer
	away := false // the turn in which the hook was called is over, or about to be
	task := &j.view.task
	settle := func(f func()) {
		if j.serial != serial || !j.waiting {
			return // it came too late, or twice
		}
		if late != nil {
			s.cancel(func(t *timer) bool { return t == late })
		}
		v.done(task)
		f()
		j.waiting = false
		v.awaited--
		if away {
			s.later(func() { j.next(); s.resume(v) })
		}
	}
	late, _ = s.after(nil, s.set.opts.AwaitTimeout, 0, func() {
		s.turn(0, v, func(*vm) { settle(func() { j.fail(v, errAwait) }) })
	})
	v.wait(task, func(err error) { settle(func() { j.fail(v, err) }) })
	v.then(p,
		func(result goja.Value) { settle(func() { j.take(v, result) }) },
		func(err error) { settle(func() { j.fail(v, err) }) })
	away = true
}
