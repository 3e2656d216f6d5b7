package replay

import (
	"context"
	"fmt"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wstape/wstape/tape"
)

// room is a chat room's recording: what alice says comes to bob as a copy.
func room() string {
	return session(`"url":"/room?user=alice"`) +
		at(1, "C", `{"say":"hello all"}`) +
		at(5, "S", `{"from":"bob","say":"hi alice"}`) +
		closing(9, "C", 1000, "") +
		session(`"url":"/room?user=bob"`) +
		at(1.5, "S", `{"from":"alice","say":"hello all"}`) +
		at(4, "C", `{"say":"hi alice"}`) +
		closing(10, "C", 1000, "")
}

func across(r *Recording) (out [][]string) {
	for _, p := range r.Plans {
		var list []string
		for i := range p.Steps {
			if s := &p.Steps[i]; len(s.Across) > 0 {
				list = append(list, fmt.Sprintf("%d: %v", s.N, s.Across))
			}
		}
		out = append(out, list)
	}
	return out
}

// The fake server sends bob's copy when alice has said it, not before, at the
// distance that it had.
func TestAcrossServer(t *testing.T) {
	r := loadText(t, tape.Server, room(), Matching{})
	if got, want := fmt.Sprint(across(r)), "[[2: [{1 0} {1 2}]] [1: [{0 0} {0 1}]]]"; got != want {
		t.Errorf("waits %s, want %s", got, want)
	}
	run := NewRun(r)
	alice := openSession(t, run, 0, Playing{Pace: Pace{Factor: 1}})
	bob := openSession(t, run, 1, Playing{Pace: Pace{Factor: 1}})
	bob.until(6).did()
	alice.hears(6, text(`{"say":"hello all"}`))
	bob.until(8).did(`6.5 {"from":"alice","say":"hello all"}`)
	alice.until(8).did()
	bob.hears(8, text(`{"say":"hi alice"}`))
	alice.until(20).did(`9 {"from":"bob","say":"hi alice"}`).ends(20, closes(1000, ""))
	bob.ends(20, closes(1000, ""))
	alice.rest().held()
	bob.rest().held()
}

// If alice never says it, bob's session fails and says what it waited for.
func TestAcrossInVain(t *testing.T) {
	for _, connected := range []bool{true, false} {
		run := NewRun(loadText(t, tape.Server, room(), Matching{}))
		bob := openSession(t, run, 1, Playing{})
		if connected {
			openSession(t, run, 0, Playing{}).ends(1, closes(1000, ""))
			run.end(0)
		}
		bob.rest()
		kind := Timeout // nobody has come for alice's session
		if connected {
			kind = Missing
		}
		if o := bob.play.Outcome; len(o.Mismatches) != 1 || o.Mismatches[0].Kind != kind || o.Mismatches[0].Step != 1 {
			t.Errorf("%s", mismatches(o))
		}
	}
}

// The fake client keeps the order of the tape between its sessions.
func TestAcrossClient(t *testing.T) {
	r := loadText(t, tape.Client, room(), Matching{})
	run := NewRun(r)
	if due, ok := run.opens(r.Plans[0], Pace{}); !ok || !due.IsZero() {
		t.Errorf("the first session opens: %v at %v", ok, due)
	}
	if _, ok := run.opens(r.Plans[1], Pace{}); ok {
		t.Error("the second session opens before the first one")
	}
	alice := openSession(t, run, 0, Playing{})
	if _, ok := run.opens(r.Plans[1], Pace{}); !ok {
		t.Error("the second session does not open after the first one")
	}
	alice.until(2).did() // bob has not connected
	bob := openSession(t, run, 1, Playing{})
	alice.until(3).did(`2 {"say":"hello all"}`)
	bob.hears(4, text(`{"from":"alice","say":"hello all"}`)).did(`4 {"say":"hi alice"}`)
	alice.hears(5, text(`{"from":"bob","say":"hi alice"}`)).did(`2 {"say":"hello all"}`, "5 close 1000").rest().held()
	bob.until(6).did(`4 {"say":"hi alice"}`, "5 close 1000").rest().held()
}

// Sessions that were open at the same time keep their distance at the beginning,
// one that began after the others had ended need not wait.
func TestOpensAt(t *testing.T) {
	later := func(seconds int) string {
		return `{"wstape":1,"session":{"started":"` + began().Add(time.Duration(seconds)*time.Second).Format(time.RFC3339) + `"}}` + "\n"
	}
	cassette := session() + closing(20, "C", 1000, "") + later(10) + at(1, "C", "x") + closing(5, "C", 1000, "") + later(3600)
	r := loadText(t, tape.Client, cassette, Matching{})
	run := NewRun(r)
	run.mark(Ref{0, 0}, replayed())
	for factor, want := range map[float64]time.Duration{0: 0, 1: 10 * time.Second, 2: 5 * time.Second} {
		if due, ok := run.opens(r.Plans[1], Pace{Factor: factor}); !ok || due.Sub(replayed()) != want {
			t.Errorf("at %vx the second session opens: %v after %v", factor, ok, due.Sub(replayed()))
		}
	}
	for session, steps := range []int{1, 2} {
		for n := range steps + 1 {
			run.mark(Ref{session, n}, replayed())
		}
	}
	if due, ok := run.opens(r.Plans[2], Pace{Factor: 1}); !ok || due.After(replayed()) {
		t.Errorf("the third session opens: %v after %v", ok, due.Sub(replayed()))
	}
}

