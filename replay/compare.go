package replay

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/wstape/wstape/internal/jsonpath"
	"github.com/wstape/wstape/tape"
)

// maxDiff bounds how many differences of a message are told.
const maxDiff = 20

// comparison is what comparing a live message with a recorded one needs besides.
type comparison struct {
	plan     *Plan
	bindings *bindings
	now      time.Time
}

// compare tells how what came differs from a recorded message; nothing if it is
// the same by the plan's rules. What it would bind is only to be kept if they match.
func (c *comparison) compare(s *Step, got *tape.Content) (diff []Difference, bound []binding) {
	if s.Op != got.Op {
		diff = append(diff, Difference{"type", s.Op.String(), got.Op.String()})
		if s.plainlyOther(got) {
			return diff, nil
		}
	}
	same := bytes.Equal(s.Payload, got.Payload)
	secret := c.secrets(s)
	if same && !s.binds() || c.plan.rules.level == Bytes && len(c.plan.rules.ignore) == 0 && !secret {
		if !same {
			diff = append(diff, byteDiff(s.Payload, got.Payload))
		}
		return diff, nil
	}
	x := differ{comparison: c, step: s, got: got.Payload, secret: secret}
	v := look(got)
	if secret && s.view.text { // it may have been more before it was redacted
		v = asText(got.Payload)
	}
	if s.view.leaves == nil || v.leaves == nil || s.view.text != v.text {
		if !same {
			diff = append(diff, byteDiff(s.Payload, got.Payload))
		}
		return diff, nil
	}
	x.leaves(&v)
	if c.plan.rules.level == Bytes && len(x.diff) == 0 && len(s.view.leaves) == len(v.leaves) {
		if want, got := x.unignored(s.Payload, &s.view), x.unignored(got.Payload, &v); !bytes.Equal(want, got) {
			diff = append(diff, byteDiff(want, got))
		}
	}
	return append(diff, x.diff...), x.bound
}

// binds reports whether the step holds values that the peer chooses.
func (s *Step) binds() bool {
	return slices.ContainsFunc(s.sources, func(at source) bool { return at.slot != mine })
}

// plainlyOther reports whether text came for binary or the other way round, and
// it is not even the same text.
func (s *Step) plainlyOther(got *tape.Content) bool { return !bytes.Equal(s.Payload, got.Payload) }

// differ compares the leaves of two messages.
type differ struct {
	*comparison
	step   *Step
	secret bool   // there are pseudonyms in it
	got    []byte // the payload that came
	diff   []Difference
	bound  []binding
}

func (x *differ) leaves(got *view) {
	want := &x.step.view
	if sameLayout(want.leaves, got.leaves) {
		for i := range want.leaves {
			x.both(i, &got.leaves[i])
		}
		return
	}
	rest := map[string][]*leaf{}
	for i := range got.leaves {
		at := got.leaves[i].path.String()
		rest[at] = append(rest[at], &got.leaves[i])
	}
	for i := range want.leaves {
		l := &want.leaves[i]
		at := l.path.String()
		if here := rest[at]; len(here) > 0 {
			rest[at] = here[1:]
			x.both(i, here[0])
		} else if whole, _ := x.secretAt(i); !x.ignored(l.path) && !(whole && slices.ContainsFunc(got.leaves, func(g leaf) bool { return g.below(l) })) {
			x.add(at, string(x.step.Payload[l.start:l.end]), "")
		}
	}
	for i := range got.leaves {
		l := &got.leaves[i]
		if left := rest[l.path.String()]; len(left) > 0 && left[0] == l {
			rest[l.path.String()] = left[1:]
			if !covered(x.plan.rules.ignore, x.step.From, got, l.path) && !x.ignored(l.path) && !x.under(l) {
				x.add(l.path.String(), "", string(spell(l.scalar, true)))
			}
		}
	}
}

func sameLayout(a, b []leaf) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if len(a[i].path) != len(b[i].path) {
			return false
		}
		for k := range a[i].path {
			if a[i].path[k] != b[i].path[k] {
				return false
			}
		}
	}
	return true
}

func (x *differ) ignored(at jsonpath.Path) bool {
	return covered(x.plan.rules.ignore, x.step.From, &x.step.view, at)
}

// unignored is a payload without the values that are ignored.
func (x *differ) unignored(payload []byte, v *view) (out []byte) {
	done := 0
	for i := range v.leaves {
		if l := &v.leaves[i]; covered(x.plan.rules.ignore, x.step.From, v, l.path) || x.secretPlace(l) {
			out = append(out, payload[done:l.start]...)
			done = l.end
		}
	}
	return append(out, payload[done:]...)
}

func (x *differ) add(at, want, got string) {
	if len(x.diff) < maxDiff {
		x.diff = append(x.diff, Difference{at, want, got})
	}
}

