package app_test

import (
	"math/rand/v2"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	app "github.com/wstape/wstape/examples/testing/go"
	"github.com/wstape/wstape/replay"
)

// TestClient runs the client against the recorded server. Its nonce is another
// one than on the tape, and so the server's answer has it too.
func TestClient(t *testing.T) {
	server := replay.NewServer(t, "../../cassettes/login.cassette.jsonl")
	work(t, server.URL, "open the door", "feed the cat", "close the door")
}

// TestServer runs the recorded client against the server. The recording is of
// the server that this one replaces, and its prices are random.
func TestServer(t *testing.T) {
	ticker := &app.Ticker{Pause: time.Millisecond, Price: func(string) float64 { return 40000 * rand.Float64() }}
	server := httptest.NewServer(ticker)
	defer server.Close()
	address := "ws" + strings.TrimPrefix(server.URL, "http")
	replay.Drive(t, "../../cassettes/ticker.cassette.jsonl", address, replay.WithIgnore("$.price"))
}

// work has tasks done.
func work(t *testing.T, url string, tasks ...string) {
	t.Helper()
	client, err := app.Login(t.Context(), url, "ann")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		if err := client.Do(task); err != nil {
			t.Fatal(err)
		}
	}
	if err := client.Logout(); err != nil {
		t.Fatal(err)
	}
}
