package decode

import (
	"strings"
	"testing"

	"github.com/wstape/wstape/tape"
)

// The recordings of real libraries are taken for what they are, also without the
// handshake's help where their first messages tell.
func TestSniffCaptures(t *testing.T) {
	for _, c := range []struct{ file, want, withoutHint string }{
		{"testdata/socketio", "socket.io", "socket.io"},
		{"testdata/engineio", "socket.io", Raw}, // its open packet was sent by polling
		{"testdata/signalr-json", "signalr", "signalr"},
		{"testdata/stomp", "stomp", "stomp"},
		{"testdata/graphql-transport-ws", "graphql", "graphql"},
		{"testdata/graphql-ws", "graphql", "graphql"},
		{"testdata/phoenix", "phoenix", "phoenix"},
		{"testdata/actioncable", "actioncable", "actioncable"},
		{"testdata/wamp", "wamp", "wamp"},
		{"testdata/jsonrpc", "jsonrpc", "jsonrpc"},
		{"../../examples/cassettes/socketio", "socket.io", "socket.io"},
		{"../../examples/cassettes/graphql-ws", "graphql", "graphql"},
		{"../../examples/cassettes/jsonrpc", "jsonrpc", "jsonrpc"},
		{"../../examples/cassettes/chat", "json", "json"},
		{"../../examples/cassettes/ticker", "json", "json"},
		{"../../examples/cassettes/login", "json", "json"},
		{"../../examples/cassettes/realtime", "json", "json"},
	} {
		t.Run(c.file, func(t *testing.T) {
			for i, s := range captured(t, c.file+".cassette.jsonl") {
				if p := Sniff(s.hint, s.messages); p.Name != c.want {
					t.Errorf("session %d is taken for %s", i, p.Name)
				}
				if p := Sniff(Hint{}, s.messages); p.Name != c.withoutHint {
					t.Errorf("session %d without its handshake is taken for %s", i, p.Name)
				}
			}
		})
	}
}

// What looks like a protocol and is none, and the other way round.
func TestSniffConfusions(t *testing.T) {
	call := `{"jsonrpc":"2.0","id":1,"method":"m"}`
	for _, c := range []struct {
		name     string
		hint     Hint
		messages []*tape.Message
		want     string
	}{
		{"nothing known", Hint{}, nil, Raw},
		{"a subprotocol of its own", Hint{Subprotocol: "chat.v1"}, nil, Raw},
		{"subprotocol before content", Hint{Subprotocol: "graphql-transport-ws"}, []*tape.Message{client(call)}, "graphql"},
		{"subprotocol before target", Hint{Subprotocol: "v12.stomp", Target: "/socket.io/?EIO=4&transport=websocket"}, nil, "stomp"},
		{"target before content", Hint{Target: "/socket.io/?EIO=4&transport=websocket"}, []*tape.Message{client(call)}, "socket.io"},
		{"Socket.IO under another path", Hint{Target: "/live?EIO=4&transport=websocket"}, nil, "socket.io"},
		{"Socket.IO's open packet", Hint{}, []*tape.Message{server(`0{"sid":"a","upgrades":[],"pingInterval":1,"pingTimeout":1}`)}, "socket.io"},
		{"a page about Socket.IO", Hint{Target: "/docs?about=/socket.io/"}, nil, Raw},
		{"a number that begins like an event", Hint{}, []*tape.Message{client("42"), server("43")}, Raw},
		{"an event without the handshake", Hint{}, []*tape.Message{client(`42["a"]`)}, Raw},
		{"numbers and JSON", Hint{}, []*tape.Message{client("42"), server(`{"a":1}`)}, "json"},
		{"JSON-RPC is more than JSON", Hint{}, []*tape.Message{client(call), server(`{"jsonrpc":"2.0","id":1,"result":0}`)}, "jsonrpc"},
		{"a batch", Hint{}, []*tape.Message{client("[" + call + "]")}, "jsonrpc"},
		{"some JSON-RPC", Hint{}, []*tape.Message{client(call), server(`{"id":1,"result":0}`)}, "json"},
		{"id and method of another protocol", Hint{}, []*tape.Message{client(`{"id":1,"method":"Page.enable"}`)}, "json"},
		{"JSON-RPC with a word between", Hint{}, []*tape.Message{client(call), client("ping")}, "json"},
		{"chat with a type", Hint{}, []*tape.Message{client(`{"type":"subscribe","id":"1","payload":{}}`), server(`{"type":"next","id":"1"}`)}, "json"},
		{"chat with a type that GraphQL has, to another answer", Hint{}, []*tape.Message{client(`{"type":"connection_init"}`), server(`{"type":"hello"}`)}, "json"},
		{"a server that inits", Hint{}, []*tape.Message{server(`{"type":"connection_init"}`)}, "json"},
		{"topics and events of others", Hint{}, []*tape.Message{client(`{"topic":"t","event":"say","payload":{},"ref":1}`)}, "json"},
		{"five elements of others", Hint{}, []*tape.Message{client(`["1","2","t","say",{}]`)}, "json"},
		{"Phoenix at its usual place", Hint{Target: "/live/websocket?_csrf_token=x&vsn=2.0.0"}, nil, "phoenix"},
		{"a folder called websocket", Hint{Target: "/websocket"}, []*tape.Message{client("hi")}, Raw},
		{"a welcome of others", Hint{}, []*tape.Message{server(`{"type":"welcome"}`), client(`{"command":"say","identifier":"x"}`)}, "json"},
		{"only a welcome", Hint{}, []*tape.Message{server(`{"type":"welcome"}`)}, "json"},
		{"an array with a code", Hint{}, []*tape.Message{client(`[1,"realm",{}]`)}, "json"},
		{"an array of one call", Hint{}, []*tape.Message{client(`[48,1,{},"a"]`)}, "json"},
		{"a handshake without its end", Hint{}, []*tape.Message{client(`{"protocol":"json","version":1}`)}, "json"},
		{"text about STOMP", Hint{}, []*tape.Message{client("CONNECT\nto me")}, Raw},
		{"a frame of STOMP that a server sends", Hint{}, []*tape.Message{server("CONNECTED\n\n\x00"), client("SEND\n\n\x00")}, Raw},
		{"mostly words", Hint{}, []*tape.Message{client("hello"), client("you"), client(`{"a":1}`)}, Raw},
		{"JSON in binary messages", Hint{}, []*tape.Message{says(tape.Client, tape.Binary, `{"a":1}`)}, "json"},
		{"a word in quotes", Hint{}, []*tape.Message{client(`"hello"`)}, Raw},
		{"control frames do not count", Hint{}, []*tape.Message{says(tape.Client, tape.Ping, "x"), client(`{"a":1}`)}, "json"},
		{"a bad target", Hint{Target: "/%zz"}, nil, Raw},
	} {
		t.Run(c.name, func(t *testing.T) {
			if p := Sniff(c.hint, c.messages); p.Name != c.want {
				t.Errorf("taken for %s", p.Name)
			}
		})
	}
}

