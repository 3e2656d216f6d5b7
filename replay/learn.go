package replay

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/wstape/wstape/internal/jsonpath"
	"github.com/wstape/wstape/tape"
)

// Two recordings of one scenario tell what differs from run to run. Learning
// lets the peers of each recording talk to the player of the other one, and turns
// what would be a mismatch into rules, until there is none: so what is learned is
// what a replay needs, and nothing that it knows without.

// ErrScenario says that two recordings are not of the same scenario.
var ErrScenario = errors.New("these are not recordings of the same scenario")

// Learned is what two recordings of a scenario tell about it.
type Learned struct {
	Sessions []LearnedSession // one for each session of the first recording
}

// LearnedSession is what was learned about one session.
type LearnedSession struct {
	Session, Other string // as people name it in the first and the second recording
	// Rules are all that the session's cassette is to carry: those that the
	// recordings carried already and the new ones. Nil if there are none.
	Rules *Rules
	Found []Finding // the new ones
	Notes []string  // what could not be learned, and why
}

// Finding is one rule that was found.
type Finding struct {
	Kind string // ignore or bind, as the list of the rule
	Rule Rule
	A, B string // the values that differed first, as they are written; "" where there was none

	made rule
}

// String tells a finding in one line.
func (f *Finding) String() string {
	text := f.Kind
	if f.Rule.From != nil {
		text += " " + f.Rule.From.String()
	}
	text += " " + f.Rule.Path
	if f.Rule.To != "" {
		text += " → " + f.Rule.To
	}
	for i, at := range slices.Sorted(maps.Keys(f.Rule.When)) {
		text += []string{" when ", " and "}[min(i, 1)] + at + " = " + string(f.Rule.When[at])
	}
	value := func(v string) string {
		if v == "" {
			return "nothing"
		}
		return cut(v, 40)
	}
	return escaped(text + "   " + value(f.A) + " / " + value(f.B))
}

// Learn compares two recordings of the same scenario, both loaded for a player
// that stands for the server, and finds the rules that they need.
func Learn(a, b *Recording) (*Learned, error) {
	l := &learner{a: a, b: b, found: make([][]Finding, len(a.Plans)), notes: make([][]string, len(a.Plans))}
	if err := l.pair(); err != nil {
		return nil, err
	}
	out := &Learned{}
	for i, p := range a.Plans {
		other := b.Plans[l.sessions[i]]
		carried, err := keptRules(p, other)
		if err != nil {
			return nil, err
		}
		kept, err := (&Matching{Rules: carried}).rules(nil)
		if err != nil {
			return nil, err
		}
		l.kept = append(l.kept, kept)
		out.Sessions = append(out.Sessions, LearnedSession{Session: p.Name, Other: other.Name, Rules: carried})
	}
	for l.round() {
	}
	for i := range out.Sessions {
		s := &out.Sessions[i]
		s.Found, s.Notes = l.found[i], l.notes[i]
		slices.SortStableFunc(s.Found, compareFindings)
		for _, f := range s.Found {
			list := &s.Rules.Ignore
			if f.Kind == "bind" {
				list = &s.Rules.Bind
			}
			*list = append(*list, f.Rule)
		}
		if len(s.Rules.Ignore)+len(s.Rules.Bind)+len(s.Rules.Exact) == 0 {
			s.Rules = nil
		}
	}
	return out, nil
}

// learner compares two recordings.
type learner struct {
	a, b     *Recording
	sessions []int    // of b, by session of a
	pairs    [][]twin // by session of a
	partners []partners
	kept     []*rules // that one of the two recordings carries
	found    [][]Finding
	notes    [][]string
}

// twin is a message of both recordings: the indexes of its steps.
type twin struct{ a, b int }

// partners finds the twin of a step by the step's index in one of the recordings.
type partners [2]map[int]int

// pair finds out which sessions, and which of their messages, are the same in
// both recordings.
func (l *learner) pair() error {
	free := map[string][]int{}
	for i, p := range l.b.Plans {
		at, _, _ := strings.Cut(target(&p.Session), "?")
		free[at] = append(free[at], i)
	}
	for _, p := range l.a.Plans {
		at, _, _ := strings.Cut(target(&p.Session), "?")
		if len(free[at]) == 0 {
			return fmt.Errorf("%w: %s asks for %s, and no session of the other one is left that does", ErrScenario, p.Name, at)
		}
		l.sessions = append(l.sessions, free[at][0])
		free[at] = free[at][1:]
	}
	for _, left := range slices.Sorted(maps.Keys(free)) {
		if len(free[left]) > 0 {
			return fmt.Errorf("%w: %s asks for %s, and no session of the first one is left that does", ErrScenario, l.b.Plans[free[left][0]].Name, left)
		}
	}
	for i, k := range l.sessions {
		if err := l.align(i, l.a.Plans[i], l.b.Plans[k]); err != nil {
			return err
		}
	}
	return nil
}

