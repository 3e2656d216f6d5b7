package e2e

import (
	"bytes"
	"compress/flate"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// everyScript does to a message what its first word, or byte, says.
const everyScript = `
export function onRequest(req) {
  // A browser has no choice about what it offers.
  const offer = new URL(req.url, "ws://any").searchParams.get("offer");
  if (offer === "") req.headers.delete("Sec-WebSocket-Extensions");
  else if (offer) req.headers.set("Sec-WebSocket-Extensions", offer);
  req.headers.set("X-Script", "was here");
}

export function onOpen(session) {
  let n = 0;
  const timer = setInterval(() => {
    session.send("client", "tick " + n);
    session.send("server", new TextEncoder().encode("tick " + n));
    if (++n === 20) clearInterval(timer);
  }, 2);
}

const later = (f) => new Promise((resolve) => setTimeout(() => resolve(f()), 2));
const bytes = (text) => new TextEncoder().encode(text);

const toText = {
  drop: () => false,
  none: () => [],
  edit: (msg) => { msg.text = "edited " + msg.text; },
  bytes: (msg) => { msg.bytes[0] = 0x42; },
  same: (msg) => msg.text,
  empty: () => "",
  binary: (msg) => msg.bytes.slice(),
  several: (msg) => [msg.text + "/1", bytes(msg.text + "/2"), "", { three: msg.text }],
  reply: (msg, session) => { session.send(msg.from, "reply to " + msg.text); return false; },
  answer: (msg, session) => { session.send(msg.from, bytes("reply to " + msg.text)); },
  await: (msg) => later(() => "awaited " + msg.text),
  leave: (msg) => later(() => undefined),
};

const toBinary = {
  1: (msg) => { msg.bytes.reverse(); },
  2: () => false,
  3: (msg) => [msg.bytes.slice(1), "of " + msg.bytes.length + " bytes"],
  4: (msg, session) => { session.send(msg.from, bytes("reply to " + msg.bytes.length)); return false; },
  5: (msg) => later(() => msg.bytes.slice(1)),
  6: (msg) => later(() => { msg.bytes = new Uint8Array(0); }),
};

export function onMessage(msg, session) {
  if (msg.op === "binary") return toBinary[msg.bytes[0]]?.(msg, session);
  if (msg.text.startsWith("{")) { msg.json.user = "alice"; return; }
  return toText[msg.text.split(" ", 1)[0]]?.(msg, session);
}
`

// controlScript looks at pings and pongs and leaves them alone.
const controlScript = `
export function onControl(frame, session) { session.state.seen = frame.bytes.length; }
`

// ticks is how many each side gets from the script's timer.
const ticks = 20

// turned is what everyScript makes of a message.
type turned struct {
	fate    string
	out     []word // in its place; the message itself if it passed
	replies []word // to who sent it
}

func text(parts ...string) word    { return word{Op: "text", Data: []byte(strings.Join(parts, ""))} }
func binaries(data ...byte) word   { return word{Op: "binary", Data: data} }
func (w *word) passed() turned     { return turned{fate: "passed", out: []word{{Op: w.Op, Data: w.Data}}} }
func edited(out ...word) turned    { return turned{fate: "edited", out: out} }
func dropped(to ...word) turned    { return turned{fate: "dropped", replies: to} }
func (t turned) and(w word) turned { t.replies = append(t.replies, w); return t }

// turn is everyScript once more, in Go.
func (w *word) turn() turned {
	if w.Op == "binary" {
		return w.turnBinary()
	}
	s := string(w.Data)
	first, _, _ := strings.Cut(s, " ")
	switch {
	case strings.HasPrefix(s, "{"):
		return edited(text(strings.Replace(s, `"bob"`, `"alice"`, 1)))
	case first == "drop", first == "none":
		return dropped()
	case first == "edit":
		return edited(text("edited ", s))
	case first == "bytes":
		return edited(text("B", s[1:]))
	case first == "empty":
		return edited(text())
	case first == "binary":
		return edited(binaries(w.Data...))
	case first == "several":
		return edited(text(s, "/1"), binaries([]byte(s+"/2")...), text(), text(`{"three":"`, s, `"}`))
	case first == "reply":
		return dropped(text("reply to ", s))
	case first == "answer":
		return w.passed().and(binaries([]byte("reply to " + s)...))
	case first == "await":
		return edited(text("awaited ", s))
	}
	return w.passed()
}

func (w *word) turnBinary() turned {
	if len(w.Data) == 0 {
		return w.passed()
	}
	switch w.Data[0] {
	case 1:
		back := bytes.Clone(w.Data)
		slices.Reverse(back)
		return edited(binaries(back...))
	case 2:
		return dropped()
	case 3:
		return edited(binaries(w.Data[1:]...), text(fmt.Sprintf("of %d bytes", len(w.Data))))
	case 4:
		return dropped(binaries([]byte(fmt.Sprintf("reply to %d", len(w.Data)))...))
	case 5:
		return edited(binaries(w.Data[1:]...))
	case 6:
		return edited(binaries())
	}
	return w.passed()
}

// words is a conversation's half: everything that everyScript knows, short and
// long, in one frame and in several, in an order of its own, with pings between.
// What is long is much the same, which who compresses with takeover refers to.
func words(from string) []word {
	kinds := strings.Fields("pass drop none edit bytes same empty binary several reply answer await leave")
	story := noise("story", 3000)
	long := noise("long", 100<<10)
	var all []word
	for i, kind := range kinds {
		all = append(all,
			text(kind, " ", from),
			text(kind, fmt.Sprintf(" %d grüße, 世界 👋 ", i), story),
			word{Op: "text", Data: []byte(fmt.Sprintf("%s 世界 %d %s", kind, i, story[:2000])), Pieces: 1 + i%4})
	}
	for i := range 8 { // 7 is for nothing
		all = append(all,
			binaries(byte(i), 0, 0xff, byte(i)),
			word{Op: "binary", Data: append([]byte{byte(i)}, story...), Pieces: 1 + i%3},
			text(fmt.Sprintf(`{"user" : "bob", "n": 9007199254740993, "n":1.50, "s":"\ud800 👋", "from":%q,   "i": %d}`, from, i)))
	}
	for i, kind := range []string{"pass", "edit", "drop", "pass"} {
		all = append(all, word{Op: "text", Data: []byte(kind + " ü " + long), Pieces: 1 + 3*(i%2)})
	}
	for i := range byte(2) {
		all = append(all, word{Op: "binary", Data: append([]byte{i}, long...), Pieces: 1 + 2*int(i%2)})
	}
	all = append(all, text(), binaries(), text(), word{Op: "text", Data: []byte("passes in pieces, 世界 👋"), Pieces: 3})
	for i := range 5 {
		all = append(all, word{Op: "ping", Data: fmt.Appendf(nil, "%s %d", from, i)})
	}
	rand.New(rand.NewChaCha8(sha256.Sum256([]byte(from)))).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return append(all, text("pass as the last one"))
}

// hears is what the other side of who says these words hears of them, and what
// comes back.
func hears(said []word) (there, back []heard) {
	for _, w := range said {
		if w.Op == "ping" {
			continue
		}
		turned := w.turn()
		for _, out := range turned.out {
			there = append(there, out.heard())
		}
		for _, reply := range turned.replies {
			back = append(back, reply.heard())
		}
	}
	return there, back
}

// split tells the messages that came in the place of others, which have their
// order, from replies and ticks, which have theirs.
func split(list []heard) (main, replies, ticked []heard) {
	for _, h := range list {
		switch {
		case bytes.HasPrefix(h.Head, []byte("tick ")):
			ticked = append(ticked, h)
		case bytes.HasPrefix(h.Head, []byte("reply to ")):
			replies = append(replies, h)
		default:
			main = append(main, h)
		}
	}
	return main, replies, ticked
}

func tickings(op string) (list []heard) {
	for i := range ticks {
		list = append(list, hear(op, fmt.Appendf(nil, "tick %d", i)))
	}
	return list
}

// everyPlan is the conversation of TestEveryPair.
func everyPlan() *plan {
	p := &plan{Client: part{Send: words("client")}, Server: part{Send: words("server")}}
	there, back := hears(p.Client.Send)
	p.Server.Hear, p.Client.Hear = len(there), len(back)
	there, back = hears(p.Server.Send)
	p.Client.Hear += len(there) + ticks + 1 // and "bye"
	p.Server.Hear += len(back) + ticks
	return p
}

// scriptFile writes a script and returns its path.
func scriptFile(t testing.TB, name, source string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	must(t, os.WriteFile(path, []byte(source), 0o600))
	return path
}

// unhurried is a configuration for scripts that may take their time: the tests
// share two processors.
func unhurried(t testing.TB, more ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "wstape.yaml")
	must(t, os.WriteFile(path, []byte("script:\n  timeout: 10s\n"+strings.Join(more, "\n")), 0o600))
	return path
}

