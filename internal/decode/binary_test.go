package decode

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/vmihailenco/msgpack/v5"
	"github.com/vmihailenco/msgpack/v5/msgpcode"

	"github.com/wstape/wstape/tape"
)

// bin is a binary message, in hex with text between quotes.
func bin(from tape.Side, spec string) *tape.Message {
	var b strings.Builder
	for i, part := range strings.Split(spec, `'`) {
		if i%2 == 1 {
			b.WriteString(part)
			continue
		}
		p, err := hex.DecodeString(strings.ReplaceAll(part, " ", ""))
		if err != nil {
			panic(err)
		}
		b.Write(p)
	}
	return says(from, tape.Binary, b.String())
}

func TestBinaryViews(t *testing.T) {
	deep := strings.Repeat
	for _, c := range []struct{ protocol, name, payload, want string }{
		{"msgpack", "all of a map", `85 a4'type' a4'join' 01 cf ffffffffffffffff c3 ca 3f8ccccd c0 cb 7ff8000000000000 a1'b' c4 02 00ff`,
			`join | {"type": "join", 1: 18446744073709551615, true: 1.1, null: "NaN", "b": h'00ff'}`},
		{"msgpack", "a ping", `81 a4'type' a4'ping'`, `ping heartbeat | {"type": "ping"}`},
		{"msgpack", "a ping with more", `82 a4'type' a4'ping' a2'id' 01`, `ping | {"type": "ping", "id": 1}`},
		{"msgpack", "times", `93 d6ff 00000000 d7ff 0000000000000001 c70cff 00000000 0000000000000002`,
			`array | [1970-01-01T00:00:00Z, 1970-01-01T00:00:01Z, 1970-01-01T00:00:02Z]`},
		{"msgpack", "a time of a wrong length", `d5ff 0000`, `map | ext(-1, h'0000')`},
		{"msgpack", "a string that is bytes", `a2 fffe`, `bytes | h'fffe'`},
		{"msgpack", "long bytes", `c4 20` + deep("ab", 32), `bytes | h'` + deep("ab", 24) + `…'`},
		{"msgpack", "empty", ``, `binary | empty | error: not MessagePack: the message ends within a value`},
		{"msgpack", "cut", `82 a4'type' a4'jo`, `binary | 82 a4 74 79 70 65 a4 6a 6f |..type.jo| 9 bytes | error: not MessagePack: the message ends within a value`},
		{"msgpack", "more behind it", `01 02`, `binary | 01 02 |..| 2 bytes | error: not MessagePack: 1 byte behind the value (byte 1)`},
		{"msgpack", "array32 of all", `dd ffffffff c0`, `binary | dd ff ff ff ff c0 |......| 6 bytes | error: not MessagePack: an array of 4294967295 elements in 1 byte (byte 5)`},
		{"msgpack", "map32 of all", `df ffffffff c0`, `binary | df ff ff ff ff c0 |......| 6 bytes | error: not MessagePack: a map of 4294967295 members in 1 byte (byte 5)`},
		{"msgpack", "str32 of all", `db ffffffff 'a'`, `binary | db ff ff ff ff 61 |.....a| 6 bytes | error: not MessagePack: the message ends within a value`},
		{"msgpack", "ext32 of all", `c9 ffffffff 01`, `binary | c9 ff ff ff ff 01 |......| 6 bytes | error: not MessagePack: the message ends within a value`},
		{"msgpack", "never used", `91 c1`, `binary | 91 c1 |..| 2 bytes | error: not MessagePack: msgpack: unknown code c1 decoding interface{} (byte 2)`},
		{"msgpack", "too deep", deep("91", 101) + "c0", `binary | ` + deep("91 ", 23) + `91… |` + deep(".", 24) + `…| 102 bytes | error: not MessagePack: more than 100 containers in one another (byte 101)`},

		{"cbor", "a text that is not UTF-8", `81 62 fffe`, `binary | 81 62 ff fe |.b..| 4 bytes | error: not CBOR: invalid UTF-8 string`},
		{"cbor", "texts", `84 67'Grüße' 64 f09f9880 63'\u0' 61 0a`, `array | ["Grüße", "😀", "\\u0", "\n"]`},
		{"cbor", "tags", `84 c0 74'2013-03-21T20:04:00Z' c1 00 c2 42 0100 d8 20 61'u'`, `array | [0("2013-03-21T20:04:00Z"), 1(0), 256, 32("u")]`},
		{"cbor", "half floats and simple values", `85 f93c00 f97e00 f7 e0 f8ff`, `array | [1.0, NaN, undefined, simple(0), simple(255)]`},
		{"cbor", "indefinite", `bf 7f 61'a' 61'b' ff 5f 4101 42 0203 ff ff`, `map | {_ (_ "a", "b"): (_ h'01', h'0203')}`},
		{"cbor", "a list as a key", `a1 8101 02`, `map | {[1]: 2}`},
		{"cbor", "bytes as a key", `a1 4101 02`, `map | {h'01': 2}`},
		{"cbor", "described", `d9d9f7 a1 64'type' 64'ping'`, `ping heartbeat | 55799({"type": "ping"})`},
		{"cbor", "empty", ``, `binary | empty | error: not CBOR: the message ends within an item`},
		{"cbor", "cut", `a1 64'ty`, `binary | a1 64 74 79 |.dty| 4 bytes | error: not CBOR: the message ends within an item`},
		{"cbor", "more behind it", `01 02`, `binary | 01 02 |..| 2 bytes | error: not CBOR: 1 bytes of extraneous data starting at index 1`},
		{"cbor", "an array of all", `9b ffffffffffffffff`, `binary | 9b ff ff ff ff ff ff ff ff |.........| 9 bytes | error: not CBOR: array length 18446744073709551615 is too large, it would cause integer overflow`},
		{"cbor", "an array of many", `9a 7fffffff 01`, `binary | 9a 7f ff ff ff 01 |......| 6 bytes | error: not CBOR: the message ends within an item`},
		{"cbor", "a time that is none", `c0 61'x'`, `binary | c0 61 78 |.ax| 3 bytes | error: not CBOR: cannot set x for time.Time: parsing time "x" as "2006-01-02T15:04:05Z07:00": cannot parse "x" as "2006"`},
		{"cbor", "a break", `ff`, `binary | ff |.| 1 byte | error: not CBOR: unexpected "break" code`},
		{"cbor", "too deep", deep("81", 101) + "f6", `binary | ` + deep("81 ", 23) + `81… |` + deep(".", 24) + `…| 102 bytes | error: not CBOR: exceeded max nested level 100`},

		{"protobuf", "kinds", `08 ac02 11 0000000000000440 1d 0000c03f 22 03'abc' 2a 02 0801 32 02 ff00 3b 0801 3c 45 ffffffff`,
			`message | 1: 300 2: 2.5 3: 1.5 4: "abc" 5: {1: 1} 6: h'ff00' 7: {1: 1} 8: 4294967295`},
		{"protobuf", "repeated", `0801 0802 0803`, `message | 1: 1 1: 2 1: 3`},
		{"protobuf", "empty", ``, `message | empty`},
		{"protobuf", "field 0", `0001`, `binary | 00 01 |..| 2 bytes | error: not Protobuf: no field begins here (byte 0)`},
		{"protobuf", "cut", `0801 1205'abc`, `binary | 08 01 12 05 61 62 63 |....abc| 7 bytes | error: not Protobuf: field 2 does not end (byte 2)`},
		{"protobuf", "a length of all", `0a ffffffffffffffffff01`, `binary | 0a ff ff ff ff ff ff ff ff ff 01 |...........| 11 bytes | error: not Protobuf: field 1 does not end (byte 0)`},
		{"protobuf", "a group that does not end", `0b 0801`, `binary | 0b 08 01 |...| 3 bytes | error: not Protobuf: field 1 does not end (byte 0)`},

		{"signalr", "results", `07 95 03 80 a1'1' 03 2a 06 94 03 80 a1'2' 02`, `Completion key="1" answer | Completion 42 | Completion`},
		{"signalr", "an unknown type", `02 91 2a`, `binary | 02 91 2a |..*| 3 bytes | error: the record has no type`},
		{"signalr", "no array", `02 81 06`, `binary | 02 81 06 |...| 3 bytes | error: not MessagePack: msgpack: invalid code=81 decoding array length (byte 1)`},
		{"signalr", "more behind the array", `03 91 06 06`, `binary | 03 91 06 06 |....| 4 bytes | error: a record goes on behind its array`},
		{"signalr", "cut", `05 91 06`, `binary | 05 91 06 |...| 3 bytes | error: the message ends within a record`},
	} {
		t.Run(c.protocol+" "+c.name, func(t *testing.T) {
			v := open(t, c.protocol, Hint{}).View(bin(tape.Server, c.payload))
			checkView(t, c.protocol, v)
			if got := strings.TrimSuffix(strings.TrimPrefix(line(tape.Server, v), "server "), "\n"); got != c.want {
				t.Errorf("\n%s\nis not\n%s", got, c.want)
			}
		})
	}
}

