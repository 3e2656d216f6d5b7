package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestReplayScenarios: what was recorded between real programs goes both ways
// again, from the tape and from a cassette: the same client at the fake server
// sees what it saw, and the fake client finds the server as it was.
func TestReplayScenarios(t *testing.T) {
	t.Parallel()
	for _, sc := range scenarios {
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			s := sc.serve(t)
			tape, saw := sc.record(t, s.addr)
			n := len(sc.clients)
			cassette := tape.export(n)
			for from, recording := range map[string][]string{"tape": tape.numbers(n), "cassette": {cassette}} {
				t.Run("server from "+from, func(t *testing.T) {
					t.Parallel()
					fake := replayServer(t, append(recording, "--once")...)
					same(t, "what the clients saw", saw, sc.talk(t, fake.addr))
					fake.held(n)
				})
			}
			// The server that was recorded goes on counting, a new one begins anew.
			replayClient(t, append(tape.numbers(n), "ws://"+s.addr)...).held(n)
			t.Run("client at a new server", func(t *testing.T) {
				t.Parallel()
				replayClient(t, cassette, "ws://"+sc.serve(t).addr).held(n)
			})
		})
	}
}

// TestReplayAnotherDay: the committed cassettes, made to look more than a year
// old, hold without a flag though ids, nonces, times and tokens are others now.
func TestReplayAnotherDay(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"chat", "socketio", "graphql-ws", "realtime", "jsonrpc", "login"} {
		sc := named(t, name)
		old := aged(t, name)
		t.Run(name+" server", func(t *testing.T) {
			t.Parallel()
			fake := replayServer(t, old, "--once")
			sc.talk(t, fake.addr)
			fake.held(len(sc.clients))
		})
		t.Run(name+" client", func(t *testing.T) {
			t.Parallel()
			replayClient(t, old, "ws://"+sc.serve(t).addr).held(len(sc.clients))
		})
	}
}

// recordedTimes are the times in the committed cassettes, in every form that the
// programs write: they differ in the day, the second or less.
var recordedTimes = regexp.MustCompile(`\b20\d\d-\d\d-\d\d(T\d\d:\d\d:\d\d)|\b1[789]\d{8}(\d{3})?\b`)

// aged is a committed cassette as if it had been recorded 400 days earlier.
func aged(t *testing.T, name string) string {
	t.Helper()
	const days = 400
	text, err := os.ReadFile("../examples/cassettes/" + name + ".cassette.jsonl")
	must(t, err)
	times := 0
	old := recordedTimes.ReplaceAllStringFunc(string(text), func(at string) string {
		times++
		if day, clock, ok := strings.Cut(at, "T"); ok {
			then, err := time.Parse(time.DateOnly, day)
			must(t, err)
			return then.AddDate(0, 0, -days).Format(time.DateOnly) + "T" + clock
		}
		n, err := strconv.Atoi(at)
		must(t, err)
		unit := map[int]int{10: 1, 13: 1000}[len(at)]
		return strconv.Itoa(n - days*24*60*60*unit)
	})
	if times == 0 {
		t.Fatalf("no times in the cassette %s", name)
	}
	path := filepath.Join(t.TempDir(), name+".cassette.jsonl")
	must(t, os.WriteFile(path, []byte(old), 0o600))
	return path
}

// TestReplayPrices: a value that is neither an id nor a time is compared, until
// somebody says that it may differ, or a second recording does.
func TestReplayPrices(t *testing.T) {
	t.Parallel()
	cassette, err := filepath.Abs("../examples/cassettes/ticker.cassette.jsonl") // with prices of its own
	must(t, err)
	sc := &scenario{server: []string{programs + "ticker-server.py"}, clients: [][]string{{programs + "ticker-client.py"}}}
	s := sc.serve(t)
	replayClient(t, cassette, "ws://"+s.addr).failed("changed message at step 3", "differs   $.price: ")
	replayClient(t, cassette, "ws://"+s.addr, "--ignore", "$.price").held(1)

	tape, _ := sc.record(t, s.addr)
	learned := filepath.Join(t.TempDir(), "learned.cassette.jsonl")
	if out, code := tape.run("replay", "learn", "1", cassette, "--out", learned); code != 0 || !strings.Contains(out, "$.price") {
		t.Fatalf("wstape replay learn: exit code %d:\n%s", code, out)
	}
	replayClient(t, learned, "ws://"+s.addr).held(1)
}
