package tape_test

import (
	"testing"

	"github.com/wstape/wstape/tape"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func content(op tape.Opcode, payload string) tape.Content {
	return tape.Content{Op: op, Payload: []byte(payload), Len: uint64(len(payload))}
}

// came is the content that came in.
func came(op tape.Opcode, payload string) *tape.Content {
	c := content(op, payload)
	return &c
}

// message makes a line of a message, which has passed unless it says otherwise.
func message(m tape.Message) *tape.Line {
	if m.Fate == "" {
		m.Fate = tape.Passed
	}
	return &tape.Line{T: m.T, Message: &m}
}
