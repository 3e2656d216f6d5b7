package e2e

import (
	"bytes"
	"compress/flate"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/wstape/wstape/internal/wstest"
	"github.com/wstape/wstape/tape"
)

// act is one session as it is planned: all that its two ends will say, and how it
// is to end.
type act struct {
	path    string
	route   string // noScript, or which directions the script looks at
	chaos   bool   // frames of any kind instead of messages
	deflate string // deflateOff, takeover or noTakeover
	refused bool   // the server answers 403
	early   bool   // the first step is sent with the handshake
	turns   [2][]turn
	ender   tape.Side
	ends    string
}

// The routes of the configuration: who is scripted.
const (
	noScript   = "/plain"
	bothScript = "/both"
	fromClient = "/client"
)

// How an act's ender ends it, when it has said everything.
const (
	endClose   = "close"   // with a close frame
	endEOF     = "eof"     // as a half-close
	endCut     = "cut"     // inside a frame
	endGarbage = "garbage" // with what is no frame
	endReset   = "reset"
	endStay    = "stay" // not: the proxy ends first
)

// turn is what is written at once: the frames of a message with pings between
// them, some frames, or bytes that are no frame.
type turn struct {
	pause  time.Duration
	frames []wstest.Frame
	raw    []byte
	says   *saying // the message, if it is one
}

// saying is a message of an orderly session.
type saying struct {
	verb, id   string
	pad        int
	op         tape.Opcode
	plain      string
	compressed bool
}

func (t *turn) bytes() []byte { return append(wstest.Bytes(t.frames...), t.raw...) }

// verbs is what a script does with a message that begins so; all others pass.
func verbs() []string {
	return []string{"pass", "pass", "edit", "edit", "drop", "void", "split", "send", "slow", "later", "throw", "tag"}
}

// scripted reports whether the script looks at what a side sends.
func (a *act) scripted(from tape.Side) bool {
	return a.route == bothScript || a.route == fromClient && from == tape.Client
}

// planAct makes an act; a small one says less.
func planAct(rng *rand.Rand, life, n int) *act {
	a := &act{
		route:   []string{noScript, noScript, bothScript, bothScript, fromClient}[rng.IntN(5)],
		deflate: []string{deflateOff, takeover, noTakeover}[rng.IntN(3)],
		ender:   tape.Side(rng.IntN(2)),
		early:   rng.IntN(4) == 0,
		refused: rng.IntN(25) == 0,
	}
	endings := []string{endClose, endClose, endEOF, endReset, endStay, endStay, endStay}
	if a.route == noScript {
		a.chaos = rng.IntN(2) == 0
		endings = append(endings, endCut, endGarbage)
	}
	if a.ends = endings[rng.IntN(len(endings))]; a.chaos && a.ends == endClose {
		a.ends = endEOF // its close frames are anywhere
	}
	a.path = fmt.Sprintf("%s/%d/%d", a.route, life, n)
	for _, from := range tape.Sides() {
		pace := time.Duration(rng.IntN(40)) * time.Millisecond
		if a.chaos {
			a.turns[from] = chaos(rng, from, pace)
		} else {
			a.turns[from] = a.orderly(rng, from, pace)
		}
	}
	return a
}

// chaos is frames that need not be legal, not even in what they mean together.
func chaos(rng *rand.Rand, from tape.Side, pace time.Duration) (turns []turn) {
	for range 5 + rng.IntN(60) {
		t := turn{pause: pause(rng, pace), frames: wstest.Frames(rng, from, 1+rng.IntN(6))}
		if rng.IntN(50) == 0 {
			f := &t.frames[0]
			f.Payload, f.LenSize = noiseBytes(rng, rng.IntN(2<<20)), 8
		}
		turns = append(turns, t)
	}
	return turns
}

func pause(rng *rand.Rand, pace time.Duration) time.Duration {
	if rng.IntN(3) == 0 {
		return 0
	}
	return time.Duration(rng.Int64N(int64(2*pace) + 1))
}

// orderly is legal messages: fragmented, with pings between the fragments,
// compressed as was agreed.
func (a *act) orderly(rng *rand.Rand, from tape.Side, pace time.Duration) (turns []turn) {
	z := squeezer{takeover: a.deflate == takeover}
	for i := range 10 + rng.IntN(120) {
		t := turn{pause: pause(rng, pace)}
		if rng.IntN(10) == 0 {
			op := []tape.Opcode{tape.Ping, tape.Pong}[rng.IntN(2)]
			t.frames = []wstest.Frame{withKey(rng, from, wstest.New(op, fmt.Sprintf("%v %d", from, i)))}
		} else {
			s := speak(rng, from, i)
			s.compressed = a.deflate != deflateOff && rng.IntN(3) > 0
			t.says, t.frames = s, fragments(rng, from, s, &z)
		}
		turns = append(turns, t)
	}
	return turns
}

