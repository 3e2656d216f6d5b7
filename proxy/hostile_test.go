package proxy_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wstape/wstape/internal/wstest"
	"github.com/wstape/wstape/proxy"
	"github.com/wstape/wstape/tape"
)

// journal is the proxy's log.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// on makes a rig's proxy write into the journal.
func (j *journal) on(c *setup) { c.Log = slog.New(slog.NewTextHandler(j, nil)) }

// says waits until the log has a line with every word.
func (j *journal) says(t *testing.T, words ...string) {
	t.Helper()
	for end := time.Now().Add(wstest.Patience); ; {
		for line := range strings.Lines(j.String()) {
			if containsAll(line, words) {
				return
			}
		}
		if time.Now().After(end) {
			t.Fatalf("no line of the log has %q:\n%s", words, j.String())
		}
		runtime.Gosched()
	}
}

func containsAll(s string, words []string) bool {
	for _, w := range words {
		if !strings.Contains(s, w) {
			return false
		}
	}
	return true
}

// mob is many bad clients.
type mob struct {
	t     *testing.T
	conns []net.Conn
}

// come dials so many times; what the proxy closes at once is counted too.
func come(t *testing.T, r *rig, n int) *mob {
	t.Helper()
	m := &mob{t: t}
	for range n {
		conn, err := net.DialTimeout("tcp", r.addr, wstest.Patience)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(wstest.Patience))
		m.conns = append(m.conns, conn)
	}
	return m
}

// say makes each write the same; that some cannot any more does not matter.
func (m *mob) say(text string) {
	for _, conn := range m.conns {
		_, _ = io.WriteString(conn, text)
	}
}

// shown waits until the proxy has closed every connection, and returns what it said.
func (m *mob) shown() (answers []string) {
	m.t.Helper()
	for _, conn := range m.conns {
		b, err := io.ReadAll(conn)
		if ne, ok := err.(net.Error); ok && ne.Timeout() {
			m.t.Fatalf("a connection is still open; it said %q", b)
		}
		answers = append(answers, string(b))
	}
	return answers
}

// serving is how many goroutines a proxy has for itself, which may not have begun
// when a test looks.
const serving = 3

// calm waits until no more goroutines run than before an attack.
func calm(t *testing.T, before int) {
	t.Helper()
	for end := time.Now().Add(wstest.Patience); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines run, %d did before", runtime.NumGoroutine(), before)
		}
	}
}

// hurry makes a client that asks nothing go soon.
func hurry(c *setup) { c.HandshakeTimeout = 300 * time.Millisecond }

const halfRequest = "GET / HTTP/1.1\r\nHost: example.com\r\nX-Slow: "

