//go:build unix

package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// unit stands for the service manager: it holds the sockets, passes them to one
// process after the other, and hears what each says about itself.
type unit struct {
	t       testing.TB
	files   []*os.File
	names   []string
	listen  string // address for clients
	admin   string
	env     []string
	command []string
	said    *net.UnixConn
	tape    tapeFile
}

func newUnit(t testing.TB, upstream string, flags ...string) *unit {
	t.Helper()
	dir := t.TempDir()
	u := &unit{t: t, tape: tapeFile{t, filepath.Join(dir, "t.db")}}
	u.listen, u.admin = u.socket("listen"), u.socket("admin")
	short, err := os.MkdirTemp("", "wstape") // the path of a socket has to be short
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(short) })
	path := filepath.Join(short, "notify")
	u.said, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	must(t, err)
	t.Cleanup(func() { u.said.Close() })
	u.env = []string{"NOTIFY_SOCKET=" + path}
	u.command = append([]string{binary, "proxy", upstream, "--tape", u.tape.path, "--quiet"}, flags...)
	return u
}

// socket opens a listener on which nobody accepts as long as no process runs.
func (u *unit) socket(name string) (address string) {
	u.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(u.t, err)
	file, err := ln.(*net.TCPListener).File()
	must(u.t, err)
	must(u.t, ln.Close()) // file holds it
	u.t.Cleanup(func() { file.Close() })
	u.files, u.names = append(u.files, file), append(u.names, name)
	return ln.Addr().String()
}

// start runs a process and waits until it says that it is ready.
func (u *unit) start() *process {
	u.t.Helper()
	// The process's own number has to be in its environment; exec keeps it.
	command := append([]string{"sh", "-c", `LISTEN_PID=$$ exec "$@"`, "sh"}, u.command...)
	p := startWith(u.t, "wstape proxy", func(cmd *exec.Cmd) {
		cmd.ExtraFiles = u.files
		cmd.Env = append(cmd.Env, u.env...)
		cmd.Env = append(cmd.Env, "LISTEN_FDS="+strconv.Itoa(len(u.files)), "LISTEN_FDNAMES="+strings.Join(u.names, ":"))
	}, command...)
	u.hear("READY=1", p)
	return p
}

// hear waits for a message with a line, and returns all of it.
func (u *unit) hear(line string, p *process) string {
	u.t.Helper()
	b := make([]byte, 4<<10)
	must(u.t, u.said.SetReadDeadline(time.Now().Add(patience)))
	for {
		n, err := u.said.Read(b)
		if err != nil {
			u.t.Fatalf("waited for %s: %v; it said:\n%s", line, err, p.stderr.String())
		}
		for _, one := range strings.Split(string(b[:n]), "\n") {
			if one == line {
				return string(b[:n])
			}
		}
	}
}

// ask asks the admin side.
func (u *unit) ask(path string) (status int, body string) {
	u.t.Helper()
	token, err := os.ReadFile(u.tape.path + ".admin-token")
	must(u.t, err)
	r, err := http.NewRequestWithContext(within(u.t), http.MethodGet, "http://"+u.admin+path, nil)
	must(u.t, err)
	r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(r)
	must(u.t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	must(u.t, err)
	return res.StatusCode, string(text)
}

// visitor opens one session after the other, says a few things in each, waits for
// each to come back, and takes its leave.
type visitor struct {
	url    string
	name   string
	stop   chan struct{}
	visits chan<- struct{} // each that is over
	echoed []string        // what came back
	err    error
}

func (v *visitor) run() {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for n := 0; v.err == nil; n++ {
		select {
		case <-v.stop:
			return
		case <-tick.C:
			v.err = v.visit(n)
			v.visits <- struct{}{}
		}
	}
}

func (v *visitor) visit(n int) error {
	dialer := websocket.Dialer{HandshakeTimeout: patience}
	conn, _, err := dialer.Dial(v.url, nil)
	if err != nil {
		return fmt.Errorf("visit %d: %w", n, err)
	}
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	for k := range 3 {
		text := fmt.Sprintf("%s visit %d message %d", v.name, n, k)
		if err = conn.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
			break
		}
		var got []byte
		if _, got, err = conn.ReadMessage(); err != nil {
			break
		}
		if string(got) != text {
			return fmt.Errorf("echo of %q is %q", text, got)
		}
		v.echoed = append(v.echoed, text)
	}
	if err == nil {
		_ = conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(1000, ""), time.Now().Add(patience))
		_, _, err = conn.ReadMessage()
	}
	var closed *websocket.CloseError
	switch {
	case errors.As(err, &closed) && (closed.Code == 1000 || closed.Code == 1001): // by us, or by wstape
		return nil
	}
	return fmt.Errorf("visit %d: %w", n, err)
}

