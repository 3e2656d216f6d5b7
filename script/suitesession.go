package script

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dop251/goja"

	"github.com/wstape/wstape/tape"
)

// benchSession is what open() returns: a session of the script under test that
// is only rehearsed. Its handshake runs when something first needs it to have run.
type benchSession struct {
	bench *bench
	chain *Chain
	about tape.Session

	rehearsal *Rehearsal // nil before anything has run
	stage     benchStage // how far the handshake has got
	refusal   *tape.Response
	over      bool
	last      time.Duration // when a message came, or advance ended

	sent, notes, errors, logs *goja.Object // arrays that grow
	tags                      *goja.Object
	closed                    goja.Value
	printed                   []Entry
	failed                    string // the first of the hooks' failures
	looked                    bool   // at errors
}

type benchStage uint8

const (
	benchNew benchStage = iota
	benchRequested
	benchAnswered
	benchOpen
)

// benchStart is when rehearsed sessions begin, if the test does not say.
func benchStart() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

// openSession is open(options).
func (b *bench) openSession(c goja.FunctionCall) goja.Value {
	if !b.open {
		panic(b.rt.NewTypeError("open() works within a test only"))
	}
	rt, n := b.rt, uint64(len(b.sessions)+1)
	s := &benchSession{
		bench: b, closed: goja.Undefined(), tags: rt.NewObject(),
		sent: rt.NewArray(), notes: rt.NewArray(), errors: rt.NewArray(), logs: rt.NewArray(),
	}
	o := options{rt, "open", c.Argument(0)}
	o.only("url", "headers", "client", "subprotocol", "env", "started")
	s.about = tape.Session{
		N: n, URL: o.text("url", "/"), Client: o.text("client", "192.0.2.1:50000"), Subprotocol: o.text("subprotocol", ""),
		Started: benchStart(), State: tape.Open,
	}
	s.about.ID[6], s.about.ID[8], s.about.ID[15] = 0x70, 0x80, byte(n)
	if started := o.get("started"); started != nil {
		s.about.Started = time.UnixMilli(started.ToNumber().ToInteger()).UTC()
	}
	s.about.Handshake.Request = tape.Request{Method: "GET", Target: s.about.URL, Headers: s.usualHeaders()}
	s.setHeaders(&s.about.Handshake.Request.Headers, o.headers())

	opts := b.opts.Options
	opts.Env = o.texts("env", opts.Env)
	src := &source{name: b.under.name, path: b.under.path}
	src.program.Store(b.under.program.Load())
	src.hooks.Store(b.under.hooks.Load())
	s.chain = &Chain{set: &Set{opts: opts, store: b.store, sessions: map[*Session]struct{}{}}, scripts: []*source{src}}
	b.sessions = append(b.sessions, s)
	return s.makeObject()
}

// usualHeaders are the fields that every handshake has.
func (s *benchSession) usualHeaders() []tape.Header {
	list := []tape.Header{
		{"Connection", "Upgrade"}, {"Upgrade", "websocket"},
		{"Sec-Websocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="}, {"Sec-Websocket-Version", "13"},
	}
	if s.about.Subprotocol != "" {
		list = append(list, tape.Header{protocolField, s.about.Subprotocol})
	}
	return list
}

// setHeaders puts fields in the place of those of the same name.
func (s *benchSession) setHeaders(list *[]tape.Header, given []tape.Header) {
	h := headerList{list: *list}
	for _, f := range given {
		h.list = slices.DeleteFunc(h.list, func(old tape.Header) bool { return strings.EqualFold(old[0], f[0]) })
	}
	for _, f := range given {
		if err := h.add(f[0], f[1]); err != nil {
			s.throw("%v", err)
		}
	}
	*list = h.list
}

func (s *benchSession) throw(format string, args ...any) {
	panic(s.bench.rt.NewTypeError(fmt.Sprintf(format, args...)))
}

