package script

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/evanw/esbuild/pkg/api"
)

// LoadError says what is wrong with the source of a script.
type LoadError struct {
	Script   string // its name
	Problems []Problem
	Files    []string // what was read: a change of one of them may mend it
}

// Problem is one thing that is wrong with a script.
type Problem struct {
	File   string // relative to the script's folder, with slashes; the script's own name if it is about no place
	Line   int    // from 1; 0 if it is about the file
	Column int    // from 1, in UTF-16 code units as editors count
	Source string // the line
	Text   string
	Hint   string // what to do; may be empty
}

// maxProblems is how many of a script's problems an error prints: later ones
// often follow from the first.
const maxProblems = 10

// Error returns all problems, each with its place, the line and what to do.
func (e *LoadError) Error() string {
	var text strings.Builder
	for i, p := range e.Problems {
		if i == maxProblems {
			fmt.Fprintf(&text, "\n… and %d more", len(e.Problems)-i)
			break
		}
		if i > 0 {
			text.WriteByte('\n')
		}
		p.write(&text)
	}
	return text.String()
}

func (p *Problem) write(text *strings.Builder) {
	fmt.Fprintf(text, "script %s", p.File)
	if p.Line > 0 {
		fmt.Fprintf(text, ":%d:%d", p.Line, p.Column)
	}
	fmt.Fprintf(text, ": %s", p.Text)
	if p.Source != "" {
		line, caret := p.excerpt()
		fmt.Fprintf(text, "\n    %s\n    %s^", line, caret)
	}
	if p.Hint != "" {
		fmt.Fprintf(text, "\n    %s", p.Hint)
	}
}

// excerpt returns the part of the line around the column, and what to write
// before a caret below it. Minified lines are long.
func (p *Problem) excerpt() (line, caret string) {
	const before, after = 60, 60
	var units, at int
	runes := []rune(p.Source)
	for at = 0; at < len(runes) && units < p.Column-1; at++ {
		units += utf16.RuneLen(runes[at])
	}
	start, end := max(0, at-before), min(len(runes), at+after)
	prefix := strings.Map(func(r rune) rune {
		if r == '\t' {
			return r
		}
		return ' '
	}, string(runes[start:at]))
	return string(runes[start:end]), prefix
}

func (b *bundler) failed(problems ...Problem) error {
	for i := range problems {
		if problems[i].File == "" {
			problems[i].File = b.name
		}
	}
	return &LoadError{Script: b.name, Problems: problems}
}

func withFiles(err error, files []string) error {
	var e *LoadError
	if errors.As(err, &e) {
		e.Files = files
	}
	return err
}

// refused returns the warnings that are errors to us: where a script would do
// something else than it says. Packages often have such code in places
// that are never reached, and it throws there; so it is refused only where the
// script's author can mend it. Only \p{…} does not throw but matches wrongly.
func (b *bundler) refused(warnings []api.Message) (refused []api.Message) {
	for _, w := range warnings {
		if w.Location == nil || warningHint(&w) == "" {
			continue
		}
		foreign := slices.Contains(strings.Split(w.Location.File, "/"), "node_modules")
		if !foreign || strings.HasPrefix(w.Text, "Unicode property escapes") {
			refused = append(refused, w)
		}
	}
	return refused
}

func warningHint(w *api.Message) string {
	switch w.ID {
	case "unsupported-regexp":
		if strings.HasPrefix(w.Text, "Unicode property escapes") {
			return `write the range out, like [A-Za-z\u00C0-\u024F]: the engine would take \p{L} for the letters p{L}`
		}
		return "the engine has the flags g, i, m, s, u and y"
	case "unsupported-dynamic-import":
		return "import() needs a path in quotes: what a script imports is bundled when it is loaded"
	case "unsupported-require-call":
		return "require() needs a path in quotes: what a script imports is bundled when it is loaded"
	case "empty-import-meta":
		return "scripts have no file system that import.meta could point into"
	}
	return ""
}

// problems translates what esbuild says to what it means for a script.
func (b *bundler) problems(messages []api.Message) []Problem {
	problems := make([]Problem, len(messages))
	for i, m := range messages {
		p := Problem{Text: m.Text, Hint: warningHint(&m)}
		if at := m.Location; at != nil {
			p.File, p.Line, p.Source = at.File, at.Line, at.LineText
			p.Column = len(utf16.Encode([]rune(at.LineText[:min(at.Column, len(at.LineText))]))) + 1
		}
		if m.PluginName != "" && len(m.Notes) > 0 && m.Notes[0].Location == nil {
			p.Hint = m.Notes[0].Text
		}
		b.reword(&p, &m)
		problems[i] = p
	}
	return problems
}

