package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/wstape/wstape/internal/config"
	"github.com/wstape/wstape/internal/metrics"
	"github.com/wstape/wstape/proxy"
	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/record/boltstore"
	"github.com/wstape/wstape/record/remote"
	"github.com/wstape/wstape/script"
	"github.com/wstape/wstape/tape"
)

func (a *app) proxyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "proxy [UPSTREAM]",
		Short: "relay to a server, show every message, record every frame",
		Long: `Relay WebSocket connections (and plain HTTP beside them) to UPSTREAM, show every
message on stderr and record every frame to a tape. Point the app at the address
that is printed. Ctrl-C closes both sides with status 1001 and writes the tape;
a second Ctrl-C does not wait.

UPSTREAM is ws://HOST:PORT, wss://…, http(s)://… or unix:/run/app.sock. A path in
it is put before the path of each request. Without UPSTREAM the routes of the
configuration are served.`,
		Example: `  wstape proxy ws://localhost:8765
  wstape proxy wss://stream.example.com --listen 127.0.0.1:9000 --tape prices.db
  wstape proxy --config wstape.yaml`,
		Args: atMost(1, "one UPSTREAM"),
	}
	proxyFlags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, _, err := a.load(cmd.Flags(), args)
		if err != nil {
			return err
		}
		given, err := inherit()
		if err != nil {
			return err
		}
		s, err := a.startService(cmd.Context(), c, given)
		if err != nil {
			return err
		}
		a.greet(c, s)
		return s.wait(cmd.Context(), a.hard)
	}
	return cmd
}

// greet tells where to connect and where it is recorded.
func (a *app) greet(c *config.Config, s *service) {
	to := "its routes"
	if c.Upstream != "" {
		to = c.Upstream
	}
	recording := "recording nothing"
	if c.Record.Enabled {
		recording = "recording to " + c.Tape
	}
	if c.Log.Format == "json" {
		about := []any{"url", s.url(), "upstream", to, "tape", recording}
		if s.admin != nil {
			about = append(about, "admin", s.adminURL(), "token_file", s.token)
		}
		s.logger.Info("listening", about...)
		return
	}
	fmt.Fprintf(a.Stderr, "wstape: %s → %s, %s\n", s.url(), to, recording)
	if s.admin != nil {
		fmt.Fprintf(a.Stderr, "wstape: the admin side is at %s, for those who know what is in %s\n", s.adminURL(), s.token)
	}
}

// service is a running proxy with everything around it.
type service struct {
	config   *config.Config
	logger   *slog.Logger // of what the live log does not show
	listener net.Listener
	admin    net.Listener     // nil if there is no admin side
	token    string           // the file that has the admin side's token
	metrics  *metrics.Metrics // nil if there is no admin side
	proxy    *proxy.Proxy
	recorder *record.Recorder // nil if nothing is recorded or shown
	store    *boltstore.Store // nil if nothing is recorded
	log      *liveLog         // nil if quiet and without scripts
	scripts  *script.Set      // nil if there are none
	manager  manager
	serving  sync.WaitGroup
	failed   chan error         // from what serves
	unserve  context.CancelFunc // ends what serves readers, the admin side and the service manager
	draining atomic.Bool        // no more connections are accepted

	stillborn bool // it could not be started: a tape that was made for it goes again
}

