// Package admin serves those who look after wstape, beside the proxy and apart
// from its clients: whether it is well, what it has done, and where its time goes.
//
// Everything but a bare "is it well" wants a token. Browsers are kept out, be it
// by a name that points here (DNS rebinding) or from another site's page: a
// request has to be for a known name, and must not come from a page of another.
package admin

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"sync"
	"time"
)

// Config says what a [Server] shows.
type Config struct {
	Token   string        // what everybody must know
	Hosts   []string      // for which requests may be, beside this machine's own
	Ready   func() []Part // what has to be well for connections to be welcome
	Metrics http.Handler
	Pprof   bool         // show profiles
	TLS     *tls.Config  // nil: serve without
	Log     *slog.Logger // is told who is turned away
}

// Part is something that has to be well.
type Part struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	Why  string `json:"why,omitempty"` // it is not
}

// The limits of the admin side, whose clients are few and ask little.
const (
	maxConns    = 64
	maxHead     = 16 << 10
	maxBody     = 64 << 10
	readTime    = 10 * time.Second // for a whole request
	answerTime  = 30 * time.Second // to write an answer; profiles take as long as they are asked for
	idleTime    = 2 * time.Minute
	warnAtMost  = time.Second // between lines about who was turned away
	maxShownLen = 200         // of what a stranger sent, in such a line
)

// Server is the admin side.
type Server struct {
	config Config
	http   *http.Server
	busy   sync.WaitGroup // requests

	mu     sync.Mutex
	warned time.Time
	untold int
}

// New returns a server that is not serving yet.
func New(c Config) *Server {
	s := &Server{config: c}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { tell(w, health{OK: true}) })
	mux.HandleFunc("GET /readyz", s.ready)
	mux.Handle("GET /metrics", s.withToken(c.Metrics))
	if c.Pprof {
		mux.Handle("GET /debug/pprof/", s.withToken(http.HandlerFunc(pprof.Index)))
		mux.Handle("GET /debug/pprof/profile", s.withToken(http.HandlerFunc(pprof.Profile)))
		mux.Handle("GET /debug/pprof/trace", s.withToken(http.HandlerFunc(pprof.Trace)))
		mux.Handle("GET /debug/pprof/cmdline", s.withToken(http.HandlerFunc(pprof.Cmdline)))
		mux.Handle("GET /debug/pprof/symbol", s.withToken(http.HandlerFunc(pprof.Symbol)))
	}
	s.http = &http.Server{
		Handler: s.guard(mux), ReadTimeout: readTime, IdleTimeout: idleTime, MaxHeaderBytes: maxHead,
		ErrorLog: slog.NewLogLogger(c.Log.Handler(), slog.LevelDebug),
	}
	s.http.Protocols = new(http.Protocols)
	s.http.Protocols.SetHTTP1(true)
	return s
}

// Serve answers requests until ctx is done; it returns nil then, and no request
// is under way any more.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	stop := context.AfterFunc(ctx, func() { _ = s.http.Close() })
	defer stop()
	ln = &limited{ln, make(chan struct{}, maxConns)}
	if s.config.TLS != nil {
		ln = tls.NewListener(ln, s.config.TLS)
	}
	err := s.http.Serve(ln)
	_ = s.http.Close()
	s.busy.Wait()
	if !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the admin side at %s: %w", ln.Addr(), err)
	}
	return nil
}

// health is the answer to whether all is well. What exactly is not, is only said
// to those who know the token.
type health struct {
	OK    bool   `json:"ok"`
	Parts []Part `json:"parts,omitempty"`
}

func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	h := health{OK: true, Parts: s.config.Ready()}
	for _, p := range h.Parts {
		h.OK = h.OK && p.OK
	}
	if r.Header.Get("Authorization") == "" {
		h.Parts = nil
	} else if !s.knows(r) {
		s.unknown(w, r)
		return
	}
	tell(w, h)
}

func tell(w http.ResponseWriter, h health) {
	w.Header().Set("Content-Type", "application/json")
	if !h.OK {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(h) // to who has gone
}

// limited is a listener that has so many connections at once.
type limited struct {
	net.Listener
	room chan struct{}
}

// Accept waits for a connection, and before that for room.
func (l *limited) Accept() (net.Conn, error) {
	l.room <- struct{}{}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.room
		return nil, err
	}
	return &counted{Conn: conn, room: l.room}, nil
}

type counted struct {
	net.Conn
	room chan struct{}
	once sync.Once
}

func (c *counted) Close() error {
	defer c.once.Do(func() { <-c.room })
	return c.Conn.Close()
}
