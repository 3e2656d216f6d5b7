// Package demo is the small real server that `wstape demo` puts behind the
// proxy, and the clients that talk to it. Both use gorilla/websocket, so what
// the demo shows is not wstape's codec talking to itself.
package demo

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// tick is how often the ticker pushes a price.
const tick = 400 * time.Millisecond

// Server has a chat room (/chat?room=NAME), a price ticker that pushes by
// itself (/ticker) and an echo (/echo).
type Server struct {
	mux      *http.ServeMux
	upgrader websocket.Upgrader

	mu    sync.Mutex
	rooms map[string]map[*websocket.Conn]*sync.Mutex // members, and the lock for writing to each
}

// NewServer returns the demo's handler.
func NewServer() *Server {
	s := &Server{
		mux: http.NewServeMux(), rooms: map[string]map[*websocket.Conn]*sync.Mutex{},
		upgrader: websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }},
	}
	s.mux.HandleFunc("/chat", s.socket(s.chat))
	s.mux.HandleFunc("/ticker", s.socket(s.ticker))
	s.mux.HandleFunc("/echo", s.socket(s.echo))
	s.mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "wstape demo: connect a WebSocket to /chat?room=1, /ticker or /echo")
	})
	return s
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

func (s *Server) socket(f func(*websocket.Conn, *http.Request)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		conn, err := s.upgrader.Upgrade(w, r, nil)
		if err != nil {
			return // Upgrade has answered
		}
		defer conn.Close()
		f(conn, r)
	}
}

func (s *Server) echo(conn *websocket.Conn, _ *http.Request) {
	for {
		kind, message, err := conn.ReadMessage()
		if err != nil || conn.WriteMessage(kind, message) != nil {
			return
		}
	}
}

// chat passes what one member says on to all.
func (s *Server) chat(conn *websocket.Conn, r *http.Request) {
	room := r.URL.Query().Get("room")
	s.enter(room, conn)
	defer s.leave(room, conn)
	for {
		_, message, err := conn.ReadMessage()
		if err != nil {
			return
		}
		s.say(room, message)
	}
}

func (s *Server) enter(room string, conn *websocket.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rooms[room] == nil {
		s.rooms[room] = map[*websocket.Conn]*sync.Mutex{}
	}
	s.rooms[room][conn] = &sync.Mutex{}
}

func (s *Server) leave(room string, conn *websocket.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.rooms[room], conn)
}

func (s *Server) say(room string, message []byte) {
	s.mu.Lock()
	members := map[*websocket.Conn]*sync.Mutex{}
	for conn, lock := range s.rooms[room] {
		members[conn] = lock
	}
	s.mu.Unlock()
	for conn, lock := range members {
		lock.Lock()
		_ = conn.WriteMessage(websocket.TextMessage, message) // a member that is gone finds out by itself
		lock.Unlock()
	}
}

// ticker pushes prices of what the client subscribed to, or of BTC.
func (s *Server) ticker(conn *websocket.Conn, _ *http.Request) {
	symbols := make(chan string, 1)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		for {
			_, message, err := conn.ReadMessage()
			if err != nil {
				return
			}
			var subscribe struct{ Symbol string }
			if json.Unmarshal(message, &subscribe) == nil && subscribe.Symbol != "" {
				select {
				case symbols <- strings.ToUpper(subscribe.Symbol):
				default:
				}
			}
		}
	}()
	defer func() { _ = conn.Close(); <-gone }()
	symbol := "BTC"
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for n := 0; ; n++ {
		select {
		case <-gone:
			return
		case symbol = <-symbols:
		case at := <-ticker.C:
			price := 64000 + 250*math.Sin(float64(n)/3)
			message := fmt.Sprintf(`{"type":"price","symbol":%q,"price":%.2f,"seq":%d,"at":%d}`, symbol, price, n, at.UnixMilli())
			if conn.WriteMessage(websocket.TextMessage, []byte(message)) != nil {
				return
			}
		}
	}
}
