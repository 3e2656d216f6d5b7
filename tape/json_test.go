package tape_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/wstape/wstape/tape"
)

const us = time.Microsecond

// The lines of `show --json` are a contract. Each is written like this and read
// back to the same thing.
func TestLineJSON(t *testing.T) {
	received := content(tape.Text, "hello")
	for _, c := range []struct {
		name, json string
		line       *tape.Line
	}{
		{
			"text", `{"seq":1,"t":0.000412,"from":"client","op":"text","len":5,"text":"hello","fate":"passed"}`,
			message(tape.Message{Seq: 1, T: 412 * us, Content: content(tape.Text, "hello")}),
		},
		{
			"edited", `{"seq":2,"t":0.000733,"from":"server","op":"text","len":5,"text":"HELLO","fate":"edited","by":"script:uppercase.js","received":{"op":"text","len":5,"text":"hello"}}`,
			message(tape.Message{
				Seq: 2, T: 733 * us, From: tape.Server, Content: content(tape.Text, "HELLO"), Fate: tape.Edited,
				By: []string{"script:uppercase.js"}, Received: &received,
			}),
		},
		{
			"injected", `{"seq":3,"t":0.001100,"from":"server","op":"binary","len":4,"b64":"AAEC/w==","fate":"injected","by":"script:x.js"}`,
			message(tape.Message{
				Seq: 3, T: 1100 * us, From: tape.Server, Content: content(tape.Binary, "\x00\x01\x02\xff"), Fate: tape.Injected, By: []string{"script:x.js"},
			}),
		},
		{
			"ping", `{"seq":4,"t":0.002000,"from":"client","op":"ping","len":0,"b64":"","fate":"passed"}`,
			message(tape.Message{Seq: 4, T: 2000 * us, Content: content(tape.Ping, "")}),
		},
		{
			"close", `{"seq":5,"t":0.003000,"from":"client","op":"close","len":2,"code":1000,"reason":"","fate":"passed"}`,
			message(tape.Message{Seq: 5, T: 3000 * us, Content: content(tape.Close, "\x03\xe8")}),
		},
		{
			"close with a reason", `{"seq":5,"t":0.003000,"from":"server","op":"close","len":5,"code":1001,"reason":"bye","fate":"passed"}`,
			message(tape.Message{Seq: 5, T: 3000 * us, From: tape.Server, Content: content(tape.Close, "\x03\xe9bye")}),
		},
		{
			"close without a code", `{"seq":5,"t":0.003000,"from":"client","op":"close","len":0,"reason":"","fate":"passed"}`,
			message(tape.Message{Seq: 5, T: 3000 * us, Content: content(tape.Close, "")}),
		},
		{
			"close with a code that must not be sent", `{"seq":5,"t":0.003000,"from":"client","op":"close","len":2,"code":1005,"reason":"","fate":"passed"}`,
			message(tape.Message{Seq: 5, T: 3000 * us, Content: content(tape.Close, "\x03\xed")}),
		},
		{
			"close with code zero", `{"seq":5,"t":0.003000,"from":"client","op":"close","len":2,"code":0,"reason":"","fate":"passed"}`,
			message(tape.Message{Seq: 5, T: 3000 * us, Content: content(tape.Close, "\x00\x00")}),
		},
		{
			"close of one byte", `{"seq":5,"t":0.003000,"from":"client","op":"close","len":1,"b64":"eA==","fate":"passed","violation":"one byte"}`,
			message(tape.Message{Seq: 5, T: 3000 * us, Content: content(tape.Close, "x"), Violation: "one byte"}),
		},
		{
			"gap", `{"gap":{"frames":12,"bytes":3400,"why":"tape buffer full (record.buffer)"},"t":0.004000}`,
			&tape.Line{T: 4000 * us, Gap: &tape.Gap{Frames: 12, Bytes: 3400, Why: "tape buffer full (record.buffer)"}},
		},
		{
			"note", `{"note":"script uppercase.js reloaded","by":"script:uppercase.js","t":0.005000}`,
			&tape.Line{T: 5000 * us, Note: &tape.Note{Text: "script uppercase.js reloaded", By: "script:uppercase.js"}},
		},
		{
			"text that is not UTF-8", `{"seq":1,"t":0.000000,"from":"client","op":"text","len":1,"b64":"/w==","utf8":false,"fate":"passed","violation":"v"}`,
			message(tape.Message{Seq: 1, Content: content(tape.Text, "\xff"), Violation: "v"}),
		},
		{
			"fragments", `{"seq":1,"t":0.000000,"from":"client","op":"text","len":7,"text":"<a> & b","fate":"passed","frames":[4,3]}`,
			message(tape.Message{Seq: 1, Content: content(tape.Text, "<a> & b"), Frames: []uint64{4, 3}}),
		},
		{
			"compressed", `{"seq":1,"t":0.000000,"from":"client","op":"text","len":1,"text":"a","fate":"passed","wire":{"rsv1":true,"len":33}}`,
			message(tape.Message{Seq: 1, Content: content(tape.Text, "a"), RSV1: true, WireLen: 33}),
		},
		{
			"not inflated", `{"seq":1,"t":0.000000,"from":"client","op":"text","len":1,"b64":"YQ==","fate":"passed","wire":{"rsv1":true,"len":1},"error":"inflate: …"}`,
			message(tape.Message{Seq: 1, Content: content(tape.Text, "a"), RSV1: true, WireLen: 1, Error: "inflate: …"}),
		},
		{
			"several deciders", `{"seq":1,"t":0.000000,"from":"client","op":"text","len":1,"text":"a","fate":"dropped","by":"operator","by_all":["script:x.js","operator"]}`,
			message(tape.Message{Seq: 1, Content: content(tape.Text, "a"), Fate: tape.Dropped, By: []string{"script:x.js", "operator"}}),
		},
		{
			"edited by the last of several", `{"seq":1,"t":0.000000,"from":"client","op":"text","len":1,"text":"b","fate":"edited","by":"script:y.js","by_all":["script:x.js","script:y.js"],"received":{"op":"text","len":1,"text":"a"}}`,
			message(tape.Message{
				Seq: 1, Content: content(tape.Text, "b"), Fate: tape.Edited, By: []string{"script:x.js", "script:y.js"}, Received: came(tape.Text, "a"),
			}),
		},
		{
			"edited from binary to text", `{"seq":1,"t":0.000000,"from":"client","op":"text","len":1,"text":"b","fate":"edited","by":"s","received":{"op":"binary","len":2,"b64":"AP8="}}`,
			message(tape.Message{Seq: 1, Content: content(tape.Text, "b"), Fate: tape.Edited, By: []string{"s"}, Received: came(tape.Binary, "\x00\xff")}),
		},
		{
			"edited from what is not UTF-8", `{"seq":1,"t":0.000000,"from":"client","op":"binary","len":0,"b64":"","fate":"edited","by":"s","received":{"op":"text","len":1,"b64":"/w==","utf8":false}}`,
			message(tape.Message{Seq: 1, Content: content(tape.Binary, ""), Fate: tape.Edited, By: []string{"s"}, Received: came(tape.Text, "\xff")}),
		},
		{
			"edited to what is not UTF-8", `{"seq":1,"t":0.000000,"from":"client","op":"text","len":1,"b64":"/w==","utf8":false,"fate":"edited","by":"s","received":{"op":"text","len":0,"text":""},"violation":"v"}`,
			message(tape.Message{Seq: 1, Content: content(tape.Text, "\xff"), Fate: tape.Edited, By: []string{"s"}, Received: came(tape.Text, ""), Violation: "v"}),
		},
		{
			"edited from what could not be inflated", `{"seq":1,"t":0.000000,"from":"client","op":"text","len":1,"text":"b","fate":"edited","by":"s","received":{"op":"text","len":1,"b64":"YQ==","error":"inflate: …"}}`,
			message(tape.Message{Seq: 1, Content: content(tape.Text, "b"), Fate: tape.Edited, By: []string{"s"}, Received: came(tape.Text, "a"), ReceivedError: "inflate: …"}),
		},
		{
			"edited ping", `{"seq":1,"t":0.000000,"from":"client","op":"ping","len":1,"b64":"Yg==","fate":"edited","by":"s","received":{"op":"ping","len":1,"b64":"YQ=="}}`,
			message(tape.Message{Seq: 1, Content: content(tape.Ping, "b"), Fate: tape.Edited, By: []string{"s"}, Received: came(tape.Ping, "a")}),
		},
		{
			"edited close", `{"seq":1,"t":0.000000,"from":"client","op":"close","len":2,"code":1001,"reason":"","fate":"edited","by":"s","received":{"op":"close","len":5,"code":1000,"reason":"bye"}}`,
			message(tape.Message{Seq: 1, Content: content(tape.Close, "\x03\xe9"), Fate: tape.Edited, By: []string{"s"}, Received: came(tape.Close, "\x03\xe8bye")}),
		},
		{
			"edited, and what came in is not known", `{"seq":1,"t":0.000000,"from":"client","op":"text","len":1,"text":"b","fate":"edited","by":"s"}`,
			message(tape.Message{Seq: 1, Content: content(tape.Text, "b"), Fate: tape.Edited, By: []string{"s"}}),
		},
		{
			"dropped by nobody that is known", `{"seq":1,"t":0.000000,"from":"client","op":"binary","len":1,"b64":"/w==","fate":"dropped"}`,
			message(tape.Message{Seq: 1, Content: content(tape.Binary, "\xff"), Fate: tape.Dropped}),
		},
		{
			"partial and redacted", `{"seq":1,"t":0.000000,"from":"client","op":"binary","len":1,"b64":"YQ==","fate":"passed","redacted":true,"partial":true}`,
			message(tape.Message{Seq: 1, Content: content(tape.Binary, "a"), Redacted: true, Partial: true}),
		},
		{
			"reserved opcode", `{"seq":1,"t":0.000000,"from":"client","op":"reserved(3)","len":0,"b64":"","fate":"passed"}`,
			message(tape.Message{Seq: 1, Content: content(3, "")}),
		},
		{
			"stray continuation", `{"seq":1,"t":0.000000,"from":"client","op":"continuation","len":1,"b64":"YQ==","fate":"passed"}`,
			message(tape.Message{Seq: 1, Content: content(tape.Continuation, "a")}),
		},
		{
			"raw bytes", `{"seq":1,"t":0.000000,"from":"client","op":"raw","len":1,"b64":"YQ==","fate":"passed"}`,
			message(tape.Message{Seq: 1, Content: content(tape.OpRaw, "a")}),
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := written(t, c.line); got != c.json {
				t.Errorf("\n got %s\nwant %s", got, c.json)
			}
			var back tape.Line
			must(t, json.Unmarshal([]byte(c.json), &back))
			if got := written(t, &back); got != c.json {
				t.Errorf("read back:\n got %s\nwant %s", got, c.json)
			}
		})
	}
}

