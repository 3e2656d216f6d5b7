//go:build unix

package main

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
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

// switching accepts a handshake (RFC 6455 section 4.2.2).
func switching(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
		base64.StdEncoding.EncodeToString(sum[:]) + "\r\n\r\n"
}

const chunk = 64 << 10

// echo answers every frame, a chunk at a time, with the same frame unmasked; at
// talkPath with every byte of a message flipped (see flip).
func echo(addr string) error {
	return accept(addr, func(conn net.Conn) {
		defer conn.Close()
		r := bufio.NewReaderSize(conn, 512)
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		if _, err := io.WriteString(conn, switching(req.Header.Get("Sec-WebSocket-Key"))); err != nil {
			return
		}
		early, _ := r.Peek(r.Buffered())
		walker := wire.NewWalker(tape.Client, false)
		var parts []tape.Part
		var out []byte
		var flips uint32 // in each byte of the current frame
		answer := func(in []byte) error {
			parts, out = walker.Walk(parts[:0], in), out[:0]
			for i := range parts {
				p := &parts[i]
				if p.Begin {
					out = wire.AppendHeader(out, p.Head, p.Len, nil)
					flips = 0
					if _, _, op := wire.Split(p.Head); req.URL.Path == talkPath && !op.Control() {
						flips = flip * 0x01010101
					}
				}
				out = wire.AppendMasked(out, p.Payload, p.Mask^flips, p.MaskOffset)
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
