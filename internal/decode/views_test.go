package decode

import (
	"strings"
	"testing"

	"github.com/wstape/wstape/tape"
)

// What the captured sessions do not show; each case is one session.
func TestViews(t *testing.T) {
	binary := func(from tape.Side, p string) *tape.Message { return says(from, tape.Binary, p) }
	for _, c := range []struct {
		protocol string
		messages []*tape.Message
		want     string // lines as in the golden files
	}{
		{Raw, []*tape.Message{client("two\n  lines\t"), client(""), client("\xff\x00"), binary(tape.Server, strings.Repeat("A\x00é~", 9))}, `
			client text | two lines 
			client text | 
			client text | ff 00 |..| 2 bytes
			server binary | 41 00 c3 a9 7e 41 00 c3 a9 7e 41 00 c3 a9 7e 41 00 c3 a9 7e 41 00 c3 a9… |A...~A...~A...~A...~A...…| 45 bytes`},
		{"json", []*tape.Message{
			client(` {"type" : "say", "text":"a  b\n"} `), client(`[1, 2.50 ,{ }]`), client(`"x"`), client(`{"type":"ping"}`),
			client(`{"event":"ping","n":1}`), client(`{"a":1}{"b":2}`), client(`hello`), client(``), binary(tape.Client, `{"op":"x"}`),
		}, `
			client say | {"type":"say","text":"a b\n"}
			client array | [1,2.50,{}]
			client string | "x"
			client ping heartbeat | {"type":"ping"}
			client ping | {"event":"ping","n":1}
			client text | {"a":1}{"b":2} | error: not JSON: invalid character '{' after top-level value (byte 8)
			client text | hello | error: not JSON: invalid character 'h' looking for beginning of value (byte 1)
			client text |  | error: not JSON: unexpected end of JSON input (byte 0)
			client x | {"op":"x"}`},
		{"socket.io", []*tape.Message{
			client("421234"), client("42{}"), client("42[]"), client("42[{}]"), client("47"), client("9"), client(""), client("4"), client("hello"),
			client("45[\"no count\"]"), client("4599999999999999999999-[]"), binary(tape.Server, "?"),
			client(`451-["a",{"_placeholder":true,"num":0}]`), binary(tape.Server, "not his"), client("3"), binary(tape.Client, "\x01"), binary(tape.Client, "\x02"),
			client("41/admin,"), client("40/admin?token=1,{}"), client("1"), client("6"), client(`42[7,"numbered"]`),
		}, `
			client text | 421234 | error: EVENT has no data
			client text | 42{} | error: the data of EVENT is not an array, but a JSON object
			client text | 42[] | error: an event without a name
			client text | 42[{}] | error: an event without a name
			client text | 47 | error: not a Socket.IO packet: its type is not a digit from 0 to 6
			client text | 9 | error: not an Engine.IO packet: it begins with "9", not with a digit from 0 to 6
			client text |  | error: not an Engine.IO packet: it begins with "", not with a digit from 0 to 6
			client text | 4 | error: not a Socket.IO packet: its type is not a digit from 0 to 6
			client text | hello | error: not an Engine.IO packet: it begins with "h", not with a digit from 0 to 6
			client text | 45["no count"] | error: the number of attachments is missing
			client text | 4599999999999999999999-[] | error: the number of attachments is missing
			server binary | 3f |?| 1 byte | error: a binary message that no packet has announced
			client BINARY_EVENT | BINARY_EVENT a {"_placeholder":true,"num":0}
			server binary | 6e 6f 74 20 68 69 73 |not his| 7 bytes | error: a binary message that no packet has announced
			client pong heartbeat | pong
			client attachment | attachment 1 of 1 of BINARY_EVENT: 1 byte
			client binary | 02 |.| 1 byte | error: a binary message that no packet has announced
			client DISCONNECT | DISCONNECT /admin
			client CONNECT | CONNECT /admin?token=1 {}
			client close | close
			client noop | noop
			client EVENT | EVENT 7 "numbered"`},
		{"signalr", []*tape.Message{
			client(`{"protocol":"json","version":1}` + "\x1e" + `{"type":6}` + "\x1e"), server(`{"error":"no"}` + "\x1e"),
			client(`{"type":6}`), client(`{"type":6}` + "\x1e\x1e"), client(`{"type":77}` + "\x1e"), client(`{"type":"1"}` + "\x1e"), client(`{}` + "\x1e"),
			client(`{"type":1}` + "\x1e"), client(""), client("\x1e"), server(`{"type":8,"sequenceId":3}` + "\x1e"),
			client(`{"type":6}` + "\x1e" + `{"type":6}` + "\x1e"), binary(tape.Client, "\xff\xff\xff\xff\xff\xff\xff"), binary(tape.Client, "\x05\x91"),
		}, `
			client Handshake+Ping | Handshake {"protocol":"json","version":1} | Ping
			server Handshake | Handshake {"error":"no"}
			client text | {"type":6} | error: the last record is not ended by 0x1e
			client text | {"type":6}` + "\x1e\x1e" + ` | error: not JSON: unexpected end of JSON input (byte 0)
			client text | {"type":77}` + "\x1e" + ` | error: no hub message has the type 77
			client text | {"type":"1"}` + "\x1e" + ` | error: the record has no type
			client text | {}` + "\x1e" + ` | error: the record has no type
			client text | {"type":1}` + "\x1e" + ` | error: Invocation without a target
			client text |  | error: an empty message
			client text | ` + "\x1e" + ` | error: not JSON: unexpected end of JSON input (byte 0)
			server Ack | Ack 3
			client Ping heartbeat | Ping | Ping
			client binary | ff ff ff ff ff ff ff |.......| 7 bytes | error: the message ends within a record
			client binary | 05 91 |..| 2 bytes | error: the message ends within a record`},
		{"stomp", []*tape.Message{
			client("CONNECT\r\naccept-version:1.2\r\nhost:h\r\n\r\n\x00\r\n"), server("\nMESSAGE\na\\cb:c\\nd\ndestination:/q\ndestination:/second\n\nhi\x00\nRECEIPT\nreceipt-id:7\n\n\x00"),
			client("SEND\ndestination:/q\n\nno end"), client("SEND\ndestination:/q\n"), client("SEND\nno colon\n\n\x00"), client("HELLO\n\n\x00"), client("hello"), client(""),
			client("SEND\ncontent-length:3\n\nab\x00"), client("SEND\ncontent-length:-1\n\nab\x00"), client("SEND\ncontent-length:x\n\nab\x00"), client("SEND\ncontent-length:2\n\na\x00\x00"),
			client("\n"), client("\r\n"), client("SEND\ncontent-type:application/json\n\n{\x00"),
		}, `
			client CONNECT | CONNECT h 1.2
			server MESSAGE+RECEIPT key="7" answer | MESSAGE /q hi | RECEIPT 7
			client text | SEND destination:/q no end | error: the body of SEND does not end with NUL
			client text | SEND destination:/q  | error: the headers of SEND do not end
			client text | SEND no colon ` + "\x00" + ` | error: a header of SEND has no colon: "no colon"
			client text | HELLO ` + "\x00" + ` | error: no command of STOMP is called "HELLO"
			client text | hello | error: not a STOMP frame: no line
			client text |  | error: not a STOMP frame: no line
			client text | SEND content-length:3 ab` + "\x00" + ` | error: the body of SEND is not the 3 bytes that it says, or its NUL is missing
			client text | SEND content-length:-1 ab` + "\x00" + ` | error: SEND says content-length: "-1"
			client text | SEND content-length:x ab` + "\x00" + ` | error: SEND says content-length: "x"
			client SEND | SEND a` + "\x00" + `
			client heartbeat heartbeat | heartbeat
			client heartbeat heartbeat | heartbeat
			client SEND | SEND {`},
		{"graphql", []*tape.Message{
			client(`{"type":"subscribe","payload":{"query":"{a}"}}`), client(`{"type":"nothing"}`), client(`{"id":"1"}`), client(`[]`), client(`{"type":"sub`),
			client(`{"type":"stop","id":7}`), server(`{"type":"start_ack","id":"7"}`), client(`{"type":"subscribe","id":"1","payload":{"extensions":{"persistedQuery":1}}}`),
		}, `
			client text | {"type":"subscribe","payload":{"query":"{a}"}} | error: subscribe has no id
			client text | {"type":"nothing"} | error: no message of GraphQL has the type "nothing"
			client text | {"id":"1"} | error: the message has no type
			client text | [] | error: not an object, but a JSON array
			client text | {"type":"sub | error: not JSON: unexpected end of JSON input (byte 12)
			client stop key="7" | stop
			server start_ack key="7" answer | start_ack
			client subscribe key="1" | subscribe {"extensions":{"persistedQuery":1}}`},
		{"phoenix", []*tape.Message{
			client(`["1","2","t","e"]`), client(`["1","2","t","e",{},{}]`), client(`["1","2",3,"e",{}]`), client(`{"topic":"t","event":"e"}`), client(`7`), client(`["1",2,"t","e",{}]`),
			binary(tape.Client, ""), binary(tape.Client, "\x03"), binary(tape.Client, "\x00\x01\x01"), binary(tape.Client, "\x00\x01\x01\x01\xff1"), server(`[null,"5","t","phx_error",{}]`),
		}, `
			client text | ["1","2","t","e"] | error: not [join_ref, ref, topic, event, payload]
			client text | ["1","2","t","e",{},{}] | error: not [join_ref, ref, topic, event, payload]
			client text | ["1","2",3,"e",{}] | error: the message has no topic or no event
			client text | {"topic":"t","event":"e"} | error: the message has no payload
			client text | 7 | error: neither an array nor an object
			client e key="2" | t e {}
			client binary | empty | error: no kind of Phoenix's binary messages
			client binary | 03 |.| 1 byte | error: no kind of Phoenix's binary messages
			client binary | 00 01 01 |...| 3 bytes | error: a binary message that is too short
			client binary | 00 01 01 01 ff 31 |.....1| 6 bytes | error: a binary message that ends in its ref
			server phx_error | t phx_error {}`},
		{"actioncable", []*tape.Message{
			server(`{"type":"disconnect","reason":"unauthorized","reconnect":false}`), client(`{"command":"subscribe"}`), client(`{"command":"dance","identifier":"x"}`), server(`{"type":"dance"}`),
			server(`{"identifier":"x"}`), client(`{"command":"message","identifier":"{\"channel\":\"A\"}","data":"{\"action\":\"x\"}"}`), server(`{"identifier":"plain","message":"hi"}`), server(`[]`),
		}, `
			server disconnect | disconnect "unauthorized"
			client text | {"command":"subscribe"} | error: subscribe has no identifier
			client text | {"command":"dance","identifier":"x"} | error: a client of Action Cable says no "dance"
			server text | {"type":"dance"} | error: a server of Action Cable says no "dance"
			server text | {"identifier":"x"} | error: neither a command nor a message of a channel
			client message | message A {"action":"x"}
			server message | message plain "hi"
			server text | [] | error: not an object, but a JSON array`},
		{"wamp", []*tape.Message{
			client(`[]`), client(`{}`), client(`[7]`), client(`[48,1]`), client(`[48,"1",{},"p"]`), client(`["48",1,{},"p"]`), client(`[48,1,{},"p"]` + "\x18" + `[48,2,{},"q"]` + "\x18"), client(`[8,48,3,{},"uri"`),
			client(`[49,3,{}]`), client("[48,1.5,{},\"p\"]"),
		}, `
			client text | [] | error: an empty array
			client text | {} | error: not an array, but a JSON object
			client text | [7] | error: no message of WAMP has the code 7
			client text | [48,1] | error: CALL has 2 elements, it takes 4
			client text | [48,"1",{},"p"] | error: CALL has "1" in place of a request's number
			client text | ["48",1,{},"p"] | error: no message of WAMP has the code "48"
			client CALL key="1" | CALL p | CALL q
			client text | [8,48,3,{},"uri" | error: not JSON: unexpected end of JSON input (byte 16)
			client CANCEL key="3" | CANCEL
			client text | [48,1.5,{},"p"] | error: CALL has 1.5 in place of a request's number`},
		{"jsonrpc", []*tape.Message{
			client(`{"jsonrpc":"1.0","id":1,"method":"m"}`), client(`{"id":1,"method":"m"}`), client(`[]`), client(`[{"jsonrpc":"2.0","method":"m"},7]`), client(`{"jsonrpc":"2.0"}`), client(`{"jsonrpc":"2.0","id":1}`),
			client(`{"jsonrpc":"2.0","id":null,"method":"m"}`), server(`{"jsonrpc":"2.0","id":1,"result":null}`), client(`"x"`),
		}, `
			client text | {"jsonrpc":"1.0","id":1,"method":"m"} | error: not JSON-RPC 2.0: "jsonrpc":"2.0" is missing
			client text | {"id":1,"method":"m"} | error: not JSON-RPC 2.0: "jsonrpc":"2.0" is missing
			client text | [] | error: an empty batch
			client text | [{"jsonrpc":"2.0","method":"m"},7] | error: not JSON-RPC 2.0: "jsonrpc":"2.0" is missing
			client text | {"jsonrpc":"2.0"} | error: neither a method nor the id of one
			client text | {"jsonrpc":"2.0","id":1} | error: an answer with neither a result nor an error
			client request | m
			server result key="1" answer | result null
			client text | "x" | error: not JSON-RPC 2.0: "jsonrpc":"2.0" is missing`},
	} {
		t.Run(c.protocol, func(t *testing.T) {
			d := open(t, c.protocol, Hint{})
			want := strings.Split(strings.TrimPrefix(c.want, "\n"), "\n")
			if len(want) != len(c.messages) {
				t.Fatalf("%d lines for %d messages", len(want), len(c.messages))
			}
			for i, m := range c.messages {
				got := line(m.From, d.View(m))
				if want := strings.TrimLeft(want[i], "\t") + "\n"; got != want {
					t.Errorf("message %d is\n%s\tnot\n%s", i, got, want)
				}
			}
		})
	}
}