func (s *benchSession) makeObject() *goja.Object {
	rt := s.bench.rt
	o := rt.NewObject()
	for name, m := range map[string]struct {
		length int
		call   func(goja.FunctionCall) goja.Value
	}{
		"client":   {1, func(c goja.FunctionCall) goja.Value { return s.say(tape.Client, c) }},
		"server":   {1, func(c goja.FunctionCall) goja.Value { return s.say(tape.Server, c) }},
		"ping":     {1, func(c goja.FunctionCall) goja.Value { return s.control(tape.Ping, c) }},
		"pong":     {1, func(c goja.FunctionCall) goja.Value { return s.control(tape.Pong, c) }},
		"advance":  {1, s.advanceBy},
		"request":  {1, s.request},
		"response": {1, s.response},
		"close":    {1, s.close},
	} {
		_ = o.DefineDataProperty(name, newMethod(rt, name, m.length, m.call), goja.FLAG_FALSE, goja.FLAG_FALSE, goja.FLAG_TRUE)
	}
	for name, get := range map[string]func() goja.Value{
		"sent":   func() goja.Value { return s.sent },
		"notes":  func() goja.Value { return s.notes },
		"tags":   func() goja.Value { return s.tags },
		"closed": func() goja.Value { return s.closed },
		"logs":   func() goja.Value { return s.logs },
		"errors": func() goja.Value { s.looked = true; return s.errors },
	} {
		getter := rt.ToValue(func(goja.FunctionCall) goja.Value {
			if !s.over && (s.stage == benchNew || s.stage == benchAnswered && s.refusal == nil) {
				s.ensureOpen()
			}
			return get()
		})
		_ = o.DefineAccessorProperty(name, getter, nil, goja.FLAG_FALSE, goja.FLAG_TRUE)
	}
	return o
}

// begin starts the scripts.
func (s *benchSession) begin() {
	if s.rehearsal == nil {
		s.rehearsal = s.chain.Rehearse(s.about)
		s.collect()
	}
}

// ready reports whether the session has begun and has not ended.
func (s *benchSession) ready() bool { return s.rehearsal != nil && !s.over }

// ensureOpen runs what is left of the handshake.
func (s *benchSession) ensureOpen() {
	if s.over {
		s.throw("the session has ended; open() another one")
	}
	if s.stage < benchRequested {
		s.askRequest()
	}
	if s.stage < benchAnswered && s.refusal == nil {
		s.askResponse(&tape.Response{Status: 101, Headers: s.grant()})
	}
	if s.refusal != nil {
		s.throw("the handshake was refused with %d: %s", s.refusal.Status, strings.TrimSpace(string(s.refusal.Body)))
	}
	if s.stage < benchOpen {
		s.stage = benchOpen
		s.rehearsal.Opened(s.about.Subprotocol)
		s.collect()
	}
}

// grant is the head of the upstream's answer, if the test gives none.
func (s *benchSession) grant() []tape.Header {
	list := []tape.Header{{"Connection", "Upgrade"}, {"Upgrade", "websocket"}, {"Sec-Websocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="}}
	if s.about.Subprotocol != "" {
		list = append(list, tape.Header{protocolField, s.about.Subprotocol})
	}
	return list
}

func (s *benchSession) askRequest() *tape.Request {
	s.begin()
	s.stage = benchRequested
	r := s.about.Handshake.Request
	r.Headers = slices.Clone(r.Headers)
	s.refusal = s.rehearsal.Request(&r)
	s.collect()
	return &r
}

func (s *benchSession) askResponse(r *tape.Response) {
	s.stage = benchAnswered
	s.refusal = s.rehearsal.Response(r)
	if s.refusal == nil && r.Status != 101 {
		s.refusal = r
	}
	s.collect()
}

// request is session.request({url, headers}).
func (s *benchSession) request(c goja.FunctionCall) goja.Value {
	if s.stage != benchNew {
		s.throw("the handshake's request has been handled; call request() first, on a session of its own")
	}
	o := options{s.bench.rt, "request", c.Argument(0)}
	o.only("url", "headers")
	s.about.URL = o.text("url", s.about.URL)
	s.about.Handshake.Request.Target = s.about.URL
	s.setHeaders(&s.about.Handshake.Request.Headers, o.headers())
	r := s.askRequest()
	v, out := &vm{rt: s.bench.rt}, s.bench.rt.NewObject()
	_ = out.Set("url", r.Target)
	_ = out.Set("headers", v.headers(&headerList{list: r.Headers, readOnly: true}))
	_ = out.Set("protocols", (&requestObject{head: head{vm: v, headers: headerList{list: r.Headers}}}).object().Get("protocols"))
	s.putRefusal(out)
	return out
}

