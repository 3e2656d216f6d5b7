package wire_test

import (
	"bufio"
	"bytes"
	"compress/flate"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/gobwas/httphead"
	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsflate"

	"github.com/wstape/wstape/internal/wire"
	"github.com/wstape/wstape/internal/wstest"
	"github.com/wstape/wstape/tape"
)

// The fuzz targets here hold the codec against those of two other libraries: for
// the same bytes the same verdict and the same content. Where they differ for a
// reason, the reason stands here, in a function whose name begins with "unlike".

// FuzzFramesLikeGobwas compares headers, what is forbidden about them, and masks.
// gobwas/ws keeps no state, so comparing ends with the first frame that either refuses.
func FuzzFramesLikeGobwas(f *testing.F) {
	addStreams(f)
	f.Fuzz(func(t *testing.T, stream []byte, client, deflate bool) {
		from, state := tape.Server, ws.StateClientSide
		if client {
			from, state = tape.Client, ws.StateServerSide
		}
		if deflate {
			state = state.Set(ws.StateExtended)
		}
		walker := wire.NewWalker(from, deflate)
		for rest := stream; len(rest) > 0; {
			n, whole := walker.Next(rest)
			parts := walker.Walk(nil, rest[:n])
			in := bytes.NewReader(rest)
			h, err := ws.ReadHeader(in)
			if !whole {
				if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Fatalf("the header is not whole, gobwas reads %+v, %v", h, err)
				}
				return
			}
			p := &parts[0]
			if p.Raw != errors.Is(err, ws.ErrHeaderLengthMSB) {
				t.Fatalf("raw %v, gobwas says %v", p.Raw, err)
			}
			if p.Raw {
				return
			}
			fin, rsv, op := wire.Split(p.Head)
			if err != nil || fin != h.Fin || rsv != h.Rsv || byte(op) != byte(h.OpCode) || p.Masked != h.Masked || p.Len != uint64(h.Length) ||
				p.Masked && p.Mask != binary.LittleEndian.Uint32(h.Mask[:]) {
				t.Fatalf("header %+v, gobwas reads %+v, %v", p, h, err)
			}
			payload := bytes.Clone(p.Payload)
			if p.Masked {
				ws.Cipher(payload, h.Mask, 0)
			}
			if got := wire.AppendMasked(nil, p.Payload, p.Mask, 0); !bytes.Equal(got, payload) {
				t.Fatalf("unmasked %x, gobwas makes it %x", got, payload)
			}
			err = ws.CheckHeader(h, state)
			if (p.Violation == "") != (err == nil) && !unlikeGobwas(h, state, len(rest)-in.Len()) {
				t.Fatalf("violation %q, gobwas says %v about %+v", p.Violation, err, h)
			}
			if p.Violation != "" || err != nil || len(p.Payload) < int(p.Len) {
				return
			}
			if !op.Control() {
				if state = state.Clear(ws.StateFragmented); !fin {
					state = state.Set(ws.StateFragmented)
				}
			}
			rest = rest[n:]
		}
	})
}

// unlikeGobwas reports whether wire forbids what gobwas/ws lets pass: a length that
// is not in its shortest form (RFC 6455 section 5.2), and, once an extension was
// negotiated, reserved bits to which permessage-deflate gives no meaning (RFC 7692
// section 6).
func unlikeGobwas(h ws.Header, state ws.State, size int) bool {
	shortest := ws.HeaderSize(h) == size
	deflates := h.Rsv == 0 || h.Rsv == 4 && (h.OpCode == ws.OpText || h.OpCode == ws.OpBinary)
	return !shortest || state.Extended() && !deflates
}

// addStreams seeds a corpus with random frames, legal ones and others.
func addStreams(f *testing.F) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, from := range tape.Sides() {
		for _, deflate := range []bool{false, true} {
			f.Add(wstest.Bytes(wstest.Frames(rng, from, 3)...), from == tape.Client, deflate)
			d := newDeflater(true, 1)
			var frames []wstest.Frame
			for range 3 {
				payload := d.message(prose(rng, 50))
				frames = append(frames, wstest.Frame{RSV: 4, Op: tape.Text, Payload: payload[:5]}.From(from), wstest.New(tape.Ping, "x").From(from),
					wstest.Frame{Fin: true, Payload: payload[5:]}.From(from))
			}
			frames = append(frames, wstest.CloseFrame(1001, "bye").From(from))
			f.Add(wstest.Bytes(frames...), from == tape.Client, deflate)
		}
	}
}

// maxFuzzed keeps streams short: a few bytes can inflate to a thousand times as many.
const maxFuzzed = 4 << 10

