package script

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/dop251/goja"
)

const (
	// maxJSONDepth bounds the nesting of what msg.json reads and writes.
	maxJSONDepth = 1000

	// shareJSONText is the longest text whose strings share one copy of it. Strings
	// of longer texts are copied one by one, so that a script which keeps an
	// id in session.state does not keep the megabyte it came in.
	shareJSONText = 1 << 10
)

// jsonKind says what a node is.
type jsonKind uint8

const (
	jsonLiteral jsonKind = iota // null, true or false
	jsonNumber
	jsonString
	jsonArray
	jsonObject
)

// jsonNode is one value of a parsed text. The nodes of a tree lie in one slice
// in the order of the text: the children of node i are i+1, that node's next, and
// so on up to i's own next.
type jsonNode struct {
	val      goja.Value // what JavaScript was given; nil if shadowed
	slot     int32      // where the member or element begins: its key, or start
	start    int32      // where the value begins
	end      int32
	next     int32    // the first node behind this one's children
	key      int32    // index into jsonTree.keys; members only
	kind     jsonKind // what the value is
	plain    bool     // a string without escapes and without bytes above 0x7f
	wideKey  bool     // the key has a lone surrogate, so a Go string cannot address it
	shadowed bool     // a later member has the same key, and wins
	shadows  bool     // an object with shadowed members
}

// jsonTree is a text and its nodes; node 0 is the root.
type jsonTree struct {
	src    string // a copy of the text
	nodes  []jsonNode
	keys   []string // decoded keys; lone surrogates in the manner of WTF-8
	member int32    // the first member of any object, or noNode
}

// noNode stands for a value that no node is known for.
const noNode int32 = -1

// parseJSON reads text as RFC 8259 has it; ok is false if it is not one JSON value,
// is nested deeper than maxJSONDepth, or is too long for 32-bit offsets.
// Bytes that are not UTF-8 are accepted inside strings.
func parseJSON(text []byte) (t jsonTree, ok bool) {
	if len(text) == 0 || len(text) >= math.MaxInt32 {
		return t, false
	}
	p := jsonParser{src: string(text), member: noNode}
	p.nodes = make([]jsonNode, 0, 4+len(text)/12)
	p.share = len(text) <= shareJSONText
	p.space()
	if !p.value(p.pos) {
		return t, false
	}
	p.space()
	if p.pos != len(p.src) {
		return t, false
	}
	return jsonTree{src: p.src, nodes: p.nodes, keys: p.keys, member: p.member}, true
}

// jsonParser is the state of one parse. Its methods report whether they found what
// they are named for, and leave pos behind it.
type jsonParser struct {
	src    string
	pos    int
	depth  int
	nodes  []jsonNode
	keys   []string
	member int32
	known  map[string]string // keys seen in a text that is not shared
	share  bool
}

// space skips white space.
func (p *jsonParser) space() {
	for p.pos < len(p.src) {
		switch p.src[p.pos] {
		case ' ', '\t', '\n', '\r':
			p.pos++
		default:
			return
		}
	}
}

// take steps over c if it is the next byte.
func (p *jsonParser) take(c byte) bool {
	if p.pos < len(p.src) && p.src[p.pos] == c {
		p.pos++
		return true
	}
	return false
}

// value reads one value and appends its nodes. Its slot, the place where the
// member or element begins, is what the caller knows.
func (p *jsonParser) value(slot int) bool {
	if p.pos >= len(p.src) {
		return false
	}
	i := len(p.nodes)
	p.nodes = append(p.nodes, jsonNode{slot: int32(slot), start: int32(p.pos)})
	n := &p.nodes[i]
	ok := false
	switch c := p.src[p.pos]; c {
	case '{':
		n.kind = jsonObject
		ok = p.nested(i, (*jsonParser).members)
	case '[':
		n.kind = jsonArray
		ok = p.nested(i, (*jsonParser).elements)
	case '"':
		n.kind = jsonString
		n.plain, ok = p.str()
	case 't':
		ok = p.literal("true")
	case 'f':
		ok = p.literal("false")
	case 'n':
		ok = p.literal("null")
	default:
		n.kind = jsonNumber
		ok = p.number()
	}
	n = &p.nodes[i] // the slice may have moved
	n.end = int32(p.pos)
	n.next = int32(len(p.nodes))
	return ok
}