// response is session.response({status, headers}).
func (s *benchSession) response(c goja.FunctionCall) goja.Value {
	if s.stage > benchRequested {
		s.throw("the handshake's response has been handled; call response() before there are messages")
	}
	if s.stage == benchNew {
		s.askRequest()
	}
	if s.refusal != nil {
		s.throw("onRequest refused the handshake with %d, so there is no response", s.refusal.Status)
	}
	o := options{s.bench.rt, "response", c.Argument(0)}
	o.only("status", "headers")
	r := &tape.Response{Status: 101}
	if status := o.get("status"); status != nil {
		r.Status = int(status.ToInteger())
	}
	if r.Status == 101 {
		r.Headers = s.grant()
	}
	s.setHeaders(&r.Headers, o.headers())
	s.askResponse(r)
	out := s.bench.rt.NewObject()
	_ = out.Set("status", r.Status)
	_ = out.Set("headers", (&vm{rt: s.bench.rt}).headers(&headerList{list: r.Headers, readOnly: true}))
	s.putRefusal(out)
	return out
}

// putRefusal adds what the client gets in the place of an answer.
func (s *benchSession) putRefusal(out *goja.Object) {
	if s.refusal == nil {
		return
	}
	o := s.bench.rt.NewObject()
	_ = o.Set("status", s.refusal.Status)
	_ = o.Set("body", string(s.refusal.Body))
	_ = out.Set("refusal", o)
}

// say is session.client(data, {t}) and session.server(data, {t}).
func (s *benchSession) say(from tape.Side, c goja.FunctionCall) goja.Value {
	s.ensureOpen()
	data, err := newContent(s.bench.rt, s.bench.encode, c.Argument(0))
	if err != nil {
		s.throw("%s: %v", from, err)
	}
	t := s.arrival(from.String(), c.Argument(1))
	messages, _ := s.rehearsal.Wants(from)
	return s.decide(from, t, data, messages)
}

// control is session.ping(from, data) and session.pong(from, data).
func (s *benchSession) control(op tape.Opcode, c goja.FunctionCall) goja.Value {
	s.ensureOpen()
	from := (&vm{rt: s.bench.rt}).side("session."+op.String(), c.Argument(0))
	frame := content{op: op}
	if !goja.IsUndefined(c.Argument(1)) {
		data, err := newContent(s.bench.rt, s.bench.encode, c.Argument(1))
		if err == nil && len(data.payload) > maxControl {
			err = errControl
		}
		if err != nil {
			s.throw("%s: %v", op, err)
		}
		frame.payload = data.payload
	}
	t := s.arrival(op.String(), c.Argument(2))
	_, control := s.rehearsal.Wants(from)
	return s.decide(from, t, frame, control)
}

// decide has the script look at a message and returns what became of it.
func (s *benchSession) decide(from tape.Side, t time.Duration, in content, wanted bool) goja.Value {
	v := tape.Verdict{Fate: tape.Passed}
	c := tape.Content{Op: in.op, Payload: in.payload, Len: uint64(len(in.payload))}
	if wanted {
		v = s.rehearsal.Message(&tape.Message{Content: c, T: t, From: from})
	}
	s.collect()
	if v.Fate == tape.Passed {
		v.Out = []tape.Content{c}
	}
	rt := s.bench.rt
	out, list := rt.NewObject(), rt.NewArray()
	_ = out.Set("fate", string(v.Fate))
	if n := len(v.By); n > 0 {
		_ = out.Set("by", v.By[n-1])
	}
	for _, c := range v.Out {
		push(list, s.messageObject(c))
	}
	_ = out.Set("out", list)
	for _, name := range []string{"text", "bytes", "json"} {
		value := goja.Undefined()
		if len(v.Out) > 0 {
			value = list.Get("0").ToObject(rt).Get(name)
		}
		_ = out.DefineDataProperty(name, value, goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_FALSE)
	}
	return out
}