// FuzzMessagesLikeCoder compares what a whole connection makes of a stream:
// messages, inflated with context takeover, and the close frame.
func FuzzMessagesLikeCoder(f *testing.F) {
	addStreams(f)
	f.Fuzz(func(t *testing.T, stream []byte, client, deflate bool) {
		if len(stream) > maxFuzzed {
			return
		}
		from := tape.Server
		if client {
			from = tape.Client
		}
		ours := hearOurs(from, stream, deflate)
		theirs := hearCoder(t, from, stream, deflate)
		both := min(len(ours.messages), len(theirs.messages))
		if !slices.Equal(ours.messages[:both], theirs.messages[:both]) {
			t.Fatalf("messages %q, coder/websocket reads %q", ours.messages, theirs.messages)
		}
		if len(ours.messages) == len(theirs.messages) && ours.close == theirs.close || ours.unlikeCoder || theirs.unlikeCoder {
			return
		}
		t.Fatalf("%d messages, then %q (%s); coder/websocket reads %d, then %q (%s)",
			len(ours.messages), ours.close, ours.why, len(theirs.messages), theirs.close, theirs.why)
	})
}

// heard is what came of a stream until something was wrong with it.
type heard struct {
	messages    []string // op and plain payload
	close       string   // code and reason of the close frame, "" if there was none or a bad one
	why         string   // what ended it
	unlikeCoder bool     // what ended it, coder/websocket sees otherwise
}

// hearOurs reads a stream with this package, as a strict end of a connection would.
func hearOurs(from tape.Side, stream []byte, deflate bool) (h heard) {
	walker := wire.NewWalker(from, deflate)
	z := wire.NewInflater(true, everything)
	var joined []byte
	var op tape.Opcode
	compressed, open := false, false
	for rest := stream; len(rest) > 0; {
		n, whole := walker.Next(rest)
		if !whole {
			h.why, h.unlikeCoder = "the header is cut", open // of a message that is cut, coder/websocket gives what there is
			return h
		}
		p := walker.Walk(nil, rest[:n])[0]
		rest = rest[n:]
		fin, rsv, frameOp := wire.Split(p.Head)
		payload := wire.AppendMasked(nil, p.Payload, p.Mask, 0)
		cut := len(payload) < int(p.Len)
		switch {
		case p.Raw || p.Violation != "":
			h.why, h.unlikeCoder = p.Violation, unlikeCoder(&p, from, n-len(p.Payload))
			return h
		case frameOp == tape.Close && !cut:
			h.closed(payload)
			return h
		case frameOp.Control() && !cut:
			continue
		case frameOp == tape.Text || frameOp == tape.Binary:
			op, compressed, joined = frameOp, rsv&4 != 0, nil
		}
		if !frameOp.Control() {
			joined, open = append(joined, payload...), true
		}
		if compressed {
			switch _, err := inflateSoFar(joined, z.Window()); {
			case err == nil:
				h.why, h.unlikeCoder = "a block is marked final", true // there coder/websocket ends the message, unlike RFC 7692 section 7.2.3.4
				return h
			case !errors.Is(err, io.ErrUnexpectedEOF):
				h.why, h.unlikeCoder = err.Error(), cut // coder/websocket says it at once, if it looks at what is cut at all
				return h
			}
		}
		if cut {
			h.why, h.unlikeCoder = "the frame is cut", open
			return h
		}
		if !fin {
			continue
		}
		if compressed {
			there, thereErr := inflateSoFar(append(bytes.Clone(joined), "\x00\x00\xff\xff"...), z.Window())
			plain, _, err := z.Message(nil, joined, everything)
			if err != nil || !bytes.Equal(plain, there) { // it ends inside a block: wire reads on in the tail, coder/websocket gives what there is
				h.why, h.unlikeCoder = fmt.Sprint("cut inside a block: ", err), errors.Is(thereErr, io.ErrUnexpectedEOF)
				return h
			}
			joined = plain
		}
		h.messages, compressed, open = append(h.messages, fmt.Sprint(op, " ", string(joined))), false, false
	}
	h.unlikeCoder = open
	return h
}

// closed takes a close frame's payload.
func (h *heard) closed(payload []byte) {
	if h.why = wire.CloseViolation(payload); h.why == "" {
		code, reason, _ := tape.ParseClose(payload)
		h.close = fmt.Sprint(code, " ", reason)
	}
	h.unlikeCoder = h.why == wire.ViolationCloseReason // at which coder/websocket does not look
}

// inflateSoFar inflates the beginning of a message: nil means that the deflate
// stream ends in it, [io.ErrUnexpectedEOF] that it goes on.
func inflateSoFar(message, window []byte) ([]byte, error) {
	return io.ReadAll(flate.NewReaderDict(bytes.NewReader(message), window))
}