// written returns what WriteJSON writes, which MarshalJSON must agree with.
func written(t *testing.T, l *tape.Line) string {
	t.Helper()
	var out bytes.Buffer
	must(t, l.WriteJSON(&out))
	marshalled, err := l.MarshalJSON()
	must(t, err)
	if out.String() != string(marshalled)+"\n" {
		t.Errorf("WriteJSON writes %s and MarshalJSON %s", out.String(), marshalled)
	}
	return string(marshalled)
}

func TestTruncatedPayloadSaysByHowMuch(t *testing.T) {
	line := message(tape.Message{Seq: 1, Content: tape.Content{Op: tape.Text, Payload: []byte("ab"), Len: 9}})
	want := `{"seq":1,"t":0.000000,"from":"client","op":"text","len":9,"text":"ab","truncated":7,"fate":"passed"}`
	got := written(t, line)
	if got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	if err := json.Unmarshal([]byte(got), new(tape.Line)); err == nil || !strings.Contains(err.Error(), "truncated by 7 bytes") {
		t.Errorf("reading a truncated message: %v", err)
	}
	line = message(tape.Message{
		Seq: 1, Content: content(tape.Text, "ab"), Fate: tape.Edited, Received: &tape.Content{Op: tape.Binary, Payload: []byte{0}, Len: 9},
	})
	want = `{"seq":1,"t":0.000000,"from":"client","op":"text","len":2,"text":"ab","fate":"edited","received":{"op":"binary","len":9,"b64":"AA==","truncated":8}}`
	if got = written(t, line); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	if err := json.Unmarshal([]byte(got), new(tape.Line)); err == nil || !strings.Contains(err.Error(), "received: the message was truncated by 8 bytes") {
		t.Errorf("reading a message whose received is truncated: %v", err)
	}
}

