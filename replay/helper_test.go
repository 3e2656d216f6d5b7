package replay

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/wstape/wstape/internal/wstest"
	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/tape"
)

// forSeeds runs a test n times, each time with a random source of its own whose
// seed is logged. With WSTAPE_SEED set it runs once, with that.
func forSeeds(t *testing.T, n int, test func(t *testing.T, rng *rand.Rand)) {
	if os.Getenv("WSTAPE_SEED") != "" {
		n = 1
	}
	for i := range n {
		t.Run(fmt.Sprint(i), func(t *testing.T) { test(t, wstest.Rand(t)) })
	}
}

// loadText reads a cassette and prepares it for a player.
func loadText(t testing.TB, role tape.Side, cassette string, matching Matching) *Recording {
	t.Helper()
	r, err := tryLoad(role, []byte(cassette), matching)
	if err != nil {
		t.Fatalf("%v, of the cassette\n%s", err, cassette)
	}
	return r
}

func tryLoad(role tape.Side, cassette []byte, matching Matching) (*Recording, error) {
	ctx := context.Background()
	memory := record.NewMemory()
	numbers, err := record.ReadCassette(ctx, bytes.NewReader(cassette), memory)
	if err != nil {
		return nil, err
	}
	var sources []Source
	for _, n := range numbers {
		sources = append(sources, Source{memory, n, sessionName(n)})
	}
	return Load(ctx, role, sources, matching)
}

// began is when the sessions of the tables were recorded; they are played later.
func began() time.Time    { return time.Date(2026, 3, 28, 21, 30, 0, 0, time.UTC) }
func replayed() time.Time { return time.Date(2026, 11, 22, 10, 11, 12, 0, time.UTC) }

// session writes the first line of a cassette; each extra is one more key.
func session(extra ...string) string {
	keys := append([]string{`"started":"` + began().Format(time.RFC3339Nano) + `"`}, extra...)
	return `{"wstape":1,"session":{` + strings.Join(keys, ",") + "}}\n"
}

// at writes a text message, C for the client's: at(1.5, "C", "hello").
func at(t float64, from, text string) string {
	return fmt.Sprintf(`{"t":%v,"from":%q,"text":%s}`+"\n", t, side(from), quote(text))
}

func side(letter string) tape.Side {
	if letter == "C" {
		return tape.Client
	}
	return tape.Server
}

// closing writes a close frame.
func closing(t float64, from string, code int, reason string) string {
	return fmt.Sprintf(`{"t":%v,"from":%q,"op":"close","code":%d,"reason":%s}`+"\n", t, side(from), code, quote(reason))
}

func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// text is a text message.
func text(s string) tape.Content {
	return tape.Content{Op: tape.Text, Payload: []byte(s), Len: uint64(len(s))}
}

func binary(s string) tape.Content {
	c := text(s)
	c.Op = tape.Binary
	return c
}

// content writes a message briefly.
func content(c *tape.Content) string {
	switch {
	case c == nil:
		return "nothing"
	case c.Op == tape.Text && utf8.Valid(c.Payload):
		return string(c.Payload)
	}
	return fmt.Sprintf("%v %q", c.Op, c.Payload)
}

// scene is one play on a clock of its own, with a peer that does what the test says.
type scene struct {
	t     testing.TB
	play  *Play
	run   *Run
	start time.Time
	now   time.Time
	sent  []string // what the player did, with the time: "1.5 hello"
	done  bool
}

// open begins to play the first session of a recording.
func open(t testing.TB, r *Recording, opts Playing) *scene { return openSession(t, NewRun(r), 0, opts) }

func openSession(t testing.TB, run *Run, session int, opts Playing) *scene {
	s := &scene{t: t, run: run, play: NewPlay(run, run.recording.Plans[session], opts), start: replayed(), now: replayed()}
	s.play.Open(s.now, nil)
	return s
}

// act lets the player do what is due.
func (s *scene) act() (wait time.Time) {
	for range 10000 {
		if s.done {
			return time.Time{}
		}
		a := s.play.Next(s.now)
		switch {
		case a.Send != nil:
			s.note(content(&tape.Content{Op: a.Send.Op, Payload: a.Payload}))
			s.play.Sent(a.Payload, s.now)
		case a.End != nil:
			s.note(endingText(a.End))
			s.done = true
		case a.Live:
			s.note("live")
			s.done = true
		case a.Done:
			s.done = true
		default:
			return a.Until
		}
	}
	s.t.Fatal("the player does not come to rest")
	return time.Time{}
}

func (s *scene) note(what string) {
	s.sent = append(s.sent, fmt.Sprintf("%v %s", s.now.Sub(s.start).Seconds(), what))
}

// until lets the time pass up to so many seconds after the beginning.
func (s *scene) until(seconds float64) *scene {
	end := s.start.Add(time.Duration(seconds * float64(time.Second)))
	for {
		wait := s.act()
		if s.done || wait.IsZero() || wait.After(end) {
			break
		}
		if !wait.After(s.now) {
			s.t.Fatalf("the player waits for %v, which it is already", wait)
		}
		s.now = wait
	}
	if end.After(s.now) {
		s.now = end
		s.act()
	}
	return s
}

// rest lets the player go on until it is done.
func (s *scene) rest() *scene {
	s.until(24 * 3600)
	if !s.done {
		s.t.Errorf("the player is not done after a day")
	}
	return s
}

// hears gives the player messages at a time.
func (s *scene) hears(seconds float64, messages ...tape.Content) *scene {
	s.until(seconds)
	for _, m := range messages {
		s.play.Received(m, s.now)
		s.act()
	}
	return s
}

// ends ends the connection from the peer's side.
func (s *scene) ends(seconds float64, e tape.Ending) *scene {
	s.until(seconds)
	s.play.Ended(e, s.now)
	s.act()
	return s
}

