package replay

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/wstape/wstape/tape"
)

// Bounds of what is compared, of each session.
const (
	MaxDiffMessages = 250_000
	MaxDiffBytes    = 256 << 20 // of payloads
	MaxDiffJSON     = 1 << 20   // bytes of a message that is taken apart; a longer one is compared as bytes
)

// DiffSource names a session to be compared.
type DiffSource struct {
	Source
	// Look says what a message is; it is shown all text and binary messages in
	// order. With nil all are alike.
	Look func(m *tape.Message) Looked
}

// Looked is what a protocol says of a message.
type Looked struct {
	Skip  bool   // leave it out
	Kind  string // only messages of one kind are held to be two versions of one
	Key   string // or such with one correlation key
	Value []byte // JSON that the payload means, to be compared in its place; nil compares the payload
}

// Said is a message that is compared.
type Said struct {
	Looked
	Seq     uint64
	T       time.Duration
	From    tape.Side
	Content tape.Content // as on the tape
	Fate    tape.Fate
	Partial bool
}

// DiffKind says how a message of one session stands to one of the other.
type DiffKind string

// The kinds of changes.
const (
	Same  DiffKind = "equal"   // by the rules
	Edit  DiffKind = "changed" // the one has become the other
	OnlyA DiffKind = "only_a"
	OnlyB DiffKind = "only_b"
	Moved DiffKind = "moved" // the same, but before or after others of its side
)

// Change is a message of both sessions, or of one.
type Change struct {
	Kind DiffKind
	A, B *Said        // nil where there is none
	Diff []Difference // of Edit; Want is what A has, Got what B has
}

// Diff is how two sessions differ.
type Diff struct {
	A, B      tape.Session
	Level     Level
	Handshake []Difference
	Changes   []Change // in the order of A, with what only B has after what it follows there
	Ending    []Difference
	Counts    map[DiffKind]int
	Notes     []string // why not everything could be compared
}

// Equal reports whether everything could be compared and is the same.
func (d *Diff) Equal() bool {
	return len(d.Handshake)+len(d.Ending)+len(d.Notes) == 0 && len(d.Changes) == d.Counts[Same]
}

// Compare aligns the messages of two sessions and compares them by the rules of
// matching and by those that cassettes carry. Of each side the order counts, how
// the sides interleave does not; pings and pongs are not compared. By [Shape] a
// value that one side chose and the other repeated may be another one, if it is
// so everywhere; what looks at scripts is compared by Shape.
func Compare(ctx context.Context, a, b DiffSource, m Matching) (*Diff, error) {
	left, err := readTold(ctx, a, m)
	if err != nil {
		return nil, err
	}
	right, err := readTold(ctx, b, m)
	if err != nil {
		return nil, err
	}
	rules := &rules{
		level:  left.plan.rules.level,
		ignore: slices.Concat(left.plan.rules.ignore, right.plan.rules.ignore),
		bind:   slices.Concat(left.plan.rules.bind, right.plan.rules.bind),
		exact:  slices.Concat(left.plan.rules.exact, right.plan.rules.exact),
	}
	seed := maphash.MakeSeed()
	for _, t := range []*told{left, right} {
		t.plan.rules = rules
		if rules.level == Shape || rules.level == Script {
			t.link()
		}
		if err := t.take(ctx, seed); err != nil {
			return nil, err
		}
	}
	d := &Diff{
		A: left.plan.Session, B: right.plan.Session, Level: rules.level, Counts: map[DiffKind]int{},
		Notes: slices.Concat(left.notes, right.notes),
	}
	d.Handshake = handshakeDiff(left.plan, right.plan)
	d.Ending = endingDiff(d.A.Ending, d.B.Ending)
	c := &collation{a: left, b: right, run: newBindings(&links{slots: left.slots})}
	c.openings()
	if err := c.compare(ctx, c.lineUp()); err != nil {
		return nil, err
	}
	d.Changes = c.changes
	for i := range d.Changes {
		d.Counts[d.Changes[i].Kind]++
	}
	return d, nil
}

// collation is two sessions side by side.
type collation struct {
	a, b    *told
	run     *bindings // what was chosen in b for what was in a
	changes []Change
}

