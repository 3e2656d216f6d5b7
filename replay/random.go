package replay

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The marks stand in a skeleton for what is different in every run.
const (
	markJWT    = "\x01"
	markUUID   = "\x02"
	markHex    = "\x03"
	markBase64 = "\x04"
	marks      = markJWT + markUUID + markHex + markBase64
)

// skeleton is a string with a mark in place of each part that is different in
// every run; ok if there is one. Strings with equal skeletons are the same but
// for these parts.
func skeleton(s string) (text string, ok bool) {
	if len(s) < minRandom || len(s) > maxText || strings.ContainsAny(s, marks) {
		return "", false
	}
	var k skeletonBuilder
	for len(s) > 0 {
		if n := jwtLen(s); n > 0 {
			k.mark(markJWT)
			s = s[n:]
			continue
		}
		n := 0
		for n < len(s) && (isID(s[n]) || s[n] == '+' || s[n] == '/') {
			n++
		}
		field, rest := s[:n], s[n:]
		switch i := strings.IndexAny(field, "+/"); {
		case n == 0:
			k.plain(s[:1])
			rest = s[1:]
		case i < 0:
			k.word(field)
		case isBase64(field) && (i > 0 || strings.HasPrefix(rest, "=")):
			k.mark(markBase64)
		default: // a path
			for ; i >= 0; i = strings.IndexAny(field, "+/") {
				k.word(field[:i])
				k.plain(field[i : i+1])
				field = field[i+1:]
			}
			k.word(field)
		}
		if k.last == markBase64 && n > 0 { // padding goes with what it pads
			rest = strings.TrimPrefix(strings.TrimPrefix(rest, "="), "=")
		}
		s = rest
	}
	return k.text.String(), k.found
}

type skeletonBuilder struct {
	text  strings.Builder
	found bool
	last  string // the mark, if one was written last
}

func (k *skeletonBuilder) mark(m string) {
	k.text.WriteString(m)
	k.found, k.last = true, m
}

func (k *skeletonBuilder) plain(s string) {
	if s != "" {
		k.text.WriteString(s)
		k.last = ""
	}
}

// word adds a run of letters, digits, - and _.
func (k *skeletonBuilder) word(w string) {
	start := 0
	for part := range strings.FieldsFuncSeq(w, func(r rune) bool { return r == '-' || r == '_' }) {
		start += strings.Index(w[start:], part)
		end := start + uuidLen
		if end <= len(w) && isUUID(w[start:end]) && (end == len(w) || !isAlnum(w[end])) {
			k.around(w, start, end, markUUID)
			return
		}
		end = start + len(part)
		if digits := strings.TrimPrefix(part, "0x"); isHex(digits, minRandom, minHexDigits) {
			k.around(w, end-len(digits), end, markHex)
			return
		}
		start = end
	}
	k.random(w)
}

// around adds the word with a mark in place of a part of it.
func (k *skeletonBuilder) around(w string, start, end int, m string) {
	k.random(w[:start])
	k.mark(m)
	k.word(w[end:])
}

// random adds a word that may be random but for those of its parts, set off by
// - and _, that read like words and numbers: sk_live_4eC39HqLyjWDarjtT1zdp7dc.
func (k *skeletonBuilder) random(w string) {
	switch {
	case len(w) < minRandom:
		k.plain(w)
		return
	case isSocketID(w):
		k.mark(markBase64)
		return
	}
	var loose, fixed []string // in turn: fixed[i] follows loose[i]
	from := 0                 // of the next loose part
	for start, end := 0, 0; start < len(w); start = end + 1 {
		for end = start; end < len(w) && isAlnum(w[end]); end++ {
		}
		front := start-from <= len("sk_")
		if start < end && isFixed(w[start:end], front, len(fixed) > 0) {
			if front { // what is so short has no part in being random
				start = from
			}
			after := min(end+1, len(w))
			loose, fixed = append(loose, w[from:start]), append(fixed, w[start:after])
			from = after
		}
	}
	loose, fixed = append(loose, w[from:]), append(fixed, "")
	if all := strings.Join(loose, ""); !isRandom(all) {
		k.plain(w)
		return
	}
	for i, part := range loose {
		if strings.Trim(part, "-_") == "" {
			k.plain(part)
		} else {
			k.mark(markBase64)
		}
		k.plain(fixed[i])
	}
}

// isFixed reports whether a part between separators was written by a person:
// a number, words and numbers, a version. Short ones come up by chance too, so
// they count only where people put them: in front, words in lower case, numbers
// after words.
func isFixed(part string, front, after bool) bool {
	if isDigits(part) {
		return len(part) >= 4 || front && after && len(part) > 1
	}
	if front && part[0] == 'v' && isDigits(part[1:]) {
		return true
	}
	letters := 5
	if front && strings.ToLower(part) == part {
		letters = 3
	}
	for _, w := range words(part) {
		if len(w) < letters && !isDigits(w) {
			return false
		}
	}
	return surprise(part) < minSurprise/2
}

// isBase64 reports whether a text with + or / in it is random bytes, not a path.
func isBase64(text string) bool {
	if strings.ContainsAny(text, "-_") || !isRandom(text) {
		return false
	}
	for part := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == '+' || r == '/' }) {
		if isFixed(part, false, false) {
			return false
		}
	}
	return true
}

// isRandom reports whether a text is more likely to come from a random number
// generator than from a person. Letters of one case alone never are: they may be
// a word of a language whose words look odd here.
func isRandom(text string) bool {
	if len(text) < minRandom || len(text) > maxRandom {
		return false
	}
	return isMixed(text) && surprise(text) >= minSurprise && !isReadable(text)
}

