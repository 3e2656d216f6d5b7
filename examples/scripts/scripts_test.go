package scripts_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"

	"github.com/wstape/wstape/internal/wstest"
	"github.com/wstape/wstape/proxy"
	"github.com/wstape/wstape/script"
	"github.com/wstape/wstape/tape"
)

// timeout is script.timeout here: a busy machine and the race detector take theirs.
const timeout = 10 * time.Second

// scripts lists the examples, without their tests.
func scripts(t *testing.T) (paths []string) {
	t.Helper()
	for _, pattern := range []string{"*.js", "*.ts", "npm-package/*.js", "npm-package/*.ts"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range found {
			if !strings.Contains(path, ".test.") {
				paths = append(paths, path)
			}
		}
	}
	if len(paths) < 12 {
		t.Fatalf("only %d examples found: %v", len(paths), paths)
	}
	return paths
}

// requireModules skips what needs packages from npm when they are not installed;
// `make peers` says why they could not be.
func requireModules(t *testing.T, path string) {
	t.Helper()
	dir := filepath.Dir(path)
	if _, err := os.Stat(filepath.Join(dir, "package.json")); err != nil {
		return
	}
	if _, err := os.Stat(filepath.Join(dir, "node_modules")); err != nil {
		t.Skip("peer missing: node modules of examples/scripts: run e2e/peers/install.sh (make peers)")
	}
}

func TestEachIsTestedAndExplained(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range scripts(t) {
		ext := filepath.Ext(path)
		if _, err := os.Stat(strings.TrimSuffix(path, ext) + ".test" + ext); err != nil {
			t.Errorf("%s has no test: %v", path, err)
		}
		line := "" // of the table
		for _, l := range strings.Split(string(readme), "\n") {
			if strings.Contains(l, "]("+path+")") {
				line = l
			}
		}
		if !strings.Contains(line, "wstape proxy ") || !strings.Contains(line, "--script examples/scripts/"+path) {
			t.Errorf("README.md does not say what %s does and how to run it: %q", path, line)
		}
		source, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(source), "--script examples/scripts/"+path) {
			t.Errorf("%s does not say how to run it", path)
		}
	}
}

func TestEachLoads(t *testing.T) {
	for _, path := range scripts(t) {
		t.Run(path, func(t *testing.T) {
			requireModules(t, path)
			if _, err := script.Inspect(path, script.Options{}); err != nil {
				t.Error(script.Explain(err))
			}
		})
	}
}

// TestEachHoldsItsTest runs what `wstape script test examples/scripts` runs.
func TestEachHoldsItsTest(t *testing.T) {
	suites, err := script.Suites(".")
	if err != nil {
		t.Fatal(err)
	}
	if want := len(scripts(t)); len(suites) != want {
		t.Errorf("%d scripts have tests that are found, want %d", len(suites), want)
	}
	for _, suite := range suites {
		t.Run(suite.Script, func(t *testing.T) {
			requireModules(t, suite.Script)
			outcomes, err := suite.Run(script.SuiteOptions{Options: script.Options{Timeout: timeout}, Limit: time.Minute})
			if err != nil {
				t.Error(script.Explain(err))
			}
			for _, o := range outcomes {
				if f := o.Failure; f != nil {
					t.Errorf("%s: %s\n%s\nexpected %s\nactual   %s\n%s", f.Place, o.Name, f.Text, f.Expected, f.Actual, strings.Join(o.Log, "\n"))
				}
			}
		})
	}
}

// said is one message, as a peer says or hears it.
type said struct {
	Kind websocket.MessageType
	Data string
}

func text(data string) said   { return said{websocket.MessageText, data} }
func binary(data string) said { return said{websocket.MessageBinary, data} }

