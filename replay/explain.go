package replay

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/wstape/wstape/tape"
)

// known is what the player does about one value that it does not compare
// exactly, or does not send as it is on the tape.
type known struct {
	path  string
	value string // as it is written in the message
	part  bool   // it is not all that stands there
	how   string // one of the words below
	as    string // of volatile: time, uuid, token or random
	ref   *place // where the value is repeated, or comes from; nil if nowhere
	more  int    // how many more times it is repeated
	rule  string // of ignored
	alone bool   // a time besides: the peer may say another one
}

// What a value is to the player.
const (
	isChosen  = "chosen"   // the peer's choice
	isSame    = "same"     // as the peer chose it before
	isEcho    = "echo"     // the player chose it, so it must come back
	isRebound = "rebound"  // the player repeats what the peer chose
	isVaries  = "volatile" // another one of its class may come
	isIgnored = "ignored"  // anything may come
	isSecret  = "secret"   // what the player sends must be given to it
)

// place is where a value stands: in a step, or in the handshake (step 0).
type place struct {
	Ref
	path string
}

// explainer collects what the player knows about the values of a recording.
type explainer struct {
	r     *Recording
	uses  [][]place // of each slot, in the order of the sessions
	bound []bool    // slots that the peer's messages may bind
}

func newExplainer(r *Recording) *explainer {
	x := &explainer{r: r, uses: make([][]place, len(r.links.slots)), bound: make([]bool, len(r.links.slots))}
	for i, p := range r.Plans {
		for _, n := range p.opened {
			x.bound[n] = true
		}
		for k := range p.Steps {
			s := &p.Steps[k]
			for _, u := range s.uses {
				x.uses[u.slot] = append(x.uses[u.slot], place{Ref{i, s.N}, placeText(s, u.leaf)})
			}
			for _, at := range s.sources {
				if l := &s.view.leaves[at.leaf]; at.slot != mine && (p.loose(s, l) || p.ignores(s, l) != "" || r.links.slots[at.slot].secret) {
					x.bound[at.slot] = true
				}
			}
		}
	}
	return x
}

// loose reports whether a leaf of the peer's may differ without a rule.
func (p *Plan) loose(s *Step, l *leaf) bool {
	level := p.rules.level
	return level != Bytes && level != JSON && !covered(p.rules.exact, s.From, &s.view, l.path)
}

// ignores is the rule by which a leaf may differ; "" if there is none.
func (p *Plan) ignores(s *Step, l *leaf) string {
	for i := range p.rules.ignore {
		if r := &p.rules.ignore[i]; r.path.Covers(l.path) && r.about(s.From, &s.view) {
			return r.path.String()
		}
	}
	return ""
}

// placeText names a leaf.
func placeText(s *Step, i int) string {
	if s.view.text {
		return "the text"
	}
	return s.view.leaves[i].path.String()
}

// opening tells what of a session's handshake the peer chooses.
func (x *explainer) opening(p *Plan) (out []known) {
	for name, n := range p.opened {
		if slot := &x.r.links.slots[n]; slot.used > 0 {
			k := known{path: name, value: slot.value.text, how: isChosen}
			x.repeated(&k, n)
			out = append(out, k)
		}
	}
	slices.SortFunc(out, func(a, b known) int { return strings.Compare(a.path, b.path) })
	return out
}

// step tells what is known about the values of a step.
func (x *explainer) step(p *Plan, s *Step) (out []known) {
	if !s.message() {
		return nil
	}
	if s.From == p.Role {
		for _, u := range s.uses {
			slot := &x.r.links.slots[u.slot]
			if slot.secret && !slot.theirs {
				k := s.known(u.leaf, u.from, u.to, isSecret)
				out = append(out, k)
			} else if x.bound[u.slot] {
				k := s.known(u.leaf, u.from, u.to, isRebound)
				k.ref = x.origin(u.slot)
				out = append(out, k)
			}
		}
		return out
	}
	for i := range s.view.leaves {
		l := &s.view.leaves[i]
		loose, rule := p.loose(s, l), p.ignores(s, l)
		as := ""
		if loose && !s.view.text {
			as = l.volatileAs(p.Session.Started.Add(s.T))
		}
		linked := false
		for _, at := range s.sources {
			secret := at.slot != mine && x.r.links.slots[at.slot].secret
			if at.leaf == i && (loose || rule != "" || secret) {
				linked = true
				out = append(out, x.source(p, s, at, as == "time" && isTime(l, p.Session.Started.Add(s.T))))
			}
		}
		switch {
		case rule != "":
			k := s.known(i, 0, len(l.text), isIgnored)
			k.rule = rule
			out = append(out, k)
		case as != "" && !linked:
			k := s.known(i, 0, len(l.text), isVaries)
			k.as = as
			out = append(out, k)
		}
	}
	return out
}

