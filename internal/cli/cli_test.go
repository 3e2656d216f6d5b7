package cli

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"

	"github.com/wstape/wstape/internal/demo"
	"github.com/wstape/wstape/internal/wstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, wstest.Lingering()) }

// patience bounds what a test waits for; nothing is asserted about how long it took.
const patience = 20 * time.Second

// command is wstape running on a goroutine of the test.
type command struct {
	t       *testing.T
	signals chan os.Signal
	out     chan string // lines of stdout and stderr; closed at the end
	code    chan int
}

func start(t *testing.T, args ...string) *command {
	t.Helper()
	r, w := io.Pipe()
	c := &command{t: t, signals: make(chan os.Signal, 2), out: make(chan string, 10_000), code: make(chan int, 1)}
	go func() {
		lines := bufio.NewScanner(r)
		for lines.Scan() {
			c.out <- lines.Text()
		}
		close(c.out)
	}()
	go func() {
		code := Main(Env{
			Args: args, Stdin: strings.NewReader(""), Stdout: w, Stderr: w, Signals: c.signals,
			Getenv: func(name string) string { return map[string]string{"WSTAPE_LIMITS_SHUTDOWN_TIMEOUT": "100ms"}[name] },
		})
		w.Close()
		c.code <- code
	}()
	return c
}

// until reads lines up to one that contains all the texts, and returns it.
func (c *command) until(texts ...string) string {
	c.t.Helper()
	deadline := time.After(patience)
	var seen []string
	for {
		select {
		case line, ok := <-c.out:
			if !ok {
				c.t.Fatalf("ended without a line with %q; its lines:\n%s", texts, strings.Join(seen, "\n"))
			}
			seen = append(seen, line)
			if containsAll(line, texts) {
				return line
			}
		case <-deadline:
			c.t.Fatalf("no line with %q; its lines:\n%s", texts, strings.Join(seen, "\n"))
		}
	}
}

func containsAll(line string, texts []string) bool {
	for _, text := range texts {
		if !strings.Contains(line, text) {
			return false
		}
	}
	return true
}

// wait returns the exit code and the lines that nobody has read.
func (c *command) wait() (code int, rest []string) {
	c.t.Helper()
	for {
		select {
		case line, ok := <-c.out:
			if ok {
				rest = append(rest, line)
				continue
			}
			return <-c.code, rest
		case <-time.After(patience):
			c.t.Fatal("the command does not end")
		}
	}
}

func (c *command) stop() (code int, rest []string) {
	c.t.Helper()
	c.signals <- syscall.SIGINT
	return c.wait()
}

// setting is a proxy on a tape, with the demo's server behind it.
type setting struct {
	tape, url string
	proxy     *command
}

func newSetting(t *testing.T, args ...string) *setting {
	t.Helper()
	server := httptest.NewServer(demo.NewServer())
	t.Cleanup(server.Close)
	dir := t.TempDir()
	s := &setting{tape: filepath.Join(dir, "t.db")}
	addrs := filepath.Join(dir, "addr.json")
	s.proxy = start(t, append([]string{"proxy", server.URL, "--listen", "127.0.0.1:0", "--tape", s.tape, "--addr-file", addrs}, args...)...)
	s.proxy.until("recording")
	text, err := os.ReadFile(addrs)
	if err != nil {
		t.Fatal(err)
	}
	var a addresses
	if err := json.Unmarshal(text, &a); err != nil {
		t.Fatal(err)
	}
	s.url = "ws://" + a.Listen
	return s
}

// listening waits for an --addr-file and returns the URL in it.
func listening(file string) string {
	var a addresses
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for a.Listen == "" {
		<-tick.C
		if text, err := os.ReadFile(file); err == nil {
			_ = json.Unmarshal(text, &a)
		}
	}
	return "ws://" + a.Listen
}

