//go:build wrong

package app_test

import (
	"testing"

	"github.com/wstape/wstape/replay"
)

// TestWrong fails: this is not what was recorded.
func TestWrong(t *testing.T) {
	server := replay.NewServer(t, "../../cassettes/login.cassette.jsonl")
	work(t, server.URL, "open the window", "feed the cat", "close the door")
}