// messageObject shows a message. Only what tells it from others is enumerable,
// so that assert.deepEqual needs to be given no more: op, and text or bytes.
func (s *benchSession) messageObject(c tape.Content) *goja.Object {
	rt := s.bench.rt
	o := rt.NewObject()
	_ = o.Set("op", c.Op.String())
	binary := c.Op == tape.Binary
	data := newBytes(rt, slices.Clone(c.Payload))
	text := goja.Value(goja.Undefined())
	if !binary {
		text = decodeText(c.Payload)
	}
	shows := func(yes bool) goja.Flag {
		if yes {
			return goja.FLAG_TRUE
		}
		return goja.FLAG_FALSE
	}
	_ = o.DefineDataProperty("text", text, goja.FLAG_TRUE, goja.FLAG_TRUE, shows(!binary))
	_ = o.DefineDataProperty("bytes", data, goja.FLAG_TRUE, goja.FLAG_TRUE, shows(binary))
	_ = o.DefineDataProperty("json", s.parse(c.Payload), goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_FALSE)
	return o
}

// parse returns what JSON says, undefined if it is none.
func (s *benchSession) parse(text []byte) goja.Value {
	rt := s.bench.rt
	value := goja.Undefined()
	if ex := rt.Try(func() {
		value = callFunction(rt.GlobalObject().Get("JSON").ToObject(rt).Get("parse"), goja.Undefined(), decodeText(text))
	}); ex != nil {
		return goja.Undefined()
	}
	return value
}

// advanceBy is session.advance(ms).
func (s *benchSession) advanceBy(c goja.FunctionCall) goja.Value {
	s.ensureOpen()
	s.last = s.rehearsal.Now() + milliseconds(c.Argument(0))
	s.advance(s.last)
	return goja.Undefined()
}

// arrival lets time pass until the option t, which is when a message comes, and
// returns that. It may come while a hook still awaits, but not before one that
// has come already.
func (s *benchSession) arrival(what string, given goja.Value) time.Duration {
	o := options{s.bench.rt, what, given}
	o.only("t")
	t := s.rehearsal.Now()
	if value := o.get("t"); value != nil {
		t = time.Duration(value.ToFloat() * float64(time.Second))
	}
	if t < s.last {
		s.throw("%s: t is %v, and there was something at %v already: time does not go back", what, t.Seconds(), s.last.Seconds())
	}
	if s.last = t; t > s.rehearsal.Now() {
		s.advance(t)
	}
	return t
}

// advance lets time pass as [Rehearsal.Advance] does, but not for longer than
// the test may run.
func (s *benchSession) advance(t time.Duration) {
	until := s.rehearsal.session.started.Add(t)
	for !s.bench.late.Load() && s.rehearsal.time.next(until) {
	}
	s.rehearsal.time.set(until)
	s.collect()
}

// close is session.close({code, reason, from}).
func (s *benchSession) close(c goja.FunctionCall) goja.Value {
	s.ensureOpen()
	o := options{s.bench.rt, "close", c.Argument(0)}
	o.only("kind", "code", "reason", "from", "why")
	e := tape.Ending{Kind: tape.EndingKind(o.text("kind", string(tape.EndClose))), Code: tape.NoStatus, Reason: o.text("reason", ""), Why: o.text("why", "")}
	kinds := []tape.EndingKind{tape.EndClose, tape.EndEOF, tape.EndReset, tape.EndTimeout, tape.EndError}
	if !slices.Contains(kinds, e.Kind) {
		s.throw("close: kind %q is not one of %v", e.Kind, kinds)
	}
	if code := o.get("code"); code != nil {
		e.Code = int(code.ToInteger())
	}
	if from := o.get("from"); from != nil {
		side := (&vm{rt: s.bench.rt}).side("close: from", from)
		e.From = &side
	}
	s.rehearsal.Closed(e)
	s.collect()
	s.over = true
	return goja.Undefined()
}

