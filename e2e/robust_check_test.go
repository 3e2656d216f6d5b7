package e2e

import (
	"bytes"
	be "encoding/binary"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wstape/wstape/internal/wstest"
	"github.com/wstape/wstape/tape"
)

// heardFrame is a frame in a direction's bytes, or what is none.
type heardFrame struct {
	wstest.Frame
	start, head, end int // in the bytes; the payload begins at head
	raw              bool
	size             int  // of the payload, as announced
	short            bool // there is less of the payload
}

func (u *heardFrame) data() bool { return !u.raw && u.Op < 8 }

// parse takes a direction's bytes apart, as RFC 6455 section 5.2 says. What is
// not a whole header, or cannot be one, is raw to the end.
func parse(b []byte) (units []heardFrame) {
	for at := 0; at < len(b); {
		rest := b[at:]
		head := 2
		if len(rest) >= 2 {
			head += map[byte]int{126: 2, 127: 8}[rest[1]&0x7f] + int(rest[1]>>7)*4
		}
		if len(rest) < head || rest[1]&0x7f == 127 && rest[2]&0x80 != 0 {
			return append(units, heardFrame{Frame: wstest.Frame{Payload: rest}, start: at, head: at, end: len(b), raw: true})
		}
		u := heardFrame{start: at, head: at + head, size: int(rest[1] & 0x7f)}
		u.Fin, u.RSV, u.Op = rest[0]&0x80 != 0, rest[0]>>4&7, tape.Opcode(rest[0]&15)
		switch u.size {
		case 126:
			u.size = int(be.BigEndian.Uint16(rest[2:]))
		case 127:
			u.size = int(be.BigEndian.Uint64(rest[2:]))
		}
		if rest[1]&0x80 != 0 {
			u.Mask = (*[4]byte)(rest[head-4 : head])
		}
		u.end = min(len(b), u.head+u.size)
		u.short = u.end < u.head+u.size
		u.Payload = bytes.Clone(b[u.head:u.end])
		for i := range u.Payload {
			if u.Mask != nil {
				u.Payload[i] ^= u.Mask[i&3]
			}
		}
		units = append(units, u)
		at = u.end
	}
	return units
}

// staged is a session: what was planned, and who plays.
type staged struct {
	*act
	ends  [2]*actor
	life  *life
	there bool // it was on the tape when its proxy had ended
}

// trial is one look at a session: both histories, and what the tape says.
type trial struct {
	*staged
	history [2]history
	entry   session
	lines   []touched
	frames  []frame
	due     func(time.Time) bool // what was received then is on the tape
	live    bool                 // the session goes on
	wrong   []string
	gaps    int // frames that the tape says it does not have
	gapped  bool
	missed  int // frames that are due on the tape and not there
	checked int // frames on the tape that were compared
}

func (t *trial) errorf(format string, args ...any) {
	if len(t.wrong) < 8 {
		t.wrong = append(t.wrong, fmt.Sprintf("session %d %s (%s, %s from the %v): ", t.entry.N, t.path, t.deflate, t.act.ends, t.ender)+fmt.Sprintf(format, args...))
	}
}

// over reports whether both ends saw the session come to its planned end while
// the proxy was well.
func (t *trial) over() bool {
	for i := range t.history {
		h := &t.history[i]
		if h.opened.IsZero() || !h.eof() || h.done.IsZero() || !h.done.Before(t.life.fatal()) {
			return false
		}
	}
	return t.act.ends != endReset && t.act.ends != endStay
}

// check compares the tape with what the ends saw.
func (t *trial) check() {
	t.order()
	for _, from := range tape.Sides() {
		covered := t.taped(from)
		sent, heard := &t.history[from], &t.history[from.Other()]
		if t.route == noScript {
			t.relayed(from, covered)
		}
		if !t.chaos && !t.gapped {
			t.said(from, t.listened(from))
		}
		if all := len(sent.bytes()); t.over() && t.due(heard.done) && !t.gapped && covered < all {
			t.errorf("the %v sent %d bytes and ended well, on the tape are %d", from, all, covered)
		}
	}
	if t.missed > t.gaps {
		t.errorf("LOST: %d frames were due on the tape and are not there, and gaps are marked for %d", t.missed, t.gaps)
	}
	if !t.live {
		t.state()
		t.counts()
	}
}

