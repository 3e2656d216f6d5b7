package proxy

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/wstape/wstape/tape"
)

// front is what every connection without TLS meets first. It serves a handshake
// that comes as the first request itself, because net/http makes more of one
// than a session needs: two buffers that it does not take back, a goroutine that
// reads ahead, contexts. Everything else goes to net/http, as if it had come
// there directly.
func (p *Proxy) front(conn net.Conn, rest *handover) {
	defer p.running.Done()
	defer p.gone(conn)
	br := heads.Get().(*bufio.Reader)
	br.Reset(conn)
	defer func() {
		br.Reset(nil)
		heads.Put(br)
	}()
	_ = conn.SetReadDeadline(time.Now().Add(p.config.HandshakeTimeout))
	head, err := readHead(br)
	if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
		p.silent(conn, err)
		return
	}
	_ = conn.SetReadDeadline(time.Time{})
	r := handshakeRequest(br, head, p.config.HandshakeBytes)
	if r == nil {
		p.gone(conn) // first: a shutdown lets net/http finish what it has
		rest.give(&rereadConn{conn, bytes.Clone(head)})
		return
	}
	early, _ := br.Peek(br.Buffered())
	r.RemoteAddr = conn.RemoteAddr().String()
	w := &answerWriter{conn: conn, early: bytes.Clone(early), header: http.Header{}}
	p.serving(conn)
	if !p.serveWhole(w, r) {
		p.farewell()
		_ = conn.Close()
	} else if !w.taken {
		p.gone(conn)
		rest.give(&rereadConn{conn, w.early}) // the client may ask for something else
	}
}

// silent lets a client go that asked nothing, or not in time.
func (p *Proxy) silent(conn net.Conn, err error) {
	if isTimeout(err) {
		p.complain("connection closed: no whole request came in time", "limits.handshake_timeout", "client", conn.RemoteAddr().String())
	}
	p.farewell()
	_ = conn.Close()
}

// heads are the buffers that the first heads are read through.
var heads = sync.Pool{New: func() any { return bufio.NewReader(nil) }}

// readHead reads until what br holds ends a request's head, and returns all that
// it holds; bufio.ErrBufferFull if a head is longer than that.
func readHead(br *bufio.Reader) ([]byte, error) {
	for {
		_, err := br.Peek(br.Buffered() + 1)
		head, _ := br.Peek(br.Buffered())
		if err != nil || headEnd(head) > 0 {
			return head, err
		}
	}
}

// headEnd returns where a head ends, 0 if it does not. net/http takes bare line feeds too.
func headEnd(b []byte) int {
	for at := 0; ; {
		i := bytes.IndexByte(b[at:], '\n')
		if i < 0 {
			return 0
		}
		at += i + 1
		switch rest := b[at:]; {
		case bytes.HasPrefix(rest, []byte("\n")):
			return at + 1
		case bytes.HasPrefix(rest, []byte("\r\n")):
			return at + 2
		}
	}
}

// handshakeRequest reads the head that br holds if it is a handshake in every
// respect, and nil if it is anything that net/http may want to judge. Head stays
// what it is, but for the case of field names, which net/http does not keep
// either: nothing is read that br does not hold.
func handshakeRequest(br *bufio.Reader, head []byte, maxBytes int) *http.Request {
	end := headEnd(head)
	if end == 0 || end > maxBytes || !bytes.HasPrefix(head, []byte("GET ")) || !printable(head[:end]) {
		return nil
	}
	r, err := http.ReadRequest(br)
	if err != nil || !r.ProtoAtLeast(1, 1) || r.Host == "" || !isHandshake(r) || spaced(r.Header) {
		return nil
	}
	return r
}

// spaced reports whether a field's name has a space in it: a reader may take
// "Content-Length : 5" for what this side does not.
func spaced(h http.Header) bool {
	for name := range h {
		if strings.Contains(name, " ") {
			return true
		}
	}
	return false
}

// printable reports whether a head has no control characters but those that
// structure it.
func printable(head []byte) bool {
	for i, b := range head {
		if b < ' ' && b != '\t' && b != '\n' && (b != '\r' || head[i+1] != '\n') || b == 0x7f {
			return false
		}
	}
	return true
}

// serveWhole serves a request; false if the answer broke off.
func (p *Proxy) serveWhole(w *answerWriter, r *http.Request) (whole bool) {
	defer func() {
		if v := recover(); v != nil && v != http.ErrAbortHandler {
			panic(v)
		}
	}()
	p.ServeHTTP(w, r)
	return w.taken || w.finish() == nil && !hasToken(r.Header["Connection"], "close")
}

