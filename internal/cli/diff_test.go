package cli

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/wstape/wstape/internal/wstest"
)

// run runs a command to its end.
func run(args ...string) (stdout, stderr string, code int) {
	var out, errs strings.Builder
	code = Main(Env{Args: args, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Getenv: func(string) string { return "" }})
	return out.String(), errs.String(), code
}

// TestDiffTwoRuns compares the cassettes of the examples with what was recorded
// when their programs ran once more: by shape they are equal, but for prices.
func TestDiffTwoRuns(t *testing.T) {
	again, err := filepath.Glob("testdata/again/*.cassette.jsonl")
	if err != nil || len(again) == 0 {
		t.Fatalf("no recordings: %v", err)
	}
	price := regexp.MustCompile(`^ {6}\$\.price {2}[\d.]+ → [\d.]+$`)
	for _, second := range again {
		name := filepath.Base(second)
		first := filepath.Join("../../examples/cassettes", name)
		t.Run(name, func(t *testing.T) {
			for _, match := range []string{"bytes", "json", "shape"} {
				if out, stderr, code := run("diff", first, first, "--match", match); code != exitFine || strings.Contains(out, "~") {
					t.Errorf("by %s it is not equal to itself: %s%s", match, out, stderr)
				}
			}
			if out, _, code := run("diff", first, second, "--match", "bytes"); code != exitNo {
				t.Errorf("by bytes two runs are equal: %s", out)
			}
			args := []string{"diff", first, second}
			if strings.HasPrefix(name, "ticker") {
				out, _, code := run(args...)
				places := 0
				for line := range strings.Lines(out) {
					if strings.HasPrefix(line, "      ") {
						if places++; !price.MatchString(strings.TrimSuffix(line, "\n")) {
							t.Errorf("differs in more than prices: %s", line)
						}
					}
				}
				if code != exitNo || places != 5 {
					t.Errorf("%d prices differ, want 5:\n%s", places, out)
				}
				args = append(args, "--ignore", "$.price")
			}
			if out, stderr, code := run(args...); code != exitFine {
				t.Errorf("two runs are not equal:\n%s%s", out, stderr)
			}
		})
	}
}

// TestDiffOfWhatIsNotThere has an exit code that does not say they differ.
func TestDiffOfWhatIsNotThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "t.db")
	babel(t, path, wstest.Rand(t), 2)
	for _, args := range [][]string{{"1", "9"}, {"9", "1"}, {"-3", "1"}, {"1", "nothing.har"}} {
		if _, talk, code := run(append([]string{"diff", "--tape", path}, args...)...); code != exitReach {
			t.Errorf("%v: %d, %s", args, code, talk)
		}
	}
}

func TestAround(t *testing.T) {
	long := strings.Repeat("a", 50) + "é" + strings.Repeat("b", 50)
	for _, c := range []struct {
		text     string
		at, room int
		want     string
	}{
		{"short", 2, 20, "short"},
		{long, 0, 20, strings.Repeat("a", 19) + "…"},
		{long, 52, 20, "…aaaé" + strings.Repeat("b", 14) + "…"},
		{long, len(long), 20, "…" + strings.Repeat("b", 18) + "…"},
		{"ends…", 5, 20, "ends…"},
		{"\x1b[2J", 0, 20, `\u001b[2J`},
	} {
		if got := around(c.text, c.at, c.room); got != c.want {
			t.Errorf("around(%q, %d, %d) = %q, want %q", c.text, c.at, c.room, got, c.want)
		}
	}
}
