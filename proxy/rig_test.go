package proxy_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wstape/wstape/internal/wstest"
	"github.com/wstape/wstape/proxy"
	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/tape"
)

// rig is a proxy between raw peers, with a tape in memory.
type rig struct {
	t        *testing.T
	addr     string
	upstream *wstest.Server // raw; nil where a test brings its own
	proxy    *proxy.Proxy
	tape     *record.Memory
	recorder *record.Recorder
	clientTo *tls.Config // what a client dials with; nil for plain TCP
}

// setup is what a test may want to change of a rig.
type setup struct {
	proxy.Config
	upstream     string // address of the test's own upstream
	clientSecure bool   // wss to the proxy
	serverSecure bool   // wss to the upstream
	base         string // path of the upstream
	shape        func(*proxy.Upstream)
	buffers      int // of the proxy's accepted sockets; 0 for the system's
	stage        func(about tape.Session, h proxy.Handle) proxy.Stage
	forgetful    bool // the tape keeps no frames
}

func start(t *testing.T, changes ...func(*setup)) *rig {
	t.Helper()
	c := setup{}
	for _, change := range changes {
		change(&c)
	}
	r := &rig{t: t, tape: record.NewMemory()}
	serve, trust := wstest.TLSPair(t)
	scheme := "ws://"
	if c.upstream == "" {
		var secure *tls.Config
		if c.serverSecure {
			secure, scheme = serve, "wss://"
		}
		r.upstream = wstest.Listen(t, secure)
		c.upstream = r.upstream.Addr
	}
	if c.Routes == nil {
		u := parse(t, scheme+c.upstream+c.base)
		u.TLS = trust
		if c.shape != nil {
			c.shape(u)
		}
		c.Routes = []proxy.Route{{Upstream: u, Stage: c.stage}}
	}
	r.recorder = record.NewRecorder(r.tape, record.Options{Flush: time.Millisecond})
	c.Record = func(s tape.Session) (proxy.Tap, error) {
		tap, err := r.recorder.Begin(s)
		if c.forgetful {
			return forgetful{tap}, err
		}
		return &wary{Tap: tap, t: t}, err
	}
	r.proxy = proxy.New(c.Config)

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.addr = ln.Addr().String()
	if c.buffers > 0 {
		ln = smallBuffers{ln, c.buffers}
	}
	if c.clientSecure {
		r.clientTo = trust
		ln = tls.NewListener(ln, serve)
	}
	served := make(chan error, 1)
	go func() { served <- r.proxy.Serve(ln) }()
	t.Cleanup(func() {
		r.cut()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
		if err := r.recorder.Close(); err != nil {
			t.Errorf("close the recorder: %v", err)
		}
	})
	return r
}

// wary is a tap that wants nothing to be told it behind the end.
type wary struct {
	proxy.Tap
	t     *testing.T
	ended atomic.Bool
}

func (w *wary) awake(what string) {
	if w.ended.Load() {
		w.t.Errorf("%s behind the end", what)
	}
}

func (w *wary) Parts(from tape.Side, leg tape.Leg, parts []tape.Part) {
	w.awake("frames")
	w.Tap.Parts(from, leg, parts)
}

func (w *wary) Decided(d tape.Decision, out []tape.Part) {
	w.awake("a decision")
	w.Tap.Decided(d, out)
}

func (w *wary) Note(text, by string) {
	w.awake("a note")
	w.Tap.Note(text, by)
}

func (w *wary) Tag(key, value string) {
	w.awake("a tag")
	w.Tap.Tag(key, value)
}

func (w *wary) End(e tape.Ending) {
	if w.ended.Swap(true) {
		w.t.Error("ended twice")
	}
	w.Tap.End(e)
}

// forgetful is a tap that keeps no frames.
type forgetful struct{ proxy.Tap }

func (forgetful) Parts(tape.Side, tape.Leg, []tape.Part) {}
func (forgetful) Decided(tape.Decision, []tape.Part)     {}

// serve runs a proxy for a test and connects to it.
func serve(t *testing.T, p *proxy.Proxy) *wstest.Peer {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- p.Serve(ln) }()
	t.Cleanup(func() {
		_ = p.Shutdown(context.Background())
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return wstest.Dial(t, ln.Addr().String(), nil)
}

// cut shuts the proxy down without waiting for anybody.
func (r *rig) cut() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = r.proxy.Shutdown(ctx)
}