// source tells about a value of the peer's that one side has from the other.
func (x *explainer) source(p *Plan, s *Step, at source, alone bool) known {
	k := s.known(at.leaf, at.from, at.to, isEcho)
	k.alone = alone
	if at.slot == mine {
		return k
	}
	if origin := x.origin(at.slot); origin.Ref == (Ref{p.index, s.N}) && origin.path == k.path {
		k.how = isChosen
		x.repeated(&k, at.slot)
	} else {
		k.how, k.ref = isSame, origin
	}
	return k
}

func (s *Step) known(i, from, to int, how string) known {
	l := &s.view.leaves[i]
	k := known{path: placeText(s, i), how: how, part: from > 0 || to < len(l.text)}
	if k.part {
		k.value = l.text[from:to]
	} else {
		k.value = string(s.Payload[l.start:l.end])
	}
	return k
}

// repeated notes where the player repeats a value.
func (x *explainer) repeated(k *known, slot int) {
	if uses := x.uses[slot]; len(uses) > 0 {
		k.ref, k.more = &uses[0], len(uses)-1
	}
}

// origin is where a value was first seen.
func (x *explainer) origin(slot int) *place {
	s := &x.r.links.slots[slot]
	at := place{s.from, s.at}
	if at.Step > 0 && x.r.Plans[at.Session].Steps[at.Step-1].view.text {
		at.path = "the text"
	}
	return &at
}

// volatileAs says as what a value provably differs from run to run: "" if it
// does not.
func (l *leaf) volatileAs(recorded time.Time) string {
	if !volatile(l.key(), l.scalar, l.scalar, recorded, recorded) {
		return ""
	}
	if timeLike(l.key()) && epochUnit(l.text, recorded) != 0 || l.kind == 's' && timeForm(l.text, recorded) != 0 {
		return "time"
	}
	switch text, _ := skeleton(l.text); {
	case strings.Contains(text, markJWT):
		return "token"
	case strings.Contains(text, markUUID):
		return "uuid"
	}
	return "random"
}

// anchor is the step after which a step comes: what the player must have heard
// before it sends, or what was last before what it waits for.
func (p *Plan) anchor(s *Step) (step int, after time.Duration) {
	step = s.N - 1
	if s.From == p.Role {
		step = s.After
	}
	if step == 0 {
		return 0, s.T
	}
	return step, max(0, s.T-p.Steps[step-1].T)
}

// does says in one word what the player does at a step.
func (p *Plan) does(s *Step) string {
	switch {
	case s.Gap != nil:
		return "gap"
	case s.From != p.Role:
		return "expect"
	case s.Ending != nil:
		return "end"
	}
	return "send"
}

// ends says how a session ends.
func (p *Plan) ends() string {
	if n := len(p.Steps); n > 0 {
		switch last := &p.Steps[n-1]; {
		case last.Ending != nil:
			return fmt.Sprintf("the %s ends it with %s", last.From, endingText(last.Ending))
		case last.Gap != nil:
			return "it can be played up to the gap"
		}
	}
	if p.Role == tape.Server {
		return "the recording does not say how: whoever ends it is right"
	}
	return "the recording does not say how: wstape ends it with close 1000"
}

// The text is laid out for 100 columns.
const (
	explainWidth = 100
	explainIn    = 15 // how far values are set in
	maxValues    = 16 // values of a step that are told
)

// Explain writes for people what a player would do, step by step: what it sends
// and what it waits for, after what, and which values need not be as recorded.
func (r *Recording) Explain(w io.Writer) error {
	x, b := newExplainer(r), bufio.NewWriter(w) // keeps the first error for Flush
	for i, p := range r.Plans {
		if i > 0 {
			fmt.Fprintln(b)
		}
		x.head(b, p)
		for k := range p.Steps {
			x.line(b, p, &p.Steps[k])
		}
	}
	return b.Flush()
}