// chromiumOffers has a browser's offer of compression changed on the way.
func chromiumOffers(deflate string) string {
	return map[string]string{deflateOff: "?offer=", takeover: "",
		noTakeover: "?offer=permessage-deflate;%20client_no_context_takeover;%20server_no_context_takeover"}[deflate]
}

// TestEveryPair: everything a script can do to messages, between every kind of
// client and every kind of server, with every kind of compression, both ways at
// once. Both ends hear exactly what they should, and the tape knows why.
func TestEveryPair(t *testing.T) {
	t.Parallel()
	p := everyPlan()
	path := p.save(t)
	type stand struct {
		serving string
		server  *chatServer
		proxy   *recorder
	}
	var stands []stand
	for i, kind := range present(t, kinds...) {
		s := startChatServer(t, kind, serving{Plan: path})
		flags := []string{"--quiet", "--config", unhurried(t), "--script", scriptFile(t, "every.js", everyScript)}
		if i%2 == 0 {
			flags = append(flags, "--script", scriptFile(t, "control.js", controlScript))
		}
		stands = append(stands, stand{kind, s, startProxy(t, "ws://"+s.addr, flags...)})
	}
	t.Run("talk", func(t *testing.T) {
		for i, calling := range present(t, append(slices.Clone(kinds), chromium)...) {
			t.Run(calling, func(t *testing.T) {
				t.Parallel()
				client := chatClient(t, calling)
				for j, s := range stands {
					modes := []string{takeover, noTakeover, deflateOff}
					if raced { // each once in a row and a column; without the race detector all
						modes = modes[(i+j)%3:][:1]
					}
					for _, deflate := range modes {
						at := "/" + calling + "/" + deflate
						if calling == chromium {
							at += chromiumOffers(deflate)
						}
						r := client(call{URL: s.proxy.url(at), Plan: path, Deflate: deflate})
						checkReport(t, calling+" at "+s.serving+" "+deflate, calling, p, "client", &r)
						checkDeflate(t, calling, s.serving, deflate, r.Extensions)
					}
				}
			})
		}
	})
	for _, s := range stands {
		t.Run("tape of "+s.serving, func(t *testing.T) {
			t.Parallel()
			tape := s.proxy.stop()
			list := tape.sessions()
			for range list {
				r := s.server.report()
				checkReport(t, s.serving+" for "+r.URL, s.serving, p, "server", &r)
				same(t, "the header that the script has set", "was here", r.Headers["x-script"])
			}
			for _, e := range list {
				checkEvery(t, tape, e, p)
			}
		})
	}
}

