package script

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/dop251/goja"

	"github.com/wstape/wstape/tape"
)

// call is one call of a hook that its caller waits for.
type call struct {
	args func(*vm) []goja.Value
	// done is given what the hook returned, in its turn; it may be nil. Its error
	// counts as the hook's.
	done func(*vm, goja.Value) error
}

// hooked runs a hook that the caller waits for, awaits included, and returns what
// it threw. The caller waits until it is done, the context is, or the scripts have
// been given up.
func (s *Session) hooked(ctx context.Context, i int, name string, patience time.Duration, c call) error {
	done := make(chan error, 1)
	ok := s.apart(i, nil, func(v *vm) {
		f := v.others[name]
		if f == nil || v.source.disabled.Load() {
			done <- errNoHook
			return
		}
		hook, over, awaits := &task{}, false, false
		var late *timer
		end := func(result goja.Value, err error) {
			if over {
				return // it came too late, or twice
			}
			over = true
			v.done(hook)
			if err == nil && c.done != nil {
				err = protect(v.rt, func() error { return c.done(v, result) })
			}
			v.suspect = v.suspect || uncatchable(err)
			if awaits {
				s.cancel(func(t *timer) bool { return t == late })
				v.awaited--
				s.later(func() { s.resume(v) })
			}
			done <- v.failure(err)
		}
		args := c.args(v)
		v.task = hook
		result, err := f(goja.Undefined(), args...)
		v.stopped(err)
		v.task = nil
		v.settleRejections(result)
		o, p := asPromise(result)
		switch {
		case err != nil || p == nil:
			end(result, err)
		case p.State() == goja.PromiseStateRejected:
			end(nil, v.thrown(p.Result()))
		case p.State() == goja.PromiseStateFulfilled:
			end(p.Result(), nil)
		default:
			fail := func(err error) { end(nil, err) }
			awaits = true
			v.awaited++
			v.wait(hook, fail)
			late, err = s.after(nil, patience, 0, func() { s.turn(0, v, func(*vm) { fail(errAwait) }) })
			if err != nil {
				fail(err)
				return
			}
			v.then(o, func(result goja.Value) { end(result, nil) }, fail)
		}
	})
	if !ok {
		return errAbandoned
	}
	s.clock.pass(func() bool { return len(done) > 0 })
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-s.goneSignal():
		return errAbandoned
	}
}

// errNoHook means that a script has lost the hook since it was looked for.
var errNoHook = errors.New("the script has no such hook any more")

// each runs a hook of every script that has it, in order, and reports what fails.
// It ends early when after says so.
func (s *Session) each(ctx context.Context, name string, patience time.Duration, prepare func() call, after func(v *vm, err error) (goOn bool)) {
	for i := range s.vms {
		if !s.has(i, name) {
			continue
		}
		v := s.at(i)
		err := errNotStarted
		if !v.failed {
			err = s.hooked(ctx, i, name, patience, prepare())
		}
		switch err {
		case errNoHook:
			continue
		case nil, errAbandoned: // which has been told
		default:
			s.report(v, name, err)
		}
		if !after(v, err) {
			return
		}
	}
}

// at returns the runtime of the script that is number i of the chain.
func (s *Session) at(i int) *vm {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.vms[i]
}

// has reports whether a script has a hook of those that are waited for. One that did
// not start has those that it should have and that somebody asks, for they fail.
func (s *Session) has(i int, name string) bool {
	v := s.at(i)
	h := v.source.hooks.Load()
	switch {
	case v.source.disabled.Load():
		return false
	case !v.failed:
		return v.others[name] != nil
	}
	return name == "onRequest" && h.Request || name == "onResponse" && h.Response || name == "onMatch" && h.Match
}

// Request runs onRequest: scripts may change the request that goes to the
// upstream, or refuse it.
func (s *Session) Request(ctx context.Context, r *tape.Request) (refusal *tape.Response) {
	var o *requestObject
	s.each(ctx, "onRequest", s.set.opts.AwaitTimeout, func() call {
		made := &requestObject{target: r.Target, head: newHead(r.Headers, fixedInRequest)}
		o = made
		return call{
			args: func(v *vm) []goja.Value {
				made.vm = v
				return []goja.Value{made.object(), v.sessionObject()}
			},
			done: made.seal,
		}
	}, func(v *vm, err error) bool {
		if err != nil {
			refusal = s.failedHandshake()
			return refusal == nil
		}
		s.noteHeaders(v, "request", o.headers.changed)
		if o.target != r.Target {
			s.conn.Note("changed the request's path", v.source.by())
		}
		r.Target, r.Headers, refusal = o.target, o.headers.list, o.refusal
		return refusal == nil
	})
	return refusal
}

