package proxy_test

import (
	"strings"
	"testing"
	"time"

	"github.com/wstape/wstape/internal/wstest"
	"github.com/wstape/wstape/tape"
)

// However a handshake's head arrives, and whoever serves it, the session begins,
// and what came behind the head is not lost.
func TestAHandshakeHoweverItsHeadArrives(t *testing.T) {
	hello := wstest.New(tape.Text, "hello").From(tape.Client)
	whole := wstest.Request("/") + string(hello.Append(nil))
	for name, pieces := range map[string][]string{
		"at once":              {whole},
		"with a bare newline":  {strings.ReplaceAll(wstest.Request("/"), "\r\n", "\n") + string(hello.Append(nil))},
		"cut inside a line":    {whole[:20], whole[20:]},
		"cut before the end":   {whole[:len(wstest.Request("/"))-1], whole[len(wstest.Request("/"))-1:]},
		"cut behind the head":  {wstest.Request("/"), string(hello.Append(nil))},
		"longer than a buffer": {wstest.Request("/", "X-Long: "+strings.Repeat("x", 20_000)) + string(hello.Append(nil))},
		"behind a long line":   {wstest.Request("/", "X-Long: "+strings.Repeat("x", 3900)), string(hello.Append(nil))},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t)
			client := r.dial()
			for _, piece := range pieces {
				client.WriteString(piece)
				client.Drain() // it has been read, so that the next piece is a read of its own
			}
			server := r.upstream.Accept()
			server.ReadHead()
			server.WriteString(wstest.Switching())
			client.ReadHead()
			server.Expect(hello)
		})
	}
}

// A client that is refused may ask again on the same connection, for a socket or
// for a page.
func TestARefusedClientMayAskAgain(t *testing.T) {
	for _, framing := range []string{"length", "chunked"} {
		r := start(t)
		client := r.dial()
		client.WriteString(wstest.Request("/"))
		server := r.upstream.Accept()
		server.ReadHead()
		server.WriteString("HTTP/1.1 401 Unauthorized\r\n" + framed(framing, "who are you?"))
		if res, body := answer(t, client); res.StatusCode != 401 || body != "who are you?" {
			t.Fatalf("%s: %s, %q", framing, res.Status, body)
		}
		client.WriteString(wstest.Request("/", "Authorization: Basic YTpi"))
		server = r.upstream.Accept()
		server.ReadHead()
		server.WriteString(wstest.Switching())
		client.ReadHead()
		hello := wstest.New(tape.Text, "hello")
		server.Send(hello)
		client.Expect(hello)
	}
}

// What is no handshake in every respect is net/http's to judge.
func TestWhatIsNoHandshakeIsAnsweredAsBefore(t *testing.T) {
	for name, test := range map[string]struct {
		request string
		status  int
	}{
		"no host":             {strings.Replace(wstest.Request("/"), "Host:", "X-Host:", 1), 400},
		"a control character": {strings.Replace(wstest.Request("/"), "\r\n\r\n", "\r\nX-Odd: a\x01b\r\n\r\n", 1), 400},
		"a bare return":       {strings.Replace(wstest.Request("/"), "\r\n\r\n", "\r\nX-Odd: a\rb\r\n\r\n", 1), 400},
		"garbage":             {"GET\r\n\r\n", 400},
		"another protocol":    {"SSH-2.0-client\r\n\r\n", 400},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t)
			client := r.dial()
			client.WriteString(test.request)
			if res, _ := answer(t, client); res.StatusCode != test.status {
				t.Errorf("answered %s, want %d", res.Status, test.status)
			}
		})
	}
}

func TestAClientThatAsksNothingIsLetGo(t *testing.T) {
	for _, request := range []string{"", "GET / HTTP/1.1\r\nHost: a\r\n"} {
		r := start(t, func(c *setup) { c.HandshakeTimeout = 50 * time.Millisecond })
		client := r.dial()
		client.WriteString(request)
		_, _ = client.ReadAll() // returns
	}
}

func TestShutdownDoesNotWaitForAClientThatAsksNothing(t *testing.T) {
	r := start(t, patient)
	client := r.dial()
	client.WriteString("GET / HTTP/1.1\r\n")
	client.Drain()
	wait, _ := r.shutdown()
	if err := wait(); err != nil {
		t.Error(err)
	}
	_, _ = client.ReadAll()
}