func TestBinaryValues(t *testing.T) {
	type object = map[string]any
	n := func(s string) json.Number { return json.Number(s) }
	for _, c := range []struct {
		protocol, payload string
		want              any
	}{
		{"msgpack", `84 01 a1'a' c4 01 ff 02 91 c0 03 a1'b' d405 07`, object{"1": "a", "ff": n("2"), "[null]": n("3"), "b": object{"ext": n("5"), "data": []byte{7}}}},
		{"cbor", `a4 01 61'a' 61'1' 61'b' 4101 02 f5 c4 82 20 03`, object{"1": "b", "01": n("2"), "true": object{"tag": n("4"), "value": []any{n("-1"), n("3")}}}},
		{"cbor", `83 3b ffffffffffffffff c2 59 0201 01` + strings.Repeat("00", 512) + ` fb 7ff0000000000000`,
			[]any{n("-18446744073709551616"), "0x1" + strings.Repeat("00", 512), "Infinity"}},
		{"cbor", `82 c0 74'2013-03-21T20:04:00Z' c1 1b 000000ffffffffff`, []any{"2013-03-21T20:04:00Z", "36812-02-20T00:36:15Z"}},
		{"protobuf", `0801 0802 1202'hi'`, object{"1": []any{n("1"), n("2")}, "2": "hi"}},
	} {
		v := open(t, c.protocol, Hint{}).View(bin(tape.Client, c.payload))
		if v.Err != nil || !reflect.DeepEqual(v.Value, c.want) {
			t.Errorf("%s %s: %#v (%v), not %#v", c.protocol, c.payload, v.Value, v.Err, c.want)
		}
	}
}

