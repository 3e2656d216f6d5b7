//go:build linux

package cli

import (
	"encoding/base64"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wstape/wstape/internal/wstest"
)

// onDisk is a proxy whose tape is on a small disk.
func onDisk(t *testing.T, policy string) (s *setting, filler string) {
	t.Helper()
	dir := wstest.SmallDisk(t, 32<<20) // of which a test that goes on when there is room again does not fill the rest
	config := filepath.Join(t.TempDir(), "wstape.yaml")
	if err := os.WriteFile(config, []byte("record: {buffer: 1MiB, when_full: "+policy+"}\nlog: {quiet: true}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tape := filepath.Join(dir, "t.db")
	s = newSetting(t, "--config", config, "--tape", tape)
	s.tape = tape
	return s, filepath.Join(dir, "filler")
}

// babble sends messages that do not shrink and reads their echoes until one
// cannot be; done counts them.
func babble(conn *websocket.Conn, done *atomic.Int64) {
	random := rand.NewChaCha8([32]byte{1})
	for {
		b := make([]byte, 3000)
		_, _ = random.Read(b)
		if conn.WriteMessage(websocket.TextMessage, []byte(base64.StdEncoding.EncodeToString(b))) != nil {
			return
		}
		if _, _, err := conn.ReadMessage(); err != nil {
			return
		}
		done.Add(1)
	}
}

// reads runs a command that must be able to read the tape.
func (s *setting) reads(t *testing.T, want string, args ...string) {
	t.Helper()
	code, lines := start(t, append(args, "--tape", s.tape)...).wait()
	if text := strings.Join(lines, "\n"); code != exitFine || !strings.Contains(text, want) {
		t.Errorf("%v: exit code %d, %s", args, code, text)
	}
}

// still waits until a counter does not move any more.
func still(t *testing.T, n *atomic.Int64) {
	t.Helper()
	last, since := n.Load(), time.Now()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); time.Since(since) < 300*time.Millisecond; <-tick.C {
		if now := n.Load(); now != last {
			last, since = now, time.Now()
		}
		if time.Now().After(end) {
			t.Fatal("nobody is held back")
		}
	}
}

// With record.when_full: block a full disk stops the traffic, readers are served,
// and everything goes on, whole, when there is room again.
func TestFullDiskHoldsTrafficBack(t *testing.T) {
	s, filler := onDisk(t, "block")
	conn := s.dial(t, "/echo")
	echo(t, conn, "before")
	s.reads(t, `"text":"before"`, "show", "1", "--json")
	wstest.FillDisk(t, filler)
	var done atomic.Int64
	ended := make(chan struct{})
	go func() { defer close(ended); babble(conn, &done) }()
	s.proxy.until("no space left on device", "trying again until it works")
	still(t, &done)
	held := done.Load()
	s.reads(t, `"url":"/echo"`, "ls", "--json")
	s.reads(t, `"text":"before"`, "show", "1", "--json")
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	s.proxy.until("is being written again")
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); done.Load() < held+20; <-tick.C {
		if time.Now().After(end) {
			t.Fatal("the traffic does not go on")
		}
	}
	conn.Close()
	<-ended
	if code, rest := s.proxy.stop(); code != exitFine {
		t.Errorf("exit code %d: %s", code, rest)
	}
	code, lines := start(t, "show", "1", "--json", "--tape", s.tape).wait()
	if n := int64(len(lines)); code != exitFine || n < 2+2*done.Load() {
		t.Errorf("%d lines are there of at least %d", n, 2+2*done.Load())
	}
	for _, line := range lines {
		if strings.Contains(line, `"gap"`) {
			t.Errorf("a gap: %s", line)
		}
	}
	s.reads(t, "no damage found", "check")
}

// A shutdown does not wait for room that never comes, and says what is lost.
func TestFullDiskDoesNotHoldUpTheEnd(t *testing.T) {
	for _, policy := range []string{"block", "drop"} {
		t.Run(policy, func(t *testing.T) {
			s, filler := onDisk(t, policy)
			conn := s.dial(t, "/echo")
			echo(t, conn, "before")
			s.reads(t, `"text":"before"`, "show", "1", "--json")
			wstest.FillDisk(t, filler)
			var done atomic.Int64
			ended := make(chan struct{})
			go func() { defer close(ended); babble(conn, &done) }()
			s.proxy.until("no space left on device", "trying again until it works")
			if policy == "block" {
				still(t, &done)
			}
			code, rest := s.proxy.stop()
			text := strings.Join(rest, "\n")
			if code != exitReach || !strings.Contains(text, "what was recorded last is lost") || !strings.Contains(text, "bytes of one session") {
				t.Errorf("exit code %d: %s", code, text)
			}
			if strings.Count(text, "no space left on device") != 1 {
				t.Errorf("the error does not stand there once: %s", text)
			}
			conn.Close()
			<-ended
			if err := os.Remove(filler); err != nil {
				t.Fatal(err)
			}
			s.reads(t, `"text":"before"`, "show", "1", "--json")
			s.reads(t, "no damage found", "check")
		})
	}
}

func TestTapeThatIsRemovedIsReportedOnce(t *testing.T) {
	s := newSetting(t)
	conn := s.dial(t, "/echo")
	echo(t, conn, "before")
	s.reads(t, `"text":"before"`, "show", "1", "--json")
	if err := os.Remove(s.tape); err != nil {
		t.Fatal(err)
	}
	echo(t, conn, "behind")
	s.proxy.until("the file was removed or replaced", "can be read while this wstape runs")
	echo(t, conn, "and on")
	s.reads(t, `"text":"and on"`, "show", "1", "--json")
	conn.Close()
	code, rest := s.proxy.stop()
	text := strings.Join(rest, "\n")
	if code != exitReach || strings.Count(text, "was removed or replaced") != 1 {
		t.Errorf("exit code %d: %s", code, text)
	}
}

func TestFullDiskAtTheStart(t *testing.T) {
	dir := wstest.SmallDisk(t, 32<<20) // of which a test that goes on when there is room again does not fill the rest
	wstest.FillDisk(t, filepath.Join(dir, "filler"))
	tape := filepath.Join(dir, "t.db")
	code, rest := start(t, "proxy", "ws://127.0.0.1:1", "--listen", "127.0.0.1:0", "--tape", tape).wait()
	if text := strings.Join(rest, "\n"); code != exitReach || !strings.Contains(text, "no space left on device; name another tape with --tape, or make room") {
		t.Errorf("exit code %d: %s", code, text)
	}
	chat, out := filepath.Join("..", "..", "examples", "cassettes", "chat.cassette.jsonl"), filepath.Join(dir, "chat.txt")
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"import", chat, "--tape", tape}, "no space left on device; make room there, or name another tape with --tape"},
		{[]string{"export", chat, "--format", "text", "--out", out}, "write " + out + ": no space left on device"},
	} {
		code, rest := start(t, c.args...).wait()
		if text := strings.Join(rest, "\n"); code != exitReach || !strings.Contains(text, c.says) {
			t.Errorf("%s: exit code %d: %s", c.args[0], code, text)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
