//go:build unix

package main

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"

	"github.com/gorilla/websocket"

	"github.com/wstape/wstape/internal/wire"
	"github.com/wstape/wstape/tape"
)

// accept serves each connection on a goroutine.
func accept(addr string, serve func(net.Conn)) error {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	for {
		conn, err := ln.Accept()
		if err != nil {
			return err
		}
		go serve(conn)
	}
}

const switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"

const request = "GET /bench HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"

const chunk = 64 << 10

// echo answers every frame with the same frame, unmasked, a chunk at a time.
func echo(addr string) error {
	return accept(addr, func(conn net.Conn) {
		defer conn.Close()
		r := bufio.NewReaderSize(conn, 512)
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		if _, err := io.WriteString(conn, switching); err != nil {
			return
		}
		early, _ := r.Peek(r.Buffered())
		walker := wire.NewWalker(tape.Client, false)
		var parts []tape.Part
		var out []byte
		answer := func(in []byte) error {
			parts, out = walker.Walk(parts[:0], in), out[:0]
			for i := range parts {
				p := &parts[i]
				if p.Begin {
					out = wire.AppendHeader(out, p.Head, p.Len, nil)
				}
				out = wire.AppendMasked(out, p.Payload, p.Mask, p.MaskOffset)
			}
			_, err := conn.Write(out)
			return err
		}
		if len(early) > 0 && answer(early) != nil {
			return
		}
		wait := newWaiter(conn)
		for {
			err := wait.read(answer)
			if err != nil {
				return
			}
		}
	})
}

// relay copies both ways and looks at nothing; between TCP connections io.Copy
// splices.
func relay(addr, upstream string) error {
	return accept(addr, func(client net.Conn) {
		defer client.Close()
		server, err := net.Dial("tcp", upstream)
		if err != nil {
			return
		}
		defer server.Close()
		var up sync.WaitGroup
		up.Add(1)
		go func() {
			defer up.Done()
			_, _ = io.Copy(server, client)
			_ = server.(*net.TCPConn).CloseWrite()
		}()
		_, _ = io.Copy(client, server)
		_ = client.(*net.TCPConn).CloseWrite()
		up.Wait()
	})
}

// pump is how a proxy is usually written with gorilla/websocket.
func pump(addr, upstream string) error {
	upgrader := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	server := &http.Server{Addr: addr, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		up, _, err := websocket.DefaultDialer.Dial("ws://"+upstream+r.URL.Path, nil)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer up.Close()
		down, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer down.Close()
		one := func(from, to *websocket.Conn) {
			for {
				kind, message, err := from.ReadMessage()
				if err != nil || to.WriteMessage(kind, message) != nil {
					_, _ = from.Close(), to.Close()
					return
				}
			}
		}
		var both sync.WaitGroup
		both.Add(1)
		go func() { defer both.Done(); one(down, up) }()
		one(up, down)
		both.Wait()
	})}
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
