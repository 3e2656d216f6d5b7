package proxy

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/wstape/wstape/internal/wire"
	"github.com/wstape/wstape/tape"
)

// link is one direction of a session: it reads one leg and is the only writer
// of the other. It runs on one goroutine, and everything in it is that
// goroutine's own.
type link struct {
	session *session
	from    tape.Side
	src     source
	dst     net.Conn
	walker  wire.Walker
	parts   []tape.Part
	guard   *guard // of strict mode; nil otherwise

	writes  atomic.Uint64 // begun and ended: odd while dst is being written to
	way     *way          // of a session with a stage; nil otherwise
	untimed uint32        // chunks to go until one is timed; 0 before the first

	closing closePayload
	closed  bool // a close frame has been passed on
	hungUp  bool // nothing more is passed on: our own close frame has been sent, or nothing can be
	late    int  // frames that have come too late since
	broken  bool // dst takes nothing more

	lateSince time.Time // when the first bytes came behind our own close frame
}

// run passes bytes on until the direction ends.
func (l *link) run(early []byte) {
	if l.way != nil {
		l.way.chunk = early
		l.way.run()
		return
	}
	defer l.session.finish()
	if len(early) > 0 && !l.forward(early) {
		return
	}
	for l.readOnce() {
	}
}

// readOnce waits for bytes and passes them on; false when the direction has ended.
func (l *link) readOnce() bool {
	chunk, err := l.src.read()
	going := true
	if len(chunk) > 0 {
		going = l.forward(chunk)
		l.src.release()
	}
	if err != nil && going {
		going = l.readFailed(err)
	}
	if len(chunk) > 0 && l.session.winding.Load() {
		l.session.touch()
	}
	if h := l.session.hanging.Load(); h != nil && going {
		l.hangUp(h)
	}
	return going && !l.heedless()
}

// Behind our own close frame comes at first what was on its way before a peer could
// know of it, which sockets may hold for a slow receiver. Of what comes later there may be
// no more than maxLate frames: they only wait to be over, but whoever keeps track
// of what became of each has work with them.
const (
	lateGrace = time.Second
	maxLate   = 10_000
)

// heedless ends the session when its peer goes on and on behind our close frame.
func (l *link) heedless() bool {
	if l.late <= maxLate {
		return false
	}
	s := l.session
	s.proxy.complain("session ended: a peer goes on sending behind the close frame", "limits.close_timeout", "session", s.tap.Number(), "peer", l.from.String())
	s.closeLegs()
	return true
}

// forward records a chunk and passes it on, unread and unchanged.
func (l *link) forward(chunk []byte) bool {
	if l.guard != nil {
		return l.forwardStrict(chunk)
	}
	if h := l.session.hanging.Load(); h != nil && !l.hungUp && !l.walker.Boundary() {
		// Chunks of a busy sender may never end where a frame does.
		n, _ := l.walker.Next(chunk)
		if !l.pass(chunk[:n]) {
			return false
		}
		l.hangUp(h)
		chunk = chunk[n:]
	}
	return l.pass(chunk)
}

func (l *link) pass(chunk []byte) bool {
	began := l.timed()
	l.parts = l.walker.Walk(l.parts[:0], chunk)
	l.look()
	l.session.tap.Parts(l.from, l.leg(), l.parts)
	l.added(began)
	return l.write(chunk)
}

// leg says whether what comes in still goes on.
func (l *link) leg() tape.Leg {
	if l.hungUp {
		return tape.LegIn
	}
	return tape.LegBoth
}

// write passes bytes on.
func (l *link) write(b []byte) bool {
	if l.hungUp || l.broken || len(b) == 0 {
		return true
	}
	l.writes.Add(1)
	_, err := l.dst.Write(b)
	l.writes.Add(1)
	if err != nil {
		return l.writeFailed(err)
	}
	return true
}

// look finds a close frame among the parts: how the session ends, and that the
// answer to it must come in bounded time.
func (l *link) look() {
	l.count()
	for i := range l.parts {
		if payload, ok := l.closing.add(&l.parts[i]); ok {
			l.closes(payload)
		}
	}
}

// count counts the frames among the parts that come too late.
func (l *link) count() {
	if !l.hungUp {
		return
	}
	now := time.Now()
	if l.lateSince.IsZero() {
		l.lateSince = now
	}
	if now.Sub(l.lateSince) < lateGrace {
		return
	}
	for i := range l.parts {
		if p := &l.parts[i]; p.Begin || p.Raw {
			l.late++
		}
	}
}