// smallBuffers makes the kernel hold little, so that back-pressure is felt soon.
type smallBuffers struct {
	net.Listener
	size int
}

func (l smallBuffers) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		shrink(conn, l.size)
	}
	return conn, err
}

func shrink(conn net.Conn, size int) {
	_ = conn.(*net.TCPConn).SetReadBuffer(size)
	_ = conn.(*net.TCPConn).SetWriteBuffer(size)
}

func parse(t *testing.T, s string) *proxy.Upstream {
	t.Helper()
	u, err := proxy.ParseUpstream(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// patient lets a session stand still behind a close frame for longer than any test.
func patient(c *setup) { c.CloseTimeout = 10 * time.Minute }

func strict(c *setup) { c.Strict = true }

// dial connects a raw client to the proxy.
func (r *rig) dial() *wstest.Peer {
	r.t.Helper()
	return wstest.Dial(r.t, r.addr, r.clientTo)
}

// open makes a session. What is named in fields is granted by the upstream.
func (r *rig) open(fields ...string) (client, server *wstest.Peer) {
	r.t.Helper()
	client = r.dial()
	client.WriteString(wstest.Request("/", fields...))
	server = r.upstream.Accept()
	server.ReadHead()
	server.WriteString(wstest.Switching(fields...))
	if head := client.ReadHead(); !strings.HasPrefix(head, "HTTP/1.1 101 ") {
		r.t.Fatalf("answered %q", head)
	}
	return client, server
}

// forbid has the upstream refuse a client's handshake.
func (r *rig) forbid(target string) {
	r.t.Helper()
	client := r.dial()
	client.WriteString(wstest.Request(target))
	server := r.upstream.Accept()
	server.ReadHead()
	server.WriteString("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
	client.ReadHead()
}

// ended waits until a session has come to its end.
func (r *rig) ended(n uint64) record.Entry {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wstest.Patience)
	defer cancel()
	for version := uint64(0); ; {
		var err error
		if version, err = r.tape.Wait(ctx, version); err != nil {
			r.t.Fatalf("session %d has not ended: %v", n, err)
		}
		entry, err := r.tape.Session(ctx, n)
		if err != nil && !errors.Is(err, record.ErrNotFound) {
			r.t.Fatal(err)
		}
		if err == nil && entry.Ending != nil { // a refusal is on the tape before its end is
			return entry
		}
	}
}

// ending waits for a session's end and compares how it ended.
func (r *rig) ending(n uint64, want tape.Ending) {
	r.t.Helper()
	got := *r.ended(n).Ending
	why := strings.Contains(got.Why, want.Why)
	if got.Kind != want.Kind || got.Code != want.Code || got.Reason != want.Reason || !why || whose(got.From) != whose(want.From) {
		r.t.Errorf("session %d ended with %s %d %q from %s, why %q; want %s %d %q from %s, why %q", n,
			got.Kind, got.Code, got.Reason, whose(got.From), got.Why, want.Kind, want.Code, want.Reason, whose(want.From), want.Why)
	}
}

func whose(from *tape.Side) string {
	if from == nil {
		return "nobody"
	}
	return from.String()
}

func of(from tape.Side) *tape.Side { return &from }

// frames reads a session's frames back from the tape, those of one side.
func (r *rig) frames(n uint64, from tape.Side) []*tape.Frame {
	r.t.Helper()
	var out []*tape.Frame
	for f, err := range record.Frames(context.Background(), r.tape, n, record.ReadOptions{}) {
		if err != nil {
			r.t.Fatal(err)
		}
		if f.From == from {
			out = append(out, f)
		}
	}
	return out
}

// notes reads a session's notes back.
func (r *rig) notes(n uint64) (notes []string) {
	r.t.Helper()
	for line, err := range record.Lines(context.Background(), r.tape, n, record.ReadOptions{}) {
		if err != nil {
			r.t.Fatal(err)
		}
		if line.Note != nil {
			notes = append(notes, line.Note.Text)
		}
	}
	return notes
}