// TestHostileClients who never get as far as a session. What they cost is gone
// when they are, the log names the limit, and not once for each of them.
func TestHostileClients(t *testing.T) {
	const many = 300
	endless := strings.Repeat("X-Endless: "+strings.Repeat("e", 1000)+"\r\n", 100)
	for _, a := range []struct {
		name   string
		setup  func(*setup)
		secure bool
		say    string
		answer string // how what they hear begins
		log    []string
	}{
		{"half a request", hurry, false, halfRequest, "", []string{"limit=limits.handshake_timeout"}},
		{"no request", hurry, false, "", "", []string{"limit=limits.handshake_timeout"}},
		{"half a long request", hurry, false, halfRequest + strings.Repeat("x", 5000), "", []string{"limits.handshake_timeout"}},
		{"half a TLS hello", hurry, true, "\x16\x03\x01\x02\x00\x01\x00", "", []string{"TLS handshake error"}},
		{"endless fields", patient, false, halfRequest + endless, "HTTP/1.1 431 ", []string{"limits.handshake_bytes"}},
		{"one endless field", patient, false, halfRequest + strings.Repeat("x", 100<<10), "HTTP/1.1 431 ", []string{"limits.handshake_bytes"}},
		{"garbage", patient, false, "\x00\xff\x00garbage\r\n\r\n", "HTTP/1.1 400 ", []string{"no request could be read"}},
		{"TLS without TLS", patient, false, "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00\r\n\r\n", "HTTP/1.1 400 ", []string{"no request could be read"}},
		{"garbage instead of TLS", patient, true, "\xff\xfe\xfd\xfc\xfb\xfa garbage garbage", "", []string{"TLS handshake error"}},
		{"too many", func(c *setup) { c.MaxConnections = 1 }, false, "", "", []string{"limit=limits.connections"}},
		{"a line break in a field", patient, false, "GET / HTTP/1.1\r\nHost: a\r\nX: a\rInjected: b\r\n\r\n", "HTTP/1.1 400 ", nil},
		{"a name with a space", patient, false, "GET / HTTP/1.1\r\nHost: a\r\nX : a\r\n\r\n", "HTTP/1.1 400 ", nil},
		{"a name with a space, for a WebSocket", patient, false, strings.Replace(wstest.Request("/"), "\r\n\r\n", "\r\nContent-Length : 5\r\n\r\n", 1), "HTTP/1.1 400 ", nil},
		{"two hosts", patient, false, "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", "HTTP/1.1 400 ", nil},
		{"two lengths", patient, false, "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "HTTP/1.1 400 ", nil},
	} {
		t.Run(a.name, func(t *testing.T) {
			log := &journal{}
			r := start(t, a.setup, log.on, func(c *setup) { c.clientSecure = a.secure })
			var first net.Conn
			if a.name == "too many" {
				first = come(t, r, 1).conns[0]
			}
			goroutines, before := runtime.NumGoroutine()+serving, heap()
			m := come(t, r, many)
			m.say(a.say)
			if grown := heap() - before; grown > many*100<<10 {
				t.Errorf("%d KiB for each of them", grown/many>>10)
			}
			answered := 0
			for _, answer := range m.shown() {
				if answer != "" {
					answered++
				}
				if a.answer != "" && answer != "" && !strings.HasPrefix(answer, a.answer) {
					t.Fatalf("answered %.60q", answer)
				}
			}
			if a.answer != "" && answered == 0 {
				t.Error("nobody is answered") // some may lose it to a reset, for they still send
			}
			calm(t, goroutines)
			if a.log != nil {
				log.says(t, a.log...)
			}
			if n := strings.Count(log.String(), "\n"); n > many/10 {
				t.Errorf("%d lines in the log", n)
			}
			if first != nil {
				_ = first.Close()
			}
			greet(t, r, a.secure)
		})
	}
}

// greet has a good client served.
func greet(t *testing.T, r *rig, secure bool) {
	t.Helper()
	for range 100 { // the place of a bad one may not be free yet
		var conn net.Conn
		var err error
		if conn, err = net.Dial("tcp", r.addr); err != nil {
			t.Fatal(err)
		}
		if secure {
			conn = tls.Client(conn, r.clientTo)
		}
		p := wstest.NewPeer(t, conn)
		if _, err = io.WriteString(conn, wstest.Request("/")); err != nil {
			continue
		}
		if _, err = p.In.Peek(0); err == nil {
			server := r.upstream.Accept()
			server.ReadHead()
			server.WriteString(wstest.Switching())
			if head := p.ReadHead(); !strings.HasPrefix(head, "HTTP/1.1 101 ") {
				t.Fatalf("a good client is answered %q", head)
			}
			part(p, server)
			return
		}
	}
	t.Fatal("a good client is not served any more")
}

// TestConnectionsAreCountedWhateverBecomesOfThem: more than fit come one after
// another, each in another way, and none keeps its place.
func TestConnectionsAreCountedWhateverBecomesOfThem(t *testing.T) {
	for _, secure := range []bool{false, true} {
		r := start(t, func(c *setup) { c.MaxConnections, c.MaxSessions, c.clientSecure = 2, 1, secure })
		for range 5 {
			client, server := r.open()
			refused := r.dial() // the second place
			refused.WriteString(wstest.Request("/"))
			if head := refused.ReadHead(); !strings.HasPrefix(head, "HTTP/1.1 503 ") {
				t.Fatalf("answered %q", head)
			}
			third, err := net.Dial("tcp", r.addr)
			if err != nil {
				t.Fatal(err)
			}
			_ = third.SetDeadline(time.Now().Add(wstest.Patience))
			if _, err := third.Read(make([]byte, 1)); err == nil {
				t.Fatal("the third connection is served")
			}
			_ = third.Close()
			_ = refused.Conn.Close()
			part(client, server)
			quiet(t, r)
			settled(t, r) // its place among the sessions becomes free a moment later
		}
	}
}

// quiet waits until no connection is counted.
func quiet(t *testing.T, r *rig) {
	t.Helper()
	for end := time.Now().Add(wstest.Patience); proxy.Clients(r.proxy) > 0; runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("%d connections are still counted", proxy.Clients(r.proxy))
		}
	}
}