const (
	mqttConnect  = `10 0e 0004'MQTT' 04 02 003c 0002'me' `
	mqttConnect5 = `10 0f 0004'MQTT' 05 02 003c 00 0002'me' `
)

func TestMQTT(t *testing.T) {
	c := func(spec string) *tape.Message { return bin(tape.Client, spec) }
	s := func(spec string) *tape.Message { return bin(tape.Server, spec) }
	cut := c(`c000`)
	cut.Len = 10
	for _, test := range []struct {
		name     string
		messages []*tape.Message
		want     string
	}{
		{"several in one", []*tape.Message{c(mqttConnect + `8206 0001 0001'a' 01 c000`), s(`20020000 9003 0001 80`)},
			"client CONNECT+SUBSCRIBE+PINGREQ key=\"1\" | CONNECT 3.1.1 me keep-alive 60s | SUBSCRIBE 1 a qos1 | PINGREQ\n" +
				"server CONNACK+SUBACK key=\"1\" answer | CONNACK 0x00 | SUBACK 1 0x80\n"},
		{"an end and a beginning", []*tape.Message{c(mqttConnect), c(`3005 0001'a'`), c(`'hi' 30 03`), c(`0001'b' c000`)},
			"client CONNECT | CONNECT 3.1.1 me keep-alive 60s\nclient part | part of PUBLISH: 5 of 7 bytes\n" +
				"client PUBLISH+part | PUBLISH a hi | part of PUBLISH: 2 of 5 bytes\nclient PUBLISH+PINGREQ | PUBLISH b | PINGREQ\n"},
		{"only pings", []*tape.Message{c(`c000c000`), s(`d000`)}, "client PINGREQ heartbeat | PINGREQ | PINGREQ\nserver PINGRESP heartbeat | PINGRESP\n"},
		{"no CONNECT", []*tape.Message{s(`4002 0001`)}, "server binary | 40 02 00 01 |@...| 4 bytes | error: PUBACK without a CONNECT, which says the version\n"},
		{"lost, and found again", []*tape.Message{c(mqttConnect), c(`00`), c(`3003`), c(`000161`), c(`c000`), c(`3003`), c(`000161`)},
			"client CONNECT | CONNECT 3.1.1 me keep-alive 60s\nclient binary | 00 |.| 1 byte | error: no packet of MQTT begins with 0x00\n" +
				"client binary | 30 03 |0.| 2 bytes | error: a packet before could not be read, so it is not known where the next one begins\n" +
				"client binary | 00 01 61 |..a| 3 bytes | error: a packet before could not be read, so it is not known where the next one begins\n" +
				"client PINGREQ heartbeat | PINGREQ\nclient part | part of PUBLISH: 2 of 5 bytes\nclient PUBLISH | PUBLISH a\n"},
		{"not all of a message", []*tape.Message{c(mqttConnect), cut, c(`3003`)},
			"client CONNECT | CONNECT 3.1.1 me keep-alive 60s\nclient binary | c0 00 |..| 2 bytes | error: only 2 of its 10 bytes are here\n" +
				"client binary | 30 03 |0.| 2 bytes | error: a packet before could not be read, so it is not known where the next one begins\n"},
		{"text", []*tape.Message{client("hi")}, "client text | hi | error: MQTT in a text message\n"},
		{"a length that does not end", []*tape.Message{c(`30 ffffffff01`)}, "client binary | 30 ff ff ff ff 01 |0.....| 6 bytes | error: the length of PUBLISH does not end\n"},
		{"flags that mean nothing", []*tape.Message{c(`8006 0001 0001'a' 01`)}, "client binary | 80 06 00 01 00 01 61 01 |......a.| 8 bytes | error: no packet of MQTT begins with 0x80\n"},
		{"fields shorter than the packet", []*tape.Message{c(mqttConnect), s(`2003 000000`)},
			"client CONNECT | CONNECT 3.1.1 me keep-alive 60s\nserver binary | 20 03 00 00 00 | ....| 5 bytes | error: the fields of CONNACK are not what MQTT says, or not as long as it is\n"},
		{"fields longer than the packet", []*tape.Message{c(mqttConnect), s(`3003 00ff'a'`)},
			"client CONNECT | CONNECT 3.1.1 me keep-alive 60s\nserver binary | 30 03 00 ff 61 |0...a| 5 bytes | error: the fields of PUBLISH are not what MQTT says, or not as long as it is\n"},
		{"properties", []*tape.Message{
			c(mqttConnect5), s(`300f 0001'a' 09 230007 0bffff7f 0b01 '!x'`), s(`3012 0001'a' 0d 260001'k'0000 260001'k'0001'v' 'x'`),
			s(`3006 0001'a' 02 7f00`), s(`3008 0001'a' 04 0100 0101`), s(`3006 0001'a' 02 2300`), s(`3005 0001'a' 09 00`), s(`e006 82 04 1f0001'w'`),
		}, "client CONNECT | CONNECT 5.0 me keep-alive 60s\nserver PUBLISH | PUBLISH a alias 7 !x\nserver PUBLISH | PUBLISH a x\n" +
			"server binary | 30 06 00 01 61 02 7f 00 |0...a...| 8 bytes | error: the fields of PUBLISH are not what MQTT says, or not as long as it is\n" +
			"server binary | 30 08 00 01 61 04 01 00 01 01 |0...a.....| 10 bytes | error: a packet before could not be read, so it is not known where the next one begins\n" +
			"server binary | 30 06 00 01 61 02 23 00 |0...a.#.| 8 bytes | error: a packet before could not be read, so it is not known where the next one begins\n" +
			"server binary | 30 05 00 01 61 09 00 |0...a..| 7 bytes | error: a packet before could not be read, so it is not known where the next one begins\n" +
			"server DISCONNECT | DISCONNECT 0x82 w\n"},
		{"of another protocol", []*tape.Message{c(`100d 0004'MQTX' 04 02 003c 0001'm'`)}, "client binary | 10 0d 00 04 4d 51 54 58 04 02 00 3c 00 01 6d |....MQTX...<..m| 15 bytes | error: the fields of CONNECT are not what MQTT says, or not as long as it is\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := open(t, "mqtt", Hint{})
			var got strings.Builder
			for _, m := range test.messages {
				v := d.View(m)
				checkView(t, test.name, v)
				got.WriteString(line(m.From, v))
			}
			if got.String() != test.want {
				t.Errorf("\n%sis not\n%s", &got, test.want)
			}
		})
	}
}

