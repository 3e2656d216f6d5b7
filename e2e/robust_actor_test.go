package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/wstape/wstape/internal/wstest"
	"github.com/wstape/wstape/tape"
)

// actor is one end of a session: it plays its side of an act and keeps the
// history of what it sent and received. It knows nothing of wstape.
type actor struct {
	act  *act
	side tape.Side
	rng  *rand.Rand
	conn *net.TCPConn
	in   *bufio.Reader

	heardClose chan struct{} // closed when a close frame has come
	readerDone chan struct{}

	mu      sync.Mutex
	sent    []turn // begun to be written
	got     []byte
	marks   []mark // when
	ending  error  // how reading ended: io.EOF for an EOF
	closing bool   // a close frame of its own is among what it sent
	opened  time.Time
	done    time.Time
	refused bool
}

// mark says that so many bytes had been received then.
type mark struct {
	n  int
	at time.Time
}

func newActor(a *act, side tape.Side, seed uint64) *actor {
	return &actor{act: a, side: side, rng: rand.New(rand.NewPCG(seed, uint64(side)+7)), heardClose: make(chan struct{}), readerDone: make(chan struct{})}
}

// call dials the proxy and plays the client.
func (a *actor) call(addr string) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		a.never(err)
		return
	}
	a.conn = conn.(*net.TCPConn)
	defer a.conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	head := []byte(wstest.Request(a.act.path, offer(a.act.deflate)...))
	turns := a.act.turns[a.side]
	if a.act.early && !a.act.refused {
		head = append(head, a.begin(&turns[0])...)
		turns = turns[1:]
	}
	if _, err := conn.Write(head); err != nil {
		a.never(err)
		return
	}
	a.in = bufio.NewReader(conn)
	res, err := http.ReadResponse(a.in, nil)
	if err != nil {
		a.never(err)
		return
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		body, err := io.ReadAll(res.Body)
		a.mu.Lock()
		a.refused = err == nil && res.StatusCode == http.StatusForbidden && string(body) == refusal
		a.mu.Unlock()
		a.never(fmt.Errorf("%s: %s", res.Status, body))
		return
	}
	a.play(turns)
}

const refusal = "not today"

func offer(deflate string) []string {
	switch deflate {
	case takeover:
		return []string{"Sec-WebSocket-Extensions: permessage-deflate"}
	case noTakeover:
		return []string{"Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover; server_no_context_takeover"}
	}
	return nil
}

// answer plays the server on a connection whose request has been read.
func (a *actor) answer(conn *net.TCPConn, in *bufio.Reader) {
	a.conn, a.in = conn, in
	if a.act.refused {
		_, err := fmt.Fprintf(conn, "HTTP/1.1 403 Forbidden\r\nContent-Length: %d\r\n\r\n%s", len(refusal), refusal)
		a.never(errors.Join(errors.New("refused"), err))
		return
	}
	head := []byte(wstest.Switching(offer(a.act.deflate)...))
	turns := a.act.turns[a.side]
	if a.act.early {
		head = append(head, a.begin(&turns[0])...)
		turns = turns[1:]
	}
	if _, err := conn.Write(head); err != nil {
		a.never(err)
		return
	}
	a.play(turns)
}

// never ends what did not come to be a session.
func (a *actor) never(err error) {
	close(a.readerDone)
	a.finish(err)
}

func (a *actor) finish(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ending == nil {
		a.ending = err
	}
	a.done = time.Now()
}

// begin notes that a turn is about to be written.
func (a *actor) begin(t *turn) []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sent = append(a.sent, *t)
	return t.bytes()
}

// play says the turns and ends as the act wants it.
func (a *actor) play(turns []turn) {
	a.mu.Lock()
	a.opened = time.Now()
	a.mu.Unlock()
	go a.listen()
	a.speak(turns)
	<-a.readerDone
	a.finish(nil)
}

func (a *actor) speak(turns []turn) {
	for i := range turns {
		if !a.pause(turns[i].pause) {
			a.sayClose()
			return
		}
		if !a.write(&turns[i]) {
			return
		}
	}
	if a.act.ender == a.side {
		a.end()
		return
	}
	select {
	case <-a.heardClose:
		a.sayClose()
	case <-a.readerDone:
		_ = a.conn.CloseWrite()
	}
}

// pause waits; false when a close frame has come.
func (a *actor) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-a.heardClose:
	}
	select {
	case <-a.heardClose:
		return false
	default:
		return true
	}
}

func (a *actor) write(t *turn) bool {
	b := a.begin(t)
	if len(b) > 2000 || a.rng.IntN(3) > 0 {
		_, err := a.conn.Write(b)
		return err == nil
	}
	return wstest.WriteCut(a.conn, a.rng, b, 1+a.rng.IntN(len(b)+1)) == nil
}

// closeCode is what an act's ender closes with.
const closeCode, closeReason = 4321, "that is all"