// order wants numbers without holes, except for gaps, and times that do not run back.
func (t *trial) order() {
	for _, m := range t.lines {
		if m.Gap == nil {
			continue
		}
		t.gaps += m.Gap.Frames
		t.gapped = true
		if !t.life.drop {
			t.errorf("a gap: %s", m.Gap.Why)
		}
	}
	seqs := make([]int, 0, len(t.frames))
	last := 0.0
	for i := range t.frames {
		f := &t.frames[i]
		seqs = append(seqs, f.Seq)
		if f.Leg != "out" {
			if f.T < last {
				t.errorf("frame %d was read at %f, one before it at %f", f.Seq, f.T, last)
			}
			last = f.T
		}
	}
	if !slices.IsSorted(seqs) {
		t.errorf("frames are not in order: %v", seqs)
	}
	holes := 0
	for i, seq := range seqs {
		before := 0
		if i > 0 {
			before = seqs[i-1]
		}
		if seq == before {
			t.errorf("two frames are number %d", seq)
		}
		holes += seq - before - 1
	}
	if t.live {
		holes -= 2 // of each side, a frame that may go on
	}
	if holes > t.gaps && !t.undecided() {
		t.errorf("%d numbers are missing, and gaps are marked for %d", holes, t.gaps)
	}
}

// taped compares the frames that a side sent with those on the tape, and returns
// how many of the bytes sent the tape accounts for.
func (t *trial) taped(from tape.Side) (covered int) {
	sent := t.history[from].bytes()
	units := parse(sent)
	var raw []byte
	missing := 0
	for i := range t.frames {
		f := &t.frames[i]
		if f.From != from.String() || f.Leg == "out" {
			continue
		}
		t.checked++
		if f.Raw {
			raw = append(raw, f.B64...)
			continue
		}
		for (t.gapped || t.undecided()) && len(units) > 0 && !units[0].is(f) {
			units, missing = units[1:], missing+1
		}
		if len(units) == 0 || !units[0].is(f) {
			var want any = "nothing"
			if len(units) > 0 {
				want = units[0].Frame
			}
			t.errorf("frame %d from the %v on the tape is opcode %d, fin %v, rsv %d, mask %q, %d of %d bytes; sent was %v",
				f.Seq, from, f.Opcode, f.Fin, f.RSV, f.Mask, len(f.B64), f.Len, want)
			return len(sent)
		}
		if covered > 0 && f.Partial && !t.gapped && i < len(t.frames)-1 && t.more(i+1, from) {
			t.errorf("frame %d from the %v is partial, and there are more", f.Seq, from)
		}
		covered = units[0].head + len(f.B64)
		units = units[1:]
	}
	if missing > t.gaps && !t.undecided() {
		t.errorf("%d frames from the %v are not on the tape, and gaps are marked for %d", missing, from, t.gaps)
	}
	if len(raw) > 0 && !t.gapped {
		if len(units) == 0 || !bytes.HasPrefix(sent[units[0].start:], raw) {
			t.errorf("%d raw bytes on the tape are not what the %v sent", len(raw), from)
			return len(sent)
		}
		covered = units[0].start + len(raw)
	}
	return covered
}

// undecided reports whether frames may be withheld until the script has decided
// about their message.
func (t *trial) undecided() bool { return t.live && t.route != noScript }

// more reports whether a side has frames behind the i-th.
func (t *trial) more(i int, from tape.Side) bool {
	return slices.ContainsFunc(t.frames[i:], func(f frame) bool { return f.From == from.String() && f.Leg != "out" })
}

// is reports whether a frame on the tape is this one, or the beginning of it.
func (u *heardFrame) is(f *frame) bool {
	mask := ""
	if u.Mask != nil {
		mask = hex.EncodeToString(u.Mask[:])
	}
	return !u.raw && int(u.Op) == f.Opcode && u.Fin == f.Fin && int(u.RSV) == f.RSV && (u.Mask != nil) == f.Masked && mask == f.Mask &&
		u.size == f.Len && (f.Partial || len(f.B64) == u.size) && bytes.HasPrefix(u.Payload, f.B64)
}