// TestOnTheWire runs some examples where they belong: between a client and an
// echo server, with and without compression.
func TestOnTheWire(t *testing.T) {
	for _, tc := range []struct {
		script string
		env    map[string]string
		say    []said // one after another
		hear   []said
	}{
		{
			script: "uppercase.js",
			say:    []said{text("hello"), text("ünïcödé"), binary("hello"), text("HI"), text(strings.Repeat("long ", 5000))},
			hear:   []said{text("HELLO"), text("ÜNÏCÖDÉ"), binary("hello"), text("HI"), text(strings.Repeat("LONG ", 5000))},
		},
		{
			script: "translate.js",
			say:    []said{text("Hello world"), text(`{"id": 9007199254740993, "text": "good morning"}`), text("nothing here")},
			hear:   []said{text("Hallo Welt"), text(`{"id": 9007199254740993, "text": "gut Morgen"}`), text("nothing here")},
		},
		{
			script: "chat-moderator.ts",
			say:    []said{text("hello"), text("what the heck"), text(`{"text":"darn"}`), text("hello again")},
			hear: []said{text("hello"), text(`Please do not say "heck" here.`),
				text(`{"type":"say","from":"moderator","text":"Please do not say \"darn\" here."}`), text("hello again")},
		},
		{
			script: "price-shock.ts",
			env:    map[string]string{"SHOCK_AFTER": "0"},
			say:    []said{text(`{ "id":9007199254740993,"price" : 100.10, "q":1.50 }`), text(`{"bid":"2.50"}`), text("price")},
			hear:   []said{text(`{ "id":9007199254740993,"price" : 70.07, "q":1.50 }`), text(`{"bid":"1.75"}`), text("price")},
		},
		{
			script: "mock-reply.js",
			say:    []said{text(`{"id":9007199254740993,"method":"feature.list"}`), text(`{"id":2,"method":"other"}`)},
			hear:   []said{text(`{"id":9007199254740993,"result":["dark-mode","beta"]}`), text(`{"id":2,"method":"other"}`)},
		},
		{
			script: "npm-package/msgpack-uppercase.js",
			say:    []said{binary("\x82\xa2id\xcf\x00\x20\x00\x00\x00\x00\x00\x01\xa4text\xa5hello"), binary("\xc1"), text("hello")},
			hear:   []said{binary("\x82\xa2id\xcf\x00\x20\x00\x00\x00\x00\x00\x01\xa4text\xa5HELLO"), binary("\xc1"), text("hello")},
		},
	} {
		for name, serve := range map[string]func(*testing.T) string{
			"gorilla": func(t *testing.T) string { return wstest.Echo(t) }, "coder": takeoverEcho,
		} {
			t.Run(tc.script+" "+name, func(t *testing.T) {
				requireModules(t, tc.script)
				conn := dial(t, through(t, tc.script, tc.env, serve(t)))
				for i, message := range tc.say {
					conn.say(message)
					if diff := cmp.Diff(tc.hear[i], conn.hear()); diff != "" {
						t.Errorf("message %d is not what was wanted (-want +got):\n%s", i, diff)
					}
				}
				conn.bye()
			})
		}
	}
}

func TestFlakyServerOnTheWire(t *testing.T) {
	conn := dial(t, through(t, "flaky-server.js", nil, wstest.Echo(t)))
	for range 1000 {
		conn.say(text("hello"))
		_, _, err := conn.Read(conn.ctx)
		if how := (websocket.CloseError{}); errors.As(err, &how) {
			if how.Code != websocket.StatusInternalError || how.Reason != "flaky" {
				t.Errorf("closed with %d %q, want 1011 flaky", how.Code, how.Reason)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Error("it never failed")
}

// TestInjectAuthOnTheWire asks a server what it was shown.
func TestInjectAuthOnTheWire(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{CompressionMode: websocket.CompressionContextTakeover})
		if err != nil {
			return // Accept has answered
		}
		_ = conn.Write(r.Context(), websocket.MessageText, []byte(r.Header.Get("Authorization")))
		_, _, _ = conn.Read(r.Context()) // until the client closes
	}))
	t.Cleanup(server.Close)
	conn := dial(t, through(t, "inject-auth.js", map[string]string{"API_TOKEN": "s3cret"}, server.Listener.Addr().String()))
	if diff := cmp.Diff(text("Bearer s3cret"), conn.hear()); diff != "" {
		t.Errorf("the server was not shown the token (-want +got):\n%s", diff)
	}
	conn.bye()
}

