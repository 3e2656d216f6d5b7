package proxy_test

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/flate"

	"github.com/wstape/wstape/internal/wstest"
	"github.com/wstape/wstape/proxy"
	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/tape"
)

// play is a stage made of functions. What a test leaves out lets everything
// pass, and a play without wants wants every message and no control frame. It
// checks what a stage may rely on.
type play struct {
	request  func(context.Context, *tape.Request) *tape.Response
	response func(context.Context, *tape.Response) *tape.Response
	opened   func(h proxy.Handle)
	wants    func(from tape.Side) (messages, control bool)
	message  func(h proxy.Handle, m *tape.Message, done func(tape.Verdict))

	handles  chan proxy.Handle // of each session, when it is open
	endings  chan tape.Ending
	sessions atomic.Int64
}

// on makes a rig's sessions have this stage.
func (p *play) on(t *testing.T) func(*setup) {
	p.handles, p.endings = make(chan proxy.Handle, 1000), make(chan tape.Ending, 1000)
	t.Cleanup(func() {
		if n := p.sessions.Load(); n != 0 {
			t.Errorf("%d stages were not closed", n)
		}
	})
	return func(c *setup) {
		c.stage = func(about tape.Session, h proxy.Handle) proxy.Stage {
			if about.N == 0 || about.ID == (tape.ID{}) {
				t.Errorf("session %d, %v has no name", about.N, about.ID)
			}
			p.sessions.Add(1)
			return &act{play: p, t: t, handle: h}
		}
	}
}

// act is the stage of one session.
type act struct {
	*play
	t      *testing.T
	handle proxy.Handle

	mu     sync.Mutex
	opened bool
	closed bool
	away   [2][2]bool // by side, and for control frames: a message has not been decided about
}

func (a *act) Request(ctx context.Context, r *tape.Request) *tape.Response {
	if a.request == nil {
		return nil
	}
	return a.request(ctx, r)
}

func (a *act) Response(ctx context.Context, r *tape.Response) *tape.Response {
	if a.response == nil {
		return nil
	}
	return a.response(ctx, r)
}

func (a *act) Opened(string) {
	a.mu.Lock()
	if a.opened || a.closed {
		a.t.Error("opened twice, or when closed")
	}
	a.opened = true
	a.mu.Unlock()
	if a.play.opened != nil {
		a.play.opened(a.handle)
	}
	a.handles <- a.handle
}

func (a *act) Wants(from tape.Side) (messages, control bool) {
	if a.wants == nil {
		return true, false
	}
	return a.wants(from)
}

func (a *act) Message(m *tape.Message, done func(tape.Verdict)) {
	kind := 0
	if m.Op.Control() {
		kind = 1
	}
	a.mu.Lock()
	if !a.opened || a.closed || a.away[m.From][kind] {
		a.t.Errorf("asked about %v from the %v: opened %v, closed %v, not done %v", m.Op, m.From, a.opened, a.closed, a.away[m.From][kind])
	}
	a.away[m.From][kind] = true
	a.mu.Unlock()
	from, payload := m.From, bytes.Clone(m.Payload)
	decided := func(v tape.Verdict) {
		if !bytes.Equal(m.Payload, payload) {
			a.t.Errorf("%q has become %q while it was being decided about", payload, m.Payload)
		}
		a.mu.Lock()
		a.away[from][kind] = false
		a.mu.Unlock()
		done(v)
	}
	if a.message == nil {
		decided(pass)
		return
	}
	a.message(a.handle, m, decided)
}

func (a *act) Closed(e tape.Ending) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		a.t.Error("closed twice")
	}
	a.closed = true
	a.sessions.Add(-1)
	a.endings <- e
}

// The verdicts.
var pass, drop = tape.Verdict{Fate: tape.Passed}, tape.Verdict{Fate: tape.Dropped, By: []string{"test"}}

func edit(op tape.Opcode, texts ...string) tape.Verdict {
	v := tape.Verdict{Fate: tape.Edited, By: []string{"test"}}
	for _, text := range texts {
		v.Out = append(v.Out, tape.Content{Op: op, Payload: []byte(text), Len: uint64(len(text))})
	}
	return v
}

// question is a message that the stage holds until the test answers.
type question struct {
	from   tape.Side
	op     tape.Opcode
	text   string
	failed string
	answer func(tape.Verdict)
}

// holding makes a play ask the test about everything.
func holding(p *play) (*play, <-chan question) {
	questions := make(chan question, 1000)
	p.message = func(_ proxy.Handle, m *tape.Message, done func(tape.Verdict)) {
		questions <- question{m.From, m.Op, string(m.Payload), m.Error, done}
	}
	return p, questions
}

// ask waits for a question about a text.
func ask(t *testing.T, questions <-chan question, text string) question {
	t.Helper()
	q := next(t, questions)
	if q.text != text {
		t.Fatalf("asked about %q, want %q", q.text, text)
	}
	return q
}

// next waits for what comes through a channel.
func next[T any](t *testing.T, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(wstest.Patience):
		t.Fatal("nothing comes")
	}
	return v
}

// wantAll and wantNone are what stages want.
func wantAll(tape.Side) (messages, control bool)     { return true, true }
func wantNone(tape.Side) (messages, control bool)    { return false, false }
func wantControl(tape.Side) (messages, control bool) { return false, true }

// manner is how a stage takes its time.
type manner struct {
	name   string
	answer func(done func())
}

