package replay

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/tape"
)

// Upstream is the real server, with which a fake one goes on where the recording
// ends: [Upstream.Takeover] with a session that has begun, ServeHTTP with one
// that no recording is left for.
type Upstream struct {
	Dialing
	MessageBytes int64            // bounds one message of either side; default 64 MiB
	Redactor     *record.Redactor // of what is recorded; nil redacts nothing
	// Record takes down what happens live; nil records nothing. It is told which
	// plan was played before, nil if none was.
	Record func(p *Plan) (Episode, error)
	// Failed is told what went wrong with a session that was not being replayed.
	Failed func(error)
}

// Episode takes down one session. Its methods are called by one goroutine.
type Episode interface {
	Line(*tape.Line) error
	// End is called once, after the last line, with all about the session.
	End(*tape.Session) error
}

// entry is a message that was exchanged, of a session that may yet go live.
type entry struct {
	from    tape.Side
	at      time.Time
	content tape.Content
}

// Takeover is a [Takeover]: it connects to the upstream, brings it to where the
// client is by saying again what the client has said, and relays from then on.
func (u *Upstream) Takeover(ctx context.Context, t *Taken) error {
	up, response, err := u.dial(ctx, t.Request)
	if err != nil {
		t.End(ctx, &tape.Ending{Kind: tape.EndClose, Code: websocket.CloseTryAgainLater, Reason: "the upstream cannot be reached"})
		return err
	}
	defer up.Close()
	about := about(&t.play.plan.Session, t.Request)
	l, err := u.begin(t.play.plan, about, response)
	if err != nil {
		t.End(ctx, &tape.Ending{Kind: tape.EndClose, Code: websocket.CloseInternalServerErr})
		return err
	}
	l.session.Started = t.play.opened
	known, err := u.catchUp(ctx, up, l, t)
	if err != nil {
		t.End(ctx, &tape.Ending{Kind: tape.EndClose, Code: websocket.CloseTryAgainLater, Reason: "the upstream did not follow"})
		_ = l.end(tape.Ending{Kind: tape.EndError, Why: err.Error()})
		return err
	}
	r := relay{client: t.conn, upstream: up, log: l, known: known, early: t.Unmatched, ended: t.ended}
	t.play.ending = r.run(ctx)
	return l.end(t.play.ending)
}

// ServeHTTP relays a connection to the upstream from its beginning.
func (u *Upstream) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if err := u.serve(w, req); err != nil && u.Failed != nil {
		u.Failed(fmt.Errorf("%s from %s: %w", req.URL.RequestURI(), req.RemoteAddr, err))
	}
}

func (u *Upstream) serve(w http.ResponseWriter, req *http.Request) error {
	up, response, err := u.dial(req.Context(), req)
	if err != nil && response == nil {
		http.Error(w, "wstape: "+err.Error(), http.StatusBadGateway)
		return err
	}
	l, beginErr := u.begin(nil, about(&tape.Session{Upstream: u.URL.String()}, req), response)
	if beginErr != nil {
		http.Error(w, "wstape: "+beginErr.Error(), http.StatusInternalServerError)
		return beginErr
	}
	headers := fields(lines(response.Header))
	if err != nil { // the upstream refused
		body, _ := io.ReadAll(response.Body) // the dialer has read it already
		l.session.Handshake.Response.Body, l.session.State = body, tape.Refused
		for name, values := range headers {
			w.Header()[name] = values
		}
		w.WriteHeader(response.StatusCode)
		_, _ = w.Write(body)
		return l.end(tape.Ending{})
	}
	defer up.Close()
	upgrader := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }, EnableCompression: l.session.Extensions != ""}
	if l.session.Subprotocol != "" {
		upgrader.Subprotocols = []string{l.session.Subprotocol}
	}
	ws, err := upgrader.Upgrade(w, req, headers)
	if err != nil {
		return err // Upgrade has answered
	}
	c := newConn(ws, tape.Client, u.messageBytes(), nil)
	defer c.Close()
	r := relay{client: c, upstream: up, log: l}
	return l.end(r.run(req.Context()))
}