// openings binds what the two handshakes have at the same place.
func (c *collation) openings() {
	q := &c.b.plan.Session
	for _, v := range slices.Concat(queryValues(target(q)), headerValues(q.Handshake.Response.Headers)) {
		if slot, ok := c.a.opened[v.name]; ok {
			c.run.put([]binding{{slot, scalar{'s', v.text}}})
		}
	}
}

// none stands for the step that a message of the other session does not have.
const none = -1

// lineUp pairs the messages of both, each side for itself, and puts the sides
// together in the order of a. One of a pair is none where there is no other.
func (c *collation) lineUp() (all []twin) {
	var lists [2][]twin
	for _, from := range tape.Sides() {
		lists[from] = c.side(from)
	}
	// What only b has comes after what it follows there.
	var at [2]int
	last := [2]int{none, none}
	for {
		best := none
		for from, list := range lists {
			if at[from] == len(list) {
				continue
			}
			if p := list[at[from]]; p.a != none {
				last[from] = p.a
			}
			if best == none || last[from] < last[best] {
				best = from
			}
		}
		if best == none {
			return all
		}
		all = append(all, lists[best][at[best]])
		at[best]++
	}
}

// compare compares what is lined up.
func (c *collation) compare(ctx context.Context, all []twin) error {
	for i, p := range all {
		if i%1000 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		x := Change{}
		if p.a != none {
			x.A = &c.a.said[p.a]
		}
		if p.b != none {
			x.B = &c.b.said[p.b]
		}
		switch {
		case x.B == nil:
			x.Kind = OnlyA
		case x.A == nil:
			x.Kind = OnlyB
		default:
			x.Kind = Same
			if x.Diff = c.pair(p.a, p.b); len(x.Diff) > 0 {
				x.Kind = Edit
			}
		}
		c.changes = append(c.changes, x)
	}
	c.moved(all)
	return nil
}

// pair compares two messages. What it finds out about chosen values holds for
// what comes after.
func (c *collation) pair(a, b int) (diff []Difference) {
	s, t := &c.a.plan.Steps[a], &c.b.plan.Steps[b]
	x, y := &c.a.said[a], &c.b.said[b]
	switch {
	case max(len(s.Payload), len(t.Payload)) > MaxDiffJSON:
		if s.Op != t.Op {
			diff = append(diff, Difference{"type", s.Op.String(), t.Op.String()})
		}
		if !bytes.Equal(s.Payload, t.Payload) {
			diff = append(diff, plainDiff(&s.Content, &t.Content))
		}
	case s.Op == t.Op && bytes.Equal(s.Payload, t.Payload) && c.chosenAlike(s):
	default:
		s.view = look(&s.Content)
		against := comparison{c.a.plan, c.run, c.b.plan.Session.Started.Add(t.T)}
		var bound []binding
		diff, bound = against.compare(s, &t.Content)
		s.view = view{}
		c.run.put(bound)
		for i := range diff {
			if _, isByte := strings.CutPrefix(diff[i].Path, "byte "); isByte && !(legible(&s.Content) && legible(&t.Content)) {
				diff[i] = plainDiff(&s.Content, &t.Content)
			}
		}
	}
	if gone := x.Fate == tape.Dropped; gone != (y.Fate == tape.Dropped) {
		diff = append(diff, Difference{"fate", string(x.Fate), string(y.Fate)})
	}
	if x.Partial != y.Partial {
		diff = append(diff, Difference{"partial", fmt.Sprint(x.Partial), fmt.Sprint(y.Partial)})
	}
	return diff
}

// legible reports whether a payload is shown as text.
func legible(c *tape.Content) bool {
	return utf8.Valid(c.Payload) && (c.Op == tape.Text || readable(c.Payload))
}

// plainDiff tells where two payloads part; what is not legible, in hexadecimal.
func plainDiff(a, b *tape.Content) Difference {
	if legible(a) && legible(b) {
		return byteDiff(a.Payload, b.Payload)
	}
	const before, after = 4, 16
	at := commonPrefixLen(a.Payload, b.Payload)
	excerpt := func(p []byte) string {
		from, to := max(0, at-before), min(len(p), at+after)
		text := fmt.Sprintf("% x", p[from:to])
		if from > 0 {
			text = "… " + text
		}
		if to < len(p) {
			text += " …"
		}
		return text
	}
	return Difference{fmt.Sprintf("byte %d", at), excerpt(a.Payload), excerpt(b.Payload)}
}

