package script

import (
	"encoding/base64"
	"reflect"
	"strings"
	"sync"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"

	"github.com/dop251/goja"
)

// decodeText decodes UTF-8 as the WHATWG Encoding Standard says, except that a
// byte order mark stays: each maximal part of a broken sequence becomes one U+FFFD.
// The string does not share memory with p.
func decodeText(p []byte) goja.String {
	ascii := asciiPrefix(p)
	var b goja.StringBuilder
	if ascii < len(p) {
		b.LikelyUnicode(utf16Length(p))
	}
	for len(p) > 0 {
		good := validPrefix(p)
		// The builder copies at once, so it may look at p as a string.
		b.WriteUTF8String(unsafe.String(unsafe.SliceData(p), good))
		if p = p[good:]; len(p) > 0 {
			b.WriteRune(utf8.RuneError)
			p = p[brokenLength(p):]
		}
	}
	return b.String()
}

// encodeText encodes a string as UTF-8; a lone surrogate becomes U+FFFD.
func encodeText(s goja.String) []byte {
	if !isUTF16(s) {
		return []byte(strings.ToValidUTF8(s.String(), "\uFFFD"))
	}
	n := s.Length()
	p := make([]byte, 0, n+n/2)
	for i := 0; i < n; i++ {
		r := rune(s.CharAt(i))
		if utf16.IsSurrogate(r) {
			pair := utf8.RuneError
			if i+1 < n {
				pair = utf16.DecodeRune(r, rune(s.CharAt(i+1)))
			}
			if pair != utf8.RuneError {
				i++
			}
			r = pair
		}
		p = utf8.AppendRune(p, r)
	}
	return p
}

// isUTF16 tells whether goja holds a string as UTF-16. Its String method would turn
// that into runes and then into a string, at several times the memory; other strings
// are Go strings inside.
func isUTF16(s goja.String) bool { return reflect.TypeOf(s).Kind() == reflect.Slice }

// asciiPrefix returns how many bytes of p come before the first beyond ASCII.
func asciiPrefix(p []byte) int {
	for i, c := range p {
		if c >= utf8.RuneSelf {
			return i
		}
	}
	return len(p)
}

// validPrefix returns how many bytes of p are valid UTF-8.
func validPrefix(p []byte) int {
	if utf8.Valid(p) {
		return len(p)
	}
	for i := 0; ; {
		r, size := utf8.DecodeRune(p[i:])
		if r == utf8.RuneError && size <= 1 {
			return i
		}
		i += size
	}
}

// utf16Length returns at least how many UTF-16 units p decodes to: a unit for each
// byte that starts something, and a second for what starts four bytes.
func utf16Length(p []byte) int {
	n := 0
	for _, c := range p {
		if c < 0x80 || c >= 0xC0 {
			n++
		}
		if c >= 0xF0 {
			n++
		}
	}
	return n
}

// brokenLength returns how many bytes of p, which starts with an invalid sequence,
// become one U+FFFD: those that a valid sequence could have started with.
func brokenLength(p []byte) int {
	needed, low, high := sequence(p[0])
	n := 1
	for ; n < len(p) && n < needed && p[n] >= low && p[n] <= high; n++ {
		low, high = 0x80, 0xBF
	}
	return n
}

// sequence returns how long the UTF-8 sequence is that c starts, and what its second
// byte must be. https://encoding.spec.whatwg.org/#utf-8-decoder
func sequence(c byte) (length int, low, high byte) {
	switch {
	case c >= 0xC2 && c <= 0xDF:
		return 2, 0x80, 0xBF
	case c == 0xE0:
		return 3, 0xA0, 0xBF
	case c == 0xED:
		return 3, 0x80, 0x9F
	case c >= 0xE1 && c <= 0xEF:
		return 3, 0x80, 0xBF
	case c == 0xF0:
		return 4, 0x90, 0xBF
	case c >= 0xF1 && c <= 0xF3:
		return 4, 0x80, 0xBF
	case c == 0xF4:
		return 4, 0x80, 0x8F
	}
	return 1, 0, 0
}

