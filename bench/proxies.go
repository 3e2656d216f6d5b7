//go:build unix

package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
)

// proxy is something that is measured: a way to start it in front of an
// upstream. Without a command the load goes to the upstream itself.
type proxy struct {
	name    string
	needs   string // a peer that must be there
	command func(b *bench, dir, listen, upstream string) ([]string, error)
	tls     bool // it serves wss
	records bool // to tapePath
	script  bool // only for scenarios that name it
	far     bool // so far from wstape that one round shows it
	maxIdle int  // connections that it can hold here, if not all that are asked for
	failed  bool // it did not start and is not tried again
}

func tapePath(dir string) string { return filepath.Join(dir, "t.db") }

func proxies() []proxy {
	wstape := func(flags ...string) func(*bench, string, string, string) ([]string, error) {
		return func(b *bench, dir, listen, upstream string) ([]string, error) {
			args := []string{b.wstape, "proxy", "ws://" + upstream, "--listen", listen, "--tape", tapePath(dir), "--quiet"}
			return append(args, flags...), nil
		}
	}
	self := func(role string) func(*bench, string, string, string) ([]string, error) {
		return func(b *bench, _, listen, upstream string) ([]string, error) {
			return []string{b.self, role, listen, upstream}, nil
		}
	}
	scripted := func(name, code string) proxy {
		return proxy{name: name, records: true, script: true, command: func(b *bench, dir, listen, upstream string) ([]string, error) {
			path, err := writeConfig(dir, "script.js", code)
			if err != nil {
				return nil, err
			}
			return wstape("--script", path)(b, dir, listen, upstream)
		}}
	}
	return []proxy{
		{name: "direct"},
		{name: "relay", command: self("relay"), maxIdle: 3000}, // 6 file descriptors each
		{name: "wstape", command: wstape(), records: true},
		{name: "wstape --no-record", command: wstape("--no-record")},
		scripted(unhooked, `export function onOpen(session) {}`),
		scripted(empty, `export function onMessage(msg) {}`),
		scripted(upper, `export function onMessage(msg) { return msg.from === "client" ? msg.text.toUpperCase() : msg.text.toLowerCase() }`),
		scripted(jsonEdit, `export function onMessage(msg) { if (msg.from === "client") msg.json.bench = 1; else delete msg.json.bench }`),
		scripted(async, `export async function onMessage(msg) { await null }`),
		{name: "pump", command: self("pump"), far: true},
		{name: "nginx", needs: "nginx", command: nginx("4k", false)},
		{name: "nginx 64k", needs: "nginx", command: nginx("64k", false)},
		{name: "haproxy", needs: "haproxy", command: haproxy},
		{name: "caddy", needs: "caddy", command: caddy(false)},
		{name: "mockttp", needs: "mockttp", command: mockttp, far: true, maxIdle: 1000},
		{name: "mitmproxy", needs: "mitmproxy", command: mitmproxy, far: true, maxIdle: 1000},
		{name: "wstape wss", tls: true, records: true, command: func(b *bench, dir, listen, upstream string) ([]string, error) {
			return wstape("--tls-cert", b.cert, "--tls-key", b.key)(b, dir, listen, upstream)
		}},
		{name: "nginx wss", tls: true, needs: "nginx", command: nginx("64k", true)},
		{name: "caddy wss", tls: true, needs: "caddy", command: caddy(true)},
	}
}

// The scripts. Those that change messages change each twice, so that what comes
// back is what was sent.
const (
	unhooked = "script without onMessage"
	empty    = "script: empty onMessage"
	upper    = "script: upper case"
	jsonEdit = "script: JSON edit"
	async    = "script: async onMessage"
)

func writeConfig(dir, name, text string) (string, error) {
	path := filepath.Join(dir, name)
	return path, os.WriteFile(path, []byte(text), 0o600)
}

func nginx(buffer string, secure bool) func(*bench, string, string, string) ([]string, error) {
	return func(b *bench, dir, listen, upstream string) ([]string, error) {
		extra := ""
		if secure {
			listen += " ssl"
			extra = fmt.Sprintf("ssl_certificate %s; ssl_certificate_key %s;", b.cert, b.key)
		}
		path, err := writeConfig(dir, "nginx.conf", fmt.Sprintf(`
user root; worker_processes auto; pid %[1]s/pid; error_log %[1]s/error.log; daemon off; worker_rlimit_nofile 20000;
events { worker_connections 19000; }
http {
  access_log off; client_body_temp_path %[1]s/a; proxy_temp_path %[1]s/b; fastcgi_temp_path %[1]s/c; uwsgi_temp_path %[1]s/d; scgi_temp_path %[1]s/e;
  server {
    listen %[2]s; %[5]s
    location / {
      proxy_pass http://%[3]s; proxy_http_version 1.1; proxy_buffer_size %[4]s; proxy_buffers 8 %[4]s; proxy_read_timeout 600s;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade"; proxy_set_header Host $host;
    }
  }
}
`, dir, listen, upstream, buffer, extra))
		return []string{"nginx", "-c", path, "-p", dir, "-e", filepath.Join(dir, "error.log")}, err
	}
}

func haproxy(_ *bench, dir, listen, upstream string) ([]string, error) {
	path, err := writeConfig(dir, "haproxy.cfg", fmt.Sprintf(`
global
  maxconn 9500
defaults
  mode http
  timeout connect 5s
  timeout client 600s
  timeout server 600s
  timeout tunnel 600s
frontend f
  bind %s
  default_backend b
backend b
  server s %s
`, listen, upstream))
	return []string{"haproxy", "-f", path, "-db"}, err
}

func mitmproxy(_ *bench, dir, listen, upstream string) ([]string, error) {
	host, port, err := net.SplitHostPort(listen)
	return []string{"mitmdump", "-q", "--set", "confdir=" + dir, "--set", "connection_strategy=lazy",
		"--mode", "reverse:http://" + upstream, "--listen-host", host, "--listen-port", port}, err
}

func caddy(secure bool) func(*bench, string, string, string) ([]string, error) {
	return func(b *bench, dir, listen, upstream string) ([]string, error) {
		host, port, err := net.SplitHostPort(listen)
		if err != nil {
			return nil, err
		}
		site, cert := "http://:"+port, ""
		if secure {
			site, cert = "https://:"+port, fmt.Sprintf("tls %s %s", b.cert, b.key)
		}
		path, err := writeConfig(dir, "Caddyfile", fmt.Sprintf(`
{
	admin off
	auto_https off
}
%s {
	bind %s
	%s
	reverse_proxy %s
}
`, site, host, cert, upstream))
		return []string{"caddy", "run", "--config", path, "--adapter", "caddyfile"}, err
	}
}

func mockttp(_ *bench, _, listen, upstream string) ([]string, error) {
	script, err := filepath.Abs(filepath.Join(peersDir, "mockttp.mjs"))
	return []string{"node", script, listen, upstream}, err
}
