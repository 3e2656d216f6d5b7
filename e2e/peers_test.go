package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	coder "github.com/coder/websocket"
	"github.com/gorilla/websocket"
)

// The kinds of peers that can be either end.
const (
	python  = "python"
	node    = "node"
	gorilla = "gorilla"
	coders  = "coder"
)

var kinds = []string{python, node, gorilla, coders}

// Words for compression; the default is a library's own, with context takeover
// where it has that, and down to the shortest message.
const (
	deflateOff = "off"
	noTakeover = "no_takeover"
	takeover   = "" // the default
)

// closing is how a peer saw its connection end.
type closing struct {
	Code   int    `json:"code"`
	Reason string `json:"reason"`
	Error  string `json:"error"`
}

// peerFile is the path of a peer's program.
func peerFile(t testing.TB, parts ...string) string {
	path, err := filepath.Abs(filepath.Join(append([]string{"peers"}, parts...)...))
	must(t, err)
	return path
}

const installHint = "run e2e/peers/install.sh"

// TestPeers says which peers are missing; everything else depends on them.
func TestPeers(t *testing.T) {
	for name, require := range map[string]func(testing.TB){
		"python": requirePython, "node": requireNode, "chromium": requireChromium,
		"mitmproxy": func(t testing.TB) { requireProgram(t, "mitmdump") }, "tshark": func(t testing.TB) { requireProgram(t, "tshark") },
	} {
		t.Run(name, func(t *testing.T) { require(t) })
	}
}

func pythonPath() string   { return env("WSTAPE_PYTHON", "/usr/bin/python3") }
func nodePath() string     { return env("WSTAPE_NODE", "node") }
func chromiumPath() string { return env("WSTAPE_CHROMIUM", "/usr/bin/chromium") }

// havePython imports the library once; that takes a while.
var havePython = sync.OnceValue(func() bool {
	return exec.Command(pythonPath(), "-c", "import websockets").Run() == nil
})

func requirePython(t testing.TB) {
	t.Helper()
	requirePeer(t, "python3-websockets", havePython(), installHint)
}

func requireNode(t testing.TB) {
	t.Helper()
	_, err := exec.LookPath(nodePath())
	requirePeer(t, "node", err == nil, "install Node.js 20 or newer")
	requireModule(t, "ws")
}

func requireChromium(t testing.TB) {
	t.Helper()
	_, err := exec.LookPath(chromiumPath())
	requirePeer(t, "chromium", err == nil, installHint)
	requireNode(t)
	requireModule(t, "playwright-core")
}

func requireProgram(t testing.TB, name string) {
	t.Helper()
	_, err := exec.LookPath(name)
	requirePeer(t, name, err == nil, installHint)
}

func requireModule(t testing.TB, name string) {
	t.Helper()
	_, err := os.Stat(peerFile(t, "node", "node_modules", name))
	requirePeer(t, "node module "+name, err == nil, installHint)
}

// startPeer runs a peer's program with its interpreter.
func startPeer(t testing.TB, kind, program string, args ...string) *process {
	t.Helper()
	command := nodePath()
	if kind == python {
		requirePython(t)
		command = pythonPath()
	} else {
		requireNode(t)
	}
	return start(t, kind+" "+program, append([]string{command, peerFile(t, kind, program)}, args...)...)
}

// server is a running echo server.
type server struct {
	*process        // nil for those in this process
	addr     string // HOST:PORT
	ended    func() closing
}

// serverOptions are for every kind, except Page, which only node serves.
type serverOptions struct {
	Deflate string `json:"deflate,omitempty"`
	Page    string `json:"page,omitempty"`
	tls     *pair
	unix    string // a socket to listen on; only for those in this process
}

func startServer(t testing.TB, kind string, o serverOptions) *server {
	t.Helper()
	switch kind {
	case python:
		var args []string
		if o.tls != nil {
			args = []string{"--cert", o.tls.cert, "--key", o.tls.key}
		}
		return childServer(startPeer(t, kind, "server.py", args...))
	case node:
		text, err := json.Marshal(o)
		must(t, err)
		return childServer(startPeer(t, kind, "server.js", string(text)))
	}
	return goServer(t, kind, o)
}

