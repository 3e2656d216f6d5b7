package e2e

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	coder "github.com/coder/websocket"
	"github.com/gorilla/websocket"
)

// chromium is a kind of peer that can only be a client.
const chromium = "chromium"

// word is a message or ping that a peer sends.
type word struct {
	Op     string `json:"op"`
	Data   []byte `json:"b64"`
	Pieces int    `json:"pieces,omitempty"` // frames, where the peer can
}

// heard is a message that a peer got.
type heard struct {
	Op   string
	Len  int
	Sum  string
	Head []byte
}

func hear(op string, data []byte) heard {
	sum := sha256.Sum256(data)
	return heard{op, len(data), hex.EncodeToString(sum[:]), append([]byte{}, data[:min(len(data), 40)]...)}
}

func (w *word) heard() heard { return hear(w.Op, w.Data) }

// plan is what both ends say, each without waiting for the other, and how many
// messages they are to hear. The server that has heard enough says "bye", the
// client that has, closes.
type plan struct {
	Client part `json:"client"`
	Server part `json:"server"`
}

type part struct {
	Send []word `json:"send"`
	Hear int    `json:"hear"`
}

// save writes the plan for the peers to read.
func (p *plan) save(t testing.TB) string {
	t.Helper()
	text, err := json.Marshal(p)
	must(t, err)
	path := filepath.Join(t.TempDir(), "plan.json")
	must(t, os.WriteFile(path, text, 0o600))
	return path
}

// call is what a client is to do.
type call struct {
	URL       string   `json:"url"`
	Plan      string   `json:"plan"`
	Deflate   string   `json:"deflate,omitempty"`
	CA        string   `json:"ca,omitempty"`
	Protocols []string `json:"protocols,omitempty"`
}

// report is how a connection went for one of its ends.
type report struct {
	Heard                []heard
	Pongs                []string
	Protocol, Extensions string
	Code, Status         int
	Reason, Error, Body  string
	URL                  string            // of the request, for a server
	Headers              map[string]string // likewise, names in lower case
}

// chatClient makes calls, one after the other.
func chatClient(t testing.TB, kind string) func(call) report {
	t.Helper()
	var p *process
	switch kind {
	case gorilla:
		return func(o call) report { return gorillaCall(t, o) }
	case coders:
		return func(o call) report { return coderCall(t, o) }
	case chromium:
		requireChromium(t)
		p = start(t, "chromium chat", nodePath(), peerFile(t, "browser", "chat.js"), chromiumPath())
	case python:
		p = startPeer(t, kind, "chat.py")
	default:
		p = startPeer(t, kind, "chat.js")
	}
	return func(o call) (r report) {
		t.Helper()
		p.ask(o, &r)
		return r
	}
}

// chatServer is a server that reports on each connection that has ended.
type chatServer struct {
	addr   string
	report func() report
}

// serving is what a server is to do.
type serving struct {
	Plan      string   `json:"plan"`
	Protocols []string `json:"protocols,omitempty"` // not for node, which takes what comes first
	Cert      string   `json:"cert,omitempty"`
	Key       string   `json:"key,omitempty"`
}

func startChatServer(t testing.TB, kind string, o serving) *chatServer {
	t.Helper()
	if kind == gorilla || kind == coders {
		return goChatServer(t, kind, o)
	}
	text, err := json.Marshal(o)
	must(t, err)
	program := map[string]string{python: "chat.py", node: "chat.js"}[kind]
	s := childServer(startPeer(t, kind, program, "serve", string(text)))
	reports := make(chan string, 256) // taken at once, lest the server wait to be rid of them
	go func() {
		defer close(reports)
		for line := range s.lines {
			reports <- line
		}
	}()
	return &chatServer{addr: s.addr, report: func() (r report) {
		t.Helper()
		line, _ := receive(t, "a report of the "+kind+" server", reports)
		must(t, json.Unmarshal([]byte(line), &r))
		return r
	}}
}

