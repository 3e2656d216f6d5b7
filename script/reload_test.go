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

	"github.com/wstape/wstape/tape"
)

// reload loads a script anew that has been changed to src.
func (r *rig) reload(i int, src string) {
	r.t.Helper()
	r.write(i, src)
	r.set.changed(r.paths[i])
}

// version is a script that says which version it is.
func version(n int, more string) string {
	return fmt.Sprintf(`export function onMessage(m, session) { return m.text + " v%d" } %s`, n, more)
}

func TestReload(t *testing.T) {
	r := newRig(t, Options{}, version(1, ""))
	l, other := r.open(), r.open()
	r.reload(0, version(2, ""))
	for _, s := range []*line{l, other, r.open()} {
		if got := s.say("hi"); got != "edited script:a.js text:hi v2" {
			t.Error(got)
		}
	}
	l.must(t, "note script a.js reloaded by script:a.js")
	r.log.must(t, "log info a.js: reloaded, in 2 open sessions too")
}

// TestBadReload has new versions fail in every way. The one before goes on, and its
// timers and state with it.
func TestBadReload(t *testing.T) {
	const before = `
		export function onMessage(m, session) {
			if (m.text === "bad state") session.state.f = () => 1
			if (m.text === "loop state") session.state = { get a() { for (;;); } }
			session.state.n = (session.state.n ?? 0) + 1
			if (m.text === "start") { store.set("open", true); setInterval(() => session.note("tick"), 1) }
			return "v1 " + session.state.n
		}`
	for _, tc := range []struct {
		name, after, say string
		everywhere       bool // it does not even load
		log              string
	}{
		{"a syntax error", `export function onMessage( {`, "hi", true, "a.js:1:29: Expected identifier"},
		{"no hooks", `export const x = 1`, "hi", true, "exports no hook"},
		{"a top level that throws", `export function onMessage() {} throw new Error("top")`, "hi", true, "Error: top\n    at a.js:1:38"},
		{"a top level that loops", `export function onMessage() {} for (;;);`, "hi", true, "ran for longer than script.timeout without yielding"},
		{"a top level that throws here", `setInterval(() => store.set("zombie", 1), 1); if (store.get("open")) throw new Error("here"); export function onMessage() {}`, "hi", false, "Error: here\n    at a.js:1:76"},
		{"a top level that loops here", `if (store.get("open")) for (;;); export function onMessage() {}`, "hi", false, "ran for longer than script.timeout without yielding"},
		{"an onReload that throws", `export function onMessage() {} export function onReload() { throw new Error("on") }`, "hi", false, "onReload: Error: on\n    at onReload (a.js:1:67)"},
		{"an onReload that rejects", `export function onMessage() {} export async function onReload() { throw new Error("on") }`, "hi", false, "onReload: Error: on\n    at onReload (a.js:1:73)"},
		{"an onReload that loops", `export function onMessage() {} export function onReload() { for (;;); }`, "hi", false, "ran for longer than script.timeout without yielding"},
		{"a state that cannot be cloned", version(2, ""), "bad state", false, "session.state cannot be carried over: value.f "},
		{"a state that loops", version(2, ""), "loop state", false, "ran for longer than script.timeout without yielding"},
	} {
		r := newRig(t, Options{Timeout: 50 * time.Millisecond}, before)
		l := r.open()
		l.say("start")
		l.say(tc.say)
		r.reload(0, tc.after)
		if tc.everywhere {
			r.log.must(t, "log error a.js: not reloaded, the version before goes on: ")
		} else {
			l.must(t, "note not reloaded in this session, the version before goes on: ")
		}
		r.log.must(t, tc.log)
		got := l.say("hi")
		if want := "edited script:a.js text:v1 3"; got != want && tc.say != "loop state" {
			t.Errorf("%s: goes on with %s", tc.name, got)
		}
		ticks := len(l.all("note tick"))
		for len(l.all("note tick")) == ticks { // the timers go on
			l.say("hi")
		}
		if slices.Contains(r.set.store.keys(), "zombie") {
			t.Errorf("%s: a timer of the failed version ran", tc.name)
		}
		r.reload(0, version(3, ""))
		if got := l.say("hi"); got != "edited script:a.js text:hi v3" && !strings.Contains(tc.say, "state") {
			t.Errorf("%s: the version after: %s", tc.name, got)
		}
	}
}