// TestAnIdleConnectionOfPlainHTTPIsLetGo when it asks nothing more.
func TestAnIdleConnectionOfPlainHTTPIsLetGo(t *testing.T) {
	r := start(t, func(c *setup) { c.IdleTimeout = 100 * time.Millisecond })
	client := r.dial()
	client.WriteString("GET /page HTTP/1.1\r\nHost: example.com\r\n\r\n")
	server := r.upstream.Accept()
	server.ReadHead()
	server.WriteString("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
	if head := client.ReadHead(); !strings.HasPrefix(head, "HTTP/1.1 200 ") {
		t.Fatalf("answered %q", head)
	}
	if b, err := client.ReadAll(); err != nil || string(b) != "hi" {
		t.Errorf("then %q, %v", b, err)
	}
	quiet(t, r)
}

// TestAPeerThatNeverReads holds its sender back, in bounded memory, until
// limits.stall_timeout.
func TestAPeerThatNeverReads(t *testing.T) {
	for _, from := range tape.Sides() {
		for _, staged := range []bool{false, true} {
			log := &journal{}
			changes := []func(*setup){patient, log.on, func(c *setup) {
				c.StallTimeout, c.forgetful = 300*time.Millisecond, true
			}}
			if staged {
				changes = append(changes, (&play{}).on(t))
			}
			r := start(t, changes...)
			client, server := r.open()
			goroutines, before := runtime.NumGoroutine()+serving, heap()
			shrink(client.Conn, 16<<10)
			shrink(server.Conn, 16<<10)
			sender := map[tape.Side]*wstest.Peer{tape.Client: client, tape.Server: server}[from]
			frame := wstest.Bytes(wstest.Frame{Fin: true, Op: tape.Binary, Payload: make([]byte, 10_000)}.From(from))
			sent := 0
			for { // until the proxy has ended the session
				n, err := sender.Conn.Write(frame)
				if sent += n; err != nil {
					break
				}
			}
			if grown := heap() - before; grown > 8<<20 {
				t.Errorf("%d KiB grown", grown>>10)
			}
			r.ending(1, tape.Ending{Kind: tape.EndTimeout, From: of(from.Other()), Why: "limits.stall_timeout"})
			log.says(t, "limit=limits.stall_timeout", "session=1", "peer="+from.Other().String())
			calm(t, goroutines)
			if sent > 64<<20 {
				t.Errorf("%d bytes were taken", sent)
			}
		}
	}
}

// TestAStallEndsOnlyWhatStandsStill: a slow reader is none.
func TestAStallEndsOnlyWhatStandsStill(t *testing.T) {
	r := start(t, patient, func(c *setup) { c.StallTimeout, c.buffers, c.forgetful = 500*time.Millisecond, 16<<10, true })
	client, server := r.open()
	shrink(client.Conn, 16<<10)
	frame := wstest.Bytes(wstest.Frame{Fin: true, Op: tape.Binary, Payload: make([]byte, 2<<20)})
	size := len(frame)
	wrote := make(chan error, 1)
	go func() {
		_, err := server.Conn.Write(frame)
		wrote <- err
	}()
	tick := time.NewTicker(100 * time.Millisecond) // in all, well past the limit
	defer tick.Stop()
	got := 0
	for buf := make([]byte, 128<<10); got < size; <-tick.C {
		n, err := client.In.Read(buf)
		if err != nil {
			t.Fatalf("after %d bytes: %v", got, err)
		}
		got += n
		for n < len(buf) && got < size {
			more, err := client.In.Read(buf[n:])
			if err != nil {
				t.Fatalf("after %d bytes: %v", got, err)
			}
			n, got = n+more, got+more
		}
	}
	if err := <-wrote; err != nil {
		t.Error(err)
	}
	part(client, server)
}

// TestAFloodOfTinyFramesIsBounded: a message that a stage waits for may come in
// frames without end, of which only the headers take room.
func TestAFloodOfTinyFramesIsBounded(t *testing.T) {
	const flood = 1_200_000
	for _, payload := range []string{"", "x"} {
		p := &play{}
		r := start(t, func(c *setup) { c.MessageBytes, c.forgetful = 100<<10, true }, p.on(t))
		client, server := r.open()
		_ = server.Conn.SetDeadline(time.Now().Add(10 * wstest.Patience)) // under the race detector it is a lot
		_ = client.Conn.SetDeadline(time.Now().Add(10 * wstest.Patience))
		buf := make([]byte, 1<<20)
		before := heap()
		first := wstest.Bytes(wstest.New(tape.Text, payload).From(tape.Client).Part(false))
		rest := wstest.Bytes(wstest.New(tape.Continuation, payload).From(tape.Client).Part(false))
		last := wstest.Bytes(wstest.New(tape.Continuation, payload).From(tape.Client))
		want := len(first) + flood*len(rest) + len(last)
		wrote := make(chan error, 1)
		go func() {
			w := bufio.NewWriterSize(client.Conn, 64<<10)
			_, _ = w.Write(first)
			for range flood {
				_, _ = w.Write(rest)
			}
			_, _ = w.Write(last)
			wrote <- w.Flush()
		}()
		most, got := int64(0), 0
		for got < want {
			n, err := server.In.Read(buf)
			if err != nil {
				t.Fatalf("after %d of %d bytes: %v", got, want, err)
			}
			if got += n; got>>19 != (got-n)>>19 {
				most = max(most, heap()-before)
			}
		}
		if err := <-wrote; err != nil {
			t.Error(err)
		}
		if most > 6<<20 {
			t.Errorf("frames of %d bytes: %d MiB grown", len(payload), most>>20)
		}
		part(client, server)
	}
}

// TestLengthsThatLie: a frame that says it is as long as can be takes no more
// memory than what has come of it, with and without a stage.
func TestLengthsThatLie(t *testing.T) {
	for _, staged := range []bool{false, true} {
		var changes []func(*setup)
		if staged {
			changes = append(changes, (&play{}).on(t))
		}
		r := start(t, append(changes, func(c *setup) { c.forgetful = true })...)
		goroutines := runtime.NumGoroutine() + serving
		for _, length := range []uint64{1 << 40, 1<<63 - 1, 1 << 63, 1<<64 - 1} {
			client, server := r.open()
			before := heap()
			head := binary.BigEndian.AppendUint64([]byte{0x82, 0xff}, length)
			client.WriteString(string(head) + "mask" + strings.Repeat("x", 1<<20))
			client.CloseWrite()
			got, err := server.ReadAll()
			if err != nil || len(got) != len(head)+4+1<<20 {
				t.Fatalf("length %x: %d bytes came, %v", length, len(got), err)
			}
			if grown := heap() - before; grown > 16<<20 {
				t.Errorf("length %x: %d MiB grown", length, grown>>20)
			}
			part(client, server)
		}
		settled(t, r)
		calm(t, goroutines)
	}
}

func settled(t *testing.T, r *rig) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wstest.Patience)
	defer cancel()
	if err := proxy.Settle(ctx, r.proxy); err != nil {
		t.Fatal(err)
	}
}

