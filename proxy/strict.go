package proxy

import (
	"unicode/utf8"

	"github.com/wstape/wstape/internal/wire"
	"github.com/wstape/wstape/tape"
)

// guard looks for what RFC 6455 forbids about payloads: invalid UTF-8 in plain
// text messages, and bad close frames. Compressed text is not inflated here.
type guard struct {
	text    bool   // the open message is text, not compressed
	fin     bool   // its last frame has begun
	left    uint64 // payload bytes of the current frame still to come
	control bool   // the current frame is a control frame
	cut     []byte // the beginning of a rune that the last part cut in two
	closing closePayload

	withheld []byte // the beginning of a header, not yet passed on
}

// add looks at the next part of a direction.
func (g *guard) add(p *tape.Part) (violation string) {
	if p.Violation != "" || p.Raw {
		return p.Violation
	}
	if p.Begin {
		g.begin(p)
	}
	g.left -= min(g.left, uint64(len(p.Payload)))
	if payload, ok := g.closing.add(p); ok {
		return wire.CloseViolation(payload)
	}
	if g.control || !g.text {
		return ""
	}
	b := wire.AppendMasked(g.cut, p.Payload, p.Mask, p.MaskOffset)
	whole := b
	if g.left > 0 || !g.fin {
		whole = b[:len(b)-cutRune(b)]
	}
	g.cut = append([]byte(nil), b[len(whole):]...)
	if !utf8.Valid(whole) {
		return wire.ViolationTextEncoding
	}
	return ""
}

func (g *guard) begin(p *tape.Part) {
	fin, rsv, op := wire.Split(p.Head)
	g.control, g.left = op.Control(), p.Len
	if g.control {
		return
	}
	if op != tape.Continuation {
		g.text, g.cut = op == tape.Text && rsv == 0, nil
	}
	g.fin = fin
}

// cutRune returns how many bytes at the end of b may be the beginning of a rune.
func cutRune(b []byte) int {
	for i := 1; i <= min(3, len(b)); i++ {
		if utf8.RuneStart(b[len(b)-i]) {
			if utf8.FullRune(b[len(b)-i:]) {
				return 0
			}
			return i
		}
	}
	return 0
}

// forwardStrict passes frames on one by one until one violates RFC 6455; that
// one stays behind, and both sides get a close frame with status 1002.
func (l *link) forwardStrict(chunk []byte) bool {
	seen := len(l.guard.withheld) // of chunk: the walker knows these bytes, only passing them on was put off
	if seen > 0 {
		chunk = append(l.guard.withheld, chunk...)
		l.guard.withheld = nil
	}
	began := l.timed()
	passed := 0 // of chunk
	for seen < len(chunk) {
		if h := l.session.hanging.Load(); h != nil && !l.hungUp && l.walker.Boundary() {
			if !l.write(chunk[:passed]) {
				return false
			}
			l.hangUp(h)
		}
		step, whole := l.walker.Next(chunk[seen:])
		l.parts = l.walker.Walk(l.parts[:0], chunk[seen:seen+step])
		seen += step
		if !whole {
			break
		}
		if violation := l.inspect(); violation != "" {
			l.session.tap.Parts(l.from, tape.LegIn, l.parts)
			if !l.write(chunk[:passed]) {
				return false
			}
			l.violated(violation, l.parts[0].Begin || l.parts[0].Raw)
			continue
		}
		l.look()
		l.session.tap.Parts(l.from, l.leg(), l.parts)
		passed = seen
	}
	l.added(began)
	l.guard.withheld = append([]byte(nil), chunk[passed:]...)
	return l.write(chunk[:passed])
}

// inspect returns what is forbidden about the parts, and marks them with it.
// Once nothing is passed on, nothing needs to be looked for.
func (l *link) inspect() (violation string) {
	if l.hungUp {
		return ""
	}
	for i := range l.parts {
		p := &l.parts[i]
		v := l.guard.add(p)
		if p.Begin || p.Raw {
			p.Violation = v
		}
		if violation == "" {
			violation = v
		}
	}
	return violation
}

// violated ends the session because of what the parts hold. If the beginning of
// that frame has gone out, no close frame can follow it.
func (l *link) violated(violation string, boundary bool) {
	from := l.from
	h := &hangup{code: 1002, reason: "protocol error", by: "wstape",
		ending: &tape.Ending{Kind: tape.EndError, From: &from, Why: "--strict: " + violation}}
	l.session.hangUp(h)
	if boundary {
		l.sendClose(h)
	}
	l.hungUp = true
}
