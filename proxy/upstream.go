package proxy

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"

	"github.com/wstape/wstape/tape"
)

// Route sends the requests that match it to an upstream.
type Route struct {
	Prefix   string // of the path, whole segments; "" matches all
	Host     string // of the Host header, with or without port; "" matches all
	Strip    bool   // take the prefix off before the request goes on
	Upstream *Upstream
	Stage    func(about tape.Session, h Handle) Stage // opens the stage of each session; nil for none
}

func (r *Route) String() string {
	var what []string
	if r.Host != "" {
		what = append(what, "host "+r.Host)
	}
	if r.Prefix != "" {
		what = append(what, r.Prefix)
	}
	if what == nil {
		what = []string{"everything"}
	}
	return strings.Join(what, " ") + " → " + r.Upstream.String()
}

func (r *Route) matches(req *http.Request) bool {
	if r.Host != "" && !strings.EqualFold(r.Host, req.Host) {
		host, _, err := net.SplitHostPort(req.Host)
		if err != nil || !strings.EqualFold(r.Host, host) {
			return false
		}
	}
	prefix := strings.TrimSuffix(r.Prefix, "/")
	rest, ok := strings.CutPrefix(req.URL.Path, prefix)
	return ok && (rest == "" || rest[0] == '/' || prefix == "")
}

// target is the request target that goes upstream: the client's own, byte for
// byte, unless the route or the upstream's own path asks for another.
func (r *Route) target(req *http.Request) string {
	target := req.RequestURI
	if !strings.HasPrefix(target, "/") {
		target = req.URL.RequestURI() // absolute form, or CONNECT-like oddities
	}
	if r.Strip {
		if rest, ok := strings.CutPrefix(target, strings.TrimSuffix(r.Prefix, "/")); ok {
			target = rest
			if !strings.HasPrefix(target, "/") {
				target = "/" + target
			}
		}
	}
	base := strings.TrimSuffix(r.Upstream.URL.EscapedPath(), "/")
	if base == "" {
		return target
	}
	if path, query, ok := strings.Cut(target, "?"); path == "/" {
		target = base // not base + "/": many servers know only the one
		if ok {
			target += "?" + query
		}
		return target
	}
	return base + target
}

// Upstream is a real server that the proxy dials.
type Upstream struct {
	URL      *url.URL      // scheme ws, wss, http or https; host and optional path
	Unix     string        // path of a unix socket to dial instead of the host
	TLS      *tls.Config   // for wss and https; nil means the system's roots
	Headers  []tape.Header // added to the handshake
	KeepHost bool          // send the client's Host header instead of the upstream's

	log       *slog.Logger
	timeout   time.Duration
	keepAlive net.KeepAliveConfig
	http      http.Handler
	idle      func() // closes the connections that plain HTTP keeps for later
}

// ParseUpstream reads "ws://host:port/path", the same with wss, http or https,
// or "unix:/path/to.sock".
func ParseUpstream(s string) (*Upstream, error) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		path, base, _ := strings.Cut(path, ":")
		path = strings.TrimPrefix(path, "//")
		if path == "" {
			return nil, fmt.Errorf("upstream %q has no socket path: write unix:/run/app.sock", s)
		}
		return &Upstream{URL: &url.URL{Scheme: "ws", Host: "localhost", Path: base}, Unix: path}, nil
	}
	u, err := url.Parse(s)
	if err != nil {
		return nil, fmt.Errorf("upstream %q is not a URL: %w", s, err)
	}
	switch u.Scheme {
	case "http":
		u.Scheme = "ws"
	case "https":
		u.Scheme = "wss"
	case "ws", "wss":
	default:
		return nil, fmt.Errorf("upstream %q: scheme %q is not ws, wss, http, https or unix: write it like ws://localhost:8765", s, u.Scheme)
	}
	switch {
	case u.Hostname() == "":
		return nil, fmt.Errorf("upstream %q has no host: write it like ws://localhost:8765", s)
	case u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("upstream %q: a query or fragment belongs to the client's requests", s)
	case u.User != nil:
		return nil, fmt.Errorf("upstream %q: put credentials into a header: --header 'Authorization: …'", s)
	}
	return &Upstream{URL: u}, nil
}