// A packet too long to be kept is gone past, and the next one read.
func TestMQTTLongPackets(t *testing.T) {
	long := append(binary.AppendUvarint([]byte{0x30}, 10<<20), 0, 1, 'a')
	d := open(t, "mqtt", Hint{})
	d.View(bin(tape.Client, mqttConnect))
	head := d.View(says(tape.Client, tape.Binary, string(long)))
	rest := d.View(says(tape.Client, tape.Binary, strings.Repeat("x", 10<<20-3)+"\xc0\x00"))
	if head.Summary != "part of PUBLISH: 8 of 10485765 bytes" || rest.Type != "part+PINGREQ" || rest.Err != nil {
		t.Errorf("%+v, then %+v", head, rest)
	}
	whole := d.View(says(tape.Client, tape.Binary, string(long)+strings.Repeat("x", 10<<20-3)))
	if whole.Type != "PUBLISH" || whole.Err != nil {
		t.Errorf("%.300v", whole)
	}
}

func TestProtobufOf(t *testing.T) {
	p, err := ProtobufOf(t.Context(), []string{"testdata/chat.proto"}, "chat.v1.Envelope")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, s := range captured(t, "testdata/protobuf.cassette.jsonl") {
		d := p.Open(s.hint)
		for _, m := range s.messages {
			v := d.View(m)
			checkView(t, "a captured message", v)
			b.WriteString(line(m.From, v))
		}
	}
	d := p.Open(Hint{})
	for _, payload := range []string{
		`0801 9a0602'hi'`,           // a field that the schema does not know
		`0a02'hi'`,                  // none that it knows
		`1a02 0a05`,                 // a field that does not end within one
		`1a03 0a01ff`,               // a string that is not UTF-8
		`1a07 12050a01'k'0800`,      // a map's key, twice, once a number
		`08`,                        // no Protobuf
		strings.Repeat("00", 1<<18), // too long by one below
	} {
		m := bin(tape.Client, payload)
		if len(m.Payload) == 1<<18 {
			m = says(tape.Client, tape.Binary, strings.Repeat("\x08\x01", 1<<18))
		}
		v := d.View(m)
		checkView(t, payload, v)
		b.WriteString(line(m.From, v))
	}
	golden(t, "testdata/chat.golden", b.String())
}