// unlikeCoder reports whether coder/websocket lets a frame pass that wire does
// not: its client does not look at the mask bit (RFC 6455 section 5.1), and
// neither end at whether a length is in its shortest form (section 5.2).
func unlikeCoder(p *tape.Part, from tape.Side, header int) bool {
	return p.Masked && from == tape.Server || header > shortest(p)
}

// shortest is how long the frame's header needs to be.
func shortest(p *tape.Part) int {
	var mask *[4]byte
	if p.Masked {
		mask = new([4]byte)
	}
	return len(wire.AppendHeader(nil, p.Head, p.Len, mask))
}

// hearCoder reads a stream with coder/websocket, whose client reads what a server
// sends and the other way round.
func hearCoder(t *testing.T, from tape.Side, stream []byte, deflate bool) (h heard) {
	t.Helper()
	mode := websocket.CompressionDisabled
	if deflate {
		mode = websocket.CompressionContextTakeover
	}
	connect := coderClient
	if from == tape.Client {
		connect = coderServer
	}
	conn, err := connect(stream, mode)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	defer func() { // coder/websocket 1.8.14 panics where a close frame cuts a compressed message
		if r := recover(); r != nil {
			h.why, h.unlikeCoder = fmt.Sprint(r), true
		}
	}()
	conn.SetReadLimit(-1)
	for {
		kind, payload, err := conn.Read(context.Background())
		if err != nil {
			var ce websocket.CloseError
			if errors.As(err, &ce) {
				h.close = fmt.Sprint(int(ce.Code), " ", ce.Reason)
			}
			h.why = err.Error()
			// What it calls corrupt was inflated by compress/flate too, with the same window, or would not be among ours.
			h.unlikeCoder = strings.Contains(h.why, "flate: corrupt input")
			return h
		}
		h.messages = append(h.messages, fmt.Sprint(tape.Opcode(kind), " ", string(payload)))
	}
}

// canned is a connection from which a stream comes and into which everything may go.
type canned struct{ io.Reader }

func (canned) Write(p []byte) (int, error)      { return len(p), nil }
func (canned) Close() error                     { return nil }
func (canned) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (canned) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (canned) SetDeadline(time.Time) error      { return nil }
func (canned) SetReadDeadline(time.Time) error  { return nil }
func (canned) SetWriteDeadline(time.Time) error { return nil }

func coderServer(stream []byte, mode websocket.CompressionMode) (*websocket.Conn, error) {
	r := httptest.NewRequest("GET", "/", nil)
	r.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"},
		"Sec-Websocket-Key": {wstest.Key}, "Sec-Websocket-Extensions": {"permessage-deflate"}}
	w := hijackable{httptest.NewRecorder(), canned{bytes.NewReader(stream)}}
	return websocket.Accept(w, r, &websocket.AcceptOptions{CompressionMode: mode})
}

type hijackable struct {
	*httptest.ResponseRecorder
	conn canned
}

func (h hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h.conn, bufio.NewReadWriter(bufio.NewReader(h.conn), bufio.NewWriter(h.conn)), nil
}

