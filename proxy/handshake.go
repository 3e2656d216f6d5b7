package proxy

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/wstape/wstape/internal/wire"
	"github.com/wstape/wstape/tape"
)

const extensionsField = "Sec-Websocket-Extensions"

// isHandshake reports whether a request asks for a WebSocket as it should (RFC 6455 section 4.2.1).
func isHandshake(r *http.Request) bool {
	return r.Method == http.MethodGet && r.ContentLength == 0 && asksForWebSocket(r)
}

// asksForWebSocket reports whether a request wants its connection to become a WebSocket.
func asksForWebSocket(r *http.Request) bool {
	return hasToken(r.Header["Connection"], "upgrade") && hasToken(r.Header["Upgrade"], "websocket")
}

func hasToken(values []string, token string) bool {
	return slices.ContainsFunc(tokens(values), func(t string) bool { return strings.EqualFold(t, token) })
}

// tokens splits a list field (RFC 9110 section 5.6.1).
func tokens(values []string) []string {
	var out []string
	for _, value := range values {
		for _, t := range strings.Split(value, ",") {
			if t = strings.TrimSpace(t); t != "" {
				out = append(out, t)
			}
		}
	}
	return out
}

// fieldName writes a canonical name the way RFC 6455 does; some servers compare bytes.
func fieldName(canonical string) string {
	switch canonical { // what every handshake has needs no memory of its own
	case "Sec-Websocket-Key":
		return "Sec-WebSocket-Key"
	case "Sec-Websocket-Version":
		return "Sec-WebSocket-Version"
	case "Sec-Websocket-Accept":
		return "Sec-WebSocket-Accept"
	case "Sec-Websocket-Extensions":
		return "Sec-WebSocket-Extensions"
	case "Sec-Websocket-Protocol":
		return "Sec-WebSocket-Protocol"
	}
	if rest, ok := strings.CutPrefix(canonical, "Sec-Websocket-"); ok {
		return "Sec-WebSocket-" + rest
	}
	return canonical
}

// fields lists a header in a stable order; lines of one name keep theirs.
func fields(h http.Header) []tape.Header {
	names := make([]string, 0, len(h))
	for name := range h {
		names = append(names, name)
	}
	sort.Strings(names)
	var out []tape.Header
	for _, name := range names {
		for _, value := range h[name] {
			out = append(out, tape.Header{fieldName(name), value})
		}
	}
	return out
}

// endToEnd lists the fields of a handshake that go on: all but those that
// belong to one hop (RFC 9110 section 7.6.1), of which the upgrade's own stay.
func endToEnd(h http.Header) http.Header {
	h = h.Clone()
	listed := tokens(h["Connection"])
	for _, name := range append(listed, "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding") {
		if !strings.EqualFold(name, "upgrade") {
			h.Del(name)
		}
	}
	if len(listed) > 1 && hasToken(h["Connection"], "upgrade") {
		h["Connection"] = []string{"Upgrade"}
	}
	return h
}

// writeHead writes a start line and fields.
func writeHead(w io.Writer, start string, list []tape.Header) error {
	var b bytes.Buffer
	b.WriteString(start + "\r\n")
	for _, f := range list {
		b.WriteString(f[0] + ": " + f[1] + "\r\n")
	}
	b.WriteString("\r\n")
	_, err := w.Write(b.Bytes())
	return err
}

// answers are the buffers that upstreams' answers are read through.
var answers = sync.Pool{New: func() any { return bufio.NewReader(nil) }}

// dialled is an upstream connection whose answer has been read.
type dialled struct {
	conn  net.Conn
	res   *http.Response
	early []byte      // what the upstream sent behind a 101
	head  http.Header // as the upstream wrote it
}

// opening is the handshake that goes to the upstream.
type opening struct {
	target string
	host   string
	fields http.Header
}

// request gives the opening the form in which stages see it.
func (o *opening) request() tape.Request {
	return tape.Request{Method: http.MethodGet, Target: o.target, Headers: append([]tape.Header{{"Host", o.host}}, fields(o.fields)...)}
}

// set takes over what a stage has made of it.
func (o *opening) set(r *tape.Request) {
	o.target, o.host, o.fields = r.Target, "", header(r.Headers)
	if hosts := o.fields["Host"]; len(hosts) > 0 {
		o.host = hosts[0]
	}
	o.fields.Del("Host")
}

