// Package config holds wstape's configuration: one typed [Config], its
// defaults, where each value came from, and what is wrong with it. It is the
// only room that knows viper.
package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/wstape/wstape/internal/filter"
	"github.com/wstape/wstape/tape"
)

// Config is everything that can be set. The tags are the keys of the file;
// config.example.yaml explains each.
type Config struct {
	Listen      string      `mapstructure:"listen"`
	Upstream    string      `mapstructure:"upstream"`
	Routes      []Route     `mapstructure:"routes"`
	Tape        string      `mapstructure:"tape"`
	Admin       Admin       `mapstructure:"admin"`
	AddrFile    string      `mapstructure:"addr_file"`
	Strict      bool        `mapstructure:"strict"`
	HostHeader  string      `mapstructure:"host_header"`
	Headers     []string    `mapstructure:"headers"`
	TLS         KeyPair     `mapstructure:"tls"`
	UpstreamTLS UpstreamTLS `mapstructure:"upstream_tls"`
	Log         Log         `mapstructure:"log"`
	Record      Record      `mapstructure:"record"`
	Script      Script      `mapstructure:"script"`
	Limits      Limits      `mapstructure:"limits"`
}

// Script is what runs on the messages, and what it may do.
type Script struct {
	Files        []string      `mapstructure:"files"`
	When         string        `mapstructure:"when"`
	Timeout      time.Duration `mapstructure:"timeout"`
	AwaitTimeout time.Duration `mapstructure:"await_timeout"`
	OnError      string        `mapstructure:"on_error"`
	Memory       Bytes         `mapstructure:"memory"`
	Store        Bytes         `mapstructure:"store"`
	Env          []string      `mapstructure:"env"`
	Reload       bool          `mapstructure:"reload"`
}

// Filter compiles When; nil if all messages are for the scripts. Scripts come
// before anything is known of what becomes of a message.
func (s *Script) Filter() (*filter.Filter, error) {
	if s.When == "" {
		return nil, nil
	}
	f, err := filter.Compile(s.When)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"fate", "by", "received", "seq", "frames", "wire"} {
		if f.Uses(name) {
			return nil, fmt.Errorf("%s is not known yet when scripts are asked about a message", name)
		}
	}
	return f, nil
}

// Route sends what matches to an upstream of its own.
type Route struct {
	Path        string   `mapstructure:"path"`
	Host        string   `mapstructure:"host"`
	Upstream    string   `mapstructure:"upstream"`
	StripPrefix bool     `mapstructure:"strip_prefix"`
	Script      []string `mapstructure:"script"` // behind script.files
}

// KeyPair names the PEM files of a certificate and its key.
type KeyPair struct {
	Cert string `mapstructure:"cert"`
	Key  string `mapstructure:"key"`
}

// UpstreamTLS is how wss and https upstreams are checked and met.
type UpstreamTLS struct {
	CA       string `mapstructure:"ca"`
	Cert     string `mapstructure:"cert"`
	Key      string `mapstructure:"key"`
	SNI      string `mapstructure:"sni"`
	Insecure bool   `mapstructure:"insecure"`
}

// Admin is the side for those who look after wstape, not for its clients.
type Admin struct {
	Listen    string   `mapstructure:"listen"` // host:port or "off"
	TokenFile string   `mapstructure:"token_file"`
	TLS       KeyPair  `mapstructure:"tls"`
	Hosts     []string `mapstructure:"hosts"`
	Pprof     bool     `mapstructure:"pprof"`
}

// Log is the live log on stderr, and what else is told there.
type Log struct {
	Quiet  bool   `mapstructure:"quiet"`
	Format string `mapstructure:"format"`
	Level  string `mapstructure:"level"`
}

// Record is what goes on the tape, and how.
type Record struct {
	Enabled  bool          `mapstructure:"enabled"`
	Flush    time.Duration `mapstructure:"flush"`
	Buffer   Bytes         `mapstructure:"buffer"`
	WhenFull string        `mapstructure:"when_full"`
	KeyFile  string        `mapstructure:"key_file"`
	Keep     Keep          `mapstructure:"keep"`
	Redact   Redact        `mapstructure:"redact"`
}