// checkDeflate makes sure that the session tests what it is meant to.
func checkDeflate(t *testing.T, calling, serving, deflate, extensions string) {
	t.Helper()
	on := strings.Contains(extensions, "permessage-deflate")
	if on != (deflate != deflateOff) {
		t.Errorf("%s at %s %s: negotiated %q", calling, serving, deflate, extensions)
	}
}

// checkReport compares what one end heard with what it should have.
func checkReport(t *testing.T, what, kind string, p *plan, role string, r *report) {
	t.Helper()
	mine, others, op := &p.Server, &p.Client, "binary"
	if role == "client" {
		mine, others, op = &p.Client, &p.Server, "text"
	}
	same(t, what+": the end", []any{1000, ""}, []any{r.Code, r.Error})
	want, _ := hears(others.Send)
	_, back := hears(mine.Send)
	if role == "client" {
		want = append(want, hear("text", []byte("bye")))
	}
	main, replies, ticked := split(r.Heard)
	same(t, what+": the messages", want, main)
	same(t, what+": the script's replies", back, replies)
	same(t, what+": the ticks", tickings(op), ticked)
	if kind == python || kind == node || kind == gorilla { // the others cannot ping without waiting
		same(t, what+": the pongs", pings(mine.Send), r.Pongs)
	}
}

