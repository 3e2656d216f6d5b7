package replay_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/gorilla/websocket"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/replay"
)

// A client under test asks for prices of the server that was recorded.
func ExampleNewServer() {
	t := &exampleT{} // in a test, its *testing.T
	defer t.end()

	server := replay.NewServer(t, "../examples/cassettes/ticker.cassette.jsonl")
	prices, err := fetchPrices(server.URL+"/ticker", "BTC", 5)
	fmt.Println(prices, err)
	// Output: [48764.36 37168.4 45008.23 45459.16 36812.51] <nil>
}

// A client that does something else than was recorded fails the test.
func ExampleNewServer_mismatch() {
	t := &exampleT{} // in a test, its *testing.T
	defer t.end()

	server := replay.NewServer(t, "../examples/cassettes/ticker.cassette.jsonl")
	_, err := fetchPrices(server.URL+"/ticker", "ETH", 5)
	fmt.Println(err)
	report := server.Close()
	fmt.Println(report.Outcomes[0].Mismatches[0].Diff)
	// Output:
	// websocket: close 4000: changed message at step 1
	// [{$.subscribe "BTC" "ETH"}]
	// the test failed
}

// A server under test is asked what the recorded client asked. Its prices are
// others than on the tape.
func ExampleDrive() {
	t := &exampleT{} // in a test, its *testing.T
	defer t.end()

	server := httptest.NewServer(http.HandlerFunc(serveTicker))
	defer server.Close()
	url := "ws" + strings.TrimPrefix(server.URL, "http")
	replay.Drive(t, "../examples/cassettes/ticker.cassette.jsonl", url, replay.WithIgnore("$.price"))
	// Output:
}

// A recording may be written in the test, or be on a tape: any reader will do.
func ExampleWithReader() {
	t := &exampleT{} // in a test, its *testing.T
	defer t.end()

	recording := record.NewMemory()
	_, err := record.ReadCassette(context.Background(), strings.NewReader(`
		{"wstape":1,"session":{"url":"/ticker"}}
		{"from":"client","json":{"subscribe":"ETH"}}
		{"from":"server","json":{"symbol":"ETH","price":1234.5}}
		{"from":"client","json":{"unsubscribe":"ETH"}}
		{"from":"server","json":{"unsubscribed":"ETH"}}
	`), recording)
	if err != nil {
		t.Fatalf("%v", err)
	}
	server := replay.NewServer(t, "ETH", replay.WithReader(recording))
	fmt.Println(fetchPrices(server.URL+"/ticker", "ETH", 1))
	// Output: [1234.5] <nil>
}

// fetchPrices is a client under test.
func fetchPrices(url, symbol string, count int) (prices []float64, err error) {
	conn, _, err := websocket.DefaultDialer.Dial(url, nil)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.WriteJSON(map[string]string{"subscribe": symbol}); err != nil {
		return nil, err
	}
	for len(prices) < count {
		var m struct{ Price float64 }
		if err := conn.ReadJSON(&m); err != nil {
			return nil, err
		}
		if m.Price > 0 {
			prices = append(prices, m.Price)
		}
	}
	if err := conn.WriteJSON(map[string]string{"unsubscribe": symbol}); err != nil {
		return nil, err
	}
	if _, _, err := conn.ReadMessage(); err != nil { // the answer to that
		return nil, err
	}
	return prices, conn.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""))
}

// serveTicker is a server under test.
func serveTicker(w http.ResponseWriter, r *http.Request) {
	conn, err := (&websocket.Upgrader{}).Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer conn.Close()
	for {
		var order struct{ Subscribe, Unsubscribe string }
		if err := conn.ReadJSON(&order); err != nil {
			return
		}
		if order.Unsubscribe != "" {
			_ = conn.WriteJSON(map[string]string{"unsubscribed": order.Unsubscribe})
			continue
		}
		_ = conn.WriteJSON(map[string]string{"subscribed": order.Subscribe})
		for seq := range 5 {
			_ = conn.WriteJSON(map[string]any{"symbol": order.Subscribe, "seq": seq + 1, "price": 100 + seq})
		}
	}
}

// exampleT stands in for a *testing.T, which examples do not have.
type exampleT struct {
	failed   bool
	cleanups []func()
}

func (t *exampleT) Helper()               {}
func (t *exampleT) Cleanup(f func())      { t.cleanups = append(t.cleanups, f) }
func (t *exampleT) Errorf(string, ...any) { t.failed = true }

func (t *exampleT) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// end does what the end of a test does.
func (t *exampleT) end() {
	for _, f := range t.cleanups {
		f()
	}
	if t.failed {
		fmt.Println("the test failed")
	}
}
