package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/wstape/wstape/internal/drain"
	"github.com/wstape/wstape/internal/wire"
	"github.com/wstape/wstape/tape"
)

// session is one WebSocket connection on its way through the proxy.
type session struct {
	proxy    *Proxy
	tap      meter
	upstream string
	client   string       // its address
	path     string       // that it asked for
	legs     [2]net.Conn  // by side
	links    [2]link      // by the side that sends
	stage    Stage        // nil if nobody decides about messages
	ways     [2]*way      // of the links; nil without a stage
	ended    atomic.Int32 // links that are done
	eofs     atomic.Int32 // those of them that came to an EOF

	// What the links look at after every read. Each is set once, and then the
	// links are woken: by a deadline, or by closing what they read.
	hanging atomic.Pointer[hangup] // send this close frame and stop passing on
	gone    atomic.Bool            // the session is over: connections are being closed

	winding atomic.Bool  // the session is ending, and may be still for CloseTimeout only
	moved   atomic.Int64 // while it is winding by itself: when bytes last moved, since began
	began   time.Time

	stalls [2]stall // of the links, by the side that sends

	torn [2]atomic.Bool // by side: a write to it was answered with a reset, which reading may not tell

	mu     sync.Mutex
	taped  bool                    // the tape takes nothing more of this session
	ending *tape.Ending            // the first reason wins
	abort  context.CancelCauseFunc // of the handshake
	clock  *time.Timer             // runs while the session is winding
}

// hangup is a close that wstape itself decides on.
type hangup struct {
	code   int
	reason string
	by     string
	ending *tape.Ending // how the session ended; nil means the close frame itself
}

func newSession(p *Proxy, tap Tap) *session {
	s := &session{proxy: p, tap: meter{Tap: tap, figures: &p.figures}, began: time.Now()}
	for _, from := range tape.Sides() {
		s.links[from].session, s.links[from].from = s, from
	}
	return s
}

// start runs both links; the last one to end ends the session.
func (s *session) start(client net.Conn, clientEarly []byte, server net.Conn, serverEarly []byte, c wire.Compression) {
	s.mu.Lock()
	s.legs = [2]net.Conn{client, server}
	s.mu.Unlock()
	if s.gone.Load() { // before there are links, which set it too
		s.closeLegs() // a shutdown ran out of patience while the handshake was under way
	}
	early := [2][]byte{clientEarly, serverEarly}
	for _, from := range tape.Sides() {
		if w := s.ways[from]; w != nil {
			w.compressed(c.On, c.On && !c.NoTakeover[from])
		}
		l := &s.links[from] // a stage's goroutines may be looking at it
		l.src, l.dst, l.walker = newSource(s.legs[from]), s.legs[from.Other()], wire.NewWalker(from, c.On)
		if s.proxy.config.Strict {
			l.guard = new(guard)
		}
	}
	for _, from := range tape.Sides() {
		go s.links[from].run(early[from])
	}
	if s.hanging.Load() != nil {
		s.wake() // the shutdown came while the handshake was under way
	}
}

// finish is called by each link when it is done; the second call ends the session.
func (s *session) finish() {
	if s.ended.Add(1) < 2 {
		return
	}
	s.closeLegs()
	s.proxy.farewell()
	s.mu.Lock()
	ending := s.ending
	if s.clock != nil {
		s.clock.Stop()
	}
	s.mu.Unlock()
	if ending == nil {
		ending = &tape.Ending{Kind: tape.EndEOF}
	}
	s.over(*ending)
	s.proxy.leave(s)
}

// over ends the session for those who watch it.
func (s *session) over(e tape.Ending) {
	if s.stage != nil {
		for _, w := range s.ways {
			w.unsent(w.end(), "the session had ended")
		}
		s.stage.Closed(e)
	}
	s.mu.Lock()
	s.taped = true
	s.mu.Unlock()
	s.tap.End(e)
	s.logOver(&e)
}

// setAbort says what ends the handshake; nil when it is over, so that a session
// does not keep what belonged to it.
func (s *session) setAbort(abort context.CancelCauseFunc) {
	s.mu.Lock()
	s.abort = abort
	s.mu.Unlock()
	if abort != nil && s.hanging.Load() != nil {
		abort(errClosing) // the shutdown came before there was anything to abort
	}
}

