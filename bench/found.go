//go:build unix

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

// peersDir is where peers are installed that no package of the system brings,
// seen from the repository.
const peersDir = "bench/peers"

// peer is a program of others that proxies need.
type peer struct {
	name    string
	version func() (string, error) // an error says why it is not there
}

func peers() []peer {
	return []peer{
		{"gorilla/websocket (pump)", gorilla},
		{"nginx", program("nginx", "-v")},
		{"haproxy", program("haproxy", "-v")},
		{"caddy", program("caddy", "version")},
		{"mockttp", mockttpVersion},
		{"mitmproxy", program("mitmdump", "--version")},
	}
}

// program asks a program on the PATH for its version: the first line it says.
func program(name string, args ...string) func() (string, error) {
	return func() (string, error) {
		if _, err := exec.LookPath(name); err != nil {
			return "", fmt.Errorf("no %s on the PATH", name)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
		line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		return line, err
	}
}

func mockttpVersion() (string, error) {
	node, err := program("node", "--version")()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(peersDir, "node_modules", "mockttp")
	text, err := os.ReadFile(filepath.Join(dir, "package.json"))
	if err != nil {
		return "", fmt.Errorf("no %s", dir)
	}
	var about struct{ Version string }
	err = json.Unmarshal(text, &about)
	return about.Version + ", node " + node, err
}

// found is what the machine is and has.
type found struct {
	versions map[string]string // of peers
	missing  map[string]error
}

func look() found {
	f := found{versions: map[string]string{}, missing: map[string]error{}}
	for _, p := range peers() {
		version, err := p.version()
		if err != nil {
			f.missing[p.name] = err
			fmt.Fprintf(os.Stderr, "no %s: %v (make bench-peers installs what it can)\n", p.name, err)
			continue
		}
		f.versions[p.name] = version
	}
	return f
}

func (f *found) has(p *proxy) bool { return p.needs == "" || f.versions[p.needs] != "" }

// machine is a line on what all this ran on.
func machine() string {
	cpu := "unknown CPU"
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if key, value, _ := strings.Cut(line, ":"); strings.TrimSpace(key) == "model name" {
			cpu = strings.TrimSpace(value)
			break
		}
	}
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		kernel = []byte("kernel unknown")
	}
	release := strings.SplitN(strings.TrimSpace(string(kernel)), ".", 3) // the rest is the distributor's
	return fmt.Sprintf("%d × %s, %s %s, %s/%s, %s", runtime.NumCPU(), cpu, runtime.GOOS, strings.Join(release[:min(2, len(release))], "."),
		runtime.GOOS, runtime.GOARCH, runtime.Version())
}

// gorilla is the version of what pump is made of.
func gorilla() (string, error) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "", errors.New("no build information")
	}
	for _, m := range info.Deps {
		if m.Path == "github.com/gorilla/websocket" {
			return m.Version, nil
		}
	}
	return "", errors.New("not linked in")
}