// collect takes over what the scripts did.
func (s *benchSession) collect() {
	rt := s.bench.rt
	for _, h := range s.rehearsal.Happened() {
		switch {
		case h.Sent != nil:
			o := s.messageObject(h.Sent.Content)
			_ = o.Set("to", h.Sent.To.String())
			_ = o.DefineDataProperty("t", rt.ToValue(h.T.Seconds()), goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_FALSE)
			push(s.sent, o)
		case h.Close != nil && goja.IsUndefined(s.closed):
			o := rt.NewObject()
			_ = o.Set("code", h.Close.Code)
			_ = o.Set("reason", h.Close.Reason)
			s.closed = o
		case h.Tag != nil:
			_ = s.tags.Set(h.Tag[0], h.Tag[1])
		case h.Log != nil && h.Log.Failed:
			if s.failed == "" {
				s.failed = h.Log.Text
			}
			push(s.errors, rt.ToValue(h.Log.Text))
			s.printed = append(s.printed, *h.Log)
		case h.Log != nil:
			o := rt.NewObject()
			_ = o.Set("level", h.Log.Level)
			_ = o.Set("text", h.Log.Text)
			push(s.logs, o)
			s.printed = append(s.printed, *h.Log)
		case h.Note != nil:
			push(s.notes, rt.ToValue(*h.Note))
		}
	}
}

func push(list *goja.Object, value goja.Value) {
	_ = list.Set(strconv.FormatInt(list.Get("length").ToInteger(), 10), value)
}

// finish opens a session that the test has done nothing with, and returns what
// failed in it without the test's looking.
func (s *benchSession) finish() error {
	if s.stage == benchNew && !s.over {
		if ex := s.bench.rt.Try(s.ensureOpen); ex != nil && s.refusal == nil {
			return ex
		}
	}
	if s.failed != "" && !s.looked {
		return errors.New("the script failed, and the test did not look at the session's errors: " + s.failed)
	}
	return nil
}

// end stops what the session has running.
func (s *benchSession) end() {
	if s.ready() {
		s.over = true
		s.rehearsal.session.shut()
	}
}

// options reads the object with options that a function was given.
type options struct {
	rt       *goja.Runtime
	function string
	given    goja.Value
}

// only refuses all other names, which are likely to be mistyped.
func (o options) only(names ...string) {
	if goja.IsUndefined(o.given) {
		return
	}
	given, ok := o.given.(*goja.Object)
	if !ok {
		panic(o.rt.NewTypeError("%s: the options must be an object with %s, not %s", o.function, strings.Join(names, ", "), inspect(o.rt, o.given)))
	}
	for _, name := range given.Keys() {
		if !slices.Contains(names, name) {
			panic(o.rt.NewTypeError("%s: there is no option %s; there are %s", o.function, name, strings.Join(names, ", ")))
		}
	}
}

// get returns an option, nil if it is not given.
func (o options) get(name string) goja.Value {
	given, ok := o.given.(*goja.Object)
	if !ok {
		return nil
	}
	if value := given.Get(name); value != nil && !goja.IsUndefined(value) {
		return value
	}
	return nil
}

func (o options) text(name, otherwise string) string {
	if value := o.get(name); value != nil {
		return value.String()
	}
	return otherwise
}

// texts reads an object of strings.
func (o options) texts(name string, otherwise map[string]string) map[string]string {
	given, ok := o.get(name).(*goja.Object)
	if !ok {
		return otherwise
	}
	texts := map[string]string{}
	for _, key := range given.Keys() {
		texts[key] = given.Get(key).String()
	}
	return texts
}

// headers reads {name: value}, where a value may be an array of values.
func (o options) headers() (list []tape.Header) {
	given, ok := o.get("headers").(*goja.Object)
	if !ok {
		return nil
	}
	for _, name := range given.Keys() {
		value := given.Get(name)
		values, ok := value.(*goja.Object)
		if !ok || !isArray(values) {
			list = append(list, tape.Header{name, value.String()})
			continue
		}
		for i := range values.Get("length").ToInteger() {
			list = append(list, tape.Header{name, values.Get(strconv.FormatInt(i, 10)).String()})
		}
	}
	return list
}

func (b *bench) encode(value goja.Value) ([]byte, error) { return encodeJSON(b.rt, value) }
