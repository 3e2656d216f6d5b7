package script

import (
	"math"
	"net/netip"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// urlRecord is a URL as https://url.spec.whatwg.org/#concept-url has it.
type urlRecord struct {
	scheme             string
	username, password string
	host               string
	hasHost            bool
	port               int // -1: none, or the scheme's default
	path               []string
	opaque             bool // path is one string, as in mailto:x@y
	query, fragment    string
	hasQuery, hasFrag  bool
}

// urlState is where the parser is, or what a setter lets it parse.
type urlState uint8

const (
	noState urlState = iota
	schemeStartState
	schemeState
	noSchemeState
	specialRelativeOrAuthorityState
	pathOrAuthorityState
	relativeState
	relativeSlashState
	specialAuthoritySlashesState
	specialAuthorityIgnoreSlashesState
	authorityState
	hostState
	hostnameState
	portState
	fileState
	fileSlashState
	fileHostState
	pathStartState
	pathState
	opaquePathState
	queryState
	fragmentState
)

const endOfURL = rune(-1)

// urlParser is the state machine of https://url.spec.whatwg.org/#url-parsing.
type urlParser struct {
	url      *urlRecord
	base     *urlRecord
	override urlState // of a setter
	state    urlState
	input    []rune
	at       int // of the rune being looked at
	buffer   []rune
	inside   bool // square brackets
	hasAt    bool // an @ was seen
	password bool // a : was seen before the @

	usernameText, passwordText strings.Builder
}

// urlVerdict is how a state ends.
type urlVerdict uint8

const (
	urlGoOn urlVerdict = iota
	urlDone
	urlBroken
)

// parseURL parses a URL, relative to base unless that is nil.
func parseURL(input string, base *urlRecord) (*urlRecord, bool) {
	p := &urlParser{url: &urlRecord{port: -1}, base: base, state: schemeStartState}
	input = strings.TrimFunc(input, func(r rune) bool { return r <= ' ' })
	if !p.run(input) {
		return nil, false
	}
	return p.url, true
}

// run parses input from the parser's state and tells whether that worked.
func (p *urlParser) run(input string) bool {
	p.input = []rune(strings.NewReplacer("\t", "", "\n", "", "\r", "").Replace(input))
	for ; ; p.at++ {
		c := p.rune(0)
		switch p.step(c) {
		case urlDone:
			return true
		case urlBroken:
			return false
		}
		if c == endOfURL && p.at >= len(p.input) {
			return true
		}
	}
}

// rune returns the rune n after the one being looked at.
func (p *urlParser) rune(n int) rune {
	if i := p.at + n; i >= 0 && i < len(p.input) {
		return p.input[i]
	}
	return endOfURL
}

// until takes the input from the rune being looked at up to one of the ends, at
// once: a rune at a time would take quadratic time.
func (p *urlParser) until(ends string) string {
	from := min(p.at, len(p.input))
	to := from
	for to < len(p.input) && !strings.ContainsRune(ends, p.input[to]) {
		to++
	}
	if to > from {
		p.at = to - 1
	}
	return string(p.input[from:to])
}

// again looks at the same rune in another state.
func (p *urlParser) again(state urlState) urlVerdict {
	p.state = state
	p.at--
	return urlGoOn
}

func (p *urlParser) step(c rune) urlVerdict {
	switch p.state {
	case schemeStartState:
		return p.schemeStart(c)
	case schemeState:
		return p.scheme(c)
	case noSchemeState:
		return p.noScheme(c)
	case specialRelativeOrAuthorityState:
		if c == '/' && p.rune(1) == '/' {
			p.at++
			p.state = specialAuthorityIgnoreSlashesState
			return urlGoOn
		}
		return p.again(relativeState)
	case pathOrAuthorityState:
		if c == '/' {
			p.state = authorityState
			return urlGoOn
		}
		return p.again(pathState)
	case relativeState:
		return p.relative(c)
	case relativeSlashState:
		return p.relativeSlash(c)
	case specialAuthoritySlashesState:
		if c == '/' && p.rune(1) == '/' {
			p.at++
			p.state = specialAuthorityIgnoreSlashesState
			return urlGoOn
		}
		return p.again(specialAuthorityIgnoreSlashesState)
	case specialAuthorityIgnoreSlashesState:
		if c != '/' && c != '\\' {
			return p.again(authorityState)
		}
		return urlGoOn
	case authorityState:
		return p.authority(c)
	case hostState, hostnameState:
		return p.hostPart(c)
	case portState:
		return p.portPart(c)
	case fileState:
		return p.file(c)
	case fileSlashState:
		return p.fileSlash(c)
	case fileHostState:
		return p.fileHost(c)
	case pathStartState:
		return p.pathStart(c)
	case pathState:
		return p.pathPart(c)
	case opaquePathState:
		return p.opaquePath(c)
	case queryState:
		return p.queryPart(c)
	case fragmentState:
		p.url.fragment += percentEncode(p.until(""), inFragmentSet)
	}
	return urlGoOn
}

func (p *urlParser) schemeStart(c rune) urlVerdict {
	switch {
	case isASCIILetter(c):
		p.buffer = append(p.buffer, unicode.ToLower(c))
		p.state = schemeState
	case p.override != noState:
		return urlBroken
	default:
		return p.again(noSchemeState)
	}
	return urlGoOn
}

func (p *urlParser) scheme(c rune) urlVerdict {
	switch {
	case isASCIILetter(c) || isASCIIDigit(c) || c == '+' || c == '-' || c == '.':
		p.buffer = append(p.buffer, unicode.ToLower(c))
		return urlGoOn
	case c != ':' && p.override != noState:
		return urlBroken
	case c != ':':
		p.buffer, p.at = nil, -1 // from the start
		p.state = noSchemeState
		return urlGoOn
	}
	scheme := string(p.buffer)
	p.buffer = nil
	if p.override != noState {
		return p.setScheme(scheme)
	}
	p.url.scheme = scheme
	switch {
	case scheme == "file":
		p.state = fileState
	case p.url.special() && p.base != nil && p.base.scheme == scheme:
		p.state = specialRelativeOrAuthorityState
	case p.url.special():
		p.state = specialAuthoritySlashesState
	case p.rune(1) == '/':
		p.at++
		p.state = pathOrAuthorityState
	default:
		p.url.opaque, p.url.path = true, []string{""}
		p.state = opaquePathState
	}
	return urlGoOn
}

// setScheme is what url.protocol = … may do.
func (p *urlParser) setScheme(scheme string) urlVerdict {
	u := p.url
	_, special := defaultPort(scheme)
	if u.special() != special {
		return urlDone
	}
	if scheme == "file" && (u.username != "" || u.password != "" || u.port >= 0) {
		return urlDone
	}
	if u.scheme == "file" && u.host == "" {
		return urlDone
	}
	u.scheme = scheme
	if port, _ := defaultPort(scheme); u.port == port {
		u.port = -1
	}
	return urlDone
}

func (p *urlParser) noScheme(c rune) urlVerdict {
	switch {
	case p.base == nil || p.base.opaque && c != '#':
		return urlBroken
	case p.base.opaque:
		p.copyBase()
		p.url.query, p.url.hasQuery = p.base.query, p.base.hasQuery
		p.url.fragment, p.url.hasFrag = "", true
		p.state = fragmentState
		return urlGoOn
	case p.base.scheme != "file":
		return p.again(relativeState)
	}
	return p.again(fileState)
}

// copyBase takes what comes before the query from the base.
func (p *urlParser) copyBase() {
	u, b := p.url, p.base
	u.scheme, u.username, u.password = b.scheme, b.username, b.password
	u.host, u.hasHost, u.port, u.opaque = b.host, b.hasHost, b.port, b.opaque
	u.path = append([]string(nil), b.path...)
}

func (p *urlParser) relative(c rune) urlVerdict {
	p.url.scheme = p.base.scheme
	switch {
	case c == '/' || c == '\\' && p.url.special():
		p.state = relativeSlashState
		return urlGoOn
	}
	p.copyBase()
	return p.afterBasePath(c, false)
}

// afterBasePath goes on where a path of the base ends.
func (p *urlParser) afterBasePath(c rune, file bool) urlVerdict {
	u := p.url
	u.query, u.hasQuery = p.base.query, p.base.hasQuery
	switch c {
	case '?':
		u.query, u.hasQuery = "", true
		p.state = queryState
	case '#':
		u.fragment, u.hasFrag = "", true
		p.state = fragmentState
	case endOfURL:
	default:
		u.query, u.hasQuery = "", false
		if file && startsWithDriveLetter(p.input[p.at:]) {
			u.path = nil
		} else {
			u.shorten()
		}
		return p.again(pathState)
	}
	return urlGoOn
}

func (p *urlParser) relativeSlash(c rune) urlVerdict {
	switch {
	case p.url.special() && (c == '/' || c == '\\'):
		p.state = specialAuthorityIgnoreSlashesState
		return urlGoOn
	case c == '/':
		p.state = authorityState
		return urlGoOn
	}
	p.copyBase()
	p.url.path = nil
	return p.again(pathState)
}

// endsAuthority tells whether a rune ends what comes after the two slashes.
func (p *urlParser) endsAuthority(c rune) bool {
	return c == endOfURL || c == '/' || c == '?' || c == '#' || c == '\\' && p.url.special()
}

func (p *urlParser) authority(c rune) urlVerdict {
	switch {
	case c == '@':
		if p.hasAt {
			p.buffer = append([]rune("%40"), p.buffer...)
		}
		p.hasAt = true
		for _, r := range p.buffer {
			switch {
			case r == ':' && !p.password:
				p.password = true
			case p.password:
				p.passwordText.WriteString(percentEncode(string(r), inUserinfoSet))
			default:
				p.usernameText.WriteString(percentEncode(string(r), inUserinfoSet))
			}
		}
		p.buffer = nil
	case p.endsAuthority(c):
		if p.hasAt && len(p.buffer) == 0 {
			return urlBroken
		}
		p.url.username, p.url.password = p.usernameText.String(), p.passwordText.String()
		p.at -= len(p.buffer) + 1
		p.buffer = nil
		p.state = hostState
	default:
		p.buffer = append(p.buffer, c)
	}
	return urlGoOn
}

func (p *urlParser) hostPart(c rune) urlVerdict {
	switch {
	case p.override != noState && p.url.scheme == "file":
		return p.again(fileHostState)
	case c == ':' && !p.inside:
		if len(p.buffer) == 0 || p.override == hostnameState {
			return urlBroken
		}
		if !p.takeHost() {
			return urlBroken
		}
		p.state = portState
	case p.endsAuthority(c):
		p.at--
		u := p.url
		if len(p.buffer) == 0 && (u.special() || p.override != noState && (u.username != "" || u.password != "" || u.port >= 0)) {
			return urlBroken
		}
		if !p.takeHost() {
			return urlBroken
		}
		p.state = pathStartState
		if p.override != noState {
			return urlDone
		}
	default:
		if c == '[' {
			p.inside = true
		} else if c == ']' {
			p.inside = false
		}
		p.buffer = append(p.buffer, c)
	}
	return urlGoOn
}

// takeHost makes the buffer the host.
func (p *urlParser) takeHost() bool {
	host, ok := parseHost(string(p.buffer), !p.url.special())
	if ok {
		p.url.host, p.url.hasHost = host, true
		p.buffer = nil
	}
	return ok
}

func (p *urlParser) portPart(c rune) urlVerdict {
	switch {
	case isASCIIDigit(c):
		p.buffer = append(p.buffer, c)
		return urlGoOn
	case !p.endsAuthority(c) && p.override == noState:
		return urlBroken
	}
	if len(p.buffer) > 0 {
		port, err := strconv.ParseUint(strings.TrimLeft(string(p.buffer), "0"), 10, 16)
		if strings.Trim(string(p.buffer), "0") == "" {
			port, err = 0, nil
		}
		if err != nil {
			return urlBroken
		}
		p.url.port = int(port)
		if standard, special := defaultPort(p.url.scheme); special && standard == int(port) {
			p.url.port = -1
		}
		p.buffer = nil
		if p.override != noState {
			return urlDone
		}
	}
	if p.override != noState {
		return urlBroken
	}
	return p.again(pathStartState)
}

func (p *urlParser) file(c rune) urlVerdict {
	u := p.url
	u.scheme, u.host, u.hasHost = "file", "", true
	switch {
	case c == '/' || c == '\\':
		p.state = fileSlashState
		return urlGoOn
	case p.base != nil && p.base.scheme == "file":
		u.host, u.hasHost = p.base.host, p.base.hasHost
		u.path = append([]string(nil), p.base.path...)
		return p.afterBasePath(c, true)
	}
	return p.again(pathState)
}

func (p *urlParser) fileSlash(c rune) urlVerdict {
	if c == '/' || c == '\\' {
		p.state = fileHostState
		return urlGoOn
	}
	if p.base != nil && p.base.scheme == "file" {
		p.url.host, p.url.hasHost = p.base.host, p.base.hasHost
		if !startsWithDriveLetter(p.input[min(p.at, len(p.input)):]) && len(p.base.path) > 0 && isNormalDriveLetter(p.base.path[0]) {
			p.url.path = append(p.url.path, p.base.path[0])
		}
	}
	return p.again(pathState)
}

func (p *urlParser) fileHost(c rune) urlVerdict {
	if c != endOfURL && c != '/' && c != '\\' && c != '?' && c != '#' {
		p.buffer = append(p.buffer, c)
		return urlGoOn
	}
	p.at--
	switch {
	case p.override == noState && isDriveLetter(string(p.buffer)):
		p.state = pathState // the buffer is the start of the path
		return urlGoOn
	case len(p.buffer) == 0:
		p.url.host, p.url.hasHost = "", true
	default:
		if !p.takeHost() {
			return urlBroken
		}
		if p.url.host == "localhost" {
			p.url.host = ""
		}
	}
	if p.override != noState {
		return urlDone
	}
	p.state = pathStartState
	return urlGoOn
}

func (p *urlParser) pathStart(c rune) urlVerdict {
	switch {
	case p.url.special():
		p.state = pathState
		if c != '/' && c != '\\' {
			p.at--
		}
	case p.override == noState && c == '?':
		p.url.hasQuery = true
		p.state = queryState
	case p.override == noState && c == '#':
		p.url.hasFrag = true
		p.state = fragmentState
	case c != endOfURL:
		p.state = pathState
		if c != '/' {
			p.at--
		}
	case p.override != noState && !p.url.hasHost:
		p.url.path = append(p.url.path, "")
	}
	return urlGoOn
}

func (p *urlParser) pathPart(c rune) urlVerdict {
	u := p.url
	slash := c == '/' || c == '\\' && u.special()
	ends := p.override == noState && (c == '?' || c == '#')
	if c != endOfURL && !slash && !ends {
		p.buffer = append(p.buffer, []rune(percentEncode(string(c), inPathSet))...)
		return urlGoOn
	}
	segment := string(p.buffer)
	p.buffer = nil
	switch {
	case isDoubleDot(segment):
		u.shorten()
		if !slash {
			u.path = append(u.path, "")
		}
	case isSingleDot(segment):
		if !slash {
			u.path = append(u.path, "")
		}
	default:
		if u.scheme == "file" && len(u.path) == 0 && isDriveLetter(segment) {
			segment = segment[:1] + ":"
		}
		u.path = append(u.path, segment)
	}
	switch c {
	case '?':
		u.query, u.hasQuery = "", true
		p.state = queryState
	case '#':
		u.fragment, u.hasFrag = "", true
		p.state = fragmentState
	}
	return urlGoOn
}

func (p *urlParser) opaquePath(c rune) urlVerdict {
	switch c {
	case '?':
		p.url.hasQuery = true
		p.state = queryState
	case '#':
		p.url.hasFrag = true
		p.state = fragmentState
	case endOfURL:
	default:
		p.url.path[0] += percentEncode(p.until("?#"), inControlSet)
	}
	return urlGoOn
}

func (p *urlParser) queryPart(c rune) urlVerdict {
	set, ends := inQuerySet, "#"
	if p.url.special() {
		set = inSpecialQuerySet
	}
	if p.override != noState {
		ends = ""
	}
	if c == '#' && ends != "" {
		p.url.hasFrag = true
		p.state = fragmentState
		return urlGoOn
	}
	p.url.query += percentEncode(p.until(ends), set)
	return urlGoOn
}

// defaultPort returns the port of a special scheme, -1 for file.
func defaultPort(scheme string) (port int, special bool) {
	switch scheme {
	case "http", "ws":
		return 80, true
	case "https", "wss":
		return 443, true
	case "ftp":
		return 21, true
	case "file":
		return -1, true
	}
	return -1, false
}

func (u *urlRecord) special() bool {
	_, special := defaultPort(u.scheme)
	return special
}

// shorten removes the last segment of the path, but no drive letter.
func (u *urlRecord) shorten() {
	if u.scheme == "file" && len(u.path) == 1 && isNormalDriveLetter(u.path[0]) {
		return
	}
	if len(u.path) > 0 {
		u.path = u.path[:len(u.path)-1]
	}
}

// pathname is the path as a string.
func (u *urlRecord) pathname() string {
	if u.opaque {
		return u.path[0]
	}
	if len(u.path) == 0 {
		return ""
	}
	return "/" + strings.Join(u.path, "/")
}

// hostPort is the host with the port.
func (u *urlRecord) hostPort() string {
	if u.port < 0 {
		return u.host
	}
	return u.host + ":" + strconv.Itoa(u.port)
}

// href is the URL as a string.
func (u *urlRecord) href() string {
	var b strings.Builder
	b.WriteString(u.scheme + ":")
	if u.hasHost {
		b.WriteString("//")
		if u.username != "" || u.password != "" {
			b.WriteString(u.username)
			if u.password != "" {
				b.WriteString(":" + u.password)
			}
			b.WriteByte('@')
		}
		b.WriteString(u.hostPort())
	} else if !u.opaque && len(u.path) > 1 && u.path[0] == "" {
		b.WriteString("/.") // or the path would read as a host
	}
	b.WriteString(u.pathname())
	if u.hasQuery {
		b.WriteString("?" + u.query)
	}
	if u.hasFrag {
		b.WriteString("#" + u.fragment)
	}
	return b.String()
}

// origin is scheme, host and port of a URL that has a server.
func (u *urlRecord) origin() string {
	if u.scheme == "blob" {
		if inner, ok := parseURL(u.pathname(), nil); ok && (inner.scheme == "http" || inner.scheme == "https") {
			return inner.origin()
		}
	}
	if !u.special() || u.scheme == "file" {
		return "null"
	}
	return u.scheme + "://" + u.hostPort()
}

func isASCIILetter(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' }
func isASCIIDigit(r rune) bool  { return r >= '0' && r <= '9' }

// isDriveLetter tells whether s is like C: or C|.
func isDriveLetter(s string) bool {
	return len(s) == 2 && isASCIILetter(rune(s[0])) && (s[1] == ':' || s[1] == '|')
}

func isNormalDriveLetter(s string) bool { return isDriveLetter(s) && s[1] == ':' }

func startsWithDriveLetter(input []rune) bool {
	if len(input) < 2 || !isDriveLetter(string(input[:2])) {
		return false
	}
	return len(input) == 2 || strings.ContainsRune(`/\?#`, input[2])
}

func isSingleDot(segment string) bool {
	return segment == "." || strings.EqualFold(segment, "%2e")
}

func isDoubleDot(segment string) bool {
	switch strings.ToLower(segment) {
	case "..", ".%2e", "%2e.", "%2e%2e":
		return true
	}
	return false
}

// The percent-encode sets of https://url.spec.whatwg.org/#percent-encoded-bytes.

func inControlSet(c byte) bool { return c < ' ' || c > '~' }
func inFragmentSet(c byte) bool {
	return inControlSet(c) || strings.IndexByte(" \"<>`", c) >= 0
}
func inQuerySet(c byte) bool        { return inControlSet(c) || strings.IndexByte(" \"#<>", c) >= 0 }
func inSpecialQuerySet(c byte) bool { return inQuerySet(c) || c == '\'' }
func inPathSet(c byte) bool         { return inQuerySet(c) || strings.IndexByte("?^`{}", c) >= 0 }
func inUserinfoSet(c byte) bool     { return inPathSet(c) || strings.IndexByte("/:;=@[\\]|", c) >= 0 }

// inFormSet is the set of application/x-www-form-urlencoded, but for the space.
func inFormSet(c byte) bool {
	return !isASCIILetter(rune(c)) && !isASCIIDigit(rune(c)) && strings.IndexByte("*-._", c) < 0
}

func percentEncode(text string, in func(byte) bool) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(text) {
		if c := text[i]; in(c) {
			b.Write([]byte{'%', digits[c>>4], digits[c&15]})
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// percentDecode decodes what is percent-encoded and leaves the rest.
func percentDecode(text string) []byte {
	p := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if text[i] == '%' && i+2 < len(text) {
			if c, err := strconv.ParseUint(text[i+1:i+3], 16, 8); err == nil {
				p = append(p, byte(c))
				i += 2
				continue
			}
		}
		p = append(p, text[i])
	}
	return p
}

// parseHost parses a host as https://url.spec.whatwg.org/#host-parsing says.
func parseHost(text string, opaque bool) (string, bool) {
	if strings.HasPrefix(text, "[") {
		if !strings.HasSuffix(text, "]") {
			return "", false
		}
		return parseIPv6(text[1 : len(text)-1])
	}
	if opaque {
		if strings.ContainsAny(text, "\x00\t\n\r #/:<>?@[\\]^|") {
			return "", false
		}
		return percentEncode(text, inControlSet), true
	}
	domain, ok := domainToASCII(strings.ToValidUTF8(string(percentDecode(text)), "\uFFFD"))
	if !ok || domain == "" || strings.ContainsAny(domain, "\x00\t\n\r #/:<>?@[\\]^|%\x7F") || strings.IndexFunc(domain, unicode.IsControl) >= 0 {
		return "", false
	}
	if endsInNumber(domain) {
		return parseIPv4(domain)
	}
	return domain, true
}

// domainToASCII writes a domain in small letters and its labels beyond ASCII in
// Punycode. It does not do the rest of UTS 46, such as normalising accents.
func domainToASCII(domain string) (string, bool) {
	domain = strings.ToLower(strings.NewReplacer("\u3002", ".", "\uFF0E", ".", "\uFF61", ".", "\u00AD", "").Replace(domain))
	labels := strings.Split(domain, ".")
	for i, label := range labels {
		if strings.ContainsRune(label, utf8.RuneError) || len(label) > 1000 && asciiPrefix([]byte(label)) < len(label) {
			return "", false // Punycode takes quadratic time, and DNS allows 63 bytes
		}
		if asciiPrefix([]byte(label)) < len(label) {
			labels[i] = "xn--" + punycode([]rune(label))
		}
	}
	return strings.Join(labels, "."), true
}

// punycode encodes a label as RFC 3492 says.
func punycode(label []rune) string {
	const base, tmin, tmax, skew, damp = 36, 1, 26, 38, 700
	var out []byte
	for _, r := range label {
		if r < utf8.RuneSelf {
			out = append(out, byte(r))
		}
	}
	basic := len(out)
	if basic > 0 {
		out = append(out, '-')
	}
	n, delta, bias := rune(128), 0, 72
	for handled := basic; handled < len(label); n++ {
		next := rune(math.MaxInt32)
		for _, r := range label {
			if r >= n {
				next = min(next, r)
			}
		}
		delta += int(next-n) * (handled + 1)
		n = next
		for _, r := range label {
			if r < n {
				delta++
			}
			if r != n {
				continue
			}
			q := delta
			for k := base; ; k += base {
				t := min(max(k-bias, tmin), tmax)
				if q < t {
					break
				}
				out = append(out, punycodeDigit(t+(q-t)%(base-t)))
				q = (q - t) / (base - t)
			}
			out = append(out, punycodeDigit(q))
			// adapt the bias
			if handled == basic {
				delta /= damp
			} else {
				delta /= 2
			}
			handled++
			delta += delta / handled
			k := 0
			for ; delta > (base-tmin)*tmax/2; k += base {
				delta /= base - tmin
			}
			bias = k + (base-tmin+1)*delta/(delta+skew)
			delta = 0
		}
		delta++
	}
	return string(out)
}

func punycodeDigit(n int) byte {
	if n < 26 {
		return byte('a' + n)
	}
	return byte('0' + n - 26)
}

// endsInNumber tells whether a domain has to be an IPv4 address.
func endsInNumber(domain string) bool {
	parts := strings.Split(domain, ".")
	if last := len(parts) - 1; parts[last] == "" {
		if last == 0 {
			return false
		}
		parts = parts[:last]
	}
	last := parts[len(parts)-1]
	if last != "" && strings.Trim(last, "0123456789") == "" {
		return true
	}
	_, ok := ipv4Number(last)
	return ok
}

// ipv4Number parses a number in decimal, octal or hexadecimal.
func ipv4Number(text string) (uint64, bool) {
	base := 10
	switch {
	case text == "":
		return 0, false
	case len(text) >= 2 && (text[:2] == "0x" || text[:2] == "0X"):
		text, base = text[2:], 16
	case len(text) >= 2 && text[0] == '0':
		text, base = text[1:], 8
	}
	if text == "" {
		return 0, true
	}
	if strings.ContainsAny(text, "+-_") {
		return 0, false
	}
	n, err := strconv.ParseUint(text, base, 64)
	if err != nil && strings.Contains(err.Error(), strconv.ErrRange.Error()) {
		return math.MaxUint64, true
	}
	return n, err == nil
}

func parseIPv4(text string) (string, bool) {
	parts := strings.Split(strings.TrimSuffix(text, "."), ".")
	if len(parts) > 4 {
		return "", false
	}
	address := uint64(0)
	for i, part := range parts {
		n, ok := ipv4Number(part)
		most := uint64(255)
		if i == len(parts)-1 {
			most = 1<<(8*(5-len(parts))) - 1
			address = address << (8 * (4 - i))
		} else {
			address <<= 8
		}
		if !ok || n > most {
			return "", false
		}
		address += n
	}
	a := uint32(address)
	return netip.AddrFrom4([4]byte{byte(a >> 24), byte(a >> 16), byte(a >> 8), byte(a)}).String(), true
}

func parseIPv6(text string) (string, bool) {
	address, err := netip.ParseAddr(text)
	if err != nil || !address.Is6() || address.Zone() != "" || strings.Contains(text, "%") {
		return "", false
	}
	if !address.Is4In6() {
		return "[" + address.String() + "]", true
	}
	p := address.As16() // the standard writes the IPv4 part in hexadecimal
	high, low := uint64(p[12])<<8|uint64(p[13]), uint64(p[14])<<8|uint64(p[15])
	return "[::ffff:" + strconv.FormatUint(high, 16) + ":" + strconv.FormatUint(low, 16) + "]", true
}
