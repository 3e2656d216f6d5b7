package cli

import (
	"bufio"
	"encoding/xml"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wstape/wstape/script"
)

func (a *app) scriptTestCommand() *cobra.Command {
	var format, only string
	limit := script.DefaultTestLimit
	cmd := &cobra.Command{
		Use:   "test [FILE|DIR]…",
		Short: "run scripts' own tests",
		Long: `Run the tests of scripts: those of chat.ts stand beside it in chat.test.ts (or
.js). Name scripts, files of tests, or directories, which are searched; the
default is the current one.

A test opens sessions of the script, feeds them messages and looks at what comes
out. Nothing waits: time goes by when the test says so.

  test("greets", () => {
    const s = open({ url: "/chat" });
    assert.equal(s.client("hi").text, "HI");
    s.advance(5000);
    assert.deepEqual(s.sent, [{ to: "client", op: "text", text: "still there?" }]);
  });

wstape script types lists everything that a test can use. Exit code 1 if a test
failed, 2 if there are none or a file cannot be loaded.`,
		Example: "  wstape script test\n  wstape script test chat.ts --run greets\n  wstape script test scripts/ --format junit > report.xml",
	}
	configFlag(cmd.Flags())
	cmd.Flags().StringVar(&format, "format", "tap", "write `tap|junit`: TAP 14, or JUnit XML")
	cmd.Flags().StringVar(&only, "run", "", "run only tests whose names match this regular `EXPRESSION`")
	cmd.Flags().DurationVar(&limit, "timeout", limit, "stop a test that runs for longer than `D`")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o := script.SuiteOptions{Limit: limit}
		var report reporter
		switch format {
		case "tap":
			report = newTAP(a.Stdout)
		case "junit":
			report = &junit{out: a.Stdout, began: time.Now()}
		default:
			return fail(exitUsage, "--format %q is neither tap nor junit", format)
		}
		if only != "" {
			var err error
			if o.Only, err = regexp.Compile(only); err != nil {
				return fail(exitUsage, "--run: %w", err)
			}
		}
		var err error
		if o.Options, err = a.scriptSettings(cmd.Flags()); err != nil {
			return err
		}
		o.Timeout = max(o.Timeout, script.TestTimeout)
		suites, err := findSuites(args)
		if err != nil {
			return fail(exitUsage, "%w", err)
		}
		return runSuites(suites, o, report)
	}
	return cmd
}

// findSuites finds the tests that arguments name, each once.
func findSuites(paths []string) ([]script.Suite, error) {
	if len(paths) == 0 {
		paths = []string{"."}
	}
	var suites []script.Suite
	for _, path := range paths {
		found, err := script.Suites(path)
		if err != nil {
			return nil, err
		}
		for _, s := range found {
			if !slices.Contains(suites, s) {
				suites = append(suites, s)
			}
		}
	}
	return suites, nil
}

// reporter writes what became of tests.
type reporter interface {
	suite(s script.Suite, outcomes []script.Outcome, err error)
	end() error
}

func runSuites(suites []script.Suite, o script.SuiteOptions, report reporter) error {
	ran, failed, broken := 0, 0, 0
	for _, s := range suites {
		outcomes, err := s.Run(o)
		if err != nil {
			broken++
		}
		for _, t := range outcomes {
			ran++
			if t.Failure != nil {
				failed++
			}
		}
		report.suite(s, outcomes, err)
	}
	if err := report.end(); err != nil {
		return err
	}
	switch {
	case broken > 0:
		return fail(exitUsage, "%s of tests could not be run", count(broken, "file"))
	case failed > 0:
		return fail(exitNo, "%d of %s failed", failed, count(ran, "test"))
	case ran == 0:
		return fail(exitUsage, "no test has a name that matches --run")
	}
	return nil
}

// nameOf is how a test is called in a report.
func nameOf(s script.Suite, t *script.Outcome) string {
	return filepath.ToSlash(s.File) + ": " + t.Name
}

// placed puts the tests' folder before the place of a failure.
func placed(s script.Suite, place string) string {
	if place == "" || filepath.IsAbs(place) || strings.HasPrefix(place, "<") {
		return place
	}
	return filepath.ToSlash(filepath.Join(filepath.Dir(s.File), filepath.FromSlash(place)))
}

// tap writes TAP 14 (https://testanything.org/tap-version-14-specification.html).
type tap struct {
	out *bufio.Writer
	n   int
}

func newTAP(w io.Writer) *tap {
	t := &tap{out: bufio.NewWriter(w)}
	fmt.Fprintln(t.out, "TAP version 14")
	return t
}

func (t *tap) suite(s script.Suite, outcomes []script.Outcome, err error) {
	for i := range outcomes {
		t.outcome(s, &outcomes[i])
	}
	if err != nil {
		t.n++
		fmt.Fprintf(t.out, "not ok %d - %s\n  ---\n", t.n, tapText(filepath.ToSlash(s.File)))
		t.field("message", script.Explain(err))
		fmt.Fprintln(t.out, "  ...")
	}
	_ = t.out.Flush() // so that results show while others run; end tells of an error
}

