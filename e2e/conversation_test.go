package e2e

import (
	"bytes"
	"compress/flate"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
)

// noise is n characters that hardly compress by themselves, the same for the
// same seed: sent twice, they compress very well for who remembers.
func noise(seed string, n int) string {
	b := make([]byte, n/2)
	_, _ = rand.NewChaCha8(sha256.Sum256([]byte(seed))).Read(b) // never fails
	return hex.EncodeToString(b)
}

// every is each byte once.
func every() string {
	b := make([]byte, 256)
	for i := range b {
		b[i] = byte(i)
	}
	return string(b)
}

// TestConversation has every kind of client talk with every kind of server.
func TestConversation(t *testing.T) {
	t.Parallel()
	for _, serving := range kinds {
		for _, calling := range kinds {
			t.Run(calling+" client, "+serving+" server", func(t *testing.T) {
				t.Parallel()
				large := 100_000 // past what 16 bits of length can say
				if calling == serving {
					large = 1 << 20
				}
				converse(t, newClient(t, calling), startServer(t, serving, serverOptions{}), large)
			})
		}
	}
}

func converse(t *testing.T, c client, s *server, large int) {
	p := startProxy(t, "ws://"+s.addr)
	d := mustDial(t, c, p.url("/talk?to=me"), dialOptions{})
	if !strings.HasPrefix(d.Extensions, "permessage-deflate") {
		t.Fatalf("the client negotiated %q", d.Extensions)
	}
	var want []said
	both := func(op, data string) {
		for _, from := range []string{"client", "server"} {
			want = append(want, said{From: from, Op: op, Data: fold(data), Compressed: true})
		}
	}
	for _, data := range []string{"hello", "grüße, 世界 👋", noise("text", 3000), noise("text", 3000)} {
		echo(t, c, data)
		both("text", data)
	}
	for _, data := range []string{every(), noise("large", large)} {
		c.binary(data)
		op, back := c.hear()
		same(t, "the echo", []string{"binary", fold(data)}, []string{op, fold(back)})
		both("binary", data)
	}
	payload := c.ping()
	want = append(want, said{From: "client", Op: "ping", Data: payload}, said{From: "server", Op: "pong", Data: payload})
	hangUp(t, c, s, closing{Code: 1000, Reason: "that is all"})
	want = append(want, said{From: "client", Op: "close", Code: 1000, Data: "that is all"})

	tape := p.stop()
	got := tape.said(1)
	answer := got[len(got)-1] // some repeat the reason in their answer, some do not
	answer.Data = ""
	same(t, "the answer to the close", said{From: "server", Op: "close", Code: 1000}, answer)
	same(t, "the tape", want, got[:len(got)-1])

	e := tape.only()
	if !strings.HasPrefix(e.Extensions, d.Extensions) { // ws only tells the names
		t.Errorf("the tape says %q was negotiated, the client %q", e.Extensions, d.Extensions)
	}
	same(t, "ending", &ending{Kind: "close", Code: 1000, Reason: "that is all", From: "client"}, e.Ending)
	same(t, "state, status, URLs", []any{"closed", 101, "/talk?to=me", "ws://" + s.addr + "/talk?to=me"}, []any{e.State, e.Status, e.URL, e.Upstream})
	checkFrames(t, tape, e)
}

// checkFrames compares what ls counts, what the frames are, and what the
// messages say; and inflates the frames with an inflater that is not wstape's.
func checkFrames(t *testing.T, tape tapeFile, e session) {
	t.Helper()
	frames := read[frame](tape, "show", fmt.Sprint(e.N), "--frames", "--json")
	messages := tape.messages(e.N)
	for _, side := range []string{"client", "server"} {
		number, size := e.Frames.Client, e.Bytes.Client
		if side == "server" {
			number, size = e.Frames.Server, e.Bytes.Server
		}
		for _, f := range frames {
			if f.From != side {
				continue
			}
			number--
			size -= f.Len
			if f.Masked != (side == "client") || f.Len != len(f.B64) {
				t.Errorf("frame %d from the %s: masked %v, len %d, %d bytes", f.Seq, side, f.Masked, f.Len, len(f.B64))
			}
		}
		if number != 0 || size != 0 {
			t.Errorf("ls counts %d frames and %d bytes more from the %s than there are", number, size, side)
		}
		var clear strings.Builder
		for _, m := range messages {
			if m.From == side && m.Wire != nil {
				clear.WriteString(m.data())
			}
		}
		same(t, "the "+side+"'s frames, inflated", fold(clear.String()), fold(inflate(t, frames, side, e.Extensions)))
	}
}

