package replay

import (
	"context"
	"fmt"
	"hash/maphash"
	"slices"
	"strconv"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/tape"
)

// told is what was said in a session, to be compared with another one.
type told struct {
	plan   *Plan // whose steps are the messages; their views are made when they are needed
	said   []Said
	tokens []uint64 // by step: equal if two messages are the same by the rules
	notes  []string // what could not be compared, and why
	slots  []slot   // values that one side chose and the other repeated
	opened slots    // those of the handshake

	seed maphash.Seed
	buf  []byte
}

// readTold reads the messages of a session, as far as the bounds allow.
func readTold(ctx context.Context, src DiffSource, m Matching) (*told, error) {
	entry, err := src.Reader.Session(ctx, src.N)
	if err != nil {
		return nil, err
	}
	t := &told{plan: &Plan{Name: src.Name, Session: entry.Session}}
	if t.plan.rules, err = m.rules(entry.Rules); err != nil {
		return nil, fmt.Errorf("%s: %w", src.Name, err)
	}
	room := MaxDiffBytes
	for line, err := range record.Lines(ctx, src.Reader, src.N, record.ReadOptions{}) {
		if err != nil {
			return nil, err
		}
		if g := line.Gap; g != nil {
			t.note("%s of %s of %s were not recorded, at %s: %s", many(int(g.Frames), "frame"), many(int(g.Bytes), "byte"), src.Name, shortTime(line.T), g.Why)
		}
		msg := line.Message
		if msg == nil || msg.Op != tape.Text && msg.Op != tape.Binary {
			continue
		}
		var x Looked
		if src.Look != nil {
			x = src.Look(msg)
		}
		if x.Skip {
			continue
		}
		if room -= len(msg.Payload) + len(x.Value); room < 0 || len(t.said) == MaxDiffMessages {
			t.note("%s is longer than can be compared: what comes after its first %s is left out", src.Name, many(len(t.said), "message"))
			break
		}
		t.add(msg, x)
	}
	return t, nil
}

func (t *told) note(format string, args ...any) {
	switch {
	case len(t.notes) < maxNotes:
		t.notes = append(t.notes, fmt.Sprintf(format, args...))
	case len(t.notes) == maxNotes:
		t.notes = append(t.notes, "and more")
	}
}

func (t *told) add(m *tape.Message, x Looked) {
	t.said = append(t.said, Said{Looked: x, Seq: m.Seq, T: m.T, From: m.From, Content: m.Content, Fate: m.Fate, Partial: m.Partial})
	s := Step{N: len(t.said), Seq: m.Seq, T: m.T, From: m.From, Content: m.Content}
	if x.Value != nil && t.plan.rules.level != Bytes {
		s.Payload, s.Len = x.Value, uint64(len(x.Value))
	}
	t.plan.Steps = append(t.plan.Steps, s)
}

// look takes a message apart, unless it is too long.
func (t *told) look(s *Step) view {
	if len(s.Payload) > MaxDiffJSON {
		return view{}
	}
	return look(&s.Content)
}

// link finds the values that one side chose and the other repeated: those of the
// client as a fake server would, those of the server as a fake client would. It
// leaves them as sources of both sides' messages.
func (t *told) link() {
	p := t.plan
	type finding struct {
		linkFinder
		plan  Plan
		first int // its slots among those of both
	}
	var finders [2]*finding
	for _, role := range tape.Sides() {
		f := &finding{plan: Plan{Role: role, Session: p.Session, rules: p.rules}}
		f.linkFinder = linkFinder{links: &links{}, owners: map[string]int{}, ids: map[idKey][]idUse{}}
		f.opening(&f.plan, Ref{})
		finders[role] = f
	}
	found := make([][2][]source, len(p.Steps)) // by role
	for i := range p.Steps {
		s := &p.Steps[i]
		s.view = t.look(s)
		for role, f := range finders {
			for k := range s.view.leaves {
				if l := &s.view.leaves[k]; l.kind == 's' || l.kind == 'n' {
					f.leaf(&f.plan, s, k, l, Ref{Step: i + 1})
				}
			}
			found[i][role] = s.sources
			for _, at := range s.uses {
				found[i][role] = append(found[i][role], source(at))
			}
			s.sources, s.uses = nil, nil
		}
		s.view = view{}
	}
	t.opened = slots{}
	for _, f := range finders {
		f.first = len(t.slots)
		t.slots = append(t.slots, f.links.slots...)
		for name, slot := range f.plan.opened {
			t.opened[name] = slot + f.first
		}
	}
	for i := range p.Steps {
		var all []source
		for role, f := range finders {
			for _, at := range found[i][role] {
				if at.slot == mine {
					continue
				}
				at.slot += f.first
				if x := &t.slots[at.slot]; x.used > 0 || x.kept {
					all = append(all, at)
				}
			}
		}
		slices.SortFunc(all, bySource)
		p.Steps[i].sources = all
	}
}

// take finds the messages' tokens.
func (t *told) take(ctx context.Context, seed maphash.Seed) error {
	t.seed = seed
	t.tokens = make([]uint64, len(t.said))
	for i := range t.tokens {
		if i%1000 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		s := &t.plan.Steps[i]
		leaves, whole := t.leaves(s)
		for _, h := range leaves {
			whole += h // objects have no order
		}
		t.tokens[i] = whole + uint64(s.Op)
	}
	return nil
}

