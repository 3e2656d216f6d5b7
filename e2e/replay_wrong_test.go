package e2e

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// orders is a recording in which one side gives three orders and leaves.
func orders(t testing.TB, giving, taking string) (cassette string) {
	t.Helper()
	says := func(from, what string) string { return fmt.Sprintf(`{"from":%q,%s}`, from, what) }
	return cassetteFile(t, `{"wstape":1,"session":{"url":"/orders"}}`,
		says(taking, `"text":"go"`),
		says(giving, `"json":{"n":1}`),
		says(taking, `"text":"one"`),
		says(giving, `"json":{"n":2}`),
		says(giving, `"json":{"n":3}`),
		says(taking, `"text":"done"`),
		says(giving, `"op":"close","code":1000,"reason":"bye"`))
}

// wrong is one way in which who gives the orders may get them wrong, after the
// first of them.
type wrong struct {
	kind  string
	step  int
	give  func(testing.TB, *far)
	leave bool // it has closed the connection itself, where else it is thrown out
}

func numbered(n int) string { return fmt.Sprintf(`{"n":%d}`, n) }

func (f *far) closes(t testing.TB, code int, reason string) {
	t.Helper()
	must(t, f.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, reason), time.Now().Add(patience)))
}

var wrongs = []wrong{
	{kind: "missing message", step: 4, give: func(t testing.TB, f *far) { f.say(t, numbered(3)) }},
	{kind: "extra message", step: 4, give: func(t testing.TB, f *far) { f.say(t, numbered(9)); f.say(t, numbered(2)) }},
	{kind: "wrong order", step: 4, give: func(t testing.TB, f *far) { f.say(t, numbered(3)); f.say(t, numbered(2)) }},
	{kind: "changed message", step: 4, give: func(t testing.TB, f *far) { f.say(t, numbered(4)) }},
	{kind: "wrong type", step: 4, give: func(t testing.TB, f *far) {
		must(t, f.conn.WriteMessage(websocket.BinaryMessage, []byte(numbered(2))))
	}},
	{kind: "timeout", step: 4, give: func(testing.TB, *far) {}},
	{kind: "early end", step: 4, leave: true, give: func(t testing.TB, f *far) { f.closes(t, 1000, "bye") }},
	{kind: "wrong close", step: 7, leave: true, give: func(t testing.TB, f *far) {
		f.say(t, numbered(2))
		f.say(t, numbered(3))
		f.hears(t, "done")
		f.closes(t, 4002, "bye")
	}},
}

// TestReplayWrong: what the live peer does wrong is told for what it is, at its
// step, in every form of the report, by both players; the peer is told too.
func TestReplayWrong(t *testing.T) {
	t.Parallel()
	for _, w := range wrongs {
		for _, live := range []string{"client", "server"} {
			t.Run(w.kind+" of the "+live, func(t *testing.T) {
				t.Parallel()
				cassette := orders(t, live, map[string]string{"client": "server", "server": "client"}[live])
				for _, format := range []string{"text", "json", "junit"} {
					report := filepath.Join(t.TempDir(), "report")
					fake, f := meet(t, live, cassette, "--timeout", "300ms", "--report", format, "--report-file", report)
					f.hears(t, "go")
					f.say(t, numbered(1))
					f.hears(t, "one")
					w.give(t, f)
					how, _ := receive(t, "the end", f.ended)
					if want := (closing{Code: 4000, Reason: fmt.Sprintf("%s at step %d", w.kind, w.step)}); !w.leave {
						same(t, "how the "+live+" was thrown out", want, how)
					}
					out, code := fake.finish()
					same(t, "exit code and stdout", []any{1, ""}, []any{code, out})
					checkReported(t, format, report, w.kind, w.step)
				}
			})
		}
	}
}

// meet puts a live peer before the player of the other side.
func meet(t testing.TB, live, cassette string, flags ...string) (*replaying, *far) {
	t.Helper()
	if live == "client" {
		fake := replayServer(t, append(flags, cassette, "--once")...)
		return fake, dialFar(t, fake.url("/orders"))
	}
	addr, accepted := farServer(t)
	fake := replayClient(t, append(flags, cassette, "ws://"+addr)...)
	f, _ := receive(t, "the fake client", accepted)
	return fake, f
}

