package filter

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/wstape/wstape/internal/decode"
	"github.com/wstape/wstape/tape"
)

func subject() *Subject {
	const text = `{"type":"subscribe","symbols":["BTC","ETH"],"n":12345678901,"deep":{"a":1}}`
	return &Subject{
		Session: &tape.Session{N: 3, URL: "/chat?room=1", Status: 101, Tags: map[string]string{"bug": "17"}, Duration: 2 * time.Second},
		Message: &tape.Message{
			Content: tape.Content{Op: tape.Text, Payload: []byte(text), Len: uint64(len(text))}, Seq: 7, T: 1500 * time.Millisecond,
			From: tape.Client, Fate: tape.Edited, By: []string{"script:a.js", "script:b.js"},
		},
		View:    &decode.View{Protocol: "jsonrpc", Type: "next", Key: "9", Value: map[string]any{"x": "y"}},
		Latency: 250 * time.Millisecond,
	}
}

func TestMatch(t *testing.T) {
	for text, want := range map[string]bool{
		`from == "client"`: true,
		`from == "client" && json.type == "subscribe" && len > 50`: true,
		`text contains "BTC"`:                      true,
		`text matches "^\\d+"`:                     false,
		`op == "ping"`:                             false,
		`fate == "edited" and by == "script:b.js"`: true,
		`session.url startsWith "/chat"`:           true,
		`session.tags.bug == "17"`:                 true,
		`session.tags.nothing == ""`:               true,
		`view.type == "next"`:                      true,
		`view.value.x == "y"`:                      true,
		`latency > 200ms`:                          true,
		`latency > 0.3s`:                           false,
		`t < 5s && t > 1s`:                         true,
		`t < 1m`:                                   true,
		`t == 1.5`:                                 true,
		`text contains "5s"`:                       false, // a string is left alone
		`"BTC" in json.symbols`:                    true,
		`json.n > 12345678900`:                     true,
		`json.a.b.c == nil`:                        true,
		`json.a.b == 1`:                            false,
		`!(json.a.b == 1)`:                         true,
		`json.deep.a == 1`:                         true,
		`json.type > 5`:                            false, // of another kind: does not hold, does not fail
		`seq == 7 and session.n == 3`:              true,
		`any(json.symbols, # startsWith "E")`:      true,
		`session.duration >= 2s and frames == 1`:   true,
		`upper(json.type) == "SUBSCRIBE"`:          true,
		`received == "" and problem == ""`:         true,
		`json["type"] == "subscribe"`:              true,
		`json.symbols[0] == "BTC"`:                 true,
		`json.symbols[7] == "BTC"`:                 false,
	} {
		f, err := Compile(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := f.Match(subject()); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

func TestMatchOfWhatIsNotThere(t *testing.T) {
	s := &Subject{Message: &tape.Message{Content: tape.Content{Op: tape.Binary, Payload: []byte{0, 1}, Len: 2}}}
	for text, want := range map[string]bool{
		`json.type == "x"`:                   false,
		`text contains "x"`:                  false,
		`view.type == "x"`:                   false,
		`session.url == ""`:                  true,
		`op == "binary" and len == 2`:        true,
		`json == nil`:                        true,
		`json.type contains "x" or len == 2`: true,
	} {
		f, err := Compile(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if got := f.Match(s); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

func TestCloseFrame(t *testing.T) {
	f, err := Compile(`op == "close" and code == 4001 and reason == "bye"`)
	if err != nil {
		t.Fatal(err)
	}
	payload := tape.AppendClose(nil, 4001, "bye")
	if !f.Match(&Subject{Message: &tape.Message{Content: tape.Content{Op: tape.Close, Payload: payload}}}) {
		t.Error("does not hold")
	}
}

func TestMistakes(t *testing.T) {
	for text, want := range map[string]struct {
		column int
		reason string
	}{
		`form == "client"`:            {1, `there is no field "form"; did you mean "from"?`},
		`t < 5s and from == "clent"`:  {20, `from is never "clent"; did you mean "client"?`},
		`"txet" != op`:                {1, `op is never "txet"; did you mean "text"?`},
		`op in ["ping", "heartbeat"]`: {16, `op is never "heartbeat"; it is one of text, binary, ping, pong, close, continuation, raw`},
		`session.state == "ended"`:    {18, `session.state is never "ended"; it is one of open, closed, interrupted, refused`},
		`fate == "edit"`:              {9, `fate is never "edit"; did you mean "edited"?`},
		`len > 5 && jsno.x == 1`:      {12, `did you mean "json"?`},
		`t < 500ms && lenn > 1`:       {14, `did you mean "len"?`},
		`t < 5s and quux == 1`:        {12, `see wstape help filter`},
		`len >`:                       {5, `something is missing at the end`},
		`len + 1`:                     {1, `a value of type int, neither true nor false: compare it`},
		`from = "client"`:             {6, `write == to compare`},
		`from == client`:              {9, `there is no field "client"; see wstape help filter, or quote a text: "client"`},
		`from == 5`:                   {6, `mismatched types`},
		`session.ulr == "x"`:          {9, `session has no field "ulr"; did you mean "session.url"?`},
		`t < 5s and view.tpye == "x"`: {17, `view has no field "tpye"; did you mean "view.type"?`},
		`session["sttaus"] == 1`:      {9, `did you mean "session.status"?`},
		`view.nonsense == 1`:          {6, `view has no field "nonsense"; there are .protocol .type`},
		`text matches "("`:            {6, `missing closing )`},
	} {
		_, err := Compile(text)
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if e.Column != want.column || !strings.Contains(e.Reason, want.reason) {
			t.Errorf("%s: column %d: %s", text, e.Column, e.Reason)
		}
	}
}

func FuzzFilter(f *testing.F) {
	f.Add(`from == "client" && json.type == "subscribe" && len > 100`)
	f.Add(`latency > 200ms || t < 5s`)
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 200 {
			return
		}
		filter, err := Compile(text)
		if err == nil {
			filter.Match(subject())
		} else if err.Error() == "" {
			t.Error("an error without a text")
		}
	})
}
