package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode"

	"github.com/wstape/wstape/internal/config"
)

// TestWhatPeersChooseCannotMoveTheCursor logs what a peer might send to reach the
// terminal of who reads the log.
func TestWhatPeersChooseCannotMoveTheCursor(t *testing.T) {
	hostile := "/a\x1b]0;owned\a\x1b[2J\r\nlevel=ERROR msg=\"all is lost\" \u009b31m\u202etxt\x7f \xff\xc2"
	for _, format := range []string{"text", "json"} {
		var b bytes.Buffer
		log, _ := newLogger(&b, &config.Log{Format: format, Level: "info"})
		log.Warn("session refused", "path", hostile, "err", errors.New(hostile))
		line, rest, _ := strings.Cut(b.String(), "\n")
		if rest != "" {
			t.Errorf("%s: it became several lines:\n%s", format, b.String())
		}
		if strings.ContainsFunc(line, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) }) {
			t.Errorf("%s: what a terminal obeys in %q", format, line)
		}
		if strings.Count(line, "level=ERROR") == 1 {
			t.Errorf("%s: %s", format, line)
		}
	}
}

func TestLongTextsAreCut(t *testing.T) {
	var b bytes.Buffer
	log, _ := newLogger(&b, &config.Log{Format: "json", Level: "info"})
	long := strings.Repeat("ä", 1<<20)
	log.Warn("session refused", "path", long, "err", errors.New(long), "session", 7)
	var line struct {
		Path, Err string
		Session   int
	}
	if err := json.Unmarshal(b.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	if want := strings.Repeat("ä", maxAttr/2) + "…"; line.Path != want || line.Err != want || line.Session != 7 {
		t.Errorf("path of %d bytes, error of %d bytes, session %d", len(line.Path), len(line.Err), line.Session)
	}
}

func TestLevels(t *testing.T) {
	for _, c := range []struct {
		level         string
		quiet         bool
		all, sessions string // the levels that are told
	}{
		{"info", true, "IWE", "IWE"},
		{"info", false, "IWE", "WE"}, // the live log tells of sessions
		{"debug", false, "DIWE", "DIWE"},
		{"warn", true, "WE", "WE"},
		{"error", false, "E", "E"},
	} {
		var b [2]bytes.Buffer
		for i := range b {
			all, sessions := newLogger(&b[i], &config.Log{Format: "text", Level: c.level, Quiet: c.quiet})
			log := all
			if i == 1 {
				log = sessions
			}
			log.Debug("D")
			log.Info("I")
			log.Warn("W")
			log.Error("E")
		}
		for i, want := range []string{c.all, c.sessions} {
			got := ""
			for line := range strings.Lines(b[i].String()) {
				_, message, _ := strings.Cut(strings.TrimSpace(line), "msg=")
				got += message
			}
			if got != want {
				t.Errorf("%s, quiet %v: logger %d tells %q, want %q", c.level, c.quiet, i, got, want)
			}
		}
	}
}