func (x *explainer) head(b *bufio.Writer, p *Plan) {
	if len(x.r.Plans) > 1 {
		fmt.Fprintf(b, "[%d] ", p.index+1)
	}
	fmt.Fprintf(b, "%s (%s)\n", escaped(p.Name), escaped(foldText(target(&p.Session), 0, maxPayload)))
	fmt.Fprintf(b, "  wstape stands for the %s; messages of the %s are matched by %s\n", p.Role, p.Role.Other(), p.rules.level)
	if p.Session.Status != 101 {
		fmt.Fprintf(b, "  the server answers the handshake with %d\n", p.Session.Status)
	} else {
		fmt.Fprintf(b, "  %s; %s\n", many(len(p.Steps), "step"), p.ends())
	}
	for _, e := range p.Opens {
		fmt.Fprintf(b, "  begins after %s\n", x.refText(e, -1))
	}
	for _, note := range p.Notes {
		fmt.Fprintf(b, "  %s\n", escaped(note))
	}
	for _, k := range x.opening(p) {
		fmt.Fprintf(b, "  %s\n", x.text(&k, p.index))
	}
	if len(p.Steps) > 0 {
		fmt.Fprintf(b, "\n step   seq   player       wait  after    message\n")
	}
}

func (x *explainer) line(b *bufio.Writer, p *Plan, s *Step) {
	arrow := "→"
	if s.From == tape.Server {
		arrow = "←"
	}
	seq := ""
	if s.Seq > 0 {
		seq = fmt.Sprint(s.Seq)
	}
	step, after := p.anchor(s)
	anchor := "opening"
	if step > 0 {
		anchor = fmt.Sprint(step)
	}
	head := fmt.Sprintf("%5d %5s %s %-6s %9s  %-7s  ", s.N, seq, arrow, p.does(s), shortTime(after), anchor)
	fmt.Fprintln(b, strings.TrimRight(head+cut(s.summary(), explainWidth-utf8.RuneCountInString(head)), " "))
	var across []string
	for _, e := range s.Across {
		across = append(across, x.refText(e, -1))
	}
	if len(across) > 0 {
		fmt.Fprintf(b, "%*sand after %s\n", explainIn, "", strings.Join(across, " and "))
	}
	values := x.step(p, s)
	for i := range values {
		if i == maxValues && len(values) > maxValues+1 {
			fmt.Fprintf(b, "%*sand %d more values\n", explainIn, "", len(values)-i)
			break
		}
		fmt.Fprintf(b, "%*s%s\n", explainIn, "", x.text(&values[i], p.index))
	}
}

// summary shows what happens at a step, in one line.
func (s *Step) summary() string {
	switch {
	case s.Gap != nil:
		return fmt.Sprintf("%s, %s not recorded: %s", many(int(s.Gap.Frames), "frame"), many(int(s.Gap.Bytes), "byte"), escaped(s.Gap.Why))
	case s.Ending != nil:
		return escaped(endingText(s.Ending))
	case s.Op == tape.Text:
		return escaped(string(s.Payload[:min(len(s.Payload), explainWidth)]))
	case readable(s.Payload):
		return fmt.Sprintf("%s %s", s.Op, escaped(string(s.Payload[:min(len(s.Payload), explainWidth)])))
	}
	return fmt.Sprintf("%s, %s: %x", s.Op, many(len(s.Payload), "byte"), s.Payload[:min(len(s.Payload), explainWidth)])
}

// cut ends a text that has no room.
func cut(text string, room int) string {
	if utf8.RuneCountInString(text) <= room {
		return text
	}
	return string([]rune(text)[:max(room-1, 0)]) + "…"
}

// text tells in one line what is done about a value.
func (x *explainer) text(k *known, session int) string {
	text := ""
	switch k.how {
	case isChosen:
		text = fmt.Sprintf("chosen by the %s", x.r.Role.Other())
		if k.ref != nil {
			text += ", repeated at " + x.refText(k.ref.Ref, session) + " " + k.ref.path
		}
		if k.more > 0 {
			text += fmt.Sprintf(" and %d more", k.more)
		}
	case isSame:
		text = "as at " + x.refText(k.ref.Ref, session) + " " + k.ref.path
	case isEcho:
		text = "must come back as sent"
	case isRebound:
		text = "from " + x.refText(k.ref.Ref, session) + " " + k.ref.path
	case isVaries:
		text = "may be another " + k.as
		if k.as == "random" {
			text += " value"
		}
	case isSecret:
		text = "a secret, to be given with --secret"
	case isIgnored:
		text = "may differ, by the rule " + k.rule
	}
	if k.alone {
		text += ", or another time"
	}
	value := cut(escaped(k.value), 24)
	if k.part {
		value = "…" + strings.TrimSuffix(value, "…") + "…"
	}
	return fmt.Sprintf("%s %s  %s", escaped(k.path), value, escaped(text))
}

