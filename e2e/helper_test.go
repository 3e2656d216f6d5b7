package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/wstape/wstape/internal/wstest"
)

// patience is how long a test waits for anything before it gives up; nothing is
// ever measured against it.
const patience = 45 * time.Second

// binary is the wstape under test, built once.
var binary string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "wstape-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "wstape")
	if out, err := exec.Command("go", "build", "-o", binary, "..").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build wstape: %v\n%s", err, out)
		return 1
	}
	code := m.Run()
	if err := goleak.Find(wstest.Lingering()); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// requirePeer skips a test whose peer is not installed, by name; it fails it
// where all peers must be there.
func requirePeer(t testing.TB, name string, ok bool, hint string) {
	t.Helper()
	switch {
	case ok:
	case os.Getenv("WSTAPE_REQUIRE_PEERS") == "1":
		t.Fatalf("peer missing: %s: %s", name, hint)
	default:
		t.Skipf("peer missing: %s: %s", name, hint)
	}
}

// env is the value of an environment variable, or what is usual.
func env(name, usual string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return usual
}

// within gives a context that ends with the test or when patience does.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// receive takes the next value from a channel; ok is false when it was closed.
func receive[T any](t testing.TB, what string, from <-chan T) (value T, ok bool) {
	t.Helper()
	select {
	case value, ok = <-from:
		return value, ok
	case <-time.After(patience):
		t.Fatalf("waited %v for %s", patience, what)
		return value, false
	}
}

// process is a child with its lines; the test's end is its end.
type process struct {
	t      testing.TB
	name   string
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	lines  chan string
	stderr lockedBuffer
	done   chan struct{} // closed when it has been waited for
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func start(t testing.TB, name string, command ...string) *process {
	t.Helper()
	return startWith(t, name, func(*exec.Cmd) {}, command...)
}

// startWith is start with something changed about the command before.
func startWith(t testing.TB, name string, change func(*exec.Cmd), command ...string) *process {
	t.Helper()
	p := &process{t: t, name: name, cmd: exec.Command(command[0], command[1:]...), lines: make(chan string), done: make(chan struct{})}
	p.cmd.Env = cleanEnv()
	p.cmd.Stderr = &p.stderr
	change(p.cmd)
	stdout, err := p.cmd.StdoutPipe()
	must(t, err)
	p.stdin, err = p.cmd.StdinPipe()
	must(t, err)
	must(t, p.cmd.Start())
	over := make(chan struct{})
	go func() {
		defer close(p.done)
		readLines(stdout, p.lines, over)
		_ = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		close(over)
		p.kill()
		if t.Failed() {
			t.Logf("%s (%v) said:\n%s", name, p.cmd.ProcessState, p.stderr.String())
		}
	})
	return p
}

// readLines hands lines on; once over, it drains without anybody to take them.
func readLines(from io.Reader, to chan<- string, over <-chan struct{}) {
	defer close(to)
	r := bufio.NewReader(from)
	for {
		line, err := r.ReadString('\n')
		if line != "" {
			select {
			case to <- strings.TrimSuffix(line, "\n"):
			case <-over:
			}
		}
		if err != nil {
			return
		}
	}
}

// cleanEnv is the environment without what would configure wstape.
func cleanEnv() []string {
	var out []string
	for _, pair := range os.Environ() {
		if !strings.HasPrefix(pair, "WSTAPE_") {
			out = append(out, pair)
		}
	}
	return out
}

// kill ends the process at once and waits for it.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// interrupt sends SIGINT, waits, and returns the exit code.
func (p *process) interrupt() int {
	p.t.Helper()
	must(p.t, p.cmd.Process.Signal(os.Interrupt))
	go func() { // what it says on its way out is nobody's concern
		for range p.lines {
		}
	}()
	receive(p.t, p.name+" to end after SIGINT", p.done)
	return p.cmd.ProcessState.ExitCode()
}