// dial connects a client to a path.
func (s *setting) dial(t *testing.T, path string) *websocket.Conn {
	t.Helper()
	conn, _, err := websocket.DefaultDialer.Dial(s.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// echo says something and waits for it to come back.
func echo(t *testing.T, conn *websocket.Conn, text string) {
	t.Helper()
	if err := conn.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
		t.Fatal(err)
	}
	_, got, err := conn.ReadMessage()
	if err != nil || string(got) != text {
		t.Fatalf("echo of %q: %q, %v", text, got, err)
	}
}

func TestShowFollowGoesOnUntilTheSessionEnds(t *testing.T) {
	s := newSetting(t)
	conn := s.dial(t, "/echo")
	echo(t, conn, "before")
	follow := start(t, "show", "1", "--follow", "--json", "--tape", s.tape)
	follow.until(`"seq":2,`, `"text":"before"`)
	echo(t, conn, "after")
	follow.until(`"seq":4,`, `"text":"after"`)
	conn.Close()
	code, rest := follow.wait()
	if code != exitFine {
		t.Errorf("show --follow ended with %d: %q", code, rest)
	}
	s.proxy.stop()
}

func TestTailShowsAllSessionsLive(t *testing.T) {
	s := newSetting(t)
	early := s.dial(t, "/echo")
	echo(t, early, "before tail")
	tail := start(t, "tail", "--tape", s.tape)
	// Until tail has looked once, what is said may be taken for old; so say on.
	seen := make(chan string)
	go func() { seen <- tail.until("#1", "knock") }()
	for waiting := true; waiting; {
		select {
		case <-seen:
			waiting = false
		default:
			echo(t, early, "knock")
		}
	}
	late := s.dial(t, "/echo?late=1")
	tail.until("#2", "open /echo?late=1")
	echo(t, late, "second session")
	tail.until("#2", "→ text", "second session")
	late.Close()
	tail.until("#2", "ended")
	if code, rest := tail.stop(); code != exitFine {
		t.Errorf("tail ended with %d: %q", code, rest)
	}
	s.proxy.stop()
}

func TestTailWaitsForAProxyAndOutlivesIt(t *testing.T) {
	first := newSetting(t)
	echo(t, first.dial(t, "/echo"), "one")
	tail := start(t, "tail", "--json", "--tape", first.tape)
	if code, rest := first.proxy.stop(); code != exitFine {
		t.Fatalf("proxy ended with %d: %q", code, rest)
	}
	if code, rest := tail.stop(); code != exitFine {
		t.Errorf("tail ended with %d: %q", code, rest)
	}
}

func TestOpenSessionCannotBeRemoved(t *testing.T) {
	s := newSetting(t)
	conn := s.dial(t, "/echo")
	echo(t, conn, "here")
	rm := start(t, "rm", "1", "--tape", s.tape)
	rm.until("remove session 1", "the session is still open")
	if code, _ := rm.wait(); code != exitNo {
		t.Errorf("rm of an open session: exit code %d", code)
	}
	ls := start(t, "ls", "--json", "--tape", s.tape)
	ls.until(`"state":"open"`, `"frames":{"client":1,"server":1}`)
	ls.wait()
	s.proxy.stop()
}

func TestInterruptClosesBothSidesWith1001(t *testing.T) {
	s := newSetting(t)
	conn := s.dial(t, "/echo")
	echo(t, conn, "here")
	s.proxy.signals <- syscall.SIGTERM
	_, _, err := conn.ReadMessage()
	if !websocket.IsCloseError(err, websocket.CloseGoingAway) {
		t.Errorf("the client sees %v, want close 1001", err)
	}
	if code, rest := s.proxy.wait(); code != exitFine {
		t.Errorf("proxy ended with %d: %q", code, rest)
	}
	show := start(t, "show", "1", "--json", "--tape", s.tape)
	show.until(`"op":"close"`, `"code":1001`, `"fate":"injected"`, `"by":"operator"`)
	show.wait()
	if _, err := os.Stat(s.tape + ".sock"); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: %v", err)
	}
}

func TestSecondSignalSkipsTheWait(t *testing.T) {
	s := newSetting(t)
	conn := s.dial(t, "/echo") // reads nothing from here on, so it never answers the close
	echo(t, conn, "here")
	s.proxy.signals <- syscall.SIGINT
	s.proxy.signals <- syscall.SIGINT
	if code, rest := s.proxy.wait(); code != exitFine {
		t.Errorf("proxy ended with %d: %q", code, rest)
	}
	ls := start(t, "ls", "--json", "--tape", s.tape)
	ls.until(`"state":"closed"`)
	ls.wait()
}

func TestLogFormatJSON(t *testing.T) {
	server := httptest.NewServer(demo.NewServer())
	defer server.Close()
	dir := t.TempDir()
	addrs := filepath.Join(dir, "addr.json")
	p := start(t, "proxy", server.URL, "--listen", "127.0.0.1:0", "--no-record", "--log-format", "json", "--addr-file", addrs)
	conn, _, err := websocket.DefaultDialer.Dial(listening(addrs)+"/echo", nil)
	if err != nil {
		t.Fatal(err)
	}
	echo(t, conn, "<b>")
	conn.Close()
	for _, want := range [][]string{{`"event":"open"`, `"n":1`}, {`"event":"message"`, `"text":`}, {`"event":"end"`, `"state":"closed"`}} {
		line := p.until(want...)
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %s", line)
		}
	}
	if code, _ := p.stop(); code != exitFine {
		t.Errorf("proxy ended with %d", code)
	}
	if _, err := os.Stat(filepath.Join(dir, "wstape.db")); !os.IsNotExist(err) {
		t.Error("--no-record made a tape")
	}
}