// align pairs the messages of two sessions: of each side the n-th of a kind with
// the n-th of that kind. So one more tick leaves the answers where they are.
func (l *learner) align(session int, a, b *Plan) error {
	var pairs []twin
	left := [2][]int{}
	for _, from := range []tape.Side{tape.Client, tape.Server} {
		as, bs := a.said(from), b.said(from)
		count := min(len(as), len(bs))
		matched := alignBy(&pairs, a, b, &as, &bs, func(s *Step) string { return s.kind(true) }, false)
		// A topic may be a name that is made up in each run.
		matched += alignBy(&pairs, a, b, &as, &bs, func(s *Step) string { return s.kind(false) }, true)
		left[0], left[1] = append(left[0], as...), append(left[1], bs...)
		if len(as)+len(bs) == 0 || 2*matched > count && count > 0 {
			continue
		}
		p, i, name := a, as, b.Name
		if len(as) == 0 {
			p, i, name = b, bs, a.Name
		}
		return fmt.Errorf("%w: what the %s says at step %d of %s (%s) has nothing like it in %s",
			ErrScenario, from, p.Steps[i[0]].N, p.Name, p.Steps[i[0]].brief(), name)
	}
	slices.SortFunc(pairs, func(x, y twin) int { return cmp.Compare(x.a, y.a) })
	l.pairs = append(l.pairs, pairs)
	of := partners{{}, {}}
	for n, p := range pairs {
		of[0][p.a], of[1][p.b] = n, n
	}
	l.partners = append(l.partners, of)
	for k, p := range []*Plan{a, b} {
		other := []*Plan{b, a}[k]
		slices.Sort(left[k])
		for _, i := range left[k] {
			s := &p.Steps[i]
			l.note(session, "step %d of %s, from the %s (%s), has nothing like it in %s", s.N, p.Name, s.From, s.brief(), other.Name)
		}
	}
	if x, y := a.ending(), b.ending(); x != y {
		l.note(session, "%s ended with %s, %s with %s", a.Name, x, b.Name, y)
	}
	return nil
}

// maxNotes bounds how much is told about a session.
const maxNotes = 20

func (l *learner) note(session int, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	switch notes := &l.notes[session]; {
	case slices.Contains(*notes, text):
	case len(*notes) < maxNotes:
		*notes = append(*notes, text)
	case len(*notes) == maxNotes:
		*notes = append(*notes, "and more")
	}
}

// said are the indexes of the messages of one side.
func (p *Plan) said(from tape.Side) (out []int) {
	for i := range p.Steps {
		if s := &p.Steps[i]; s.From == from && s.message() {
			out = append(out, i)
		}
	}
	return out
}

func (p *Plan) ending() string {
	if n := len(p.Steps); n > 0 && p.Steps[n-1].Ending != nil {
		return endingText(p.Steps[n-1].Ending)
	}
	return "nothing on the tape"
}

// brief shows a message in a few words.
func (s *Step) brief() string { return cut(s.summary(), 60) }

// alignBy pairs the n-th message of a kind with the n-th, and keeps in as and bs
// what is left. With all, only kinds of which both have as many.
func alignBy(pairs *[]twin, a, b *Plan, as, bs *[]int, kind func(*Step) string, all bool) (matched int) {
	theirs, ours := map[string][]int{}, map[string]int{}
	for _, i := range *as {
		ours[kind(&a.Steps[i])]++
	}
	for _, i := range *bs {
		k := kind(&b.Steps[i])
		theirs[k] = append(theirs[k], i)
	}
	if all {
		maps.DeleteFunc(theirs, func(k string, list []int) bool { return len(list) != ours[k] })
	}
	taken := map[int]bool{}
	*as = slices.DeleteFunc(slices.Clone(*as), func(i int) bool {
		k := kind(&a.Steps[i])
		if len(theirs[k]) == 0 {
			return false
		}
		*pairs = append(*pairs, twin{i, theirs[k][0]})
		taken[theirs[k][0]] = true
		theirs[k] = theirs[k][1:]
		matched++
		return true
	})
	*bs = slices.DeleteFunc(slices.Clone(*bs), func(i int) bool { return taken[i] })
	return matched
}