// chosenAlike reports whether all linked values of a step may be in b what they are
// in a, and if so binds them: then what is the same needs no closer look.
func (c *collation) chosenAlike(s *Step) bool {
	for _, at := range s.sources {
		if v, known := c.run.get(at.slot); known && !equal(v, c.a.slots[at.slot].value) {
			return false
		}
	}
	for _, at := range s.sources {
		c.run.put([]binding{{at.slot, c.a.slots[at.slot].value}})
	}
	return true
}

// moved finds, among what only one of the two has, what both have at another place.
func (c *collation) moved(all []twin) {
	type place struct {
		from  tape.Side
		token uint64
	}
	waiting := map[place][]int{} // changes that only b has
	for i, x := range c.changes {
		if x.Kind == OnlyB {
			at := place{x.B.From, c.b.tokens[all[i].b]}
			waiting[at] = append(waiting[at], i)
		}
	}
	gone := map[int]bool{}
	for i := range c.changes {
		x := &c.changes[i]
		if x.Kind != OnlyA {
			continue
		}
		at := place{x.A.From, c.a.tokens[all[i].a]}
		list := waiting[at]
		if len(list) == 0 || len(c.pair(all[i].a, all[list[0]].b)) > 0 {
			continue
		}
		x.Kind, x.B = Moved, c.changes[list[0]].B
		gone[list[0]] = true
		waiting[at] = list[1:]
	}
	n := 0
	for i, x := range c.changes {
		if !gone[i] {
			c.changes[n] = x
			n++
		}
	}
	c.changes = c.changes[:n]
}

// handshakeDiff compares what was asked for and how it was answered.
func handshakeDiff(a, b *Plan) (diff []Difference) {
	add := func(path, want, got string) {
		if want != got {
			diff = append(diff, Difference{path, want, got})
		}
	}
	loose := a.rules.level == Shape || a.rules.level == Script
	// may reports whether two values differ as they do from run to run.
	may := func(key, want, got string) bool {
		return loose && volatile(key, scalar{'s', want}, scalar{'s', got}, a.Session.Started, b.Session.Started)
	}
	pathA, _, _ := strings.Cut(target(&a.Session), "?")
	pathB, _, _ := strings.Cut(target(&b.Session), "?")
	if !may("", pathA, pathB) {
		add("target", pathA, pathB)
	}
	rest := queryValues(target(&b.Session))
	for _, v := range queryValues(target(&a.Session)) {
		i := slices.IndexFunc(rest, func(w named) bool { return w.name == v.name })
		if i < 0 {
			add(v.name, v.text, "")
			continue
		}
		if !may(strings.TrimPrefix(v.name, "?"), v.text, rest[i].text) {
			add(v.name, v.text, rest[i].text)
		}
		rest = slices.Delete(rest, i, i+1)
	}
	for _, w := range rest {
		add(w.name, "", w.text)
	}
	add("status", fmt.Sprint(a.Session.Status), fmt.Sprint(b.Session.Status))
	add("subprotocol", a.Session.Subprotocol, b.Session.Subprotocol)
	add("extensions", a.Session.Extensions, b.Session.Extensions)
	if x, y := a.Session.Handshake.Response.Body, b.Session.Handshake.Response.Body; !bytes.Equal(x, y) {
		d := byteDiff(x, y)
		add("body, "+d.Path, d.Want, d.Got)
	}
	return diff
}

// endingDiff compares how two sessions ended.
func endingDiff(a, b *tape.Ending) (diff []Difference) {
	var x, y tape.Ending
	if a != nil {
		x = *a
	}
	if b != nil {
		y = *b
	}
	add := func(path, want, got string) {
		if want != got {
			diff = append(diff, Difference{path, want, got})
		}
	}
	side := func(s *tape.Side) string {
		if s == nil {
			return ""
		}
		return s.String()
	}
	code := func(e *tape.Ending) string {
		if e.Kind != tape.EndClose || e.Code == tape.NoStatus {
			return ""
		}
		return fmt.Sprint(e.Code)
	}
	add("kind", string(x.Kind), string(y.Kind))
	add("code", code(&x), code(&y))
	add("reason", x.Reason, y.Reason)
	add("from", side(x.From), side(y.From))
	return diff
}

// bySource orders by place.
func bySource(a, b source) int {
	return cmp.Or(cmp.Compare(a.leaf, b.leaf), cmp.Compare(a.from, b.from))
}
