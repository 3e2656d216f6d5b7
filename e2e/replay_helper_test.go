package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// replaying is a running wstape replay.
type replaying struct {
	*process
	addr string // where a fake server listens; "" of a fake client
}

// replayServer runs a fake server and waits until it listens.
func replayServer(t testing.TB, args ...string) *replaying {
	t.Helper()
	addrFile := filepath.Join(t.TempDir(), "addr.json")
	p := start(t, "wstape replay server", append([]string{binary, "replay", "server", "--listen", "127.0.0.1:0", "--addr-file", addrFile}, args...)...)
	var addr struct{ Listen string }
	must(t, json.Unmarshal(p.waitFile(addrFile), &addr))
	return &replaying{p, addr.Listen}
}

// replayClient runs a fake client.
func replayClient(t testing.TB, args ...string) *replaying {
	t.Helper()
	return &replaying{process: start(t, "wstape replay client", append([]string{binary, "replay", "client"}, args...)...)}
}

func (r *replaying) url(path string) string { return "ws://" + r.addr + path }

// finish waits until a process has ended by itself.
func (p *process) finish() (stdout string, code int) {
	p.t.Helper()
	var out strings.Builder
	for {
		line, ok := receive(p.t, p.name+" to end", p.lines)
		if !ok {
			break
		}
		out.WriteString(line + "\n")
	}
	receive(p.t, p.name+" to end", p.done)
	return out.String(), p.cmd.ProcessState.ExitCode()
}

// held wants that it ends, and that so many sessions went as recorded.
func (r *replaying) held(sessions int) {
	r.t.Helper()
	report, code := r.finish()
	want := fmt.Sprintf("%d of %d session", sessions, sessions)
	if first, _, _ := strings.Cut(report, "\n"); code != 0 || !strings.Contains(first, want) {
		r.t.Fatalf("%s: exit code %d, want 0 and %q:\n%s", r.name, code, want, report)
	}
}

// failed wants that it ends with exit code 1 and a report that has all of these.
func (r *replaying) failed(want ...string) {
	r.t.Helper()
	report, code := r.finish()
	if code != 1 {
		r.t.Errorf("%s: exit code %d, want 1", r.name, code)
	}
	for _, text := range want {
		if !strings.Contains(report, text) {
			r.t.Errorf("the report of %s does not say %q:\n%s", r.name, text, report)
		}
	}
}

// stopped ends what would go on; it must end well.
func (r *replaying) stopped() {
	r.t.Helper()
	if code := r.interrupt(); code != 0 {
		r.t.Errorf("%s: exit code %d after SIGINT, want 0:\n%s", r.name, code, r.stderr.String())
	}
}

// cassetteFile writes a cassette.
func cassetteFile(t testing.TB, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "written.cassette.jsonl")
	must(t, os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600))
	return path
}

// settle waits until the tape has so many sessions and all of them have ended.
func (r *recorder) settle(sessions int) {
	r.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for {
		ended := 0
		for _, s := range r.tape.sessions() {
			if s.State != "open" {
				ended++
			}
		}
		if ended == sessions {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			r.t.Fatalf("waited %v for %d sessions to end", patience, sessions)
		}
	}
}

// numbers names the first sessions of a tape, as arguments.
func (f tapeFile) numbers(sessions int) (args []string) {
	for n := range sessions {
		args = append(args, fmt.Sprint(n+1))
	}
	return append(args, "--tape", f.path)
}