// discriminators are the keys that say what kind of message one is; what the
// last ones hold may be a name that somebody has made up.
func discriminators() (words, names []string) {
	return []string{"type", "event", "method", "op", "action", "cmd", "kind"}, []string{"topic", "channel"}
}

// discriminator is the value at a root key, or the string at the beginning of an
// array of which the message consists; nil if there is none that says something
// about other messages, too.
func (v *view) discriminator(key string) *leaf {
	for i := range v.leaves {
		l := &v.leaves[i]
		n := len(l.path)
		switch {
		case n != 1 || l.kind != 's' && l.kind != 'n' || len(l.text) > 60 || v.text:
		case key == "" && l.path[0] == (jsonpath.Seg{IsIndex: true}) && l.kind == 's', key != "" && l.path[0] == (jsonpath.Seg{Key: key}):
			if len(tokens(l.scalar)) == 0 {
				return l
			}
		}
	}
	return nil
}

// kind is what messages have in common that may be paired.
func (s *Step) kind(whole bool) string {
	kind := s.Op.String()
	words, names := discriminators()
	if whole {
		words = append(words, names...)
	}
	for _, key := range append(words, "") {
		if l := s.view.discriminator(key); l != nil {
			kind += fmt.Sprintf(" %s=%c%s", key, l.kind, l.text)
		}
	}
	return kind
}

// when is the condition that holds for messages like these two, so that a rule
// about ticks does not loosen other messages.
func when(a, b *Step) map[string]json.RawMessage {
	words, names := discriminators()
	for _, key := range append(append(words, names...), "") {
		x, y := a.view.discriminator(key), b.view.discriminator(key)
		if x != nil && y != nil && equal(x.scalar, y.scalar) {
			return map[string]json.RawMessage{x.path.String(): spell(x.scalar, true)}
		}
	}
	return nil
}

// different is a place where a message would not match.
type different struct {
	session int
	pair    int
	from    tape.Side
	place   string
	path    jsonpath.Path // the same in parts
	a, b    *leaf         // nil where it is not there
}

// round lets the peers of each recording talk to the player of the other one. It
// returns whether rules were found, so that it is worth another round.
func (l *learner) round() bool {
	// Each recording with its client as the live peer, and with its server.
	aClient, bClient := l.as(tape.Server, false), l.as(tape.Server, true)
	aServer, bServer := l.as(tape.Client, false), l.as(tape.Client, true)
	all := slices.Concat(
		l.trial(tape.Client, aClient, bServer, aServer, false), l.trial(tape.Client, bClient, aServer, bServer, true),
		l.trial(tape.Server, aServer, bClient, aClient, false), l.trial(tape.Server, bServer, aClient, bClient, true),
	)
	slices.SortStableFunc(all, func(x, y different) int {
		return cmp.Or(cmp.Compare(x.session, y.session), cmp.Compare(x.pair, y.pair), strings.Compare(x.place, y.place))
	})
	all = slices.CompactFunc(all, func(x, y different) bool {
		return x.session == y.session && x.pair == y.pair && x.place == y.place
	})
	return l.bind(all) || l.ignore(all)
}

// as is the first recording, or the second, as a player for role sees it, with
// what was learned up to now.
func (l *learner) as(role tape.Side, second bool) *Recording {
	r := l.a
	if second {
		r = l.b
	}
	out := &Recording{Role: role}
	for i, p := range r.Plans {
		clone := *p
		clone.Role, clone.opened = role, nil
		clone.Steps = slices.Clone(p.Steps)
		for k := range clone.Steps {
			clone.Steps[k].sources, clone.Steps[k].uses = nil, nil
		}
		session, _ := l.counterpart(i, second)
		kept := l.kept[session]
		rules := rules{
			level:  p.rules.level,
			ignore: slices.Concat(p.rules.ignore, kept.ignore),
			bind:   slices.Concat(p.rules.bind, kept.bind),
			exact:  slices.Concat(p.rules.exact, kept.exact),
		}
		for _, f := range l.found[session] {
			if f.Kind == "bind" {
				rules.bind = append(rules.bind, f.made)
			} else {
				rules.ignore = append(rules.ignore, f.made)
			}
		}
		clone.rules = &rules
		out.Plans = append(out.Plans, &clone)
	}
	out.links = findLinks(out)
	return out
}