func (u *Upstream) String() string {
	if u.Unix == "" {
		return u.URL.String()
	}
	if u.URL.Path == "" {
		return "unix:" + u.Unix
	}
	return "unix:" + u.Unix + ":" + u.URL.Path
}

// address is where a target lies, as sessions name it.
func (u *Upstream) address(target string) string {
	if u.Unix != "" {
		return "unix:" + u.Unix + ":" + target
	}
	return u.URL.Scheme + "://" + u.URL.Host + target
}

func (u *Upstream) secure() bool { return u.URL.Scheme == "wss" }

// prepare makes what serves plain HTTP.
func (u *Upstream) prepare(p *Proxy) {
	u.log, u.timeout, u.keepAlive = p.config.Log, p.config.HandshakeTimeout, keepAliveConfig(p.config.KeepAlive)
	scheme := "http"
	if u.secure() {
		scheme = "https"
	}
	transport := &http.Transport{
		DialContext:         func(ctx context.Context, _, _ string) (net.Conn, error) { return u.dialRaw(ctx, u.timeout) },
		TLSClientConfig:     u.tlsConfig(),
		TLSHandshakeTimeout: u.timeout,
		DisableCompression:  true,
		MaxIdleConnsPerHost: 16,
		IdleConnTimeout:     time.Minute,
	}
	u.idle = transport.CloseIdleConnections
	u.http = &httputil.ReverseProxy{
		Transport:      transport,
		FlushInterval:  -1,
		ErrorLog:       slog.NewLogLogger(u.log.Handler(), slog.LevelDebug),
		Rewrite:        func(pr *httputil.ProxyRequest) { u.rewrite(pr, scheme) },
		ModifyResponse: noStatus,
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			u.log.Warn("HTTP request not answered", "path", r.URL.Path, "upstream", u.String(), "err", err)
			refuse(w, http.StatusBadGateway, u.unreachable(err))
		},
	}
}

func (u *Upstream) unreachable(err error) string {
	return fmt.Sprintf("cannot reach the upstream %s: %v", u, err)
}

// routeKey carries the route of a plain HTTP request through ReverseProxy.
type routeKey struct{}

func withRoute(r *http.Request, route *Route) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), routeKey{}, route))
}

// rewrite sends a request on with as little change as ReverseProxy allows.
func (u *Upstream) rewrite(pr *httputil.ProxyRequest, scheme string) {
	route, _ := pr.In.Context().Value(routeKey{}).(*Route)
	if target, err := url.ParseRequestURI(route.target(pr.In)); err == nil {
		pr.Out.URL.Path, pr.Out.URL.RawPath = target.Path, target.RawPath
	}
	pr.Out.URL.RawQuery = pr.In.URL.RawQuery
	pr.Out.URL.Scheme, pr.Out.URL.Host = scheme, u.URL.Host
	pr.Out.Host = u.host(pr.In)
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		if values := pr.In.Header[name]; values != nil {
			pr.Out.Header[name] = values
		}
	}
}

func (u *Upstream) host(r *http.Request) string {
	if u.KeepHost {
		return r.Host
	}
	return u.URL.Host
}

// dialRaw opens the connection below TLS; without a timeout, ctx bounds it.
func (u *Upstream) dialRaw(ctx context.Context, timeout time.Duration) (net.Conn, error) {
	d := net.Dialer{Timeout: timeout, KeepAliveConfig: u.keepAlive}
	if u.Unix != "" {
		return d.DialContext(ctx, "unix", u.Unix)
	}
	port := u.URL.Port()
	if port == "" {
		port = map[bool]string{false: "80", true: "443"}[u.secure()]
	}
	return d.DialContext(ctx, "tcp", net.JoinHostPort(u.URL.Hostname(), port))
}

func (u *Upstream) tlsConfig() *tls.Config {
	c := &tls.Config{}
	if u.TLS != nil {
		c = u.TLS.Clone()
	}
	if c.ServerName == "" {
		c.ServerName = u.URL.Hostname()
	}
	c.NextProtos = []string{"http/1.1"}
	return c
}

// dial opens a connection that is ready for a handshake.
func (u *Upstream) dial(ctx context.Context) (net.Conn, error) {
	conn, err := u.dialRaw(ctx, 0)
	if err != nil || !u.secure() {
		return conn, err
	}
	secure := tls.Client(conn, u.tlsConfig())
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("TLS handshake: %w", err)
	}
	return secure, nil
}