func TestLongPayloadIsWrittenLikeAShortOne(t *testing.T) {
	long := strings.Repeat("quo\"te <é> \u2028 \\ \x00", 20_000)
	for _, payload := range []string{long, long + "\xff"} {
		for _, op := range []tape.Opcode{tape.Text, tape.Binary} {
			received := content(tape.Text, "short")
			line := message(tape.Message{Content: content(op, payload), Fate: tape.Edited, By: []string{`"text":""`}, Received: &received})
			var got tape.Line
			must(t, json.Unmarshal([]byte(written(t, line)), &got))
			if string(got.Message.Payload) != payload || got.Message.By[0] != `"text":""` {
				t.Errorf("%v of %d bytes comes back otherwise", op, len(payload))
			}
		}
	}
	frame := tape.Frame{Opcode: tape.Binary, Payload: []byte(long), Len: uint64(len(long))}
	var out bytes.Buffer
	must(t, frame.WriteJSON(&out))
	want, err := frame.MarshalJSON()
	must(t, err)
	if out.String() != string(want)+"\n" {
		t.Error("a long frame is written otherwise than it is marshalled")
	}
}

func TestLineWrittenByHandNeedsLittle(t *testing.T) {
	for _, c := range []struct {
		json    string
		op      tape.Opcode
		payload string
	}{
		{`{"from":"client","text":"hi"}`, tape.Text, "hi"},
		{`{"from":"client","b64":"aGk="}`, tape.Binary, "hi"},
		{`{"from":"client","op":"text","b64":"aGk="}`, tape.Text, "hi"},
		{`{"from":"client","json":{"b": 1, "a": [1.0, null]}}`, tape.Text, `{"b":1,"a":[1.0,null]}`},
		{`{"from":"client","json":null}`, tape.Text, `null`},
		{`{"from":"client","len":99,"text":"hi"}`, tape.Text, "hi"},
		{`{"from":"client","op":"close"}`, tape.Close, ""},
		{`{"from":"client","op":"close","code":4000,"reason":"r"}`, tape.Close, "\x0f\xa0r"},
		{`{"from":"client","op":"ping","text":"p"}`, tape.Ping, "p"},
	} {
		l := tape.Line{T: time.Second}
		must(t, json.Unmarshal([]byte(c.json), &l))
		m := l.Message
		if m.Op != c.op || string(m.Payload) != c.payload || m.Len != uint64(len(c.payload)) || m.Fate != tape.Passed || m.T != time.Second {
			t.Errorf("%s: got %+v", c.json, m)
		}
	}
}