func TestProtobufOfNames(t *testing.T) {
	files := []string{"testdata/chat.proto"}
	for message, want := range map[string]string{
		"Envelope":                  "",
		".chat.v1.Said":             "",
		"google.protobuf.Timestamp": "",
		"envelope":                  `no message is called "envelope", there are: chat.v1.Envelope, chat.v1.Join, chat.v1.Ping, chat.v1.Said, google.protobuf.Timestamp`,
	} {
		if _, err := ProtobufOf(t.Context(), files, message); fmt.Sprint(err) != want && (want != "" || err != nil) {
			t.Errorf("%s: %v", message, err)
		}
	}
	if _, err := ProtobufOf(t.Context(), []string{"testdata/none.proto"}, "A"); err == nil || !strings.Contains(err.Error(), "testdata/none.proto") {
		t.Error(err)
	}
}

func TestSniffBinary(t *testing.T) {
	c := func(spec string) *tape.Message { return bin(tape.Client, spec) }
	for _, test := range []struct {
		name     string
		messages []*tape.Message
		want     string
	}{
		{"one message is not enough", []*tape.Message{c(`81 a4'type' a4'join'`)}, Raw},
		{"two are", []*tape.Message{c(`81 a4'type' a4'join'`), c(`81 a4'type' a4'left'`)}, "msgpack"},
		{"an echo is not", []*tape.Message{c(`81 a4'type' a4'join'`), bin(tape.Server, `81 a4'type' a4'join'`)}, Raw},
		{"with text between", []*tape.Message{c(`81 a4'type' a4'join'`), client("hi"), c(`81 a4'type' a4'left'`)}, Raw},
		{"numbers only", []*tape.Message{c(`93010203`), c(`93010204`), c(`92 01 ca 00000000`)}, Raw},
		{"not at the root", []*tape.Message{c(`a4'type'`), c(`a8'anything'`)}, Raw},
		{"one broken", []*tape.Message{c(`81 a4'type' a4'join'`), c(`81 a4'type' a4'left'`), c(`81 a4'type'`)}, Raw},
		{"CBOR", []*tape.Message{c(`a1 64'type' 64'join'`), c(`a1 64'type' 64'left'`)}, "cbor"},
		{"Protobuf", []*tape.Message{c(`0801 1204'join'`), c(`0802 1204'left'`), c(`0803`)}, "protobuf"},
		{"two of Protobuf", []*tape.Message{c(`0801 1204'join'`), c(`0802 1204'left'`)}, Raw},
		{"numbers of Protobuf", []*tape.Message{c(`0801`), c(`0802`), c(`0803`), c(`0804`)}, Raw},
		{"a terminal's keys", []*tape.Message{c(`'0a'`), c(`'0b'`), c(`'0ls -l'`), c(`'0c'`)}, Raw},
		{"a CONNECT", []*tape.Message{c(mqttConnect)}, "mqtt"},
		{"half a CONNECT", []*tape.Message{c(mqttConnect[:20])}, Raw},
		{"a PUBLISH", []*tape.Message{c(`3005 0001'a' 'hi'`), c(`3005 0001'b' 'hi'`), c(`3005 0001'c' 'hi'`)}, Raw},
		{"nothing in them", []*tape.Message{c(``), c(``), c(``)}, Raw},
	} {
		if p := Sniff(Hint{}, test.messages); p.Name != test.want {
			t.Errorf("%s: taken for %s, not %s", test.name, p.Name, test.want)
		}
	}
}

