package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/wstape/wstape/internal/config"
	"github.com/wstape/wstape/replay"
	"github.com/wstape/wstape/tape"
)

// Record modes, as VCR users know them.
const (
	modeNone        = "none"         // replay only; the default
	modeOnce        = "once"         // record if there is no cassette yet, else replay only
	modeNewEpisodes = "new_episodes" // replay what is known, record what is not
	modeAll         = "all"          // record everything anew
)

// cassetteFile is a cassette that live sessions are recorded to, each as soon as
// it is over. Its methods may be called by several sessions at once.
type cassetteFile struct {
	path string
	tell func(format string, args ...any)

	mu    sync.Mutex
	fresh bool // what is in the file is to be replaced
}

// upstream makes the real server that a fake one goes on with.
func (f *replayFlags) upstream(a *app, c *config.Config, address string, o *replay.Options) (*replay.Upstream, error) {
	u := &replay.Upstream{MessageBytes: o.MessageBytes, Failed: func(err error) { fmt.Fprintf(a.Stderr, "wstape: %v\n", err) }}
	var err error
	if u.URL, err = serverURL(address); err != nil {
		return nil, err
	}
	if u.TLS, err = upstreamTLS(&c.UpstreamTLS); err != nil {
		return nil, err
	}
	u.Redactor, err = redactor(&c.Record.Redact, nil) // a cassette has no key of its own
	return u, err
}

// goLive sets up what is not replayed but goes to the upstream, by mode and
// policy. It returns the sessions that are still to be replayed.
func (f *replayFlags) goLive(a *app, c *config.Config, mode, address string, args []string, o *replay.Options, how *replay.Serving) (recordings []string, err error) {
	recordings = args
	switch mode {
	case modeNone:
	case modeOnce, modeNewEpisodes, modeAll:
		if len(args) != 1 || !isCassettePath(args[0]) {
			return nil, fail(exitUsage, "--mode %s records into a cassette: name one file, like chat.cassette.jsonl", mode)
		}
	default:
		return nil, fail(exitUsage, "--mode %q is not none, once, new_episodes or all", mode)
	}
	needs := ""
	switch {
	case mode != modeNone:
		needs = "--mode " + mode
	case o.OnMismatch == replay.Passthrough:
		needs = "--on-mismatch passthrough"
	case f.then == "upstream":
		needs = "--then upstream"
	}
	switch {
	case needs == "" && address != "":
		return nil, fail(exitUsage, "--upstream is for --mode, --on-mismatch passthrough and --then upstream: add one of them")
	case needs == "":
		return recordings, nil
	case address == "":
		return nil, fail(exitUsage, "%s needs the real server: --upstream ws://HOST:PORT", needs)
	}
	u, err := f.upstream(a, c, address, o)
	if err != nil {
		return nil, err
	}
	o.Takeover, o.Keep = u.Takeover, true
	if mode == modeNone {
		return recordings, nil
	}
	file := &cassetteFile{path: args[0], tell: func(format string, args ...any) {
		fmt.Fprintf(a.Stderr, "wstape: "+format+"\n", args...)
	}}
	_, err = os.Stat(file.path)
	there := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fail(exitReach, "%w", err)
	}
	if mode == modeOnce && there {
		o.Takeover, o.Keep = nil, false
		return recordings, nil
	}
	u.Record, how.Unknown = file.begin, u
	switch {
	case mode == modeAll:
		file.fresh = true
		recordings = nil
	case !there:
		recordings = nil
	default:
		o.OnMismatch = replay.Passthrough
	}
	return recordings, nil
}

func isCassettePath(arg string) bool {
	return filepath.Ext(arg) == ".jsonl"
}

// episode is a live session, whose lines wait in a file beside the cassette.
type episode struct {
	to       *cassetteFile
	replaces uint64 // number of the session that was played before; 0 for none
	file     *os.File
	out      *bufio.Writer
}

func (c *cassetteFile) begin(p *replay.Plan) (replay.Episode, error) {
	f, err := os.CreateTemp(filepath.Dir(c.path), "."+filepath.Base(c.path)+"-live-*")
	if err != nil {
		return nil, fmt.Errorf("record to %s: %w", c.path, err)
	}
	e := &episode{to: c, file: f, out: bufio.NewWriter(f)}
	if p != nil {
		e.replaces = p.Session.N
	}
	return e, nil
}

func (e *episode) Line(l *tape.Line) error { return l.WriteJSON(e.out) }

// End puts the session into the cassette.
func (e *episode) End(s *tape.Session) (err error) {
	defer os.Remove(e.file.Name())
	defer e.file.Close()
	if err := e.out.Flush(); err != nil {
		return fmt.Errorf("record to %s: %w", e.to.path, err)
	}
	s.N = 0 // a number means something on its tape only
	session, err := s.MarshalFull()
	if err != nil {
		return err
	}
	return e.to.put(e, fmt.Appendf(nil, "{\"wstape\":1,\"session\":%s}\n", session))
}

// put writes the cassette anew with a session at the end, or in the place of the
// one that was played before. Everything else in it stays as it is.
func (c *cassetteFile) put(e *episode, head []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var old []byte
	if !c.fresh {
		var err error
		if old, err = os.ReadFile(c.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	before, after := old, []byte(nil)
	if e.replaces > 0 {
		before, after = cutSession(old, int(e.replaces))
	}
	if len(before) > 0 && !bytes.HasSuffix(before, []byte("\n")) {
		before = append(slices.Clip(before), '\n')
	}
	err := writeWhole(context.Background(), c.path, 0o600, func(w io.Writer) error {
		if _, err := e.file.Seek(0, io.SeekStart); err != nil {
			return err
		}
		_, err := io.Copy(w, io.MultiReader(bytes.NewReader(before), bytes.NewReader(head), e.file, bytes.NewReader(after)))
		return err
	})
	if err != nil {
		return err
	}
	c.fresh = false
	if e.replaces > 0 {
		c.tell("%s: session %d is now what happened live", c.path, e.replaces)
	} else {
		c.tell("%s: a session was added", c.path)
	}
	return nil
}

// cutSession returns what stands before and after the n-th session of a cassette.
func cutSession(text []byte, n int) (before, after []byte) {
	start, end, seen := len(text), len(text), 0
	for at := 0; at < len(text); {
		line := text[at:]
		if i := bytes.IndexByte(line, '\n'); i >= 0 {
			line = line[:i+1]
		}
		var head struct {
			Version *int `json:"wstape"`
		}
		if bytes.HasPrefix(bytes.TrimSpace(line), []byte("{")) && json.Unmarshal(line, &head) == nil && head.Version != nil {
			switch seen++; seen {
			case n:
				start = at
			case n + 1:
				end = at
			}
		}
		at += len(line)
	}
	return text[:start], text[end:]
}
