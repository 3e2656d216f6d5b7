package proxy

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
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
	strict  bool
	deflate bool

	closing  closePayload
	guard    guard  // of strict mode
	withheld []byte // strict mode: the beginning of a header, not yet passed on
	hungUp   bool   // our own close frame has been sent; nothing more is passed on
	broken   bool   // dst takes nothing more
}

// run passes bytes on until the direction ends.
func (l *link) run(early []byte) {
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
	if going && (l.session.winding.Load() || l.session.hanging.Load() != nil) {
		going = l.wound()
	}
	return going
}

// forward records a chunk and passes it on, unread and unchanged.
func (l *link) forward(chunk []byte) bool {
	if l.strict {
		return l.forwardStrict(chunk)
	}
	l.parts = l.walker.Walk(l.parts[:0], chunk)
	l.look()
	l.session.tap.Parts(l.from, l.leg(), l.parts)
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
	if _, err := l.dst.Write(b); err != nil {
		return l.writeFailed(err)
	}
	return true
}

// look finds a close frame among the parts: how the session ends, and that the
// answer to it must come in bounded time.
func (l *link) look() {
	for i := range l.parts {
		if payload, ok := l.closing.add(&l.parts[i]); ok {
			code, reason, valid := tape.ParseClose(payload)
			if !valid {
				code = tape.NoStatus
			}
			from := l.from
			l.session.end(tape.Ending{Kind: tape.EndClose, Code: code, Reason: reason, From: &from})
			l.session.wind()
		}
	}
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
	case isTimeout(err):
		return l.woken()
	case s.gone.Load():
	case isEOF(err) && !s.torn[from].Load():
		l.tail()
		s.end(tape.Ending{Kind: tape.EndEOF, From: &from})
		closeWrite(l.dst)
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
	l.write(l.withheld)
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

// woken is what a read deadline means: something about the session has changed,
// or nothing more has come since it began to wind down.
func (l *link) woken() bool {
	s := l.session
	if s.gone.Load() {
		return false
	}
	if deadline := l.src.deadline(); !deadline.IsZero() && !time.Now().Before(deadline) {
		from := l.from
		s.end(tape.Ending{Kind: tape.EndTimeout, From: &from,
			Why: fmt.Sprintf("nothing from the %s for %v after the other direction had ended (limits.close_timeout)", from, s.proxy.config.CloseTimeout)})
		s.closeLegs()
		return false
	}
	return true
}

// wound does what the session's state asks for: sends our close frame when the
// frame boundary allows it, and bounds the next read. The deadline is set
// before the state is read, so that no wake is lost.
func (l *link) wound() bool {
	s := l.session
	l.src.setDeadline(time.Now().Add(s.proxy.config.CloseTimeout))
	h := s.hanging.Load()
	if h == nil || l.hungUp || s.gone.Load() {
		return !s.gone.Load()
	}
	if !l.walker.Boundary() {
		return true // the close frame must not land inside a frame
	}
	l.sendClose(h)
	return true
}

// sendClose puts wstape's own close frame behind what has been passed on.
func (l *link) sendClose(h *hangup) {
	payload := tape.AppendClose(nil, h.code, h.reason)
	part := tape.Part{Begin: true, Head: wire.Head(true, 0, tape.Close), Len: uint64(len(payload))}
	var mask *[4]byte
	if l.from == tape.Client {
		mask = new([4]byte)
		_, _ = rand.Read(mask[:]) // never fails
		part.Masked, part.Mask = true, binary.LittleEndian.Uint32(mask[:])
	}
	frame := wire.AppendFrame(nil, part.Head, payload, mask)
	part.Payload = frame[len(frame)-len(payload):]
	l.session.tap.Injected(l.from, part, h.by)
	if l.write(frame) {
		l.hungUp = true
	}
}
