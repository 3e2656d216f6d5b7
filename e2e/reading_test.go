package e2e

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// held is a proxy that holds its tape: session 1 has ended, session 2 is open.
func held(t *testing.T) (p *recorder, open client) {
	t.Helper()
	s := startServer(t, gorilla, serverOptions{})
	p = startProxy(t, "ws://"+s.addr)
	over := newClient(t, gorilla)
	mustDial(t, over, p.url("/over"), dialOptions{})
	echo(t, over, "first")
	over.close(1000, "over")
	p.tape.await("session 1 to end", func() bool { return p.tape.sessions()[0].State == "closed" })
	open = newClient(t, gorilla)
	mustDial(t, open, p.url("/open"), dialOptions{})
	echo(t, open, "second")
	return p, open
}

// await asks again and again; other processes write the tape.
func (f tapeFile) await(what string, there func() bool) {
	f.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !there() {
		select {
		case <-tick.C:
		case <-deadline:
			f.t.Fatalf("waited %v for %s", patience, what)
		}
	}
}

// TestReadWhileRecording: ls, show and export see at once what has passed.
func TestReadWhileRecording(t *testing.T) {
	t.Parallel()
	p, open := held(t)
	list := p.tape.sessions()
	same(t, "number of sessions", 2, len(list))
	same(t, "the first", []any{"/over", "closed", &ending{Kind: "close", Code: 1000, Reason: "over", From: "client"}},
		[]any{list[0].URL, list[0].State, list[0].Ending})
	same(t, "the second", []any{"/open", "open", (*ending)(nil), count{1, 1}},
		[]any{list[1].URL, list[1].State, list[1].Ending, list[1].Frames})
	for i := range 10 { // a read flushes first, so that nothing is ever behind
		text := fmt.Sprintf("message %d", i)
		echo(t, open, text)
		all := p.tape.said(2)
		same(t, "the last message", said{From: "server", Op: "text", Data: text, Compressed: true}, all[len(all)-1])
	}
	same(t, "the session from the end", p.tape.messages(2), read[message](p.tape, "show", "-1", "--json"))
	same(t, "the session by the start of its id", p.tape.messages(1), read[message](p.tape, "show", list[0].ID[:18], "--json"))

	cassette := filepath.Join(t.TempDir(), "chat.cassette.jsonl")
	if _, code := p.tape.run("export", "1", "2", "--out", cassette); code != 0 {
		t.Fatalf("export: exit code %d", code)
	}
	other := tapeFile{t, filepath.Join(t.TempDir(), "other.db")}
	if _, code := other.run("import", cassette); code != 0 {
		t.Fatalf("import: exit code %d", code)
	}
	for n := 1; n <= 2; n++ {
		want := p.tape.said(n)
		for i := range want {
			want[i].Compressed = false // a cassette holds no wire bytes
		}
		same(t, "the session after export and import", want, other.said(n))
	}
	if out, code := p.tape.run("check"); code != 0 {
		t.Errorf("check: exit code %d:\n%s", code, out)
	}
	p.stop()
}

// TestEditWhileRecording: tag and rm work on a tape that is being written.
func TestEditWhileRecording(t *testing.T) {
	t.Parallel()
	p, open := held(t)
	for _, args := range [][]string{{"tag", "2", "bug=1234", "keep", "--note", "look at this"}, {"rm", "1"}} {
		if _, code := p.tape.run(args...); code != 0 {
			t.Fatalf("%v: exit code %d", args, code)
		}
	}
	if _, code := p.tape.run("rm", "2"); code != 1 {
		t.Errorf("rm of an open session: exit code %d, want 1", code)
	}
	if _, code := p.tape.run("show", "1", "--json"); code != 1 {
		t.Errorf("show of a removed session: exit code %d, want 1", code)
	}
	echo(t, open, "third")
	tape := p.stop()
	e := tape.only()
	same(t, "tags", map[string]string{"bug": "1234", "keep": ""}, e.Tags)
	same(t, "notes", []string{"look at this"}, e.Notes)
	same(t, "number of the session that is left", 2, e.N)
	wantWords(t, tape, 2, "second", "second", "third", "third")
}