// unfinished returns how many bytes at the end of p start a sequence that more
// bytes could make valid.
func unfinished(p []byte) int {
	for n := 1; n <= 3 && n <= len(p); n++ {
		tail := p[len(p)-n:]
		if needed, _, _ := sequence(tail[0]); needed > 1 {
			if needed > n && brokenLength(tail) == n {
				return n
			}
			return 0
		}
	}
	return 0
}

// textDecoder is what a TextDecoder does.
type textDecoder struct {
	encoding  string
	fatal     bool
	ignoreBOM bool

	pending []byte // of a sequence that the last part began
	started bool   // a byte order mark can no longer come
}

// encodingName returns the name of the encoding that a label means, or "".
func encodingName(label string) string {
	switch strings.ToLower(strings.Trim(label, "\t\n\f\r ")) {
	case "utf-8", "utf8", "unicode-1-1-utf-8", "unicode11utf8", "unicode20utf8", "x-unicode20utf8":
		return "utf-8"
	case "utf-16le", "utf-16", "ucs-2", "unicode", "unicodefeff", "iso-10646-ucs-2", "csunicode":
		return "utf-16le"
	case "utf-16be", "unicodefffe":
		return "utf-16be"
	case "windows-1252", "latin1", "latin-1", "l1", "ascii", "us-ascii", "iso-8859-1", "iso8859-1", "iso88591",
		"iso_8859-1", "iso_8859-1:1987", "iso-ir-100", "cp1252", "cp819", "ibm819", "csisolatin1", "x-cp1252", "ansi_x3.4-1968":
		return "windows-1252"
	}
	return ""
}

// decode decodes the next part, more telling that others follow. It is false if
// the decoder is fatal and the bytes are not valid.
func (d *textDecoder) decode(p []byte, more bool) (goja.String, bool) {
	if len(d.pending) > 0 {
		p = append(d.pending, p...)
		d.pending = nil
	}
	if more {
		n := d.incomplete(p)
		d.pending = append([]byte(nil), p[len(p)-n:]...)
		p = p[:len(p)-n]
	}
	p = d.skipMark(p)
	d.started = more && (d.started || len(p) > 0)
	switch d.encoding {
	case "utf-8":
		if d.fatal && !utf8.Valid(p) {
			return nil, false
		}
		return decodeText(p), true
	case "windows-1252":
		return decodeWindows1252(p), true
	}
	return decodeUTF16(p, d.encoding == "utf-16be", d.fatal)
}

// incomplete returns how many bytes at the end of p wait for others.
func (d *textDecoder) incomplete(p []byte) int {
	switch d.encoding {
	case "utf-8":
		return unfinished(p)
	case "windows-1252":
		return 0
	}
	odd := len(p) % 2
	if last := len(p) - odd - 2; last >= 0 {
		high := p[last+1]
		if d.encoding == "utf-16be" {
			high = p[last]
		}
		if high >= 0xD8 && high <= 0xDB { // half of a pair
			return odd + 2
		}
	}
	return odd
}

// skipMark removes a byte order mark from the start of a text.
func (d *textDecoder) skipMark(p []byte) []byte {
	if d.ignoreBOM || d.started {
		return p
	}
	mark := map[string]string{"utf-8": "\xEF\xBB\xBF", "utf-16le": "\xFF\xFE", "utf-16be": "\xFE\xFF"}[d.encoding]
	if mark != "" && strings.HasPrefix(string(p[:min(len(p), 3)]), mark) {
		d.started = true
		return p[len(mark):]
	}
	return p
}

// decodeUTF16 decodes pairs of bytes; lone surrogates and an odd last byte become U+FFFD.
func decodeUTF16(p []byte, bigEndian, fatal bool) (goja.String, bool) {
	units := make([]uint16, 0, len(p)/2+1)
	for ; len(p) >= 2; p = p[2:] {
		if bigEndian {
			units = append(units, uint16(p[0])<<8|uint16(p[1]))
		} else {
			units = append(units, uint16(p[1])<<8|uint16(p[0]))
		}
	}
	broken := len(p) > 0
	if last := len(units) - 1; broken && (last < 0 || units[last]&0xFC00 != 0xD800) {
		units = append(units, utf8.RuneError) // or else the half pair before it stands for both
	}
	for i := 0; i < len(units); i++ {
		if !utf16.IsSurrogate(rune(units[i])) {
			continue
		}
		if i+1 < len(units) && utf16.DecodeRune(rune(units[i]), rune(units[i+1])) != utf8.RuneError {
			i++
			continue
		}
		units[i] = utf8.RuneError
		broken = true
	}
	if fatal && broken {
		return nil, false
	}
	return goja.StringFromUTF16(units), true
}

