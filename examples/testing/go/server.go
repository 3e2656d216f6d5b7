package app

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/gorilla/websocket"
)

// Ticker is the server of ../../cassettes/programs/ticker-server.py, written
// anew: it tells five prices of what a client subscribes to.
type Ticker struct {
	Pause time.Duration // between prices
	Price func(symbol string) float64
}

// ServeHTTP serves one client.
func (t *Ticker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var upgrader websocket.Upgrader
	conn, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer conn.Close()
	for {
		_, text, err := conn.ReadMessage()
		if err != nil {
			return
		}
		var order struct{ Subscribe, Unsubscribe string }
		switch err := json.Unmarshal(text, &order); {
		case err == nil && order.Subscribe != "":
			err = t.tell(conn, order.Subscribe)
			if err != nil {
				return
			}
		case err == nil && order.Unsubscribe != "":
			_ = conn.WriteJSON(map[string]string{"unsubscribed": order.Unsubscribe})
		default:
			_ = conn.WriteJSON(map[string]string{"error": "no such order"})
		}
	}
}

func (t *Ticker) tell(conn *websocket.Conn, symbol string) error {
	if err := conn.WriteJSON(map[string]string{"subscribed": symbol}); err != nil {
		return err
	}
	for seq := 1; seq <= 5; seq++ {
		time.Sleep(t.Pause)
		price := map[string]any{"symbol": symbol, "seq": seq, "price": t.Price(symbol)}
		if err := conn.WriteJSON(price); err != nil {
			return err
		}
	}
	return nil
}