// Keep bounds what stays on the tape; 0 is no bound.
type Keep struct {
	Age      time.Duration `mapstructure:"age"`
	Size     Bytes         `mapstructure:"size"`
	Sessions int           `mapstructure:"sessions"`
}

// Limits bound what peers can make wstape do.
type Limits struct {
	HandshakeTimeout time.Duration `mapstructure:"handshake_timeout"`
	HandshakeBytes   Bytes         `mapstructure:"handshake_bytes"`
	CloseTimeout     time.Duration `mapstructure:"close_timeout"`
	IdleTimeout      time.Duration `mapstructure:"idle_timeout"`
	StallTimeout     time.Duration `mapstructure:"stall_timeout"`
	KeepAlive        time.Duration `mapstructure:"keepalive"`
	DrainTimeout     time.Duration `mapstructure:"drain_timeout"`
	ShutdownTimeout  time.Duration `mapstructure:"shutdown_timeout"`
	Sessions         int           `mapstructure:"sessions"`
	Connections      int           `mapstructure:"connections"`
	Message          Bytes         `mapstructure:"message"`
	Held             Bytes         `mapstructure:"held"`
	Inflate          Bytes         `mapstructure:"inflate"`
}

// FieldError is a wrong value and the key that holds it.
type FieldError struct {
	Key  string
	From string // the file or the variable that set it; "" for a flag or a default
	Err  error
}

func (e *FieldError) Error() string {
	if e.From == "" {
		return e.Key + ": " + e.Err.Error()
	}
	return e.From + ": " + e.Key + ": " + e.Err.Error()
}

func (e *FieldError) Unwrap() error { return e.Err }

// Validate reports everything that is wrong, each as a [*FieldError].
func (c *Config) Validate() error {
	var errs []error
	bad := func(key, format string, args ...any) {
		errs = append(errs, &FieldError{Key: key, Err: fmt.Errorf(format, args...)})
	}
	if !isAddress(c.Listen) {
		bad("listen", "%q is not host:port (like 127.0.0.1:8080; port 0 picks a free one)", c.Listen)
	}
	switch {
	case c.Admin.Listen == Off:
	case !isAddress(c.Admin.Listen):
		bad("admin.listen", "%q is neither host:port (like 127.0.0.1:9090; port 0 picks a free one) nor off", c.Admin.Listen)
	default:
		if key, err := c.Admin.Guarded(c.Admin.Listen); err != nil {
			bad(key, "%w", err)
		}
	}
	oneOf := func(key, value string, allowed ...string) {
		for _, a := range allowed {
			if value == a {
				return
			}
		}
		bad(key, "%q is not one of %s", value, strings.Join(allowed, ", "))
	}
	oneOf("host_header", c.HostHeader, "rewrite", "keep")
	oneOf("log.format", c.Log.Format, "text", "json")
	oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
	oneOf("record.when_full", c.Record.WhenFull, "block", "drop")
	if _, err := c.Script.Filter(); err != nil {
		bad("script.when", "%w", err)
	}
	oneOf("script.on_error", c.Script.OnError, "pass", "drop", "close")
	for _, h := range c.Headers {
		if _, err := ParseHeader(h); err != nil {
			bad("headers", "%w", err)
		}
	}
	pair := func(key string, p KeyPair) {
		if (p.Cert == "") != (p.Key == "") {
			bad(key, "a certificate and its key go together: set both cert and key")
		}
	}
	pair("tls", c.TLS)
	pair("admin.tls", c.Admin.TLS)
	pair("upstream_tls", KeyPair{c.UpstreamTLS.Cert, c.UpstreamTLS.Key})
	for i, r := range c.Routes {
		key := fmt.Sprintf("routes[%d]", i)
		if r.Upstream == "" {
			bad(key+".upstream", "is missing")
		}
		if r.Path != "" && !strings.HasPrefix(r.Path, "/") {
			bad(key+".path", "%q does not begin with /", r.Path)
		}
	}
	c.Record.Redact.validate(bad)
	c.validateNumbers(bad)
	return errors.Join(errs...)
}

