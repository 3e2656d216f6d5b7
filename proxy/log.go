package proxy

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/wstape/wstape/tape"
)

// logOpened and logOver tell of a session's beginning and end, with the number
// that it has on the tape. What a request says beside its path may be secret.
func (s *session) logOpened() {
	log := s.proxy.config.Log
	if log.Enabled(context.Background(), slog.LevelInfo) {
		log.Info("session opened", "session", s.tap.Number(), "client", s.client, "path", s.path)
	}
}

func (s *session) logOver(e *tape.Ending) {
	log := s.proxy.config.Log
	if !log.Enabled(context.Background(), slog.LevelInfo) {
		return
	}
	about := []any{"session", s.tap.Number(), "client", s.client, "path", s.path}
	if s.tap.status != http.StatusSwitchingProtocols {
		log.Info("session refused", append(about, "status", s.tap.status, "why", e.Why)...)
		return
	}
	about = append(about, "seconds", time.Since(s.began).Round(time.Millisecond).Seconds(), "ending", string(e.Kind))
	if e.From != nil {
		about = append(about, "from", e.From.String())
	}
	if e.Kind == tape.EndClose && e.Code != tape.NoStatus {
		about = append(about, "code", e.Code, "reason", e.Reason)
	}
	if e.Why != "" {
		about = append(about, "why", e.Why)
	}
	log.Info("session ended", about...)
}
