package replay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wstape/wstape/tape"
)

// Options say how a recording is played.
type Options struct {
	Matching
	Playing
	Live
	// MessageBytes bounds one message of the live peer; default 64 MiB.
	MessageBytes int64
	// Words gives the word for each step, with Pace.Step.
	Words <-chan struct{}
	// Open makes what stands between the player and a live peer; nil puts nothing
	// there.
	Open func(about tape.Session, h Handle) Stage
	// Takeover goes on with a connection after Until, or after a mismatch with
	// Passthrough.
	Takeover Takeover
	// Ended is told about each session that is over, as it happens; may be nil.
	Ended func(*Outcome)

	buffers websocket.BufferPool // to write with, shared by all connections
	meter   *meter               // of a load test; nil measures nothing
}

// DefaultMessageBytes bounds one message of a live peer.
const DefaultMessageBytes = 64 << 20

func (o *Options) messageBytes() int64 {
	if o.MessageBytes > 0 {
		return o.MessageBytes
	}
	return DefaultMessageBytes
}

// Serving says how a fake server goes through its recording.
type Serving struct {
	Once bool // end when each session has been played once
	Loop bool // start over when all sessions of a path have been played
	// Unknown serves a connection that no recorded session is left for; nil
	// refuses it.
	Unknown http.Handler
}

// Serve plays the recorded server on a listener, until ctx is done or, with
// Once, every session was played. The n-th connection to a path gets the n-th
// recorded session of that path. It returns when all connections are closed.
func Serve(ctx context.Context, ln net.Listener, r *Recording, opts Options, how Serving) (*Report, error) {
	s := newServer(ctx, r, opts, how)
	server := &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(ln) }()
	var err error
	select {
	case <-ctx.Done():
	case <-s.all:
	case err = <-failed:
		failed <- err
	}
	s.stop()
	_ = server.Close()
	s.sessions.Wait()
	<-failed
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return s.report(), err
}

// server is a fake server.
type server struct {
	ctx       context.Context
	stop      context.CancelFunc
	recording *Recording
	opts      Options
	how       Serving
	started   time.Time
	sessions  sync.WaitGroup
	all       chan struct{} // closed when all has been played once

	mu       sync.Mutex
	rounds   []*round
	left     int // sessions that have not been played once
	outcomes []*Outcome
}

// round is one way through the recording: with Loop there may be several.
type round struct {
	run   *Run
	taken []bool
}

// maxOutcomes bounds how many sessions of a server that runs on are kept for
// its report; of the earlier ones those that held are dropped.
const maxOutcomes = 10000

func newServer(ctx context.Context, r *Recording, opts Options, how Serving) *server {
	opts.buffers = &sync.Pool{}
	s := &server{recording: r, opts: opts, how: how, started: time.Now(), all: make(chan struct{}), left: len(r.Plans)}
	s.ctx, s.stop = context.WithCancel(ctx)
	return s
}

// Check reports what would keep a recording from being played: a handshake that
// would send a pseudonym. A fake client is told where it will connect.
func (r *Recording) Check(live *Live, to *url.URL) error {
	for _, p := range r.Plans {
		if err := r.checkSecrets(p, live); err != nil {
			return err
		}
		recorded := p.Session.Handshake.Response.Headers
		if r.Role == tape.Client {
			if _, err := live.offered(&p.Session); err != nil {
				return fmt.Errorf("%s: %w", p.Name, err)
			}
			recorded = p.Session.Handshake.Request.Headers
			if _, err := live.url(to, target(&p.Session)); err != nil {
				return fmt.Errorf("%s: %w", p.Name, err)
			}
		}
		if _, err := live.headers(recorded); err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
	}
	return nil
}

func (s *server) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if !websocket.IsWebSocketUpgrade(req) {
		http.Error(w, "wstape replays a WebSocket session here: "+s.paths(), http.StatusUpgradeRequired)
		return
	}
	s.mu.Lock()
	if s.ctx.Err() != nil {
		s.mu.Unlock()
		return
	}
	s.sessions.Add(1) // before the server can be waited for
	s.mu.Unlock()
	defer s.sessions.Done()
	run, p := s.pick(req.URL)
	switch {
	case p == nil && s.how.Unknown != nil:
		s.how.Unknown.ServeHTTP(w, req)
		return
	case p == nil:
		s.refuse(w, req)
		return
	}
	play := NewPlay(run, p, s.opts.Playing)
	play.Outcome.Peer = req.RemoteAddr
	s.play(w, req, play)
	run.end(p.index)
	s.ended(play.Outcome, true)
}