// end notes why the session ends; the first reason stays.
func (s *session) end(e tape.Ending) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ending == nil {
		s.ending = &e
	}
}

// hangUp makes both links send a close frame at the next frame boundary, and
// pass on nothing more. A session that is ending by itself is left to it.
func (s *session) hangUp(h *hangup) {
	e := tape.Ending{Kind: tape.EndClose, Code: h.code, Reason: h.reason}
	if h.ending != nil {
		e = *h.ending
	}
	s.mu.Lock()
	first := s.ending == nil
	if first {
		s.ending = &e
		s.hanging.Store(h)
	}
	if s.abort != nil {
		s.abort(errors.New(h.reason))
	}
	s.mu.Unlock()
	if first {
		s.wake()
		s.wind()
	}
}

// wind bounds how long the session may stand still: one direction has ended, or
// a close frame has been seen.
func (s *session) wind() {
	s.touch()
	if !s.winding.CompareAndSwap(false, true) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock = time.AfterFunc(s.proxy.config.CloseTimeout, s.expire)
}

// touch notes that bytes have moved. Once wstape itself ends a session, they do not
// prolong it.
func (s *session) touch() {
	if !s.winding.Load() || s.hanging.Load() == nil {
		s.moved.Store(int64(time.Since(s.began)))
	}
}

// expire ends a winding session that stands still, be it that a peer says
// nothing or that it takes nothing.
func (s *session) expire() {
	patience := s.proxy.config.CloseTimeout
	still := time.Since(s.began) - time.Duration(s.moved.Load())
	if s.gone.Load() {
		return
	}
	if still < patience {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.clock.Reset(patience - still)
		return
	}
	s.end(tape.Ending{Kind: tape.EndTimeout, Why: fmt.Sprintf("nothing moved for %v after the session had begun to end (limits.close_timeout)", patience)})
	s.closeLegs()
}

// wake makes both links look at the session's state.
func (s *session) wake() {
	for _, from := range tape.Sides() {
		s.signalWay(from)
		s.wakeLeg(from)
	}
}

// wakeLeg ends the reading of one leg.
func (s *session) wakeLeg(side tape.Side) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if conn := s.legs[side]; conn != nil {
		_ = conn.SetReadDeadline(time.Unix(1, 0))
	}
}

// signalWay ends a link's wait for its stage.
func (s *session) signalWay(from tape.Side) {
	if w := s.ways[from]; w != nil {
		select {
		case w.signal <- struct{}{}:
		default:
		}
	}
}

// cut ends the session at once.
func (s *session) cut() {
	s.end(tape.Ending{Kind: tape.EndTimeout, Why: "wstape shut down before the session had ended"})
	s.closeLegs()
}

// closeLegs closes both connections; the links end by that.
func (s *session) closeLegs() {
	s.gone.Store(true)
	s.mu.Lock()
	for _, conn := range s.legs {
		if conn != nil {
			_ = conn.Close()
		}
	}
	s.mu.Unlock()
	for _, from := range tape.Sides() {
		s.signalWay(from)
	}
}

// reset passes a reset on to the other leg, after what was already accepted for
// sending there has drained.
func (s *session) reset(to tape.Side) {
	s.gone.Store(true)
	conn := s.legs[to]
	raw := conn
	if t, ok := conn.(interface{ NetConn() net.Conn }); ok {
		raw = t.NetConn()
	}
	if tcp, ok := raw.(*net.TCPConn); ok {
		drain.TCP(tcp, time.Second)
		_ = tcp.SetLinger(0)
	}
	_ = raw.Close()
	_ = s.legs[to.Other()].Close()
	s.signalWay(to.Other())
	s.signalWay(to)
}

// closeWrite passes an EOF on: close_notify under TLS, and FIN.
func closeWrite(conn net.Conn) {
	type writeCloser interface{ CloseWrite() error }
	if c, ok := conn.(writeCloser); ok {
		_ = c.CloseWrite()
	}
	if t, ok := conn.(interface{ NetConn() net.Conn }); ok {
		if c, ok := t.NetConn().(writeCloser); ok {
			_ = c.CloseWrite()
		}
	}
}

// isEOF reports whether a read error means that the peer will send no more. A
// TLS peer that leaves without close_notify has done that too.
func isEOF(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNABORTED)
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
