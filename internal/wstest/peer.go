package wstest

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"time"

	"github.com/wstape/wstape/tape"
)

// Patience bounds every read and write of a [Peer], so that a test fails rather
// than hangs.
const Patience = 30 * time.Second

// Peer is one end of a connection that reads and writes whatever a test wants.
// Its methods end the test when they fail, so they belong to the test's own
// goroutine; what other goroutines need is in Conn and In.
type Peer struct {
	Conn net.Conn
	In   *bufio.Reader
	tb   TB
}

// NewPeer wraps a connection and closes it at the end of the test.
func NewPeer(tb TB, conn net.Conn) *Peer {
	tb.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(Patience))
	return &Peer{Conn: conn, In: bufio.NewReader(conn), tb: tb}
}

// Dial connects to an address, under TLS if a configuration is given.
func Dial(tb TB, addr string, secure *tls.Config) *Peer {
	tb.Helper()
	conn, err := net.DialTimeout("tcp", addr, Patience)
	if err == nil && secure != nil {
		conn = tls.Client(conn, secure)
		_ = conn.SetDeadline(time.Now().Add(Patience))
		err = conn.(*tls.Conn).Handshake()
	}
	if err != nil {
		tb.Fatalf("dial %s: %v", addr, err)
	}
	return NewPeer(tb, conn)
}

// Key and Accept are the example of RFC 6455 section 1.3.
const (
	Key    = "dGhlIHNhbXBsZSBub25jZQ=="
	Accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

// Request returns a handshake request for a target; each extra is one field line.
func Request(target string, extra ...string) string {
	return "GET " + target + " HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Key: " + Key + "\r\nSec-WebSocket-Version: 13\r\n" + lines(extra) + "\r\n"
}

// Switching returns a 101 answer; each extra is one field line.
func Switching(extra ...string) string {
	return "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: " + Accept + "\r\n" + lines(extra) + "\r\n"
}

func lines(fields []string) string {
	var b strings.Builder
	for _, f := range fields {
		b.WriteString(f + "\r\n")
	}
	return b.String()
}

// Write writes bytes as they are.
func (p *Peer) Write(b []byte) {
	p.tb.Helper()
	if _, err := p.Conn.Write(b); err != nil {
		p.tb.Fatalf("write: %v", err)
	}
}

// WriteString writes a string as it is.
func (p *Peer) WriteString(s string) {
	p.tb.Helper()
	p.Write([]byte(s))
}

// Send writes frames, all in one piece.
func (p *Peer) Send(frames ...Frame) {
	p.tb.Helper()
	p.Write(Bytes(frames...))
}

// Receive reads the next frame.
func (p *Peer) Receive() Frame {
	p.tb.Helper()
	f, err := Read(p.In)
	if err != nil {
		p.tb.Fatalf("read a frame: %v", err)
	}
	return f
}

// Expect reads frames and compares them bit by bit.
func (p *Peer) Expect(want ...Frame) {
	p.tb.Helper()
	for _, w := range want {
		if got := p.Receive(); !bytes.Equal(Bytes(got), Bytes(w)) {
			p.tb.Fatalf("got frame %v, want %v", got, w)
		}
	}
}

// ExpectClose reads a close frame and compares its code and reason.
func (p *Peer) ExpectClose(code int, reason string) {
	p.tb.Helper()
	f := p.Receive()
	gotCode, gotReason, _ := tape.ParseClose(f.Payload)
	if f.Op != tape.Close || gotCode != code || gotReason != reason {
		p.tb.Fatalf("got frame %v, want a close frame with %d %q", f, code, reason)
	}
}

// ReadHead reads a start line and fields, up to and with the blank line.
func (p *Peer) ReadHead() string {
	p.tb.Helper()
	var b strings.Builder
	for {
		line, err := p.In.ReadString('\n')
		b.WriteString(line)
		if err != nil {
			p.tb.Fatalf("read a head: %v after %q", err, b.String())
		}
		if line == "\r\n" {
			return b.String()
		}
	}
}

// ReadAll reads up to the end, and says how it ended: nil for EOF.
func (p *Peer) ReadAll() ([]byte, error) { return io.ReadAll(p.In) }

// ExpectEOF wants the connection to end here, with EOF.
func (p *Peer) ExpectEOF() {
	p.tb.Helper()
	if b, err := p.ReadAll(); err != nil || len(b) > 0 {
		p.tb.Fatalf("got %d bytes %.60q and %v, want EOF", len(b), b, err)
	}
}

// CloseWrite sends close_notify (under TLS) and FIN.
func (p *Peer) CloseWrite() {
	p.tb.Helper()
	if secure, ok := p.Conn.(*tls.Conn); ok {
		if err := secure.CloseWrite(); err != nil {
			p.tb.Fatalf("close_notify: %v", err)
		}
	}
	if err := p.TCP().CloseWrite(); err != nil {
		p.tb.Fatalf("close for writing: %v", err)
	}
}

// TCP returns the connection below TLS.
func (p *Peer) TCP() *net.TCPConn {
	if secure, ok := p.Conn.(*tls.Conn); ok {
		return secure.NetConn().(*net.TCPConn)
	}
	return p.Conn.(*net.TCPConn)
}

// Reset ends the connection with a reset. What was written and has not arrived
// may be lost by it: see [Peer.Drain].
func (p *Peer) Reset() {
	_ = p.TCP().SetLinger(0)
	_ = p.TCP().Close()
}

// WriteCut writes b in random pieces.
func WriteCut(w io.Writer, rng *rand.Rand, b []byte, size int) error {
	for _, piece := range Cut(rng, b, size) {
		if _, err := w.Write(piece); err != nil {
			return err
		}
	}
	return nil
}