// TestAPeerThatIsGoneWithoutAWord is noticed by asking it.
func TestAPeerThatIsGoneWithoutAWord(t *testing.T) {
	r := start(t, func(c *setup) { c.KeepAlive = time.Second })
	client, server := r.open()
	if !client.Vanish() {
		t.Skip("this system does not let a connection vanish without a word (TCP_REPAIR, CAP_NET_ADMIN)")
	}
	if _, err := server.In.ReadByte(); err == nil {
		t.Error("the server hears from a client that is gone")
	}
	r.ending(1, tape.Ending{Kind: tape.EndReset, From: of(tape.Client)})
}

// TestAnAnswerCannotBreakOutOfItsField: what net/http reads as one field goes to
// the client as one.
func TestAnAnswerCannotBreakOutOfItsField(t *testing.T) {
	r := start(t)
	client := r.dial()
	client.WriteString(wstest.Request("/"))
	server := r.upstream.Accept()
	server.ReadHead()
	server.WriteString(wstest.Switching("X-A: a\rX-Injected: b", "X-B: b\x00c"))
	res, err := http.ReadResponse(client.In, nil)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusBadGateway {
		t.Errorf("answered %s %q", res.Status, res.Header)
	}
}

// TestWhatWasOnItsWayBeforeTheCloseFrame is no flood: a server says more than a
// slow client takes, and answers the close frame as soon as it hears of it.
func TestWhatWasOnItsWayBeforeTheCloseFrame(t *testing.T) {
	for name, change := range map[string]func(*setup){"": func(*setup) {}, "strict": strict, "staged": new(play).on(t)} {
		t.Run(name, func(t *testing.T) {
			r, client, server := pair(t, tape.Client, patient, change)
			said := wstest.Bytes(wstest.New(tape.Text, strings.Repeat("a", 100)))
			var written atomic.Int64
			enough, done := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(done)
				for {
					select {
					case <-enough:
						return
					default:
					}
					if _, err := server.Conn.Write(said); err != nil {
						return
					}
					written.Add(1)
				}
			}()
			heldBack(&written)
			close(enough)
			wait, _ := r.shutdown()
			for op := tape.Text; op != tape.Close; {
				op = client.Receive().Op
			}
			client.Send(wstest.CloseFrame(1001, going).From(tape.Client))
			client.CloseWrite()
			<-done
			server.ExpectClose(1001, going)
			server.Send(wstest.CloseFrame(1001, going))
			server.CloseWrite()
			server.ExpectEOF()
			if err := wait(); err != nil {
				t.Errorf("shutdown: %v", err)
			}
		})
	}
}

