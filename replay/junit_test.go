package replay

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"math/rand"
	"regexp"
	"strings"
	"testing"
)

// junitRule says what an element of JUnit XML may have, after the schemas of
// Jenkins (xunit-plugin, junit-10.xsd) and, for what must be there, of windyroad
// (JUnit.xsd). Children come in this order; "?" behind a name: at most one, "*":
// any number, else just one. Attributes with "!" must be there.
type junitRule struct {
	attrs    map[string]string // name and type
	children string
	text     bool
}

func junitRules() map[string]junitRule {
	return map[string]junitRule{
		"testsuites": {attrs: map[string]string{
			"name": "string", "time": "seconds", "tests": "count", "failures": "count", "disabled": "count", "errors": "count",
		}, children: "testsuite*"},
		"testsuite": {attrs: map[string]string{
			"name": "token!", "tests": "count!", "failures": "count!", "errors": "count!", "time": "seconds!", "timestamp": "timestamp!",
			"hostname": "token!", "id": "count!", "package": "token!", "disabled": "count", "skipped": "count",
		}, children: "properties testcase* system-out system-err"},
		"properties": {children: "property*"},
		"property":   {attrs: map[string]string{"name": "token!", "value": "string!"}},
		"testcase": {attrs: map[string]string{
			"name": "token!", "classname": "token!", "time": "seconds!", "status": "string",
		}, children: "skipped? error? failure? system-out? system-err?"},
		"skipped":    {attrs: map[string]string{"message": "string", "type": "string"}, text: true},
		"error":      {attrs: map[string]string{"message": "string", "type": "string!"}, text: true},
		"failure":    {attrs: map[string]string{"message": "string", "type": "token!"}, text: true},
		"system-out": {text: true},
		"system-err": {text: true},
	}
}

