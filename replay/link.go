package replay

import (
	"encoding/json"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/wstape/wstape/internal/jsonpath"
	"github.com/wstape/wstape/tape"
)

// A value that the live peer chose and that the player's side repeated on the
// tape is a link: what the live peer chooses this time is put in place of what
// stands on the tape. Who used a value first on the tape has chosen it.

// links are the links of a recording, by number.
type links struct {
	slots []slot
	names map[string][]string // of pseudonyms: under which names they stand
}

// slot is one value that the peer chose.
type slot struct {
	value scalar // as recorded
	from  Ref    // where it was first seen
	at    string // the place there
	used  int    // times that the player's side repeats it
	kept  bool   // it is one, whether it is repeated or not: a rule says so, or it is a secret

	secret bool // the tape has only a pseudonym
	theirs bool // the peer said it first
}

// slots names values of the handshake: a query key or header, and its number.
type slots map[string]int

// source is a place in what the peer sends that holds a linked value: in the
// decoded text of a leaf, the bytes from..to.
type source struct {
	leaf, from, to int
	slot           int // mine: the player chose the value, so it must come back as it is
}

// mine stands for the slot of a value that the player chose.
const mine = -1

// use is a place in what the player sends that holds a linked value.
type use source

// findLinks follows values through all sessions of a recording, in the order of
// time. Distinctive values are followed everywhere, small ones (a request's
// number) within their session and from one identifier to another of that name.
func findLinks(r *Recording) *links {
	all := &links{}
	copies := r.copies()
	finders := map[int]*linkFinder{}
	var f *linkFinder
	for _, e := range r.merged() {
		p := r.Plans[e.Session]
		if f = finders[copies[e.Session]]; f == nil {
			f = &linkFinder{r: r, links: all, owners: map[string]int{}, ids: map[idKey][]idUse{}}
			finders[copies[e.Session]] = f
		}
		if e.Step == 0 {
			f.opening(p, e)
			continue
		}
		s := &p.Steps[e.Step-1]
		for i := range s.view.leaves {
			l := &s.view.leaves[i]
			if l.kind == 's' || l.kind == 'n' {
				f.leaf(p, s, i, l, e)
			}
		}
	}
	(&linkFinder{r: r, links: all}).prune()
	return all
}

// copies says of each session how many before it are the same one: who plays a
// recording twice wants two that know nothing of each other.
func (r *Recording) copies() []int {
	seen := map[tape.ID]int{}
	out := make([]int, len(r.Plans))
	for i, p := range r.Plans {
		out[i] = seen[p.Session.ID]
		seen[p.Session.ID]++
	}
	return out
}

type linkFinder struct {
	r      *Recording
	links  *links
	owners map[string]int // of distinctive values: slot, or mine
	ids    map[idKey][]idUse
}

// idKey is a small value under an identifier's name, in one session.
type idKey struct {
	session int
	key     string
	value   string
}

// idUse is who used it first, at which place.
type idUse struct {
	place string
	slot  int
}

func (f *linkFinder) newSlot(value scalar, at Ref, place string, theirs bool) int {
	secret := isPseudonym(value.text)
	f.links.slots = append(f.links.slots, slot{value: value, from: at, at: place, theirs: theirs, kept: secret, secret: secret})
	return len(f.links.slots) - 1
}

// opening follows what stands in the handshake.
func (f *linkFinder) opening(p *Plan, e Ref) {
	request, response := queryValues(target(&p.Session)), headerValues(p.Session.Handshake.Response.Headers)
	f.links.secretNames(&p.Session)
	theirs, ours := request, response
	if p.Role == tape.Client {
		theirs, ours = response, request
	}
	for _, v := range ours {
		f.claim(v.text)
	}
	for _, v := range theirs {
		s := scalar{'s', v.text}
		if _, known := f.owners[v.text]; known || !distinctive(s) && !isPseudonym(v.text) {
			continue
		}
		n := f.newSlot(s, e, v.name, true)
		f.owners[v.text] = n
		if p.opened == nil {
			p.opened = slots{}
		}
		p.opened[v.name] = n
	}
}

// claim says that the player's side chose a value, if nobody did before. What a
// pseudonym stands for it has not.
func (f *linkFinder) claim(text string) {
	if _, known := f.owners[text]; !known && !isPseudonym(text) && distinctive(scalar{'s', text}) {
		f.owners[text] = mine
	}
}