// heldBack waits until a counter stands still.
func heldBack(n *atomic.Int64) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for last := int64(-1); n.Load() != last; <-tick.C {
		last = n.Load()
	}
}

// TestAFloodBehindTheCloseFrame of wstape's own is not listened to for long.
func TestAFloodBehindTheCloseFrame(t *testing.T) {
	for name, change := range map[string]func(*setup){"": func(*setup) {}, "strict": strict, "staged": new(play).on(t)} {
		t.Run(name, func(t *testing.T) {
			log := &journal{}
			r, client, server := pair(t, tape.Client, patient, log.on, change)
			wait, _ := r.shutdown()
			client.ExpectClose(1001, going)
			server.ExpectClose(1001, going)
			pings := bytes.Repeat(wstest.Bytes(wstest.New(tape.Ping, "").From(tape.Client)), 100)
			tick := time.NewTicker(2 * time.Millisecond) // as fast as a test can read it again
			defer tick.Stop()
			for {
				<-tick.C
				if _, err := client.Conn.Write(pings); err != nil { // at the latest when the peer's patience ends
					break
				}
			}
			_ = client.Conn.Close()
			_ = server.Conn.Close()
			if err := wait(); err != nil {
				t.Errorf("shutdown: %v", err)
			}
			r.ending(1, tape.Ending{Kind: tape.EndClose, Code: 1001, Reason: going})
			if n := len(r.frames(1, tape.Client)); n > 200_000 {
				t.Errorf("%d frames are on the tape", n)
			}
			log.says(t, "limit=limits.close_timeout", "peer=client")
		})
	}
}
