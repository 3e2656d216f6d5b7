package har

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/tape"
)

// Import adds the WebSocket sessions of a HAR file to a tape and returns their
// numbers, and in words what of the file it could not believe. Secrets in the
// handshakes are redacted before anything is written. After an error the
// sessions before the mistaken one are on the tape, whole.
func Import(ctx context.Context, src Source, w record.Writer, redact *record.Redactor) (numbers []uint64, warnings []string, err error) {
	return importHAR(ctx, src, w, redact, usualLimits())
}

func importHAR(ctx context.Context, src Source, w record.Writer, redact *record.Redactor, l limits) ([]uint64, []string, error) {
	files, err := openFiles(ctx, src, l)
	if err != nil {
		return nil, nil, err
	}
	im := &importer{ctx: ctx, files: files, limits: l, redact: redact}
	// The cassette reader asks for a line when it is done with the one before, so
	// what it complains about is where the importer stands.
	next, stop := iter.Pull(im.lines)
	defer stop()
	numbers, err := record.ReadCassette(ctx, &lineReader{im: im, next: next}, w)
	var mistake *record.CassetteError
	switch {
	case im.err != nil:
		err = im.err
	case im.sessions == 0 && err != nil:
		err = fmt.Errorf("there is no WebSocket in it: none of its %d entries has \"_resourceType\":\"websocket\", \"_webSocketMessages\" or status 101", im.entries)
	case errors.As(err, &mistake):
		err = fmt.Errorf("%s: %w", im.where(), mistake.Err)
	}
	return numbers, im.said(), err
}

// lineReader hands out one line at a time.
type lineReader struct {
	im   *importer
	next func() ([]byte, bool)
	rest []byte
}

