package replay

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wstape/wstape/tape"
)

// Dialing says how a fake client reaches the server.
type Dialing struct {
	URL  *url.URL // ws or wss; a path and a query in it are used instead of the recorded ones
	TLS  *tls.Config
	Dial func(ctx context.Context, network, address string) (net.Conn, error) // nil means TCP
}

// ErrReach says that the server could not be reached at all.
var ErrReach = errors.New("could not reach the server")

// Drive plays the recorded client against a real server, each session on a
// connection of its own, in the order of the tape. The error is about what kept
// it from playing; how the sessions went is in the report.
func (r *Recording) Drive(ctx context.Context, to Dialing, opts Options) (*Report, error) {
	report := &Report{Role: tape.Client, Started: time.Now()}
	opts.buffers = &sync.Pool{}
	outcomes, errs := r.driveAll(ctx, &to, &opts)
	report.Outcomes, report.Duration = outcomes, time.Since(report.Started)
	return report, errors.Join(errs...)
}

// driveAll is one run of all sessions: how each went, and what kept it from being played.
func (r *Recording) driveAll(ctx context.Context, to *Dialing, opts *Options) ([]*Outcome, []error) {
	outcomes, errs := make([]*Outcome, len(r.Plans)), make([]error, len(r.Plans))
	run := NewRun(r).reveal(&opts.Live)
	one := func(i int) {
		defer run.end(i)
		outcomes[i], errs[i] = drive(ctx, run, r.Plans[i], to, opts)
		if opts.Ended != nil {
			opts.Ended(outcomes[i])
		}
	}
	var others sync.WaitGroup
	for i := 1; i < len(r.Plans); i++ {
		others.Go(func() { one(i) })
	}
	one(0) // here: of a load's many clients most have one session
	others.Wait()
	return outcomes, errs
}

// drive plays one session.
func drive(ctx context.Context, run *Run, p *Plan, to *Dialing, opts *Options) (*Outcome, error) {
	play := NewPlay(run, p, opts.Playing)
	started := time.Now()
	play.opened, play.Outcome.Started = started, started
	defer func() { play.Outcome.Duration = time.Since(started) }()
	if !waitToOpen(ctx, run, p, opts.Pace) {
		play.Abort(time.Now(), "the replay was stopped before this session began")
		return play.Outcome, nil
	}
	u, err := opts.url(to.URL, target(&p.Session))
	if err != nil {
		play.fail(time.Now(), &Mismatch{Kind: Handshake, Text: err.Error()}, nil)
		return play.Outcome, err
	}
	headers, err := opts.headers(p.Session.Handshake.Request.Headers)
	if err != nil {
		play.fail(time.Now(), &Mismatch{Kind: Handshake, Text: err.Error()}, nil)
		return play.Outcome, err
	}
	l := opts.openLeg(p, tape.Session{
		N: p.Session.N, URL: u.RequestURI(), Upstream: to.URL.String(), Handshake: tape.Handshake{Request: request(u, headers)},
	})
	defer func() {
		play.Outcome.Notes = append(play.Outcome.Notes, l.closed(play.ending)...)
	}()
	if l != nil {
		asked := request(u, headers)
		if refusal := l.stage.Request(ctx, &asked); refusal != nil {
			play.fail(time.Now(), &Mismatch{Kind: Handshake, Text: fmt.Sprintf("a script refused the handshake with %d", refusal.Status)}, nil)
			return play.Outcome, nil
		}
		headers = fields(asked.Headers)
	}
	asked := time.Now()
	play.Outcome.Peer = u.Host
	protocols, err := opts.offered(&p.Session)
	if err != nil {
		play.fail(time.Now(), &Mismatch{Kind: Handshake, Text: err.Error()}, nil)
		return play.Outcome, err
	}
	ws, response, err := opts.dial(ctx, to, u, &p.Session, protocols, headers)
	now := time.Now()
	if err != nil && response == nil {
		err = fmt.Errorf("%w: connect to %s: %w", ErrReach, u.Redacted(), err)
		play.fail(now, &Mismatch{Kind: Handshake, Text: err.Error()}, nil)
		return play.Outcome, err
	}
	opts.meter.connected(now.Sub(asked))
	if ok := play.answered(response, ws != nil); !ok || ws == nil {
		if ws != nil {
			_ = ws.Close()
		}
		return play.Outcome, nil
	}
	c := newMeteredConn(ws, tape.Server, opts.messageBytes(), l, opts.meter)
	defer c.Close()
	if l != nil {
		_ = l.stage.Response(ctx, &tape.Response{Status: response.StatusCode, Headers: lines(response.Header)})
	}
	l.opened(c, ws.Subprotocol())
	play.opts.Decide = l.decider(ctx)
	play.Open(now, headerValues(lines(response.Header)))
	d := driver{play: play, conn: c, words: opts.Words}
	d.finish(ctx, opts.Takeover, nil)
	return play.Outcome, nil
}