func coderClient(stream []byte, mode websocket.CompressionMode) (*websocket.Conn, error) {
	answer := roundTrip(func(r *http.Request) (*http.Response, error) {
		res := &http.Response{StatusCode: http.StatusSwitchingProtocols, Header: http.Header{}, Body: canned{bytes.NewReader(stream)}}
		res.Header.Set("Connection", "Upgrade")
		res.Header.Set("Upgrade", "websocket")
		if mode != websocket.CompressionDisabled {
			res.Header.Set("Sec-WebSocket-Extensions", "permessage-deflate")
		}
		res.Header.Set("Sec-WebSocket-Accept", acceptOf(r.Header.Get("Sec-WebSocket-Key")))
		return res, nil
	})
	conn, _, err := websocket.Dial(context.Background(), "ws://example.com", &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: answer}, CompressionMode: mode})
	return conn, err
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func acceptOf(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// FuzzCloseLikeGobwas compares the payloads of close frames.
func FuzzCloseLikeGobwas(f *testing.F) {
	f.Add([]byte("\x03\xe8bye"))
	f.Add([]byte("\x03\xec"))
	f.Add([]byte("\x0b\xb8\xff"))
	f.Fuzz(func(t *testing.T, payload []byte) {
		violation := wire.CloseViolation(payload)
		code, reason, ok := tape.ParseClose(payload)
		if len(payload) == 0 { // gobwas/ws has nothing to say about it
			if violation != "" || !ok || code != tape.NoStatus {
				t.Fatalf("an empty payload: %q, %d", violation, code)
			}
			return
		}
		theirCode, theirReason := ws.ParseCloseFrameData(payload)
		err := ws.CheckCloseFrameData(theirCode, theirReason)
		if ok && (code != int(theirCode) || reason != theirReason) {
			t.Fatalf("%d %q, gobwas reads %d %q", code, reason, theirCode, theirReason)
		}
		if (violation == "") != (err == nil) && !unlikeGobwasCode(theirCode) {
			t.Fatalf("%d %q: violation %q, gobwas says %v", theirCode, theirReason, violation, err)
		}
	})
}

// unlikeGobwasCode reports whether gobwas/ws sees a close code otherwise: it does
// not know those that IANA registered after RFC 6455, and takes those that are in no
// range (section 7.4.2).
func unlikeGobwasCode(code ws.StatusCode) bool { return code >= 1012 && code <= 1014 || code >= 5000 }

// FuzzExtensionsLikeGobwas compares Sec-WebSocket-Extensions fields, and what they
// say about permessage-deflate.
func FuzzExtensionsLikeGobwas(f *testing.F) {
	f.Add("permessage-deflate; client_max_window_bits=10; server_no_context_takeover")
	f.Add(`permessage-deflate; server_max_window_bits="9", x; y="a,b"; z`)
	f.Fuzz(func(t *testing.T, value string) {
		if !extensionList.MatchString(value) {
			return // either reads it as well as it can
		}
		options, ok := httphead.ParseOptions([]byte(value), nil)
		if !ok {
			t.Skipf("gobwas does not read %q", value)
		}
		exts, err := wire.ParseExtensions([]string{value})
		if err != nil || len(exts) != len(options) {
			t.Fatalf("%q reads as %+v, %v, gobwas reads %v", value, exts, err, options)
		}
		for i := range exts {
			params := map[string]string{}
			options[i].Parameters.ForEach(func(key, value []byte) bool {
				params[strings.ToLower(string(key))] = string(value)
				return true
			})
			for _, p := range exts[i].Params {
				theirs, ok := params[p[0]]
				if repeated := len(exts[i].Params) > len(params); !ok || theirs != p[1] && !repeated { // of those gobwas/ws keeps the last
					t.Fatalf("%q: %s has %s=%q, gobwas reads %q", value, exts[i].Name, p[0], p[1], theirs)
				}
			}
			if exts[i].Name != strings.ToLower(string(options[i].Name)) {
				t.Fatalf("%q: name %q, gobwas reads %q", value, exts[i].Name, options[i].Name)
			}
		}
		if len(exts) != 1 || exts[0].Name != wire.Deflate || value != strings.ToLower(value) {
			return // gobwas/ws knows small letters only
		}
		ours, _, err := wire.Granted([]string{value})
		var theirs wsflate.Parameters
		theirErr := theirs.Parse(options[0])
		if (err == nil) != (theirErr == nil) && !unlikeWsflate(exts[0].Params) {
			t.Fatalf("%q: %v, gobwas says %v", value, err, theirErr)
		}
		if err != nil || theirErr != nil {
			return
		}
		want := wire.Compression{On: true, NoTakeover: [2]bool{theirs.ClientNoContextTakeover, theirs.ServerNoContextTakeover},
			ClientWindowBits: orBits(theirs.ClientMaxWindowBits), ServerWindowBits: orBits(theirs.ServerMaxWindowBits)}
		if ours != want {
			t.Fatalf("%q: %+v, gobwas reads %+v", value, ours, want)
		}
	})
}

// extensionList is the grammar of RFC 6455 section 9.1, with the list rule of RFC
// 9110 section 5.6.1.
var extensionList = func() *regexp.Regexp {
	const token, ows = "[!#$%&'*+.^_`|~0-9A-Za-z-]+", `[ \t]*`
	const param = ows + ";" + ows + token + `(=(` + token + `|"` + token + `"))?`
	const extension = token + `(` + param + `)*`
	return regexp.MustCompile(`^` + ows + extension + `(` + ows + `,` + ows + `(` + extension + `)?)*` + ows + `$`)
}()

func orBits(bits wsflate.WindowBits) int {
	if !bits.Defined() {
		return 15
	}
	return int(bits)
}

// unlikeWsflate reports whether a list of parameters is one that gobwas/ws reads
// otherwise: it also reads offers, in which client_max_window_bits needs no value,
// and refuses duplicates and values where there should be none, which wire, that
// has to follow whatever the ends agree on, reads as what they must mean.
func unlikeWsflate(params [][2]string) bool {
	seen := map[string]bool{}
	for _, p := range params {
		takesValue := strings.HasSuffix(p[0], "_max_window_bits")
		if seen[p[0]] || takesValue == (p[1] == "") {
			return true
		}
		seen[p[0]] = true
	}
	return false
}
