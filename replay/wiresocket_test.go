package replay

import (
	"bytes"
	"context"
	"net"
	"net/url"
	"testing"

	"github.com/klauspost/compress/flate"

	"github.com/wstape/wstape/internal/wire"
	"github.com/wstape/wstape/internal/wstest"
	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/tape"
)

// taped records frames of both sides as the proxy would, and prepares them for a
// player on the wire.
func taped(t *testing.T, role tape.Side, about tape.Session, frames []wstest.Frame, sides []tape.Side) *Recording {
	t.Helper()
	ctx, memory := t.Context(), record.NewMemory()
	recorder := record.NewRecorder(memory, record.Options{})
	tap, err := recorder.Begin(about)
	if err != nil {
		t.Fatal(err)
	}
	var extensions []string
	if about.Extensions != "" {
		extensions = []string{about.Extensions}
	}
	tap.Answered("ws://upstream/", 101, about.Subprotocol, extensions, tape.Response{Status: 101})
	for i, f := range frames {
		var parts []tape.Part
		w := wire.NewWalker(sides[i], about.Extensions != "")
		tap.Parts(sides[i], tape.LegBoth, w.Walk(parts, f.From(sides[i]).Append(nil)))
	}
	server := tape.Server
	tap.End(tape.Ending{Kind: tape.EndEOF, From: &server})
	if err := recorder.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := Load(ctx, role, []Source{{memory, tap.Number(), "session 1"}}, Matching{Wire: true})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// serveWire plays a fake server on the wire and returns a raw client that has
// its 101.
func serveWire(t *testing.T, r *Recording, offer ...string) (*wstest.Peer, func() *Report) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	reports := make(chan *Report, 1)
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	go func() {
		report, _ := Serve(ctx, ln, r, Options{Matching: Matching{Wire: true}}, Serving{Once: true})
		reports <- report
	}()
	peer := wstest.Dial(t, ln.Addr().String(), nil)
	peer.WriteString(wstest.Request("/", offer...))
	peer.ReadHead()
	return peer, func() *Report { return <-reports }
}

func TestWirePlaysFramesAsTheyWere(t *testing.T) {
	C, S := tape.Client, tape.Server
	bad := wstest.New(tape.Close, "\x03")
	reserved := wstest.New(tape.Opcode(3), "private")
	frames := []wstest.Frame{
		wstest.New(tape.Text, "hello"),
		wstest.New(tape.Text, "wor").Part(false),
		wstest.New(tape.Ping, "between"),
		wstest.New(tape.Continuation, "ld"),
		reserved,
		bad,
	}
	sides := []tape.Side{C, S, S, S, S, S}
	peer, report := serveWire(t, taped(t, tape.Server, tape.Session{URL: "/"}, frames, sides))
	peer.Send(frames[0].From(C))
	peer.Expect(frames[1:]...)
	peer.Send(wstest.New(tape.Pong, "between").From(C), wstest.CloseFrame(1002, "").From(C))
	peer.CloseWrite()
	if r := report(); !r.Held() {
		t.Errorf("%s", reportText(r))
	}
}

// TestWireCompression plays messages that refer to those before them, as long as
// the peer has seen those.
func TestWireCompression(t *testing.T) {
	C, S := tape.Client, tape.Server
	const id, other = "7d444840-9dc0-11d1-b245-5ffdce74fad2", "0192f0c1-7b1c-7e55-9d6a-3f1b2c4d5e6f"
	texts := []string{`{"type":"welcome"}`, `{"id":"` + id + `"}`, `{"type":"welcome"}`}
	var packed bytes.Buffer
	z, err := flate.NewWriter(&packed, 6)
	if err != nil {
		t.Fatal(err)
	}
	compress := func(text string) wstest.Frame {
		packed.Reset()
		_, _ = z.Write([]byte(text))
		_ = z.Flush()
		f := wstest.New(tape.Text, string(bytes.TrimSuffix(packed.Bytes(), []byte("\x00\x00\xff\xff"))))
		f.RSV = 4
		return f
	}
	ask := wstest.New(tape.Text, `{"id":"`+id+`"}`)
	frames := []wstest.Frame{compress(texts[0]), ask, compress(texts[1]), compress(texts[2])}
	sides := []tape.Side{S, C, S, S}
	about := tape.Session{URL: "/", Extensions: "permessage-deflate"}
	plain := func(text string) wstest.Frame { return wstest.New(tape.Text, text) }
	for _, tc := range []struct {
		name, offer, id string
		want            []wstest.Frame
	}{
		{"as recorded", "Sec-WebSocket-Extensions: permessage-deflate", id, []wstest.Frame{frames[2], frames[3]}},
		// From the first message that is another on, nothing refers to it.
		{"another id", "Sec-WebSocket-Extensions: permessage-deflate", other, []wstest.Frame{plain(`{"id":"` + other + `"}`), plain(texts[2])}},
		{"not offered", "X-Nothing: here", id, []wstest.Frame{plain(texts[1]), plain(texts[2])}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			peer, report := serveWire(t, taped(t, tape.Server, about, frames, sides), tc.offer)
			first := frames[0]
			if tc.name == "not offered" {
				first = plain(texts[0])
			}
			peer.Expect(first)
			peer.Send(plain(`{"id":"` + tc.id + `"}`).From(C))
			peer.Expect(tc.want...)
			peer.ExpectEOF()
			peer.CloseWrite()
			if r := report(); !r.Held() {
				t.Errorf("%s", reportText(r))
			}
		})
	}
}

// TestWireClient drives a raw server, with the recorded masks.
func TestWireClient(t *testing.T) {
	C, S := tape.Client, tape.Server
	first := wstest.New(tape.Binary, "fragm").Part(false).From(C)
	last := wstest.New(tape.Continuation, "ents").From(C)
	answer := wstest.New(tape.Text, "thanks")
	r := taped(t, C, tape.Session{URL: "/"}, []wstest.Frame{first, last, answer}, []tape.Side{C, C, S})
	server := wstest.Listen(t, nil)
	reports := make(chan *Report, 1)
	go func() {
		report, _ := r.Drive(t.Context(), Dialing{URL: &url.URL{Scheme: "ws", Host: server.Addr}}, Options{Matching: Matching{Wire: true}})
		reports <- report
	}()
	peer := server.Accept()
	key := ""
	for _, line := range bytes.Split([]byte(peer.ReadHead()), []byte("\r\n")) {
		if name, value, ok := bytes.Cut(line, []byte(": ")); ok && bytes.EqualFold(name, []byte("Sec-WebSocket-Key")) {
			key = string(value)
		}
	}
	peer.WriteString("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + acceptKey(key) + "\r\n\r\n")
	peer.Expect(first, last)
	peer.Send(answer.Part(false), wstest.New(tape.Ping, "still there?"), wstest.New(tape.Continuation, "")) // fragmented otherwise: the same message
	if f := peer.Receive(); f.Op != tape.Pong {
		t.Errorf("%v came for a ping", f)
	}
	peer.CloseWrite()
	if report := <-reports; !report.Held() {
		t.Errorf("%s", reportText(report))
	}
}