// header is the inverse of fields.
func header(list []tape.Header) http.Header {
	h := make(http.Header, len(list))
	for _, f := range list {
		h.Add(f[0], f[1])
	}
	return h
}

// handshake sends the client's request on and reads the upstream's answer.
// Interim answers go to the client through w.
func (u *Upstream) handshake(ctx context.Context, w http.ResponseWriter, r *http.Request, o *opening, maxBytes int) (d *dialled, err error) {
	conn, err := u.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = conn.Close()
		}
	}()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	list := append([]tape.Header{{"Host", o.host}}, fields(o.fields)...)
	list = append(list, u.Headers...)
	if err := writeHead(conn, "GET "+o.target+" HTTP/1.1", list); err != nil {
		return nil, fmt.Errorf("send the handshake: %w", err)
	}
	head := &io.LimitedReader{R: conn, N: int64(maxBytes)}
	br := answers.Get().(*bufio.Reader)
	br.Reset(head)
	refusal := false // its body is yet to be read through br
	defer func() {
		if !refusal {
			br.Reset(nil)
			answers.Put(br)
		}
	}()
	for {
		res, err := http.ReadResponse(br, r)
		switch {
		case err != nil && head.N <= 0:
			return nil, fmt.Errorf("read the answer: its head is longer than %d bytes (limits.handshake_bytes)", maxBytes)
		case err != nil:
			return nil, fmt.Errorf("read the answer: %w", err)
		case noStatus(res) != nil:
			return nil, fmt.Errorf("read the answer: %w", noStatus(res))
		case res.StatusCode >= 200 || res.StatusCode == http.StatusSwitchingProtocols:
			if !stop() {
				return nil, context.Cause(ctx)
			}
			d = &dialled{conn: conn, res: res, head: res.Header}
			if refusal = res.StatusCode != http.StatusSwitchingProtocols; !refusal {
				early, _ := br.Peek(br.Buffered())
				d.early = bytes.Clone(early)
			}
			head.N = math.MaxInt64 // what follows is not the head any more
			return d, nil
		}
		copyHeader(w.Header(), res.Header)
		w.WriteHeader(res.StatusCode)
	}
}

// noStatus says why an answer cannot be passed on: net/http panics when it is to write
// what it has read.
func noStatus(res *http.Response) error {
	if res.StatusCode < 100 {
		return fmt.Errorf("%03d is no status", res.StatusCode)
	}
	return nil
}

func copyHeader(dst, src http.Header) {
	clear(dst)
	for name, values := range src {
		dst[name] = values
	}
}

// filterOffer takes extensions that wstape cannot follow out of the offer and
// says which.
func filterOffer(h http.Header) (removed []string) {
	var kept []string
	for _, value := range h[extensionsField] {
		keep, gone := wire.FilterOffer(value)
		removed = append(removed, gone...)
		if keep != "" || gone == nil {
			kept = append(kept, keep)
		}
	}
	if removed == nil {
		return nil
	}
	h[extensionsField] = kept
	if kept == nil {
		h.Del(extensionsField)
	}
	return removed
}

// serveWebSocket carries one handshake to the upstream and its answer back, and
// on 101 starts the session.
func (p *Proxy) serveWebSocket(w http.ResponseWriter, r *http.Request, route *Route) {
	about := tape.Session{
		URL: r.URL.RequestURI(), Client: r.RemoteAddr,
		Handshake: tape.Handshake{Request: tape.Request{
			Method: r.Method, Target: r.RequestURI, Headers: append([]tape.Header{{"Host", r.Host}}, fields(r.Header)...),
		}},
	}
	if strings.HasPrefix(r.RequestURI, "/") {
		about.URL = r.RequestURI
	}
	target := ""
	if route != nil {
		target = route.target(r)
		about.Upstream = route.Upstream.address(target)
	}
	tap, err := p.config.Record(about)
	if err != nil {
		p.config.Log.Error("session not recorded, so not relayed", "client", about.Client, "path", r.URL.Path, "err", err)
		refuse(w, http.StatusServiceUnavailable, fmt.Sprintf("cannot record the session: %v", err))
		return
	}
	s := newSession(p, tap)
	s.upstream, s.client, s.path = about.Upstream, about.Client, r.URL.Path
	if why, ok := p.admit(s); !ok {
		if !p.isClosing() {
			p.complain("session refused: too many are open", "limits.sessions", "client", about.Client)
		}
		s.refused(w, http.StatusServiceUnavailable, why)
		return
	}
	if route == nil {
		s.refused(w, http.StatusBadGateway, p.noRoute(r))
		p.leave(s)
		return
	}
	if route.Stage != nil {
		about.N, about.ID, about.Started = tap.Number(), tap.ID(), s.began
		for _, from := range tape.Sides() {
			s.ways[from] = newWay(&s.links[from])
			s.links[from].way = s.ways[from]
		}
		s.stage = route.Stage(about, s)
	}
	if !s.shake(w, r, route, target) {
		p.leave(s)
	}
}