func wantWords(t *testing.T, tape tapeFile, n int, want ...string) {
	t.Helper()
	var got []string
	for _, m := range tape.messages(n) {
		if m.Op == "text" {
			got = append(got, m.data())
		}
	}
	same(t, "the texts", want, got)
}

// TestFollow: show --follow gives what is stored, then what comes, without a
// seam, and ends with the session.
func TestFollow(t *testing.T) {
	t.Parallel()
	p, open := held(t)
	show := start(t, "wstape show", binary, "show", "2", "--follow", "--json", "--tape", p.tape.path)
	want := []string{"second", "second"}
	for i := range 20 {
		text := fmt.Sprintf("message %d", i)
		echo(t, open, text)
		want = append(want, text, text)
	}
	open.close(1000, "")
	var got []string
	for range len(want) + 2 { // and a close from each side
		var m message
		show.answer(&m)
		if m.Op == "text" {
			got = append(got, m.data())
		}
	}
	same(t, "the texts", want, got)
	if line, more := receive(t, "the end of show", show.lines); more {
		t.Errorf("show went on with %s", line)
	}
	receive(t, "show to end", show.done)
	same(t, "exit code", 0, show.cmd.ProcessState.ExitCode())
	p.stop()
}

// TestTail: what passes is shown as it passes, new sessions too, until SIGINT.
func TestTail(t *testing.T) {
	t.Parallel()
	p, open := held(t)
	tail := start(t, "wstape tail", binary, "tail", "--json", "--tape", p.tape.path)
	type event struct {
		Event, From, URL string
		Text             *string
		N                int
	}
	next := func() (e event) {
		t.Helper()
		tail.answer(&e)
		return e
	}
	// Tail shows what comes after it has started, and does not say when that is.
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for started := false; !started; {
		select {
		case line, ok := <-tail.lines:
			if started = true; !ok || !strings.Contains(line, "anybody?") {
				t.Fatalf("the first line of tail: %q", line)
			}
		case <-tick.C:
			echo(t, open, "anybody?")
		case <-deadline:
			t.Fatalf("waited %v for tail to show anything", patience)
		}
	}
	another := newClient(t, gorilla)
	mustDial(t, another, p.url("/another"), dialOptions{})
	echo(t, another, "found you")
	another.close(1000, "")
	var got []string
	for e := next(); ; e = next() {
		switch {
		case e.Event == "message" && e.N == 2: // still asking
		case e.Event == "message" && e.Text != nil:
			got = append(got, fmt.Sprintf("message in %d from the %s: %s", e.N, e.From, *e.Text))
		case e.Event == "message":
			got = append(got, fmt.Sprintf("close in %d from the %s", e.N, e.From))
		default:
			got = append(got, e.Event+" "+e.URL)
		}
		if e.Event == "end" {
			break
		}
	}
	same(t, "what tail showed", []string{
		"open /another",
		"message in 3 from the client: found you",
		"message in 3 from the server: found you",
		"close in 3 from the client",
		"close in 3 from the server",
		"end /another",
	}, got)
	same(t, "exit code of tail", 0, tail.interrupt())
	p.stop()
}

// TestExportLines: a cassette is the session, then the lines of show --json.
func TestExportLines(t *testing.T) {
	t.Parallel()
	p, _ := held(t)
	out, code := p.tape.run("export", "1")
	same(t, "exit code", 0, code)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var head struct {
		WSTape  int
		Session struct {
			URL     string
			Request struct{ Method, Target string }
		}
	}
	must(t, json.Unmarshal([]byte(lines[0]), &head))
	same(t, "the first line", []any{1, "/over", "GET", "/over"},
		[]any{head.WSTape, head.Session.URL, head.Session.Request.Method, head.Session.Request.Target})
	shown, _ := p.tape.run("show", "1", "--json")
	same(t, "the others", strings.TrimSpace(shown), strings.Join(lines[1:], "\n"))
	p.stop()
}