// answerWriter answers one handshake on a connection of front's. It writes what
// it is told at once, and adds what frames the body and nothing else.
type answerWriter struct {
	conn   net.Conn
	early  []byte // what came behind the request
	header http.Header
	body   io.Writer // nil until the head has been written
	taken  bool      // by the session
	err    error
}

func (w *answerWriter) Header() http.Header { return w.header }

func (w *answerWriter) WriteHeader(status int) {
	if w.body != nil {
		return
	}
	list := fields(w.header)
	if status >= 200 {
		w.body = w.conn
		if w.header["Content-Length"] == nil && status != http.StatusNoContent && status != http.StatusNotModified {
			list = append(list, tape.Header{"Transfer-Encoding", "chunked"})
			w.body = httputil.NewChunkedWriter(w.conn)
		}
	}
	w.err = errors.Join(w.err, writeHead(w.conn, statusLine(status), list))
}

func (w *answerWriter) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if w.err != nil {
		return 0, w.err
	}
	n, err := w.body.Write(b)
	w.err = err
	return n, err
}

// Flush has nothing to do: see Write.
func (w *answerWriter) Flush() {}

// SetWriteDeadline is for [http.ResponseController].
func (w *answerWriter) SetWriteDeadline(t time.Time) error { return w.conn.SetWriteDeadline(t) }

// finish ends the body.
func (w *answerWriter) finish() error {
	if chunked, ok := w.body.(io.Closer); ok && w.body != w.conn && w.err == nil {
		w.err = chunked.Close()
		if w.err == nil {
			_, w.err = io.WriteString(w.conn, "\r\n")
		}
	}
	return w.err
}

// take gives the connection to a session.
func (w *answerWriter) take() (net.Conn, []byte) {
	w.taken = true
	return w.conn, w.early
}

func statusLine(status int) string {
	return strings.TrimSpace("HTTP/1.1 " + strconv.Itoa(status) + " " + http.StatusText(status))
}

// rereadConn is a connection of which something has been read already.
type rereadConn struct {
	net.Conn
	read []byte
}

func (c *rereadConn) Read(b []byte) (int, error) {
	if len(c.read) == 0 {
		return c.Conn.Read(b)
	}
	n := copy(b, c.read)
	c.read = c.read[n:]
	return n, nil
}

// handover is the listener from which net/http gets its connections.
type handover struct {
	net.Listener
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newHandover(ln net.Listener) *handover {
	return &handover{Listener: ln, conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (h *handover) give(conn net.Conn) {
	select {
	case h.conns <- conn:
	case <-h.closed:
		_ = conn.Close()
	}
}

func (h *handover) Accept() (net.Conn, error) {
	select {
	case conn := <-h.conns:
		return conn, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

func (h *handover) Close() (err error) {
	h.once.Do(func() {
		close(h.closed)
		if err = h.Listener.Close(); errors.Is(err, net.ErrClosed) {
			err = nil // Drain has closed it before
		}
	})
	return err
}

// accept takes connections until the listener is closed.
func (p *Proxy) accept(rest *handover) error {
	var pause time.Duration
	for {
		conn, err := rest.Listener.Accept()
		switch {
		case err == nil:
			pause = 0
		case outOfFiles(err):
			// As net/http does: sessions will end, and their files with them.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			p.config.Log.Error("connection not accepted, trying again", "err", err, "in", pause)
			select {
			case <-time.After(pause):
			case <-rest.closed:
			}
			continue
		default:
			return err
		}
		if !p.welcome() {
			p.complain("connection closed: too many are open", "limits.connections", "client", conn.RemoteAddr().String())
			_ = conn.Close()
			continue
		}
		p.keepAlive(conn)
		if _, secure := conn.(*tls.Conn); secure {
			rest.give(conn)
		} else if p.arrive(conn) {
			go p.front(conn, rest)
		} else {
			p.farewell()
			_ = conn.Close()
		}
	}
}

func outOfFiles(err error) bool {
	var temporary interface{ Temporary() bool }
	return errors.As(err, &temporary) && temporary.Temporary() && !errors.Is(err, os.ErrDeadlineExceeded)
}

// What front does with a connection before it is a session's or net/http's.
type stage int

const (
	reading stage = iota // nothing has been asked yet
	serving
)

// arrive registers a connection of front's; false when the proxy is closing.
func (p *Proxy) arrive(conn net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closing {
		p.running.Add(1)
		p.fronted[conn] = reading
	}
	return !p.closing
}

func (p *Proxy) serving(conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fronted[conn] = serving
}

func (p *Proxy) gone(conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.fronted, conn)
}

// dismiss closes connections of front's that are in one of the stages.
func (p *Proxy) dismiss(stages ...stage) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn, at := range p.fronted {
		if slices.Contains(stages, at) {
			_ = conn.Close()
		}
	}
}