// pick chooses the session for a connection: the first of that path that has not
// been played, and among those one that was asked for with the same query.
func (s *server) pick(u *url.URL) (*Run, *Plan) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := 0; ; i++ {
		if i == len(s.rounds) {
			if i > 0 && !s.how.Loop || !s.recording.hasPath(u.Path) {
				return nil, nil
			}
			s.rounds = append(s.rounds, &round{NewRun(s.recording).reveal(&s.opts.Live), make([]bool, len(s.recording.Plans))})
		}
		r := s.rounds[i]
		if p := r.pick(s.recording, u); p != nil {
			if s.how.Loop && !slices.Contains(r.taken, false) {
				s.rounds = slices.Delete(s.rounds, i, i+1)
			}
			return r.run, p
		}
	}
}

func (r *round) pick(recording *Recording, u *url.URL) (best *Plan) {
	most := -1
	for i, p := range recording.Plans {
		if r.taken[i] || !isAt(&p.Session, u.Path) {
			continue
		}
		n := likeness(target(&p.Session), u.RawQuery)
		if alike(pathOf(&p.Session), u.Path, anySegment) {
			n += 1 << 16 // before one that is anywhere
		}
		if n > most {
			best, most = p, n
		}
	}
	if best != nil {
		r.taken[best.index] = true
	}
	return best
}

func (r *Recording) hasPath(path string) bool {
	return slices.ContainsFunc(r.Plans, func(p *Plan) bool { return isAt(&p.Session, path) })
}

// isAt reports whether a session is served at a path: the one that was recorded,
// or any if the recording, written by hand, names none.
func isAt(s *tape.Session, path string) bool {
	return alike(pathOf(s), path, anySegment) || s.Handshake.Request.Target == "" && s.URL == "/"
}

// anySegment is what a pseudonym in a path stands for.
const anySegment = `[^/]+`

// subprotocol is the one that the server chose on the tape, of those that the
// client offers now: it may be a secret.
func subprotocol(s *tape.Session, offered []string) string {
	recorded := subprotocols(s)
	if i := slices.Index(recorded, s.Subprotocol); i >= 0 && i < len(offered) && alike(s.Subprotocol, offered[i], `.+`) {
		return offered[i]
	}
	for _, o := range offered {
		if alike(s.Subprotocol, o, `.+`) {
			return o
		}
	}
	return s.Subprotocol
}

// pathOf is the path that a session's client asked for, decoded.
func pathOf(s *tape.Session) string {
	u, err := url.ParseRequestURI(target(s))
	if err != nil || u.Path == "" {
		return "/"
	}
	return u.Path
}

// likeness counts the query values that two requests share.
func likeness(recorded, query string) (n int) {
	live := queryValues("?" + query)
	for _, v := range queryValues(recorded) {
		if slices.Contains(live, v) {
			n++
		}
	}
	return n
}

// refuse answers a connection that no session is left for.
func (s *server) refuse(w http.ResponseWriter, req *http.Request) {
	o := &Outcome{Session: "no session", Target: req.URL.RequestURI(), Peer: req.RemoteAddr, Started: time.Now()}
	text := "every recorded session of " + req.URL.Path + " has been played; record more, or let --loop start over"
	if !s.recording.hasPath(req.URL.Path) {
		text = "nothing was recorded at " + req.URL.Path + ": " + s.paths()
	}
	o.Mismatches = []Mismatch{{Kind: Handshake, From: tape.Client, Text: "a client connected, but " + text}}
	http.Error(w, "wstape: "+text, http.StatusNotFound)
	s.ended(o, false)
}

// paths lists where clients may connect.
func (s *server) paths() string {
	var out []string
	for _, p := range s.recording.Plans {
		if path := pathOf(&p.Session); !slices.Contains(out, path) && len(out) < 20 {
			out = append(out, path)
		}
	}
	return "the recording has " + strings.Join(out, ", ")
}

