package demo

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// say is how often a client says something.
const say = 700 * time.Millisecond

// Talk runs the demo's clients against a server until ctx is done or the server
// closes: two people in a chat room, one who watches a price, one who has
// binary messages echoed.
func Talk(ctx context.Context, url string) error {
	lines := []string{"hello there", "does this thing record?", "every frame of it", "even ünïcödé ✓", "and pings"}
	clients := []struct {
		path  string
		speak func(n int) (kind int, message []byte)
	}{
		{"/chat?room=1", person("ann", lines, 0)},
		{"/chat?room=1", person("bob", lines, 1)},
		{"/ticker", func(n int) (int, []byte) {
			if n == 0 {
				return websocket.TextMessage, []byte(`{"type":"subscribe","symbol":"eth"}`)
			}
			return websocket.PingMessage, []byte(fmt.Sprint(n))
		}},
		{"/echo", func(n int) (int, []byte) {
			return websocket.BinaryMessage, []byte{0xca, 0xfe, byte(n >> 8), byte(n)}
		}},
	}
	errs := make([]error, len(clients))
	var running sync.WaitGroup
	for i, c := range clients {
		running.Add(1)
		go func() {
			defer running.Done()
			errs[i] = talk(ctx, url+c.path, c.speak)
		}()
	}
	running.Wait()
	return errors.Join(errs...)
}

func person(name string, lines []string, offset int) func(n int) (int, []byte) {
	return func(n int) (int, []byte) {
		text := fmt.Sprintf(`{"type":"say","from":%q,"id":%d,"text":%q}`, name, n, lines[(2*n+offset)%len(lines)])
		return websocket.TextMessage, []byte(text)
	}
}

// talk speaks now and then and reads what comes, until ctx is done or the
// server closes.
func talk(ctx context.Context, url string, speak func(n int) (int, []byte)) error {
	conn, _, err := websocket.DefaultDialer.DialContext(ctx, url, nil)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("connect to %s: %w", url, err)
	}
	defer conn.Close()
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		for {
			if _, _, err := conn.ReadMessage(); err != nil {
				return
			}
		}
	}()
	defer func() { _ = conn.Close(); <-closed }()
	ticker := time.NewTicker(say)
	defer ticker.Stop()
	for n := 0; ; n++ {
		kind, message := speak(n)
		if err := conn.WriteMessage(kind, message); err != nil {
			return nil // closed under us: the reader has seen how
		}
		select {
		case <-ctx.Done():
			bye := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "bye")
			_ = conn.WriteControl(websocket.CloseMessage, bye, time.Now().Add(time.Second))
			select {
			case <-closed:
			case <-time.After(time.Second):
			}
			return nil
		case <-closed:
			return nil
		case <-ticker.C:
		}
	}
}
