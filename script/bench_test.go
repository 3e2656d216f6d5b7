package script

import (
	"runtime"
	"testing"

	"github.com/wstape/wstape/tape"
)

// silent is a Conn that does nothing.
type silent struct{}

func (silent) Send(tape.Side, tape.Opcode, []byte, string) error { return nil }
func (silent) Close(int, string, string)                         {}
func (silent) Note(string, string)                               {}
func (silent) Tag(string, string)                                {}

const benchMessage = `{"type":"message","room":42,"user":"alice","text":"Hello, world!","seen":[1,2,3],"id":9007199254740993}`

var benchHooks = map[string]string{
	"empty":     `export function onMessage(msg) {}`,
	"uppercase": `export function onMessage(msg) { return msg.text.toUpperCase() }`,
	"json":      `export function onMessage(msg) { msg.json.user = "bob" }`,
	"async":     `export async function onMessage(msg) { await null }`,
	"pending":   `export function onMessage(msg) { return new Promise(done => queueMicrotask(() => queueMicrotask(done))) }`,
}

func BenchmarkMessage(b *testing.B) {
	for name, hook := range benchHooks {
		b.Run(name, func(b *testing.B) {
			s := newRig(b, Options{}, hook).chain.Open(tape.Session{}, silent{})
			defer s.Closed(tape.Ending{})
			m := message(tape.Server, tape.Text, benchMessage)
			decided := make(chan tape.Verdict, 1)
			done := func(v tape.Verdict) { decided <- v }
			b.ReportAllocs()
			for b.Loop() {
				s.Message(m, done)
				<-decided
			}
		})
	}
}

// A script as people write them, with helpers, state and a console.
const benchScript = `
	const rooms = new Map()
	function note(session, text) { session.note(text) }
	export function onOpen(session) { session.state.count = 0 }
	export function onMessage(msg, session) {
		session.state.count++
		if (msg.json?.type === "message") msg.json.text = msg.json.text.trim()
	}
	export function onClose(ending, session) { rooms.clear() }`

func BenchmarkOpenClose(b *testing.B) {
	for name, hook := range map[string]string{"empty": benchHooks["empty"], "script": benchScript} {
		b.Run(name, func(b *testing.B) {
			r := newRig(b, Options{}, hook)
			b.ReportAllocs()
			for b.Loop() {
				s := r.chain.Open(tape.Session{}, silent{})
				s.Opened("")
				s.Closed(tape.Ending{})
			}
		})
	}
}

// BenchmarkIdle reports what an open session takes that has seen one message.
func BenchmarkIdle(b *testing.B) {
	for name, hook := range map[string]string{"empty": benchHooks["empty"], "script": benchScript} {
		b.Run(name, func(b *testing.B) {
			r := newRig(b, Options{}, hook)
			const n = 1000
			for b.Loop() {
				before := heapInUse()
				sessions := make([]*Session, n)
				for i := range sessions {
					s := r.chain.Open(tape.Session{}, silent{})
					s.Opened("")
					s.Message(message(tape.Server, tape.Text, benchMessage), func(tape.Verdict) {})
					sessions[i] = s
				}
				b.ReportMetric(float64(heapInUse()-before)/n/1024, "KiB/session")
				for _, s := range sessions {
					s.Closed(tape.Ending{})
				}
			}
		})
	}
}

func heapInUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
