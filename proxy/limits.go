package proxy

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wstape/wstape/tape"
)

// welcome counts a connection from a client; false when there are too many. Who
// closes the connection says farewell: front, net/http, or its session.
func (p *Proxy) welcome() bool {
	if n := p.clients.Add(1); p.config.MaxConnections > 0 && n > int64(p.config.MaxConnections) {
		p.clients.Add(-1)
		return false
	}
	return true
}

func (p *Proxy) farewell() { p.clients.Add(-1) }

// visit is a connection that net/http serves.
type visit struct {
	unheard atomic.Int32 // requests that it has begun to read and ServeHTTP has not heard of
	taken   atomic.Bool  // net/http has nothing to do with it any more
}

type visitKey struct{}

// arrived tells requests which visit they belong to.
func (p *Proxy) arrived(ctx context.Context, conn net.Conn) context.Context {
	v := &visit{}
	p.visits.Store(conn, v)
	return context.WithValue(ctx, visitKey{}, v)
}

// heard notes that a request could be read.
func heard(r *http.Request) {
	if v, ok := r.Context().Value(visitKey{}).(*visit); ok {
		v.unheard.Add(-1)
	}
}

// tunnelled lets a client go whose connection plain HTTP has made a tunnel of, now that it has ended.
func (p *Proxy) tunnelled(r *http.Request) {
	if v, ok := r.Context().Value(visitKey{}).(*visit); ok && v.taken.Load() {
		p.farewell()
	}
}

// visited follows the connections that net/http serves. It says nothing itself of
// requests that it could not read.
func (p *Proxy) visited(conn net.Conn, state http.ConnState) {
	switch state {
	case http.StateActive:
		if v, ok := p.visits.Load(conn); ok {
			v.(*visit).unheard.Add(1)
		}
	case http.StateClosed:
		p.farewell()
		fallthrough
	case http.StateHijacked: // the session's now, or a tunnel's
		v, ok := p.visits.LoadAndDelete(conn)
		if !ok {
			return
		}
		v.(*visit).taken.Store(state == http.StateHijacked)
		if v.(*visit).unheard.Load() > 0 {
			p.complain("connection closed: no request could be read, for it was none, was too long or did not come in time",
				"limits.handshake_bytes, limits.handshake_timeout", "client", conn.RemoteAddr().String())
		}
	}
}

// serverLog takes what net/http says in its log, which is what peers made it say: TLS
// that is none, and the like.
func (p *Proxy) serverLog(text string) { p.complain(strings.TrimSpace(text), "") }

// logFunc is a log's writer.
type logFunc func(string)

func (f logFunc) Write(b []byte) (int, error) {
	f(string(b))
	return len(b), nil
}

// keepAlive sets how often a silent connection is asked whether anybody is
// there still; so far it is as Go sets it.
func (p *Proxy) keepAlive(conn net.Conn) {
	if p.config.KeepAlive == DefaultKeepAlive {
		return
	}
	if t, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = t.NetConn()
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetKeepAliveConfig(keepAliveConfig(p.config.KeepAlive)) // of a connection that is gone already
	}
}

// probes is how many questions may stay without an answer.
const probes = 9

func keepAliveConfig(every time.Duration) net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: true, Idle: every, Interval: every, Count: probes}
}

// watchStalls ends sessions of which a peer takes nothing for StallTimeout,
// until ctx is done.
func (p *Proxy) watchStalls(ctx context.Context) {
	tick := time.NewTicker(max(p.config.StallTimeout/8, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			p.lookForStalls(now)
		}
	}
}

// lookForStalls looks at every session once.
func (p *Proxy) lookForStalls(now time.Time) {
	p.mu.Lock()
	open := make([]*session, 0, len(p.sessions))
	for s := range p.sessions {
		open = append(open, s)
	}
	p.mu.Unlock()
	for _, s := range open {
		for _, from := range tape.Sides() {
			if s.stalls[from].since(s.links[from].writes.Load(), now) >= p.config.StallTimeout {
				s.stalled(from.Other())
				break
			}
		}
	}
}

// stall is what is known of one link's writing. It belongs to watchStalls.
type stall struct {
	writes uint64    // what the link's counter showed; odd while it writes
	seen   time.Time // when it first showed that
}

// since returns for how long the same write has been seen under way.
func (s *stall) since(writes uint64, now time.Time) time.Duration {
	if writes != s.writes || writes%2 == 0 {
		s.writes, s.seen = writes, now
		return 0
	}
	return now.Sub(s.seen)
}

// stalled ends a session of which one side takes nothing.
func (s *session) stalled(to tape.Side) {
	limit := s.proxy.config.StallTimeout
	s.end(tape.Ending{Kind: tape.EndTimeout, From: &to, Why: fmt.Sprintf("the %v took nothing for %v (limits.stall_timeout)", to, limit)})
	s.proxy.complain("session ended: a peer takes nothing of what is sent to it", "limits.stall_timeout", "session", s.tap.Number(), "peer", to.String())
	s.closeLegs()
}

// complaints says in the log what peers do that a limit ends, but of each limit
// no more than one line a second: a flood must not become one of the log.
type complaints struct {
	mu    sync.Mutex
	about map[string]*complaint // by the limit's key, of which there are few
}

type complaint struct {
	last   time.Time
	untold int
}

// complaintEvery is how often one limit may be heard of.
const complaintEvery = time.Second

// admit reports whether to say it now, and how often it has not been said since the last time.
func (c *complaints) admit(key string, now time.Time) (untold int, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.about == nil {
		c.about = map[string]*complaint{}
	}
	it := c.about[key]
	if it == nil {
		it = &complaint{}
		c.about[key] = it
	}
	if !it.last.IsZero() && now.Sub(it.last) < complaintEvery {
		it.untold++
		return 0, false
	}
	untold, it.untold, it.last = it.untold, 0, now
	return untold, true
}

// complain logs what a limit has ended, with the limit's key.
func (p *Proxy) complain(what, key string, args ...any) {
	untold, ok := p.complaints.admit(key, time.Now())
	if !ok {
		return
	}
	if key != "" {
		args = append(args, "limit", key)
	}
	if untold > 0 {
		args = append(args, "more", untold)
	}
	p.config.Log.Warn(what, args...)
}
