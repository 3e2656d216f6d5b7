package replay

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/tape"
)

// A pseudonym in a recorded message stands for a value that nobody knows: of the
// peer's messages whatever stands in its place, from then on that value alone; of
// the player's what the peer has said there, or what was given with --secret.

// onlyPseudonym finds pseudonyms alone.
var onlyPseudonym = regexp.MustCompile(record.PseudonymPattern)

func hasPseudonym(text string) bool { return onlyPseudonym.MatchString(text) }

func isPseudonym(text string) bool {
	at := onlyPseudonym.FindStringIndex(text)
	return at != nil && at[0] == 0 && at[1] == len(text)
}

// alike compares a recorded text, in which pseudonyms stand for what the
// expression matches, with a live one.
func alike(recorded, live, expression string) bool {
	found := onlyPseudonym.FindAllStringIndex(recorded, -1)
	if found == nil {
		return recorded == live
	}
	pattern, done := `^(?s:`, 0
	for _, at := range found {
		pattern += regexp.QuoteMeta(recorded[done:at[0]]) + expression
		done = at[1]
	}
	re, err := regexp.Compile(pattern + regexp.QuoteMeta(recorded[done:]) + `)$`)
	return err == nil && re.MatchString(live) // a text too long to be compiled is like no other
}

// secretNames notes under which names pseudonyms stand in a handshake.
func (l *links) secretNames(s *tape.Session) {
	l.namesIn("", target(s))
	for _, list := range [][]tape.Header{s.Handshake.Request.Headers, s.Handshake.Response.Headers} {
		for _, h := range list {
			l.namesIn(h[0], h[1])
		}
	}
}

func (l *links) namesIn(field, value string) {
	for _, m := range pseudonym.FindAllStringSubmatch(value, -1) {
		name := m[1]
		if name == "" {
			name = field
		}
		l.name(m[2], name)
	}
}

// name notes that a pseudonym stands under a name.
func (l *links) name(pseudonym, name string) {
	if name == "" {
		return
	}
	if l.names == nil {
		l.names = map[string][]string{}
	}
	l.names[pseudonym] = append(l.names[pseudonym], name)
}

// secretOf returns the value that was given for a pseudonym.
func (l *Live) secretOf(pseudonym string, names []string) (string, bool) {
	for known, secret := range l.Secrets {
		if known == pseudonym {
			return secret, true
		}
		for _, name := range names {
			if strings.EqualFold(known, name) {
				return secret, true
			}
		}
	}
	return "", false
}

// hint says how to give the value of a pseudonym.
func (l *links) hint(pseudonym string) string {
	name := pseudonym
	if names := l.names[pseudonym]; len(names) > 0 {
		name = names[0]
	}
	return fmt.Sprintf("of which the recording holds only a pseudonym (%s): give it with --secret %s=env:VARIABLE", pseudonym, name)
}

// reveal binds the secrets that were given.
func (r *Run) reveal(live *Live) *Run {
	links := r.recording.links
	var bound []binding
	for n := range links.slots {
		if s := &links.slots[n]; s.secret {
			if text, ok := live.secretOf(s.value.text, links.names[s.value.text]); ok {
				bound = append(bound, binding{n, scalar{'s', text}})
			}
		}
	}
	r.bindings.put(bound)
	return r
}

// unknown returns a secret that a step needs and that nobody has said or given.
func (b *bindings) unknown(s *Step) (pseudonym string, is bool) {
	for _, u := range s.uses {
		if b.slots[u.slot].secret {
			if _, known := b.get(u.slot); !known {
				return b.slots[u.slot].value.text, true
			}
		}
	}
	return "", false
}

// ending is how the player ends a session, with the reason of this run.
func (b *bindings) ending(s *Step) *tape.Ending {
	if len(s.uses) == 0 {
		return s.Ending
	}
	e := *s.Ending
	e.Code, e.Reason, _ = tape.ParseClose(b.rebind(s))
	return &e
}

// checkSecrets reports a secret that the player would have to say before anybody
// else does, and that was not given.
func (r *Recording) checkSecrets(p *Plan, live *Live) error {
	for i := range p.Steps {
		for _, u := range p.Steps[i].uses {
			s := &r.links.slots[u.slot]
			if !s.secret || s.theirs {
				continue
			}
			if _, ok := live.secretOf(s.value.text, r.links.names[s.value.text]); !ok {
				return fmt.Errorf("%s: the %s sends a secret at step %d, %s", p.Name, p.Role, p.Steps[i].N, r.links.hint(s.value.text))
			}
		}
	}
	return nil
}

// secretAt reports whether a pseudonym is all that stands in a leaf, or a part of it.
func (x *differ) secretAt(i int) (whole, part bool) {
	if !x.secret {
		return false, false
	}
	for _, s := range x.step.sources {
		if s.leaf == i && s.slot != mine && x.bindings.slots[s.slot].secret {
			part = true
			whole = whole || s.from == 0 && s.to == len(x.step.view.leaves[i].text)
		}
	}
	return whole, part
}

// secrets reports whether a step holds pseudonyms of what the peer says.
func (x *comparison) secrets(s *Step) bool {
	for _, at := range s.sources {
		if at.slot != mine && x.bindings.slots[at.slot].secret {
			return true
		}
	}
	return false
}

// secretPlace reports whether there is a pseudonym at a leaf's place.
func (x *differ) secretPlace(l *leaf) bool {
	if !x.secret {
		return false
	}
	for i := range x.step.view.leaves {
		if _, part := x.secretAt(i); part && slices.Equal(x.step.view.leaves[i].path, l.path) {
			return true
		}
	}
	return x.under(l)
}

// under reports whether a place of a live message lies below one where all is
// secret: an object or array stood there.
func (x *differ) under(l *leaf) bool {
	if !x.secret {
		return false
	}
	for i := range x.step.view.leaves {
		want := &x.step.view.leaves[i]
		if whole, _ := x.secretAt(i); whole && l.below(want) {
			return true
		}
	}
	return false
}

// below reports whether a leaf stands inside of what stood at another one's place.
func (l *leaf) below(other *leaf) bool {
	if len(l.path) <= len(other.path) {
		return false
	}
	for i, s := range other.path {
		if l.path[i] != s {
			return false
		}
	}
	return true
}

// bindSecret is bind for a pseudonym, which stands for any value.
func (x *differ) bindSecret(slot int, got scalar) bool {
	same := func(known scalar) bool {
		known.kind, got.kind = textual(known.kind), textual(got.kind)
		return equal(known, got)
	}
	for _, b := range x.bound {
		if b.slot == slot {
			return same(b.value)
		}
	}
	if known, ok := x.bindings.get(slot); ok {
		return same(known)
	}
	if got.kind != '{' && got.kind != '[' {
		x.bound = append(x.bound, binding{slot, got})
	}
	return true
}

// textual is a kind without the difference between numbers and strings: a secret
// that was given is text.
func textual(kind byte) byte {
	if kind == 'n' {
		return 's'
	}
	return kind
}