// relayed wants that what came is what was sent, byte for byte, up to where it
// was cut; and that the tape has what is due.
func (t *trial) relayed(from tape.Side, covered int) {
	sent, heard := t.history[from].bytes(), &t.history[from.Other()]
	got := heard.got
	if !bytes.HasPrefix(sent, got) {
		if n := t.goodbye(got); t.life.goodbye() && n > 0 {
			got = got[:len(got)-n]
		}
		if !bytes.HasPrefix(sent, got) {
			at := 0
			for at < min(len(sent), len(got)) && sent[at] == got[at] {
				at++
			}
			t.errorf("the %v received %d bytes which the %v did not send (of %d; the first other one is number %d)", from.Other(), len(got), from, len(sent), at)
			return
		}
	}
	if t.over() && len(got) < len(sent) {
		t.errorf("the %v sent %d bytes and ended well, the %v received %d", from, len(sent), from.Other(), len(got))
	}
	due := min(heard.due(t.due), len(got))
	for _, u := range parse(sent) {
		if u.start < due && (due < u.head || t.live && due < u.head+u.size) {
			due = u.start // a header is recorded when it is whole, and a frame that may go on is not shown
		}
	}
	if t.life.drop {
		t.countMissed(from, sent, due)
		return
	}
	if covered < due {
		t.errorf("LOST: the %v had received %d bytes when they were due on the tape, which has %d of them: %s", from.Other(), due, covered, t.life.age(heard.at(due)))
	}
}

// countMissed counts the frames that are due and not there; in a gap they may be.
func (t *trial) countMissed(from tape.Side, sent []byte, due int) {
	missed := 0
	for _, u := range parse(sent) {
		if !u.raw && u.head <= due {
			missed++
		}
	}
	for i := range t.frames {
		if f := &t.frames[i]; f.From == from.String() && f.Leg != "out" && !f.Raw {
			missed--
		}
	}
	t.missed += max(0, missed)
}

// goodbye is the length of the close frame at the end that wstape itself sends
// when it is told to stop.
func (t *trial) goodbye(got []byte) int {
	units := parse(got)
	if len(units) == 0 {
		return 0
	}
	u := &units[len(units)-1]
	if code, _, ok := tape.ParseClose(u.Payload); u.raw || u.Op != tape.Close || !ok || code != 1001 {
		return 0
	}
	return u.end - u.start
}

// listening is what one end heard of the other's messages.
type listening struct {
	messages int             // how many of them are accounted for, those that were dropped included
	due      int             // as many must be on the tape
	control  int             // pings and pongs that are due
	made     map[string]bool // what the script made, and whether it is due
}

// made is a message that robustScript made.
type made struct {
	version  int
	what, id string
}

var madeText = regexp.MustCompile(`^v(\d+) (edited|split|sent) ([cs]\d+) (e*)$`)

// made reads what the script says it made, and holds it against the message that it
// was made of.
func (t *trial) made(payload []byte, to tape.Side) (m made, ok bool) {
	match := madeText.FindSubmatch(payload)
	if match == nil {
		return m, false
	}
	m.version, _ = strconv.Atoi(string(match[1])) // it is a number
	m.what, m.id = string(match[2]), string(match[3])
	s, from := t.saying(m.id)
	if s == nil || !t.scripted(from) || len(match[4]) != s.pad || m.version < 1 || m.version > t.life.published() {
		return m, false
	}
	switch m.what {
	case "edited":
		return m, to == from.Other() && slices.Contains([]string{"edit", "later", "split"}, s.verb)
	case "split":
		return m, to == from.Other() && s.verb == "split"
	}
	return m, s.verb == "send"
}