// refused answers the handshake with a reason of wstape's own.
func (s *session) refused(w http.ResponseWriter, status int, why string) {
	s.tap.Answered(s.upstream, status, "", nil, tape.Response{Status: status})
	s.over(tape.Ending{Kind: tape.EndError, Why: why})
	refuse(w, status, why)
}

// turnAway answers the handshake with a stage's refusal.
func (s *session) turnAway(w http.ResponseWriter, refusal *tape.Response) {
	s.tap.Answered(s.upstream, refusal.Status, "", nil, *refusal)
	s.over(tape.Ending{Kind: tape.EndError, Why: fmt.Sprintf("a script refused the handshake: %d %s", refusal.Status, http.StatusText(refusal.Status))})
	h := header(refusal.Headers)
	copyHeader(w.Header(), h)
	addNothing(w, h)
	w.Header().Set("Content-Length", strconv.Itoa(len(refusal.Body)))
	w.WriteHeader(refusal.Status)
	_, _ = w.Write(refusal.Body)
}

// shake carries the handshake; true when the session runs, on goroutines of its own.
func (s *session) shake(w http.ResponseWriter, r *http.Request, route *Route, target string) bool {
	p, u := s.proxy, route.Upstream
	o := &opening{target, u.host(r), endToEnd(r.Header)}
	// Not the request's own context, which is done when the client has no more to
	// say: it may still want to hear.
	ctx, abort := context.WithCancelCause(context.Background())
	defer abort(nil)
	defer time.AfterFunc(p.config.HandshakeTimeout, func() { abort(p.late) }).Stop()
	s.setAbort(abort)
	defer s.setAbort(nil)
	if s.stage != nil {
		request := o.request()
		if refusal := s.stage.Request(ctx, &request); refusal != nil {
			s.turnAway(w, refusal)
			return false
		}
		o.set(&request)
		s.upstream = u.address(o.target)
	}
	if removed := filterOffer(o.fields); removed != nil {
		s.tap.Note("taken out of the offer, because wstape cannot follow it: "+strings.Join(removed, ", "), "wstape")
	}
	up, err := u.handshake(ctx, w, r, o, p.config.HandshakeBytes)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		p.config.Log.Debug("upstream not reached", "session", s.tap.Number(), "upstream", u.String(), "err", err)
		s.refused(w, http.StatusBadGateway, u.unreachable(err))
		return false
	}
	if s.stage != nil {
		response := tape.Response{Status: up.res.StatusCode, Headers: fields(up.head)}
		if refusal := s.stage.Response(ctx, &response); refusal != nil {
			_ = up.conn.Close()
			s.turnAway(w, refusal)
			return false
		}
		if cause := context.Cause(ctx); cause != nil {
			_ = up.conn.Close()
			s.refused(w, http.StatusBadGateway, "the handshake was given up: "+cause.Error())
			return false
		}
		up.res.Header = header(response.Headers)
	}
	if up.res.StatusCode != http.StatusSwitchingProtocols {
		if err := s.passRefusal(ctx, w, up); err != nil {
			p.leave(s)
			panic(http.ErrAbortHandler) // a body that was cut short must not look whole to the client
		}
		return false
	}
	s.tap.Answered(s.upstream, up.res.StatusCode, up.res.Header.Get("Sec-Websocket-Protocol"), up.head[extensionsField],
		tape.Response{Status: up.res.StatusCode, Headers: fields(up.head)})
	compression, other, err := wire.Granted(up.head[extensionsField])
	switch {
	case err != nil:
		s.tap.Note("the upstream granted what wstape cannot read: "+err.Error(), "wstape")
	case other != "":
		s.tap.Note("the upstream granted an extension that wstape cannot follow: "+other, "wstape")
	}
	client, early, err := s.switchProtocols(w, up.res)
	if err != nil {
		_ = up.conn.Close()
		from := tape.Client
		s.over(tape.Ending{Kind: tape.EndError, From: &from, Why: "answer the client: " + err.Error()})
		return false
	}
	if s.stage != nil {
		s.stage.Opened(up.res.Header.Get("Sec-Websocket-Protocol"))
	}
	s.logOpened()
	s.start(client, early, up.conn, up.early, compression)
	return true
}