func TestStateIsCarried(t *testing.T) {
	const before = `export function onMessage(m, session) {
		session.state.list ??= new Map([["a", new Date(0)]])
		session.state.n = 1n
		setInterval(() => session.note("tick"), 1000)
	}`
	for _, tc := range []struct{ after, say, want string }{
		{`export function onMessage(m, { state }) { return [String(state.n), state.list.get("a").toISOString()] }`, "hi",
			"edited script:a.js text:1 text:1970-01-01T00:00:00.000Z"},
		{`export function onReload(old, session) { session.state = { was: String(old.n) } }
		  export function onMessage(m, session) { return session.state }`, "hi", `edited script:a.js text:{"was":"1"}`},
		{`export function onReload() {} export function onMessage(m, session) { return session.state }`, "hi", `edited script:a.js text:{}`},
		{`export function onReload(old, session) { session.state.old = Object.keys(old).length } export function onMessage(m, session) { return session.state }`, "",
			`edited script:a.js text:{"old":0}`},
	} {
		bubble(t, Options{}, func(r *rig) {
			l := r.open()
			if tc.say != "" {
				l.say(tc.say)
			}
			r.reload(0, tc.after)
			if got := l.say("hi"); got != tc.want {
				t.Errorf("%s: %s, want %s", tc.after, got, tc.want)
			}
			time.Sleep(time.Minute)
			if n := len(l.all("note tick")); n > 0 {
				t.Errorf("%d ticks of a timer of the version before", n)
			}
		}, before)
	}
}

// TestReloadWaits reloads while a hook awaits: that ends in the old version, which goes
// on for a second, so that the other direction is not held by it. What comes later waits.
func TestReloadWaits(t *testing.T) {
	bubble(t, Options{}, func(r *rig) {
		l := r.open()
		began := time.Now()
		first := l.start(message(tape.Server, tape.Text, "slow"))
		synctest.Wait()
		r.reload(0, version(2, ""))
		r.reload(0, version(3, `export function onControl() { return false }`))
		if got := l.await(l.start(message(tape.Client, tape.Text, "early"))); got != "edited script:a.js text:early v1" || time.Since(began) != 0 {
			t.Errorf("%s after %v", got, time.Since(began))
		}
		time.Sleep(overlap + time.Millisecond)
		second := l.start(message(tape.Client, tape.Text, "second"))
		synctest.Wait()
		if len(second) > 0 {
			t.Error("a message did not wait for the new version")
		}
		if got := l.await(first); got != "edited script:a.js text:slow v1" || time.Since(began) != 10*time.Second {
			t.Errorf("%s after %v", got, time.Since(began))
		}
		if got := l.await(second); got != "edited script:a.js text:second v3" {
			t.Error(got)
		}
		if _, control := l.session.Wants(tape.Server); !control {
			t.Error("the new version's wishes are not known")
		}
		if got := l.await(l.start(message(tape.Client, tape.Ping, ""))); got != "dropped script:a.js" {
			t.Error(got)
		}
	}, `export async function onMessage(m) {
		if (m.text === "slow") await new Promise(done => setTimeout(done, 10000))
		return m.text + " v1"
	}`)
}

// TestReloadWaitsInVain reloads while a hook awaits what never comes.
func TestReloadWaitsInVain(t *testing.T) {
	bubble(t, Options{}, func(r *rig) {
		l := r.open()
		first := l.start(message(tape.Server, tape.Text, "slow"))
		synctest.Wait()
		began := time.Now()
		r.reload(0, version(2, ""))
		time.Sleep(overlap + time.Millisecond)
		if got := l.await(l.start(message(tape.Client, tape.Text, "second"))); got != "edited script:a.js text:second v2" || time.Since(began) != DefaultAwaitTimeout {
			t.Errorf("%s after %v", got, time.Since(began))
		}
		if got := l.await(first); got != "passed " {
			t.Error(got)
		}
	}, `export async function onMessage(m) { await new Promise(() => {}) }`)
}

func TestReloadChangesWants(t *testing.T) {
	r := newRig(t, Options{}, version(1, `export const from = "client"`))
	l := r.open()
	for _, tc := range []struct {
		src  string
		want [4]bool
	}{
		{version(2, ""), [4]bool{true, false, true, false}},
		{`export const from = "server"; export function onControl() {}`, [4]bool{false, false, false, true}},
		{`export function onOpen() {}`, [4]bool{}},
	} {
		r.reload(0, tc.src)
		var got [4]bool
		got[0], got[1] = l.session.Wants(tape.Client)
		got[2], got[3] = l.session.Wants(tape.Server)
		if got != tc.want {
			t.Errorf("%s: %v, want %v", tc.src, got, tc.want)
		}
	}
}

// TestReloadMendsDisabled reloads a script that has been disabled.
func TestReloadMendsDisabled(t *testing.T) {
	r := newRig(t, Options{}, version(1, ""))
	r.set.order[0].disabled.Store(true)
	l := r.open()
	if got := l.say("hi"); got != "passed " {
		t.Errorf("disabled: %s", got)
	}
	r.reload(0, version(2, ""))
	if got := l.say("hi"); got != "edited script:a.js text:hi v2" {
		t.Errorf("mended: %s\n%s\n%s", got, strings.Join(l.all(""), "\n"), strings.Join(r.log.all(""), "\n"))
	}
}