// play answers the handshake as recorded and plays the session.
func (s *server) play(w http.ResponseWriter, req *http.Request, play *Play) {
	now := time.Now()
	play.opened, play.Outcome.Started = now, now
	defer func() { play.Outcome.Duration = time.Since(now) }()
	recorded := play.plan.Session
	session := &recorded
	session.Subprotocol = subprotocol(session, websocket.Subprotocols(req))
	headers, err := s.opts.headers(session.Handshake.Response.Headers)
	if err != nil {
		http.Error(w, "wstape: "+err.Error(), http.StatusInternalServerError)
		play.fail(now, &Mismatch{Kind: Handshake, Text: err.Error()}, nil)
		return
	}
	l := s.opts.openLeg(play.plan, about(session, req))
	defer func() {
		play.Outcome.Notes = append(play.Outcome.Notes, l.closed(play.ending)...)
	}()
	response := tape.Response{Status: session.Status, Headers: lines(headers), Body: session.Handshake.Response.Body}
	if l != nil {
		refusal := l.stage.Request(s.ctx, &tape.Request{Method: req.Method, Target: req.URL.RequestURI(), Headers: lines(req.Header)})
		if refusal == nil {
			refusal = l.stage.Response(s.ctx, &response)
		}
		if refusal != nil {
			response = *refusal
		}
		headers = fields(response.Headers)
	}
	if response.Status != http.StatusSwitchingProtocols {
		for name, values := range headers {
			w.Header()[name] = values
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(response.Body)))
		w.WriteHeader(response.Status)
		_, _ = w.Write(response.Body)
		_ = http.NewResponseController(w).Flush() // before the server is stopped that has no session left
		play.run.mark(Ref{play.plan.index, 0}, now)
		return
	}
	if p := session.Subprotocol; p != "" && !slices.Contains(websocket.Subprotocols(req), p) {
		text := fmt.Sprintf("the client should have offered the subprotocol %q, but offered %q", p, websocket.Subprotocols(req))
		play.fail(now, &Mismatch{Kind: Handshake, Text: text}, nil)
		if play.verdict != nil {
			http.Error(w, "wstape: "+text, http.StatusBadRequest)
			return
		}
	}
	ws, err := s.upgrade(w, req, session, headers)
	if err != nil {
		play.fail(now, &Mismatch{Kind: Handshake, Text: "the client's handshake is not valid: " + err.Error()}, nil)
		return // Upgrade has answered
	}
	c := newConn(ws, tape.Client, s.opts.messageBytes(), l)
	defer c.Close()
	l.opened(c, session.Subprotocol)
	play.opts.Decide = l.decider(s.ctx)
	play.Open(time.Now(), queryValues("?"+req.URL.RawQuery))
	d := driver{play: play, conn: c, words: s.opts.Words}
	d.finish(s.ctx, s.opts.Takeover, req)
}

// upgrade answers the handshake.
func (s *server) upgrade(w http.ResponseWriter, req *http.Request, session *tape.Session, headers http.Header) (socket, error) {
	if s.opts.Wire {
		return upgradeWire(w, req, session, headers)
	}
	upgrader := websocket.Upgrader{
		CheckOrigin: func(*http.Request) bool { return true }, EnableCompression: compressed(session), WriteBufferPool: s.opts.buffers,
	}
	if session.Subprotocol != "" {
		upgrader.Subprotocols = []string{session.Subprotocol}
	}
	return upgrader.Upgrade(w, req, headers)
}

// ended takes down how a session went.
func (s *server) ended(o *Outcome, recorded bool) {
	if s.opts.Ended != nil {
		s.opts.Ended(o)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outcomes = append(s.outcomes, o)
	if len(s.outcomes) > maxOutcomes {
		s.outcomes = slices.DeleteFunc(s.outcomes, func(o *Outcome) bool { return o.Held() })
		s.outcomes = s.outcomes[max(0, len(s.outcomes)-maxOutcomes):]
	}
	if !recorded {
		return
	}
	if s.left--; s.left == 0 && s.how.Once {
		close(s.all)
	}
}

// report is what came of it; with Once, sessions that nobody came for count.
func (s *server) report() *Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &Report{Role: tape.Server, Started: s.started, Duration: time.Since(s.started), Outcomes: s.outcomes}
	if !s.how.Once {
		return r
	}
	for i, p := range s.recording.Plans {
		if len(s.rounds) > 0 && s.rounds[0].taken[i] {
			continue
		}
		r.Outcomes = append(r.Outcomes, &Outcome{
			Session: p.Name, N: p.Session.N, Target: target(&p.Session), Steps: len(p.Steps), Started: s.started,
			Mismatches: []Mismatch{{Kind: Unplayed, From: tape.Client, Text: "no client connected for this session"}},
		})
	}
	return r
}