// Independent sessions of a fake server do not wait for each other.
func TestIndependentSessions(t *testing.T) {
	cassette := session(`"url":"/a"`) + at(1, "C", `{"type":"ping"}`) + at(2, "S", `{"type":"pong"}`) + closing(3, "C", 1000, "") +
		session(`"url":"/b"`) + at(1.5, "C", `{"type":"list"}`) + at(2.5, "S", `{"type":"items","items":[1,2]}`) + closing(3, "C", 1000, "")
	r := loadText(t, tape.Server, cassette, Matching{})
	if got := fmt.Sprint(across(r)); got != "[[] []]" {
		t.Errorf("waits %s", got)
	}
	s := openSession(t, NewRun(r), 1, Playing{})
	s.hears(1, text(`{"type":"list"}`)).ends(2, closes(1000, "")).rest().did(`1 {"type":"items","items":[1,2]}`)
	s.held()
}

// The same with connections: real clients of a chat room, in an order of their own.
func TestRoomConnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newMemoryListener()
		done := make(chan *Report, 1)
		r := loadText(t, tape.Server, room(), Matching{})
		go func() {
			report, err := Serve(context.Background(), ln, r, Options{}, Serving{Once: true})
			if err != nil {
				t.Error(err)
			}
			done <- report
		}()
		dial := func(user string) *websocket.Conn {
			d := websocket.Dialer{NetDialContext: ln.dial}
			u := url.URL{Scheme: "ws", Host: "memory", Path: "/room", RawQuery: "user=" + user}
			ws, _, err := d.Dial(u.String(), nil)
			if err != nil {
				t.Fatal(err)
			}
			return ws
		}
		bob, alice := dial("bob"), dial("alice") // the other way round than on the tape
		start := time.Now()
		got := make(chan string, 1)
		go func() {
			_, p, err := bob.ReadMessage()
			got <- fmt.Sprintf("%s %v after %v", p, err, time.Since(start))
		}()
		time.Sleep(3 * time.Second)
		synctest.Wait()
		select {
		case p := <-got:
			t.Errorf("bob got %s before alice has said anything", p)
		default:
		}
		say(t, alice, `{"say":"hello all"}`)
		if p := <-got; p != `{"from":"alice","say":"hello all"} <nil> after 3s` {
			t.Errorf("bob got %s", p)
		}
		say(t, bob, `{"say":"hi alice"}`)
		if _, p, err := alice.ReadMessage(); err != nil || string(p) != `{"from":"bob","say":"hi alice"}` {
			t.Errorf("alice got %s, %v", p, err)
		}
		for _, ws := range []*websocket.Conn{alice, bob} {
			_ = ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(1000, ""), time.Now().Add(time.Second))
			_, _, _ = ws.ReadMessage()
			_ = ws.Close()
		}
		if report := <-done; !report.Held() || len(report.Outcomes) != 2 {
			for _, o := range report.Outcomes {
				t.Error(mismatches(o))
			}
		}
	})
}

func say(t *testing.T, ws *websocket.Conn, text string) {
	t.Helper()
	if err := ws.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
		t.Error(err)
	}
}

// A client that sends a lot before it reads anything does not hang with a player
// that sends a lot, too.
func TestBothSendAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		big := func(i int) string { return fmt.Sprintf("%0*d", 4*memoryBuffer, i) }
		recording := session() + at(0, "S", big(0)) + at(1, "C", big(1)) + at(2, "C", big(2)) + at(3, "C", big(3)) + closing(4, "C", 1000, "")
		ln := newMemoryListener()
		done := make(chan *Report, 1)
		go func() {
			report, err := Serve(context.Background(), ln, loadText(t, tape.Server, recording, Matching{}), Options{}, Serving{Once: true})
			if err != nil {
				t.Error(err)
			}
			done <- report
		}()
		d := websocket.Dialer{NetDialContext: ln.dial}
		ws, _, err := d.Dial("ws://memory/", nil)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // the player is sending
		for i := range 3 {
			say(t, ws, big(i+1))
		}
		if _, p, err := ws.ReadMessage(); string(p) != big(0) {
			t.Errorf("got %d bytes, %v", len(p), err)
		}
		_ = ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(1000, ""), time.Now().Add(time.Second))
		_, _, _ = ws.ReadMessage()
		_ = ws.Close()
		if report := <-done; !report.Held() {
			t.Errorf("%.500s", mismatches(report.Outcomes[0]))
		}
	})
}
