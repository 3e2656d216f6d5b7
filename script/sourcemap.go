package script

import (
	"encoding/json"
	"net/url"
	"strings"
)

// gojaSourceMap fits a source map to how goja uses it: it looks up columns that
// are counted from 1 in a map that counts from 0, takes the names of sources for
// URLs, and all that follows a mapping for the same place. The code from the
// line end on is the bundle's.
func gojaSourceMap(data []byte, end int) ([]byte, error) {
	var m struct {
		Version  int      `json:"version"`
		Sources  []string `json:"sources"`
		Names    []string `json:"names"`
		Mappings string   `json:"mappings"`
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, err
	}
	for i, source := range m.Sources {
		m.Sources[i] = (&url.URL{Path: source}).EscapedPath()
	}
	m.Names = []string{}
	mappings := strings.TrimRight(shiftColumns(m.Mappings), ";")
	mappings += strings.Repeat(";", max(1, end-1-strings.Count(mappings, ";")))
	toBundle := len(m.Sources) - lastSource(mappings)
	m.Mappings = mappings + "A" + string(appendVLQ(nil, toBundle)) + "AA"
	m.Sources = append(m.Sources, bundleName)
	return json.Marshal(m)
}

// lastSource returns the number of the source that mappings end with: each
// segment has the difference behind its column.
func lastSource(mappings string) (source int) {
	for segment := range strings.FieldsFuncSeq(mappings, func(r rune) bool { return r == ';' || r == ',' }) {
		if _, rest := cutVLQ(segment); rest != "" {
			difference, _ := cutVLQ(rest)
			source += difference
		}
	}
	return source
}

// shiftColumns adds 1 to all columns of a source map's mappings. A line's first
// segment begins with its column in the bundle, later ones with the difference;
// columns in the sources are differences from the very first segment on.
func shiftColumns(mappings string) string {
	lines := strings.Split(mappings, ";")
	first := true
	for i, line := range lines {
		if line == "" {
			continue
		}
		column, rest := cutVLQ(line)
		shifted := appendVLQ(nil, column+1)
		if first && rest != "" && rest[0] != ',' {
			first = false
			source, rest1 := cutVLQ(rest)
			row, rest2 := cutVLQ(rest1)
			column, rest3 := cutVLQ(rest2)
			shifted = appendVLQ(appendVLQ(appendVLQ(shifted, source), row), column+1)
			rest = rest3
		}
		lines[i] = string(shifted) + rest
	}
	return strings.Join(lines, ";")
}

const base64Digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

// cutVLQ reads the number that s begins with: base 64 digits of five bits, the
// lowest first and all but the last with a sixth bit; the lowest bit is the sign.
func cutVLQ(s string) (n int, rest string) {
	for i, shift := 0, 0; i < len(s); i, shift = i+1, shift+5 {
		digit := strings.IndexByte(base64Digits, s[i])
		n |= (digit & 31) << shift
		if digit&32 == 0 {
			s = s[i+1:]
			break
		}
	}
	if n&1 != 0 {
		return -(n >> 1), s
	}
	return n >> 1, s
}

func appendVLQ(b []byte, n int) []byte {
	bits := n << 1
	if n < 0 {
		bits = -n<<1 | 1
	}
	for ; bits > 31; bits >>= 5 {
		b = append(b, base64Digits[bits&31|32])
	}
	return append(b, base64Digits[bits])
}