// saying finds a message that was sent.
func (t *trial) saying(id string) (*saying, tape.Side) {
	from := tape.Client
	if id[0] == 's' {
		from = tape.Server
	}
	for _, turn := range t.history[from].sent {
		if turn.says != nil && turn.says.id == id {
			return turn.says, from
		}
	}
	return nil, from
}

// expected is what becomes of a message.
func (t *trial) expected(s *saying, from tape.Side) (fate string) {
	if !t.scripted(from) {
		return "passed"
	}
	switch s.verb {
	case "edit", "later", "split":
		return "edited"
	case "drop", "void":
		return "dropped"
	case "throw":
		if t.life.onError == "drop" {
			return "dropped"
		}
	}
	return "passed"
}

// spoken are the messages, and the pings and pongs, that a side sent.
func (t *trial) spoken(from tape.Side) (says []*turn, control []wstest.Frame) {
	h := &t.history[from]
	for i := range h.sent {
		if h.sent[i].says != nil {
			says = append(says, &h.sent[i])
		}
		for _, f := range h.sent[i].frames {
			if f.Op == tape.Ping || f.Op == tape.Pong {
				control = append(control, f)
			}
		}
	}
	return says, control
}

// dataBytes are a message's frames on the wire, without the pings between them.
func (t *turn) dataBytes() []byte {
	var b []byte
	for _, f := range t.frames {
		if f.Op < 8 {
			b = f.Append(b)
		}
	}
	return b
}

// listened follows what one side heard of what the other said.
func (t *trial) listened(from tape.Side) listening {
	to := from.Other()
	h := &t.history[to]
	l := listening{made: map[string]bool{}}
	says, control := t.spoken(from)
	diverged, version := false, 0
	var open []byte // data frames of a message that is not whole
	var first heardFrame
	units := parse(h.got)
	for i := range units {
		u := &units[i]
		wire := h.got[u.start:u.end]
		due := t.due(h.at(u.end))
		switch {
		case (u.raw || u.short) && i == len(units)-1 && (!t.over() || t.route == noScript):
			continue // cut
		case u.raw || u.short:
			t.errorf("the %v received what is no frame: %x", to, wire[:min(len(wire), 40)])
			return l
		case u.Op == tape.Close:
			t.heardClose(from, u)
			continue
		case !u.data():
			if len(control) == 0 || !bytes.Equal(control[0].Append(nil), wire) {
				t.errorf("the %v received %v, not the next ping or pong that the %v sent", to, u.Frame, from)
				return l
			}
			if control = control[1:]; due {
				l.control++
			}
			continue
		}
		if (u.Op == tape.Continuation) != (open != nil) {
			t.errorf("the %v received %v inside or outside of a fragmented message", to, u.Frame)
			return l
		}
		if open == nil {
			first = *u
		}
		if open = append(open, wire...); !u.Fin {
			continue
		}
		whole := open
		open = nil
		alone := first.Fin && first.RSV == 0 && first.Op == tape.Text && (first.Mask != nil) == (to == tape.Server)
		if m, ok := t.made(first.Payload, to); alone && ok && m.what != "edited" {
			key := m.what + " " + m.id
			if _, again := l.made[key]; again {
				t.errorf("the %v received %q twice", to, key)
			}
			l.made[key] = due
			continue
		}
		for l.messages < len(says) && t.expected(says[l.messages].says, from) == "dropped" {
			diverged = diverged || says[l.messages].says.compressed && t.deflate == takeover
			l.messages++
		}
		if l.messages == len(says) {
			t.errorf("the %v received %v, which is no message of the %v's", to, first.Frame, from)
			return l
		}
		turn := says[l.messages]
		s := turn.says
		switch {
		case t.expected(s, from) == "edited":
			m, ok := t.made(first.Payload, to)
			if !alone || !ok || m.id != s.id || m.version < version {
				t.errorf("the %v received %v after version %d, not the edited %s", to, first.Frame, version, s.id)
				return l
			}
			version = m.version
			diverged = diverged || s.compressed && t.deflate == takeover
		case s.compressed && diverged:
			if !first.Fin || first.RSV != 0 || first.Op != s.op || string(first.Payload) != s.plain {
				t.errorf("the %v received %v, not %s in plain", to, first.Frame, s.id)
				return l
			}
		case !bytes.Equal(whole, turn.dataBytes()):
			t.errorf("the %v received %v (%d bytes), not %s as it was sent (%d bytes)", to, first.Frame, len(whole), s.id, len(turn.dataBytes()))
			return l
		}
		if l.messages++; due {
			l.due = l.messages
		}
	}
	if t.over() {
		for l.messages < len(says) && t.expected(says[l.messages].says, from) == "dropped" {
			l.messages++
		}
		if l.messages < len(says) || len(control) > 0 {
			t.errorf("the session ended well, but the %v did not get %s (%s) and %d more messages and %d pings and pongs",
				to, says[min(l.messages, len(says)-1)].says.id, says[min(l.messages, len(says)-1)].says.verb, len(says)-l.messages-1, len(control))
		}
	}
	return l
}