// trial lets one side of a recording, which speaks as said, answer to the player
// of the other recording, and tells what would not match. Like is the other
// recording as seen by that side: from it comes what it would have heard. With
// swapped the recordings are b and a.
func (l *learner) trial(side tape.Side, player, said, like *Recording, swapped bool) (out []different) {
	heard := l.heard(said, like, swapped)
	run := newBindings(player.links)
	for _, e := range player.merged() {
		session, other := l.counterpart(e.Session, swapped)
		p, q := player.Plans[e.Session], said.Plans[other]
		if e.Step == 0 {
			openings := queryValues(target(&q.Session))
			if side == tape.Server {
				openings = headerValues(q.Session.Handshake.Response.Headers)
			}
			for _, v := range openings {
				if slot, ok := p.opened[v.name]; ok {
					run.put([]binding{{slot, scalar{'s', v.text}}})
				}
			}
			continue
		}
		s := &p.Steps[e.Step-1]
		n, t := l.partner(session, e.Step-1, swapped, q)
		if s.From != side || t == nil {
			continue
		}
		live := t.Content
		live.Payload = heard.rebind(t)
		x := comparison{p, run, q.Session.Started.Add(t.T)}
		diff, bound := x.compare(s, &live)
		run.put(bound)
		for _, d := range diff {
			at, err := jsonpath.Parse(d.Path)
			if err != nil { // "byte 17", "type"
				if !swapped {
					l.unlearnable(session, s, t, d)
				}
				continue
			}
			found := different{session: session, pair: n, from: side, place: d.Path}
			for _, part := range at.Parts {
				found.path = append(found.path, part.Seg)
			}
			if covered(p.rules.exact, s.From, &s.view, found.path) {
				l.note(session, "%s of the %s differs, which a rule wants exactly as it is", d.Path, s.From)
				continue
			}
			found.a, found.b = s.view.at(found.path), t.view.at(found.path)
			if swapped {
				found.a, found.b = found.b, found.a
			}
			out = append(out, found)
		}
	}
	return out
}

// counterpart is the session of a, and of the recording that is not being
// walked, for one of that which is.
func (l *learner) counterpart(i int, swapped bool) (session, other int) {
	if !swapped {
		return i, l.sessions[i]
	}
	session = slices.Index(l.sessions, i)
	return session, session
}

// partner finds the pair of a step, by its index, and the step of the other
// recording in it; nil if it has none.
func (l *learner) partner(session, i int, swapped bool, other *Plan) (int, *Step) {
	if swapped {
		n, ok := l.partners[session][1][i]
		if !ok {
			return 0, nil
		}
		return n, &other.Steps[l.pairs[session][n].a]
	}
	n, ok := l.partners[session][0][i]
	if !ok {
		return 0, nil
	}
	return n, &other.Steps[l.pairs[session][n].b]
}

// heard are the values that a side repeats, as it would have heard them from the
// other recording's peer.
func (l *learner) heard(said, like *Recording, swapped bool) *bindings {
	// The n-th value that was first seen at a place.
	type origin struct {
		place
		n int
	}
	number := func(counts map[place]int, at place) origin {
		counts[at]++
		return origin{at, counts[at]}
	}
	values, counts := map[origin]scalar{}, map[place]int{}
	for i := range like.links.slots {
		s := &like.links.slots[i]
		session, other := l.counterpart(s.from.Session, swapped)
		at := place{Ref{Session: other}, s.at}
		if s.from.Step > 0 {
			_, t := l.partner(session, s.from.Step-1, swapped, said.Plans[other])
			if t == nil {
				continue
			}
			at.Step = t.N
		}
		values[number(counts, at)] = s.value
	}
	out := newBindings(said.links)
	counts = map[place]int{}
	for i := range said.links.slots {
		s := &said.links.slots[i]
		if v, ok := values[number(counts, place{s.from, s.at})]; ok && !equal(v, s.value) {
			out.values[i] = v
		}
	}
	return out
}

// at finds the leaf at a place.
func (v *view) at(p jsonpath.Path) *leaf {
	for i := range v.leaves {
		if slices.Equal(v.leaves[i].path, p) {
			return &v.leaves[i]
		}
	}
	return nil
}

// unlearnable notes a message that differs as a whole.
func (l *learner) unlearnable(session int, a, b *Step, d Difference) {
	l.note(session, "steps %d and %d, from the %s, differ (%s: %s / %s), and only JSON can be learned from",
		a.N, b.N, a.From, d.Path, cut(escaped(d.Want), 40), cut(escaped(d.Got), 40))
}