func (u *Upstream) messageBytes() int64 {
	return (&Options{MessageBytes: u.MessageBytes}).messageBytes()
}

// dial connects with the client's own request. Of a refusal there is a response.
func (u *Upstream) dial(ctx context.Context, req *http.Request) (*conn, *http.Response, error) {
	to := *u.URL
	if to.Path == "" || to.Path == "/" {
		to.Path, to.RawPath = req.URL.Path, req.URL.RawPath
	}
	if to.RawQuery == "" {
		to.RawQuery = req.URL.RawQuery
	}
	dialer := websocket.Dialer{
		NetDialContext: u.Dial, TLSClientConfig: u.TLS, HandshakeTimeout: DefaultTimeout, Subprotocols: websocket.Subprotocols(req),
		EnableCompression: req.Header.Get("Sec-WebSocket-Extensions") != "", WriteBufferPool: &sync.Pool{},
	}
	ws, response, err := dialer.DialContext(ctx, to.String(), fields(lines(req.Header)))
	if err != nil {
		return nil, response, fmt.Errorf("%w: connect to the upstream %s: %w", ErrReach, to.Redacted(), err)
	}
	return newConn(ws, tape.Server, u.messageBytes(), nil), response, nil
}

// begin opens the log of a live session.
func (u *Upstream) begin(p *Plan, s tape.Session, response *http.Response) (*liveLog, error) {
	s.Status, s.State, s.Upstream = response.StatusCode, tape.Closed, u.URL.String()
	s.Started, s.ID = time.Now(), record.NewID()
	s.Subprotocol, s.Extensions = response.Header.Get("Sec-WebSocket-Protocol"), response.Header.Get("Sec-WebSocket-Extensions")
	s.Handshake.Response = tape.Response{Status: response.StatusCode, Headers: lines(response.Header)}
	l := &liveLog{session: s, redact: u.Redactor}
	if u.Record == nil {
		return l, nil
	}
	var err error
	l.episode, err = u.Record(p)
	return l, err
}

// liveLog takes down a session if somebody wants it.
type liveLog struct {
	session tape.Session
	redact  *record.Redactor
	episode Episode // nil takes nothing down
	seq     uint64
	failed  error
}

func (l *liveLog) add(from tape.Side, c tape.Content, at time.Time) {
	l.seq++
	l.session.Frames.Add(from, 1)
	l.session.Bytes.Add(from, uint64(len(c.Payload)))
	if l.episode == nil || l.failed != nil {
		return
	}
	t := max(0, at.Sub(l.session.Started))
	line := &tape.Line{T: t, Message: &tape.Message{Content: c, Seq: l.seq, T: t, From: from, Fate: tape.Passed}}
	l.failed = l.episode.Line(l.redact.Line(line))
}

func (l *liveLog) end(e tape.Ending) error {
	if l.episode == nil {
		return nil
	}
	l.session.Duration = time.Since(l.session.Started)
	if e.Kind != "" {
		l.session.Ending = &e
	}
	l.redact.Session(&l.session)
	if err := l.episode.End(&l.session); l.failed == nil {
		l.failed = err
	}
	return l.failed
}