// leaves are the hashes of a message's values with their places, and of what is
// compared as a whole. Of what may differ from run to run they hold only what kind
// of value it is.
func (t *told) leaves(s *Step) (leaves []uint64, whole uint64) {
	rules := t.plan.rules
	if rules.level == Bytes && len(rules.ignore) == 0 {
		return nil, maphash.Bytes(t.seed, s.Payload)
	}
	v := t.look(s)
	if v.leaves == nil {
		return nil, maphash.Bytes(t.seed, s.Payload)
	}
	if rules.level == Bytes {
		x := differ{comparison: &comparison{plan: t.plan}, step: s}
		whole = maphash.Bytes(t.seed, x.unignored(s.Payload, &v))
	}
	for i := range v.leaves {
		l := &v.leaves[i]
		if covered(rules.ignore, s.From, &v, l.path) {
			continue
		}
		t.buf = t.buf[:0]
		for _, at := range l.path {
			if at.IsIndex {
				t.buf = append(strconv.AppendInt(append(t.buf, '['), int64(at.Index), 10), 0)
			} else {
				t.buf = append(append(append(t.buf, '.'), at.Key...), 0)
			}
		}
		t.value(s, &v, i)
		leaves = append(leaves, maphash.Bytes(t.seed, t.buf))
	}
	if rules.level == Bytes {
		return nil, whole
	}
	return leaves, 0
}

// value appends what two values have in common that are the same by the rules.
func (t *told) value(s *Step, v *view, i int) {
	l := &v.leaves[i]
	rules := t.plan.rules
	if rules.level == JSON || covered(rules.exact, s.From, v, l.path) {
		t.spell(l.scalar)
		return
	}
	done, linked := 0, false
	for _, at := range s.sources {
		if at.leaf == i && at.from >= done {
			t.buf = append(append(t.buf, l.text[done:at.from]...), markLink)
			done, linked = at.to, true
		}
	}
	near := t.plan.Session.Started.Add(s.T)
	switch {
	case linked:
		t.buf = append(t.buf, l.text[done:]...)
	case v.text || l.kind != 's' && l.kind != 'n':
		t.spell(l.scalar)
	default:
		if unit := epochUnit(l.text, near); unit != 0 && timeLike(l.key()) {
			t.buf = strconv.AppendFloat(append(t.buf, markTime), unit, 'g', -1, 64)
			return
		}
		if l.kind == 's' {
			if form := timeForm(l.text, near); form != 0 {
				t.buf = append(t.buf, markTime, byte(form))
				return
			}
			if text, ok := skeleton(l.text); ok {
				t.buf = append(append(t.buf, 's'), text...)
				return
			}
		}
		t.spell(l.scalar)
	}
}

// Marks of what is the same although it differs.
const (
	markLink = 0x05
	markTime = 0x06
)

func (t *told) spell(s scalar) {
	t.buf = append(t.buf, s.kind)
	if s.kind == 'n' {
		t.buf = append(t.buf, canonical(s.text)...)
	} else {
		t.buf = append(t.buf, s.text...)
	}
}

// resemblance says how much two messages have in common, from 0 to 1.
func resemblance(a, b *likely) float64 {
	if a.leaves == nil || b.leaves == nil {
		return alikeBytes(a.payload, b.payload)
	}
	n, i, j := 0, 0, 0
	for i < len(a.leaves) && j < len(b.leaves) {
		switch c := a.leaves[i]; {
		case c == b.leaves[j]:
			n, i, j = n+1, i+1, j+1
		case c < b.leaves[j]:
			i++
		default:
			j++
		}
	}
	return float64(n) / float64(max(len(a.leaves), len(b.leaves)))
}

// alikeBytes says how much of two payloads is the same at both ends.
func alikeBytes(a, b []byte) float64 {
	longest := max(len(a), len(b))
	if longest == 0 {
		return 1
	}
	n := commonPrefixLen(a, b)
	for a, b = a[n:], b[n:]; len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1]; n++ {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	return float64(n) / float64(longest)
}

// likely is a message in the form in which its resemblance to others is found out.
type likely struct {
	kind, key string
	leaves    []uint64 // sorted; nil of what is compared as a whole
	payload   []byte   // its beginning
}

// Of longer messages only so much is looked at for that.
const (
	likelyLeaves = 64
	likelyBytes  = 1 << 10
)

func (t *told) likely(i int) likely {
	s := &t.plan.Steps[i]
	out := likely{kind: t.said[i].Kind, key: t.said[i].Key, payload: s.Payload[:min(len(s.Payload), likelyBytes)]}
	if leaves, _ := t.leaves(s); len(leaves) > 1 {
		slices.Sort(leaves)
		out.leaves = leaves[:min(len(leaves), likelyLeaves)]
	}
	return out
}

// side are the steps of one side.
func (t *told) side(from tape.Side) (out []int) {
	for i := range t.said {
		if t.said[i].From == from {
			out = append(out, i)
		}
	}
	return out
}