// isMixed reports whether a text has digits or changes to upper case.
func isMixed(text string) bool {
	for i := range len(text) {
		if isDigit(text[i]) || i > 0 && isLower(text[i-1]) && isUpper(text[i]) {
			return true
		}
	}
	return false
}

// isSocketID reports whether a word is an id of Socket.IO: base64url of 12 random
// bytes and a counter of 3, which ends in AAAA for a long time and so reads less
// like chance than it is.
func isSocketID(w string) bool {
	return len(w) == 20 && w[16:18] == "AA" && isMixed(w) && surprise(w[:16]) >= 0
}

// isReadable reports whether a text is the base64 of text.
func isReadable(text string) bool {
	encoding := base64.RawURLEncoding
	if strings.ContainsAny(text, "+/") {
		encoding = base64.RawStdEncoding
	}
	plain, err := encoding.DecodeString(text)
	return err == nil && utf8.Valid(plain) && !strings.ContainsFunc(string(plain), func(r rune) bool {
		return !unicode.IsPrint(r) && !unicode.IsSpace(r)
	})
}

// jwtLen is the length of the JSON Web Token that s begins with (RFC 7519): a
// header that names an algorithm, claims, and a signature, which may be empty.
func jwtLen(s string) int {
	if !strings.HasPrefix(s, "eyJ") { // {" in base64
		return 0
	}
	n := 0
	for i := range 3 {
		start := n
		for n < len(s) && isID(s[n]) {
			n++
		}
		part, err := base64.RawURLEncoding.DecodeString(s[start:n])
		if err != nil {
			return 0
		}
		var object map[string]json.RawMessage
		if i < 2 && json.Unmarshal(part, &object) != nil || i == 0 && object["alg"] == nil {
			return 0
		}
		if i == 2 {
			return n
		}
		if n == len(s) || s[n] != '.' {
			return 0
		}
		n++
	}
	return 0
}

const uuidLen = 36

// isUUID reports whether s is a UUID of any version (RFC 9562) that was not
// chosen by hand.
func isUUID(s string) bool {
	if len(s) != uuidLen || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return false
	}
	different, _, others := hexDigits(strings.ToLower(s))
	return different >= minHexDigits && others == 4
}

const hexLetters = "abcdefABCDEF"

// isHex reports whether s is random hexadecimal of one case.
func isHex(s string, length, different int) bool {
	if len(s) < length || len(s) > maxRandom || strings.ToLower(s) != s && strings.ToUpper(s) != s {
		return false
	}
	n, letters, others := hexDigits(strings.ToLower(s))
	later := strings.TrimLeft(s, hexLetters) // DE89370400440532013000 is an account
	return others == 0 && letters < len(s) && strings.ContainsAny(later, hexLetters) && n >= different && surprise(s) > -minSurprise
}

// hexDigits counts the different digits of lower case hexadecimal, those that
// are letters, and what is no digit.
func hexDigits(s string) (different, letters, others int) {
	var seen [16]bool
	for i := range len(s) {
		c := s[i]
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
			letters++
		default:
			others++
			continue
		}
		if !seen[c] {
			seen[c] = true
			different++
		}
	}
	return different, letters, others
}

// surprise weighs, in bits, how much more likely a text is by chance than as
// words and identifiers: what follows what.
func surprise(s string) float64 {
	bits := 0.0
	for i := 1; i < len(s); i++ {
		a, b := s[i-1], s[i]
		switch {
		case !isAlnum(a) || !isAlnum(b):
			continue // - and _ are in both
		case i > 1 && b-a == a-s[i-2] && b-a <= 1:
			bits -= 3 // xxxx, abcdef, 0123
		case isLetter(a) && isLetter(b):
			if isLower(a) && !isLower(b) { // a word begins
				bits += 1.5
				continue
			}
			cost := letterCosts[int(a|0x20-'a')*27+int(b|0x20-'a')] - '0'
			bits += float64(cost) - 4.7 // log2 of 26
		case isLetter(a) != isLetter(b):
			bits += 3
		}
	}
	return bits
}

// letterCosts has a line for each letter with a digit for each letter that may
// follow it in a word: how many bits that is worth, 9 or more. Counted in the
// identifiers and documentation of Go's and npm's libraries.
const letterCosts = `85448759597344959343667669
36563689359277479447399949
37673863593478279563589979
47641679399587489547588869
47436569899553757234866579
46553399299477379455599969
57492865499564379445589978
29982999399867399464596979
66455559999442359543959795
49972799697989369829487999
48761659399665668937587989
48842889298397379955479949
25762999398658439956599989
49433639496686469842569979
65448569696442549355465899
39672986597469359353599979
99767998999369978589099999
38562669396656389444568959
59482894396678449842597959
39682794299679469345698949
55564569499442749433999899
28761799398969679977898699
27673995398684379347997999
44443397499868839872989759
76596899599543619834898998
49881899499589589969867965`

func isLower(c byte) bool  { return 'a' <= c && c <= 'z' }
func isUpper(c byte) bool  { return 'A' <= c && c <= 'Z' }
func isLetter(c byte) bool { return isLower(c) || isUpper(c) }
func isDigit(c byte) bool  { return '0' <= c && c <= '9' }
func isAlnum(c byte) bool  { return isLetter(c) || isDigit(c) }
func isID(c byte) bool     { return isAlnum(c) || c == '-' || c == '_' } // of base64url

func isDigits(s string) bool {
	for i := range len(s) {
		if !isDigit(s[i]) {
			return false
		}
	}
	return s != ""
}