func (f *linkFinder) leaf(p *Plan, s *Step, i int, l *leaf, e Ref) {
	peer := s.From != p.Role
	if f.byRule(p, s, i, l, e, peer) || f.byID(s, i, l, e, peer) {
		return
	}
	for _, span := range tokens(l.scalar) {
		text := l.text[span[0]:span[1]]
		n, known := f.owners[text]
		secret := isPseudonym(text)
		if secret {
			f.links.name(text, l.key())
		}
		if !known {
			n = mine
			if peer || secret {
				n = f.newSlot(scalar{l.kind, text}, e, l.path.String(), peer)
			}
			f.owners[text] = n
		}
		f.place(s, source{i, span[0], span[1], n}, peer)
	}
}

// place notes where a value stands.
func (f *linkFinder) place(s *Step, at source, peer bool) {
	if peer {
		s.sources = append(s.sources, at)
	} else if at.slot != mine {
		s.uses = append(s.uses, use(at))
		f.links.slots[at.slot].used++
	}
}

// byRule follows what rules say is repeated, be it at several places.
func (f *linkFinder) byRule(p *Plan, s *Step, i int, l *leaf, e Ref, peer bool) bool {
	n := mine
	for k := range p.rules.bind {
		r := &p.rules.bind[k]
		key := idKey{e.Session, "rule " + strconv.Itoa(k), string(l.kind) + l.text}
		known := f.ids[key]
		switch {
		case peer && r.path.Exactly(l.path) && r.about(s.From, &s.view):
			if n == mine && len(known) > 0 {
				n = known[0].slot
			}
			if n == mine {
				n = f.newSlot(l.scalar, e, l.path.String(), true)
			}
			if len(known) == 0 {
				f.ids[key] = []idUse{{slot: n}}
			}
			f.links.slots[n].kept = true
		case !peer && n == mine && r.to.Exactly(l.path) && len(known) > 0:
			n = known[0].slot
		}
	}
	if n == mine {
		return false
	}
	f.place(s, source{i, 0, len(l.text), n}, peer)
	return true
}

// sameID is how long an identifier must be that is the same one wherever it
// stands: sub-100000 as the result of a call and in what comes of it, but not 1
// as a message's id and as a user's.
const sameID = 6

// byID follows small values from one identifier to another of the same name.
func (f *linkFinder) byID(s *Step, i int, l *leaf, e Ref, peer bool) bool {
	key := l.ownKey()
	if l.text == "" || !idLike(key) || len(tokens(l.scalar)) > 0 {
		return false
	}
	k := idKey{e.Session, strings.ToLower(key) + counter(s, l), string(l.kind) + l.text}
	place := l.path.String()
	known := f.ids[k]
	found := slices.IndexFunc(known, func(u idUse) bool { return u.place == place })
	switch {
	case found >= 0:
	case len(l.text) >= sameID && len(known) > 0 && known[0].slot != mine:
		found = 0
	case peer && len(known) > 0 && known[0].slot == mine:
		return true // the peer repeats it
	case !peer && len(known) > 0:
		found = len(known) - 1
	default:
		u := idUse{place, mine}
		if peer {
			u.slot = f.newSlot(l.scalar, e, place, true)
		}
		f.ids[k] = append(known, u)
		found = len(known)
	}
	at := source{i, 0, len(l.text), f.ids[k][found].slot}
	if !peer || at.slot != mine { // a small value of the player's is compared like any other
		f.place(s, at, peer)
	}
	return true
}

// counter tells apart who counts the number of a Socket.IO packet: each side
// counts its own events (types 2 and 5), and the other side's acknowledgement
// (3 and 6) repeats the number.
func counter(s *Step, l *leaf) string {
	if l.path[0].Key != "(id)" {
		return ""
	}
	who := s.From
	if kind := s.view.leaves[0].text; strings.HasSuffix(kind, "3") || strings.HasSuffix(kind, "6") {
		who = who.Other()
	}
	return " of the " + who.String()
}

// prune forgets sources whose value nobody repeats: they are compared like
// everything else.
func (f *linkFinder) prune() {
	for _, p := range f.r.Plans {
		for i := range p.Steps {
			s := &p.Steps[i]
			s.sources = slices.DeleteFunc(s.sources, func(at source) bool {
				return at.slot != mine && f.links.slots[at.slot].used == 0 && !f.links.slots[at.slot].kept
			})
		}
	}
}

var (
	uuidToken = regexp.MustCompile(`[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}`)
	longToken = regexp.MustCompile(`[A-Za-z0-9+/=._~-]{8,}`)
	wordToken = regexp.MustCompile(`[A-Za-z0-9_-]{8,}`)
	partToken = regexp.MustCompile(`[A-Za-z0-9]{6,}`) // of sub-895513
)