// speak makes a message: what a script is to do with it, who it is, how long what
// the script makes of it is to be, and something behind that.
func speak(rng *rand.Rand, from tape.Side, i int) *saying {
	s := &saying{id: fmt.Sprintf("%c%d", from.String()[0], i), op: []tape.Opcode{tape.Text, tape.Binary}[rng.IntN(2)]}
	s.verb = verbs()[rng.IntN(len(verbs()))]
	size := rng.IntN(300)
	switch rng.IntN(40) {
	case 0:
		size = rng.IntN(100_000)
	case 1:
		if rng.IntN(4) == 0 {
			size = rng.IntN(2 << 20)
		}
	}
	s.pad = rng.IntN(400)
	filler := strings.Repeat("what every message says, and so refers back to. ", 1+size/48)[:size]
	if s.op == tape.Binary || s.verb == "pass" && rng.IntN(8) == 0 { // text that is not UTF-8, too
		filler = string(noiseBytes(rng, size))
	}
	s.plain = fmt.Sprintf("%s %s %d|%s", s.verb, s.id, s.pad, filler)
	return s
}

// fragments are a message's frames.
func fragments(rng *rand.Rand, from tape.Side, s *saying, z *squeezer) (frames []wstest.Frame) {
	payload, rsv, op := []byte(s.plain), uint8(0), s.op
	if s.compressed {
		payload, rsv = z.squeeze(s.plain), 4
	}
	size := len(payload)
	if rng.IntN(3) == 0 {
		size = 1 + len(payload)/(1+rng.IntN(6))
	}
	for at := 0; at == 0 || at < len(payload); at += size {
		end := min(len(payload), at+max(1, size))
		f := wstest.Frame{RSV: rsv, Op: op, Payload: payload[at:end], Fin: end == len(payload)}
		frames = append(frames, withKey(rng, from, f))
		op, rsv = tape.Continuation, 0
		if !f.Fin && rng.IntN(3) == 0 {
			frames = append(frames, withKey(rng, from, wstest.New(tape.Ping, "inside "+s.id)))
		}
	}
	return frames
}

// withKey gives a client's frame a key of its own.
func withKey(rng *rand.Rand, from tape.Side, f wstest.Frame) wstest.Frame {
	if from == tape.Client {
		f.Mask = wstest.Mask(rng)
	}
	return f
}

// noiseBytes is quicker than [wstest.Payload].
func noiseBytes(rng *rand.Rand, n int) []byte {
	b := make([]byte, 0, n+8)
	for len(b) < n {
		x := rng.Uint64()
		b = append(b, byte(x), byte(x>>8), byte(x>>16), byte(x>>24), byte(x>>32), byte(x>>40), byte(x>>48), byte(x>>56))
	}
	return b[:n]
}

// squeezer compresses the messages of one direction with the standard library's
// deflate, which wstape does not use.
type squeezer struct {
	takeover bool
	w        *flate.Writer
	out      bytes.Buffer
}

func (z *squeezer) squeeze(plain string) []byte {
	z.out.Reset()
	switch {
	case z.w == nil:
		z.w, _ = flate.NewWriter(&z.out, flate.BestSpeed) // the level is known to be one
	case !z.takeover:
		z.w.Reset(&z.out)
	}
	_, _ = z.w.Write([]byte(plain)) // to memory
	_ = z.w.Flush()
	return bytes.TrimSuffix(bytes.Clone(z.out.Bytes()), []byte("\x00\x00\xff\xff"))
}

// robustScript does what the first word of a message says. It is the model's other
// half: expectation has the same table.
func robustScript(version int, more string) string {
	return fmt.Sprintf(`%s
const version = "v%d";
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
export async function onMessage(msg, session) {
  const head = msg.op === "text" ? msg.text.slice(0, 60) : String.fromCharCode(...msg.bytes.slice(0, 60));
  const [verb, id, pad] = head.split("|")[0].split(" ");
  const say = (what) => version + " " + what + " " + id + " " + "e".repeat(Number(pad));
  switch (verb) {
  case "edit": return say("edited");
  case "later": await wait(5); return say("edited");
  case "slow": await wait(5); return;
  case "drop": return false;
  case "void": return [];
  case "split": return [say("edited"), say("split")];
  case "send":
    try {
      session.send("client", say("sent"));
      session.send("server", say("sent"));
    } catch (e) {} // the session is over
    return;
  case "throw": throw new Error("on purpose");
  case "tag": session.tag("last", id); return;
  }
}
`, more, version)
}