func junitTypes() map[string]*regexp.Regexp {
	return map[string]*regexp.Regexp{
		"string":    regexp.MustCompile(`(?s)^.*$`),
		"token":     regexp.MustCompile(`(?s)^.*\S.*$`),
		"count":     regexp.MustCompile(`^\d+$`),
		"seconds":   regexp.MustCompile(`^\d+\.\d{3,}$`),
		"timestamp": regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d$`),
	}
}

// junitElement is an element that was read.
type junitElement struct {
	name     string
	attrs    map[string]string
	children []*junitElement
	text     string
}

// readJUnit reads a document and holds it against the rules.
func readJUnit(data []byte) (*junitElement, error) {
	dec := xml.NewDecoder(bytes.NewReader(data))
	top := &junitElement{name: "document"}
	stack := []*junitElement{top}
	for {
		token, err := dec.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		last := stack[len(stack)-1]
		switch token := token.(type) {
		case xml.StartElement:
			e := &junitElement{name: token.Name.Local, attrs: map[string]string{}}
			for _, a := range token.Attr {
				if _, twice := e.attrs[a.Name.Local]; twice || a.Name.Space != "" {
					return nil, fmt.Errorf("%s: attribute %v", e.name, a.Name)
				}
				e.attrs[a.Name.Local] = a.Value
			}
			last.children = append(last.children, e)
			stack = append(stack, e)
		case xml.EndElement:
			stack = stack[:len(stack)-1]
			if err := last.check(); err != nil {
				return nil, err
			}
		case xml.CharData:
			last.text += string(token)
		case xml.ProcInst:
			if token.Target != "xml" || string(token.Inst) != `version="1.0" encoding="UTF-8"` {
				return nil, fmt.Errorf("<?%s %s?>", token.Target, token.Inst)
			}
		default:
			return nil, fmt.Errorf("%T", token)
		}
	}
	if len(top.children) != 1 || top.children[0].name != "testsuites" || strings.TrimSpace(top.text) != "" {
		return nil, fmt.Errorf("the document is not one testsuites element")
	}
	return top.children[0], nil
}

func (e *junitElement) check() error {
	rule, known := junitRules()[e.name]
	if !known {
		return fmt.Errorf("element %s", e.name)
	}
	for name, value := range e.attrs {
		kind, ok := rule.attrs[name]
		if !ok || !junitTypes()[strings.TrimSuffix(kind, "!")].MatchString(value) {
			return fmt.Errorf("%s: %s=%q is not %q", e.name, name, value, kind)
		}
	}
	for name, kind := range rule.attrs {
		if _, ok := e.attrs[name]; !ok && strings.HasSuffix(kind, "!") {
			return fmt.Errorf("%s has no %s", e.name, name)
		}
	}
	if !rule.text && strings.TrimSpace(e.text) != "" {
		return fmt.Errorf("%s has text %q", e.name, e.text)
	}
	rest := e.children
	for _, child := range strings.Fields(rule.children) {
		name := strings.TrimRight(child, "?*")
		n := 0
		for n < len(rest) && rest[n].name == name {
			n++
		}
		if strings.HasSuffix(child, "?") && n > 1 || name == child && n != 1 {
			return fmt.Errorf("%s has %d of %s", e.name, n, name)
		}
		rest = rest[n:]
	}
	if len(rest) > 0 {
		return fmt.Errorf("%s in %s, or out of order", rest[0].name, e.name)
	}
	return nil
}

func checkJUnit(t *testing.T, r *Report) *junitElement {
	t.Helper()
	var b bytes.Buffer
	if err := r.WriteJUnit(&b); err != nil {
		t.Fatal(err)
	}
	suites, err := readJUnit(b.Bytes())
	if err != nil {
		t.Fatalf("%v in\n%s", err, b.String())
	}
	suite := suites.children[0]
	failures, cases := 0, 0
	for _, c := range suite.children {
		if c.name != "testcase" {
			continue
		}
		o := r.Outcomes[cases]
		cases++
		failed, skipped := false, false
		for _, child := range c.children {
			failed = failed || child.name == "failure" && child.text != ""
			skipped = skipped || child.name == "system-out" && child.text != ""
		}
		if failed {
			failures++
		}
		if failed == o.Held() || skipped != (len(o.Skipped) > 0) {
			t.Errorf("%s: failed %v, skipped %v", o.Session, failed, skipped)
		}
	}
	for _, e := range []*junitElement{suites, suite} {
		if e.attrs["tests"] != fmt.Sprint(cases) || e.attrs["failures"] != fmt.Sprint(failures) || cases != len(r.Outcomes) {
			t.Errorf("%s: %s tests and %s failures, but %d and %d", e.name, e.attrs["tests"], e.attrs["failures"], cases, failures)
		}
	}
	return suites
}

func TestJUnit(t *testing.T) {
	for _, r := range []*Report{failedReport(), heldReport(), {}} {
		checkJUnit(t, r)
	}
	suite := checkJUnit(t, failedReport()).children[0]
	failure := suite.children[2].children[0]
	if failure.attrs["type"] != "changed message" || failure.attrs["message"] != "step 7 (message 12 on the tape): this came, but not as on the tape" ||
		!strings.Contains(failure.text, "differs   $.a: 1 → 2\n") {
		t.Errorf("%v %s", failure.attrs, failure.text)
	}
}

func TestJUnitOfHostilePeers(t *testing.T) {
	r := rand.New(rand.NewSource(2))
	for range 500 {
		report := hostileReport(r)
		for _, o := range report.Outcomes {
			o.Session = "session " + o.Session
		}
		checkJUnit(t, report)
	}
}

func TestJUnitRulesReject(t *testing.T) {
	var b bytes.Buffer
	if err := failedReport().WriteJUnit(&b); err != nil {
		t.Fatal(err)
	}
	for old, broken := range map[string]string{
		`<system-err></system-err>`: ``,
		`<testsuites `:              `<testsuites colour="red" `,
		` id="0"`:                   ``,
		`time="1.200000"`:           `time="1.2"`,
		`T10:11:12`:                 `T10:11:12Z`,
		`</failure>`:                `</failure><failure type="x"></failure>`,
		`]]></failure>`:             "\x00]]></failure>",
		`<properties>`:              `text<properties>`,
		`</properties>`:             `</properties><note></note>`,
	} {
		if _, err := readJUnit([]byte(strings.Replace(b.String(), old, broken, 1))); err == nil || !strings.Contains(b.String(), old) {
			t.Errorf("%q for %q passes", broken, old)
		}
	}
}
