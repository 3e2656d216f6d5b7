package script

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wstape/wstape/internal/filter"
	"github.com/wstape/wstape/tape"
)

// OnError says what becomes of a message whose hook failed.
type OnError string

// What becomes of a message whose hook failed.
const (
	Pass  OnError = "pass"  // it goes on as it came to the script
	Drop  OnError = "drop"  // it goes nowhere
	Close OnError = "close" // it goes nowhere, and the session ends with code 1011
)

// Options of a [Set]. The zero value of each means its default.
type Options struct {
	When         *filter.Filter                          // the messages that onMessage is for; nil means all
	Timeout      time.Duration                           // how long a script may run without yielding; default 100 ms
	AwaitTimeout time.Duration                           // how long a hook may take, awaits included; default 30 s
	OnError      OnError                                 // default Pass
	Memory       int64                                   // bytes: the longest string or buffer, and how much the heap may grow while one hook runs; default 256 MiB
	StoreBytes   int64                                   // of the shared store; default 64 MiB
	Env          map[string]string                       // what scripts see as env
	Ran          func(script string, took time.Duration) // is told how long a script has run without yielding; must not block; may be nil
	Log          func(Entry)                             // is told what scripts print and how they fail; must not block; nil discards

	grace time.Duration // how long an interrupted runtime may take to come back
	every bool          // tell every failure, not only some of those that are the same
}

// The default limits.
const (
	DefaultTimeout      = 100 * time.Millisecond
	DefaultAwaitTimeout = 30 * time.Second
	DefaultMemory       = 256 << 20
)

func (o Options) withDefaults() Options {
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	if o.grace <= 0 {
		o.grace = grace
	}
	if o.AwaitTimeout <= 0 {
		o.AwaitTimeout = DefaultAwaitTimeout
	}
	if o.OnError == "" {
		o.OnError = Pass
	}
	if o.Memory <= 0 {
		o.Memory = DefaultMemory
	}
	if o.Log == nil {
		o.Log = func(Entry) {}
	}
	return o
}

// Entry is a line of the log.
type Entry struct {
	Script  string // its name
	Session uint64 // 0 if it is about no session
	Level   string // debug, info, warn or error
	Text    string
	Failed  bool // a hook failed, or the script's own code
}

// Conn is what a script may do to the session it works on, from any goroutine.
type Conn interface {
	// Send puts a message or a ping behind what is being sent to a side. It takes
	// payload over.
	Send(to tape.Side, op tape.Opcode, payload []byte, by string) error
	// Close sends a close frame to both sides.
	Close(code int, reason, by string)
	// Note puts a remark on the tape.
	Note(text, by string)
	// Tag puts a tag on the session.
	Tag(key, value string)
}

// Set is the scripts of a configuration: loaded once, watched for changes, run
// in every session. Its methods are safe for concurrent use.
type Set struct {
	opts  Options
	store *Store

	mu       sync.Mutex
	scripts  map[string]*source // by absolute path
	order    []*source
	sessions map[*Session]struct{}
	watch    *watcher
}

// source is a script's file, of which there may be newer versions.
type source struct {
	name     string
	path     string
	program  atomic.Pointer[Program]
	hooks    atomic.Pointer[Hooks]    // of the program
	broken   atomic.Pointer[[]string] // files of a newer version that could not be loaded
	stuck    atomic.Int32             // abandoned runtimes that still run
	disabled atomic.Bool              // too many of them
	failures atomic.Uint64            // of its hooks, and of its own code in a session
	givenUp  atomic.Uint64            // runtimes
}

// files returns those whose change means that there is a newer version.
func (s *source) files() []string {
	files := s.program.Load().Files
	if broken := s.broken.Load(); broken != nil {
		files = slices.Concat(files, *broken)
	}
	return files
}

// by is how the script is named on the tape.
func (s *source) by() string { return "script:" + s.name }

// maxStuck is how many abandoned runtimes may still run before the script is
// disabled: each costs a processor.
const maxStuck = 2

// NewSet loads the scripts with the given paths. The error is about the first
// that cannot be loaded or whose own code fails.
func NewSet(paths []string, o Options) (*Set, error) {
	o = o.withDefaults()
	limitRegexps(o.Timeout)
	s := &Set{opts: o, store: NewStore(o.StoreBytes), scripts: map[string]*source{}, sessions: map[*Session]struct{}{}}
	programs, err := LoadAll(paths)
	if err != nil {
		return nil, err
	}
	for _, p := range programs {
		src := &source{name: p.Name, path: p.Path}
		src.program.Store(p)
		s.scripts[p.Path] = src
		s.order = append(s.order, src)
		hooks, err := s.try(src, p)
		if err != nil {
			return nil, err
		}
		src.hooks.Store(&hooks)
	}
	return s, nil
}

// Chain returns the scripts with the given paths, which the set was made with,
// in their order.
func (s *Set) Chain(paths []string) (*Chain, error) {
	c := &Chain{set: s}
	for _, path := range paths {
		abs, err := filepath.Abs(path)
		if err != nil {
			return nil, fmt.Errorf("script %s: %w", path, err)
		}
		src := s.scripts[abs]
		if src == nil {
			return nil, fmt.Errorf("script %s was not loaded", path)
		}
		c.scripts = append(c.scripts, src)
	}
	return c, nil
}