// dial opens a connection. Of a refusal there is a response and no socket.
func (o *Options) dial(ctx context.Context, to *Dialing, u *url.URL, session *tape.Session, protocols []string, headers http.Header) (socket, *http.Response, error) {
	if o.Wire {
		s, response, err := dialWire(ctx, to, u, session, protocols, headers, o.handshakeTimeout())
		if s == nil {
			return nil, response, err // no typed nil
		}
		return s, response, nil
	}
	dialer := websocket.Dialer{
		NetDialContext: to.Dial, TLSClientConfig: to.TLS, HandshakeTimeout: o.handshakeTimeout(), EnableCompression: compressed(session),
		Subprotocols: protocols, WriteBufferPool: o.buffers,
	}
	ws, response, err := dialer.DialContext(ctx, u.String(), headers)
	if ws == nil {
		return nil, response, err // no typed nil
	}
	return ws, response, err
}

func (o *Options) handshakeTimeout() time.Duration {
	if o.Timeout > 0 {
		return o.Timeout
	}
	return DefaultTimeout
}

// answered compares the server's answer to the handshake with the recorded one.
func (p *Play) answered(response *http.Response, open bool) bool {
	now, recorded := time.Now(), &p.plan.Session
	m := &Mismatch{Kind: Handshake}
	switch got := response.Header.Get("Sec-WebSocket-Protocol"); {
	case response.StatusCode != recorded.Status:
		m.Text = fmt.Sprintf("the server should have answered the handshake with %d, but answered %d", recorded.Status, response.StatusCode)
	case open && !alike(recorded.Subprotocol, got, `.+`):
		m.Text = fmt.Sprintf("the server should have chosen the subprotocol %q, but chose %q", recorded.Subprotocol, got)
	case !open && recorded.Status == http.StatusSwitchingProtocols:
		m.Text = "the server's answer to the handshake is not valid"
	default:
		if !open {
			p.run.mark(Ref{p.plan.index, 0}, now)
		}
		return true
	}
	body, _ := io.ReadAll(io.LimitReader(response.Body, 1024)) // the dialer has read it already
	if body = bytes.TrimSpace(body); !open && len(body) > 0 {
		m.Received = &tape.Content{Op: tape.Text, Payload: body, Len: uint64(len(body))}
	}
	p.fail(now, m, nil)
	return p.verdict == nil
}

// waitToOpen waits until the sessions before have come as far as on the tape.
func waitToOpen(ctx context.Context, run *Run, p *Plan, pace Pace) bool {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		changed := run.Changed()
		due, ok := run.opens(p, pace)
		if ok && !time.Now().Before(due) {
			return true
		}
		if timer.Stop(); ok {
			timer.Reset(time.Until(due))
			changed = nil
		}
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
			return false
		}
	}
}

// url is where a session's client connects.
func (l *Live) url(base *url.URL, recorded string) (*url.URL, error) {
	u := *base
	if u.RawQuery == "" {
		if u.Path != "" && u.Path != "/" { // the recorded one is not needed, and may hold a secret
			_, query, _ := strings.Cut(recorded, "?")
			recorded = "/?" + query
		}
		text, err := l.target(recorded)
		if err != nil {
			return nil, err
		}
		asked, err := url.ParseRequestURI(text)
		if err != nil {
			return nil, fmt.Errorf("the recording asked for %q, which is not a path: %w", text, err)
		}
		if u.Path == "" || u.Path == "/" {
			u.Path, u.RawPath = asked.Path, asked.RawPath
		}
		u.RawQuery = asked.RawQuery
	}
	return &u, nil
}

// offered are the subprotocols that the player offers.
func (l *Live) offered(s *tape.Session) (out []string, err error) {
	recorded := subprotocols(s)
	if s.Subprotocol != "" && !slices.Contains(recorded, s.Subprotocol) {
		recorded = append(recorded, s.Subprotocol)
	}
	for _, text := range recorded {
		value, missing := l.reveal("Sec-WebSocket-Protocol", text)
		if missing != "" {
			return nil, fmt.Errorf("the recording holds only a pseudonym of a subprotocol that the client offered (%s): give its value with --secret %s=env:VARIABLE", value, missing)
		}
		out = append(out, value)
	}
	return out, nil
}

// subprotocols are those that the recorded client offered.
func subprotocols(s *tape.Session) (out []string) {
	for _, h := range s.Handshake.Request.Headers {
		if http.CanonicalHeaderKey(h[0]) == "Sec-Websocket-Protocol" {
			out = append(out, websocket.Subprotocols(&http.Request{Header: http.Header{"Sec-Websocket-Protocol": {h[1]}}})...)
		}
	}
	return out
}

func request(u *url.URL, headers http.Header) tape.Request {
	return tape.Request{Method: http.MethodGet, Target: u.RequestURI(), Headers: lines(headers)}
}