func closes(code int, reason string) tape.Ending {
	return tape.Ending{Kind: tape.EndClose, Code: code, Reason: reason}
}

// did compares what the player did.
func (s *scene) did(want ...string) *scene {
	s.t.Helper()
	if got := strings.Join(s.sent, "\n"); got != strings.Join(want, "\n") {
		s.t.Errorf("the player did\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
	return s
}

// held wants the session to have gone as recorded.
func (s *scene) held() {
	s.t.Helper()
	if o := s.play.Outcome; !o.Held() || len(o.Skipped) > 0 {
		s.t.Errorf("it did not hold:\n%s", mismatches(o))
	}
}

// mismatches writes what went wrong, a line each.
func mismatches(o *Outcome) string {
	var b strings.Builder
	for i, m := range append(append([]Mismatch(nil), o.Mismatches...), o.Skipped...) {
		which := ""
		if i >= len(o.Mismatches) {
			which = "skipped "
		}
		fmt.Fprintf(&b, "%s: %s%s\n", o.Session, which, mismatch(&m))
	}
	return b.String()
}

// mismatch writes what matters of a mismatch in one line.
func mismatch(m *Mismatch) string {
	s := fmt.Sprintf("%s at step %d of %v: expected %s, received %s", m.Kind, m.Step, m.From, content(m.Expected), content(m.Received))
	for _, d := range m.Diff {
		s += fmt.Sprintf("; %s %s -> %s", d.Path, d.Want, d.Got)
	}
	if n := m.Nearest; n != nil {
		s += fmt.Sprintf("; near step %d", n.Step)
		if n.Same {
			s += ", same"
		}
	}
	return s
}

// memoryListener accepts the connections that its dial makes, without sockets,
// so that it works on a virtual clock.
type memoryListener struct {
	conns  chan net.Conn
	closed chan struct{}
}

func newMemoryListener() *memoryListener {
	return &memoryListener{make(chan net.Conn), make(chan struct{})}
}

func (l *memoryListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *memoryListener) Close() error {
	select {
	case <-l.closed:
	default:
		close(l.closed)
	}
	return nil
}

func (l *memoryListener) Addr() net.Addr { return &net.UnixAddr{Name: "memory", Net: "unix"} }

func (l *memoryListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	up, down := newMemoryStream(), newMemoryStream()
	select {
	case l.conns <- &memoryConn{up, down}:
		return &memoryConn{down, up}, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// memoryConn is a connection in memory. Unlike a net.Pipe it has buffers, as TCP
// has: two ends that answer a ping at the same time do not wait for each other.
type memoryConn struct{ in, out *memoryStream }

// memoryStream is one direction of it.
type memoryStream struct {
	mu      sync.Mutex
	data    []byte
	ended   bool          // nothing more will be written
	gone    bool          // nobody reads any more
	changed chan struct{} // closed at the next change
	until   [2]time.Time  // deadlines of reading and writing
}

const memoryBuffer = 16 << 10

func newMemoryStream() *memoryStream { return &memoryStream{changed: make(chan struct{})} }

// change changes a stream and wakes who waits for it.
func (s *memoryStream) change(f func()) {
	s.mu.Lock()
	f()
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
}

// try repeats something until it is done or fails.
func (s *memoryStream) try(writing int, f func() (bool, error)) error {
	for {
		s.mu.Lock()
		changed, until := s.changed, s.until[writing]
		done, err := f()
		if done && err == nil {
			close(s.changed)
			s.changed = make(chan struct{})
		}
		s.mu.Unlock()
		if done || err != nil {
			return err
		}
		var expired <-chan time.Time
		if !until.IsZero() {
			if !time.Now().Before(until) {
				return os.ErrDeadlineExceeded
			}
			timer := time.NewTimer(time.Until(until))
			defer timer.Stop()
			expired = timer.C
		}
		select {
		case <-changed:
		case <-expired:
		}
	}
}

func (c *memoryConn) Read(p []byte) (n int, err error) {
	s := c.in
	err = s.try(0, func() (bool, error) {
		switch {
		case s.gone:
			return true, net.ErrClosed
		case len(s.data) == 0 && s.ended:
			return true, io.EOF
		}
		n = copy(p, s.data)
		s.data = s.data[n:]
		return n > 0 || len(p) == 0, nil
	})
	return n, err
}

func (c *memoryConn) Write(p []byte) (n int, err error) {
	s := c.out
	for err == nil && n < len(p) {
		err = s.try(1, func() (bool, error) {
			if s.ended || s.gone {
				return true, io.ErrClosedPipe
			}
			k := min(len(p)-n, memoryBuffer-len(s.data))
			s.data = append(s.data, p[n:n+k]...)
			n += k
			return k > 0, nil
		})
	}
	return n, err
}

func (c *memoryConn) CloseWrite() error {
	c.out.change(func() { c.out.ended = true })
	return nil
}

func (c *memoryConn) Close() error {
	c.in.change(func() { c.in.gone = true })
	return c.CloseWrite()
}

func (c *memoryConn) SetReadDeadline(t time.Time) error {
	c.in.change(func() { c.in.until[0] = t })
	return nil
}

func (c *memoryConn) SetWriteDeadline(t time.Time) error {
	c.out.change(func() { c.out.until[1] = t })
	return nil
}

func (c *memoryConn) SetDeadline(t time.Time) error {
	_ = c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

func (c *memoryConn) LocalAddr() net.Addr  { return &net.UnixAddr{Name: "memory", Net: "unix"} }
func (c *memoryConn) RemoteAddr() net.Addr { return &net.UnixAddr{Name: "memory", Net: "unix"} }