// failedHandshake is the answer when a hook of the handshake failed.
func (s *Session) failedHandshake() *tape.Response {
	if s.set.opts.OnError == Pass {
		return nil
	}
	return refusalOf(502, "the request could not be handled\n")
}

func refusalOf(status int, body string) *tape.Response {
	return &tape.Response{Status: status, Headers: []tape.Header{{"Content-Type", "text/plain; charset=utf-8"}}, Body: []byte(body)}
}

// noteHeaders tells the tape which headers a script changed; their values may be
// secrets.
func (s *Session) noteHeaders(v *vm, of string, names []string) {
	if len(names) == 0 {
		return
	}
	slices.Sort(names)
	s.conn.Note("changed the "+of+"'s headers: "+strings.Join(slices.Compact(names), ", "), v.source.by())
}

// fixedInRequest names the fields without which the handshake would not be the
// client's any more.
func fixedInRequest(name string) bool {
	switch name {
	case "Connection", "Upgrade", "Sec-Websocket-Key", "Sec-Websocket-Version", "Content-Length", "Transfer-Encoding":
		return true
	}
	return false
}

// fixedInResponse names the fields that both ends have agreed on.
func fixedInResponse(name string) bool {
	switch name {
	case "Connection", "Upgrade", "Sec-Websocket-Accept", "Sec-Websocket-Extensions", "Content-Length", "Transfer-Encoding":
		return true
	}
	return false
}

// Response runs onResponse: scripts may change the head of the upstream's
// answer, or put a refusal in its place.
func (s *Session) Response(ctx context.Context, r *tape.Response) (refusal *tape.Response) {
	about := *s.about.Load()
	about.Status, about.Handshake.Response = r.Status, *r
	s.about.Store(&about)
	var o *responseObject
	s.each(ctx, "onResponse", s.set.opts.AwaitTimeout, func() call {
		made := &responseObject{status: r.Status, head: newHead(r.Headers, fixedInResponse)}
		o = made
		return call{
			args: func(v *vm) []goja.Value {
				made.vm = v
				return []goja.Value{made.object(), v.sessionObject()}
			},
			done: made.seal,
		}
	}, func(v *vm, err error) bool {
		if err != nil {
			refusal = s.failedHandshake()
			return refusal == nil
		}
		s.noteHeaders(v, "response", o.headers.changed)
		r.Headers, refusal = o.headers.list, o.refusal
		return refusal == nil
	})
	return refusal
}

// head is what req and res have in common.
type head struct {
	vm      *vm
	headers headerList
	refusal *tape.Response
	sealed  bool // the hook is done, and changes come too late
}

func newHead(list []tape.Header, fixed func(name string) bool) head {
	return head{headers: headerList{list: slices.Clone(list), fixed: fixed}}
}

// seal is called when the hook is done.
func (h *head) seal(*vm, goja.Value) error {
	h.sealed, h.headers.readOnly = true, true
	return nil
}

// requestObject is req in onRequest.
type requestObject struct {
	head
	target string
}

const protocolField = "Sec-Websocket-Protocol"