func childServer(p *process) *server {
	p.t.Helper()
	line := p.line()
	port, ok := strings.CutPrefix(line, "listening ")
	if !ok {
		p.t.Fatalf("%s said %q instead of where it listens", p.name, line)
	}
	return &server{process: p, addr: "127.0.0.1:" + port, ended: func() (how closing) {
		p.t.Helper()
		p.answer(&how)
		return how
	}}
}

// goServer serves in this process.
func goServer(t testing.TB, kind string, o serverOptions) *server {
	ended := make(chan closing, 64)
	echo := map[string]func(http.ResponseWriter, *http.Request, string) closing{gorilla: gorillaEcho, coders: coderEcho}[kind]
	var serving sync.WaitGroup
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		serving.Add(1)
		defer serving.Done()
		ended <- echo(w, r, o.Deflate)
	}))
	if o.unix != "" {
		_ = s.Listener.Close()
		var err error
		s.Listener, err = net.Listen("unix", o.unix)
		must(t, err)
	}
	if o.tls != nil {
		s.TLS = &tls.Config{Certificates: []tls.Certificate{o.tls.load(t)}}
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(func() {
		s.Close()
		serving.Wait()
	})
	return &server{addr: s.Listener.Addr().String(), ended: func() closing {
		t.Helper()
		how, _ := receive(t, "the "+kind+" server's connection to end", ended)
		return how
	}}
}

func gorillaEcho(w http.ResponseWriter, r *http.Request, deflate string) closing {
	up := websocket.Upgrader{EnableCompression: deflate != deflateOff}
	c, err := up.Upgrade(w, r, nil)
	if err != nil {
		return closing{Error: err.Error()}
	}
	defer c.Close()
	for {
		kind, data, err := c.ReadMessage()
		if err != nil {
			return gorillaClosing(err)
		}
		if err := c.WriteMessage(kind, data); err != nil {
			return closing{Error: err.Error()}
		}
	}
}

func gorillaClosing(err error) closing {
	if how := (*websocket.CloseError)(nil); errors.As(err, &how) {
		return closing{Code: how.Code, Reason: how.Text}
	}
	return closing{Code: websocket.CloseAbnormalClosure, Error: err.Error()}
}

// Coder's default leaves short messages uncompressed.
const coderThreshold = 1

func coderMode(deflate string) coder.CompressionMode {
	return map[string]coder.CompressionMode{
		deflateOff: coder.CompressionDisabled, noTakeover: coder.CompressionNoContextTakeover, takeover: coder.CompressionContextTakeover,
	}[deflate]
}

func coderEcho(w http.ResponseWriter, r *http.Request, deflate string) closing {
	c, err := coder.Accept(w, r, &coder.AcceptOptions{CompressionMode: coderMode(deflate), CompressionThreshold: coderThreshold})
	if err != nil {
		return closing{Error: err.Error()}
	}
	defer c.CloseNow()
	c.SetReadLimit(-1)
	for {
		kind, data, err := c.Read(r.Context())
		if err != nil {
			return coderClosing(err)
		}
		if err := c.Write(r.Context(), kind, data); err != nil {
			return closing{Error: err.Error()}
		}
	}
}

func coderClosing(err error) closing {
	if how := (coder.CloseError{}); errors.As(err, &how) {
		return closing{Code: int(how.Code), Reason: how.Reason}
	}
	return closing{Code: int(coder.StatusAbnormalClosure), Error: err.Error()}
}

// dialOptions are for every kind of client.
type dialOptions struct {
	CA      string `json:"ca,omitempty"` // a PEM file
	Deflate string `json:"deflate,omitempty"`
}

// dialled is how the handshake went.
type dialled struct {
	Extensions string
	Error      string
	Status     int
}

// client is one connection at a time, opened with dial. What fails, fails the test.
type client interface {
	dial(url string, o dialOptions) dialled
	text(data string)
	binary(data string)
	hear() (op, data string) // op close: the connection has ended, data is empty
	ping() (payload string)  // waits for the pong
	close(code int, reason string) closing
	closed() closing // waits for it
}

func newClient(t testing.TB, kind string) client {
	t.Helper()
	switch kind {
	case python:
		return &childClient{startPeer(t, kind, "client.py")}
	case node:
		return &childClient{startPeer(t, kind, "client.js")}
	case gorilla:
		return &gorillaClient{t: t}
	}
	return &coderClient{t: t, ctx: within(t)}
}