// export writes the first sessions of a tape to a cassette.
func (f tapeFile) export(sessions int) (path string) {
	f.t.Helper()
	path = filepath.Join(f.t.TempDir(), "exported.cassette.jsonl")
	args := append([]string{"export", "--out", path}, f.numbers(sessions)...)
	if out, err := exec.Command(binary, args...).CombinedOutput(); err != nil {
		f.t.Fatalf("wstape %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return path
}

// scenario is a real server and its clients, which talk in the same way in every
// run.
type scenario struct {
	name    string
	server  []string   // its file and flags
	clients [][]string // each comes when the one before has heard something
	// chosen is a pattern of what clients choose anew in every run and hear again.
	chosen string
	// unordered: the client prints when it comes to it, sooner if more comes at once.
	unordered bool
}

// Where the programs are, seen from here.
const (
	programs = "../examples/cassettes/programs/"
	pythons  = "peers/python/"
)

const anyUUID = `[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`

// scenarios are all whose servers say the same in every run, but for ids, tokens
// and times.
var scenarios = []scenario{
	{name: "chat", server: []string{programs + "chat-server.py"},
		clients: [][]string{{programs + "chat-client.py", "--user", "alice"}, {programs + "chat-client.py", "--user", "bob"}}},
	{name: "ticker", server: []string{programs + "ticker-server.py", "--steady"}, clients: [][]string{{programs + "ticker-client.py"}}},
	{name: "socketio", server: []string{programs + "socketio-server.mjs"}, clients: [][]string{{programs + "socketio-client.mjs"}}, unordered: true},
	{name: "graphql-ws", server: []string{programs + "graphql-ws-server.mjs"}, clients: [][]string{{programs + "graphql-ws-client.mjs"}}, chosen: anyUUID},
	{name: "realtime", server: []string{programs + "realtime-server.mjs"}, clients: [][]string{{programs + "realtime-client.mjs"}}, chosen: anyUUID},
	{name: "jsonrpc", server: []string{programs + "jsonrpc-server.mjs"}, clients: [][]string{{programs + "jsonrpc-client.py"}}, chosen: `"id":\d+`},
	{name: "login", server: []string{programs + "login-server.py"}, clients: [][]string{{programs + "login-client.py"}}, chosen: `"nonce": "[0-9a-f]+"`},
	{name: "forged login", server: []string{programs + "login-server.py"}, clients: [][]string{{programs + "login-client.py", "--forge"}}, chosen: `"nonce": "[0-9a-f]+"`},
	{name: "binary", server: []string{programs + "binary-server.py"}, clients: [][]string{{programs + "binary-client.py"}}},
	{name: "reset", server: []string{programs + "abrupt-server.py", "--how", "reset"}, clients: [][]string{{programs + "abrupt-client.py", "--how", "reset"}}},
	{name: "eof", server: []string{programs + "abrupt-server.py", "--how", "eof"}, clients: [][]string{{programs + "abrupt-client.py", "--how", "eof"}}},
	{name: "echo", server: []string{pythons + "server.py"}, clients: [][]string{{pythons + "say.py", "/echo", "one", "zwei, grüße 👋", "", "three"}}},
	{name: "uppercase", server: []string{pythons + "server.py"}, clients: [][]string{{pythons + "say.py", "/upper", "one", "zwei, grüße 👋", "three"}}},
}

// named finds a scenario.
func named(t testing.TB, name string) *scenario {
	for i := range scenarios {
		if scenarios[i].name == name {
			return &scenarios[i]
		}
	}
	t.Fatalf("no scenario %s", name)
	return nil
}

// startProgram runs a Python or Node program, if there is what it needs.
func startProgram(t testing.TB, file string, args ...string) *process {
	t.Helper()
	command := pythonPath()
	if strings.HasSuffix(file, ".py") {
		requirePython(t)
	} else {
		command = nodePath()
		_, err := exec.LookPath(command)
		requirePeer(t, "node", err == nil, "install Node.js 20 or newer")
		_, err = os.Stat(programs + "node_modules")
		requirePeer(t, "node modules of examples/cassettes/programs", err == nil, installHint)
	}
	return start(t, filepath.Base(file), append([]string{command, file}, args...)...)
}

// serve runs the scenario's server.
func (sc *scenario) serve(t testing.TB) *server {
	t.Helper()
	return childServer(startProgram(t, sc.server[0], sc.server[1:]...))
}

// talk runs the scenario's clients, who must be content, and gives what each of
// them printed.
func (sc *scenario) talk(t testing.TB, addr string) (printed []string) {
	t.Helper()
	var running []*process
	for i, c := range sc.clients {
		p := startProgram(t, c[0], append([]string{"ws://" + addr}, c[1:]...)...)
		running, printed = append(running, p), append(printed, "")
		if i+1 < len(sc.clients) {
			printed[i] = p.line() + "\n"
		}
	}
	for i, p := range running {
		text, code := p.finish()
		if printed[i] += text; code != 0 {
			t.Fatalf("%s: exit code %d:\n%s\n%s", p.name, code, printed[i], p.stderr.String())
		}
		printed[i] = sc.normal(printed[i])
	}
	return printed
}

// normal makes what a client printed the same in every run that is the same: what
// it chose is numbered in the order in which it comes up, so that what was equal
// stays equal.
func (sc *scenario) normal(text string) string {
	if sc.unordered {
		text = strings.Join(slices.Sorted(strings.Lines(text)), "")
	}
	if sc.chosen == "" {
		return text
	}
	seen := map[string]string{}
	return regexp.MustCompile(sc.chosen).ReplaceAllStringFunc(text, func(value string) string {
		if seen[value] == "" {
			seen[value] = fmt.Sprintf("<%d>", len(seen)+1)
		}
		return seen[value]
	})
}

// record has the scenario recorded.
func (sc *scenario) record(t testing.TB, upstream string, flags ...string) (tape tapeFile, printed []string) {
	t.Helper()
	p := startProxy(t, "ws://"+upstream, append([]string{"--quiet"}, flags...)...)
	printed = sc.talk(t, p.addr)
	p.settle(len(sc.clients))
	return p.stop(), printed
}
