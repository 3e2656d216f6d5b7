package replay

import (
	"encoding/xml"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// The elements of JUnit XML, as far as they are used. There is no standard; this
// is what Jenkins, GitLab, GitHub and their like agree on. Many of them read one
// failure of a test case, so a session has one with all its mismatches in it.

type junitSuites struct {
	XMLName  xml.Name     `xml:"testsuites"`
	Name     string       `xml:"name,attr"`
	Tests    int          `xml:"tests,attr"`
	Failures int          `xml:"failures,attr"`
	Errors   int          `xml:"errors,attr"`
	Time     string       `xml:"time,attr"`
	Suites   []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name       string          `xml:"name,attr"`
	ID         int             `xml:"id,attr"`
	Package    string          `xml:"package,attr"`
	Hostname   string          `xml:"hostname,attr"`
	Timestamp  string          `xml:"timestamp,attr"`
	Tests      int             `xml:"tests,attr"`
	Failures   int             `xml:"failures,attr"`
	Errors     int             `xml:"errors,attr"`
	Skipped    int             `xml:"skipped,attr"`
	Time       string          `xml:"time,attr"`
	Properties []junitProperty `xml:"properties>property"`
	Cases      []junitCase     `xml:"testcase"`
	SystemOut  junitText       `xml:"system-out"`
	SystemErr  string          `xml:"system-err"`
}

type junitProperty struct {
	Name  string `xml:"name,attr"`
	Value string `xml:"value,attr"`
}

type junitCase struct {
	Name      string        `xml:"name,attr"`
	Class     string        `xml:"classname,attr"`
	Time      string        `xml:"time,attr"`
	Failure   *junitFailure `xml:"failure"`
	SystemOut *junitText    `xml:"system-out"`
}

// junitText is text in lines, which CDATA leaves readable. Only what has been
// escaped for terminals may be in it: CDATA can hold no more than XML can.
type junitText struct {
	Text string `xml:",cdata"`
}

type junitFailure struct {
	Message string `xml:"message,attr"`
	Type    Kind   `xml:"type,attr"`
	junitText
}

// WriteJUnit writes the report as JUnit XML: a suite whose cases are the
// sessions. A session that nobody came for has failed too.
func (r *Report) WriteJUnit(w io.Writer) error {
	held, _, _, _ := r.counts()
	class := "replay." + r.Role.String()
	suite := junitSuite{
		Name: "replay " + r.Role.String(), Package: "replay", Hostname: "localhost",
		Timestamp: r.Started.UTC().Format("2006-01-02T15:04:05"), Time: junitTime(r.Duration),
		Tests: len(r.Outcomes), Failures: len(r.Outcomes) - held,
		Properties: []junitProperty{{"recording", r.Recording}},
		SystemOut:  junitText{r.verdict() + "\n"},
	}
	for _, o := range r.Outcomes {
		c := junitCase{Name: o.name(), Class: class, Time: junitTime(o.Duration)}
		if !o.Held() {
			first := &o.Mismatches[0]
			text := "\n" + o.line(r.Role) + "\n" + o.explanation(o.Mismatches)
			c.Failure = &junitFailure{first.sentence(len(o.Mismatches) - 1), first.Kind, junitText{text}}
		}
		if len(o.Skipped) > 0 {
			c.SystemOut = &junitText{"skipped " + mismatchCount(len(o.Skipped)) + ":\n" + explain(o.Skipped)}
		}
		suite.Cases = append(suite.Cases, c)
	}
	return suite.write(w)
}

// write writes a document of one suite.
func (suite *junitSuite) write(w io.Writer) error {
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(junitSuites{
		Name: suite.Name, Tests: suite.Tests, Failures: suite.Failures, Time: suite.Time, Suites: []junitSuite{*suite},
	}); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// sentence says where and why in one line.
func (m *Mismatch) sentence(more int) string {
	var parts []string
	if m.Step > 0 {
		parts = append(parts, stepText(m.Step, m.Seq))
	}
	if m.Text != "" {
		parts = append(parts, escaped(m.Text))
	}
	if len(parts) == 0 {
		parts = append(parts, string(m.Kind))
	}
	text := strings.Join(parts, ": ")
	if more > 0 {
		text += fmt.Sprintf(" (and %s more)", mismatchCount(more))
	}
	return text
}

func junitTime(d time.Duration) string {
	return strconv.FormatFloat(max(d, 0).Seconds(), 'f', 6, 64)
}