func pings(said []word) (payloads []string) {
	for _, w := range said {
		if w.Op == "ping" {
			payloads = append(payloads, string(w.Data))
		}
	}
	return payloads
}

// touched is a line of show --json with what a script did.
type touched struct {
	message
	Received *content
	ByAll    []string `json:"by_all"`
}

type content struct {
	Op   string
	Len  int
	Text *string
	B64  *[]byte
}

func (c *content) heard() heard {
	m := message{Text: c.Text, B64: c.B64}
	return hear(c.Op, []byte(m.data()))
}

func (m *touched) heard() heard { return hear(m.Op, []byte(m.data())) }

// line is what a test expects of a line of the tape.
type line struct {
	Fate, By string
	Shown    heard
	Received *heard
}

func (m *touched) line() line {
	l := line{Fate: m.Fate, By: m.By, Shown: m.heard()}
	if m.Received != nil {
		h := m.Received.heard()
		l.Received = &h
	}
	return l
}

const byEvery = "script:every.js"

// lines is what the tape has to say of these words: of each word itself, of what
// it became beside that, and what came back.
func lines(said []word) (main, beside, back []line) {
	for _, w := range said {
		if w.Op == "ping" {
			continue
		}
		turned, in := w.turn(), w.heard()
		switch turned.fate {
		case "edited":
			main = append(main, line{"edited", byEvery, turned.out[0].heard(), &in})
			for _, out := range turned.out[1:] {
				beside = append(beside, line{Fate: "injected", By: byEvery, Shown: out.heard()})
			}
		case "dropped":
			main = append(main, line{Fate: "dropped", By: byEvery, Shown: in})
		default:
			main = append(main, line{Fate: "passed", Shown: in})
		}
		for _, reply := range turned.replies {
			back = append(back, line{Fate: "injected", By: byEvery, Shown: reply.heard()})
		}
	}
	return main, beside, back
}

// checkEvery compares what the tape says of a session with what was said.
func checkEvery(t *testing.T, tape tapeFile, e session, p *plan) {
	t.Helper()
	same(t, e.URL+": ending", &ending{Kind: "close", Code: 1000, Reason: "done", From: "client"}, e.Ending)
	all := read[touched](tape, "show", fmt.Sprint(e.N), "--json")
	for _, m := range all {
		if m.Gap != nil || m.Error != "" || m.Violation != "" || m.Partial || m.Truncated != 0 {
			t.Errorf("%s: a line of the tape is marked: %+v", e.URL, m)
		}
	}
	for from, says := range map[string]*part{"client": &p.Client, "server": &p.Server} {
		var main, beside, back, ticked []line
		fragmented := false
		for _, m := range all {
			fragmented = fragmented || m.From == from && m.Fate == "passed" && len(m.Frames) > 1
			switch h := m.heard(); {
			case m.Note != nil || m.From != from || m.Op != "text" && m.Op != "binary":
			case m.Fate != "injected":
				main = append(main, m.line())
			case bytes.HasPrefix(h.Head, []byte("tick ")):
				ticked = append(ticked, m.line())
			case bytes.HasPrefix(h.Head, []byte("reply to ")):
				back = append(back, m.line())
			default:
				beside = append(beside, m.line())
			}
		}
		wantMain, wantBeside, _ := lines(says.Send)
		op, other := "binary", &p.Server
		if from == "server" {
			op, other = "text", &p.Client
			wantMain = append(wantMain, line{Fate: "passed", Shown: hear("text", []byte("bye"))})
		}
		_, _, wantBack := lines(other.Send)
		var wantTicks []line
		for _, h := range tickings(op) {
			wantTicks = append(wantTicks, line{Fate: "injected", By: byEvery, Shown: h})
		}
		what := fmt.Sprintf("%s: the tape, from the %s: ", e.URL, from)
		if !fragmented && (from == "server" || !strings.HasPrefix(e.URL, "/"+chromium)) {
			t.Errorf("%s: no message came in several frames", what)
		}
		same(t, what+"messages", wantMain, main)
		same(t, what+"what some became beside", wantBeside, beside)
		same(t, what+"replies", wantBack, back)
		same(t, what+"ticks", wantTicks, ticked)
	}
	checkPings(t, all, e)
	checkLegs(t, tape, e, p)
}