func TestMessagesThatAreNotWhole(t *testing.T) {
	cut := client(`{"a":1`)
	cut.Len = 100
	inflated := client(`{"a":1}`)
	inflated.Error = "corrupt"
	partial := client(`{"a":`)
	partial.Partial = true
	for _, c := range []struct {
		m    *tape.Message
		want string
	}{
		{cut, "only 6 of its 100 bytes are here"},
		{inflated, "the message could not be inflated: corrupt"},
		{partial, "the message never ended"},
	} {
		if v := open(t, "json", Hint{}).View(c.m); v.Err == nil || v.Err.Error() != c.want || v.Protocol != "json" || v.Type != "text" {
			t.Errorf("%+v, want the error %q", v, c.want)
		}
		if v := open(t, Auto, Hint{}).View(c.m); v.Protocol != Raw {
			t.Errorf("sniffed from a message that is not whole: %+v", v)
		}
	}
}

// Every beginning of a captured message is either a message of its own or an error.
func TestTruncatedMessages(t *testing.T) {
	for _, file := range cassettes(t) {
		for _, s := range captured(t, file+".cassette.jsonl") {
			p := Sniff(s.hint, s.messages)
			for i, m := range s.messages {
				d := p.Open(s.hint)
				for _, earlier := range s.messages[:i] {
					d.View(earlier)
				}
				if d.View(m).Err != nil {
					continue
				}
				for n := 0; n < len(m.Payload); n += 1 + n/64 {
					begun := says(m.From, m.Op, string(m.Payload[:n]))
					v := p.Open(s.hint).View(begun)
					if v.Err == nil && m.Op == tape.Text && strings.HasSuffix(string(m.Payload), "}") && p.Name != "socket.io" {
						t.Errorf("%s: the first %d bytes of %q are %+v", file, n, m.Payload, v)
					}
				}
			}
		}
	}
}