// manners are at once, from another goroutine, and now one, now the other, with
// all that a script may do to the goroutine that asks it.
func manners(t *testing.T, rng *rand.Rand) []manner {
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	later := func(done func()) {
		go func() {
			runtime.Gosched()
			done()
		}()
	}
	dice := dice{rng: rand.New(rand.NewPCG(rng.Uint64(), 0))}
	mixed := func(done func()) {
		switch n := dice.IntN(200); {
		case n < 100:
			done()
		case n < 180:
			later(done)
		case n < 195:
			time.AfterFunc(time.Duration(n)*10*time.Microsecond, done)
		case n < 198: // away for longer than the link's patience
			<-time.After(5 * time.Millisecond)
			done()
		case n < 199:
			done()
			<-time.After(5 * time.Millisecond)
		default: // it never comes back
			time.AfterFunc(5*time.Millisecond, done)
			<-over
		}
	}
	return []manner{{"at once", func(done func()) { done() }}, {"later", later}, {"mixed", mixed}}
}

// dice may be thrown by several goroutines at once.
type dice struct {
	mu  sync.Mutex
	rng *rand.Rand
}

func (d *dice) IntN(n int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rng.IntN(n)
}

// parse reads frames.
func parseFrames(t *testing.T, b []byte) (frames []wstest.Frame) {
	t.Helper()
	for in := bytes.NewReader(b); in.Len() > 0; {
		f, err := wstest.Read(in)
		if err != nil {
			t.Fatalf("behind %d frames: %v", len(frames), err)
		}
		frames = append(frames, f)
	}
	return frames
}

// overtakes reports whether a frame does not wait for messages that are held.
func overtakes(f wstest.Frame) bool { return f.Op.Control() && f.Op != tape.Close }

// sorted takes frames that overtake and others apart, each in their order.
func sorted(frames []wstest.Frame) []wstest.Frame {
	frames = slices.Clone(frames)
	slices.SortStableFunc(frames, func(a, b wstest.Frame) int {
		switch {
		case overtakes(a) == overtakes(b):
			return 0
		case overtakes(a):
			return -1
		}
		return 1
	})
	return frames
}

// codec compresses or inflates the messages of one direction, with a window of
// its own.
type codec struct {
	takeover bool
	out      bytes.Buffer
	deflater *flate.Writer
	window   []byte
}

func newCodec(takeover bool) *codec { return &codec{takeover: takeover} }

func (c *codec) deflate(t *testing.T, plain string) []byte {
	t.Helper()
	var err error
	if c.deflater == nil {
		c.deflater, err = flate.NewWriter(&c.out, flate.DefaultCompression)
	} else if !c.takeover {
		c.deflater.Reset(&c.out)
	}
	if err == nil {
		_, err = io.WriteString(c.deflater, plain)
	}
	if err == nil {
		err = c.deflater.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	b := bytes.TrimSuffix(bytes.Clone(c.out.Bytes()), []byte("\x00\x00\xff\xff"))
	c.out.Reset()
	return b
}

func (c *codec) inflate(b []byte) (plain []byte, err error) {
	in := io.MultiReader(bytes.NewReader(b), strings.NewReader("\x00\x00\xff\xff\x01\x00\x00\xff\xff"))
	plain, err = io.ReadAll(flate.NewReaderDict(in, c.window))
	if c.takeover {
		c.window = append(c.window, plain...)
		c.window = c.window[max(0, len(c.window)-32<<10):]
	}
	return plain, err
}

// lines reads a session's messages back from the tape, those of one side.
func (r *rig) lines(n uint64, from tape.Side) (list []*tape.Message) {
	r.t.Helper()
	for line, err := range record.Lines(context.Background(), r.tape, n, record.ReadOptions{}) {
		if err != nil {
			r.t.Fatal(err)
		}
		if line.Message != nil && line.Message.From == from {
			list = append(list, line.Message)
		}
	}
	return list
}

// brief is what a line says, in short: what came in, if something else went out,
// and its fate.
func brief(m *tape.Message) string {
	s := string(m.Payload)
	if m.Op.Control() {
		s = m.Op.String() + " " + s
	}
	if m.Received != nil {
		s = string(m.Received.Payload) + " → " + s
	}
	if m.Fate != tape.Passed {
		s += " " + string(m.Fate)
	}
	if len(m.By) > 0 {
		s += " by " + strings.Join(m.By, ", ")
	}
	if m.Partial {
		s += " partial"
	}
	return s
}

// onLines wants exactly these lines of a side on the tape of session 1.
func (r *rig) onLines(from tape.Side, want ...string) {
	r.t.Helper()
	var got []string
	for _, m := range r.lines(1, from) {
		got = append(got, brief(m))
	}
	if !slices.Equal(got, want) {
		r.t.Errorf("of the %v on the tape:\n%q, want\n%q", from, got, want)
	}
}

// part takes leave of a session from both ends.
func part(near, far *wstest.Peer) {
	near.CloseWrite()
	far.ExpectEOF()
	far.CloseWrite()
	near.ExpectEOF()
}

func text(s string, from tape.Side) wstest.Frame { return wstest.New(tape.Text, s).From(from) }
func ping(s string, from tape.Side) wstest.Frame { return wstest.New(tape.Ping, s).From(from) }

// texts receives messages of wstape's own, whose mask is not known before.
func texts(t *testing.T, p *wstest.Peer, want ...string) {
	t.Helper()
	for _, w := range want {
		if f := p.Receive(); f.Op != tape.Text || !f.Fin || f.RSV != 0 || string(f.Payload) != w {
			t.Fatalf("got %v, want %q", f, w)
		}
	}
}