func (o *requestObject) object() *goja.Object {
	v, rt := o.vm, o.vm.rt
	req := rt.NewObject()
	accessor := func(name string, get func() goja.Value, set func(goja.Value)) {
		setter := goja.Value(nil)
		if set != nil {
			setter = rt.ToValue(func(c goja.FunctionCall) goja.Value { set(c.Argument(0)); return goja.Undefined() })
		}
		_ = req.DefineAccessorProperty(name, rt.ToValue(func(goja.FunctionCall) goja.Value { return get() }), setter, goja.FLAG_TRUE, goja.FLAG_TRUE)
	}
	_ = req.Set("method", "GET")
	accessor("url", func() goja.Value { return rt.ToValue(o.target) }, func(value goja.Value) {
		target := value.String()
		if o.sealed {
			v.throw("req.url: %v", errSealed)
		}
		if !strings.HasPrefix(target, "/") || strings.ContainsFunc(target, func(c rune) bool { return c <= ' ' || c == 0x7f }) {
			v.throw("req.url must be a path, with a query if there is one, like /chat?room=1, not %q; where it goes is set by the upstream", target)
		}
		o.target = target
	})
	accessor("protocols", func() goja.Value {
		var list []any
		for _, value := range o.headers.get(protocolField) {
			for _, name := range strings.Split(value, ",") {
				list = append(list, strings.TrimSpace(name))
			}
		}
		return rt.NewArray(list...)
	}, func(value goja.Value) {
		var names []string
		if err := rt.ExportTo(value, &names); err != nil {
			v.throw("req.protocols must be an array of strings")
		}
		var err error
		if len(names) == 0 {
			err = o.headers.replace(protocolField)
		} else {
			err = o.headers.replace(protocolField, strings.Join(names, ", "))
		}
		if err != nil {
			v.throw("req.protocols: %v", err)
		}
	})
	_ = req.Set("headers", v.headers(&o.headers))
	_ = req.Set("reject", v.reject(&o.refusal, &o.sealed))
	return req
}

// responseObject is res in onResponse.
type responseObject struct {
	head
	status int
}

var errSealed = errors.New("the hook is done, and the handshake has gone on; change it in the hook, or await there what you wait for")

func (o *responseObject) object() *goja.Object {
	res := o.vm.rt.NewObject()
	_ = res.DefineDataProperty("status", o.vm.rt.ToValue(o.status), goja.FLAG_FALSE, goja.FLAG_FALSE, goja.FLAG_TRUE)
	_ = res.Set("headers", o.vm.headers(&o.headers))
	_ = res.Set("reject", o.vm.reject(&o.refusal, &o.sealed))
	return res
}

// reject returns the function that refuses the handshake with a status and a body.
func (v *vm) reject(to **tape.Response, sealed *bool) *goja.Object {
	return newMethod(v.rt, "reject", 2, func(c goja.FunctionCall) goja.Value {
		if *sealed {
			v.throw("reject: %v", errSealed)
		}
		status, body := 403, ""
		if value := c.Argument(0); !goja.IsUndefined(value) {
			status = int(value.ToInteger())
		}
		if status < 300 || status > 599 {
			v.throw("reject: %d is not a status to refuse with; use 300 to 599", status)
		}
		if value := c.Argument(1); !goja.IsUndefined(value) {
			body = value.String()
		}
		*to = refusalOf(status, body)
		return goja.Undefined()
	})
}

// Opened runs onOpen and returns when it has done what it does without waiting.
func (s *Session) Opened(subprotocol string) {
	about := *s.about.Load()
	about.Subprotocol = subprotocol
	s.about.Store(&about)
	s.opened.Store(true)
	for i := range s.vms {
		if !s.has(i, "onOpen") {
			continue
		}
		s.apart(i, nil, func(v *vm) {
			f := v.others["onOpen"]
			if f == nil || v.source.disabled.Load() {
				return
			}
			v.task = &task{}
			v.call("onOpen", f, v.sessionObject())
		})
	}
}

// closePatience is how long onClose may await.
const closePatience = time.Second

// Closed runs onClose, if the session had been opened, and ends what is left.
func (s *Session) Closed(e tape.Ending) {
	if s.opened.Load() {
		s.each(context.Background(), "onClose", min(closePatience, s.set.opts.AwaitTimeout), func() call {
			return call{args: func(v *vm) []goja.Value { return []goja.Value{v.ending(e), v.sessionObject()} }}
		}, func(*vm, error) bool { return true })
	}
	s.shut()
}

// ending makes the object that `ls --json` shows.
func (v *vm) ending(e tape.Ending) goja.Value {
	o := v.rt.NewObject()
	put := func(name string, value any) { _ = o.Set(name, value) }
	put("kind", string(e.Kind))
	if e.Kind == tape.EndClose {
		if e.Code != tape.NoStatus {
			put("code", e.Code)
		}
		put("reason", e.Reason)
	}
	if e.From != nil {
		put("from", e.From.String())
	}
	if e.Why != "" {
		put("why", e.Why)
	}
	return o
}
