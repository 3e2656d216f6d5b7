package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wstape/wstape/tape"
)

// Tap takes down one session. Parts, Decided, Note and Tag may be called from
// several goroutines at once; End is called once, after everything else.
type Tap interface {
	// Number and ID are the session's on the tape.
	Number() uint64
	ID() tape.ID
	// Answered records the upstream's answer to the handshake; status 502 if
	// there was none.
	Answered(upstream string, status int, subprotocol string, extensions []string, r tape.Response)
	// Parts records what one read brought from one side. The parts' payloads are
	// only valid during the call.
	Parts(from tape.Side, leg tape.Leg, parts []tape.Part)
	// Decided records what became of the message that came in first of those from
	// one side whose fate is open, and what went on in its place; or, with the fate
	// injected, what wstape itself sent. The parts are whole frames.
	Decided(d tape.Decision, out []tape.Part)
	// Note puts a remark on the tape.
	Note(text, by string)
	// Tag puts a tag on the session.
	Tag(key, value string)
	// End closes the session.
	End(e tape.Ending)
}

// Config says what a [Proxy] does. Zero values of limits mean their defaults.
type Config struct {
	Routes           []Route                         // the first that matches serves a request
	Record           func(tape.Session) (Tap, error) // opens a session on the tape; nil records nothing
	Strict           bool                            // end a session that violates RFC 6455 instead of passing it on
	MaxSessions      int                             // open sessions; more are answered with 503; 0 means no limit
	MaxConnections   int                             // of clients, whatever they are for; more are closed at once; 0 means no limit
	HandshakeTimeout time.Duration                   // for reading a request's head, dialling and the upstream's answer; default 30 s
	HandshakeBytes   int                             // of a request's or answer's head; default 64 KiB
	HeldBytes        int                             // of a direction, that wait for a stage before the sender is held back; default 4 MiB
	MessageBytes     int                             // of a message that a stage is given; default 16 MiB
	IdleTimeout      time.Duration                   // for the next request on a connection of plain HTTP; default 2 min
	StallTimeout     time.Duration                   // how long a peer may take nothing of what is sent to it; default 1 h
	KeepAlive        time.Duration                   // between questions whether a silent peer is there still; nine without an answer end it; default 15 s
	CloseTimeout     time.Duration                   // how long nothing may move once a close frame or the end of a direction has been seen, and how long a session may last that is closed from here; default 15 s
	Added            func(time.Duration)             // is told how long a chunk, of some, was kept between being read and being written; must be quick; may be nil
	Log              *slog.Logger                    // what goes wrong; nil discards
}

// The default limits.
const (
	DefaultHandshakeTimeout = 30 * time.Second
	DefaultHandshakeBytes   = 64 << 10
	DefaultIdleTimeout      = 2 * time.Minute
	DefaultStallTimeout     = time.Hour
	DefaultKeepAlive        = 15 * time.Second // which is Go's own
	DefaultCloseTimeout     = 15 * time.Second
	DefaultHeldBytes        = 4 << 20
	DefaultMessageBytes     = 16 << 20
)

// Proxy relays WebSocket sessions, and plain HTTP beside them. Its methods are
// safe for concurrent use.
type Proxy struct {
	config Config
	server *http.Server
	cut    context.CancelCauseFunc // ends what is under way in net/http
	late   error                   // why a handshake is given up

	clients    atomic.Int64 // connections from clients that are open
	visits     sync.Map     // of net/http: connection to its visit
	complaints complaints
	figures    figures
	accepting  atomic.Int32 // listeners that are

	mu       sync.Mutex
	sessions map[*session]struct{}
	fronted  map[net.Conn]stage
	served   []*handover // what is being listened on
	draining bool
	closing  bool
	running  sync.WaitGroup // requests and sessions; not added to once closing
}

// errClosing is why a proxy that shuts down ends what is under way.
var errClosing = errors.New("wstape is shutting down")

