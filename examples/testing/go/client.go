// Package app holds a client and a server that are tested with recordings.
package app

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"

	"github.com/gorilla/websocket"
)

// Client talks to the job server of ../../cassettes/programs/login-server.py.
type Client struct {
	conn  *websocket.Conn
	token string
	count int
}

type message struct {
	Type  string `json:"type"`
	User  string `json:"user,omitempty"`
	Nonce string `json:"nonce,omitempty"`
	Token string `json:"token,omitempty"`
	Count int    `json:"count,omitempty"`
	Task  string `json:"task,omitempty"`
}

// Login connects to ws://HOST:PORT and gets a token.
func Login(ctx context.Context, url, user string) (*Client, error) {
	conn, _, err := websocket.DefaultDialer.DialContext(ctx, url+"/login", nil)
	if err != nil {
		return nil, err
	}
	c := &Client{conn: conn}
	nonce := make([]byte, 8)
	rand.Read(nonce) // never fails
	welcome, err := c.ask(message{Type: "login", User: user, Nonce: hex.EncodeToString(nonce)})
	if err != nil {
		conn.Close()
		return nil, err
	}
	c.token = welcome.Token
	return c, nil
}

// Do has the server do something.
func (c *Client) Do(task string) error {
	c.count++
	done, err := c.ask(message{Type: "do", Token: c.token, Count: c.count, Task: task})
	if err == nil && done.Type != "done" {
		err = fmt.Errorf("%s: the server answered %q", task, done.Type)
	}
	return err
}

// Logout says goodbye and waits until the server has closed the connection.
func (c *Client) Logout() error {
	defer c.conn.Close()
	c.count++
	_, err := c.ask(message{Type: "logout", Token: c.token, Count: c.count})
	if websocket.IsCloseError(err, 4001) {
		return nil
	}
	return fmt.Errorf("logout: want the server to close with 4001, got %v", err)
}

func (c *Client) ask(question message) (answer message, err error) {
	if err = c.conn.WriteJSON(question); err == nil {
		err = c.conn.ReadJSON(&answer)
	}
	return answer, err
}