// nested reads the container of node i with the method that reads its inside.
func (p *jsonParser) nested(i int, inside func(*jsonParser, int) bool) bool {
	if p.depth == maxJSONDepth {
		return false
	}
	p.depth++
	p.pos++
	ok := inside(p, i)
	p.depth--
	return ok
}

// members reads an object from behind its brace.
func (p *jsonParser) members(object int) bool {
	p.space()
	if p.take('}') {
		return true
	}
	for count := 1; ; count++ {
		p.space()
		slot, child := p.pos, len(p.nodes)
		if p.member == noNode {
			p.member = int32(child)
		}
		plain, ok := p.str()
		if !ok {
			return false
		}
		key, wide := p.key(p.src[slot+1:p.pos-1], plain)
		p.space()
		if !p.take(':') {
			return false
		}
		p.space()
		if !p.value(slot) {
			return false
		}
		p.nodes[child].key = key
		p.nodes[child].wideKey = wide
		p.space()
		if p.take('}') {
			p.findShadowed(object, count)
			return true
		}
		if !p.take(',') {
			return false
		}
	}
}

// elements reads an array from behind its bracket.
func (p *jsonParser) elements(int) bool {
	p.space()
	if p.take(']') {
		return true
	}
	for {
		p.space()
		if !p.value(p.pos) {
			return false
		}
		p.space()
		if p.take(']') {
			return true
		}
		if !p.take(',') {
			return false
		}
	}
}

// literal reads exactly word.
func (p *jsonParser) literal(word string) bool {
	if !strings.HasPrefix(p.src[p.pos:], word) {
		return false
	}
	p.pos += len(word)
	return true
}

// number reads a number.
func (p *jsonParser) number() bool {
	p.take('-')
	if !p.take('0') && !p.digits() {
		return false
	}
	if p.take('.') && !p.digits() {
		return false
	}
	if p.take('e') || p.take('E') {
		if !p.take('+') {
			p.take('-')
		}
		return p.digits()
	}
	return true
}

// digits reads one digit or more.
func (p *jsonParser) digits() bool {
	from := p.pos
	for p.pos < len(p.src) && '0' <= p.src[p.pos] && p.src[p.pos] <= '9' {
		p.pos++
	}
	return p.pos > from
}

// str reads a string with its quotes. It is plain if its bytes are its characters.
func (p *jsonParser) str() (plain, ok bool) {
	if !p.take('"') {
		return false, false
	}
	plain = true
	for p.pos < len(p.src) {
		c := p.src[p.pos]
		p.pos++
		switch {
		case c == '"':
			return plain, true
		case c == '\\':
			plain = false
			if !p.escape() {
				return false, false
			}
		case c < 0x20:
			return false, false
		case c >= utf8.RuneSelf:
			plain = false
		}
	}
	return false, false
}

// escape reads an escape from behind its backslash.
func (p *jsonParser) escape() bool {
	if p.pos >= len(p.src) {
		return false
	}
	c := p.src[p.pos]
	p.pos++
	switch c {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return true
	case 'u':
		_, ok := hexUnit(p.src[p.pos:])
		p.pos += 4
		return ok
	}
	return false
}

// key decodes a member's key from between its quotes and keeps it.
func (p *jsonParser) key(raw string, plain bool) (index int32, wide bool) {
	if !plain {
		raw, wide = unescapeJSON(raw)
	}
	if p.keys == nil {
		p.keys = make([]string, 0, 4+len(p.src)/16)
	}
	p.keys = append(p.keys, p.hold(raw))
	return int32(len(p.keys) - 1), wide
}

// hold returns a key that does not keep a long text alive.
func (p *jsonParser) hold(key string) string {
	if p.share {
		return key
	}
	if held, ok := p.known[key]; ok {
		return held
	}
	if p.known == nil {
		p.known = make(map[string]string)
	}
	key = strings.Clone(key)
	p.known[key] = key
	return key
}

