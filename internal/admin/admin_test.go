package admin

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/wstape/wstape/internal/wstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, wstest.Lingering()) }

const token = "a-token-of-the-test"

// rig is an admin side that is being served on loopback.
type rig struct {
	t    *testing.T
	addr string
	log  *lines

	mu    sync.Mutex
	parts []Part
}

type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newRig(t *testing.T, change func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t, log: &lines{}}
	c := Config{
		Token: token, Log: slog.New(slog.NewTextHandler(r.log, nil)),
		Ready: func() []Part {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.parts
		},
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "figures 1\n") }),
	}
	if change != nil {
		change(&c)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.addr = ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- New(c).Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return r
}

// ask sends a request as it stands here and returns the answer.
func (r *rig) ask(method, path string, fields ...string) (status int, body string, header http.Header) {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close()
	return exchange(r.t, conn, r.addr, method, path, fields...)
}

func exchange(t *testing.T, conn net.Conn, addr, method, path string, fields ...string) (status int, body string, header http.Header) {
	t.Helper()
	head := method + " " + path + " HTTP/1.1\r\nConnection: close\r\n"
	if !strings.HasPrefix(strings.Join(fields, "\n"), "Host:") {
		head += "Host: " + addr + "\r\n"
	}
	for _, f := range fields {
		head += f + "\r\n"
	}
	if _, err := io.WriteString(conn, head+"\r\n"); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(text), res.Header
}

const bearer = "Authorization: Bearer " + token

func TestWhoGetsIn(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Pprof, c.Hosts = true, []string{"tapes.example.com"} })
	for name, c := range map[string]struct {
		path   string
		fields []string
		want   int
	}{
		"health wants no token":              {"/healthz", nil, 200},
		"nor does readiness":                 {"/readyz", nil, 200},
		"metrics without a token":            {"/metrics", nil, 401},
		"with it":                            {"/metrics", []string{bearer}, 200},
		"the scheme in small letters":        {"/metrics", []string{"Authorization: bearer " + token}, 200},
		"a wrong token":                      {"/metrics", []string{"Authorization: Bearer a-token-of-the-tesu"}, 401},
		"the beginning of the token":         {"/metrics", []string{"Authorization: Bearer a-token"}, 401},
		"more than the token":                {"/metrics", []string{bearer + "x"}, 401},
		"an empty token":                     {"/metrics", []string{"Authorization: Bearer "}, 401},
		"another scheme":                     {"/metrics", []string{"Authorization: Basic " + token}, 401},
		"the token in the query":             {"/metrics?token=" + token, nil, 401},
		"readiness with a wrong token":       {"/readyz", []string{"Authorization: Bearer nonsense"}, 401},
		"profiles without a token":           {"/debug/pprof/", nil, 401},
		"profiles with it":                   {"/debug/pprof/", []string{bearer}, 200},
		"a profile without a token":          {"/debug/pprof/heap", nil, 401},
		"a CPU profile without a token":      {"/debug/pprof/profile?seconds=1", nil, 401},
		"a trace without a token":            {"/debug/pprof/trace?seconds=1", nil, 401},
		"the command line without a token":   {"/debug/pprof/cmdline", nil, 401},
		"a name of this machine":             {"/healthz", []string{"Host: localhost:1234"}, 200},
		"a name of this machine, v6":         {"/healthz", []string{"Host: [::1]:1234"}, 200},
		"a loopback address without a port":  {"/healthz", []string{"Host: 127.1.2.3"}, 200},
		"a name that was configured":         {"/healthz", []string{"Host: TAPES.example.com"}, 200},
		"a name that points here by a trick": {"/healthz", []string{"Host: rebound.example.net"}, 403},
		"even with the token":                {"/metrics", []string{"Host: rebound.example.net", bearer}, 403},
		"another machine's address":          {"/healthz", []string{"Host: 192.0.2.7"}, 403},
		"a name that begins like ours":       {"/healthz", []string{"Host: localhost.example.net"}, 403},
		"another site's page":                {"/healthz", []string{"Origin: https://evil.example"}, 403},
		"even with the token, another":       {"/metrics", []string{"Origin: https://evil.example", bearer}, 403},
		"a page without an origin":           {"/healthz", []string{"Origin: null"}, 403},
		"a page of this server":              {"/healthz", []string{"Origin: http://" + r.addr}, 200},
		"a page of another port here":        {"/healthz", []string{"Origin: http://127.0.0.1:1"}, 403},
		"this server with another scheme":    {"/healthz", []string{"Origin: https://" + r.addr}, 403},
		"two origins, one of them ours":      {"/healthz", []string{"Origin: http://" + r.addr, "Origin: https://evil.example"}, 403},
		"a WebSocket of another site":        {"/metrics", []string{"Origin: https://evil.example", "Upgrade: websocket", "Connection: Upgrade", bearer}, 403},
		"nothing there":                      {"/", []string{bearer}, 404},
	} {
		t.Run(name, func(t *testing.T) {
			status, body, header := r.ask("GET", c.path, c.fields...)
			if status != c.want {
				t.Errorf("status %d, want %d: %s", status, c.want, body)
			}
			if status == 401 && header.Get("WWW-Authenticate") == "" {
				t.Error("no WWW-Authenticate")
			}
			for name := range header {
				if strings.HasPrefix(name, "Access-Control-") {
					t.Errorf("another site is told %s", name)
				}
			}
			if strings.Contains(body, token) {
				t.Errorf("the answer has the token: %s", body)
			}
		})
	}
	if text := r.log.String(); !strings.Contains(text, "admin request refused") || strings.Contains(text, token) {
		t.Errorf("the log:\n%s", text)
	}
}