func (t *tap) outcome(s script.Suite, o *script.Outcome) {
	for _, line := range o.Log {
		for part := range strings.Lines(line) {
			fmt.Fprintf(t.out, "# %s\n", strings.TrimRight(part, "\n"))
		}
	}
	t.n++
	name := tapText(nameOf(s, o))
	switch {
	case o.Skipped:
		fmt.Fprintf(t.out, "ok %d - %s # SKIP\n", t.n, name)
	case o.Failure == nil:
		fmt.Fprintf(t.out, "ok %d - %s\n", t.n, name)
	default:
		fmt.Fprintf(t.out, "not ok %d - %s\n  ---\n", t.n, name)
		t.failure(s, o.Failure)
		fmt.Fprintln(t.out, "  ...")
	}
}

func (t *tap) failure(s script.Suite, f *script.Failure) {
	t.field("message", f.Text)
	if f.Place != "" {
		t.field("at", placed(s, f.Place))
	}
	if f.Compared {
		t.field("diff", strings.Join(diff(f.Expected, f.Actual), "\n"))
	}
	if len(f.Stack) > 1 {
		t.field("stack", strings.Join(f.Stack, "\n"))
	}
}

// field writes a member of the YAML that belongs to a failed test.
func (t *tap) field(name, text string) {
	fmt.Fprintf(t.out, "  %s: |-\n", name)
	for line := range strings.Lines(text) {
		fmt.Fprintf(t.out, "    %s\n", strings.TrimRight(line, "\n"))
	}
}

func (t *tap) end() error {
	fmt.Fprintf(t.out, "1..%d\n", t.n)
	return t.out.Flush()
}

// tapText escapes what TAP would take for something else.
func tapText(s string) string {
	return strings.NewReplacer("\\", "\\\\", "#", "\\#", "\n", " ").Replace(s)
}

// diff writes two texts line by line: what was expected with -, what was there
// instead with +.
func diff(expected, actual string) []string {
	a, b := strings.Split(expected, "\n"), strings.Split(actual, "\n")
	if len(a)*len(b) > 1<<20 { // too long to look for what is common
		return append(prefixed("- ", a), prefixed("+ ", b)...)
	}
	common := make([][]int, len(a)+1) // lines that the rests have in common
	for i := range common {
		common[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	out := []string{"- expected", "+ actual"}
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			out = append(out, "  "+a[i])
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && common[i+1][j] >= common[i][j+1]:
			out = append(out, "- "+a[i])
			i++
		default:
			out = append(out, "+ "+b[j])
			j++
		}
	}
	return out
}

func prefixed(prefix string, lines []string) []string {
	out := make([]string, len(lines))
	for i, line := range lines {
		out[i] = prefix + line
	}
	return out
}

// junit writes JUnit XML, as CI systems read it.
type junit struct {
	out    io.Writer
	began  time.Time
	suites []junitSuite
}

type junitSuite struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Errors   int         `xml:"errors,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Time     string      `xml:"time,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Class   string        `xml:"classname,attr"`
	Name    string        `xml:"name,attr"`
	Time    string        `xml:"time,attr"`
	Skipped *struct{}     `xml:"skipped"`
	Failure *junitProblem `xml:"failure"`
	Error   *junitProblem `xml:"error"`
	Log     string        `xml:"system-out,omitempty"`
}

type junitProblem struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

func (r *junit) suite(s script.Suite, outcomes []script.Outcome, err error) {
	name := filepath.ToSlash(s.File)
	suite := junitSuite{Name: name, Tests: len(outcomes)}
	var took time.Duration
	for i := range outcomes {
		o := &outcomes[i]
		took += o.Took
		c := junitCase{Class: name, Name: o.Name, Time: seconds(o.Took), Log: strings.Join(o.Log, "\n")}
		if o.Skipped {
			suite.Skipped++
			c.Skipped = &struct{}{}
		}
		if f := o.Failure; f != nil {
			suite.Failures++
			c.Failure = &junitProblem{firstLine(f.Text), failureText(s, f)}
		}
		suite.Cases = append(suite.Cases, c)
	}
	if err != nil {
		suite.Tests++
		suite.Errors++
		text := script.Explain(err)
		suite.Cases = append(suite.Cases, junitCase{Class: name, Name: "load", Time: seconds(0), Error: &junitProblem{firstLine(text), text}})
	}
	suite.Time = seconds(took)
	r.suites = append(r.suites, suite)
}

// failureText tells all that is known about a failure.
func failureText(s script.Suite, f *script.Failure) string {
	lines := []string{f.Text}
	if f.Place != "" {
		lines = append(lines, "at "+placed(s, f.Place))
	}
	if f.Compared {
		lines = append(lines, diff(f.Expected, f.Actual)...)
	}
	if len(f.Stack) > 1 {
		lines = append(lines, prefixed("    at ", f.Stack)...)
	}
	return strings.Join(lines, "\n")
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()) }

func (r *junit) end() error {
	all := struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Errors   int          `xml:"errors,attr"`
		Skipped  int          `xml:"skipped,attr"`
		Time     string       `xml:"time,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}{Time: seconds(time.Since(r.began)), Suites: r.suites}
	for i := range r.suites {
		s := &r.suites[i]
		all.Tests += s.Tests
		all.Failures += s.Failures
		all.Errors += s.Errors
		all.Skipped += s.Skipped
	}
	text, err := xml.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(r.out, "%s%s\n", xml.Header, text)
	return err
}
