package script

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/wstape/wstape/tape"
)

// TestMain runs the tests or, in a child process of TestProcessSurvives, one
// script that might end the process.
func TestMain(m *testing.M) {
	if name := os.Getenv(hostileVariable); name != "" {
		os.Exit(hostileChild(name))
	}
	goleak.VerifyTestMain(m)
}

// waitTime is how long a test waits for what must come.
const waitTime = time.Minute

// journal is what happens to a session, and what is logged: a Conn and a log.
type journal struct {
	mu      sync.Mutex
	changed sync.Cond
	lines   []string // "send client text:hi", "close 1011 reason", "note …", "tag k=v", "log error …"
	refuse  error    // what Send returns
}

func newJournal() *journal {
	j := &journal{}
	j.changed.L = &j.mu
	return j
}

func (j *journal) add(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, fmt.Sprintf(format, args...))
	j.changed.Broadcast()
}

func (j *journal) Send(to tape.Side, op tape.Opcode, payload []byte, by string) error {
	if j.refuse == nil {
		j.add("send %v %v:%s by %s", to, op, payload, by)
	}
	return j.refuse
}
func (j *journal) Close(code int, reason, by string) { j.add("close %d %s by %s", code, reason, by) }
func (j *journal) Note(text, by string)              { j.add("note %s by %s", text, by) }
func (j *journal) Tag(key, value string)             { j.add("tag %s=%s", key, value) }
func (j *journal) log(e Entry)                       { j.add("log %s %s: %s", e.Level, e.Script, e.Text) }

// all returns the lines that begin with a word.
func (j *journal) all(first string) (found []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, line := range j.lines {
		if strings.HasPrefix(line, first) {
			found = append(found, line)
		}
	}
	return found
}

// wait returns the first line that contains a text, as soon as there is one.
func (j *journal) wait(t testing.TB, text string) string {
	t.Helper()
	timeout := time.AfterFunc(waitTime, func() { j.add("timeout") })
	defer timeout.Stop()
	j.mu.Lock()
	defer j.mu.Unlock()
	for {
		for _, line := range j.lines {
			if strings.Contains(line, text) {
				return line
			}
			if line == "timeout" {
				t.Fatalf("no line with %q in\n%s", text, strings.Join(j.lines, "\n"))
			}
		}
		j.changed.Wait()
	}
}

// must fails the test unless there is a line with each of the texts.
func (j *journal) must(t testing.TB, texts ...string) {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, text := range texts {
		if !slices.ContainsFunc(j.lines, func(line string) bool { return strings.Contains(line, text) }) {
			t.Errorf("no line with %q in\n%s", text, strings.Join(j.lines, "\n"))
		}
	}
}

// rig is a set of scripts, whose files are named a.js, b.js and so on.
type rig struct {
	t     testing.TB
	set   *Set
	chain *Chain
	paths []string
	log   *journal
}

func newRig(t testing.TB, o Options, sources ...string) *rig {
	t.Helper()
	r := &rig{t: t, log: newJournal()}
	dir := t.TempDir()
	for i, src := range sources {
		extension := ".js"
		if strings.HasPrefix(src, "// TypeScript") {
			extension = ".ts"
		}
		path := filepath.Join(dir, string(rune('a'+i))+extension)
		r.paths = append(r.paths, path)
		r.write(i, src)
	}
	o.Log = r.log.log
	var err error
	if r.set, err = NewSet(r.paths, o); err != nil {
		t.Fatal(Explain(err))
	}
	t.Cleanup(r.set.Close)
	if r.chain, err = r.set.Chain(r.paths); err != nil {
		t.Fatal(err)
	}
	return r
}

// write changes the source of a script.
func (r *rig) write(i int, src string) {
	r.t.Helper()
	if err := os.WriteFile(r.paths[i], []byte(src), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// line is an open session in which messages are sent.
type line struct {
	*journal
	t       testing.TB
	session *Session
}

// bubble runs a test of scripts under a clock that goes on when nothing else does.
// Loops that do not end never end there.
func bubble(t *testing.T, o Options, test func(*rig), sources ...string) {
	t.Helper()
	r := newRig(t, o, sources...)
	synctest.Test(t, func(t *testing.T) {
		outer := r.t
		r.t = t
		defer func() { r.t = outer }()
		test(r)
	})
}

// open opens a session that is closed when the test ends.
func (r *rig) open() *line {
	r.t.Helper()
	j := newJournal()
	s := r.chain.Open(tape.Session{N: 1, URL: "/chat", Client: "1.2.3.4:5"}, j)
	s.Opened("")
	r.t.Cleanup(func() { s.Closed(tape.Ending{Kind: tape.EndClose, Code: 1000}) })
	return &line{j, r.t, s}
}

// openOne opens a session with one script.
func openOne(t testing.TB, o Options, sources ...string) *line {
	t.Helper()
	return newRig(t, o, sources...).open()
}

func message(from tape.Side, op tape.Opcode, payload string) *tape.Message {
	return &tape.Message{From: from, Content: tape.Content{Op: op, Payload: []byte(payload), Len: uint64(len(payload))}}
}

// start sends a message and returns where its verdict will be.
func (l *line) start(m *tape.Message) <-chan tape.Verdict {
	decided, again := make(chan tape.Verdict, 1), false
	go l.session.Message(m, func(v tape.Verdict) {
		if again {
			panic("done was called twice")
		}
		again = true
		decided <- v
	})
	return decided
}

// await returns the verdict, as text.
func (l *line) await(decided <-chan tape.Verdict) string {
	l.t.Helper()
	select {
	case v := <-decided:
		return verdict(v)
	case <-time.After(waitTime):
		l.t.Fatal("no verdict")
		return ""
	}
}

// say sends a text from the server and returns what becomes of it.
func (l *line) say(text string) string {
	l.t.Helper()
	return l.await(l.start(message(tape.Server, tape.Text, text)))
}

// in runs code in the runtime of the first script, in its turn.
func (l *line) in(f func(v *vm)) {
	l.t.Helper()
	if !l.session.turn(0, nil, f) {
		l.t.Fatal("the scripts have been given up")
	}
}
