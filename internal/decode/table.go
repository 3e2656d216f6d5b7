package decode

import (
	"fmt"
	"strings"

	"github.com/wstape/wstape/tape"
)

// How sure a Sniff is. Binary formats that nothing announces stay below general:
// the text formats before them fail on the first wrong byte, they do not.
const (
	named      = 100 // the subprotocol says so
	addressed  = 95  // the target can hardly be anything else
	opened     = 80  // the first messages are the protocol's own handshake
	reads      = 70  // every message reads as one of the protocol's
	general    = 60  // a format that many protocols share
	structured = 55  // messages that differ read as maps or arrays, and hold text
	unsure     = 50  // less than this is not taken
)

const (
	sniffMessages = 8       // a session is decided after that many
	sniffBytes    = 1 << 20 // and they hold no more than that in all
)

// Names that are not in the table: Auto decides over the first messages, Raw
// reads nothing. An empty name is Auto.
const (
	Auto = "auto"
	Raw  = "raw"
)

// Protocols is the table, the particular before the general: of two protocols
// that are equally sure the earlier is taken.
func Protocols() []Protocol {
	return []Protocol{
		entry("socket.io", "Socket.IO on Engine.IO", sniffSocketIO, openSocketIO),
		entry("signalr", "SignalR hubs, JSON and MessagePack", sniffSignalR, openSignalR),
		entry("stomp", "STOMP 1.0 to 1.2", sniffSTOMP, openSTOMP),
		entry("graphql", "GraphQL: graphql-transport-ws and graphql-ws", sniffGraphQL, openGraphQL),
		entry("mqtt", "MQTT 3.1, 3.1.1 and 5.0", sniffMQTT, openMQTT),
		entry("phoenix", "Phoenix channels", sniffPhoenix, openPhoenix),
		entry("actioncable", "Action Cable", sniffActionCable, openActionCable),
		entry("wamp", "WAMP in JSON", sniffWAMP, openWAMP),
		entry("jsonrpc", "JSON-RPC 2.0", sniffJSONRPC, openJSONRPC),
		entry("json", "any JSON", sniffJSON, openJSON),
		entry("msgpack", "MessagePack", sniffMsgPack, openMsgPack),
		entry("cbor", "CBOR", sniffCBOR, openCBOR),
		entry("protobuf", "Protobuf without its schema", sniffProtobuf, openProtobuf),
		entry(Raw, "text, and hex with ASCII", sniffRaw, openRaw),
	}
}

// entry makes an entry of the table from a reader of messages.
func entry(name, about string, sniff func(Hint, []*tape.Message) int, open func(Hint) reader) Protocol {
	return Protocol{
		Name: name, About: about, Sniff: sniff,
		Open: func(h Hint) Decoder { return &session{name, open(h)} },
	}
}

// Open returns a decoder for a session by a name of the table, or one that
// sniffs ([Auto]).
func Open(name string, h Hint) (Decoder, error) {
	if name == "" || name == Auto {
		return &auto{hint: h, protocols: Protocols(), room: sniffBytes}, nil
	}
	names := []string{Auto}
	for _, p := range Protocols() {
		if p.Name == name {
			return p.Open(h), nil
		}
		names = append(names, p.Name)
	}
	return nil, fmt.Errorf("no view is called %q, there are %s", name, strings.Join(names, ", "))
}

// sniff returns the protocol of a table that a session most likely speaks, after
// its handshake and some first messages, which may be none, and how sure that is;
// the last, raw one if nothing is likely enough.
func sniff(table []Protocol, h Hint, first []*tape.Message) (Protocol, int) {
	first = telling(first)
	best, sure := table[len(table)-1], 0
	for _, p := range table {
		if n := p.Sniff(h, first); n >= unsure && n > sure {
			best, sure = p, n
		}
	}
	return best, sure
}

// telling returns the messages that can be sniffed: whole, not too long, and not
// too many.
func telling(first []*tape.Message) []*tape.Message {
	var out []*tape.Message
	room := sniffBytes
	for _, m := range first {
		if !sniffable(m) || len(m.Payload) > room {
			continue
		}
		room -= len(m.Payload)
		if out = append(out, m); len(out) == sniffMessages {
			break
		}
	}
	return out
}

func sniffable(m *tape.Message) bool {
	return (m.Op == tape.Text || m.Op == tape.Binary) && unreadable(m) == nil
}

// opening returns the first message of a side, or nil.
func opening(first []*tape.Message, from tape.Side) *tape.Message {
	for _, m := range first {
		if m.From == from {
			return m
		}
	}
	return nil
}

// A reader reads the messages of one session; what it cannot read is an error.
type reader func(m *tape.Message) (View, error)

// session is the decoder around a reader: it falls back to the raw view.
type session struct {
	protocol string
	read     reader
}

func (s *session) View(m *tape.Message) View {
	v, err := s.read(m)
	if why := unreadable(m); err != nil && why != nil || m.Error != "" {
		err = why
	}
	if err != nil {
		v = rawView(m)
		v.Err = err
	}
	v.Protocol = s.protocol
	v.Answer = v.Answer && v.Key != ""
	v.Type, v.Summary = fold(v.Type, maxType), fold(v.Summary, maxSummary)
	return v
}

// unreadable says why a message's payload is not all of what was sent.
func unreadable(m *tape.Message) error {
	switch {
	case m.Error != "":
		return fmt.Errorf("the message could not be inflated: %s", m.Error)
	case m.Partial:
		return fmt.Errorf("the message never ended")
	case uint64(len(m.Payload)) < m.Len:
		return fmt.Errorf("only %d of its %d bytes are here", len(m.Payload), m.Len)
	}
	return nil
}
