//go:build unix

package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/wstape/wstape/internal/wire"
	"github.com/wstape/wstape/tape"
)

// kind of payload. No two messages are the same: a recorder that compresses
// would pack a repeated one away, whatever is in it.
type kind string

const (
	jsonKind  kind = "json"  // as chats and tickers talk
	lowerKind kind = "lower" // the same in small letters, so that a script can make them large and small again
	noiseKind kind = "noise" // does not compress

	// The same, where the server does not say what the client has just said: an
	// echo of plain copies would halve what a tape takes.
	jsonTalk  kind = "json talk"
	noiseTalk kind = "noise talk"
)

// talkPath is where the echo changes what it sends back.
const talkPath = "/talk"

// path is what a load of that kind asks for.
func (k kind) path() string {
	if k == jsonTalk || k == noiseTalk {
		return talkPath
	}
	return "/echo"
}

// messages are what a load sends, made beforehand so that sending costs next to
// nothing. Connections begin at different ones and go round.
type messages struct {
	frames   []byte // masked, each with a key of its own, as RFC 6455 wants it
	frameAt  []int  // where each begins, and the end
	answers  []byte // payloads as the echo sends them back
	answerAt []int
	path     string // where to connect
}

// poolBytes of payload are made: far more than what a compressor looks back on.
const poolBytes = 16 << 20

func (m *messages) count() int { return len(m.frameAt) - 1 }

var (
	poolsMu sync.Mutex
	pools   = map[string]*messages{}
)

// messagesOf returns messages of a size; size 0 is JSON objects of about 128 bytes,
// each as long as it comes.
func messagesOf(k kind, size int) *messages {
	poolsMu.Lock()
	defer poolsMu.Unlock()
	name := fmt.Sprint(k, size)
	if pools[name] == nil {
		pools[name] = makeMessages(k, size)
	}
	return pools[name]
}

func makeMessages(k kind, size int) *messages {
	random := rand.New(rand.NewPCG(1, 2))
	op, next := tape.Text, newTalk(random).message
	switch {
	case k == noiseKind || k == noiseTalk:
		op, next = tape.Binary, func() []byte { return noise(random, size) }
	case k == lowerKind:
		talk := next
		next = func() []byte { return bytes.ToLower(talk()) }
	case size > 0:
		next = cut(next, size)
	}
	m := &messages{path: k.path()}
	for len(m.answers) < poolBytes {
		var key [4]byte
		binary.LittleEndian.PutUint32(key[:], random.Uint32())
		m.add(wire.Head(true, 0, op), next(), &key)
	}
	m.frameAt = append(m.frameAt, len(m.frames))
	m.answerAt = append(m.answerAt, len(m.answers))
	return m
}

func (m *messages) add(head byte, payload []byte, key *[4]byte) {
	m.frameAt = append(m.frameAt, len(m.frames))
	m.frames = wire.AppendFrame(m.frames, head, payload, key)
	start := len(m.answers)
	m.answerAt = append(m.answerAt, start)
	m.answers = append(m.answers, payload...)
	if m.path == talkPath {
		for i := start; i < len(m.answers); i++ {
			m.answers[i] ^= flip
		}
	}
}

// flip is what the echo changes in every byte at talkPath: the lowest bit. So an
// answer is as varied as what it answers and still ASCII if that was, but no copy
// of it that a compressor finds.
const flip = 1

func noise(random *rand.Rand, size int) []byte {
	b := make([]byte, 0, size+8)
	for len(b) < size {
		b = binary.LittleEndian.AppendUint64(b, random.Uint64())
	}
	return b[:size]
}

// cut makes messages of one size out of longer and shorter ones.
func cut(next func() []byte, size int) func() []byte {
	var rest []byte
	return func() []byte {
		for len(rest) < size {
			rest = append(rest, next()...)
		}
		out := rest[:size:size]
		rest = rest[size:]
		return out
	}
}

// talk makes JSON as chats and tickers send it.
type talk struct {
	random  *rand.Rand
	words   []string
	common  *rand.Zipf // which word: few are frequent, most are rare
	symbols []string
	prices  []float64
	trade   int
	now     time.Time
}

func newTalk(random *rand.Rand) *talk {
	t := &talk{random: random, trade: 48_210_377, now: time.Unix(1_750_000_000, 0)}
	const vocabulary = 4000
	t.common = rand.NewZipf(random, 1.1, 4, vocabulary-1)
	for range vocabulary {
		t.words = append(t.words, t.word())
	}
	for range 40 {
		t.symbols = append(t.symbols, strings.ToUpper(t.word() + t.word())[:3]+[]string{"USDT", "EUR", "BTC"}[random.IntN(3)])
		t.prices = append(t.prices, 100*random.ExpFloat64()+0.5)
	}
	return t
}

func (t *talk) word() string {
	var b strings.Builder
	for range 1 + t.random.IntN(3) {
		b.WriteByte("bcdfghklmnprstvw"[t.random.IntN(16)])
		b.WriteByte("aeiou"[t.random.IntN(5)])
		if t.random.IntN(3) == 0 {
			b.WriteByte("lmnrst"[t.random.IntN(6)])
		}
	}
	return b.String()
}

func (t *talk) message() []byte {
	t.now = t.now.Add(time.Duration(t.random.ExpFloat64() * float64(7*time.Millisecond)))
	if t.random.IntN(2) == 0 {
		return t.tick()
	}
	return t.line()
}

func (t *talk) tick() []byte {
	i, side := t.random.IntN(len(t.symbols)), "buy"
	if t.random.IntN(2) == 0 {
		side = "sell"
	}
	t.prices[i] *= 1 + t.random.NormFloat64()/2000
	t.trade += 1 + t.random.IntN(9)
	return fmt.Appendf(nil, `{"event":"trade","symbol":"%s","price":"%.4f","quantity":"%.5f","side":"%s","trade_id":%d,"time":%d}`,
		t.symbols[i], t.prices[i], t.random.ExpFloat64()*3, side, t.trade, t.now.UnixMilli())
}

func (t *talk) line() []byte {
	text := t.words[t.common.Uint64()]
	for range 2 + t.random.IntN(10) {
		text += " " + t.words[t.common.Uint64()]
	}
	return fmt.Appendf(nil, `{"type":"message","id":"%012x","room":"%s","user":"%s","sent":%d,"text":"%s"}`,
		t.random.Uint64()>>16, t.words[t.random.IntN(12)], t.words[100+t.random.IntN(200)], t.now.UnixMilli(), text)
}