// decodeWindows1252 decodes a byte to a character each.
func decodeWindows1252(p []byte) goja.String {
	// What 0x80 to 0x9F mean: https://encoding.spec.whatwg.org/index-windows-1252.txt
	const upper = "\u20AC\u0081\u201A\u0192\u201E\u2026\u2020\u2021\u02C6\u2030\u0160\u2039\u0152\u008D\u017D\u008F" +
		"\u0090\u2018\u2019\u201C\u201D\u2022\u2013\u2014\u02DC\u2122\u0161\u203A\u0153\u009D\u017E\u0178"
	table := utf16.Encode([]rune(upper))
	units := make([]uint16, len(p))
	for i, c := range p {
		units[i] = uint16(c)
		if c >= 0x80 && c <= 0x9F {
			units[i] = table[c-0x80]
		}
	}
	return goja.StringFromUTF16(units)
}

// atob decodes base64 as https://infra.spec.whatwg.org/#forgiving-base64-decode says.
func (g *globals) atob(c goja.FunctionCall) goja.Value {
	if len(c.Arguments) == 0 {
		panic(g.rt.NewTypeError("atob needs a string"))
	}
	p, ok := forgivingBase64(c.Arguments[0].String())
	if !ok {
		g.throwDOM("InvalidCharacterError", "The string to be decoded is not correctly encoded.")
	}
	units := make([]uint16, len(p))
	for i, b := range p {
		units[i] = uint16(b)
	}
	return goja.StringFromUTF16(units)
}

// forgivingBase64 decodes base64 with or without padding and with white space.
func forgivingBase64(text string) ([]byte, bool) {
	text = strings.Map(func(r rune) rune {
		if strings.ContainsRune("\t\n\f\r ", r) {
			return -1
		}
		return r
	}, text)
	if len(text)%4 == 0 {
		text = strings.TrimSuffix(strings.TrimSuffix(text, "="), "=")
	}
	p, err := base64.RawStdEncoding.DecodeString(text)
	return p, err == nil
}

// btoa encodes a string of bytes (U+0000 to U+00FF) as base64.
func (g *globals) btoa(c goja.FunctionCall) goja.Value {
	if len(c.Arguments) == 0 {
		panic(g.rt.NewTypeError("btoa needs a string"))
	}
	s := toText(g.rt, c.Arguments[0])
	p := make([]byte, s.Length())
	for i := range p {
		unit := s.CharAt(i)
		if unit > 0xFF {
			g.throwDOM("InvalidCharacterError", "The string to be encoded contains characters outside of the Latin1 range.")
		}
		p[i] = byte(unit)
	}
	return g.rt.ToValue(base64.StdEncoding.EncodeToString(p))
}

// textLibrary is TextEncoder and TextDecoder.
func textLibrary(g *globals) (*goja.Program, *goja.Object) {
	return textProgram(), natives(g.rt, map[string]func(goja.FunctionCall) goja.Value{
		"encode": g.encode, "encodeInto": g.encodeInto, "decoder": g.newDecoder,
	})
}

// encode is TextEncoder.encode.
func (g *globals) encode(c goja.FunctionCall) goja.Value {
	var p []byte
	if arg := c.Argument(0); !goja.IsUndefined(arg) {
		p = encodeText(toText(g.rt, arg))
	}
	return newBytes(g.rt, p)
}