// TestReloadShared changes a module that two scripts of a chain share.
func TestReloadShared(t *testing.T) {
	const use = `import { mark } from "./shared.js"; export function onMessage(m) { return m.text + mark }`
	dir := t.TempDir()
	write := func(name, src string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(src), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	shared := write("shared.js", `export const mark = "1"`)
	paths := []string{write("a.js", use), write("b.js", use)}
	set, err := NewSet(paths, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	chain, err := set.Chain(paths)
	if err != nil {
		t.Fatal(err)
	}
	j := newJournal()
	l := &line{j, t, chain.Open(tape.Session{}, j)}
	defer l.session.Closed(tape.Ending{})
	for _, mark := range []string{"1", "2"} {
		write("shared.js", `export const mark = "`+mark+`"`)
		set.changed(shared)
		if got, want := l.say("x"), "edited script:a.js+script:b.js text:x"+mark+mark; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// TestReloadRace reloads while sessions open, send and close.
func TestReloadRace(t *testing.T) {
	hook := func(n int) string {
		return fmt.Sprintf(`
			setInterval(() => {}, 0)
			export async function onMessage(m, session) {
				session.state.n = (session.state.n ?? 0) + 1
				if (m.from === "client") await new Promise(done => setTimeout(done, 1))
				return m.text + " v%d"
			}
			export function onReload(old, session) { session.state = old }
			export function onClose() {}`, n)
	}
	r := newRig(t, Options{Timeout: 10 * time.Second}, hook(0), version(0, ""))
	stop := make(chan struct{})
	var running sync.WaitGroup
	for range 4 {
		running.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				j := newJournal()
				l := &line{j, t, r.chain.Open(tape.Session{}, j)}
				l.session.Opened("")
				var both sync.WaitGroup
				for _, from := range tape.Sides() {
					both.Go(func() {
						for range 10 {
							v := <-l.start(message(from, tape.Text, "hi"))
							if len(v.Out) != 1 || !strings.HasPrefix(string(v.Out[0].Payload), "hi v") {
								t.Errorf("%s", verdict(v))
							}
						}
					})
				}
				both.Wait()
				l.session.Closed(tape.Ending{})
				for _, line := range append(j.all("note not"), j.all("note on")...) {
					t.Error(line)
				}
			}
		})
	}
	for n := range 30 {
		r.reload(0, hook(n))
		r.reload(1, version(n, ""))
	}
	close(stop)
	running.Wait()
	if n := len(r.set.sessions); n != 0 {
		t.Errorf("%d sessions are left", n)
	}
}

// TestReloadWhileOpening has a new version come when a session has started the old one,
// and the set does not know of the session yet.
func TestReloadWhileOpening(t *testing.T) {
	r := newRig(t, Options{}, version(1, `console.log("started")`))
	src := r.set.order[0]
	old := src.program.Load()
	r.reload(0, version(2, ""))
	fresh := src.program.Swap(old)
	j := newJournal()
	s := r.chain.Open(tape.Session{}, noteConn{j, func() { src.program.Store(fresh) }})
	defer s.Closed(tape.Ending{})
	l := &line{j, t, s}
	if got := l.say("hi"); got != "edited script:a.js text:hi v2" {
		t.Error(got)
	}
	j.must(t, "note at opening: started")
}

// noteConn calls a function at each note.
type noteConn struct {
	*journal
	noted func()
}

func (c noteConn) Note(text, by string) {
	c.noted()
	c.journal.Note("at opening: "+text, by)
}

// TestReloadOfWhatIsNew breaks a script with a module that it had not before, and mends
// that.
func TestReloadOfWhatIsNew(t *testing.T) {
	for _, broken := range []string{`export const mark = (`, `export const mark = "2"; throw new Error("top")`} {
		r := newRig(t, Options{}, version(1, ""))
		helper := filepath.Join(filepath.Dir(r.paths[0]), "helper.js")
		write := func(src string) {
			if err := os.WriteFile(helper, []byte(src), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		l := r.open()
		write(broken)
		r.reload(0, `import { mark } from "./helper.js"; export function onMessage() { return mark }`)
		if got := l.say("hi"); got != "edited script:a.js text:hi v1" {
			t.Errorf("broken: %s", got)
		}
		write(`export const mark = "2"`)
		r.set.changed(helper)
		if got := l.say("hi"); got != "edited script:a.js text:2" {
			t.Errorf("mended: %s\n%s\n%s", got, strings.Join(l.all(""), "\n"), strings.Join(r.log.all(""), "\n"))
		}
	}
}