// maxTokenText bounds in which texts values are looked for.
const maxTokenText = 16 << 10

// tokens finds the distinctive values in a scalar: itself, or parts of a string.
func tokens(s scalar) [][2]int {
	if s.kind == 's' && len(s.text) >= 8 && len(s.text) <= maxTokenText {
		if parts := findTokens(s.text, 0, []*regexp.Regexp{onlyPseudonym, uuidToken, longToken, wordToken, partToken}); len(parts) > 0 {
			return parts
		}
	}
	if distinctive(s) {
		return [][2]int{{0, len(s.text)}}
	}
	if len(s.text) > maxTokenText {
		return findTokens(s.text, 0, []*regexp.Regexp{onlyPseudonym})
	}
	return nil
}

// findTokens looks with the first pattern, and with the next ones where that
// finds nothing distinctive.
func findTokens(text string, offset int, patterns []*regexp.Regexp) (out [][2]int) {
	if len(patterns) == 0 {
		return nil
	}
	last := 0
	for _, m := range patterns[0].FindAllStringIndex(text, -1) {
		if found := text[m[0]:m[1]]; !isPseudonym(found) && !distinctive(scalar{'s', found}) {
			continue
		}
		out = append(out, findTokens(text[last:m[0]], offset+last, patterns[1:])...)
		out = append(out, [2]int{offset + m[0], offset + m[1]})
		last = m[1]
	}
	return append(out, findTokens(text[last:], offset+last, patterns[1:])...)
}

// named is a value of a handshake.
type named struct{ name, text string }

func queryValues(target string) (out []named) {
	_, query, _ := strings.Cut(target, "?")
	for pair := range strings.SplitSeq(query, "&") {
		key, value, _ := strings.Cut(pair, "=")
		if text, err := url.QueryUnescape(value); err == nil && text != "" {
			out = append(out, named{"?" + key, text})
		}
	}
	return out
}

func headerValues(headers []tape.Header) (out []named) {
	for _, h := range headers {
		if !handshakeHeader(h[0]) {
			out = append(out, named{strings.ToLower(h[0]) + ":", h[1]})
		}
	}
	return out
}

// target is what the client asked for.
func target(s *tape.Session) string {
	if t := s.Handshake.Request.Target; t != "" {
		return t
	}
	return s.URL
}

// bindings are what live peers chose in one run of a recording. Safe for
// concurrent use: the sessions of a run share them.
type bindings struct {
	slots []slot // as recorded

	mu     sync.Mutex
	values []scalar // by slot, of the recorded kind where that may be; kind 0 while unknown
}

// binding is one of them.
type binding struct {
	slot  int
	value scalar
}

func newBindings(l *links) *bindings {
	return &bindings{slots: l.slots, values: make([]scalar, len(l.slots))}
}

func (b *bindings) get(slot int) (scalar, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	v := b.values[slot]
	return v, v.kind != 0
}

func (b *bindings) put(list []binding) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, x := range list {
		b.values[x.slot] = x.value
	}
}

// rebind writes what the player is to send, with the values of this run; every
// other byte stays.
func (b *bindings) rebind(s *Step) []byte {
	var out []byte
	done := 0
	for _, u := range s.uses {
		value, known := b.get(u.slot)
		recorded, l := b.slots[u.slot].value, &s.view.leaves[u.leaf]
		if !known || value == recorded {
			continue
		}
		from, to, raw := l.start+u.from, l.start+u.to, s.Payload[l.start:l.end]
		quoted := !s.view.text && raw[0] == '"'
		var text []byte
		if u.from == 0 && u.to == len(l.text) {
			kind := value.kind
			if kind == recorded.kind && (l.kind == 's' || json.Valid([]byte(value.text))) {
				kind = l.kind // a number may be repeated as a string, and the other way round
			}
			if kind != l.kind && !s.view.text {
				quoted = kind == 's'
			}
			from, to, text = l.start, l.end, spell(scalar{kind, value.text}, quoted)
		} else if text = spell(scalar{'s', value.text}, quoted); quoted {
			from, to, text = l.start+jsonpath.Offset(raw, u.from), l.start+jsonpath.Offset(raw, u.to), text[1:len(text)-1]
		}
		out = append(append(out, s.Payload[done:from]...), text...)
		done = to
	}
	if done == 0 {
		return s.Payload
	}
	return append(out, s.Payload[done:]...)
}
