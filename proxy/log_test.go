package proxy_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/wstape/wstape/internal/wstest"
	"github.com/wstape/wstape/tape"
)

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestEachLineAboutASessionHasItsNumber follows one session that ends well and one
// that is refused, and looks for what must not be in a log.
func TestEachLineAboutASessionHasItsNumber(t *testing.T) {
	var log logBuffer
	r := start(t, func(s *setup) { s.Log = slog.New(slog.NewJSONHandler(&log, nil)) })
	client := r.dial()
	client.WriteString(wstest.Request("/room?token=sesame", "Authorization: Bearer sesame"))
	server := r.answered(client)
	client.Send(wstest.CloseFrame(1000, "done").From(tape.Client))
	server.Receive()
	server.Send(wstest.CloseFrame(1000, ""))
	client.Receive()
	bye(client, server)
	r.ended(1)

	r.forbid("/secret?token=sesame")
	r.ended(2)
	r.cut() // after which everything has been told

	type line struct {
		Msg, Client, Path, Ending, From, Reason, Why string
		Session, Code, Status                        int
	}
	var got []line
	for text := range strings.Lines(log.String()) {
		var l line
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatal(err)
		}
		if l.Client == "" {
			t.Errorf("whose? %s", text)
		}
		l.Client = ""
		got = append(got, l)
	}
	want := []line{
		{Msg: "session opened", Session: 1, Path: "/room"},
		{Msg: "session ended", Session: 1, Path: "/room", Ending: "close", From: "client", Code: 1000, Reason: "done"},
		{Msg: "session refused", Session: 2, Path: "/secret", Status: 403, Why: "the upstream refused: 403 Forbidden"},
	}
	if len(got) != len(want) {
		t.Fatalf("%d lines:\n%s", len(got), log.String())
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("line %d is %+v, want %+v", i, got[i], want[i])
		}
	}
	if strings.Contains(log.String(), "sesame") {
		t.Errorf("a secret is in the log:\n%s", log.String())
	}
}