// refText names a step, and its session by its number in the text if that is
// another one.
func (x *explainer) refText(e Ref, session int) string {
	text := fmt.Sprintf("step %d", e.Step)
	if e.Step == 0 {
		text = "the handshake"
	}
	if e.Session != session {
		text += fmt.Sprintf(" of [%d]", e.Session+1)
	}
	return text
}

type explainedSession struct {
	Session string      `json:"session"`
	Target  string      `json:"target"`
	As      string      `json:"as"`
	Match   Level       `json:"match"`
	Status  int         `json:"status"`
	Steps   int         `json:"steps"`
	Opens   []refJSON   `json:"opens_after,omitempty"`
	Values  []knownJSON `json:"values,omitempty"`
	Notes   []string    `json:"notes,omitempty"`
}

type explainedStep struct {
	Session string    `json:"session"`
	Step    int       `json:"step"`
	Seq     uint64    `json:"seq,omitempty"`
	T       seconds   `json:"t"`
	From    tape.Side `json:"from"`
	Does    string    `json:"does"`
	After   int       `json:"after"`
	Delay   seconds   `json:"delay"`
	Across  []refJSON `json:"across,omitempty"`
	*payloadJSON
	Ending *tape.Ending `json:"ending,omitempty"`
	Gap    *gapJSON     `json:"gap,omitempty"`
	Values []knownJSON  `json:"values,omitempty"`
}

type gapJSON struct {
	Frames uint64 `json:"frames"`
	Bytes  uint64 `json:"bytes"`
	Why    string `json:"why"`
}

type refJSON struct {
	Session string `json:"session,omitempty"`
	Step    int    `json:"step"`
	Path    string `json:"path,omitempty"`
}

type knownJSON struct {
	Path  string   `json:"path"`
	Value string   `json:"value"`
	Part  bool     `json:"part,omitempty"`
	How   string   `json:"how"`
	As    string   `json:"as,omitempty"`
	At    *refJSON `json:"at,omitempty"`
	More  int      `json:"more,omitempty"`
	Rule  string   `json:"rule,omitempty"`
	Time  bool     `json:"or_time,omitempty"`
}

// maxExplained bounds how much of a payload or value a line of JSON holds.
const maxExplained = 1024

// ExplainJSON writes the same for programs: a line for each session, and one for
// each of its steps.
func (r *Recording) ExplainJSON(w io.Writer) error {
	x, b := newExplainer(r), bufio.NewWriter(w)
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	for _, p := range r.Plans {
		if err := enc.Encode(explainedSession{
			Session: p.Name, Target: target(&p.Session), As: p.Role.String(), Match: p.rules.level, Status: p.Session.Status,
			Steps: len(p.Steps), Opens: x.refs(p.Opens), Values: x.values(x.opening(p), p.index), Notes: p.Notes,
		}); err != nil {
			return err
		}
		for k := range p.Steps {
			s := &p.Steps[k]
			line := explainedStep{
				Session: p.Name, Step: s.N, Seq: s.Seq, T: seconds(s.T), From: s.From, Does: p.does(s), Across: x.refs(s.Across),
				Ending: s.Ending, Values: x.values(x.step(p, s), p.index),
			}
			after := time.Duration(0)
			line.After, after = p.anchor(s)
			line.Delay = seconds(after)
			switch {
			case s.Gap != nil:
				gap := gapJSON(*s.Gap)
				line.Gap = &gap
			case s.Ending == nil:
				c := s.Content
				c.Len = uint64(len(c.Payload))
				c.Payload = []byte(shortened(string(c.Payload)))
				line.payloadJSON = payload(&c)
			}
			if err := enc.Encode(line); err != nil {
				return err
			}
		}
	}
	return b.Flush()
}

// shortened keeps the beginning of a text, up to a whole character.
func shortened(text string) string {
	if len(text) <= maxExplained {
		return text
	}
	n := maxExplained
	for n > maxExplained-utf8.UTFMax && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}

func (x *explainer) refs(list []Ref) (out []refJSON) {
	for _, e := range list {
		out = append(out, refJSON{Session: x.r.Plans[e.Session].Name, Step: e.Step})
	}
	return out
}

func (x *explainer) values(list []known, session int) (out []knownJSON) {
	for _, k := range list {
		j := knownJSON{Path: k.path, Value: shortened(k.value), Part: k.part, How: k.how, As: k.as, More: k.more, Rule: k.rule, Time: k.alone}
		if k.ref != nil {
			j.At = &refJSON{Step: k.ref.Step, Path: k.ref.path}
			if k.ref.Session != session {
				j.At.Session = x.r.Plans[k.ref.Session].Name
			}
		}
		out = append(out, j)
	}
	return out
}