// checkReported reads a report of one session, which failed once, as who wants
// that format would.
func checkReported(t *testing.T, format, path, kind string, step int) {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	defer func() {
		if t.Failed() {
			t.Logf("the report:\n%s", text)
		}
	}()
	switch format {
	case "text":
		want := "\n  " + kind
		if step > 0 {
			want = fmt.Sprintf("\n  %s at step %d", kind, step)
		}
		if !strings.Contains(string(text), want) || strings.Count(string(text), "\nFAILED ") != 1 {
			t.Errorf("no single failure that says %q", want)
		}
	case "json":
		type line struct {
			Held       *bool
			Mismatches []struct {
				Kind string
				Step int
			}
			Report *struct {
				Held       bool
				Mismatches int
				Sessions   struct{ Total, Held, Failed int }
			}
		}
		var lines []line
		for l := range strings.Lines(string(text)) {
			var one line
			must(t, json.Unmarshal([]byte(l), &one))
			lines = append(lines, one)
		}
		if len(lines) != 2 || lines[0].Held == nil || *lines[0].Held || len(lines[0].Mismatches) != 1 || lines[1].Report == nil {
			t.Fatal("not a failed session and the totals")
		}
		m, r := lines[0].Mismatches[0], lines[1].Report
		same(t, "kind, step and totals", []any{kind, step, false, 1, 1, 0, 1},
			[]any{m.Kind, m.Step, r.Held, r.Mismatches, r.Sessions.Total, r.Sessions.Held, r.Sessions.Failed})
	case "junit":
		var suites struct {
			Tests    int `xml:"tests,attr"`
			Failures int `xml:"failures,attr"`
			Cases    []struct {
				Failure []struct {
					Type    string `xml:"type,attr"`
					Message string `xml:"message,attr"`
					Text    string `xml:",chardata"`
				} `xml:"failure"`
			} `xml:"testsuite>testcase"`
		}
		must(t, xml.Unmarshal(text, &suites))
		if len(suites.Cases) != 1 || len(suites.Cases[0].Failure) != 1 {
			t.Fatal("not one case with one failure")
		}
		f := suites.Cases[0].Failure[0]
		same(t, "tests, failures and type", []any{1, 1, kind}, []any{suites.Tests, suites.Failures, f.Type})
		if want := fmt.Sprintf("step %d", step); step > 0 && (!strings.Contains(f.Message, want) || !strings.Contains(f.Text, want)) {
			t.Errorf("the failure does not say %q", want)
		}
	}
}

// TestReplaySkip: a replay that goes on in spite of differences tells them all
// the same.
func TestReplaySkip(t *testing.T) {
	t.Parallel()
	for _, live := range []string{"client", "server"} {
		fake, f := meet(t, live, orders(t, live, map[string]string{"client": "server", "server": "client"}[live]), "--on-mismatch", "skip")
		f.hears(t, "go")
		for _, n := range []int{9, 1, 3} { // one that is not on the tape, and no 2
			f.say(t, numbered(n))
		}
		f.hears(t, "one", "done")
		f.closes(t, 1000, "bye")
		receive(t, "the end", f.ended)
		report, code := fake.finish()
		same(t, "exit code", 0, code)
		for _, want := range []string{"SKIPPED 2 mismatches", "extra message at step 2", "missing message at step 4"} {
			if !strings.Contains(report, want) {
				t.Errorf("the report does not say %q:\n%s", want, report)
			}
		}
	}
}

// TestReplayRefused: the server does not let the fake client in, as it once did.
func TestReplayRefused(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "the house is full", http.StatusForbidden)
	}))
	t.Cleanup(s.Close)
	cassette := orders(t, "server", "client")
	for _, format := range []string{"text", "json", "junit"} {
		report := filepath.Join(t.TempDir(), "report")
		fake := replayClient(t, cassette, s.URL, "--report", format, "--report-file", report)
		_, code := fake.finish()
		same(t, "exit code", 1, code)
		checkReported(t, format, report, "handshake", 0)
	}
	replayClient(t, cassette, s.URL).failed("answered the handshake with 101, but answered 403", "the house is full")
}

// TestReplayUnreached: there is no server at all, which is another exit code.
func TestReplayUnreached(t *testing.T) {
	t.Parallel()
	fake := replayClient(t, orders(t, "server", "client"), "ws://"+deadPort(t))
	_, code := fake.finish()
	same(t, "exit code", 3, code)
}

// TestReplayUnplayed: nobody comes to the fake server, until it is told to stop.
func TestReplayUnplayed(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"text", "json", "junit"} {
		report := filepath.Join(t.TempDir(), "report")
		fake := replayServer(t, orders(t, "client", "server"), "--once", "--report", format, "--report-file", report)
		must(t, fake.cmd.Process.Signal(syscall.SIGTERM))
		_, code := fake.finish()
		same(t, "exit code", 1, code)
		checkReported(t, format, report, "unplayed", 0)
	}
}

// TestReplayProtocol: a client that does not offer what the recorded one got is
// not let in.
func TestReplayProtocol(t *testing.T) {
	t.Parallel()
	cassette := cassetteFile(t, `{"wstape":1,"session":{"url":"/","subprotocol":"orders.v2"}}`, `{"from":"server","text":"go"}`)
	fake := replayServer(t, cassette, "--once")
	d := gorillaCall(t, call{URL: fake.url("/"), Protocols: []string{"orders.v1"}})
	same(t, "status", http.StatusBadRequest, d.Status)
	fake.failed("handshake", `should have offered the subprotocol "orders.v2", but offered ["orders.v1"]`)
}