func goChatServer(t testing.TB, kind string, o serving) *chatServer {
	reports := make(chan report, 256)
	var serving sync.WaitGroup
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		serving.Add(1)
		defer serving.Done()
		said := readPlan(o.Plan).Server
		re := report{URL: r.URL.RequestURI(), Headers: map[string]string{}}
		for name, values := range r.Header {
			re.Headers[strings.ToLower(name)] = strings.Join(values, ", ")
		}
		if kind == gorilla {
			up := websocket.Upgrader{EnableCompression: true, WriteBufferSize: gorillaFrame, Subprotocols: o.Protocols, CheckOrigin: anyOrigin}
			c, err := up.Upgrade(w, r, nil)
			if err != nil {
				reports <- report{Error: err.Error()}
				return
			}
			gorillaChat(c, &said, true, &re)
		} else {
			c, err := coder.Accept(w, r, &coder.AcceptOptions{CompressionMode: coder.CompressionContextTakeover,
				CompressionThreshold: coderThreshold, Subprotocols: o.Protocols, InsecureSkipVerify: true})
			if err != nil {
				reports <- report{Error: err.Error()}
				return
			}
			coderChat(r.Context(), c, &said, true, &re)
		}
		reports <- re
	}))
	if o.Cert != "" {
		pair := &pair{o.Cert, o.Key}
		s.TLS = &tls.Config{Certificates: []tls.Certificate{pair.load(t)}}
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
		serving.Wait()
	})
	return &chatServer{addr: s.Listener.Addr().String(), report: func() report {
		t.Helper()
		r, _ := receive(t, "a report of the "+kind+" server", reports)
		return r
	}}
}

// anyOrigin: browsers send one, and wstape changes Host.
func anyOrigin(*http.Request) bool { return true }

func readPlan(path string) (p plan) {
	text, err := os.ReadFile(path)
	if err != nil {
		return p
	}
	_ = json.Unmarshal(text, &p) // what is missing is missed in the report
	return p
}

// gorillaFrame is the longest frame that gorilla writes of a message, so that
// most messages are fragmented.
const gorillaFrame = 2048

func gorillaCall(t testing.TB, o call) (r report) {
	t.Helper()
	d := websocket.Dialer{EnableCompression: o.Deflate != deflateOff, TLSClientConfig: trust(t, o.CA), HandshakeTimeout: patience,
		WriteBufferSize: gorillaFrame, Subprotocols: o.Protocols}
	c, res, err := d.Dial(o.URL, nil)
	switch {
	case err != nil && res != nil:
		body := make([]byte, 1024)
		n, _ := res.Body.Read(body)
		return report{Error: err.Error(), Status: res.StatusCode, Body: string(body[:n])}
	case err != nil:
		return report{Error: err.Error()}
	}
	r.Extensions = res.Header.Get("Sec-WebSocket-Extensions")
	said := readPlan(o.Plan).Client
	gorillaChat(c, &said, false, &r)
	return r
}

func gorillaChat(c *websocket.Conn, p *part, serving bool, r *report) {
	defer c.Close()
	r.Protocol = c.Subprotocol()
	c.SetPongHandler(func(payload string) error {
		r.Pongs = append(r.Pongs, payload)
		return nil
	})
	kinds := map[string]int{"text": websocket.TextMessage, "binary": websocket.BinaryMessage}
	said, failed := make(chan struct{}), make(chan error, 1)
	go func() {
		defer close(said)
		for _, w := range p.Send {
			var err error
			switch {
			case w.Op == "ping":
				err = c.WriteControl(websocket.PingMessage, w.Data, time.Now().Add(patience))
			case w.Pieces > 1:
				err = writeGorilla(c, kinds[w.Op], w.Data)
			default:
				err = c.WriteMessage(kinds[w.Op], w.Data)
			}
			if err != nil {
				failed <- err
				return
			}
		}
	}()
	for {
		kind, data, err := c.ReadMessage()
		if err != nil {
			how := gorillaClosing(err)
			r.Code, r.Reason, r.Error = how.Code, how.Reason, how.Error
			break
		}
		r.Heard = append(r.Heard, hear(map[int]string{websocket.TextMessage: "text", websocket.BinaryMessage: "binary"}[kind], data))
		if len(r.Heard) == p.Hear {
			<-said
			if serving {
				_ = c.WriteMessage(websocket.TextMessage, []byte("bye"))
			} else {
				_ = c.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(1000, "done"), time.Now().Add(patience))
			}
		}
	}
	_ = c.Close()
	<-said
	select {
	case err := <-failed:
		r.Error = err.Error()
	default:
	}
}