// heardClose wants a close frame to be the other side's, or wstape's when it was stopped.
func (t *trial) heardClose(from tape.Side, u *heardFrame) {
	code, reason, _ := tape.ParseClose(u.Payload)
	switch {
	case code == closeCode && reason == closeReason && t.history[from].closing:
	case code == 1001 && t.life.goodbye():
	default:
		t.errorf("the %v received %v, which the %v did not send", from.Other(), u.Frame, from)
	}
}

// said compares the messages on the tape with those that a side sent, and with
// what the other one heard.
func (t *trial) said(from tape.Side, heard listening) {
	says, control := t.spoken(from)
	n, controls := 0, 0
	for i := range t.lines {
		m := &t.lines[i]
		switch {
		case m.From != from.String() || m.Gap != nil || m.Note != nil:
		case m.Op == "raw":
		case m.Violation != "" && m.Op != "close" && !strings.Contains(m.Violation, "UTF-8"):
			t.errorf("message %d is marked %q", m.Seq, m.Violation)
		case m.Fate == "injected":
			t.injected(m, from, heard)
		case m.Op == "ping" || m.Op == "pong":
			if controls == len(control) || control[controls].Op.String() != m.Op || string(control[controls].Payload) != m.data() && !m.Partial {
				t.errorf("line %d is a %s %q, not the next one that the %v sent", m.Seq, m.Op, m.data(), from)
				return
			}
			controls++
		case m.Op == "close":
			if !t.history[from].closing || m.Code != closeCode && !m.Partial {
				t.errorf("line %d is a close with %d, which the %v did not send", m.Seq, m.Code, from)
			}
		case n == len(says) && t.cutFrame(m, from):
		case n == len(says):
			t.errorf("line %d is a %s %s, and the %v sent no more", m.Seq, m.Op, fold(m.data()), from)
			return
		default:
			if !t.message(m, says[n].says, from, n < heard.due || t.over() && t.due(t.life.fatal())) {
				return
			}
			n++
		}
	}
	if n < heard.due || controls < heard.control {
		t.errorf("LOST: the %v had received %d messages and %d pings when they were due on the tape, which has %d and %d", from.Other(), heard.due, heard.control, n, controls)
	}
	for key, due := range heard.made {
		if due {
			t.errorf("LOST: the %v had received %q when it was due on the tape", from.Other(), key)
		}
	}
}

// cutFrame reports whether a line is what endCut leaves.
func (t *trial) cutFrame(m *touched, from tape.Side) bool {
	return t.act.ends == endCut && t.ender == from && m.Op == "binary" && m.Partial
}

// injected wants a line to be what the script sent, and takes it off what was heard.
func (t *trial) injected(m *touched, from tape.Side, heard listening) {
	if m.Op == "close" {
		if !t.life.goodbye() || m.Code != 1001 {
			t.errorf("line %d is a close with %d that nobody sent", m.Seq, m.Code)
		}
		return
	}
	got, ok := t.made([]byte(m.data()), from.Other())
	if !ok || got.what == "edited" || m.Op != "text" || !strings.HasPrefix(m.By, "script:") {
		t.errorf("line %d is injected by %q: %s", m.Seq, m.By, fold(m.data()))
	}
	delete(heard.made, got.what+" "+got.id)
}