// checkPings wants each ping on the tape, and its pong.
func checkPings(t *testing.T, all []touched, e session) {
	t.Helper()
	got := map[string][]string{}
	for _, m := range all {
		if m.Op == "ping" || m.Op == "pong" {
			same(t, e.URL+": fate of a "+m.Op, "passed", m.Fate)
			got[m.From+"'s "+m.Op] = append(got[m.From+"'s "+m.Op], m.data())
		}
	}
	for from, to := range map[string]string{"client": "server", "server": "client"} {
		same(t, e.URL+": pongs from the "+to, got[from+"'s ping"], got[to+"'s pong"])
	}
}

// checkLegs joins and inflates the frames of each leg: what came in is what was
// said, what went out is what was heard.
func checkLegs(t *testing.T, tape tapeFile, e session, p *plan) {
	t.Helper()
	frames := read[frame](tape, "show", fmt.Sprint(e.N), "--frames", "--json")
	for from, says := range map[string]*part{"client": &p.Client, "server": &p.Server} {
		var in, out []heard
		for _, w := range says.Send {
			if w.Op != "ping" {
				in = append(in, w.heard())
			}
		}
		there, _ := hears(says.Send)
		op, other := "binary", &p.Server
		if from == "server" {
			op, other = "text", &p.Client
			in, there = append(in, hear("text", []byte("bye"))), append(there, hear("text", []byte("bye")))
		}
		_, back := hears(other.Send)
		out = slices.Concat(there, back, tickings(op))
		same(t, e.URL+": the frames from the "+from+", as they came", in, join(t, frames, from, "in", e.Extensions))
		if !strings.Contains(e.Extensions, "permessage-deflate") || strings.Contains(e.Extensions, from+"_no_context_takeover") {
			same(t, e.URL+": the frames from the "+from+" that went on as they came", untouched(says.Send, from), join(t, frames, from, "", e.Extensions))
		}
		// Injected ones stand where they went out, the others where they came in.
		got := join(t, frames, from, "out", e.Extensions)
		order := func(a, b heard) int { return strings.Compare(a.Op+a.Sum, b.Op+b.Sum) }
		slices.SortFunc(out, order)
		slices.SortFunc(got, order)
		same(t, e.URL+": the frames from the "+from+", as they went on", out, got)
	}
}

// untouched are the messages that the script lets pass.
func untouched(said []word, from string) (list []heard) {
	for _, w := range said {
		if w.Op != "ping" && w.turn().fate == "passed" {
			list = append(list, w.heard())
		}
	}
	if from == "server" {
		list = append(list, hear("text", []byte("bye")))
	}
	return list
}

// join makes messages of the data frames of one side on one leg, or only of those
// that are the same on both, with an inflater that is not wstape's.
func join(t *testing.T, frames []frame, from, leg, extensions string) (list []heard) {
	t.Helper()
	window := &inflater{t: t, forgets: strings.Contains(extensions, from+"_no_context_takeover")}
	open := map[bool]*word{} // by whether it is wstape's own, whose frames never lie among others
	for _, f := range frames {
		if f.From != from || f.Opcode >= 8 || f.Leg != "" && f.Leg != leg {
			continue
		}
		own := f.Leg == "out"
		if f.Opcode != 0 {
			open[own] = &word{Op: map[int]string{1: "text", 2: "binary"}[f.Opcode], Pieces: f.RSV}
		}
		w := open[own]
		w.Data = append(w.Data, f.B64...)
		if !f.Fin {
			continue
		}
		if w.Pieces&4 != 0 {
			w.Data = window.inflate(w.Data)
		}
		list = append(list, w.heard())
	}
	return list
}

// inflater is RFC 7692 section 7.2.2 for the messages of one side.
type inflater struct {
	t       *testing.T
	forgets bool
	window  []byte
}

