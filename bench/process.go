//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// process is a proxy, the echo or a reader, ended by its own pid.
type process struct {
	cmd  *exec.Cmd
	dir  string        // its files
	log  string        // where its stderr goes
	done chan struct{} // closed when it has ended
}

// children are the processes that run, so that an interrupted run leaves none behind.
var children struct {
	sync.Mutex
	over    bool // nothing is started any more
	running map[*process]bool
}

// spawn runs a command. Its stdout is thrown away.
func spawn(dir string, command ...string) (*process, error) {
	log, err := os.CreateTemp(dir, "log-")
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p := &process{cmd: exec.Command(command[0], command[1:]...), dir: dir, log: log.Name(), done: make(chan struct{})}
	p.cmd.Stderr = log
	children.Lock()
	defer children.Unlock()
	if children.over {
		return nil, errors.New("interrupted")
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	if children.running == nil {
		children.running = map[*process]bool{}
	}
	children.running[p] = true
	go func() {
		_ = p.cmd.Wait()
		children.Lock()
		delete(children.running, p)
		children.Unlock()
		close(p.done)
	}()
	return p, nil
}

// startProcess runs a command and waits until its address accepts connections.
func startProcess(addr, dir string, command ...string) (*process, error) {
	p, err := spawn(dir, command...)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for {
		if conn, err := net.Dial("tcp", addr); err == nil {
			return p, conn.Close()
		}
		select {
		case <-p.done:
			return nil, fmt.Errorf("%s ended: %s", command[0], p.said())
		case <-ctx.Done():
			p.stop()
			return nil, fmt.Errorf("%s does not listen on %s: %s", command[0], addr, p.said())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// said is the end of what it wrote to stderr.
func (p *process) said() string {
	text, _ := os.ReadFile(p.log)
	return strings.TrimSpace(string(text[max(0, len(text)-600):]))
}

// alive reports an error if the process has ended by itself.
func (p *process) alive() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s ended: %s", strings.Join(p.cmd.Args, " "), p.said())
	default:
		return nil
	}
}

// stop ends the process, with its children if it does not end by itself. It may
// be called again.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(os.Interrupt)
	select {
	case <-p.done:
	case <-time.After(10 * time.Second):
		p.kill()
		<-p.done
	}
}

func (p *process) kill() {
	for _, pid := range family(p.cmd.Process.Pid) {
		if child, err := os.FindProcess(pid); err == nil {
			_ = child.Kill()
		}
	}
}

// endChildren ends all that runs, for good: with SIGINT and, after a second,
// by force.
func endChildren() {
	children.Lock()
	children.over = true
	var left []*process
	for p := range children.running {
		_ = p.cmd.Process.Signal(os.Interrupt)
		left = append(left, p)
	}
	children.Unlock()
	second := time.After(time.Second)
	for _, p := range left {
		select {
		case <-p.done:
			continue
		case <-second:
		}
		for _, p := range left {
			if p.alive() == nil {
				p.kill()
			}
		}
		return
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