func TestSniffingDecidesAgain(t *testing.T) {
	for _, c := range []struct {
		name     string
		messages []*tape.Message
		want     string // the protocol of each message
	}{
		{"more is known", []*tape.Message{client("hello"), client(`{"a":1}`), client(`[]`)}, "raw json json"},
		{"it was no JSON-RPC", []*tape.Message{client(`{"jsonrpc":"2.0","method":"m"}`), client(`{"a":1}`)}, "jsonrpc json"},
		{"control frames", []*tape.Message{client(`{"a":1}`), says(tape.Client, tape.Ping, "")}, "json json"},
		{"attachments of an event before the decision", []*tape.Message{
			client(`451-["a",{"_placeholder":true,"num":0}]`), server(`0{"sid":"a","pingInterval":1}`), says(tape.Client, tape.Binary, "x"),
		}, "raw socket.io socket.io"},
		{"too long to sniff", []*tape.Message{client("[" + strings.Repeat(" ", sniffBytes) + "]"), client(`{}`)}, "raw json"},
		{"late", append(words9("hello"), client(`{}`), client(`{}`), client(`{}`), client(`{}`), client(`{}`), client(`{}`), client(`{}`), client(`{}`), client(`{}`)),
			strings.TrimSpace(strings.Repeat("raw ", 18))},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := open(t, Auto, Hint{})
			var got []string
			for _, m := range c.messages {
				v := d.View(m)
				got = append(got, v.Protocol)
				if v.Protocol == "socket.io" && v.Err != nil {
					t.Errorf("%q: %v", m.Payload, v.Err)
				}
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("taken for %v", got)
			}
		})
	}
}

func words9(word string) (all []*tape.Message) {
	for range 9 {
		all = append(all, client(word))
	}
	return all
}

func TestTable(t *testing.T) {
	seen := map[string]bool{Auto: true, "": true}
	table := Protocols()
	for _, p := range table {
		if seen[p.Name] || p.About == "" {
			t.Errorf("%q is there twice, or says nothing about itself", p.Name)
		}
		seen[p.Name] = true
		if v := open(t, p.Name, Hint{}).View(client("\x07 what?")); v.Protocol != p.Name || v.Err == nil != (p.Name == Raw) {
			t.Errorf("%s reads nonsense as %+v", p.Name, v)
		}
	}
	if table[len(table)-1].Name != Raw {
		t.Error("raw is not the last one")
	}
	_, err := Open("smoke", Hint{})
	if err == nil || !strings.Contains(err.Error(), `"smoke", there are auto, socket.io, `) {
		t.Error(err)
	}
}