// New returns a proxy that is not serving yet.
func New(c Config) *Proxy {
	if c.HandshakeTimeout <= 0 {
		c.HandshakeTimeout = DefaultHandshakeTimeout
	}
	if c.HandshakeBytes <= 0 {
		c.HandshakeBytes = DefaultHandshakeBytes
	}
	if c.IdleTimeout <= 0 {
		c.IdleTimeout = DefaultIdleTimeout
	}
	if c.StallTimeout <= 0 {
		c.StallTimeout = DefaultStallTimeout
	}
	if c.KeepAlive <= 0 {
		c.KeepAlive = DefaultKeepAlive
	}
	if c.CloseTimeout <= 0 {
		c.CloseTimeout = DefaultCloseTimeout
	}
	if c.HeldBytes <= 0 {
		c.HeldBytes = DefaultHeldBytes
	}
	if c.MessageBytes <= 0 {
		c.MessageBytes = DefaultMessageBytes
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Record == nil {
		c.Record = func(tape.Session) (Tap, error) { return discard{}, nil }
	}
	p := &Proxy{config: c, sessions: map[*session]struct{}{}, fronted: map[net.Conn]stage{},
		figures: figures{ended: map[tape.EndingKind]uint64{}, changed: map[tape.Fate]uint64{}},
		late:    fmt.Errorf("no answer within %v (limits.handshake_timeout)", c.HandshakeTimeout)}
	for i := range c.Routes {
		c.Routes[i].Upstream.prepare(p)
	}
	ctx, cut := context.WithCancelCause(context.Background())
	p.cut = cut
	p.server = &http.Server{
		Handler:           p,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: c.HandshakeTimeout,
		MaxHeaderBytes:    c.HandshakeBytes,
		IdleTimeout:       c.IdleTimeout,
		ConnState:         p.visited,
		ConnContext:       p.arrived,
		ErrorLog:          log.New(logFunc(p.serverLog), "", 0),
	}
	// No h2 until RFC 8441 is built: a browser would open its sockets there.
	p.server.Protocols = new(http.Protocols)
	p.server.Protocols.SetHTTP1(true)
	return p
}

// Serve answers connections until Shutdown; it returns nil then.
func (p *Proxy) Serve(ln net.Listener) error {
	rest := newHandover(ln)
	served := make(chan error, 1)
	go func() { served <- p.server.Serve(rest) }()
	ctx, unwatch := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	watching.Go(func() { p.watchStalls(ctx) })
	p.mu.Lock()
	p.served = append(p.served, rest)
	if p.draining {
		_ = ln.Close()
	}
	p.mu.Unlock()
	p.accepting.Add(1)
	failure := p.accept(rest)
	p.accepting.Add(-1)
	if p.isDraining() {
		<-rest.closed // what was accepted before may still ask for something
	}
	_ = rest.Close()
	unwatch()
	watching.Wait()
	if err := <-served; !errors.Is(err, http.ErrServerClosed) && !p.isClosing() {
		return fmt.Errorf("serve %s: %w", ln.Addr(), failure)
	}
	return nil
}

// Shutdown stops accepting, sends a close frame with status 1001 to both sides
// of every session, waits until they have ended or ctx is done, and then cuts
// what is left. No goroutine of the proxy is left afterwards.
func (p *Proxy) Shutdown(ctx context.Context) error {
	p.mu.Lock()
	p.closing = true
	open := make([]*session, 0, len(p.sessions))
	for s := range p.sessions {
		open = append(open, s)
	}
	p.mu.Unlock()
	for _, s := range open {
		s.hangUp(&hangup{code: 1001, reason: errClosing.Error(), by: "operator"})
	}
	done := make(chan struct{})
	go func() {
		p.running.Wait()
		close(done)
	}()
	p.dismiss(reading)
	err := p.server.Shutdown(ctx)
	select {
	case <-done:
	case <-ctx.Done():
		for _, s := range open {
			s.cut()
		}
		p.cut(errClosing)
		p.dismiss(reading, serving)
		err = errors.Join(err, p.server.Close())
		<-done
	}
	p.cut(errClosing)
	for i := range p.config.Routes {
		p.config.Routes[i].Upstream.idle()
	}
	return err
}

// ServeHTTP routes one request.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	heard(r)
	if !p.enter() {
		refuse(w, http.StatusServiceUnavailable, errClosing.Error())
		return
	}
	defer p.running.Done()
	route := p.route(r)
	switch {
	case isHandshake(r):
		p.serveWebSocket(w, r, route)
	case asksForWebSocket(r): // it would pass unrecorded, and unseen by scripts
		refuse(w, http.StatusBadRequest, "a request for a WebSocket is a GET without a body")
	case route == nil:
		refuse(w, http.StatusBadGateway, p.noRoute(r))
	default:
		addNothing(w, nil)
		route.Upstream.http.ServeHTTP(w, withRoute(r, route))
		p.tunnelled(r)
	}
}

func (p *Proxy) isDraining() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.draining
}

func (p *Proxy) isClosing() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closing
}

// Sessions returns how many sessions are open.
func (p *Proxy) Sessions() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.sessions)
}

func (p *Proxy) route(r *http.Request) *Route {
	for i := range p.config.Routes {
		if p.config.Routes[i].matches(r) {
			return &p.config.Routes[i]
		}
	}
	return nil
}

func (p *Proxy) noRoute(r *http.Request) string {
	var known []string
	for i := range p.config.Routes {
		known = append(known, p.config.Routes[i].String())
	}
	return fmt.Sprintf("no route for host %q, path %q; known routes: %s", r.Host, r.URL.Path, strings.Join(known, ", "))
}

// enter counts a request; false when the proxy is closing.
func (p *Proxy) enter() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closing {
		p.running.Add(1)
	}
	return !p.closing
}

// admit registers a session; not ok when the proxy is closing or full.
func (p *Proxy) admit(s *session) (why string, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closing:
		return errClosing.Error(), false
	case p.config.MaxSessions > 0 && len(p.sessions) >= p.config.MaxSessions:
		return fmt.Sprintf("%d sessions are open already (limits.sessions)", len(p.sessions)), false
	}
	p.sessions[s] = struct{}{}
	p.running.Add(1)
	return "", true
}

func (p *Proxy) leave(s *session) {
	p.mu.Lock()
	delete(p.sessions, s)
	p.mu.Unlock()
	p.running.Done()
}

// refuse answers with a plain reason.
func refuse(w http.ResponseWriter, status int, why string) {
	text := "wstape: " + why + "\n"
	clear(w.Header())
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text)
}

// addNothing keeps net/http from adding the fields that an answer may lack.
func addNothing(w http.ResponseWriter, answer http.Header) {
	for _, name := range []string{"Date", "Content-Type"} {
		if _, ok := answer[name]; !ok {
			w.Header()[name] = nil
		}
	}
}

// discard is the tap of a proxy that records nothing.
type discard struct{}

func (discard) Answered(string, int, string, []string, tape.Response) {}
func (discard) Parts(tape.Side, tape.Leg, []tape.Part)                {}
func (discard) Decided(tape.Decision, []tape.Part)                    {}
func (discard) Note(string, string)                                   {}
func (discard) Tag(string, string)                                    {}
func (discard) Number() uint64                                        { return 0 }
func (discard) ID() tape.ID                                           { return tape.ID{} }
func (discard) End(tape.Ending)                                       {}