// startService opens everything that the configuration asks for, the listener
// first, so that a busy port leaves no tape behind. Listeners that are given are
// used instead of new ones. Until ends the starting only.
func (a *app) startService(until context.Context, c *config.Config, given sockets) (_ *service, err error) {
	list, err := routes(c)
	if err != nil {
		return nil, err
	}
	logger, sessions := newLogger(a.Stderr, &c.Log)
	ctx, cancel := context.WithCancel(context.Background())
	s := &service{config: c, logger: logger, failed: make(chan error, maxServers), unserve: cancel}
	defer func() {
		if err != nil {
			s.stillborn = true
			_ = s.release(a.hard)
		}
	}()
	if err := s.listenAdmin(given.admin); err != nil {
		return nil, err
	}
	if err := s.openScripts(a, list); err != nil {
		return nil, err
	}
	if s.listener, err = listen(c, given.listen); err != nil {
		return nil, err
	}
	if err := s.openTape(ctx, a); err != nil {
		return nil, err
	}
	s.proxy = proxy.New(proxy.Config{
		Routes: list, Record: s.recordFunc(), Strict: c.Strict, MaxSessions: c.Limits.Sessions, MaxConnections: c.Limits.Connections,
		HandshakeTimeout: c.Limits.HandshakeTimeout, HandshakeBytes: int(c.Limits.HandshakeBytes),
		IdleTimeout: c.Limits.IdleTimeout, StallTimeout: c.Limits.StallTimeout, KeepAlive: c.Limits.KeepAlive,
		CloseTimeout: c.Limits.CloseTimeout, HeldBytes: int(c.Limits.Held), MessageBytes: int(c.Limits.Message), Log: sessions, Added: s.addedFunc(),
	})
	s.serve(func() error { return s.proxy.Serve(s.listener) })
	if err := s.serveAdmin(ctx); err != nil {
		return nil, err
	}
	at := addresses{Listen: s.listener.Addr().String()}
	if s.admin != nil {
		at.Admin = s.admin.Addr().String()
	}
	if c.AddrFile != "" {
		if err := writeAddrFile(until, c.AddrFile, at); err != nil {
			return nil, err
		}
	}
	s.serve(func() error { return s.manager.attend(ctx, s.proxy.Sessions) })
	s.manager.tell("READY=1\nSTATUS=listening on %s", s.listener.Addr())
	return s, nil
}

// maxServers is how many things serve at once, each of which may fail.
const maxServers = 4

// addedFunc is what the proxy tells how long it keeps what passes.
func (s *service) addedFunc() func(time.Duration) {
	if s.metrics == nil {
		return nil
	}
	return s.metrics.Added
}

// openTape opens the tape and starts recorder, live log and the socket for readers.
func (s *service) openTape(ctx context.Context, a *app) error {
	c := s.config
	if !c.Log.Quiet || s.scripts != nil {
		s.log = newLiveLog(&a.Env, c.Log.Format == "json")
	}
	opts := record.Options{
		Flush: c.Record.Flush, Buffer: int64(c.Record.Buffer), Drop: c.Record.WhenFull == "drop", Inflate: uint64(c.Limits.Inflate),
		OnError: s.sayWriting,
	}
	if s.metrics != nil {
		opts.OnWrite = s.metrics.Written
	}
	if !c.Log.Quiet {
		opts.Feed = s.log
	}
	if !c.Record.Enabled {
		if s.log != nil || s.scripts != nil { // scripts want to know their session's number
			var err error
			if opts.Redactor, err = redactor(&c.Record.Redact, nil); err != nil {
				return err
			}
			s.recorder = record.NewRecorder(&record.Nowhere{}, opts)
		}
		return nil
	}
	key, err := readKey(c.Record.KeyFile)
	if err != nil {
		return err
	}
	store, err := boltstore.Open(c.Tape, boltstore.WithKey(key))
	switch {
	case errors.Is(err, record.ErrBusy):
		return fail(exitReach, "%w: is another wstape recording to it? Name another tape with --tape", err)
	case errors.Is(err, record.ErrNotATape), errors.Is(err, record.ErrVersion), errors.Is(err, record.ErrCorrupt):
		return fail(exitReach, "%w; name another tape with --tape", err)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EROFS):
		return fail(exitReach, "%w; name another tape with --tape, or make room", err)
	case errors.Is(err, record.ErrLocked), errors.Is(err, record.ErrWrongKey), errors.Is(err, boltstore.ErrNotLocked):
		return explainKey(err, c.Record.KeyFile)
	case err != nil:
		return fail(exitReach, "%w; is the directory there, and may you write to it? Name another tape with --tape", err)
	}
	s.store = store
	if opts.Redactor, err = redactor(&c.Record.Redact, store.Key()); err != nil {
		return err
	}
	s.recorder = record.NewRecorder(store, opts)
	if err := s.serveReaders(ctx); err != nil {
		return err
	}
	s.keep(ctx)
	return nil
}

// keep holds the tape within record.keep while this proxy runs.
func (s *service) keep(ctx context.Context) {
	k := record.Keep{Age: s.config.Record.Keep.Age, Bytes: int64(s.config.Record.Keep.Size), Sessions: uint64(s.config.Record.Keep.Sessions)}
	if k == (record.Keep{}) {
		return
	}
	log := keepLog{log: s.logger}
	s.serve(func() error {
		k.Enforce(ctx, s.store, log.report)
		log.flush()
		return nil
	})
}

