package filter

import (
	"strings"
	"testing"
	"time"

	"github.com/wstape/wstape/internal/decode"
	"github.com/wstape/wstape/tape"
)

// Each answer of a batch finds its request.
func TestSightPairsEveryKeyOfABatch(t *testing.T) {
	decoder, err := decode.Open("jsonrpc", decode.Hint{})
	if err != nil {
		t.Fatal(err)
	}
	slow, err := Compile(`latency > 150ms`)
	if err != nil {
		t.Fatal(err)
	}
	sight := NewSight(slow, nil, decoder)
	for _, step := range []struct {
		at      time.Duration
		from    tape.Side
		text    string
		latency time.Duration
	}{
		{0, tape.Client, `[{"jsonrpc":"2.0","id":1,"method":"a"},{"jsonrpc":"2.0","id":2,"method":"b"},{"jsonrpc":"2.0","id":3,"method":"c"}]`, 0},
		{100, tape.Server, `{"jsonrpc":"2.0","id":3,"result":0}`, 100},
		{200, tape.Server, `[{"jsonrpc":"2.0","id":2,"result":0},{"jsonrpc":"2.0","id":1,"result":0}]`, 200},
		{300, tape.Server, `{"jsonrpc":"2.0","id":1,"result":0}`, 0}, // answered before
		{400, tape.Server, `{"jsonrpc":"2.0","id":1,"method":"mine"}`, 0},
		{450, tape.Client, `{"jsonrpc":"2.0","id":1,"result":0}`, 50},
	} {
		m := &tape.Message{From: step.from, T: step.at * time.Millisecond, Content: tape.Content{Op: tape.Text, Payload: []byte(step.text), Len: uint64(len(step.text))}}
		got := sight.See(m)
		if got.Latency != step.latency*time.Millisecond || got.Passes != (step.latency > 150) || got.View == nil {
			t.Errorf("%s: latency %v, passes %v, view %v", step.text, got.Latency, got.Passes, got.View)
		}
	}
}

// What nobody answers, and keys of any length, cost no memory without bound.
func TestSightForgets(t *testing.T) {
	sight := NewSight(nil, nil, nil)
	for i := range 3 * maxAsked {
		sight.pair(&tape.Message{}, decode.Ref{Key: strings.Repeat("k", i%maxKey) + time.Duration(i).String()})
	}
	sight.pair(&tape.Message{}, decode.Ref{Key: strings.Repeat("k", maxKey+1)})
	if n := len(sight.asked); n > maxAsked {
		t.Errorf("%d requests are remembered", n)
	}
	for key := range sight.asked {
		if len(key) > maxKey+len("client") {
			t.Errorf("a key of %d bytes is remembered", len(key))
		}
	}
}
