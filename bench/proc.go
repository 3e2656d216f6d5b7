//go:build unix

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// observed is a wstape proxy whose insides are looked at while it works.
type observed struct {
	*process
	target
	admin string // address of its admin side; empty if it has none
	token string
	tape  string
}

// observe starts a proxy that records, with an admin side if it knows what that is.
func (b *bench) observe(flags ...string) (*observed, error) {
	dir, err := os.MkdirTemp(b.dir, "proxy-")
	if err != nil {
		return nil, err
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	addrFile := filepath.Join(dir, "addr.json")
	args := append([]string{b.wstape, "proxy", "ws://" + b.upstream, "--listen", addr, "--addr-file", addrFile, "--tape", tapePath(dir), "--quiet"}, flags...)
	p, err := startProcess(addr, dir, append(args, "--admin", "127.0.0.1:0")...)
	if err != nil { // an older one, given with -wstape
		if p, err = startProcess(addr, dir, args...); err != nil {
			return nil, err
		}
	}
	o := &observed{process: p, target: target{addr: addr}, tape: tapePath(dir)}
	text, err := p.waitFile(addrFile)
	if err != nil {
		return nil, err
	}
	var where struct{ Admin string }
	if err := json.Unmarshal(text, &where); err != nil {
		return nil, err
	}
	if o.admin = where.Admin; o.admin != "" {
		token, err := os.ReadFile(o.tape + ".admin-token")
		if err != nil {
			return nil, err
		}
		o.token = strings.TrimSpace(string(token))
	}
	return o, nil
}

// waitFile reads a file that the process is about to write, whole.
func (p *process) waitFile(path string) ([]byte, error) {
	for {
		text, err := os.ReadFile(path)
		if !errors.Is(err, os.ErrNotExist) {
			return text, err
		}
		select {
		case <-p.done:
			return nil, p.alive()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// goroutines asks the proxy's metrics; 0 if there are none.
func (o *observed) goroutines() (n float64, err error) {
	if o.admin == "" {
		return 0, nil
	}
	req, err := http.NewRequest("GET", "http://"+o.admin+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+o.token)
	client := &http.Client{Timeout: 10 * time.Second}
	res, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		if _, err := fmt.Sscanf(lines.Text(), "go_goroutines %g", &n); err == nil {
			return n, nil
		}
	}
	return 0, fmt.Errorf("%s: no go_goroutines in its metrics", res.Status)
}

// files and threads are those that the process has open.
func (p *process) files() int {
	list, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	return len(list)
}

func (p *process) threads() int {
	list, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", p.cmd.Process.Pid))
	return len(list)
}

// command runs wstape on the tape, beside the proxy.
func (b *bench) command(o *observed, args ...string) (out []byte, err error) {
	cmd := b.tapeCommand(o.tape, args...)
	var said strings.Builder
	cmd.Stderr = &said
	if out, err = cmd.Output(); err != nil {
		err = fmt.Errorf("wstape %s: %w: %s", strings.Join(args, " "), err, said.String())
	}
	return out, err
}