// serveReaders lets other processes read the tape while this one holds it.
func (s *service) serveReaders(ctx context.Context) error {
	ln, err := remote.Listen(s.config.Tape)
	if err != nil {
		return fail(exitReach, "%w", err)
	}
	s.serve(func() error {
		return remote.Serve(ctx, ln, remote.Tape{
			Store: s.store, Key: s.store.Key(), Flush: s.flush,
			Check: func(ctx context.Context) ([]byte, error) {
				report, err := s.store.Check(ctx, nil)
				if err != nil {
					return nil, err
				}
				return json.Marshal(report)
			},
		})
	})
	return nil
}

// flush writes what waits, before a reader looks; while that cannot be written
// readers see the rest without waiting for it.
func (s *service) flush(ctx context.Context) error {
	if err := s.recorder.Healthy(); err != nil && !errors.Is(err, record.ErrAstray) {
		return err
	}
	return s.recorder.Flush(ctx)
}

// sayWriting reports that the tape cannot be written, or can again.
func (s *service) sayWriting(err error) {
	path := s.config.Tape
	switch {
	case err == nil:
		s.logger.Info("the tape is being written again", "tape", path)
	case errors.Is(err, record.ErrAstray):
		s.logger.Error("the tape can be read while this wstape runs, and is gone when it ends: wstape export", "tape", path, "err", err)
	default:
		s.logger.Error("the tape cannot be written; trying again until it works, see record.when_full", "tape", path, "err", err)
	}
}

// recordFunc adapts the recorder to what the proxy wants to know of it.
func (s *service) recordFunc() func(tape.Session) (proxy.Tap, error) {
	if s.recorder == nil {
		return nil
	}
	return func(about tape.Session) (proxy.Tap, error) { return s.recorder.Begin(about) }
}

func (s *service) serve(f func() error) {
	s.serving.Add(1)
	go func() {
		defer s.serving.Done()
		if err := f(); err != nil {
			s.failed <- err
		}
	}()
}

// url is where clients connect.
func (s *service) url() string {
	scheme := "ws"
	if s.config.TLS.Cert != "" {
		scheme = "wss"
	}
	return scheme + "://" + s.listener.Addr().String()
}

// wait serves until ctx is done, then ends politely: close frames, a bounded
// wait, the tape written. When hard is done it waits no longer.
func (s *service) wait(ctx, hard context.Context) error {
	var failure error
	tick, tidy := time.NewTicker(tidyEvery), newTidy()
	defer tick.Stop()
	for serving := true; serving; {
		select {
		case <-ctx.Done():
			serving = false
		case failure = <-s.failed:
			serving = false
		case <-tick.C:
			tidy.look(s.proxy.Sessions())
		}
	}
	s.drain(hard)
	bounded, cancel := context.WithTimeout(hard, s.config.Limits.ShutdownTimeout)
	defer cancel()
	if s.recorder != nil {
		if s.recorder.Healthy() != nil {
			s.recorder.LetGo()
		}
		defer context.AfterFunc(bounded, s.recorder.LetGo)()
	}
	_ = s.proxy.Shutdown(bounded) // its error is that it had to cut sessions off, which the tape tells
	err := s.release(hard)
	if failure != nil {
		return fail(exitReach, "%w", failure)
	}
	return err
}

// drain accepts no more connections, and lets the sessions go on for as long as
// the configuration allows.
func (s *service) drain(hard context.Context) {
	limits := &s.config.Limits
	s.draining.Store(true)
	s.manager.tell("STOPPING=1\nEXTEND_TIMEOUT_USEC=%d\nSTATUS=ending", (limits.DrainTimeout + limits.ShutdownTimeout + diskPatience).Microseconds())
	if limits.DrainTimeout == 0 {
		return
	}
	s.logger.Info("draining: no more connections are accepted", "sessions", s.proxy.Sessions(), "limits.drain_timeout", limits.DrainTimeout.String())
	ctx, cancel := context.WithTimeout(hard, limits.DrainTimeout)
	defer cancel()
	s.proxy.Drain(ctx)
}

// How long the end waits for a disk that does not answer, and how long once it
// has been told not to wait.
const (
	diskPatience    = 30 * time.Second
	hurriedPatience = 2 * time.Second
)