// Chain is the scripts that a session's messages pass, in order: each sees what
// the one before it made.
type Chain struct {
	set     *Set
	scripts []*source
}

// try runs a program's own code and says which hooks it has.
func (s *Set) try(src *source, p *Program) (Hooks, error) {
	v, err := trial(s.opts, src, p)
	switch {
	case err != nil:
		return Hooks{}, err
	case v.hooks == Hooks{}:
		return Hooks{}, fmt.Errorf("script %s exports no hook (%s)", p.Path, hookNames)
	}
	return v.hooks, nil
}

// trial runs a program's own code in a runtime that no session will have.
func trial(o Options, src *source, p *Program) (*vm, error) {
	set := &Set{opts: o, store: NewStore(0), sessions: map[*Session]struct{}{}}
	s := newSession(set, tape.Session{}, nowhere{}, realTime{})
	s.quiet = true
	defer s.shut()
	v := newVM(s, src, p)
	err := s.start(v)
	if err != nil {
		err = fmt.Errorf("script %s: %w", p.Path, err)
	}
	return v, err
}

// Watch reloads scripts whose files change, until Close.
func (s *Set) Watch() error {
	w, err := newWatcher(s.changed)
	if err != nil {
		return fmt.Errorf("watch the scripts: %w", err)
	}
	s.mu.Lock()
	s.watch = w
	s.mu.Unlock()
	return s.watchFiles()
}

func (s *Set) watchFiles() error {
	s.mu.Lock()
	w := s.watch
	s.mu.Unlock()
	if w == nil {
		return nil
	}
	var files []string
	for _, src := range s.order {
		files = append(files, src.files()...)
	}
	return w.files(files)
}

// changed loads every script anew that a file belongs to.
func (s *Set) changed(path string) {
	for _, src := range s.order {
		if slices.Contains(src.files(), path) {
			s.reload(src)
		}
	}
	_ = s.watchFiles() // what cannot be watched was watched before
}

// reload puts a script's new version in the place of the one that runs. One that
// does not work leaves the old one running.
func (s *Set) reload(src *source) {
	p, err := Load(src.path)
	var hooks Hooks
	if err == nil {
		p.Name = src.name
		hooks, err = s.try(src, p)
	}
	src.broken.Store(nil)
	if err != nil {
		var failed *LoadError
		if errors.As(err, &failed) {
			src.broken.Store(&failed.Files)
		} else if p != nil {
			src.broken.Store(&p.Files)
		}
		s.opts.Log(Entry{Script: src.name, Level: "error", Text: "not reloaded, the version before goes on: " + Explain(err)})
		return
	}
	src.hooks.Store(&hooks)
	src.program.Store(p)
	src.disabled.Store(false)
	s.mu.Lock()
	open := make([]*Session, 0, len(s.sessions))
	for session := range s.sessions {
		open = append(open, session)
	}
	s.mu.Unlock()
	for _, session := range open {
		session.reload(src)
	}
	text := "reloaded"
	switch n := len(open); {
	case n == 1:
		text += ", in 1 open session too"
	case n > 1:
		text += fmt.Sprintf(", in %d open sessions too", n)
	}
	s.opts.Log(Entry{Script: src.name, Level: "info", Text: text})
}

// Close ends the watching. Sessions go on.
func (s *Set) Close() {
	s.mu.Lock()
	w := s.watch
	s.watch = nil
	s.mu.Unlock()
	if w != nil {
		w.close()
	}
}

// Stats is what has become of a script since it was loaded first.
type Stats struct {
	Script   string
	Failures uint64 // of its hooks, and of its own code when a session began
	GivenUp  uint64 // runtimes that did not come back, or crashed
	Stuck    int    // those of them that still run
	Disabled bool   // it runs in no session any more
}

// Stats returns the figures of each script.
func (s *Set) Stats() []Stats {
	var out []Stats
	for _, src := range s.order {
		out = append(out, Stats{src.name, src.failures.Load(), src.givenUp.Load(), int(src.stuck.Load()), src.disabled.Load()})
	}
	return out
}

// abandoned counts a runtime that does not come back.
func (s *Set) abandoned(src *source) {
	if n := src.stuck.Add(1); n >= maxStuck && !src.disabled.Swap(true) {
		s.opts.Log(Entry{Script: src.name, Level: "error",
			Text: fmt.Sprintf("DISABLED for all sessions: %d of its runtimes do not come back, and each costs a processor. Mend it and save it, or restart wstape", n)})
	}
}

// nowhere is the session of a trial run.
type nowhere struct{}

func (nowhere) Send(tape.Side, tape.Opcode, []byte, string) error {
	return fmt.Errorf("there is no session yet")
}
func (nowhere) Close(int, string, string) {}
func (nowhere) Note(string, string)       {}
func (nowhere) Tag(string, string)        {}