// bind finds values that the other side repeats later, in both recordings at the
// same place. Whoever said a value first has chosen it.
func (l *learner) bind(all []different) (found bool) {
	type values struct {
		session int
		a, b    scalar
	}
	first := map[values]*different{}
	for i := range all {
		d := &all[i]
		if d.a == nil || d.b == nil || d.a.kind != 's' && d.a.kind != 'n' || d.a.kind != d.b.kind || equal(d.a.scalar, d.b.scalar) {
			continue
		}
		v := values{d.session, d.a.scalar, d.b.scalar}
		chosen := first[v]
		switch {
		case chosen == nil:
			first[v] = d
		case chosen.from != d.from && chosen.before(d, l):
			a, b := l.steps(chosen)
			rule := Rule{Path: chosen.place, To: d.place, From: &chosen.from, When: when(a, b)}
			found = l.add(d.session, "bind", rule, chosen) || found
		}
	}
	return found
}

// before reports whether a message came before another one in both recordings.
func (d *different) before(e *different, l *learner) bool {
	x, y := l.pairs[d.session][d.pair], l.pairs[e.session][e.pair]
	return x.a < y.a && x.b < y.b
}

func (l *learner) steps(d *different) (a, b *Step) {
	p := l.pairs[d.session][d.pair]
	return &l.a.Plans[d.session].Steps[p.a], &l.b.Plans[l.sessions[d.session]].Steps[p.b]
}

// ignore makes rules of what cannot be bound.
func (l *learner) ignore(all []different) (found bool) {
	lists := make([][]Finding, len(l.pairs))
	paths := make([][]jsonpath.Path, len(l.pairs))
	for i := range all {
		d := &all[i]
		a, b := l.steps(d)
		f := Finding{Kind: "ignore", Rule: Rule{Path: d.place, From: &d.from, When: when(a, b)}}
		f.A, f.B = asWritten(a, d.a), asWritten(b, d.b)
		if !slices.ContainsFunc(lists[d.session], func(g Finding) bool { return sameRule(&g.Rule, &f.Rule) }) {
			lists[d.session] = append(lists[d.session], f)
			paths[d.session] = append(paths[d.session], d.path)
		}
	}
	for session, list := range lists {
		for _, f := range l.collapse(session, list, paths[session]) {
			found = l.addFinding(session, f) || found
		}
	}
	return found
}

// asWritten is a leaf as it stands in its message.
func asWritten(s *Step, l *leaf) string {
	if l == nil {
		return ""
	}
	return string(s.Payload[l.start:l.end])
}

func (l *learner) add(session int, kind string, r Rule, d *different) bool {
	a, b := l.steps(d)
	return l.addFinding(session, Finding{Kind: kind, Rule: r, A: asWritten(a, d.a), B: asWritten(b, d.b)})
}

// addFinding adds a rule that is not there yet, and removes those that it makes
// unnecessary.
func (l *learner) addFinding(session int, f Finding) bool {
	for _, g := range l.found[session] {
		if g.Kind == f.Kind && (sameRule(&g.Rule, &f.Rule) || g.Kind == "ignore" && g.Rule.implies(&f.Rule)) {
			return false
		}
	}
	var made []rule
	if err := appendRule(&made, f.Rule); err != nil {
		return false // cannot be: it was made of a path and a value
	}
	f.made = made[0]
	if f.Kind == "ignore" {
		l.found[session] = slices.DeleteFunc(l.found[session], func(g Finding) bool { return g.Kind == f.Kind && f.Rule.implies(&g.Rule) })
	}
	l.found[session] = append(l.found[session], f)
	return true
}

func sameRule(a, b *Rule) bool {
	return a.Path == b.Path && a.To == b.To && (a.From == nil) == (b.From == nil) && (a.From == nil || *a.From == *b.From) &&
		maps.EqualFunc(a.When, b.When, func(x, y json.RawMessage) bool { return bytes.Equal(x, y) })
}

// implies reports whether a rule about the same messages names all that the
// other one names.
func (r *Rule) implies(other *Rule) bool {
	same := *other
	same.Path = r.Path
	if !sameRule(r, &same) || r.Path == other.Path {
		return false
	}
	p, err := jsonpath.Parse(r.Path)
	if err != nil {
		return false
	}
	q, err := jsonpath.Parse(other.Path)
	if err != nil {
		return false
	}
	var at jsonpath.Path
	for _, part := range q.Parts {
		if part.Any {
			part.Seg = jsonpath.Seg{Index: -1, IsIndex: true} // covered by * alone
		}
		at = append(at, part.Seg)
	}
	return p.Covers(at)
}

