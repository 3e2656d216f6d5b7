package proxy_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	coder "github.com/coder/websocket"
	"github.com/gorilla/websocket"

	"github.com/wstape/wstape/internal/wstest"
	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/tape"
)

// messages are the sizes that an echo is tried with.
func messages() []string {
	var out []string
	for _, n := range append(wstest.Edges(), 200_000) {
		out = append(out, strings.Repeat("é", n/2)+strings.Repeat("x", n%2))
	}
	return out
}

func TestGorillaTalksThroughTheProxy(t *testing.T) {
	for _, c := range carriages()[:2] {
		r := start(t, c.apply, func(s *setup) { s.upstream = wstest.Echo(t) })
		dialer := websocket.Dialer{TLSClientConfig: r.clientTo, EnableCompression: true}
		scheme := map[bool]string{false: "ws://", true: "wss://"}[c.clientSecure]
		conn, _, err := dialer.Dial(scheme+r.addr, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range messages() {
			if err := conn.WriteMessage(websocket.TextMessage, []byte(want)); err != nil {
				t.Fatal(err)
			}
			if _, got, err := conn.ReadMessage(); err != nil || string(got) != want {
				t.Fatalf("%d bytes came back as %d, %v", len(want), len(got), err)
			}
		}
		_ = conn.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(1000, "done"))
		if _, _, err := conn.ReadMessage(); !websocket.IsCloseError(err, 1000) {
			t.Errorf("ended with %v", err)
		}
		_ = conn.Close()
		r.ending(1, tape.Ending{Kind: tape.EndClose, Code: 1000, Reason: "done", From: of(tape.Client)})
		onTape(t, r, messages())
	}
}

// TestCoderTalksThroughTheProxy compresses with context takeover, which gorilla
// does not know.
func TestCoderTalksThroughTheProxy(t *testing.T) {
	for mode, extension := range map[coder.CompressionMode]string{
		coder.CompressionDisabled:          "",
		coder.CompressionContextTakeover:   "permessage-deflate",
		coder.CompressionNoContextTakeover: "permessage-deflate; client_no_context_takeover; server_no_context_takeover",
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { coderEcho(w, req, mode) }))
		t.Cleanup(server.Close)
		r := start(t, func(s *setup) { s.upstream = server.Listener.Addr().String() })
		ctx, cancel := context.WithTimeout(context.Background(), wstest.Patience)
		defer cancel()
		conn, _, err := coder.Dial(ctx, "ws://"+r.addr+"/x", &coder.DialOptions{CompressionMode: mode, CompressionThreshold: 1})
		if err != nil {
			t.Fatal(err)
		}
		conn.SetReadLimit(1 << 20)
		for _, want := range messages() {
			if err := conn.Write(ctx, coder.MessageText, []byte(want)); err != nil {
				t.Fatal(err)
			}
			if _, got, err := conn.Read(ctx); err != nil || string(got) != want {
				t.Fatalf("%d bytes came back as %d, %v", len(want), len(got), err)
			}
		}
		if err := conn.Close(coder.StatusNormalClosure, "done"); err != nil {
			t.Errorf("close: %v", err)
		}
		r.ending(1, tape.Ending{Kind: tape.EndClose, Code: 1000, Reason: "done", From: of(tape.Client)})
		if got := r.ended(1).Extensions; got != extension {
			t.Errorf("extensions %q, want %q", got, extension)
		}
		onTape(t, r, messages())
	}
}

func coderEcho(w http.ResponseWriter, r *http.Request, mode coder.CompressionMode) {
	conn, err := coder.Accept(w, r, &coder.AcceptOptions{CompressionMode: mode, CompressionThreshold: 1})
	if err != nil {
		return // Accept has answered
	}
	defer conn.CloseNow()
	conn.SetReadLimit(1 << 20)
	for {
		kind, message, err := conn.Read(r.Context())
		if err != nil || conn.Write(r.Context(), kind, message) != nil {
			return
		}
	}
}

// onTape wants the messages of both sides on the tape, in clear text.
func onTape(t *testing.T, r *rig, want []string) {
	t.Helper()
	var got [2][]string
	for line, err := range record.Lines(context.Background(), r.tape, 1, record.ReadOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		if m := line.Message; m != nil && m.Op == tape.Text {
			got[m.From] = append(got[m.From], string(m.Payload))
		}
	}
	for _, from := range tape.Sides() {
		if strings.Join(got[from], "\n") != strings.Join(want, "\n") {
			t.Errorf("%d messages of the %v on the tape, not those %d that were sent", len(got[from]), from, len(want))
		}
	}
}