// mustDial connects.
func mustDial(t testing.TB, c client, url string, o dialOptions) dialled {
	t.Helper()
	d := c.dial(url, o)
	if d.Error != "" {
		t.Fatalf("connect to %s: %s (status %d)", url, d.Error, d.Status)
	}
	return d
}

// echo sends a text and wants it back.
func echo(t testing.TB, c client, text string) {
	t.Helper()
	c.text(text)
	op, data := c.hear()
	same(t, "the echo", []string{"text", fold(text)}, []string{op, fold(data)})
}

// hangUp has the client close. Some servers repeat the reason in their answer,
// some do not.
func hangUp(t testing.TB, c client, s *server, how closing) {
	t.Helper()
	same(t, "code of the answer", how.Code, c.close(how.Code, how.Reason).Code)
	same(t, "how the server saw it end", how, s.ended())
}

// childClient is a program that does as it is told, a JSON line at a time.
type childClient struct{ *process }

type order struct {
	Do     string  `json:"do"`
	URL    string  `json:"url,omitempty"`
	Text   *string `json:"text,omitempty"`
	B64    []byte  `json:"b64,omitempty"`
	Code   int     `json:"code,omitempty"`
	Reason string  `json:"reason,omitempty"`
	dialOptions
}

func (c *childClient) dial(url string, o dialOptions) (d dialled) {
	c.t.Helper()
	c.ask(order{Do: "connect", URL: url, dialOptions: o}, &d)
	return d
}

func (c *childClient) text(data string) {
	c.t.Helper()
	c.ask(order{Do: "send", Text: &data}, &struct{}{})
}

func (c *childClient) binary(data string) {
	c.t.Helper()
	c.ask(order{Do: "send", B64: []byte(data)}, &struct{}{})
}

func (c *childClient) hear() (op, data string) {
	c.t.Helper()
	var m struct {
		Text  *string
		B64   []byte
		Error string
	}
	c.ask(order{Do: "recv"}, &m)
	switch {
	case m.Error != "":
		return "close", ""
	case m.Text != nil:
		return "text", *m.Text
	}
	return "binary", string(m.B64)
}

func (c *childClient) ping() string {
	c.t.Helper()
	payload := "are you there?"
	c.ask(order{Do: "ping", Text: &payload}, &struct{}{})
	return payload
}

func (c *childClient) close(code int, reason string) (how closing) {
	c.t.Helper()
	c.ask(order{Do: "close", Code: code, Reason: reason}, &how)
	return how
}

func (c *childClient) closed() (how closing) {
	c.t.Helper()
	c.ask(order{Do: "closed"}, &how)
	return how
}

// gorillaClient reads on a goroutine, as pongs and closes come only to a reader.
type gorillaClient struct {
	t     testing.TB
	conn  *websocket.Conn
	heard chan []string
	pongs chan string
	ended chan closing
}

func (c *gorillaClient) dial(url string, o dialOptions) dialled {
	c.t.Helper()
	d := websocket.Dialer{EnableCompression: o.Deflate != deflateOff, TLSClientConfig: trust(c.t, o.CA), HandshakeTimeout: patience}
	conn, res, err := d.Dial(url, nil)
	switch {
	case err != nil && res != nil:
		return dialled{Error: err.Error(), Status: res.StatusCode}
	case err != nil:
		return dialled{Error: err.Error()}
	}
	c.conn, c.heard, c.pongs, c.ended = conn, make(chan []string, 64), make(chan string, 1), make(chan closing, 1)
	conn.SetPongHandler(func(payload string) error {
		c.pongs <- payload
		return nil
	})
	reading := make(chan struct{})
	go func() {
		defer close(reading)
		c.read()
	}()
	c.t.Cleanup(func() {
		_ = conn.Close()
		<-reading
	})
	return dialled{Extensions: res.Header.Get("Sec-WebSocket-Extensions")}
}

func (c *gorillaClient) read() {
	defer c.conn.Close()
	for {
		kind, data, err := c.conn.ReadMessage()
		if err != nil {
			close(c.heard)
			c.ended <- gorillaClosing(err)
			return
		}
		c.heard <- []string{map[int]string{websocket.TextMessage: "text", websocket.BinaryMessage: "binary"}[kind], string(data)}
	}
}

func (c *gorillaClient) text(data string) {
	c.t.Helper()
	must(c.t, c.conn.WriteMessage(websocket.TextMessage, []byte(data)))
}

