package replay

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/wstape/wstape/tape"
)

// spoken is one line of a generated recording.
type spoken struct {
	t    time.Duration
	from tape.Side
	op   tape.Opcode
	says string
	// other is the same with one value changed that is neither volatile nor an id.
	other    string
	fate     tape.Fate
	received string // of an edited one
}

func (s *spoken) message() bool { return s.op == tape.Text || s.op == tape.Binary }

func (s *spoken) same(o *spoken) bool { return s.op == o.op && s.says == o.says }

// recorded is a generated session.
type recorded struct {
	started  time.Time
	target   string
	lines    []spoken
	ending   *tape.Ending // also as the last lines, if it is a close frame
	terse    bool         // the first line does not tell the ending
	duration time.Duration
	broken   bool // the recorder died
}

// author makes up recordings.
type author struct {
	*rand.Rand
	n       int      // every message but repetitions has a number of its own
	uuids   []string // of the whole recording
	earlier []spoken
	fates   bool // some messages are held back or respelled on the way
}

func pick[T any](a *author, from ...T) T { return from[a.IntN(len(from))] }

func (a *author) chance(percent int) bool { return a.IntN(100) < percent }

// recording makes up to four sessions that overlap in time.
func (a *author) recording() []recorded {
	start := began()
	out := make([]recorded, pick(a, 1, 1, 1, 2, 2, 3, 4))
	for i := range out {
		start = start.Add(time.Duration(a.IntN(3000)) * time.Millisecond)
		out[i] = a.session(start)
	}
	return out
}

func (a *author) session(started time.Time) recorded {
	s := recorded{started: started, target: pick(a, "/", "/chat", "/chat", "/feed?user=alice", "/feed?user=bob&ticket="+a.uuid()), terse: a.chance(30)}
	t, id := time.Duration(0), a.IntN(50)
	for range a.IntN(25) {
		t += pick(a, time.Millisecond, 20*time.Millisecond, 700*time.Millisecond, 3*time.Second, 40*time.Second)
		from := pick(a, tape.Client, tape.Server)
		if a.chance(12) {
			s.lines = append(s.lines, a.control(t, from)...)
			t += time.Millisecond
			continue
		}
		m := a.message(started.Add(t), &id)
		m.t, m.from = t, from
		s.lines = append(s.lines, a.relayed(m)...)
		t += time.Millisecond
		a.earlier = append(a.earlier, m)
	}
	a.end(&s, t+time.Second)
	return s
}

// control is a ping, mostly with its answer, or a pong that answers nothing.
func (a *author) control(t time.Duration, from tape.Side) []spoken {
	a.n++
	payload := pick(a, "", fmt.Sprint("beat ", a.n))
	if a.chance(15) {
		return []spoken{{t: t, from: from, op: tape.Pong, says: fmt.Sprint("unasked ", a.n)}}
	}
	lines := []spoken{{t: t, from: from, op: tape.Ping, says: payload}}
	if a.chance(80) {
		lines = append(lines, spoken{t: t + time.Microsecond, from: from.Other(), op: tape.Pong, says: payload})
	}
	return lines
}

// relayed is what became of a message in the proxy, so that both legs agree on
// it: it was held back and sent later, or spelled differently.
func (a *author) relayed(m spoken) []spoken {
	var indented bytes.Buffer
	switch {
	case !a.fates || !a.chance(20):
		return []spoken{m}
	case json.Indent(&indented, []byte(m.says), "", "  ") == nil && m.op == tape.Text:
		m.fate, m.received = tape.Edited, indented.String()
		return []spoken{m}
	}
	held, sent := m, m
	held.fate, sent.fate = tape.Dropped, tape.Injected
	sent.t += time.Microsecond
	return []spoken{held, sent}
}