func (i *inflater) inflate(payload []byte) []byte {
	i.t.Helper()
	wire := bytes.NewBuffer(append(bytes.Clone(payload), "\x00\x00\xff\xff\x01\x00\x00\xff\xff"...)) // its end, and one for the reader
	plain, err := io.ReadAll(flate.NewReaderDict(wire, i.window))
	must(i.t, err)
	if !i.forgets {
		i.window = append(i.window, plain...)
		i.window = i.window[max(0, len(i.window)-32<<10):]
	}
	return plain
}

// await waits until a process has said something on stderr so many times.
func (p *process) await(text string, times int) {
	p.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for strings.Count(p.stderr.String(), text) < times {
		select {
		case <-tick.C:
		case <-p.done:
			p.t.Fatalf("%s ended without saying %q for the %d. time", p.name, text, times)
		case <-deadline:
			p.t.Fatalf("waited %v for %s to say %q for the %d. time", patience, p.name, text, times)
		}
	}
}

// far is an end of a connection that does what the test wants, and always reads.
type far struct {
	conn  *websocket.Conn
	heard chan string
	pongs chan string
	ended chan closing
	over  <-chan struct{} // nobody takes what is heard any more
}

// farServer serves without a will of its own.
func farServer(t testing.TB) (addr string, accepted <-chan *far) {
	t.Helper()
	open, over := make(chan *far, 16), make(chan struct{})
	var serving sync.WaitGroup
	up := websocket.Upgrader{EnableCompression: true}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		serving.Add(1)
		defer serving.Done()
		c, err := up.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		f := newFar(c, over)
		open <- f
		f.read()
	}))
	t.Cleanup(func() {
		close(over)
		s.Close()
		serving.Wait()
	})
	return s.Listener.Addr().String(), open
}

// dialFar connects.
func dialFar(t testing.TB, url string) *far {
	t.Helper()
	d := websocket.Dialer{EnableCompression: true, HandshakeTimeout: patience}
	c, _, err := d.Dial(url, nil)
	must(t, err)
	over, reading := make(chan struct{}), make(chan struct{})
	f := newFar(c, over)
	go func() {
		defer close(reading)
		f.read()
	}()
	t.Cleanup(func() {
		close(over)
		_ = c.Close()
		<-reading
	})
	return f
}

func newFar(c *websocket.Conn, over <-chan struct{}) *far {
	f := &far{c, make(chan string, 1<<17), make(chan string, 16), make(chan closing, 1), over}
	c.SetPongHandler(func(payload string) error {
		f.pongs <- payload
		return nil
	})
	return f
}

// ping waits for the pong: what was written before has passed the proxy then.
func (f *far) ping(t testing.TB) {
	t.Helper()
	must(t, f.conn.WriteControl(websocket.PingMessage, []byte("there?"), time.Now().Add(patience)))
	pong, _ := receive(t, "a pong", f.pongs)
	same(t, "the pong", "there?", pong)
}

func (f *far) read() {
	defer f.conn.Close()
	for {
		_, data, err := f.conn.ReadMessage()
		if err != nil {
			f.ended <- gorillaClosing(err)
			return
		}
		select {
		case f.heard <- string(data):
		case <-f.over:
			return
		}
	}
}

func (f *far) say(t testing.TB, text string) {
	t.Helper()
	must(t, f.conn.WriteMessage(websocket.TextMessage, []byte(text)))
}

// hears wants these messages and no others in between.
func (f *far) hears(t testing.TB, want ...string) {
	t.Helper()
	for _, text := range want {
		got, _ := receive(t, fold(text), f.heard)
		same(t, "what is heard", fold(text), fold(got))
	}
}

// hearText wants one text.
func hearText(t testing.TB, c client, want string) {
	t.Helper()
	op, data := c.hear()
	same(t, "what the client hears", []string{"text", want}, []string{op, fold(data)})
}

// present are those peers that are installed; it names the others.
func present(t *testing.T, kinds ...string) (there []string) {
	for _, kind := range kinds {
		t.Run("peer "+kind, func(t *testing.T) {
			if require := map[string]func(testing.TB){python: requirePython, node: requireNode, chromium: requireChromium}[kind]; require != nil {
				require(t)
			}
			there = append(there, kind)
		})
	}
	return there
}
