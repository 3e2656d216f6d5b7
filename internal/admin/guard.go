package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// guard turns away what is not for this machine or comes from another site's
// page, and bounds what is let in.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.busy.Add(1)
		defer s.busy.Done()
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		switch {
		case !s.isFor(r):
			s.turnAway(w, r, http.StatusForbidden, fmt.Sprintf("the host %q is not one of this machine's names or of admin.hosts", shown(r.Host)))
			return
		case !sameOrigin(r):
			s.turnAway(w, r, http.StatusForbidden, fmt.Sprintf("the page %q is of another origin", shown(r.Header.Get("Origin"))))
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		conn := http.NewResponseController(w)
		if strings.HasPrefix(r.URL.Path, "/debug/pprof/") {
			_ = conn.SetReadDeadline(time.Time{}) // which would cut a profile short
		} else {
			_ = conn.SetWriteDeadline(time.Now().Add(answerTime))
		}
		next.ServeHTTP(w, r)
	})
}

// isFor reports whether a request is for this machine by a name that nobody else
// can give it: a page that was loaded from another name which now points here
// shows itself by that name.
func (s *Server) isFor(r *http.Request) bool {
	host := hostname(r.Host)
	if strings.EqualFold(host, "localhost") {
		return true
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap().IsLoopback() || ip.Unmap() == reached(r)
	}
	return slices.ContainsFunc(s.config.Hosts, func(h string) bool { return strings.EqualFold(h, host) })
}

// hostname is a Host header without its port; "" if it is none that a client sends.
func hostname(s string) string {
	u, err := url.Parse("http://" + s)
	if err != nil || u.Host != s || u.User != nil {
		return ""
	}
	return u.Hostname()
}

// reached is the address at which a request came in.
func reached(r *http.Request) netip.Addr {
	addr, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if tcp, ok := addr.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// sameOrigin reports whether a request comes from a page of this server or from
// no page at all. It holds for WebSocket handshakes too, which browsers let any
// page begin.
func sameOrigin(r *http.Request) bool {
	origins, ok := r.Header["Origin"]
	if !ok {
		return true
	}
	u, err := url.Parse(origins[0])
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return err == nil && len(origins) == 1 && u.Scheme == scheme && strings.EqualFold(u.Host, r.Host)
}

// withToken lets in who knows the token.
func (s *Server) withToken(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.knows(r) {
			s.unknown(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// knows reports whether a request has the token. It takes as long for a token
// that is nearly right as for any other.
func (s *Server) knows(r *http.Request) bool {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	given, want := sha256.Sum256([]byte(strings.TrimSpace(token))), sha256.Sum256([]byte(s.config.Token))
	return strings.EqualFold(scheme, "bearer") && subtle.ConstantTimeCompare(given[:], want[:]) == 1 && s.config.Token != ""
}

func (s *Server) unknown(w http.ResponseWriter, r *http.Request) {
	why := "the token is wrong"
	if r.Header.Get("Authorization") == "" {
		why = "the token is missing: send 'Authorization: Bearer …' with what is in admin.token_file"
	}
	w.Header().Set("WWW-Authenticate", `Bearer realm="wstape"`)
	s.turnAway(w, r, http.StatusUnauthorized, why)
}

// turnAway refuses a request, and says so in the log; not for each of many.
func (s *Server) turnAway(w http.ResponseWriter, r *http.Request, status int, why string) {
	http.Error(w, "wstape: "+why, status)
	s.mu.Lock()
	s.untold++
	requests := s.untold
	tell := time.Since(s.warned) >= warnAtMost
	if tell {
		s.untold, s.warned = 0, time.Now()
	}
	s.mu.Unlock()
	if tell {
		s.config.Log.Warn("admin request refused", "client", r.RemoteAddr, "path", shown(r.URL.Path), "why", why, "requests", requests)
	}
}

// shown cuts what a stranger sent.
func shown(text string) string {
	if len(text) > maxShownLen {
		return strings.ToValidUTF8(text[:maxShownLen], "") + "…"
	}
	return text
}