// closes is told the payload of the close frame that is passed on.
func (l *link) closes(payload []byte) {
	code, reason, valid := tape.ParseClose(payload)
	if !valid {
		code = tape.NoStatus
	}
	from := l.from
	l.closed = true
	l.session.end(tape.Ending{Kind: tape.EndClose, Code: code, Reason: reason, From: &from})
	l.session.wind()
}

// closePayload gathers the payload of a close frame, which may come in several reads.
type closePayload struct {
	want int // bytes of the payload; 0 when no close frame is open
	got  []byte
}

// add returns the payload when it is complete. One that is longer than a
// control frame's may be counts from its first 125 bytes.
func (c *closePayload) add(p *tape.Part) (payload []byte, complete bool) {
	if p.Begin {
		c.want = 0
		if _, _, op := wire.Split(p.Head); op != tape.Close || p.Raw {
			return nil, false
		}
		c.want, c.got = int(min(p.Len, 125))+1, nil
	}
	if c.want == 0 {
		return nil, false
	}
	c.got = wire.AppendMasked(c.got, p.Payload[:min(len(p.Payload), c.want-1-len(c.got))], p.Mask, p.MaskOffset)
	if len(c.got) < c.want-1 {
		return nil, false
	}
	c.want = 0
	return c.got, true
}

// readFailed decides what the end of reading means for the session; true to go on.
func (l *link) readFailed(err error) bool {
	s := l.session
	from := l.from
	switch {
	case s.gone.Load():
	case isTimeout(err):
		_ = s.legs[from].SetReadDeadline(time.Time{}) // woken, to look at the session's state
		return true
	case isEOF(err) && !s.torn[from].Load():
		l.tail()
		s.end(tape.Ending{Kind: tape.EndEOF, From: &from})
		if s.eofs.Add(1) < 2 { // after the second, closing the connections says it
			closeWrite(l.dst)
		}
		s.wind()
	case isEOF(err), isReset(err):
		l.tail()
		s.end(tape.Ending{Kind: tape.EndReset, From: &from})
		s.reset(from.Other())
	default:
		l.tail()
		s.end(tape.Ending{Kind: tape.EndError, From: &from, Why: "read from the " + from.String() + ": " + err.Error()})
		s.reset(from.Other())
	}
	return false
}

// tail records what is left of a direction that has ended.
func (l *link) tail() {
	if l.parts = l.walker.End(l.parts[:0]); len(l.parts) > 0 {
		l.session.tap.Parts(l.from, l.leg(), l.parts)
	}
	if l.guard != nil {
		l.write(l.guard.withheld)
	}
}

// writeFailed is told that the other leg takes nothing more; true to go on
// reading. How that leg ended, the link that reads it finds out.
func (l *link) writeFailed(err error) bool {
	s := l.session
	if s.gone.Load() {
		return false
	}
	l.broken = true
	if errors.Is(err, syscall.ECONNRESET) {
		s.torn[l.from.Other()].Store(true)
	}
	if !isReset(err) {
		to := l.from.Other()
		s.end(tape.Ending{Kind: tape.EndError, From: &to, Why: "write to the " + to.String() + ": " + err.Error()})
		s.reset(l.from)
	}
	// Nothing of this direction arrives any more, and reading on would only
	// hide that from the sender.
	s.wind()
	return false
}

// hangUp sends wstape's own close frame as soon as a frame boundary allows it.
func (l *link) hangUp(h *hangup) {
	if !l.hungUp && (l.walker.Boundary() || l.guard != nil && len(l.guard.withheld) > 0) {
		l.sendClose(h)
	}
}

// sendClose puts wstape's own close frame behind what has been passed on, unless
// that was a close frame too.
func (l *link) sendClose(h *hangup) {
	if l.closed {
		l.hungUp = true
		return
	}
	frame, part := l.frame(nil, tape.Close, tape.AppendClose(nil, h.code, h.reason))
	l.session.tap.Decided(tape.Decision{From: l.from, Fate: tape.Injected, By: []string{h.by}}, []tape.Part{part})
	l.write(frame)
	l.hungUp = true
}

// frame appends a frame of wstape's own to b. The part, for the tape, points
// into it.
func (l *link) frame(b []byte, op tape.Opcode, payload []byte) (frame []byte, part tape.Part) {
	part = tape.Part{Begin: true, Head: wire.Head(true, 0, op), Len: uint64(len(payload))}
	var mask *[4]byte
	if l.from == tape.Client {
		part.Masked, part.Mask = true, rand.Uint32()
		mask = new([4]byte)
		binary.LittleEndian.PutUint32(mask[:], part.Mask)
	}
	frame = wire.AppendFrame(b, part.Head, payload, mask)
	part.Payload = frame[len(frame)-len(payload):]
	return frame, part
}