// encodeInto is TextEncoder.encodeInto: it writes whole characters only.
func (g *globals) encodeInto(c goja.FunctionCall) goja.Value {
	s := toText(g.rt, c.Argument(0))
	to, ok := bufferSource(c.Argument(1))
	if !ok {
		panic(g.rt.NewTypeError("TextEncoder.encodeInto needs a Uint8Array"))
	}
	read, written := 0, 0
	for _, r := range string(encodeText(s)) {
		size := utf8.RuneLen(r)
		if written+size > len(to) {
			break
		}
		written += utf8.EncodeRune(to[written:], r)
		read += len(utf16.AppendRune(nil, r))
	}
	o := g.rt.NewObject()
	putProperty(o, "read", g.rt.ToValue(read))
	putProperty(o, "written", g.rt.ToValue(written))
	return o
}

// newDecoder makes what a TextDecoder calls: its encoding's name and a function.
func (g *globals) newDecoder(c goja.FunctionCall) goja.Value {
	d := &textDecoder{encoding: encodingName(c.Argument(0).String()), fatal: c.Argument(1).ToBoolean(), ignoreBOM: c.Argument(2).ToBoolean()}
	if d.encoding == "" {
		rangeError(g.rt, "TextDecoder does not know the encoding "+c.Argument(0).String())
	}
	return g.rt.NewArray(d.encoding, func(c goja.FunctionCall) goja.Value {
		p, ok := bufferSource(c.Argument(0))
		if !ok && !goja.IsUndefined(c.Argument(0)) {
			panic(g.rt.NewTypeError("TextDecoder.decode needs an ArrayBuffer or a view of one"))
		}
		s, ok := d.decode(p, c.Argument(1).ToBoolean())
		if !ok {
			d.pending, d.started = nil, false
			panic(g.rt.NewTypeError("The encoded data was not valid for encoding %s", d.encoding))
		}
		return s
	})
}

// newBytes makes a Uint8Array of p, which it takes.
func newBytes(rt *goja.Runtime, p []byte) goja.Value {
	o, err := rt.New(rt.GlobalObject().Get("Uint8Array"), rt.ToValue(rt.NewArrayBuffer(p)))
	propagate(err)
	return o
}

var textProgram = sync.OnceValue(func() *goja.Program {
	return goja.MustCompile("wstape:text", textSource, true)
})

const textSource = `(native => {
class TextEncoder {
	get encoding() { return "utf-8"; }
	encode(text) { return native.encode(text); }
	encodeInto(text, to) { return native.encodeInto(text, to); }
	get [native.tag]() { return "TextEncoder"; }
}

class TextDecoder {
	#encoding; #decode; #fatal; #ignoreBOM;
	constructor(label = "utf-8", options) {
		this.#fatal = !!options?.fatal;
		this.#ignoreBOM = !!options?.ignoreBOM;
		const decoder = native.decoder(label, this.#fatal, this.#ignoreBOM);
		this.#encoding = decoder[0];
		this.#decode = decoder[1];
	}
	get encoding() { return this.#encoding; }
	get fatal() { return this.#fatal; }
	get ignoreBOM() { return this.#ignoreBOM; }
	decode(bytes, options) { return this.#decode(bytes, !!options?.stream); }
	get [native.tag]() { return "TextDecoder"; }
}

return { TextEncoder, TextDecoder };
})`

// errorLibrary is DOMException.
func errorLibrary(g *globals) (*goja.Program, *goja.Object) {
	return errorProgram(), natives(g.rt, nil)
}

var errorProgram = sync.OnceValue(func() *goja.Program {
	return goja.MustCompile("wstape:errors", errorSource, true)
})

// The codes are those of https://webidl.spec.whatwg.org/#idl-DOMException-error-names
// which wstape throws.
const errorSource = `(native => {
const codes = { InvalidCharacterError: 5, NotSupportedError: 9, SyntaxError: 12, TypeMismatchError: 17, QuotaExceededError: 22, DataCloneError: 25 };
class DOMException extends Error {
	#name;
	constructor(message = "", options = "Error") {
		super(message, typeof options === "object" ? options : undefined);
		this.#name = String(typeof options === "object" ? options?.name ?? "Error" : options);
	}
	get name() { return this.#name; }
	get code() { return codes[this.#name] ?? 0; }
	get [native.tag]() { return "DOMException"; }
}
return { DOMException };
})`