func TestMistakesInALineAreNamed(t *testing.T) {
	for text, want := range map[string]string{
		`{"text":"hi"}`:                                     `"from"`,
		`{"from":"me","text":"hi"}`:                         "neither client nor server",
		`{"from":"client"}`:                                 `one of "text", "b64", "json"`,
		`{"from":"client","txt":"hi"}`:                      `unknown field "txt"`,
		`{"from":"client","op":"txt","text":""}`:            `op "txt"`,
		`{"from":"client","op":"reserved(1)","text":""}`:    "reserved(1)",
		`{"from":"client","text":"a","fate":"lost"}`:        `fate "lost"`,
		`{"from":"client","text":"a","t":-1}`:               "-1 seconds",
		`{"from":"client","text":"a","t":1e300}`:            "seconds",
		`{"from":"client","op":"close","code":70000}`:       "close code 70000",
		`{"from":"client","op":"close","reason":"r"}`:       `needs a "code"`,
		`{"from":"client","text":"a","received":{"len":1}}`: "received",
	} {
		err := json.Unmarshal([]byte(text), new(tape.Line))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error that says %s", text, err, want)
		}
	}
}

const sessionLine = `{"n":1,"id":"01920000-0000-7000-8000-0000000000ff","started":"2026-11-22T10:11:12.345678901Z","duration":1.52,"url":"/chat?room=1","upstream":"ws://127.0.0.1:8765/chat?room=1",` +
	`"client":"127.0.0.1:50514","status":101,"subprotocol":"","extensions":"permessage-deflate","state":"closed",` +
	`"frames":{"client":3,"server":3},"bytes":{"client":18,"server":18},"ending":{"kind":"close","code":1000,"reason":"","from":"client"}}`

func exampleSession() *tape.Session {
	from := tape.Client
	return &tape.Session{
		N: 1, ID: tape.ID{0x01, 0x92, 6: 0x70, 8: 0x80, 15: 0xff}, Started: time.Date(2026, 11, 22, 10, 11, 12, 345678901, time.UTC),
		Duration: 1520 * time.Millisecond, URL: "/chat?room=1", Upstream: "ws://127.0.0.1:8765/chat?room=1",
		Client: "127.0.0.1:50514", Status: 101, Extensions: "permessage-deflate", State: tape.Closed,
		Frames: tape.Counts{Client: 3, Server: 3}, Bytes: tape.Counts{Client: 18, Server: 18},
		Ending: &tape.Ending{Kind: tape.EndClose, Code: 1000, From: &from},
	}
}

func TestSessionJSON(t *testing.T) {
	got, err := json.Marshal(exampleSession())
	must(t, err)
	if string(got) != sessionLine {
		t.Errorf("\n got %s\nwant %s", got, sessionLine)
	}
	var back tape.Session
	must(t, json.Unmarshal([]byte(sessionLine), &back))
	if !reflect.DeepEqual(&back, exampleSession()) {
		t.Errorf("read back: %+v", back)
	}
}