func writeGorilla(c *websocket.Conn, kind int, data []byte) error {
	w, err := c.NextWriter(kind)
	if err != nil {
		return err
	}
	if _, err := w.Write(data); err != nil {
		return err
	}
	return w.Close()
}

func coderCall(t testing.TB, o call) (r report) {
	t.Helper()
	ctx := within(t)
	transport := &http.Transport{TLSClientConfig: trust(t, o.CA)}
	defer transport.CloseIdleConnections()
	c, res, err := coder.Dial(ctx, o.URL, &coder.DialOptions{
		HTTPClient: &http.Client{Transport: transport}, CompressionMode: coderMode(o.Deflate), CompressionThreshold: coderThreshold, Subprotocols: o.Protocols,
	})
	switch {
	case err != nil && res != nil:
		return report{Error: err.Error(), Status: res.StatusCode}
	case err != nil:
		return report{Error: err.Error()}
	}
	r.Extensions = res.Header.Get("Sec-WebSocket-Extensions")
	said := readPlan(o.Plan).Client
	coderChat(ctx, c, &said, false, &r)
	return r
}

func coderChat(ctx context.Context, c *coder.Conn, p *part, serving bool, r *report) {
	defer c.CloseNow()
	c.SetReadLimit(-1)
	r.Protocol = c.Subprotocol()
	said, failed := make(chan struct{}), make(chan error, 1)
	go func() {
		defer close(said)
		for _, w := range p.Send {
			if w.Op == "ping" {
				continue // it would wait for the pong
			}
			if err := writeCoder(ctx, c, &w); err != nil {
				failed <- err
				return
			}
		}
	}()
	for {
		kind, data, err := c.Read(ctx)
		if err != nil {
			how := coderClosing(err)
			r.Code, r.Reason, r.Error = how.Code, how.Reason, how.Error
			break
		}
		r.Heard = append(r.Heard, hear(map[coder.MessageType]string{coder.MessageText: "text", coder.MessageBinary: "binary"}[kind], data))
		if len(r.Heard) == p.Hear {
			<-said
			if serving {
				_ = c.Write(ctx, coder.MessageText, []byte("bye"))
				continue
			}
			// The library reads the answer itself, and with it what should not have come.
			if err := c.Close(1000, "done"); err != nil {
				r.Error = err.Error()
			}
			r.Code, r.Reason = 1000, "done"
			break
		}
	}
	_ = c.CloseNow()
	<-said
	select {
	case err := <-failed:
		r.Error = err.Error()
	default:
	}
}

func writeCoder(ctx context.Context, c *coder.Conn, w *word) error {
	kind := map[string]coder.MessageType{"text": coder.MessageText, "binary": coder.MessageBinary}[w.Op]
	if w.Pieces < 2 {
		return c.Write(ctx, kind, w.Data)
	}
	to, err := c.Writer(ctx, kind)
	if err != nil {
		return err
	}
	size := (len(w.Data) + w.Pieces - 1) / w.Pieces
	for from := 0; from < len(w.Data); from += size {
		if _, err := to.Write(w.Data[from:min(from+size, len(w.Data))]); err != nil {
			return err
		}
	}
	return to.Close()
}