// catchUp says again to the upstream what the client has said, waiting for as
// many answers as the client has had. It returns which values the upstream chose
// in place of those that the client knows.
func (u *Upstream) catchUp(ctx context.Context, up *conn, l *liveLog, t *Taken) (known []pair, err error) {
	for i, e := range t.play.log {
		l.add(e.from, e.content, e.at)
		if e.from == tape.Client {
			if err := up.write(e.content.Op, translate(e.content.Payload, known, true)); err != nil {
				return nil, fmt.Errorf("bring the upstream to where the client is: send message %d: %w", i+1, err)
			}
			continue
		}
		timeout := time.NewTimer(t.play.opts.Timeout)
		select {
		case got := <-up.events:
			timeout.Stop()
			if got.ending != nil {
				return nil, fmt.Errorf("bring the upstream to where the client is: it ended the connection (%s) where it said message %d on the tape", endingText(got.ending), i+1)
			}
			known = append(known, chosen(&e.content, &got.content)...)
		case <-timeout.C:
			return nil, fmt.Errorf("bring the upstream to where the client is: it did not say what was message %d on the tape within %s", i+1, t.play.opts.Timeout)
		case <-ctx.Done():
			timeout.Stop()
			return nil, ctx.Err()
		}
	}
	return known, nil
}

// pair is a value that the client knows, and what the upstream calls it.
type pair struct{ client, upstream []byte }

// chosen finds the distinctive values in which two messages of one layout differ.
func chosen(told, live *tape.Content) (out []pair) {
	a, b := look(told), look(live)
	if !sameLayout(a.leaves, b.leaves) {
		return nil
	}
	for i := range a.leaves {
		x, y := &a.leaves[i], &b.leaves[i]
		if !equal(x.scalar, y.scalar) && distinctive(x.scalar) && distinctive(y.scalar) {
			out = append(out, pair{[]byte(x.text), []byte(y.text)})
		}
	}
	return out
}

// translate puts the upstream's values in place of the client's, or back.
func translate(p []byte, known []pair, toUpstream bool) []byte {
	for _, k := range known {
		from, to := k.upstream, k.client
		if toUpstream {
			from, to = to, from
		}
		p = bytes.ReplaceAll(p, from, to)
	}
	return p
}

// relay passes messages between a client and the upstream.
type relay struct {
	client, upstream *conn
	log              *liveLog
	known            []pair
	early            []tape.Content // that the client has sent already
	ended            *tape.Ending   // how the client has left after that; nil if it has not
}

// run relays until one end is gone, and ends the other in the same way.
func (r *relay) run(ctx context.Context) tape.Ending {
	for _, c := range r.early {
		if e := r.pass(tape.Client, event{content: c}); e != nil {
			return r.over(ctx, e)
		}
	}
	if r.ended != nil {
		return r.over(ctx, r.pass(tape.Client, event{ending: r.ended}))
	}
	for {
		var e event
		from := tape.Client
		select {
		case e = <-r.client.events:
		case e = <-r.upstream.events:
			from = tape.Server
		case <-ctx.Done():
			r.client.closeFrame(1001, "")
			r.upstream.closeFrame(1001, "")
			return tape.Ending{Kind: tape.EndClose, Code: 1001}
		}
		if ending := r.pass(from, e); ending != nil {
			return r.over(ctx, ending)
		}
	}
}

// pass passes one message on; it returns how the session ended if it did.
func (r *relay) pass(from tape.Side, e event) *tape.Ending {
	if e.ending != nil {
		ending := *e.ending
		ending.From = &from
		return &ending
	}
	to := r.client
	if from == tape.Client {
		to = r.upstream
	}
	r.log.add(from, e.content, time.Now())
	if err := to.write(e.content.Op, translate(e.content.Payload, r.known, from == tape.Client)); err != nil {
		other := from.Other()
		return &tape.Ending{Kind: tape.EndReset, From: &other}
	}
	return nil
}

// over ends the other side as the one has ended.
func (r *relay) over(ctx context.Context, e *tape.Ending) tape.Ending {
	from, to := r.client, r.upstream
	if *e.From == tape.Server {
		from, to = to, from
	}
	if e.Kind == tape.EndClose {
		payload := tape.AppendClose(nil, e.Code, e.Reason)
		r.log.add(*e.From, tape.Content{Op: tape.Close, Payload: payload, Len: uint64(len(payload))}, time.Now())
	}
	to.end(ctx, e)
	if e.Kind == tape.EndClose {
		from.closeFrame(e.Code, "")
	}
	return *e
}