func TestSniffBinaryCaptures(t *testing.T) {
	for file, want := range map[string][2]string{
		"mqtt":            {"mqtt", Raw}, // it writes the CONNECT in pieces
		"mqtt5":           {"mqtt", Raw},
		"signalr-msgpack": {"signalr", "signalr"},
		"msgpack":         {"msgpack", "msgpack"},
		"cbor":            {"cbor", "cbor"},
		"protobuf":        {"protobuf", "protobuf"},
	} {
		for _, s := range captured(t, "testdata/"+file+".cassette.jsonl") {
			if p, q := Sniff(s.hint, s.messages), Sniff(Hint{}, s.messages); p.Name != want[0] || q.Name != want[1] {
				t.Errorf("%s is taken for %s, without its handshake for %s", file, p.Name, q.Name)
			}
		}
	}
}

// Bytes of no format are not taken for one.
func TestSniffNoise(t *testing.T) {
	r := newNoise(1)
	for i := range 20000 {
		var messages []*tape.Message
		for range 2 + i%7 {
			messages = append(messages, says(tape.Client, tape.Binary, string(r.bytes(1+r.next()%40))))
		}
		if p := Sniff(Hint{}, messages); p.Name != Raw {
			t.Errorf("noise is taken for %s: %q", p.Name, script(messages))
		}
	}
}