// line waits for the next line on stdout.
func (p *process) line() string {
	p.t.Helper()
	line, ok := receive(p.t, "a line from "+p.name, p.lines)
	if !ok {
		p.t.Fatalf("%s ended instead of answering:\n%s", p.name, p.stderr.String())
	}
	return line
}

// ask sends a JSON line and reads the answer.
func (p *process) ask(question, answer any) {
	p.t.Helper()
	text, err := json.Marshal(question)
	must(p.t, err)
	_, err = p.stdin.Write(append(text, '\n'))
	must(p.t, err)
	p.answer(answer)
}

// answer reads a JSON line.
func (p *process) answer(into any) {
	p.t.Helper()
	line := p.line()
	if err := json.Unmarshal([]byte(line), into); err != nil {
		p.t.Fatalf("%s said %q: %v", p.name, fold(line), err)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// same fails the test with a diff.
func same(t testing.TB, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("%s (-want +got):\n%s", what, diff)
	}
}

// recorder is a running wstape proxy and its tape.
type recorder struct {
	*process
	addr string // where it listens
	tape tapeFile
}

// tapeFile is a tape by its path, read with wstape itself.
type tapeFile struct {
	t    testing.TB
	path string
}

// startProxy runs wstape proxy in front of an upstream and waits until it listens.
func startProxy(t testing.TB, upstream string, flags ...string) *recorder {
	t.Helper()
	dir := t.TempDir()
	tape, addrFile := filepath.Join(dir, "t.db"), filepath.Join(dir, "addr.json")
	args := append([]string{binary, "proxy", upstream, "--listen", "127.0.0.1:0", "--addr-file", addrFile, "--tape", tape}, flags...)
	p := start(t, "wstape proxy", args...)
	var addr struct{ Listen string }
	text := p.waitFile(addrFile)
	must(t, json.Unmarshal(text, &addr))
	return &recorder{process: p, addr: addr.Listen, tape: tapeFile{t, tape}}
}

// waitFile waits until the process has written a file, whole.
func (p *process) waitFile(path string) []byte {
	p.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for {
		text, err := os.ReadFile(path)
		if err == nil {
			return text
		}
		if !errors.Is(err, os.ErrNotExist) {
			p.t.Fatal(err)
		}
		select {
		case <-tick.C:
		case <-p.done:
			p.t.Fatalf("%s ended before it listened:\n%s", p.name, p.stderr.String())
		case <-deadline:
			p.t.Fatalf("waited %v for %s", patience, path)
		}
	}
}

func (r *recorder) url(path string) string { return "ws://" + r.addr + path }

// stop ends the proxy with SIGINT; it must end well and leave a sound tape.
func (r *recorder) stop() tapeFile {
	r.t.Helper()
	if code := r.interrupt(); code != 0 {
		r.t.Fatalf("wstape proxy: exit code %d after SIGINT", code)
	}
	if out, code := r.tape.run("check"); code != 0 {
		r.t.Fatalf("wstape check: exit code %d:\n%s", code, out)
	}
	return r.tape
}

// run runs one wstape command on the tape.
func (f tapeFile) run(args ...string) (stdout string, code int) {
	f.t.Helper()
	cmd := exec.CommandContext(within(f.t), binary, append(args, "--tape", f.path)...)
	cmd.Env, cmd.Dir = cleanEnv(), filepath.Dir(f.path)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		f.t.Fatal(err)
	}
	if stderr.Len() > 0 {
		f.t.Logf("wstape %s: %s", strings.Join(args, " "), stderr.String())
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// read runs a command that must succeed and parses each line that it prints.
func read[T any](f tapeFile, args ...string) []T {
	f.t.Helper()
	out, code := f.run(args...)
	if code != 0 {
		f.t.Fatalf("wstape %s: exit code %d", strings.Join(args, " "), code)
	}
	var list []T
	for line := range strings.Lines(out) {
		var one T
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			f.t.Fatalf("wstape %s printed %q: %v", strings.Join(args, " "), fold(line), err)
		}
		list = append(list, one)
	}
	return list
}

// count is a number for each side.
type count struct{ Client, Server int }

// session is a line of ls --json.
type session struct {
	N                                                 int
	URL, Upstream, State, Extensions, Subprotocol, ID string
	Status                                            int
	Frames, Bytes                                     count
	Ending                                            *ending
	Tags                                              map[string]string
	Notes                                             []string
}

type ending struct {
	Kind, Reason, From, Why string
	Code                    int
}

// message is a line of show --json.
type message struct {
	Seq                        int
	T                          float64
	From, Op, Fate, By, Reason string
	Len, Code                  int
	Text                       *string
	B64                        *[]byte
	Wire                       *struct {
		RSV1 bool
		Len  int
	}
	Frames           []int
	Violation, Error string
	Partial          bool
	Truncated        int
	Gap              *struct {
		Frames int
		Why    string
	}
	Note *string
}

// frame is a line of show --frames --json.
type frame struct {
	Seq         int
	T           float64
	From, Leg   string
	Opcode, RSV int
	Fin, Masked bool
	Mask        string
	Raw         bool
	Partial     bool
	Len         int
	B64         []byte
}

func (f tapeFile) sessions() []session {
	f.t.Helper()
	return read[session](f, "ls", "--json")
}

// only is the tape's one session.
func (f tapeFile) only() session {
	f.t.Helper()
	list := f.sessions()
	if len(list) != 1 {
		f.t.Fatalf("%d sessions on the tape, want 1", len(list))
	}
	return list[0]
}

// messages shows a session, checking what holds for every line.
func (f tapeFile) messages(n int) []message {
	f.t.Helper()
	list := read[message](f, "show", fmt.Sprint(n), "--json")
	last := 0
	for _, m := range list {
		switch {
		case m.Gap != nil:
			f.t.Errorf("session %d has a gap: %s", n, m.Gap.Why)
		case m.Note != nil:
		case m.Seq <= last:
			f.t.Errorf("session %d: seq %d comes after %d", n, m.Seq, last)
		case m.Error != "" || m.Violation != "" || m.Partial || m.Truncated != 0:
			f.t.Errorf("session %d, message %d is marked: error %q, violation %q, partial %v, truncated %d",
				n, m.Seq, m.Error, m.Violation, m.Partial, m.Truncated)
		case m.Op != "close" && m.Len != len(m.data()):
			f.t.Errorf("session %d, message %d: len %d, but %d bytes shown", n, m.Seq, m.Len, len(m.data()))
		}
		if m.Note == nil && m.Gap == nil {
			last = m.Seq
		}
	}
	return list
}

func (m *message) data() string { return payload(m.Text, m.B64) }

// payload is what a line shows, as text or in base64.
func payload(text *string, b64 *[]byte) string {
	switch {
	case text != nil:
		return *text
	case b64 != nil:
		return string(*b64)
	}
	return ""
}

// said is what a test expects of a message.
type said struct {
	From, Op, Data string // of a close: its reason
	Code           int
	Compressed     bool
}

func (m *message) said() said {
	s := said{From: m.From, Op: m.Op, Data: fold(m.data()), Code: m.Code, Compressed: m.Wire != nil && m.Wire.RSV1}
	if m.Op == "close" {
		s.Data = m.Reason
	}
	return s
}

// said shows a session's messages, all of which must have passed untouched.
func (f tapeFile) said(n int) []said {
	f.t.Helper()
	var out []said
	for _, m := range f.messages(n) {
		if m.Fate != "passed" {
			f.t.Errorf("session %d, message %d: fate %q, note %v", n, m.Seq, m.Fate, m.Note)
		}
		out = append(out, m.said())
	}
	return out
}

// fold makes a long payload short enough to be printed, and no less distinct.
func fold(s string) string {
	if len(s) <= 200 {
		return s
	}
	return fmt.Sprintf("%q… %d bytes, sha256 %x", s[:40], len(s), sha256.Sum256([]byte(s)))
}

// deadPort is an address where nothing listens.
func deadPort(t testing.TB) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer ln.Close()
	return ln.Addr().String()
}