func (r *lineReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		line, ok := r.next()
		switch {
		case r.im.err != nil:
			return 0, r.im.err
		case !ok:
			return 0, io.EOF
		}
		r.rest = line
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// importer turns a HAR file into the lines of a cassette.
type importer struct {
	ctx    context.Context
	files  *files
	limits limits
	redact *record.Redactor

	creator  string // log.creator: name and version
	literal  bool   // gori's dialect: what is not said to be base64 is text
	entries  int
	sessions int
	row      int    // which row is looked at, -1 if none
	from     string // the attached file that it stands in, "" if none
	yield    func([]byte) bool
	err      error

	warnings []string
	unsaid   int
}

// errEnough says that nobody wants more lines.
var errEnough = errors.New("no more lines are wanted")

// warningsLimit is how many warnings are kept; the others are counted.
const warningsLimit = 20

func (im *importer) lines(yield func([]byte) bool) {
	im.yield = yield
	if err := im.har(); err != nil && !errors.Is(err, errEnough) {
		im.err = err
	}
}

// emit hands out a line of the cassette.
func (im *importer) emit(v any) error {
	line, err := marshal(v)
	if err != nil {
		return err
	}
	if !im.yield(append(line, '\n')) {
		return errEnough
	}
	return nil
}

// where says, as a path that jq understands, what is being looked at.
func (im *importer) where() string {
	text := fmt.Sprintf("log.entries[%d]", im.entries-1)
	switch {
	case im.row < 0:
	case im.from != "":
		text += fmt.Sprintf(", %s line %d", im.from, im.row+1)
	default:
		text += fmt.Sprintf("._webSocketMessages[%d]", im.row)
	}
	return text
}

func (im *importer) warn(format string, args ...any) {
	if len(im.warnings) == warningsLimit {
		im.unsaid++
		return
	}
	im.warnings = append(im.warnings, im.where()+": "+fmt.Sprintf(format, args...))
}

func (im *importer) said() []string {
	if im.unsaid == 0 {
		return im.warnings
	}
	return append(im.warnings, fmt.Sprintf("and %d more of the kind", im.unsaid))
}

// har reads the file: first who made it, for that decides what the rows mean.
func (im *importer) har() error {
	im.who()
	return im.log(func(w *walker, key string) error {
		if key != "entries" {
			return w.skip()
		}
		err := w.array("log.entries", func(int) error {
			im.entries++
			im.row, im.from = -1, ""
			if err := im.entry(w); err != nil {
				return fmt.Errorf("%s: %w", im.where(), err)
			}
			return nil
		})
		im.row = -1
		return err
	})
}

// errFound ends the search for the creator.
var errFound = errors.New("found")

// who looks for the creator, which may stand anywhere. What is wrong with the
// file is found again, and said, when it is read.
func (im *importer) who() {
	_ = im.log(func(w *walker, key string) error {
		if key != "creator" {
			return w.skip()
		}
		var creator struct{ Name, Version string }
		if w.value(&creator) == nil {
			im.literal = creator.Name == "gori"
			im.creator = strings.TrimSpace(creator.Name + " " + creator.Version)
		}
		return errFound
	})
}

// log opens the file and calls f for each key of its log.
func (im *importer) log(f func(w *walker, key string) error) error {
	in, err := im.files.har()
	if err != nil {
		return err
	}
	defer in.Close()
	w, found := newWalker(im.ctx, in, im.limits.value), false
	err = w.object("the file", func(key string) error {
		if key != "log" {
			return w.skip()
		}
		found = true
		return w.object("log", func(key string) error { return f(w, key) })
	})
	if err == nil && !found {
		err = errors.New(`it is not a HAR file: that is one JSON object with "log"`)
	}
	return err
}

// entry is what is known of an entry. The keys may come in any order.
type entry struct {
	keys map[string]json.RawMessage
	rows []row
	size int64 // of the rows
	has  bool  // it has a list of rows
	own  *own  // `_wstape`
	next int   // which of own.Lines is the next
	out  int   // rows that have been written

	started  int64 // microseconds since 1970
	begun    bool  // the session has been written
	messages bool  // there is a row that is a message
	closing  bool  // one of them is a close frame
}

// own is an entry's `_wstape`.
type own struct {
	Version int             `json:"version"`
	Session json.RawMessage `json:"session"`
	Lines   []between       `json:"lines"`
}

const (
	keyStarted  = "startedDateTime"
	keyTime     = "time"
	keyRequest  = "request"
	keyResponse = "response"
	keyComment  = "comment"
	keyType     = "_resourceType"
	keyMessages = "_webSocketMessages"
	keyClose    = "_webSocketClose"
	keyOwn      = "_wstape"
)

func (im *importer) entry(w *walker) error {
	e := &entry{keys: map[string]json.RawMessage{}}
	err := w.object("it", func(key string) error {
		switch key {
		case keyStarted, keyTime, keyRequest, keyResponse, keyComment, keyType, keyClose:
			var raw json.RawMessage
			if err := w.value(&raw); err != nil {
				return fmt.Errorf("%s: %w", key, err)
			}
			e.keys[key] = raw
			return nil
		case keyOwn:
			return im.readOwn(w, e)
		case keyMessages:
			return im.list(w, e)
		}
		return w.skip()
	})
	if err != nil {
		return err
	}
	if !e.begun {
		if err := im.whole(e); err != nil || !e.begun {
			return err
		}
	}
	return im.between(e, -1)
}

func (im *importer) readOwn(w *walker, e *entry) error {
	var raw json.RawMessage
	if err := w.value(&raw); err != nil {
		return fmt.Errorf("%s: %w", keyOwn, err)
	}
	if string(raw) == "null" {
		return nil
	}
	var version struct{ Version int }
	if err := json.Unmarshal(raw, &version); err == nil && version.Version > ownVersion {
		return fmt.Errorf("%s: %w: version %d, this wstape reads %d", keyOwn, record.ErrVersion, version.Version, ownVersion)
	}
	e.own = &own{}
	if err := strict(raw, e.own); err != nil {
		return fmt.Errorf("%s: %w", keyOwn, explain(err))
	}
	for i, l := range e.own.Lines {
		var line tape.Line
		if err := json.Unmarshal(l.Line, &line); err != nil {
			return fmt.Errorf("%s.lines[%d]: %w", keyOwn, i, explain(err))
		}
	}
	return nil
}

// list reads `_webSocketMessages`. What we wrote ourselves has all that must be
// known before it, and need not be held.
func (im *importer) list(w *walker, e *entry) error {
	if e.has {
		return fmt.Errorf("%s is there twice", keyMessages)
	}
	e.has = true
	if e.own != nil && e.own.Session != nil && e.keys[keyRequest] != nil && e.keys[keyResponse] != nil {
		if err := im.begin(e); err != nil {
			return err
		}
	}
	err := w.array(keyMessages, func(i int) error {
		im.row = i
		return im.take(w, e)
	})
	if err == nil {
		im.row = -1
	}
	return err
}

// take reads a row, and writes or keeps it.
func (im *importer) take(w *walker, e *entry) error {
	var raw json.RawMessage
	if err := w.value(&raw); err != nil {
		return err
	}
	r, err := im.parse(raw)
	if err != nil {
		return err
	}
	if e.begun {
		return im.write(e, &r)
	}
	if e.size += rowBytes + int64(len(r.data)) + int64(len(r.received())); e.size > im.limits.session {
		return fmt.Errorf("the WebSocket has messages of more than %s, which must be put in order first: split the file", size(im.limits.session))
	}
	e.messages = e.messages || r.note == nil
	e.closing = e.closing || r.note == nil && r.op == tape.Close
	e.rows = append(e.rows, r)
	return nil
}

// rowBytes is what a row takes in memory beside its payload, about.
const rowBytes = 128

// whole writes an entry whose rows had to wait for the rest of it.
func (im *importer) whole(e *entry) error {
	is, err := im.websocket(e)
	if err != nil || !is {
		return err
	}
	if !e.has {
		if err := im.attached(e); err != nil {
			return err
		}
	}
	known := !slices.ContainsFunc(e.rows, func(r row) bool { return r.at == unknown })
	if known && e.own == nil {
		slices.SortStableFunc(e.rows, func(a, b row) int { return cmp.Compare(a.at, b.at) })
	}
	if err := im.begin(e); err != nil {
		return err
	}
	for i := range e.rows {
		im.row = e.rows[i].number
		if err := im.write(e, &e.rows[i]); err != nil {
			return err
		}
		e.rows[i] = row{}
	}
	im.row = -1
	return nil
}

// attached reads the rows that Playwright has put into a file of their own.
func (im *importer) attached(e *entry) error {
	var response struct {
		Content struct {
			File string `json:"_file"`
		}
	}
	if raw := e.keys[keyResponse]; raw != nil {
		_ = json.Unmarshal(raw, &response) // begin says what is wrong with it
	}
	name := response.Content.File
	if name == "" {
		return nil
	}
	in, err := im.files.attached(name)
	if err != nil {
		return fmt.Errorf("response.content._file: %w", err)
	}
	defer in.Close()
	e.has, im.from = true, name
	w := newWalker(im.ctx, in, im.limits.value)
	for im.row = 0; w.more(); im.row++ {
		if err := im.take(w, e); err != nil {
			return err
		}
	}
	// more says no at the end, and at a mistake.
	if _, err := w.token(); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	im.row = -1
	return nil
}

// begin writes the session.
func (im *importer) begin(e *entry) error {
	s, err := im.session(e)
	if err != nil {
		return err
	}
	im.redact.Session(s)
	text, err := s.MarshalFull()
	if err != nil {
		return err
	}
	e.begun = true
	im.sessions++
	return im.emit(map[string]any{"wstape": 1, "session": json.RawMessage(text)})
}

// write writes a row, and first what stood before it.
func (im *importer) write(e *entry, r *row) error {
	if err := im.between(e, e.out); err != nil {
		return err
	}
	e.out++
	return im.emit(r.line(e.started))
}

// between writes the lines that are no rows up to a row, -1 for all.
func (im *importer) between(e *entry, until int) error {
	if e.own == nil {
		return nil
	}
	for ; e.next < len(e.own.Lines); e.next++ {
		l := e.own.Lines[e.next]
		if until >= 0 && l.Before > until {
			break
		}
		if err := im.emit(l.Line); err != nil {
			return err
		}
	}
	return nil
}