// takeConn takes the client's connection from who has served it. Early is what
// the client sent behind its request.
func takeConn(w http.ResponseWriter) (conn net.Conn, early []byte, err error) {
	if w, ok := w.(*answerWriter); ok {
		conn, early = w.take()
		return conn, early, nil
	}
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, nil, err
	}
	if n := rw.Reader.Buffered(); n > 0 {
		early, _ = rw.Peek(n)
		early = bytes.Clone(early)
	}
	if c, ok := conn.(*rereadConn); ok {
		conn, early = c.Conn, append(early, c.read...)
	}
	return conn, early, nil
}

// switchProtocols takes the client's connection and gives it the upstream's 101.
func (s *session) switchProtocols(w http.ResponseWriter, res *http.Response) (conn net.Conn, early []byte, err error) {
	if conn, early, err = takeConn(w); err != nil {
		return nil, nil, err
	}
	if err = conn.SetDeadline(time.Now().Add(s.proxy.config.HandshakeTimeout)); err == nil {
		err = writeHead(conn, "HTTP/1.1 "+res.Status, fields(endToEnd(res.Header)))
	}
	if err == nil {
		err = conn.SetDeadline(time.Time{})
	}
	if err != nil {
		s.proxy.farewell()
		_ = conn.Close()
		return nil, nil, err
	}
	return conn, early, nil
}

// maxRefusalBody is how much of a refusal's body goes on the tape; the client
// gets all of it.
const maxRefusalBody = 64 << 10

// passRefusal gives the client the upstream's answer, whole.
func (s *session) passRefusal(ctx context.Context, w http.ResponseWriter, up *dialled) error {
	stop := context.AfterFunc(ctx, func() { _ = up.conn.Close() })
	defer stop()
	defer up.conn.Close()
	defer up.res.Body.Close()
	h := endToEnd(up.res.Header)
	h.Del("Connection")
	h.Del("Upgrade")
	copyHeader(w.Header(), h)
	addNothing(w, h)
	var kept bytes.Buffer
	w.WriteHeader(up.res.StatusCode)
	client := http.NewResponseController(w)
	_ = client.SetWriteDeadline(time.Now().Add(s.proxy.config.HandshakeTimeout))
	defer client.SetWriteDeadline(time.Time{})
	_ = client.Flush() // the head arrives even if the body never does
	body := &limitedBuffer{&kept, maxRefusalBody, 0}
	_, err := io.Copy(flusher{w, client}, io.TeeReader(up.res.Body, body))
	from := tape.Server
	why := "the upstream refused: " + up.res.Status
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	if err != nil {
		why += " (its body was cut short: " + err.Error() + ")"
	}
	if body.left > 0 {
		s.tap.Note(fmt.Sprintf("the refusal's body is recorded up to %d bytes; %d more went to the client", maxRefusalBody, body.left), "wstape")
	}
	s.tap.Answered(s.upstream, up.res.StatusCode, "", up.head[extensionsField],
		tape.Response{Status: up.res.StatusCode, Headers: fields(up.head), Body: kept.Bytes()})
	s.over(tape.Ending{Kind: tape.EndError, From: &from, Why: why})
	return err
}

// limitedBuffer keeps the beginning of what is written to it.
type limitedBuffer struct {
	*bytes.Buffer
	room int
	left int // bytes that found no room
}

func (b *limitedBuffer) Write(p []byte) (int, error) {
	n := min(len(p), b.room)
	b.room -= n
	b.left += len(p) - n
	b.Buffer.Write(p[:n])
	return len(p), nil
}

// flusher sends each write on at once.
type flusher struct {
	io.Writer
	client *http.ResponseController
}

func (f flusher) Write(p []byte) (int, error) {
	n, err := f.Writer.Write(p)
	if err == nil {
		err = f.client.Flush()
	}
	return n, err
}