// findShadowed marks the members of an object that a later member of the same key
// hides from JavaScript.
func (p *jsonParser) findShadowed(object, count int) {
	if count > 16 {
		p.findShadowedByMap(object, count)
		return
	}
	// One bit per key seen: most objects have no two keys with the same bit,
	// and then nothing needs comparing.
	var seen uint64
	for c := object + 1; c < len(p.nodes); c = int(p.nodes[c].next) {
		key := p.keys[p.nodes[c].key]
		bit := keyBit(key)
		if seen&bit != 0 {
			p.shadowBefore(object, c, key)
		}
		seen |= bit
	}
}

// shadowBefore marks the members before member c whose key is key.
func (p *jsonParser) shadowBefore(object, c int, key string) {
	for d := object + 1; d < c; d = int(p.nodes[d].next) {
		if p.keys[p.nodes[d].key] == key {
			p.shadow(object, d)
		}
	}
}

// findShadowedByMap is findShadowed in linear time.
func (p *jsonParser) findShadowedByMap(object, count int) {
	last := make(map[string]int, count)
	for c := object + 1; c < len(p.nodes); c = int(p.nodes[c].next) {
		key := p.keys[p.nodes[c].key]
		if d, ok := last[key]; ok {
			p.shadow(object, d)
		}
		last[key] = c
	}
}

func (p *jsonParser) shadow(object, member int) {
	p.nodes[member].shadowed = true
	p.nodes[object].shadows = true
}

// keyBit is a hash of key with one bit set.
func keyBit(key string) uint64 {
	if key == "" {
		return 1
	}
	return 1 << ((uint(len(key))*7 + uint(key[0])*3 + uint(key[len(key)-1])) & 63)
}

// unescapeJSON decodes what stands between the quotes of a valid string. Bytes
// that are not UTF-8 become U+FFFD, one each, as in encoding/json. Lone surrogates are
// encoded like other code points (WTF-8), which no valid input can imitate; wide
// says that there are some.
func unescapeJSON(raw string) (s string, wide bool) {
	out := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); {
		c := raw[i]
		switch {
		case c == '\\' && raw[i+1] == 'u':
			r, size := escapedRune(raw[i:])
			wide = wide || utf16.IsSurrogate(r)
			out = appendWTF8(out, r)
			i += size
		case c == '\\':
			out = append(out, unescapeByte(raw[i+1]))
			i += 2
		case c < utf8.RuneSelf:
			out = append(out, c)
			i++
		default:
			r, size := utf8.DecodeRuneInString(raw[i:])
			out = utf8.AppendRune(out, r)
			i += size
		}
	}
	return string(out), wide
}

// escapedRune decodes \uXXXX, or two of them that make a surrogate pair.
func escapedRune(s string) (r rune, size int) {
	first, _ := hexUnit(s[2:])
	if len(s) >= 12 && s[6] == '\\' && s[7] == 'u' {
		second, _ := hexUnit(s[8:])
		if r := utf16.DecodeRune(rune(first), rune(second)); r != utf8.RuneError {
			return r, 12
		}
	}
	return rune(first), 6
}

// unescapeByte is the character that a one-letter escape stands for.
func unescapeByte(c byte) byte {
	switch c {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return c
}

// hexUnit reads four hexadecimal digits.
func hexUnit(s string) (unit uint16, ok bool) {
	if len(s) < 4 {
		return 0, false
	}
	for i := range 4 {
		c := s[i]
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		unit = unit<<4 | uint16(c)
	}
	return unit, true
}

// appendWTF8 appends r, which may be a surrogate.
func appendWTF8(b []byte, r rune) []byte {
	if !utf16.IsSurrogate(r) {
		return utf8.AppendRune(b, r)
	}
	return append(b, 0xE0|byte(r>>12), 0x80|byte(r>>6)&0x3F, 0x80|byte(r)&0x3F)
}

// wtf8Units turns the output of unescapeJSON into UTF-16.
func wtf8Units(s string) []uint16 {
	units := make([]uint16, 0, len(s))
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 {
			r, size = rune(s[i]&0x0F)<<12|rune(s[i+1]&0x3F)<<6|rune(s[i+2]&0x3F), 3
			units = append(units, uint16(r))
		} else {
			units = utf16.AppendRune(units, r)
		}
		i += size
	}
	return units
}