func (c *gorillaClient) binary(data string) {
	c.t.Helper()
	must(c.t, c.conn.WriteMessage(websocket.BinaryMessage, []byte(data)))
}

func (c *gorillaClient) hear() (op, data string) {
	c.t.Helper()
	m, ok := receive(c.t, "a message", c.heard)
	if !ok {
		return "close", ""
	}
	return m[0], m[1]
}

func (c *gorillaClient) ping() string {
	c.t.Helper()
	payload := "are you there?"
	must(c.t, c.conn.WriteControl(websocket.PingMessage, []byte(payload), time.Now().Add(patience)))
	back, _ := receive(c.t, "a pong", c.pongs)
	same(c.t, "the pong", payload, back)
	return payload
}

func (c *gorillaClient) close(code int, reason string) closing {
	c.t.Helper()
	must(c.t, c.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, reason), time.Now().Add(patience)))
	return c.closed()
}

func (c *gorillaClient) closed() closing {
	c.t.Helper()
	how, _ := receive(c.t, "the connection to end", c.ended)
	return how
}

// coderClient reads on a goroutine for the same reason.
type coderClient struct {
	t     testing.TB
	ctx   context.Context
	conn  *coder.Conn
	heard chan []string
	ended chan closing
}

func (c *coderClient) dial(url string, o dialOptions) dialled {
	c.t.Helper()
	transport := &http.Transport{TLSClientConfig: trust(c.t, o.CA)}
	c.t.Cleanup(transport.CloseIdleConnections)
	conn, res, err := coder.Dial(c.ctx, url, &coder.DialOptions{
		HTTPClient: &http.Client{Transport: transport}, CompressionMode: coderMode(o.Deflate), CompressionThreshold: coderThreshold,
	})
	switch {
	case err != nil && res != nil:
		return dialled{Error: err.Error(), Status: res.StatusCode}
	case err != nil:
		return dialled{Error: err.Error()}
	}
	conn.SetReadLimit(-1)
	c.conn, c.heard, c.ended = conn, make(chan []string, 64), make(chan closing, 1)
	reading := make(chan struct{})
	go func() {
		defer close(reading)
		c.read()
	}()
	c.t.Cleanup(func() {
		_ = conn.CloseNow()
		<-reading
	})
	return dialled{Extensions: res.Header.Get("Sec-WebSocket-Extensions")}
}

func (c *coderClient) read() {
	defer c.conn.CloseNow()
	for {
		kind, data, err := c.conn.Read(c.ctx)
		if err != nil {
			close(c.heard)
			c.ended <- coderClosing(err)
			return
		}
		c.heard <- []string{map[coder.MessageType]string{coder.MessageText: "text", coder.MessageBinary: "binary"}[kind], string(data)}
	}
}

func (c *coderClient) text(data string) {
	c.t.Helper()
	must(c.t, c.conn.Write(c.ctx, coder.MessageText, []byte(data)))
}

func (c *coderClient) binary(data string) {
	c.t.Helper()
	must(c.t, c.conn.Write(c.ctx, coder.MessageBinary, []byte(data)))
}

func (c *coderClient) hear() (op, data string) {
	c.t.Helper()
	m, ok := receive(c.t, "a message", c.heard)
	if !ok {
		return "close", ""
	}
	return m[0], m[1]
}

// ping has a payload of the library's own: it counts.
func (c *coderClient) ping() string {
	c.t.Helper()
	must(c.t, c.conn.Ping(c.ctx))
	return "1"
}

// close gives back what it sent: the library keeps the answer to itself.
func (c *coderClient) close(code int, reason string) closing {
	c.t.Helper()
	must(c.t, c.conn.Close(coder.StatusCode(code), reason))
	c.closed()
	return closing{Code: code, Reason: reason}
}

func (c *coderClient) closed() closing {
	c.t.Helper()
	how, _ := receive(c.t, "the connection to end", c.ended)
	return how
}

// trust is a TLS configuration that knows one more authority, nil for none.
func trust(t testing.TB, ca string) *tls.Config {
	if ca == "" {
		return nil
	}
	pem, err := os.ReadFile(ca)
	must(t, err)
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		t.Fatalf("no certificate in %s", ca)
	}
	return &tls.Config{RootCAs: pool}
}
