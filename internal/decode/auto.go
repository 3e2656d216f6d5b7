package decode

import (
	"bytes"

	"github.com/wstape/wstape/tape"
)

// auto sniffs. It says of each message at once what it is, with the protocol that
// is likeliest so far, and decides again with each of the first messages, of which
// it keeps copies until then.
type auto struct {
	hint      Hint
	protocols []Protocol
	first     []*tape.Message
	seen      int
	room      int // bytes that the copies may still take
	settled   bool

	name    string
	decoder Decoder
}

func (a *auto) View(m *tape.Message) View {
	if !a.settled && sniffable(m) {
		a.decide(m)
	}
	if a.decoder == nil {
		return a.protocols[len(a.protocols)-1].Open(a.hint).View(m)
	}
	return a.decoder.View(m)
}

func (a *auto) decide(m *tape.Message) {
	p, sure := sniff(a.protocols, a.hint, append(a.first, m))
	if p.Name != a.name {
		a.name, a.decoder = p.Name, p.Open(a.hint)
		for _, earlier := range a.first {
			a.decoder.View(earlier)
		}
	}
	a.keep(m)
	a.seen++
	if a.settled = sure >= addressed || a.seen == sniffMessages; a.settled {
		a.first = nil
	}
}

// keep copies a message, as far as there is room: the decoders must not keep
// payloads.
func (a *auto) keep(m *tape.Message) {
	if len(m.Payload) > a.room {
		return
	}
	a.room -= len(m.Payload)
	kept := *m
	kept.Payload = bytes.Clone(m.Payload)
	a.first = append(a.first, &kept)
}