func TestBinaryBounds(t *testing.T) {
	for _, long := range []int{maxKept, maxKept + 1, 2 << 20} {
		many := func(s string) string { return strings.Repeat(s, long/len(s)) }
		array := "\xdd" + string(binary.BigEndian.AppendUint32(nil, uint32(long-5)))
		cborArray := "\x9a" + string(binary.BigEndian.AppendUint32(nil, uint32(long-5)))
		for name, payload := range map[string]string{
			"msgpack maps":           array + many("\x80")[5:],
			"msgpack numbers":        array + many("\x01")[5:],
			"msgpack arrays of all":  many(array),
			"msgpack members":        "\xdf" + string(binary.BigEndian.AppendUint32(nil, uint32((long-5)/2))) + many("\x01\xc0"),
			"msgpack small maps":     "\xdd" + string(binary.BigEndian.AppendUint32(nil, uint32(long/3))) + many("\x81\x01\x01"),
			"msgpack deep keys":      many("\x81"),
			"cbor maps":              cborArray + many("\xa0")[5:],
			"cbor small maps":        "\x9f" + many("\xa1\x01\x01") + "\xff",
			"cbor indefinite":        many("\x9f"),
			"cbor chunks":            "\x5f" + many("\x40") + "\xff",
			"cbor bignum":            "\xc2\x5a" + string(binary.BigEndian.AppendUint32(nil, uint32(long-6))) + many("\xab")[6:],
			"cbor bignums":           "\x9f" + many("\xc2\x59\x02\x00"+strings.Repeat("\xab", 512)) + "\xff",
			"protobuf empty":         many("\x0a\x00"),
			"protobuf numbers":       many("\x08\x01"),
			"protobuf messages":      many("\x0a\x02\x08\x01"),
			"protobuf nested":        nested(long),
			"protobuf groups":        strings.Repeat("\x0b", 9000) + strings.Repeat("\x0c", 9000),
			"mqtt filters":           string(append(binary.AppendUvarint([]byte{0x82}, uint64(long)), many("\x00\x01a\x01")...)),
			"mqtt pings":             many("\xc0\x00"),
			"mqtt connects":          many(string(bin(tape.Client, mqttConnect).Payload)),
			"signalr array":          string(binary.AppendUvarint(nil, uint64(long))) + array + many("\xc0")[5:],
			"signalr pings":          many("\x02\x91\x06"),
			"msgpack invalid string": "\xdb" + string(binary.BigEndian.AppendUint32(nil, uint32(long-5))) + many("\xff")[5:],
		} {
			protocol, _, _ := strings.Cut(name, " ")
			decoders := []Decoder{open(t, protocol, Hint{})}
			if protocol == "protobuf" {
				p, err := ProtobufOf(t.Context(), []string{"testdata/chat.proto"}, "Envelope")
				if err != nil {
					t.Fatal(err)
				}
				decoders = append(decoders, p.Open(Hint{}))
			}
			for _, d := range decoders {
				var v View
				n := allocated(func() { v = d.View(says(tape.Client, tape.Binary, payload)) })
				if limit := uint64(len(payload))*100 + 64<<20; n > limit {
					t.Errorf("%s of %d: %d bytes allocated", name, len(payload), n)
				}
				checkLine(t, name, v)
			}
		}
	}
}

// nested is a field in a field in a field, as far as there is room.
func nested(long int) string {
	var p []byte
	for len(p) < long-20 && len(p) < 4<<10 {
		p = append(binary.AppendUvarint([]byte{0x0a}, uint64(len(p))), p...)
	}
	return string(p)
}

// checkView looks whether a view holds what views may hold.
func checkView(t testing.TB, what string, v View) {
	t.Helper()
	checkLine(t, what, v)
	if v.Value == nil {
		return
	}
	if err := checkValue(v.Value); err != nil {
		t.Errorf("%s: %v in %#v", what, err, v.Value)
	}
}

