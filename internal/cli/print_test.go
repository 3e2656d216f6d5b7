package cli

import (
	"testing"

	"github.com/wstape/wstape/tape"
)

// What was done to a message stands behind it, with what came in.
func TestMessageTextShowsWhatBecameOfIt(t *testing.T) {
	content := func(op tape.Opcode, payload string) tape.Content {
		return tape.Content{Op: op, Payload: []byte(payload), Len: uint64(len(payload))}
	}
	came := func(op tape.Opcode, payload string) *tape.Content {
		c := content(op, payload)
		return &c
	}
	for _, c := range []struct {
		want string
		m    tape.Message
	}{
		{"→ text   2  hi", tape.Message{Content: content(tape.Text, "hi"), Fate: tape.Passed}},
		{"← text   3  HI!  edited by script:up.js  was hi!", tape.Message{
			From: tape.Server, Content: content(tape.Text, "HI!"), Fate: tape.Edited, By: []string{"script:up.js"}, Received: came(tape.Text, "hi!"),
		}},
		{"→ text   3  HI!  edited by fault:f, operator  was binary 00ff", tape.Message{
			Content: content(tape.Text, "HI!"), Fate: tape.Edited, By: []string{"fault:f", "operator"}, Received: came(tape.Binary, "\x00\xff"),
		}},
		{`→ text   0  edited by s  was \x1b[31m`, tape.Message{
			Content: content(tape.Text, ""), Fate: tape.Edited, By: []string{"s"}, Received: came(tape.Text, `\x1b[31m`),
		}},
		{`→ text   1  b  edited by s  was \u001b[31m`, tape.Message{
			Content: content(tape.Text, "b"), Fate: tape.Edited, By: []string{"s"}, Received: came(tape.Text, "\x1b[31m"),
		}},
		{"→ text   1  b  edited by s  was empty", tape.Message{
			Content: content(tape.Text, "b"), Fate: tape.Edited, By: []string{"s"}, Received: came(tape.Text, ""),
		}},
		{"→ text   1  b  edited by s  was c1ff (not inflated: why)", tape.Message{
			Content: content(tape.Text, "b"), Fate: tape.Edited, By: []string{"s"}, Received: came(tape.Text, "\xc1\xff"), ReceivedError: "why",
		}},
		{"→ text   1  b  edited", tape.Message{Content: content(tape.Text, "b"), Fate: tape.Edited}},
		{`→ text   1  a  dropped by script:\u001b.js`, tape.Message{
			Content: content(tape.Text, "a"), Fate: tape.Dropped, By: []string{"script:\x1b.js"},
		}},
		{"← ping   1  a  injected by operator", tape.Message{
			From: tape.Server, Content: content(tape.Ping, "a"), Fate: tape.Injected, By: []string{"operator"},
		}},
		{"→ close  2  1001  edited by s  was 1000 bye", tape.Message{
			Content: content(tape.Close, "\x03\xe9"), Fate: tape.Edited, By: []string{"s"}, Received: came(tape.Close, "\x03\xe8bye"),
		}},
	} {
		if got := (layout{columns: 200}).message(&c.m, nil); got != c.want {
			t.Errorf("\n got %s\nwant %s", got, c.want)
		}
	}
}