// TestLatencyOnTheWire: what is sent together comes back together.
func TestLatencyOnTheWire(t *testing.T) {
	conn := dial(t, through(t, "latency.js", nil, wstest.Echo(t)))
	began := time.Now()
	const count = 20
	for range count {
		conn.say(text("hello"))
	}
	for range count {
		conn.hear()
	}
	took := time.Since(began)
	// 200 to 300 ms each way. One after another it would be 4 s at least.
	if took < 400*time.Millisecond || took > 3*time.Second {
		t.Errorf("%d messages there and back took %v", count, took)
	}
}

// through starts a proxy with a script in front of a server, as
// `wstape proxy --script` does, and returns where clients connect. Whatever goes
// wrong in the script fails the test.
func through(t *testing.T, path string, env map[string]string, upstream string) (url string) {
	t.Helper()
	set, err := script.NewSet([]string{path}, script.Options{
		Env:     env,
		Timeout: timeout,
		Log: func(e script.Entry) {
			if e.Level == "error" {
				t.Errorf("script %s: %s", e.Script, e.Text)
			}
		},
	})
	if err != nil {
		t.Fatal(script.Explain(err))
	}
	t.Cleanup(set.Close)
	chain, err := set.Chain([]string{path})
	if err != nil {
		t.Fatal(err)
	}
	to, err := proxy.ParseUpstream("ws://" + upstream)
	if err != nil {
		t.Fatal(err)
	}
	p := proxy.New(proxy.Config{Routes: []proxy.Route{{
		Upstream: to,
		Stage:    func(about tape.Session, h proxy.Handle) proxy.Stage { return chain.Open(about, h) },
	}}})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- p.Serve(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = p.Shutdown(ctx) // its error is that it had to cut sessions off
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return "ws://" + ln.Addr().String()
}

// takeoverEcho serves an echo that compresses with context takeover.
func takeoverEcho(t *testing.T) (addr string) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{CompressionMode: websocket.CompressionContextTakeover, CompressionThreshold: 1})
		if err != nil {
			return // Accept has answered
		}
		defer func() { _ = conn.CloseNow() }()
		conn.SetReadLimit(-1)
		for {
			kind, data, err := conn.Read(r.Context())
			if err != nil || conn.Write(r.Context(), kind, data) != nil {
				return
			}
		}
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// client is a connection that fails the test.
type client struct {
	*websocket.Conn
	t   *testing.T
	ctx context.Context
}

// dial connects and offers compression, which both servers take.
func dial(t *testing.T, url string) *client {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wstest.Patience)
	t.Cleanup(cancel)
	conn, res, err := websocket.Dial(ctx, url, &websocket.DialOptions{CompressionMode: websocket.CompressionContextTakeover, CompressionThreshold: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.CloseNow() })
	if got := res.Header.Get("Sec-WebSocket-Extensions"); !strings.HasPrefix(got, "permessage-deflate") {
		t.Errorf("the server does not compress: Sec-WebSocket-Extensions is %q", got)
	}
	conn.SetReadLimit(-1)
	return &client{conn, t, ctx}
}

func (c *client) say(m said) {
	c.t.Helper()
	if err := c.Write(c.ctx, m.Kind, []byte(m.Data)); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) hear() said {
	c.t.Helper()
	kind, data, err := c.Read(c.ctx)
	if err != nil {
		c.t.Fatal(err)
	}
	return said{kind, string(data)}
}

// bye closes and wants the server's answer.
func (c *client) bye() {
	c.t.Helper()
	if err := c.Close(websocket.StatusNormalClosure, "bye"); err != nil {
		c.t.Error(err)
	}
}
