package bridge

import (
	"context"
	"strings"
	"testing"

	"github.com/wstape/wstape/record"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// cassette is a tape of a cassette's sessions.
func cassette(t testing.TB, text string) *record.Memory {
	t.Helper()
	m := record.NewMemory()
	_, err := record.ReadCassette(context.Background(), strings.NewReader(text), m)
	must(t, err)
	return m
}

// all lists a tape's sessions.
func all(t testing.TB, m *record.Memory) (out []Session) {
	t.Helper()
	for e, err := range record.Sessions(context.Background(), m) {
		must(t, err)
		out = append(out, Session{m, e.N})
	}
	return out
}

// oneSession is one session's first line.
const oneSession = `{"wstape":1,"session":{"id":"0198a0b1-c2d3-7e4f-8a9b-0c1d2e3f4a5b","started":"2026-11-22T10:11:12.345678901Z","url":"/chat?room=1",` +
	`"upstream":"ws://192.0.2.1:8765/chat?room=1","client":"127.0.0.1:50514"}}
`