func TestNothingIsChangedThroughTheAdminSide(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Pprof = true })
	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS"} {
		for _, path := range []string{"/healthz", "/readyz", "/metrics", "/debug/pprof/symbol"} {
			if status, body, _ := r.ask(method, path, bearer); status != 405 {
				t.Errorf("%s %s: %d %s", method, path, status, body)
			}
		}
	}
}

func TestProfilesAreNotShownUnlessAskedFor(t *testing.T) {
	r := newRig(t, nil)
	if status, body, _ := r.ask("GET", "/debug/pprof/", bearer); status != 404 {
		t.Errorf("%d %s", status, body)
	}
}

func TestAProfileIsWhole(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Pprof = true })
	status, body, _ := r.ask("GET", "/debug/pprof/profile?seconds=1", bearer)
	if status != 200 || !strings.HasPrefix(body, "\x1f\x8b") {
		t.Errorf("%d, %d bytes", status, len(body))
	}
}

func TestReadinessSaysWhyToThoseWhoMayKnow(t *testing.T) {
	r := newRig(t, nil)
	r.parts = []Part{{Name: "listener", OK: true}, {Name: "recorder", Why: "disk full"}}
	status, body, _ := r.ask("GET", "/readyz")
	if status != 503 || body != `{"ok":false}`+"\n" {
		t.Errorf("a stranger is told %d %s", status, body)
	}
	status, body, header := r.ask("GET", "/readyz", bearer)
	var got health
	if err := json.Unmarshal([]byte(body), &got); err != nil || status != 503 || header.Get("Content-Type") != "application/json" {
		t.Fatalf("%d %s: %v", status, body, err)
	}
	if diff := cmp.Diff(health{Parts: r.parts}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if status, _, _ := r.ask("GET", "/healthz"); status != 200 {
		t.Errorf("not ready is not dead, but health is %d", status)
	}
}

// TestConnectionsAreLimited holds as many as there may be, and one more, which
// is served when one of them goes.
func TestConnectionsAreLimited(t *testing.T) {
	r := newRig(t, nil)
	var held []net.Conn
	for range maxConns {
		conn, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil {
			t.Fatal(err)
		}
		held = append(held, conn)
	}
	late, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	answered := make(chan int, 1)
	go func() {
		status, _, _ := exchange(t, late, r.addr, "GET", "/healthz")
		answered <- status
	}()
	select {
	case status := <-answered:
		t.Fatalf("one more than %d was answered with %d", maxConns, status)
	case <-time.After(50 * time.Millisecond):
	}
	held[0].Close()
	select {
	case status := <-answered:
		if status != 200 {
			t.Errorf("the late one: %d", status)
		}
	case <-time.After(20 * time.Second):
		t.Error("the late one is not answered")
	}
}

func TestLongHeadsAreRefused(t *testing.T) {
	r := newRig(t, nil)
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	head := "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Long: " + strings.Repeat("x", maxHead+4<<10) // which net/http gives on top
	if _, err := io.WriteString(conn, head); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || res.StatusCode != 431 {
		t.Errorf("%v, %v", res, err)
	}
}

func TestTLS(t *testing.T) {
	source := httptest.NewTLSServer(http.NotFoundHandler()) // for its certificate
	defer source.Close()
	r := newRig(t, func(c *Config) { c.TLS = &tls.Config{Certificates: source.TLS.Certificates} })
	roots := x509.NewCertPool()
	roots.AddCert(source.Certificate())
	conn, err := tls.Dial("tcp", r.addr, &tls.Config{RootCAs: roots, ServerName: "example.com"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if status, body, _ := exchange(t, conn, r.addr, "GET", "/metrics", bearer, "Origin: https://"+r.addr); status != 200 {
		t.Errorf("%d %s", status, body)
	}
}

func TestReadToken(t *testing.T) {
	write := func(text string, mode os.FileMode) string {
		path := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, c := range map[string]struct {
		text  string
		mode  os.FileMode
		error string
	}{
		"as it should be":        {token + "\n", 0o600, ""},
		"read only":              {token, 0o400, ""},
		"readable by the group":  {token, 0o640, "others may read"},
		"readable by all":        {token, 0o604, "others may read"},
		"writable by the group":  {token, 0o620, "others may read"},
		"empty":                  {"", 0o600, "holds 0 bytes"},
		"short":                  {"secret", 0o600, "holds 6 bytes"},
		"long":                   {strings.Repeat("x", 1<<20), 0o600, "1025 bytes"},
		"two words":              {token + " " + token, 0o600, "more than one word"},
		"two lines":              {token + "\n" + token, 0o600, "more than one word"},
		"bytes that are no text": {"0123456789abcdef\x00\xff", 0o600, "more than one word"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.mode&0o077 != 0 && runtime.GOOS == "windows" {
				t.Skip("no such modes")
			}
			got, err := ReadToken(write(c.text, c.mode))
			switch {
			case c.error == "" && (err != nil || got != token):
				t.Errorf("%q, %v", got, err)
			case c.error != "" && (err == nil || !strings.Contains(err.Error(), c.error)):
				t.Errorf("%q, %v; want %q", got, err, c.error)
			case err != nil && strings.Contains(err.Error(), token):
				t.Errorf("the error has the token: %v", err)
			}
		})
	}
	if _, err := ReadToken(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a file that is not there was read")
	}
	if _, err := ReadToken(t.TempDir()); err == nil {
		t.Error("a directory was read")
	}
}

func TestATokenIsMadeOnceAndKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "t.db.admin-token")
	first, err := KeepToken(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 && runtime.GOOS != "windows" {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if again, err := KeepToken(path); err != nil || again != first {
		t.Errorf("%q and then %q, %v", first, again, err)
	}
	if other, err := KeepToken(filepath.Join(t.TempDir(), "other")); err != nil || other == first {
		t.Errorf("%q twice, %v", other, err)
	}
	if runtime.GOOS != "windows" {
		if err := os.Chmod(path, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := KeepToken(path); err == nil {
			t.Error("a token that all can read was taken")
		}
	}
	if _, err := KeepToken(filepath.Join(t.TempDir(), "no", "dir")); err == nil {
		t.Error("made in a directory that is not there")
	}
}

// TestNoTokenLetsNobodyIn guards against a configuration that lost it.
func TestNoTokenLetsNobodyIn(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Token = "" })
	for _, field := range []string{"Authorization: Bearer ", "Authorization: Bearer", "X-Nothing: 1"} {
		if status, _, _ := r.ask("GET", "/metrics", field); status != 401 {
			t.Errorf("%s: %d", field, status)
		}
	}
}

func TestTheLogIsNotFlooded(t *testing.T) {
	r := newRig(t, nil)
	for i := range 20 {
		r.ask("GET", fmt.Sprintf("/metrics?%d", i))
	}
	if n := strings.Count(r.log.String(), "\n"); n == 20 {
		t.Errorf("%d lines for 20 requests", n)
	}
}

// FuzzHost looks for a Host that is taken for this machine's and that the rest of
// the world reads as something else.
func FuzzHost(f *testing.F) {
	for _, host := range []string{"localhost:80", "[::1]:1", "127.0.0.1:80@evil.example", "evil.example", "localhost.", "[localhost]"} {
		f.Add(host)
	}
	s := New(Config{Log: slog.New(slog.DiscardHandler)})
	f.Fuzz(func(t *testing.T, host string) {
		if !s.isFor(&http.Request{Host: host}) {
			return
		}
		u, err := url.Parse("http://" + host + "/")
		if err != nil {
			t.Fatalf("host %q is no host: %v", host, err)
		}
		if ip, err := netip.ParseAddr(u.Hostname()); !strings.EqualFold(u.Hostname(), "localhost") && (err != nil || !ip.Unmap().IsLoopback()) {
			t.Errorf("host %q is taken for this machine's, and is %q", host, u.Hostname())
		}
	})
}