// message compares one message on the tape with the one that was sent; settled
// means that what became of it is due.
func (t *trial) message(m *touched, s *saying, from tape.Side, settled bool) bool {
	fate := t.expected(s, from)
	if t.live && m.Partial {
		return true
	}
	if !settled && (m.Fate == "dropped" && m.By == "wstape" || m.Partial) {
		fate = m.Fate // nobody decided about it, for the end came before
	}
	content, op := m.data(), m.Op
	if m.Fate == "edited" {
		content, op = "", ""
		if m.Received != nil {
			content, op = payload(m.Received.Text, m.Received.B64), m.Received.Op
		}
		if got, ok := t.made([]byte(m.data()), from.Other()); !ok || got.id != s.id || got.what != "edited" {
			t.errorf("line %d is not what the script made of %s: %s", m.Seq, s.id, fold(m.data()))
			return false
		}
	}
	right := content == s.plain
	if m.Partial {
		right = settled == false && (s.compressed || strings.HasPrefix(s.plain, content))
	}
	if m.Fate != fate || op != s.op.String() || !right {
		t.errorf("line %d should be %s, %s by the script, of %d bytes; it is %s %s by %q, partial %v, error %q, of %d bytes: %s", m.Seq, s.id, fate,
			len(s.plain), op, m.Fate, m.By, m.Partial, m.Error, len(content), fold(content))
		return false
	}
	return true
}

// state wants the session's state and ending to be what happened to it.
func (t *trial) state() {
	e := &t.entry
	ended := t.over() && t.due(t.history[0].done) && t.due(t.history[1].done)
	want := []string{"closed"}
	switch {
	case t.life.goodbye() && t.history[tape.Client].opened.IsZero():
		want = []string{"closed", "interrupted", "refused"} // in the middle of the handshake
	case t.life.ended, ended:
	case t.act.ends == endStay && !t.life.goodbye():
		want = []string{"interrupted"}
	default:
		want = []string{"closed", "interrupted"}
	}
	if !slices.Contains(want, e.State) || (e.State == "interrupted") != (e.Ending == nil) {
		t.errorf("state %s, ending %+v, want %v", e.State, e.Ending, want)
		return
	}
	if e.State != "closed" || t.chaos || t.life.goodbye() && !t.over() {
		return // a close frame may be anywhere in it, or wstape may have closed it
	}
	wanted := ending{Kind: map[string]string{endClose: "close", endEOF: "eof", endCut: "eof", endGarbage: "eof", endReset: "reset"}[t.act.ends], From: t.ender.String()}
	if wanted.Kind == "close" {
		wanted.Code, wanted.Reason = closeCode, closeReason
	}
	if *e.Ending != wanted {
		t.errorf("ending %+v, want %+v", *e.Ending, wanted)
	}
}

// counts wants the numbers of ls to be those of what show shows.
func (t *trial) counts() {
	var frames, bytes [2]int
	for _, f := range t.frames {
		if f.Leg != "out" {
			side, _ := tape.ParseSide(f.From)
			if !f.Raw {
				frames[side]++
			}
			bytes[side] += len(f.B64)
		}
	}
	gap := 0
	for _, m := range t.lines {
		switch {
		case m.Gap != nil:
			gap += m.Gap.Frames
		case m.Fate == "injected":
			side, _ := tape.ParseSide(m.From)
			frames[side]++
			bytes[side] += m.Len
		}
	}
	got := t.entry.Frames
	if got.Client+got.Server != frames[0]+frames[1]+gap || !t.gapped && (got.Client != frames[0] || got.Server != frames[1]) {
		t.errorf("ls counts %d and %d frames, show has %v and gaps of %d", got.Client, got.Server, frames, gap)
	}
	if !t.gapped && (t.entry.Bytes.Client != bytes[0] || t.entry.Bytes.Server != bytes[1]) {
		t.errorf("ls counts %d and %d bytes, show has %v", t.entry.Bytes.Client, t.entry.Bytes.Server, bytes)
	}
}