// inflate is RFC 7692 section 7.2.2 for all compressed messages of one side.
func inflate(t *testing.T, frames []frame, side, extensions string) string {
	t.Helper()
	forgets := strings.Contains(extensions, side+"_no_context_takeover")
	var window, out []byte
	var wire bytes.Buffer
	compressed := false
	for _, f := range frames {
		if f.From != side || f.Opcode >= 8 {
			continue
		}
		if f.Opcode != 0 {
			compressed = f.RSV&4 != 0
		}
		if !compressed {
			continue
		}
		wire.Write(f.B64)
		if !f.Fin {
			continue
		}
		wire.WriteString("\x00\x00\xff\xff\x01\x00\x00\xff\xff") // its end, and one for the reader
		plain, err := io.ReadAll(flate.NewReaderDict(&wire, window))
		if err != nil {
			t.Fatalf("inflate the message that ends with frame %d: %v", f.Seq, err)
		}
		wire.Reset()
		out = append(out, plain...)
		if !forgets {
			window = append(window, plain...)
			window = window[max(0, len(window)-32<<10):]
		}
	}
	return string(out)
}

// TestTakeover looks at the wire: with context takeover a message that was sent
// before costs next to nothing, without it costs the same again.
func TestTakeover(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{python, node, coders} {
		for _, deflate := range []string{takeover, noTakeover, deflateOff} {
			t.Run(strings.TrimSpace(kind+" "+deflate), func(t *testing.T) {
				t.Parallel()
				again(t, kind, deflate)
			})
		}
	}
}

// again says the same again and again.
func again(t *testing.T, kind, deflate string) {
	// The one who does not want it is the client: who serves takes what is offered.
	s := startServer(t, kind, serverOptions{})
	p := startProxy(t, "ws://"+s.addr)
	c := newClient(t, kind)
	mustDial(t, c, p.url("/"), dialOptions{Deflate: deflate})
	text := noise("again and again", 2000)
	const times = 4
	for range times {
		echo(t, c, text)
	}
	c.close(1000, "")
	tape := p.stop()
	for _, from := range []string{"client", "server"} {
		var sizes []int
		for _, m := range tape.messages(1) {
			if m.From != from || m.Op != "text" {
				continue
			}
			same(t, "the text", fold(text), fold(m.data()))
			if m.Wire != nil {
				sizes = append(sizes, m.Wire.Len)
			}
		}
		if deflate == deflateOff {
			same(t, "sizes of compressed messages", 0, len(sizes))
			continue
		}
		same(t, "number of compressed messages", times, len(sizes))
		for _, size := range sizes[1:] {
			if remembers := size < sizes[0]/4; remembers != (deflate == takeover) {
				t.Errorf("wire sizes of the same text from the %s: %v", from, sizes)
			}
		}
	}
	checkFrames(t, tape, tape.only())
}

