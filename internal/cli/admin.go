package cli

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"

	"github.com/wstape/wstape/internal/admin"
	"github.com/wstape/wstape/internal/config"
	"github.com/wstape/wstape/internal/metrics"
)

// listenAdmin opens the admin side's listener, if there is to be an admin side.
func (s *service) listenAdmin(inherited net.Listener) error {
	c := &s.config.Admin
	switch {
	case inherited != nil:
		s.admin = inherited
		if inherited.Addr().Network() == "unix" {
			break // its mode says who may connect
		}
		if key, err := c.Guarded(inherited.Addr().String()); err != nil {
			return fail(exitUsage, "%s: the socket that was passed: %w", key, err)
		}
	case c.Listen == config.Off && c.Pprof:
		return fail(exitUsage, "admin.pprof: profiles are shown on the admin side, which is off: give it an address with --admin")
	case c.Listen == config.Off:
		return nil
	default:
		ln, err := net.Listen("tcp", c.Listen)
		if err != nil {
			return fail(exitReach, "listen on %s: %w; choose another address with --admin (port 0 picks a free port)", c.Listen, reason(err))
		}
		s.admin = ln
	}
	s.metrics = metrics.New(version, s.figures)
	return nil
}

// serveAdmin serves the admin side until ctx is done.
func (s *service) serveAdmin(ctx context.Context) error {
	if s.admin == nil {
		return nil
	}
	c := &s.config.Admin
	read, path := admin.ReadToken, c.TokenFile
	if path == "" {
		read, path = admin.KeepToken, s.config.Tape+".admin-token"
	}
	token, err := read(path)
	if err != nil {
		return fail(exitReach, "admin.token_file: %w", err)
	}
	var secure *tls.Config
	if c.TLS.Cert != "" {
		if secure, err = serverTLS("admin.tls", c.TLS); err != nil {
			return err
		}
	}
	side := admin.New(admin.Config{
		Token: token, Hosts: c.Hosts, Ready: s.parts, Metrics: s.metrics.Handler(), Pprof: c.Pprof, TLS: secure, Log: s.logger,
	})
	s.serve(func() error { return side.Serve(ctx, s.admin) })
	s.token = path
	return nil
}

// parts are what has to be well for new connections to be welcome.
func (s *service) parts() []admin.Part {
	listener := admin.Part{Name: "listener", OK: true}
	if s.draining.Load() {
		listener = admin.Part{Name: "listener", Why: "wstape is ending and accepts no more connections"}
	}
	if s.recorder == nil || s.store == nil {
		return []admin.Part{listener}
	}
	recorder := admin.Part{Name: "recorder", OK: true}
	if err := s.recorder.Healthy(); err != nil {
		recorder = admin.Part{Name: "recorder", Why: err.Error()}
	} else if n := s.recorder.Waiting(); n >= int64(s.config.Record.Buffer) {
		recorder = admin.Part{Name: "recorder", Why: fmt.Sprintf("%d bytes wait to be written (record.buffer): the disk cannot keep up", n)}
	}
	return []admin.Part{listener, recorder}
}

// figures gathers what metrics are made of.
func (s *service) figures() metrics.Figures {
	p := s.proxy.Stats()
	f := metrics.Figures{
		Open: p.Open, Refused: p.Refused, Ended: p.Ended, Frames: p.Frames, Messages: p.Messages, Bytes: p.Bytes, Changed: p.Changed,
		Draining: s.draining.Load(),
	}
	if s.log != nil {
		f.LogSkipped = s.log.lost.Load()
	}
	if s.store != nil {
		f.Tape = &metrics.Tape{
			Waiting: s.recorder.Waiting(), Buffer: int64(s.config.Record.Buffer), Gap: s.recorder.Gaps(), Failing: s.recorder.Healthy() != nil,
		}
		if info, err := os.Stat(s.config.Tape); err == nil {
			f.Tape.Size = info.Size()
		}
	}
	if s.scripts != nil {
		for _, one := range s.scripts.Stats() {
			f.Scripts = append(f.Scripts, metrics.Script{
				Name: one.Script, Failures: one.Failures, GivenUp: one.GivenUp, Stuck: one.Stuck, Disabled: one.Disabled,
			})
		}
	}
	return f
}

// adminURL is where the admin side is.
func (s *service) adminURL() string {
	scheme := "http"
	if s.config.Admin.TLS.Cert != "" {
		scheme = "https"
	}
	return scheme + "://" + s.admin.Addr().String()
}