func (a *actor) end() {
	switch a.act.ends {
	case endClose:
		a.sayClose()
	case endEOF:
		_ = a.conn.CloseWrite()
	case endCut:
		f := withKey(a.rng, a.side, wstest.New(tape.Binary, "this frame does not end"))
		b := wstest.Bytes(f)
		a.write(&turn{raw: b[:1+a.rng.IntN(len(b)-1)]})
		_ = a.conn.CloseWrite()
	case endGarbage:
		a.write(&turn{raw: append([]byte{0x82, 0x7f, 0xff, 0, 0, 0, 0, 0, 0, 0}, noiseBytes(a.rng, a.rng.IntN(5000))...)})
		_ = a.conn.CloseWrite()
	case endReset:
		_ = a.conn.SetLinger(0)
		_ = a.conn.Close()
	}
}

// sayClose sends a close frame. The server then lets go of the connection first
// (RFC 6455 section 7.1.1), as soon as it has heard the client's.
func (a *actor) sayClose() {
	a.mu.Lock()
	a.closing = true
	a.mu.Unlock()
	if !a.write(&turn{frames: []wstest.Frame{withKey(a.rng, a.side, wstest.CloseFrame(closeCode, closeReason))}}) || a.side == tape.Client {
		return
	}
	select {
	case <-a.heardClose:
	case <-a.readerDone:
	}
	_ = a.conn.CloseWrite()
}

// listen reads until the end.
func (a *actor) listen() {
	defer close(a.readerDone)
	var err error
	if a.act.chaos {
		_, err = io.Copy(io.Discard, hearing{a})
		if err == nil {
			err = io.EOF
		}
	} else {
		err = a.follow(bufio.NewReader(hearing{a}))
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ending = err
}

// follow reads frames and looks for a close frame; after what is none it only reads.
func (a *actor) follow(in *bufio.Reader) error {
	closed := false
	for {
		head, err := in.Peek(2)
		if err == nil && head[1]&0x7f == 127 {
			head, err = in.Peek(10)
		}
		if err == nil && len(head) == 10 && head[2]&0x80 != 0 {
			_, err = io.Copy(io.Discard, in)
			if err == nil {
				err = io.EOF
			}
			return err
		}
		if err != nil {
			_, _ = io.Copy(io.Discard, in) // what was there beside it has been noted
			return err
		}
		f, err := wstest.Read(in)
		if err != nil {
			if errors.Is(err, io.ErrUnexpectedEOF) {
				err = io.EOF
			}
			return err
		}
		if f.Op == tape.Close && !closed {
			closed = true
			close(a.heardClose)
		}
	}
}

// hearing reads an actor's connection and notes what came when.
type hearing struct{ *actor }

func (h hearing) Read(p []byte) (int, error) {
	n, err := h.in.Read(p)
	at := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	if n > 0 {
		h.got = append(h.got, p[:n]...)
		h.marks = append(h.marks, mark{len(h.got), at})
	}
	return n, err
}

// history is a copy of what an actor has seen so far.
type history struct {
	sent    []turn
	got     []byte
	marks   []mark
	ending  error
	closing bool
	opened  time.Time
	done    time.Time
	refused bool
}

func (a *actor) history() history {
	a.mu.Lock()
	defer a.mu.Unlock()
	return history{sent: a.sent[:len(a.sent):len(a.sent)], got: a.got[:len(a.got):len(a.got)], marks: a.marks[:len(a.marks):len(a.marks)],
		ending: a.ending, closing: a.closing, opened: a.opened, done: a.done, refused: a.refused}
}

// due is how many of the received bytes are due to be on the tape.
func (h *history) due(due func(time.Time) bool) (n int) {
	for _, m := range h.marks {
		if !due(m.at) {
			break
		}
		n = m.n
	}
	return n
}

// at is when the n-th byte had come.
func (h *history) at(n int) time.Time {
	i := sort.Search(len(h.marks), func(i int) bool { return h.marks[i].n >= n })
	return h.marks[i].at
}

// bytes is all that was begun to be sent.
func (h *history) bytes() []byte {
	var b bytes.Buffer
	for i := range h.sent {
		b.Write(h.sent[i].bytes())
	}
	return b.Bytes()
}

// eof reports whether the end was an orderly one.
func (h *history) eof() bool { return errors.Is(h.ending, io.EOF) }

// upstream is the server that all proxies of a seed relay to.
type upstream struct {
	ln    net.Listener
	tasks sync.WaitGroup
	mu    sync.Mutex
	cast  map[string]*actor // by path
	lost  []string          // what came that nobody had sent
}

func startUpstream() (*upstream, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	u := &upstream{ln: ln, cast: map[string]*actor{}}
	u.tasks.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			u.tasks.Go(func() { u.serve(conn.(*net.TCPConn)) })
		}
	})
	return u, nil
}

func (u *upstream) serve(conn *net.TCPConn) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	in := bufio.NewReader(conn)
	req, err := http.ReadRequest(in)
	if err != nil {
		return // the proxy was killed meanwhile
	}
	u.mu.Lock()
	a := u.cast[req.URL.Path]
	delete(u.cast, req.URL.Path)
	if a == nil || !strings.EqualFold(req.Header.Get("Upgrade"), "websocket") {
		u.lost = append(u.lost, req.Method+" "+req.URL.Path)
	}
	u.mu.Unlock()
	if a != nil {
		a.answer(conn, in)
	}
}

func (u *upstream) expect(a *actor) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.cast[a.act.path] = a
}

func (u *upstream) close() {
	_ = u.ln.Close()
	u.tasks.Wait()
}