// reword says in our words what esbuild says about targets and options that
// the user of a script knows nothing of.
func (b *bundler) reword(p *Problem, m *api.Message) {
	p.Text, _, _ = strings.Cut(p.Text, " in the configured target environment")
	p.Text = strings.TrimSuffix(p.Text, ":") // notes would follow
	unresolved := regexp.MustCompile(`^Could not resolve ("(?:[^"\\]|\\.)*")`).FindStringSubmatch(p.Text)
	switch {
	case strings.HasPrefix(p.Text, "Top-level await"):
		p.Text = "await is not available outside of functions"
		p.Hint = "put it into an async function, for example onOpen"
	case strings.HasPrefix(p.Text, "No loader is configured"):
		p.Hint = "scripts can import JavaScript, TypeScript, .json, .txt (a string) and .bin (a Uint8Array)"
	case unresolved != nil:
		if path, err := strconv.Unquote(unresolved[1]); err == nil {
			b.unresolved(p, m, path)
		}
	}
}

// unresolved says why an import cannot be found.
func (b *bundler) unresolved(p *Problem, m *api.Message, path string) {
	builtIn := strings.HasPrefix(path, "node:") ||
		slices.ContainsFunc(m.Notes, func(n api.Note) bool { return strings.Contains(n.Text, "is built into node") })
	switch {
	case builtIn:
		p.Text = fmt.Sprintf("%q is a part of Node, and scripts do not run in Node: they have no file system, network or process", path)
		p.Hint = insteadOf(path)
	case strings.HasPrefix(path, ".") || filepath.IsAbs(path):
		p.Text = fmt.Sprintf("there is no file %q to import", path)
	default:
		p.Text = fmt.Sprintf("there is no package %q in node_modules", path)
		p.Hint = fmt.Sprintf("install it: cd %s && npm install %s", b.dir, packageName(path))
		if s := m.Location; s != nil && s.Suggestion != "" {
			p.Hint = "for the file next to this one, write " + s.Suggestion
		}
	}
}

// packageName returns the package that an import path belongs to.
func packageName(path string) string {
	parts := strings.SplitN(path, "/", 3)
	if strings.HasPrefix(path, "@") && len(parts) > 1 {
		return parts[0] + "/" + parts[1]
	}
	return parts[0]
}

// insteadOf says what a script can use in the place of one of Node's modules.
func insteadOf(path string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(path, "node:"), "/")
	switch name {
	case "fs":
		return "import a .json or .txt file, or keep values in the global store"
	case "crypto":
		return "use the global crypto: randomUUID, getRandomValues, subtle.digest"
	case "buffer":
		return "use Uint8Array, TextEncoder, TextDecoder, atob and btoa"
	case "url", "querystring":
		return "use the global URL"
	case "timers":
		return "use the globals setTimeout and setInterval"
	case "process", "os", "child_process":
		return "use the global env for the variables that the config allows"
	case "http", "https", "http2", "net", "tls", "dgram", "dns":
		return "a script can talk only to the two ends of its session: session.send"
	}
	return "an npm package may do the same without Node"
}

// encodingError says where a file is not UTF-8.
type encodingError struct {
	line   int    // from 1
	column int    // from 0, in bytes
	text   string // the line up to there
}

func (e *encodingError) Error() string { return "is not UTF-8 text: save it as UTF-8" }

// readSource reads a file that is not larger than a source may be.
func readSource(path string, text bool) (string, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return "", err
	case info.IsDir():
		return "", errors.New("is a folder: give the path of the script's file")
	case !info.Mode().IsRegular():
		return "", errors.New("is not a regular file")
	case info.Size() > maxSource:
		return "", fmt.Errorf("has %d MiB, the limit is %d", info.Size()>>20, maxSource>>20)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	source := string(data)
	if text && !utf8.ValidString(source) {
		return "", badEncoding(source)
	}
	return source, nil
}

func badEncoding(source string) error {
	valid := source
	for i, r := range source {
		if r != utf8.RuneError {
			continue
		}
		if _, size := utf8.DecodeRuneInString(source[i:]); size == 1 {
			valid = source[:i]
			break
		}
	}
	start := strings.LastIndexByte(valid, '\n') + 1
	return &encodingError{line: strings.Count(valid, "\n") + 1, column: len(valid) - start, text: valid[start:]}
}

// plain strips what a file's error says about the path and the system call.
func plain(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// maxFrames is how many places of a stack are printed.
const maxFrames = 16
