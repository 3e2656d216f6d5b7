//go:build unix

package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// process is a proxy or the echo, ended by its own pid.
type process struct {
	cmd  *exec.Cmd
	addr string
	dir  string // its files
}

// freeAddr is an address where nothing listens now.
func freeAddr() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}

// startProcess runs a command and waits until its address accepts connections.
func startProcess(addr, dir string, command ...string) (*process, error) {
	p := &process{cmd: exec.Command(command[0], command[1:]...), addr: addr, dir: dir}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			return p, conn.Close()
		}
		select {
		case <-ctx.Done():
			p.stop()
			text, _ := os.ReadFile(log.Name())
			return nil, fmt.Errorf("%s does not listen on %s: %s", command[0], addr, text)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// stop ends the process and its children.
func (p *process) stop() {
	if p == nil {
		return
	}
	_ = p.cmd.Process.Signal(os.Interrupt)
	done := make(chan struct{})
	go func() { _ = p.cmd.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		for _, pid := range family(p.cmd.Process.Pid) {
			if child, err := os.FindProcess(pid); err == nil {
				_ = child.Kill()
			}
		}
		<-done
	}
}

// family is a process and its descendants.
func family(pid int) []int {
	parent := map[int]int{}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		if n, err := strconv.Atoi(filepath.Base(dir)); err == nil {
			if fields := stat(n); len(fields) > 1 {
				parent[n], _ = strconv.Atoi(fields[1])
			}
		}
	}
	out := []int{pid}
	for i := 0; i < len(out); i++ {
		for child, of := range parent {
			if of == out[i] {
				out = append(out, child)
			}
		}
	}
	return out
}

// stat is /proc/PID/stat behind the command's name: state, parent, …
func stat(pid int) []string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	return strings.Fields(rest)
}

// clockTick is the unit of CPU times in /proc: USER_HZ, 100 on Linux.
const clockTick = 10 * time.Millisecond

// cpu is the CPU time that the process's family has used.
func (p *process) cpu() (total time.Duration) {
	if p == nil {
		return 0
	}
	for _, pid := range family(p.cmd.Process.Pid) {
		if fields := stat(pid); len(fields) > 14 {
			for _, field := range fields[11:13] { // utime, stime
				n, _ := strconv.Atoi(field)
				total += time.Duration(n) * clockTick
			}
		}
	}
	return total
}

// rss is the resident memory of the process's family, in bytes; pages of files
// that are only mapped do not count.
func (p *process) rss() (total int) {
	if p == nil {
		return 0
	}
	for _, pid := range family(p.cmd.Process.Pid) {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		for line := range strings.Lines(string(text)) {
			var kib int
			if _, err := fmt.Sscanf(line, "RssAnon: %d kB", &kib); err == nil {
				total += kib << 10
			}
		}
	}
	return total
}