func TestFullSessionComesBackWhole(t *testing.T) {
	want := exampleSession()
	want.Tags, want.Notes, want.Rules = map[string]string{"bug": "17", "bare": ""}, []string{"a note"}, []byte(`{"ignore":["$.a"]}`)
	want.Handshake = tape.Handshake{
		Request:  tape.Request{Method: "GET", Target: "/chat?a=<&>", Headers: []tape.Header{{"Host", "a"}, {"X", "1"}, {"X", "2"}}},
		Response: tape.Response{Status: 403, Headers: []tape.Header{{"Server", "s"}}, Body: []byte{0, 255}},
	}
	text, err := want.MarshalFull()
	must(t, err)
	for _, part := range []string{`"headers":[["Host","a"],["X","1"],["X","2"]]`, `"body_b64":"AP8="`, `"rules":{"ignore":["$.a"]}`} {
		if !strings.Contains(string(text), part) {
			t.Errorf("%s is not in %s", part, text)
		}
	}
	var back tape.Session
	must(t, json.Unmarshal(text, &back))
	if !reflect.DeepEqual(&back, want) {
		t.Errorf("read back:\n got %+v\nwant %+v", &back, want)
	}
}

func TestEndingJSON(t *testing.T) {
	server := tape.Server
	for want, e := range map[string]tape.Ending{
		`{"kind":"close","code":1001,"reason":"away","from":"server"}`: {Kind: tape.EndClose, Code: 1001, Reason: "away", From: &server},
		`{"kind":"close","reason":"","from":"server"}`:                 {Kind: tape.EndClose, Code: tape.NoStatus, From: &server},
		`{"kind":"eof","from":"server"}`:                               {Kind: tape.EndEOF, From: &server},
		`{"kind":"reset"}`:                                             {Kind: tape.EndReset},
		`{"kind":"error","why":"dial: refused"}`:                       {Kind: tape.EndError, Why: "dial: refused"},
	} {
		got, err := json.Marshal(&e)
		must(t, err)
		var back tape.Ending
		must(t, json.Unmarshal(got, &back))
		if string(got) != want || !reflect.DeepEqual(back, e) {
			t.Errorf("got %s, back as %+v, want %s", got, back, want)
		}
	}
}

func TestFrameJSON(t *testing.T) {
	for want, f := range map[string]tape.Frame{
		`{"seq":7,"t":0.004100,"from":"client","opcode":0,"fin":true,"rsv":0,"masked":true,"mask":"37fa213d","len":2,"b64":"aGk="}`: {
			Seq: 7, T: 4100 * us, Fin: true, Masked: true, Mask: [4]byte{0x37, 0xfa, 0x21, 0x3d}, Len: 2, Payload: []byte("hi"),
		},
		`{"seq":8,"t":0.000000,"from":"server","leg":"out","opcode":9,"fin":true,"rsv":4,"masked":false,"len":0,"b64":""}`: {
			Seq: 8, From: tape.Server, Leg: tape.LegOut, Opcode: tape.Ping, Fin: true, RSV: 4,
		},
		`{"seq":9,"t":0.000000,"from":"client","leg":"in","opcode":2,"fin":false,"rsv":0,"masked":false,"len":5,"b64":"aGk=","partial":true,"got":2,"violation":"v"}`: {
			Seq: 9, Leg: tape.LegIn, Opcode: tape.Binary, Len: 5, Payload: []byte("hi"), Violation: "v",
		},
		`{"seq":10,"t":0.000000,"from":"client","raw":true,"len":2,"b64":"aGk="}`: {
			Seq: 10, Opcode: tape.OpRaw, Len: 2, Payload: []byte("hi"),
		},
	} {
		got, err := json.Marshal(&f)
		must(t, err)
		if string(got) != want {
			t.Errorf("\n got %s\nwant %s", got, want)
		}
	}
}

// What is escaped for terminals is all that they would obey, and means the same.
func TestEscapeJSON(t *testing.T) {
	for r := rune(0x20); r <= unicode.MaxRune; r++ {
		if !utf8.ValidRune(r) {
			continue
		}
		plain, err := json.Marshal("a" + string(r) + "b" + string(r))
		must(t, err)
		got := tape.EscapeJSON(plain)
		dangerous := unicode.Is(unicode.Cc, r) || unicode.Is(unicode.Bidi_Control, r)
		if bytes.ContainsRune(got, r) && dangerous || !dangerous && !bytes.Equal(got, plain) {
			t.Fatalf("%U: %q", r, got)
		}
		var back string
		must(t, json.Unmarshal(got, &back))
		if back != "a"+string(r)+"b"+string(r) {
			t.Fatalf("%U: %q is read as %q", r, got, back)
		}
	}
}