// stringWTF8 is the reverse: a JavaScript string as a Go string that keeps
// lone surrogates.
func stringWTF8(s goja.String) string {
	out := make([]byte, 0, s.Length())
	for i := 0; i < s.Length(); i++ {
		r := rune(s.CharAt(i))
		if utf16.IsSurrogate(r) && i+1 < s.Length() {
			if pair := utf16.DecodeRune(r, rune(s.CharAt(i+1))); pair != utf8.RuneError {
				r = pair
				i++
			}
		}
		out = appendWTF8(out, r)
	}
	return string(out)
}

// jsonBuilder makes the JavaScript values of a tree.
type jsonBuilder struct {
	rt   *goja.Runtime
	tree *jsonTree
	wide *wideKeys
	work []any // elements of the arrays that are being built
	err  error // the first failure; only lone surrogates in keys can fail
}

// value makes the value of node i and everything below it.
func (b *jsonBuilder) value(i int32) goja.Value {
	n := &b.tree.nodes[i]
	switch n.kind {
	case jsonObject:
		n.val = b.object(i)
	case jsonArray:
		n.val = b.array(i)
	case jsonString:
		n.val = b.str(n)
	case jsonNumber:
		n.val = b.number(b.tree.src[n.start:n.end])
	default:
		switch b.tree.src[n.start] {
		case 't':
			n.val = b.rt.ToValue(true)
		case 'f':
			n.val = b.rt.ToValue(false)
		default:
			n.val = goja.Null()
		}
	}
	return n.val
}

// object makes an object. Its properties are defined, not set: "__proto__" is a key
// like others, and setters on Object.prototype are not called.
func (b *jsonBuilder) object(i int32) *goja.Object {
	obj := b.rt.NewObject()
	nodes := b.tree.nodes
	for c := i + 1; c < nodes[i].next; c = nodes[c].next {
		// A shadowed member still decides where its key stands among the others.
		val := goja.Null()
		if !nodes[c].shadowed {
			val = b.value(c)
		}
		key := b.tree.keys[nodes[c].key]
		var err error
		if nodes[c].wideKey {
			err = b.wide.set(obj, key, val)
		} else {
			err = obj.DefineDataProperty(key, val, goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_TRUE)
		}
		if err != nil && b.err == nil {
			b.err = err
		}
	}
	return obj
}

func (b *jsonBuilder) array(i int32) *goja.Object {
	base := len(b.work)
	nodes := b.tree.nodes
	for c := i + 1; c < nodes[i].next; c = nodes[c].next {
		b.work = append(b.work, b.value(c))
	}
	arr := b.rt.NewArray(b.work[base:]...)
	b.work = b.work[:base]
	return arr
}

func (b *jsonBuilder) str(n *jsonNode) goja.Value {
	raw := b.tree.src[n.start+1 : n.end-1]
	if n.plain {
		if len(b.tree.src) > shareJSONText {
			raw = strings.Clone(raw)
		}
		return b.rt.ToValue(raw)
	}
	s, wide := unescapeJSON(raw)
	if wide {
		return goja.StringFromUTF16(wtf8Units(s))
	}
	return b.rt.ToValue(s)
}

// number gives what JSON.parse gives: the nearest double, or an infinity.
func (b *jsonBuilder) number(raw string) goja.Value {
	// Fifteen digits fit a double exactly. "-0" must stay a negative zero.
	if len(raw) <= 15 && raw[0] != '-' {
		if n, ok := smallInt(raw); ok {
			return b.rt.ToValue(n)
		}
	}
	f, _ := strconv.ParseFloat(raw, 64) // an error is ErrRange, and f is then right
	return b.rt.ToValue(f)
}

// smallInt reads a number that is digits only.
func smallInt(raw string) (n int64, ok bool) {
	for i := range len(raw) {
		c := raw[i] - '0'
		if c > 9 {
			return 0, false
		}
		n = n*10 + int64(c)
	}
	return n, true
}
