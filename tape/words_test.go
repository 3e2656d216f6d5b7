package tape_test

import (
	"testing"

	"github.com/wstape/wstape/tape"
)

func TestOpcodeNamesComeBack(t *testing.T) {
	names := map[tape.Opcode]string{
		tape.Continuation: "continuation", tape.Text: "text", tape.Binary: "binary", tape.Close: "close",
		tape.Ping: "ping", tape.Pong: "pong", 3: "reserved(3)", 7: "reserved(7)", 11: "reserved(11)", 15: "reserved(15)", tape.OpRaw: "raw",
	}
	for op, want := range names {
		if op.String() != want {
			t.Errorf("opcode %d is %q, want %q", uint8(op), op, want)
		}
	}
	for op := range tape.Opcode(16) {
		back, err := tape.ParseOpcode(op.String())
		if err != nil || back != op {
			t.Errorf("%q is read as %d, %v", op, back, err)
		}
		if op.Reserved() != (op > 2 && op < 8 || op > 10) || op.Control() != (op >= 8) {
			t.Errorf("%v: reserved %v, control %v", op, op.Reserved(), op.Control())
		}
	}
	for _, bad := range []string{"", "-", "Text", "reserved(2)", "reserved(16)", "reserved(3", "reserved()"} {
		if op, err := tape.ParseOpcode(bad); err == nil {
			t.Errorf("%q is read as %v", bad, op)
		}
	}
}

func TestIDComesBack(t *testing.T) {
	id := tape.ID{0: 1, 5: 0xab, 15: 0xff}
	var back tape.ID
	must(t, back.UnmarshalText([]byte(id.String())))
	if id.String() != "01000000-00ab-0000-0000-0000000000ff" || back != id {
		t.Errorf("%v, then %v", id, back)
	}
	for _, bad := range []string{"", "01000000-00ab-0000-0000-0000000000f", "0100000000ab00000000-0000000000ff----", "x1000000-00ab-0000-0000-0000000000ff"} {
		if err := back.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q is read as %v", bad, back)
		}
	}
}

func TestParseClose(t *testing.T) {
	for _, c := range []struct {
		payload string
		code    int
		reason  string
		ok      bool
	}{
		{"", tape.NoStatus, "", true},
		{"x", 0, "", false},
		{"\x03\xe8", 1000, "", true},
		{"\x03\xe8bye é", 1000, "bye é", true},
		{"\x03\xe8\xff", 0, "", false},
		{"\xff\xff", 65535, "", true},
		{"\x00\x00", 0, "", true},
	} {
		code, reason, ok := tape.ParseClose([]byte(c.payload))
		if code != c.code || reason != c.reason || ok != c.ok {
			t.Errorf("%q: %d %q %v", c.payload, code, reason, ok)
		}
		if ok && code != 0 && string(tape.AppendClose(nil, code, reason)) != c.payload {
			t.Errorf("%q is not written as it was read", c.payload)
		}
	}
}

func TestSides(t *testing.T) {
	for _, side := range tape.Sides() {
		var back tape.Side
		text, err := side.MarshalText()
		must(t, err)
		must(t, back.UnmarshalText(text))
		if back != side || side.Other() == side || side.Other().Other() != side {
			t.Errorf("%v comes back as %v, its other is %v", side, back, side.Other())
		}
	}
	var c tape.Counts
	c.Add(tape.Client, 2)
	c.Add(tape.Server, 3)
	if c != (tape.Counts{Client: 2, Server: 3}) {
		t.Errorf("counts are %+v", c)
	}
}