// TestCloseCodes lets each side close, in all the ways a program can.
func TestCloseCodes(t *testing.T) {
	t.Parallel()
	ways := []closing{
		{Code: 1000},
		{Code: 1001, Reason: "going away"},
		{Code: 1011, Reason: "broken"},
		{Code: 3000, Reason: "registered"},
		{Code: 4001, Reason: "kicked"},
		{Code: 4999, Reason: "tschüß, 再见 👋"},
		{Code: 4002, Reason: strings.Repeat("r", 123)}, // the longest there is
	}
	for _, kind := range []string{python, node} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, kind, serverOptions{})
			p := startProxy(t, "ws://"+s.addr)
			c := newClient(t, kind)
			var want []*ending
			for _, how := range ways {
				mustDial(t, c, p.url("/"), dialOptions{})
				same(t, "the answer to the client", how, c.close(how.Code, how.Reason))
				same(t, "what the server saw", how, s.ended())
				want = append(want, &ending{Kind: "close", Code: how.Code, Reason: how.Reason, From: "client"})

				mustDial(t, c, p.url("/close?"+how.query()), dialOptions{})
				c.text("close, please")
				same(t, "what the client saw", how, c.closed())
				same(t, "the answer to the server", how, s.ended())
				want = append(want, &ending{Kind: "close", Code: how.Code, Reason: how.Reason, From: "server"})
			}
			if kind == node { // the other always gives a code
				none := closing{Code: 1005}
				mustDial(t, c, p.url("/"), dialOptions{})
				same(t, "the answer to the client", none, c.close(0, ""))
				same(t, "what the server saw", none, s.ended())
				want = append(want, &ending{Kind: "close", From: "client"})

				mustDial(t, c, p.url("/close"), dialOptions{})
				c.text("close, please")
				same(t, "what the client saw", none, c.closed())
				same(t, "the answer to the server", none, s.ended())
				want = append(want, &ending{Kind: "close", From: "server"})
			}
			var got []*ending
			for _, e := range p.stop().sessions() {
				got = append(got, e.Ending)
				same(t, "state", "closed", e.State)
			}
			same(t, "endings", want, got)
		})
	}
}

// TestServerPings: a ping from the server reaches the client and its pong comes back.
func TestServerPings(t *testing.T) {
	t.Parallel()
	for _, serving := range []string{python, node} {
		for _, calling := range kinds {
			t.Run(calling+" client, "+serving+" server", func(t *testing.T) {
				t.Parallel()
				s := startServer(t, serving, serverOptions{})
				p := startProxy(t, "ws://"+s.addr)
				c := newClient(t, calling)
				mustDial(t, c, p.url("/ping"), dialOptions{Deflate: deflateOff})
				c.text("42")
				_, data := c.hear()
				same(t, "the answer", "ponged 42", data)
				c.close(1000, "")
				same(t, "the tape", []said{
					{From: "client", Op: "text", Data: "42"},
					{From: "server", Op: "ping", Data: "42"},
					{From: "client", Op: "pong", Data: "42"},
					{From: "server", Op: "text", Data: "ponged 42"},
					{From: "client", Op: "close", Code: 1000},
					{From: "server", Op: "close", Code: 1000},
				}, p.stop().said(1))
			})
		}
	}
}

// TestNoServer: the client is refused, and the tape says why.
func TestNoServer(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			p := startProxy(t, "ws://"+deadPort(t))
			d := newClient(t, kind).dial(p.url("/chat"), dialOptions{})
			same(t, "status", 502, d.Status)
			if kind == python {
				same(t, "exception", "InvalidStatusCode", d.Error)
			}
			e := p.stop().only()
			same(t, "state and status", []any{"refused", 502}, []any{e.State, e.Status})
			if e.Ending == nil || e.Ending.Kind != "error" || !strings.Contains(e.Ending.Why, "connection refused") {
				t.Errorf("ending %+v does not say that the connection was refused", e.Ending)
			}
		})
	}
}

// TestRefusal: the server's no arrives as its own.
func TestRefusal(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Why", "members only")
		http.Error(w, "you are not on the list", http.StatusForbidden)
	}))
	defer s.Close()
	p := startProxy(t, s.URL)
	for _, kind := range []string{python, node, coders} {
		t.Run(kind, func(t *testing.T) {
			same(t, "status", 403, newClient(t, kind).dial(p.url("/"), dialOptions{}).Status)
		})
	}
	_, res, err := websocket.DefaultDialer.Dial(p.url("/"), nil)
	if err == nil {
		t.Fatal("connected to a server that refuses")
	}
	body, err := io.ReadAll(res.Body)
	must(t, err)
	same(t, "refusal", []string{"members only", "you are not on the list\n"}, []string{res.Header.Get("X-Why"), string(body)})
	for _, e := range p.stop().sessions() {
		same(t, "state and status", []any{"refused", 403}, []any{e.State, e.Status})
	}
}

func (how closing) query() string {
	return fmt.Sprintf("code=%d&reason=%s", how.Code, url.QueryEscape(how.Reason))
}
