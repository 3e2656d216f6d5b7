package wstest

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"time"

	"github.com/gorilla/websocket"
)

// Server is a listener whose connections a test answers by hand.
type Server struct {
	Addr   string
	ln     listener
	secure *tls.Config
	tb     TB
}

type listener interface {
	net.Listener
	SetDeadline(time.Time) error
}

// Listen listens on a free loopback port, under TLS if a configuration is given.
func Listen(tb TB, secure *tls.Config) *Server {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("listen: %v", err)
	}
	tb.Cleanup(func() { _ = ln.Close() })
	return &Server{Addr: ln.Addr().String(), ln: ln.(listener), secure: secure, tb: tb}
}

// ListenUnix listens on a unix socket in a directory of its own, whose path is
// short enough for a socket.
func ListenUnix(tb TB) *Server {
	tb.Helper()
	dir, err := os.MkdirTemp("", "ws")
	if err != nil {
		tb.Fatalf("make a directory: %v", err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	ln, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		tb.Fatalf("listen: %v", err)
	}
	tb.Cleanup(func() { _ = ln.Close() })
	return &Server{Addr: ln.Addr().String(), ln: ln.(listener), tb: tb}
}

// Close stops listening.
func (s *Server) Close() { _ = s.ln.Close() }

// Accept waits for the next connection.
func (s *Server) Accept() *Peer {
	s.tb.Helper()
	_ = s.ln.SetDeadline(time.Now().Add(Patience))
	conn, err := s.ln.Accept()
	if err == nil && s.secure != nil {
		conn = tls.Server(conn, s.secure)
		_ = conn.SetDeadline(time.Now().Add(Patience))
		err = conn.(*tls.Conn).Handshake()
	}
	if err != nil {
		s.tb.Fatalf("accept: %v", err)
	}
	return NewPeer(s.tb, conn)
}

// AcceptBad waits for a connection whose TLS handshake fails.
func (s *Server) AcceptBad() {
	s.tb.Helper()
	_ = s.ln.SetDeadline(time.Now().Add(Patience))
	conn, err := s.ln.Accept()
	if err != nil {
		s.tb.Fatalf("accept: %v", err)
	}
	if err := tls.Server(conn, s.secure).Handshake(); err == nil {
		s.tb.Fatalf("the TLS handshake did not fail")
	}
	_ = conn.Close()
}

// Echo serves WebSockets that send every message back, and returns its address.
func Echo(tb TB) (addr string) {
	upgrader := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }, EnableCompression: true}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return // Upgrade has answered
		}
		defer conn.Close()
		for {
			kind, message, err := conn.ReadMessage()
			if err != nil || conn.WriteMessage(kind, message) != nil {
				return
			}
		}
	}))
	tb.Cleanup(server.Close)
	return server.Listener.Addr().String()
}