// release closes what is open, in the order of the data: recorder, readers, tape,
// log. A disk that does not answer does not hold it up for ever.
func (s *service) release(hard context.Context) error {
	if s.scripts != nil {
		s.scripts.Close()
	}
	if s.listener != nil {
		_ = s.listener.Close()
	}
	if s.admin != nil && s.token == "" { // it is not being served
		_ = s.admin.Close()
	}
	closed := make(chan error, 1)
	go func() { closed <- s.closeTape() }()
	patience := time.NewTimer(diskPatience)
	defer patience.Stop()
	defer context.AfterFunc(hard, func() { patience.Reset(hurriedPatience) })()
	select {
	case err := <-closed:
		return err
	case <-patience.C:
		var waiting int64
		if s.recorder != nil {
			waiting = s.recorder.Waiting()
		}
		return fmt.Errorf("the disk of the tape %s does not answer: what was recorded last is lost, %d bytes at least", s.config.Tape, waiting)
	}
}

func (s *service) closeTape() error {
	var err error
	if s.recorder != nil {
		if err = s.recorder.Close(); err != nil {
			err = fmt.Errorf("what was recorded last is lost: %w", err)
		}
	}
	s.unserve()
	s.serving.Wait()
	if s.store != nil {
		finish := s.store.Close
		if s.stillborn {
			finish = s.store.Abandon
		}
		if closing := finish(); err == nil && closing != nil {
			err = fmt.Errorf("close the tape: %w; what is on it is put in order when it is next opened", closing)
		}
	}
	if s.log != nil {
		s.log.Close()
	}
	return err
}

// listen opens the listener, unless one is given, with TLS if a certificate is.
func listen(c *config.Config, ln net.Listener) (_ net.Listener, err error) {
	if ln == nil {
		if ln, err = net.Listen("tcp", c.Listen); err != nil {
			return nil, fail(exitReach, "listen on %s: %w; choose another address with --listen (port 0 picks a free port)", c.Listen, errors.Unwrap(err))
		}
	}
	if c.TLS.Cert == "" {
		return ln, nil
	}
	secure, err := serverTLS("tls", c.TLS)
	if err != nil {
		ln.Close()
		return nil, err
	}
	return tls.NewListener(ln, secure), nil
}

// serverTLS is how clients are met; key is the part of the configuration that p is.
func serverTLS(key string, p config.KeyPair) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(p.Cert, p.Key)
	if err != nil {
		return nil, fail(exitUsage, "%s: read the certificate %s and key %s: %w", key, p.Cert, p.Key, err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"http/1.1"}}, nil
}

// routes makes the proxy's routes; an upstream given as such serves everything
// that the listed ones do not.
func routes(c *config.Config) ([]proxy.Route, error) {
	secure, err := upstreamTLS(&c.UpstreamTLS)
	if err != nil {
		return nil, err
	}
	var headers []tape.Header
	for _, text := range c.Headers {
		h, err := config.ParseHeader(text)
		if err != nil {
			return nil, fail(exitUsage, "%w", err)
		}
		headers = append(headers, h)
	}
	upstream := func(text string) (*proxy.Upstream, error) {
		u, err := proxy.ParseUpstream(text)
		if err != nil {
			return nil, fail(exitUsage, "%w", err)
		}
		u.TLS, u.Headers, u.KeepHost = secure, headers, c.HostHeader == "keep"
		return u, nil
	}
	var out []proxy.Route
	for _, r := range c.Routes {
		u, err := upstream(r.Upstream)
		if err != nil {
			return nil, err
		}
		out = append(out, proxy.Route{Prefix: r.Path, Host: r.Host, Strip: r.StripPrefix, Upstream: u})
	}
	if c.Upstream != "" {
		u, err := upstream(c.Upstream)
		if err != nil {
			return nil, err
		}
		out = append(out, proxy.Route{Upstream: u})
	}
	if out == nil {
		return nil, fail(exitUsage, "no upstream: name one (wstape proxy ws://localhost:8765) or set routes in --config")
	}
	return out, nil
}

func upstreamTLS(c *config.UpstreamTLS) (*tls.Config, error) {
	out := &tls.Config{ServerName: c.SNI, InsecureSkipVerify: c.Insecure}
	if c.CA != "" {
		pem, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, fail(exitUsage, "upstream_tls.ca: %w", err)
		}
		out.RootCAs = x509.NewCertPool()
		if !out.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fail(exitUsage, "upstream_tls.ca: %s holds no certificate in PEM form", c.CA)
		}
	}
	if c.Cert != "" {
		pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
		if err != nil {
			return nil, fail(exitUsage, "upstream_tls: read the certificate %s and key %s: %w", c.Cert, c.Key, err)
		}
		out.Certificates = []tls.Certificate{pair}
	}
	return out, nil
}