// TestRestartUnderSocketActivation restarts wstape again and again while clients
// come and go: none is refused, each session is ended properly, and all that came
// back is on the tape.
func TestRestartUnderSocketActivation(t *testing.T) {
	u := newUnit(t, plainEcho(t), "--log-format", "json")
	u.env = append(u.env, "WSTAPE_LIMITS_DRAIN_TIMEOUT=700ms", "WSTAPE_LIMITS_SHUTDOWN_TIMEOUT=5s")
	p := u.start()

	var visitors []*visitor
	var running sync.WaitGroup
	visits := make(chan struct{}, 100_000)
	for i := range 3 {
		v := &visitor{url: "ws://" + u.listen + "/visit", name: fmt.Sprint("visitor ", i), stop: make(chan struct{}), visits: visits}
		visitors = append(visitors, v)
		running.Go(v.run)
	}
	for restart := range 3 {
		for range 30 {
			receive(t, "visits", visits)
		}
		stays, _, err := websocket.DefaultDialer.Dial("ws://"+u.listen+"/stays", nil)
		must(t, err)
		defer stays.Close()
		text := fmt.Sprint("before restart ", restart)
		must(t, stays.WriteMessage(websocket.TextMessage, []byte(text)))
		if status, body := u.ask("/readyz"); status != 200 {
			t.Errorf("before the end, readyz: %d %s", status, body)
		}
		must(t, p.cmd.Process.Signal(syscall.SIGTERM))
		if said := u.hear("STOPPING=1", p); !strings.Contains(said, "EXTEND_TIMEOUT_USEC=") {
			t.Errorf("it did not ask for time: %q", said)
		}
		if status, body := u.ask("/readyz"); status != 503 || !strings.Contains(body, `"listener","ok":false`) {
			t.Errorf("while it drains, readyz: %d %s", status, body)
		}
		if status, _ := u.ask("/healthz"); status != 200 {
			t.Errorf("while it drains, healthz: %d", status)
		}
		if _, body := u.ask("/metrics"); !strings.Contains(body, "\nwstape_draining 1\n") {
			t.Error("the metrics do not say that it drains")
		}
		must(t, stays.SetReadDeadline(time.Now().Add(patience)))
		_, got, err := stays.ReadMessage()
		if err != nil || string(got) != text {
			t.Errorf("while it drains, the echo is %q, %v", got, err)
		}
		var closed *websocket.CloseError
		if _, _, err = stays.ReadMessage(); !errors.As(err, &closed) || closed.Code != 1001 {
			t.Errorf("who stays is told %v", err)
		}
		stays.Close()
		receive(t, "wstape to end", p.done)
		if code := p.cmd.ProcessState.ExitCode(); code != 0 {
			t.Errorf("exit code %d: %s", code, p.stderr.String())
		}
		p = u.start()
	}
	for _, v := range visitors {
		close(v.stop)
	}
	running.Wait()
	must(t, p.cmd.Process.Signal(syscall.SIGTERM))
	receive(t, "wstape to end", p.done)

	if out, code := u.tape.run("check"); code != 0 {
		t.Fatalf("check: exit code %d:\n%s", code, out)
	}
	taped := map[string]int{}
	args := []string{"export"}
	for _, s := range u.tape.sessions() {
		if s.State != "closed" || s.Ending == nil {
			t.Errorf("session %d is %s, %+v", s.N, s.State, s.Ending)
		}
		args = append(args, strconv.Itoa(s.N))
	}
	for _, m := range read[message](u.tape, args...) {
		if m.Text != nil {
			taped[m.From+" "+*m.Text]++
		}
	}
	total := 0
	for _, v := range visitors {
		if v.err != nil {
			t.Errorf("%s: %v", v.name, v.err)
		}
		for _, text := range v.echoed {
			if taped["client "+text] != 1 || taped["server "+text] != 1 {
				t.Errorf("%q is on the tape %d and %d times", text, taped["client "+text], taped["server "+text])
			}
		}
		total += len(v.echoed)
	}
	if total == 0 {
		t.Error("nothing was said")
	}
	t.Logf("%d messages in %d sessions over 3 restarts", total, len(args)-1)
}