// both compares two leaves at the same place.
func (x *differ) both(i int, got *leaf) {
	want := &x.step.view.leaves[i]
	_, secret := x.secretAt(i)
	if x.plan.rules.level == Bytes && !secret {
		a, b := x.step.Payload[want.start:want.end], x.got[got.start:got.end]
		if !bytes.Equal(a, b) && !x.ignored(want.path) {
			x.add(want.path.String(), string(a), string(b))
		}
		return
	}
	var here []source
	for _, s := range x.step.sources {
		if s.leaf == i {
			here = append(here, s)
		}
	}
	loose := x.plan.rules.level != JSON && !covered(x.plan.rules.exact, x.step.From, &x.step.view, want.path)
	ignored := x.ignored(want.path)
	if len(here) > 0 && (loose || ignored || secret) {
		if x.linked(want, got, here) || ignored {
			return
		}
		if !isTime(want, x.recorded()) || !x.volatile(want, got) {
			x.differs(want, got)
		}
		return
	}
	if equal(want.scalar, got.scalar) || ignored || loose && x.volatile(want, got) {
		return
	}
	x.differs(want, got)
}

func (x *differ) recorded() time.Time { return x.plan.Session.Started.Add(x.step.T) }

func (x *differ) volatile(want, got *leaf) bool {
	return !x.step.view.text && volatile(want.key(), want.scalar, got.scalar, x.recorded(), x.now)
}

func (x *differ) differs(want, got *leaf) {
	if x.step.view.text {
		d := byteDiff([]byte(want.text), []byte(got.text))
		x.add(d.Path, d.Want, d.Got)
		return
	}
	x.add(want.path.String(), string(spell(want.scalar, true)), string(spell(got.scalar, true)))
}

// linked reports whether a leaf that holds linked values is what it should be,
// and binds what the peer chose.
func (x *differ) linked(want, got *leaf, here []source) bool {
	if len(here) == 1 && here[0].from == 0 && here[0].to == len(want.text) {
		return x.bind(here[0].slot, want.scalar, got.scalar)
	}
	if got.kind != 's' {
		return false
	}
	at := 0
	for i, s := range here {
		before := want.text[lastTo(here, i):s.from]
		if !strings.HasPrefix(got.text[at:], before) {
			return false
		}
		at += len(before)
		end := len(want.text)
		if i+1 < len(here) {
			end = here[i+1].from
		}
		after, length := want.text[s.to:end], len(got.text)-at
		if after != "" {
			length = strings.Index(got.text[at:], after)
		}
		secret := s.slot != mine && x.bindings.slots[s.slot].secret
		if length <= 0 || !secret && strings.ContainsAny(got.text[at:at+length], " \t\r\n\"") {
			return false
		}
		text := got.text[at : at+length]
		if !x.bind(s.slot, scalar{'s', want.text[s.from:s.to]}, scalar{'s', text}) {
			return false
		}
		at += length
	}
	return got.text[at:] == want.text[here[len(here)-1].to:]
}

func lastTo(here []source, i int) int {
	if i == 0 {
		return 0
	}
	return here[i-1].to
}

// bind reports whether the peer may say got where the tape has want.
func (x *differ) bind(slot int, want, got scalar) bool {
	if slot == mine {
		return equal(want, got)
	}
	if x.bindings.slots[slot].secret {
		return x.bindSecret(slot, got)
	}
	// A number may be repeated as a string, and the other way round.
	if recorded := x.bindings.slots[slot].value; want.kind != recorded.kind {
		switch got.kind {
		case want.kind:
			got.kind = recorded.kind
		case recorded.kind:
			got.kind = want.kind
		}
	}
	for _, b := range x.bound {
		if b.slot == slot {
			return equal(b.value, got)
		}
	}
	if known, ok := x.bindings.get(slot); ok {
		return equal(known, got)
	}
	if want.kind != got.kind && (want.kind != 's' || got.kind != 'n') && (want.kind != 'n' || got.kind != 's') || got.text == "" {
		return false
	}
	x.bound = append(x.bound, binding{slot, got})
	return true
}

// isTime reports whether a recorded value is a time near the one at which it was
// recorded: two sides that look at the clock at once agree without having talked.
func isTime(l *leaf, recorded time.Time) bool {
	return epochUnit(l.text, recorded) != 0 || l.kind == 's' && timeForm(l.text, recorded) != 0
}

// byteDiff tells where two payloads part.
func byteDiff(want, got []byte) Difference {
	i := 0
	for i < len(want) && i < len(got) && want[i] == got[i] {
		i++
	}
	return Difference{fmt.Sprintf("byte %d", i), excerpt(want, i), excerpt(got, i)}
}

// excerpt is some bytes around a place.
func excerpt(b []byte, at int) string {
	const around = 24
	from, to := max(0, at-around), min(len(b), at+around)
	text := strings.ToValidUTF8(string(b[from:to]), "\uFFFD")
	if from > 0 {
		text = "…" + text
	}
	if to < len(b) {
		text += "…"
	}
	return text
}