func (a *author) end(s *recorded, t time.Duration) {
	from := pick(a, tape.Client, tape.Server)
	s.duration = t
	switch a.IntN(8) {
	case 0, 1, 2, 3:
		code, reason := pick(a, 1000, 1001, 1008, 1011, 3000, 4321), pick(a, "", "bye", "größer als erlaubt", strings.Repeat("x", 123))
		if a.chance(20) {
			code, reason = tape.NoStatus, ""
		}
		s.ending = &tape.Ending{Kind: tape.EndClose, Code: code, Reason: reason, From: &from}
		frame := spoken{t: t, from: from, op: tape.Close, says: string(tape.AppendClose(nil, code, reason))}
		s.lines = append(s.lines, frame)
		if a.chance(70) {
			frame.t, frame.from = t+time.Millisecond, from.Other()
			s.lines = append(s.lines, frame)
		}
	case 4:
		s.ending = &tape.Ending{Kind: tape.EndEOF, From: &from}
	case 5:
		s.ending = &tape.Ending{Kind: tape.EndReset, From: &from}
	case 6:
		s.broken = true
	}
}

// message makes up what is said at a time; requests are numbered with id.
func (a *author) message(now time.Time, id *int) spoken {
	a.n++
	n, m := strconv.Itoa(a.n), spoken{op: tape.Text}
	fill := func(template string, others ...string) {
		m.says = strings.Replace(template, "@", n, 1)
		m.other = strings.Replace(template, "@", pick(a, others...), 1)
	}
	json := []string{strconv.Itoa(a.n + 5000), `"` + n + `"`, "null", n + ".5", "[" + n + "]", "{}", "true"}
	switch a.IntN(12) {
	case 0, 1:
		*id += 1 + a.IntN(3)
		fill(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":%q,"params":{"n":@,"x":%s}}`, *id, a.word(), a.value(now, 2)), json...)
	case 2, 3:
		fill(fmt.Sprintf(`{"id": %d, "result": [@, %s]}`, *id, a.value(now, 2)), json...)
	case 4:
		fill(fmt.Sprintf(`[%q, @, %s ]`, a.word(), a.value(now, 3)), json...)
	case 5, 6:
		fill(fmt.Sprintf(`{"type":%q,"session":%q,"n":@,"ts":%d,"data":%s}`, a.word(), a.uuid(), now.UnixMilli(), a.value(now, 3)), json...)
	case 7:
		fill(fmt.Sprintf(`42%d[%q,@,%s]`, *id, a.word(), a.value(now, 2)), json...)
	case 8:
		fill(fmt.Sprintf("%s: %s @ %s", a.word(), a.word(), pick(a, a.word(), a.uuid())), strconv.Itoa(a.n+5000))
	case 9:
		m.op = tape.Binary
		m.says = fmt.Sprintf("\x00%08d", a.n) + pick(a, "", "\xff\xfe\x80", "abc")
		m.other = strings.Replace(m.says, "\x00", "\x01", 1)
		if a.chance(30) {
			fill(`{"n":@}`, json...)
		}
	case 10:
		m.op = pick(a, tape.Text, tape.Binary) // empty
	default:
		if len(a.earlier) > 0 {
			return pick(a, a.earlier...)
		}
	}
	return m
}

func (a *author) word() string {
	return pick(a, "alice", "bob", "join", "tick", "room 7", "Grüße", `with "quotes" and \`, "https://example.com/a?b=c")
}

// uuid is a new one, or one that somebody has used.
func (a *author) uuid() string {
	if len(a.uuids) == 0 || a.chance(50) {
		a.uuids = append(a.uuids, fmt.Sprintf("%08x-%04x-4%03x-a%03x-%012x", a.Uint32(), a.Uint32()>>16, a.Uint32()>>20, a.Uint32()>>20, a.Uint64()>>16))
	}
	return pick(a, a.uuids...)
}

// value makes up a JSON value.
func (a *author) value(now time.Time, depth int) string {
	if depth == 0 || a.chance(50) {
		return pick(a, `true`, `null`, `{}`, `[]`, `""`, `-0.50`, `1e3`, `12345678901234567890`, `"caf\u00e9 \/"`, quote(a.word()), quote(a.uuid()), quote("/files/"+a.uuid()+".png"),
			quote(now.Format(time.RFC3339Nano)), fmt.Sprint(a.IntN(10)))
	}
	var parts []string
	object := a.chance(50)
	for i := range a.IntN(4) {
		v := a.value(now, depth-1)
		if object {
			v = fmt.Sprintf("%q:%s%s", pick(a, "id", "user", "price", "token", "at", "odd key", "")+pick(a, "", fmt.Sprint(i)), pick(a, "", " "), v)
		}
		parts = append(parts, v)
	}
	if object {
		return "{" + strings.Join(parts, ", ") + "}"
	}
	return "[" + strings.Join(parts, ",") + "]"
}

// cassette writes sessions as a cassette.
func cassette(sessions []recorded) string {
	var b strings.Builder
	write := func(v any) {
		line, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		b.Write(append(line, '\n'))
	}
	for i := range sessions {
		s := &sessions[i]
		head := map[string]any{"started": s.started, "url": s.target, "duration": s.duration.Seconds()}
		if s.broken {
			head["state"] = tape.Interrupted
		}
		if s.ending != nil && (!s.terse || s.ending.Kind != tape.EndClose) {
			head["ending"] = s.ending
		}
		write(map[string]any{"wstape": 1, "session": head})
		for k := range s.lines {
			l := &s.lines[k]
			line := map[string]any{"t": l.t.Seconds(), "from": l.from}
			put(line, l.op, l.says)
			if l.fate != "" {
				line["fate"], line["by"] = l.fate, "operator"
			}
			if l.fate == tape.Edited {
				received := map[string]any{}
				put(received, l.op, l.received)
				line["received"] = received
			}
			write(line)
		}
	}
	return b.String()
}

func put(line map[string]any, op tape.Opcode, says string) {
	line["op"] = op.String()
	if op == tape.Text && utf8.ValidString(says) {
		line["text"] = says
	} else {
		line["b64"] = []byte(says)
	}
}

// duet plays a fake client and a fake server against each other, without
// sockets and on a clock of its own.
type duet struct {
	now   time.Time
	runs  [2]*Run
	plays [2][]*Play // by session of the client; nil before it has connected
	over  [2][]bool
	round *round // of the server
}

func newDuet(client, server *Recording) *duet {
	n := len(client.Plans)
	d := &duet{now: replayed(), runs: [2]*Run{NewRun(client), NewRun(server)}}
	d.round = &round{d.runs[tape.Server], make([]bool, len(server.Plans))}
	for side := range d.plays {
		d.plays[side], d.over[side] = make([]*Play, n), make([]bool, n)
	}
	return d
}

// play plays all sessions; the error says that it does not end.
func (d *duet) play(opts [2]Playing) error {
	const enough = 100_000
	for range enough {
		progress, running, wait := false, false, time.Time{}
		for i, p := range d.runs[tape.Client].recording.Plans {
			if d.plays[tape.Client][i] == nil {
				running = true
				due, ok := d.runs[tape.Client].opens(p, opts[tape.Client].Pace)
				switch {
				case !ok:
				case !due.After(d.now):
					progress = true
					d.connect(i, p, opts)
				default:
					wait = earlier(wait, due)
				}
				continue
			}
			for _, side := range tape.Sides() {
				if d.over[side][i] {
					continue
				}
				running = true
				until, did := d.turn(side, i)
				progress = progress || did
				wait = earlier(wait, until)
			}
		}
		switch {
		case !running:
			return nil
		case progress:
		case wait.IsZero():
			return fmt.Errorf("nobody does anything, and nobody waits for a time")
		case !wait.After(d.now):
			return fmt.Errorf("somebody waits for %v, which it is already", wait)
		default:
			d.now = wait
		}
	}
	return fmt.Errorf("it has not ended after %d turns", enough)
}

// earlier is the earlier one of two times, of which either may be none.
func earlier(a, b time.Time) time.Time {
	if b.IsZero() || !a.IsZero() && a.Before(b) {
		return a
	}
	return b
}

// connect begins a session.
func (d *duet) connect(i int, p *Plan, opts [2]Playing) {
	plans := [2]*Plan{tape.Client: p}
	u, err := url.ParseRequestURI(target(&p.Session))
	if err == nil {
		plans[tape.Server] = d.round.pick(d.runs[tape.Server].recording, u)
	}
	for _, side := range tape.Sides() {
		run, plan := d.runs[side], plans[side]
		if plan == nil { // refused
			d.over[side][i] = true
			continue
		}
		play := NewPlay(run, plan, opts[side])
		d.plays[side][i] = play
		var values []named
		if side == tape.Server {
			values = queryValues(target(&p.Session))
		}
		play.Open(d.now, values)
	}
	if d.plays[tape.Server][i] == nil {
		d.plays[tape.Client][i].Ended(tape.Ending{Kind: tape.EndEOF}, d.now)
	}
}

// turn lets one player do what is due.
func (d *duet) turn(side tape.Side, i int) (until time.Time, did bool) {
	play, peer := d.plays[side][i], d.plays[side.Other()][i]
	a := play.Next(d.now)
	switch {
	case a.Send != nil:
		play.Sent(a.Payload, d.now)
		if !a.Send.Op.Control() && !d.over[side.Other()][i] {
			peer.Received(tape.Content{Op: a.Send.Op, Payload: a.Payload, Len: uint64(len(a.Payload))}, d.now)
		}
	case a.End != nil, a.Live, a.Done:
		d.over[side][i] = true
		d.runs[side].end(play.plan.index)
		if a.End != nil && !d.over[side.Other()][i] {
			peer.Ended(*a.End, d.now)
		}
	default:
		return a.Until, false
	}
	return time.Time{}, true
}

// broken tells what did not hold on one side.
func (d *duet) broken(side tape.Side) string {
	var b strings.Builder
	for _, p := range d.plays[side] {
		if p != nil && (!p.Outcome.Held() || len(p.Outcome.Skipped) > 0) {
			fmt.Fprintf(&b, "fake %v: %s", side, mismatches(p.Outcome))
		}
	}
	return b.String()
}

// pace is how fast both players play.
func (a *author) pace() Pace { return Pace{Factor: pick(a, 0, 1.0, 2, 10, 0.5, 0.1)} }

// The fake client and the fake server of one recording get along, whatever the
// pace.
func TestSelfPlay(t *testing.T) {
	forSeeds(t, 200, func(t *testing.T, rng *rand.Rand) {
		a := &author{Rand: rng, fates: rng.IntN(2) == 0}
		text := cassette(a.recording())
		matching := Matching{Level: pick(a, Shape, Shape, JSON)}
		if !a.fates {
			matching.Level = pick(a, Shape, JSON, Bytes)
		}
		d := newDuet(loadText(t, tape.Client, text, matching), loadText(t, tape.Server, text, matching))
		pace := a.pace()
		if err := d.play([2]Playing{{Pace: pace}, {Pace: pace}}); err != nil {
			t.Error(err)
		}
		d.report(t, pace, text)
	})
}

// needed counts the steps without which a session is not as recorded: nobody
// waits for a ping.
func needed(p *Plan) (n int) {
	for i := range p.Steps {
		if s := &p.Steps[i]; s.message() || s.Ending != nil {
			n++
		}
	}
	return n
}

func (d *duet) report(t *testing.T, pace Pace, text string) {
	if broken := d.broken(tape.Client) + d.broken(tape.Server); broken != "" {
		t.Error(broken)
	}
	for _, side := range tape.Sides() {
		for i, p := range d.plays[side] {
			if p == nil {
				t.Errorf("nobody played session %d as the %v", i+1, side)
			} else if played := p.Outcome.Played; played < needed(p.plan) || played > len(p.plan.Steps) {
				t.Errorf("the fake %v played %d of %d steps of session %d", side, played, p.Outcome.Steps, i+1)
			}
		}
	}
	if t.Failed() {
		t.Logf("at %v, the cassette\n%s", pace, text)
	}
}

// The same over connections.
func TestSelfPlayConnected(t *testing.T) {
	forSeeds(t, 40, func(t *testing.T, rng *rand.Rand) {
		a := &author{Rand: rng, fates: rng.IntN(2) == 0}
		text, pace := cassette(a.recording()), a.pace()
		synctest.Test(t, func(t *testing.T) {
			recordings := [2]*Recording{loadText(t, tape.Client, text, Matching{}), loadText(t, tape.Server, text, Matching{})}
			for side, r := range connected(t, recordings[tape.Client], recordings[tape.Server], pace) {
				if plans := recordings[side].Plans; len(r.Outcomes) != len(plans) {
					t.Errorf("the fake %v reports about %d of %d sessions", tape.Side(side), len(r.Outcomes), len(plans))
				}
				for _, o := range r.Outcomes {
					if !o.Held() || o.N > 0 && o.Played < needed(recordings[side].Plans[o.N-1]) {
						t.Errorf("fake %v: %d of %d steps of %s: %s", tape.Side(side), o.Played, o.Steps, o.Session, mismatches(o))
						for _, m := range o.Mismatches {
							t.Log(m.Text)
						}
					}
				}
			}
		})
		if t.Failed() {
			t.Logf("at %v, the cassette\n%s", pace, text)
		}
	})
}

// connected lets a fake client and a fake server play over connections in memory.
func connected(t *testing.T, client, server *Recording, pace Pace) (reports [2]*Report) {
	t.Helper()
	ln := newMemoryListener()
	served := make(chan error, 1)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go func() {
		var err error
		reports[tape.Server], err = Serve(ctx, ln, server, Options{Playing: Playing{Pace: pace}}, Serving{Once: true})
		served <- err
	}()
	var err error
	to := Dialing{URL: &url.URL{Scheme: "ws", Host: "memory"}, Dial: ln.dial}
	if reports[tape.Client], err = client.Drive(ctx, to, Options{Playing: Playing{Pace: pace}}); err != nil {
		t.Errorf("drive: %v", err)
		stop()
	}
	if err := <-served; err != nil {
		t.Errorf("serve: %v", err)
	}
	return reports
}

// mutation is a recording, and what became of it when somebody meddled with one
// message of one session.
type mutation struct {
	what     string
	original []recorded
	mutated  []recorded
	session  int
	from     tape.Side // who says the message
}

// mutate meddles with a recording; false if there is nothing to meddle with.
func (a *author) mutate(original []recorded) (m mutation, ok bool) {
	m = mutation{original: original, mutated: slices.Clone(original), session: a.IntN(len(original)), what: pick(a, "dropped", "swapped", "retyped", "changed")}
	s := &m.mutated[m.session]
	s.lines = slices.Clone(s.lines)
	var able []int
	for i := range s.lines {
		if m.able(s.lines, i) {
			able = append(able, i)
		}
	}
	if len(able) == 0 {
		return m, false
	}
	i := pick(a, able...)
	l := &s.lines[i]
	m.from = l.from
	switch m.what {
	case "dropped":
		s.lines = slices.Delete(s.lines, i, i+1)
	case "swapped":
		next := &s.lines[i+1]
		l.op, l.says, next.op, next.says = next.op, next.says, l.op, l.says
	case "retyped":
		l.op = tape.Text + tape.Binary - l.op
	case "changed":
		l.says = l.other
	}
	return m, true
}

// able reports whether a mutation of a line is to be seen at all.
func (m *mutation) able(lines []spoken, i int) bool {
	l := &lines[i]
	switch {
	case !l.message():
		return false
	case m.what == "swapped": // equal messages may change places
		return i+1 < len(lines) && lines[i+1].message() && lines[i+1].from == l.from && !lines[i+1].same(l)
	case m.what == "retyped": // a text message is UTF-8
		return utf8.ValidString(l.says)
	case m.what == "changed":
		return l.other != ""
	}
	return true
}

// due tells which line of what the receiver has is the first that does not come,
// -1 if all of them come and one more; last if nothing follows it.
func due(receiver, sender []spoken, from tape.Side) int {
	said := func(lines []spoken) (out []int) {
		for i := range lines {
			if lines[i].from == from && lines[i].message() {
				out = append(out, i)
			}
		}
		return out
	}
	come := said(sender)
	for k, i := range said(receiver) {
		if k >= len(come) || !receiver[i].same(&sender[come[k]]) {
			return i
		}
	}
	return -1
}

// visible reports whether the receiver can see the mutation: what comes when it
// has everything, it sees only while it waits for the sender to end the session.
func (m *mutation) visible(receiver []recorded) bool {
	s := &receiver[m.session]
	other := m.original
	if &other[m.session] == s {
		other = m.mutated
	}
	return due(s.lines, other[m.session].lines, m.from) >= 0 || s.ending != nil && *s.ending.From == m.from
}

// check wants the receiver of what was meddled with to have named it.
func (m *mutation) check(t *testing.T, receiver, sender []recorded, o *Outcome) {
	t.Helper()
	if o == nil || o.Held() {
		t.Errorf("a message of the %v was %s, and nobody has seen it", m.from, m.what)
		return
	}
	got := o.Mismatches[0]
	lines := receiver[m.session].lines
	want := due(lines, sender[m.session].lines, m.from)
	switch named := int(got.Seq) - 1; {
	case want < 0 && got.Kind == Extra:
	case want >= 0 && named == want:
	case want >= 0 && named >= 0 && named < want && lines[named].from == m.from && lines[named].same(&lines[want]): // of equal ones any may be missed
	default:
		t.Errorf("a message of the %v was %s, but the report names another one than line %d (0: one too many): number %d, %s", m.from, m.what, want+1, got.Seq, mismatch(&got))
	}
}

// Whatever is done to one message of a recording, the player that hears the
// message from the other one sees it.
func TestMutations(t *testing.T) {
	seen := map[string]int{}
	forSeeds(t, 300, func(t *testing.T, rng *rand.Rand) {
		a := &author{Rand: rng}
		m, ok := a.mutate(a.recording())
		if !ok {
			return
		}
		texts := [2]string{cassette(m.original), cassette(m.mutated)}
		for i, receiver := range [2][]recorded{m.original, m.mutated} {
			if !m.visible(receiver) {
				continue
			}
			seen[fmt.Sprintf("%s, %d", m.what, i)]++
			sender := [2][]recorded{m.mutated, m.original}[i]
			var recordings [2]*Recording
			hears := m.from.Other()
			recordings[hears] = loadText(t, hears, texts[i], Matching{})
			recordings[m.from] = loadText(t, m.from, texts[1-i], Matching{})
			d := newDuet(recordings[tape.Client], recordings[tape.Server])
			pace := Pace{Factor: pick(a, 0, 1.0, 2)}
			if err := d.play([2]Playing{{Pace: pace}, {Pace: pace}}); err != nil {
				t.Error(err)
			}
			m.check(t, receiver, sender, d.outcome(hears, m.session))
			if t.Failed() {
				t.Fatalf("at %v, heard by the %v with cassette %d of\n%s\nand\n%s\n%s%s", pace, hears, i, texts[0], texts[1], d.broken(tape.Client), d.broken(tape.Server))
			}
		}
	})
	if !testing.Short() {
		t.Log(seen)
	}
}

// outcome is that of a recorded session, whoever connected for it.
func (d *duet) outcome(side tape.Side, session int) *Outcome {
	for _, p := range d.plays[side] {
		if p != nil && p.plan.index == session {
			return p.Outcome
		}
	}
	return nil
}

// The same over connections: the program's exit code follows from the reports.
func TestMutationsConnected(t *testing.T) {
	forSeeds(t, 40, func(t *testing.T, rng *rand.Rand) {
		a := &author{Rand: rng}
		m, ok := a.mutate(a.recording())
		if !ok {
			return
		}
		texts := [2]string{cassette(m.original), cassette(m.mutated)}
		for i, receiver := range [2][]recorded{m.original, m.mutated} {
			if !m.visible(receiver) {
				continue
			}
			sender := [2][]recorded{m.mutated, m.original}[i]
			hears := m.from.Other()
			synctest.Test(t, func(t *testing.T) {
				var recordings [2]*Recording
				recordings[hears] = loadText(t, hears, texts[i], Matching{})
				recordings[m.from] = loadText(t, m.from, texts[1-i], Matching{})
				pace := Pace{Factor: pick(a, 0, 1.0)}
				reports := connected(t, recordings[tape.Client], recordings[tape.Server], pace)
				var outcome *Outcome
				for _, o := range reports[hears].Outcomes {
					if o.N == uint64(m.session+1) {
						outcome = o
					}
				}
				m.check(t, receiver, sender, outcome)
				for side, r := range reports {
					for _, o := range r.Outcomes {
						if t.Failed() && !o.Held() {
							t.Logf("fake %v: %s%s", tape.Side(side), mismatches(o), o.Mismatches[0].Text)
						}
					}
				}
			})
			if t.Failed() {
				t.Fatalf("heard by the %v with cassette %d of\n%s\nand\n%s", hears, i, texts[0], texts[1])
			}
		}
	})
}
