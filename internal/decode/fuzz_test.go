package decode

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/wstape/wstape/tape"
)

// A script of a session: messages between these, each after a letter that says who
// sent it and how: c, s in text, C, S in binary.
const between = "\n\x02\n"

func script(messages []*tape.Message) []byte {
	var b bytes.Buffer
	for i, m := range messages {
		if i > 0 {
			b.WriteString(between)
		}
		b.WriteByte("csCS"[int(m.From)|int(m.Op-tape.Text)<<1])
		b.Write(m.Payload)
	}
	return b.Bytes()
}

func played(script []byte) (messages []*tape.Message) {
	for piece := range bytes.SplitSeq(script, []byte(between)) {
		if len(piece) == 0 {
			continue
		}
		from, op := tape.Client, tape.Text
		switch piece[0] | 0x20 {
		case 's':
			from = tape.Server
		}
		if piece[0]&0x20 == 0 {
			op = tape.Binary
		}
		messages = append(messages, says(from, op, string(piece[1:])))
	}
	return messages
}

func FuzzViews(f *testing.F) {
	table := Protocols()
	for _, file := range cassettes(f) {
		for _, s := range captured(f, file+".cassette.jsonl") {
			name := Sniff(s.hint, s.messages).Name
			for i, p := range table {
				if p.Name == name {
					for some := range slices.Chunk(s.messages, 4) {
						f.Add(uint8(i), s.hint.Target, s.hint.Subprotocol, script(some))
					}
				}
			}
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, target, subprotocol string, script []byte) {
		h := Hint{Subprotocol: subprotocol, Target: target}
		p := table[int(which)%len(table)]
		messages := played(script)
		first, second, sniffing := p.Open(h), p.Open(h), open(t, Auto, h)
		for _, m := range messages {
			before := string(m.Payload)
			v := first.View(m)
			checkLine(t, p.Name, v)
			if v.Protocol != p.Name || v.Type == "" && v.Err != nil {
				t.Errorf("%s gives %+v", p.Name, v)
			}
			checkLine(t, Auto, sniffing.View(m))
			if string(m.Payload) != before {
				t.Errorf("%s changed %q to %q", p.Name, before, m.Payload)
			}
			// A decoder keeps nothing of a payload: it may be overwritten.
			other := says(m.From, m.Op, before)
			if again := second.View(other); !reflect.DeepEqual(again, v) {
				t.Errorf("%s gives %+v, then %+v", p.Name, v, again)
			}
			clear(other.Payload)
		}
		if sniffed := Sniff(h, messages); sniffed.Open == nil {
			t.Error("nothing sniffed")
		}
	})
}

// The walk over JSON finds what encoding/json finds.
func FuzzWalkJSON(f *testing.F) {
	for _, s := range []string{
		`{"a":1,"b":[1,{"c":"]}"}],"a":"\"\\"}`, ` [ 1 , "a" , {} , [ ] , null,true ,-1.5e3]`, `{"é":{"x":1}}`, `""`, `{"a" :	1}`, `[]`, `{}`, `"\u00e9\ud800"`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		raw, err := parse([]byte(s))
		if err != nil {
			if json.Valid([]byte(s)) {
				t.Fatal(err)
			}
			return
		}
		if end := valueEnd(raw, 0); end != len(raw) {
			t.Errorf("%q ends at %d", raw, end)
		}
		var list []json.RawMessage
		if json.Unmarshal(raw, &list) == nil && raw[0] == '[' {
			if got := array(raw, 0); len(got) != len(list) || len(list) > 0 && !reflect.DeepEqual(got, list) {
				t.Errorf("%q has the elements %q", raw, got)
			}
		}
		object := map[string]json.RawMessage{}
		if json.Unmarshal(raw, &object) == nil && raw[0] == '{' {
			for quoted, v := range members(raw) {
				name, ok := Text(quoted)
				if _, there := object[name]; !ok || !there || !json.Valid(v) {
					t.Errorf("%q has no member %q with %q", raw, quoted, v)
				}
			}
			for name, want := range object {
				plain, _ := json.Marshal(name)
				if strings.ContainsAny(name, `\"<>&`+"\u2028\u2029\ufffd") || strings.Contains(s, `\`) || string(plain) != `"`+name+`"` {
					continue // names with escapes are not picked
				}
				if got := pick(raw, name)[name]; string(got) != string(want) {
					t.Errorf("%q: %q is %q, not %q", raw, name, got, want)
				}
			}
		}
		var want string
		if json.Unmarshal(raw, &want) == nil && raw[0] == '"' {
			if got, ok := Text(raw); !ok || got != want {
				t.Errorf("%q is %q", raw, got)
			}
		}
		checkLine(t, "compact", View{Summary: compact(raw)})
	})
}