func TestTheWatchdogIsFed(t *testing.T) {
	u := newUnit(t, plainEcho(t))
	u.env = append(u.env, "WATCHDOG_USEC=300000")
	p := u.start()
	if said := u.hear("WATCHDOG=1", p); !strings.Contains(said, "STATUS=0 sessions open") {
		t.Errorf("it said %q", said)
	}
	must(t, p.cmd.Process.Signal(syscall.SIGTERM))
	u.hear("STOPPING=1", p)
	receive(t, "wstape to end", p.done)
}

// TestSocketsThatFitNowhere passes what cannot be told apart, and an admin socket
// that others reach.
func TestSocketsThatFitNowhere(t *testing.T) {
	refused := func(u *unit, want string) {
		t.Helper()
		command := append([]string{"sh", "-c", `LISTEN_PID=$$ exec "$@"`, "sh"}, u.command...)
		p := startWith(t, "wstape proxy", func(cmd *exec.Cmd) {
			cmd.ExtraFiles = u.files
			cmd.Env = append(cmd.Env, "LISTEN_FDS="+strconv.Itoa(len(u.files)), "LISTEN_FDNAMES="+strings.Join(u.names, ":"))
		}, command...)
		receive(t, "wstape to end", p.done)
		if code := p.cmd.ProcessState.ExitCode(); code != 2 || !strings.Contains(p.stderr.String(), want) {
			t.Errorf("exit code %d: %s", code, p.stderr.String())
		}
	}
	two := newUnit(t, "ws://127.0.0.1:1")
	two.socket("another")
	refused(two, "two sockets were passed for the same")

	public := newUnit(t, "ws://127.0.0.1:1")
	ln, err := net.Listen("tcp", "0.0.0.0:0") // nobody accepts on it
	must(t, err)
	file, err := ln.(*net.TCPListener).File()
	must(t, err)
	must(t, ln.Close())
	defer file.Close()
	public.files[1] = file
	refused(public, "can be reached from other machines: set admin.token_file and admin.tls")
}

// TestSystemdPassesItsSocket has systemd's own tool do it.
func TestSystemdPassesItsSocket(t *testing.T) {
	tool, err := exec.LookPath("systemd-socket-activate")
	if err != nil {
		t.Skip("peer missing: systemd-socket-activate")
	}
	addr := deadPort(t)
	dir := t.TempDir()
	tape := tapeFile{t, filepath.Join(dir, "t.db")}
	p := start(t, "systemd-socket-activate", tool, "-l", addr, "--fdname=listen", binary, "proxy", plainEcho(t), "--tape", tape.path, "--quiet")
	v := &visitor{url: "ws://" + addr + "/", name: "visitor"}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); ; <-tick.C { // until the tool listens
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
			break
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	must(t, v.visit(0))
	if code := p.interrupt(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if s := tape.only(); s.Frames.Client != 4 {
		t.Errorf("on the tape: %+v", s)
	}
}

// TestTheUnitsAreSound has systemd read what is in packaging.
func TestTheUnitsAreSound(t *testing.T) {
	tool, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("peer missing: systemd-analyze")
	}
	dir := t.TempDir()
	var units []string
	for _, name := range []string{"wstape.service", "wstape.socket"} {
		text, err := os.ReadFile("../packaging/" + name)
		must(t, err)
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, []byte(strings.ReplaceAll(string(text), "/usr/bin/wstape", binary)), 0o644))
		units = append(units, path)
	}
	cmd := exec.CommandContext(within(t), tool, append([]string{"verify", "--man=no"}, units...)...)
	out, err := cmd.CombinedOutput()
	if err != nil || strings.Contains(string(out), "wstape") {
		t.Errorf("%v:\n%s", err, out)
	}
}

func TestThePackagedConfigurationIsSound(t *testing.T) {
	out, err := exec.CommandContext(within(t), binary, "config", "check", "../packaging/wstape.yaml").CombinedOutput()
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