func (c *Config) validateNumbers(bad func(key, format string, args ...any)) {
	if c.Record.Flush < time.Millisecond || c.Record.Flush > 500*time.Millisecond {
		bad("record.flush", "%v is not between 1ms and 500ms", c.Record.Flush)
	}
	if c.Record.Buffer < 1<<20 {
		bad("record.buffer", "%v is less than 1MiB", c.Record.Buffer)
	}
	if c.Record.Keep.Age < 0 {
		bad("record.keep.age", "%v is negative; 0 means no bound", c.Record.Keep.Age)
	}
	if size := c.Record.Keep.Size; size != 0 && size < 1<<20 {
		bad("record.keep.size", "%v is less than 1MiB; 0 means no bound", size)
	}
	if c.Record.Keep.Sessions < 0 {
		bad("record.keep.sessions", "%d is negative; 0 means no bound", c.Record.Keep.Sessions)
	}
	positive := func(key string, d time.Duration) {
		if d <= 0 {
			bad(key, "%v is not a positive duration", d)
		}
	}
	positive("limits.handshake_timeout", c.Limits.HandshakeTimeout)
	positive("limits.close_timeout", c.Limits.CloseTimeout)
	positive("limits.idle_timeout", c.Limits.IdleTimeout)
	positive("limits.stall_timeout", c.Limits.StallTimeout)
	if c.Limits.KeepAlive < time.Second {
		bad("limits.keepalive", "%v is less than a second, which is what TCP counts in", c.Limits.KeepAlive)
	}
	positive("limits.shutdown_timeout", c.Limits.ShutdownTimeout)
	if c.Limits.DrainTimeout < 0 {
		bad("limits.drain_timeout", "%v is negative; 0 means not to wait", c.Limits.DrainTimeout)
	}
	if c.Limits.HandshakeBytes < 1<<10 || c.Limits.HandshakeBytes > 16<<20 {
		bad("limits.handshake_bytes", "%v is not between 1KiB and 16MiB", c.Limits.HandshakeBytes)
	}
	if c.Limits.Inflate < 1<<10 {
		bad("limits.inflate", "%v is less than 1KiB", c.Limits.Inflate)
	}
	positive("script.timeout", c.Script.Timeout)
	positive("script.await_timeout", c.Script.AwaitTimeout)
	least := func(key string, value, floor Bytes) {
		if value < floor {
			bad(key, "%v is less than %v", value, floor)
		}
	}
	least("script.memory", c.Script.Memory, 1<<20)
	least("script.store", c.Script.Store, 1<<10)
	least("limits.message", c.Limits.Message, 1<<10)
	least("limits.held", c.Limits.Held, 1<<10)
	for key, n := range map[string]int{"limits.sessions": c.Limits.Sessions, "limits.connections": c.Limits.Connections} {
		if n < 0 {
			bad(key, "%d is negative; 0 means no limit", n)
		}
	}
}

// Off is the admin side's address where there is none.
const Off = "off"

func isAddress(s string) bool {
	_, port, err := net.SplitHostPort(s)
	_, portErr := strconv.ParseUint(port, 10, 16)
	return err == nil && portErr == nil
}

// Loopback reports whether only this machine reaches an address, host:port.
func Loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && ip.Unmap().IsLoopback()
}

// Guarded says what an admin side lacks, and under which key, to be served at an
// address, host:port: whoever else may reach it, has to be kept out.
func (a *Admin) Guarded(address string) (key string, err error) {
	switch {
	case Loopback(address):
		return "", nil
	case a.Pprof:
		return "admin.pprof", fmt.Errorf("profiles are shown on a loopback address only, and %s can be reached from other machines", address)
	case a.TokenFile == "" || a.TLS.Cert == "":
		return "admin.listen", fmt.Errorf("%s can be reached from other machines: set admin.token_file and admin.tls, or use a loopback address like 127.0.0.1:9090", address)
	}
	return "", nil
}

// ParseHeader reads "Name: value". What could break out of the field is refused.
func ParseHeader(s string) (tape.Header, error) {
	name, value, ok := strings.Cut(s, ":")
	name, value = strings.TrimSpace(name), strings.TrimSpace(value)
	if !ok || name == "" || strings.ContainsAny(name, " \t\r\n\x00\"(),/;<=>?@[\\]{}") {
		return tape.Header{}, fmt.Errorf("header %q is not of the form 'Name: value'", s)
	}
	if strings.ContainsAny(value, "\r\n\x00") {
		return tape.Header{}, fmt.Errorf("header %q has a line break in its value", name)
	}
	return tape.Header{name, value}, nil
}