func checkValue(v any) error {
	switch v := v.(type) {
	case nil, bool, string, []byte:
	case json.Number:
		if !json.Valid([]byte(v)) {
			return fmt.Errorf("number %q", v)
		}
	case []any:
		for _, e := range v {
			if err := checkValue(e); err != nil {
				return err
			}
		}
	case map[string]any:
		for _, e := range v {
			if err := checkValue(e); err != nil {
				return err
			}
		}
	default:
		return fmt.Errorf("a %T", v)
	}
	return nil
}

// FuzzBinaryViews reads sessions of a binary protocol, cut into messages at every
// 0x1c. What a library reads, its view reads; and MQTT says the same however its
// stream is cut.
func FuzzBinaryViews(f *testing.F) {
	for _, file := range []string{"msgpack", "cbor", "protobuf", "mqtt", "mqtt5", "signalr-msgpack"} {
		for _, s := range captured(f, "testdata/"+file+".cassette.jsonl") {
			var stream [][]byte
			for _, m := range s.messages {
				if m.From == tape.Client {
					stream = append(stream, m.Payload)
				}
			}
			for which := range uint8(6) {
				f.Add(which, bytes.Join(stream, []byte{0x1c}))
			}
		}
	}
	withSchema, err := ProtobufOf(f.Context(), []string{"testdata/chat.proto"}, "Envelope")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, which uint8, stream []byte) {
		names := []string{"msgpack", "cbor", "protobuf", "mqtt", "signalr", "schema"}
		name := names[int(which)%len(names)]
		d := withSchema.Open(Hint{})
		if name != "schema" {
			d = open(t, name, Hint{})
		}
		var whole []byte
		var cut []string
		failed := false
		for _, p := range bytes.Split(stream, []byte{0x1c}) {
			v := d.View(says(tape.Client, tape.Binary, string(p)))
			checkView(t, name, v)
			whole = append(whole, p...)
			failed = failed || v.Err != nil
			for one := range strings.SplitSeq(v.Type, "+") {
				if one != "part" && (len(cut) == 0 || cut[len(cut)-1] != one) {
					cut = append(cut, one)
				}
			}
			switch {
			case name == "cbor" && v.Err != nil && cbor.Unmarshal(p, new(any)) == nil:
				t.Errorf("%x is CBOR, but %v", p, v.Err)
			case name == "msgpack" && v.Err != nil && len(p) <= maxDepth && readsWhole(p):
				t.Errorf("%x is MessagePack, but %v", p, v.Err)
			}
		}
		if name != "mqtt" || failed || len(strings.Join(cut, "+")+"+part") > maxType {
			return
		}
		if v := open(t, "mqtt", Hint{}).View(says(tape.Client, tape.Binary, string(whole))); len(whole) > 0 && v.Err != nil {
			t.Errorf("%x is read in pieces, but in one %v", stream, v.Err)
		} else if got := strings.TrimSuffix(v.Type, "+part"); got != "part" && got != strings.Join(cut, "+") {
			t.Errorf("%x is %v in pieces, but in one %v", stream, cut, v.Type)
		}
	})
}

// readsWhole asks the library, but not about what may be long: it makes room for as
// much as a message says.
func readsWhole(p []byte) bool {
	if slices.ContainsFunc(p, func(c byte) bool {
		return c == msgpcode.Bin32 || c == msgpcode.Ext32 || c >= msgpcode.Str32 && c <= msgpcode.Map32
	}) {
		return false
	}
	r := bytes.NewReader(p)
	_, err := msgpack.NewDecoder(r).DecodeInterface()
	return err == nil && r.Len() == 0
}

// noise is a small generator of bytes that are the same in every run.
type noise uint64

func newNoise(seed uint64) *noise { n := noise(seed); return &n }

func (n *noise) next() int {
	*n = *n*6364136223846793005 + 1442695040888963407
	return int(*n >> 33)
}

func (n *noise) bytes(count int) []byte {
	p := make([]byte, count)
	for i := range p {
		p[i] = byte(n.next())
	}
	return p
}