// collapse writes one rule with [*] for several that differ in one index of an
// array.
func (l *learner) collapse(session int, list []Finding, paths []jsonpath.Path) []Finding {
	for at := 0; ; at++ { // the place of the index in the path
		groups := map[string][]int{}
		deep := false
		for i, p := range paths {
			if at >= len(p) {
				continue
			}
			deep = true
			if p[at].IsIndex {
				r := &list[i].Rule
				key := fmt.Sprint(starred(p, at), r.From, r.When)
				groups[key] = append(groups[key], i)
			}
		}
		if !deep {
			return list
		}
		drop := map[int]bool{}
		for _, group := range groups {
			first := group[0]
			rule := list[first].Rule
			rule.Path = starred(paths[first], at)
			if len(group) < 2 || !l.alike(session, &rule) {
				continue
			}
			list[first].Rule = rule
			paths[first] = slices.Clone(paths[first])
			paths[first][at].Index = -1
			for _, i := range group[1:] {
				drop[i] = true
			}
		}
		var keptList []Finding
		var keptPaths []jsonpath.Path
		for i := range list {
			if !drop[i] {
				keptList, keptPaths = append(keptList, list[i]), append(keptPaths, paths[i])
			}
		}
		list, paths = keptList, keptPaths
	}
}

// starred writes a path with [*] in place of one index, and of those that have
// become so before.
func starred(p jsonpath.Path, at int) string {
	var b strings.Builder
	b.WriteByte('$')
	for i, s := range p {
		if s.IsIndex && (i == at || s.Index < 0) {
			b.WriteString("[*]")
		} else {
			b.WriteString(jsonpath.Path{s}.String()[1:])
		}
	}
	return b.String()
}

// alike reports whether all that a rule with [*] names are values of one kind:
// else the array is a tuple, like ["tick", 17, 64012.5], whose places are not alike.
func (l *learner) alike(session int, r *Rule) bool {
	var rules []rule
	if err := appendRule(&rules, *r); err != nil {
		return false
	}
	for _, c := range rules[0].when {
		if rules[0].path.Covers(jsonpath.Path{c.path.Parts[0].Seg}) {
			return false // what these messages are told by
		}
	}
	kind := byte(0)
	for n := range l.pairs[session] {
		x, y := l.steps(&different{session: session, pair: n})
		for _, s := range []*Step{x, y} {
			if s.From != *r.From || !rules[0].about(s.From, &s.view) {
				continue
			}
			for i := range s.view.leaves {
				leaf := &s.view.leaves[i]
				if !rules[0].path.Exactly(leaf.path) || leaf.kind == 'z' || leaf.kind == '{' || leaf.kind == '[' {
					continue
				}
				k := leaf.kind
				if k == 'f' {
					k = 't'
				}
				if kind != 0 && k != kind {
					return false
				}
				kind = k
			}
		}
	}
	return true
}

func compareFindings(x, y Finding) int {
	return cmp.Or(
		-strings.Compare(x.Kind, y.Kind), // ignore before bind, as in the cassette
		cmp.Compare(*x.Rule.From, *y.Rule.From), strings.Compare(x.Rule.Path, y.Rule.Path), strings.Compare(x.Rule.To, y.Rule.To),
		strings.Compare(fmt.Sprint(x.Rule.When), fmt.Sprint(y.Rule.When)),
	)
}

// keptRules joins the rules that the cassettes of two sessions carry already.
func keptRules(a, b *Plan) (*Rules, error) {
	out := &Rules{}
	for _, p := range []*Plan{a, b} {
		var own Rules
		if raw := bytes.TrimSpace(p.Session.Rules); len(raw) > 0 {
			if err := json.Unmarshal(raw, &own); err != nil {
				return nil, fmt.Errorf("the rules of %s: %w", p.Name, err)
			}
		}
		for _, list := range []struct {
			to  *[]Rule
			own []Rule
		}{{&out.Ignore, own.Ignore}, {&out.Bind, own.Bind}, {&out.Exact, own.Exact}} {
			for _, r := range list.own {
				if !slices.ContainsFunc(*list.to, func(known Rule) bool { return sameRule(&known, &r) }) {
					*list.to = append(*list.to, r)
				}
			}
		}
	}
	return out, nil
}
