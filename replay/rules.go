package replay

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/wstape/wstape/internal/jsonpath"
	"github.com/wstape/wstape/tape"
)

// Level says how closely a message must be as recorded: the matching ladder.
type Level string

// The ladder.
const (
	Bytes  Level = "bytes"  // the same bytes
	JSON   Level = "json"   // the same JSON, whatever its order and spacing; else the same bytes
	Shape  Level = "shape"  // as JSON, but provably volatile values may differ; the default
	Script Level = "script" // a script's onMatch decides; where it has no opinion, as Shape
)

// Matching says how live messages are compared with recorded ones.
type Matching struct {
	Level  Level    // default Shape
	Ignore []string // paths of values that may differ, be there or not: $.price
	Rules  *Rules   // besides those of the cassette
	// Wire keeps the frames of what the player sends, so that they can be played as
	// they were: fragments, compression, violations.
	Wire bool
}

// Validate reports a mistake in it.
func (m *Matching) Validate() error {
	_, err := m.rules(nil)
	return err
}

// Rules is what `replay learn` finds out about a scenario and a cassette
// carries: the values of messages that differ from run to run.
type Rules struct {
	Ignore []Rule `json:"ignore,omitempty"` // may differ
	Bind   []Rule `json:"bind,omitempty"`   // chosen by the one side and repeated by the other, at To
	Exact  []Rule `json:"exact,omitempty"`  // may not differ, although they look as if they might
}

// Rule names values of messages. Written as a string it is a path alone.
type Rule struct {
	Path string                     `json:"path"`
	To   string                     `json:"to,omitempty"`   // of Bind: where the other side repeats the value
	From *tape.Side                 `json:"from,omitempty"` // whose messages; nil means both
	When map[string]json.RawMessage `json:"when,omitempty"` // values that the message must have, by path
}

// UnmarshalJSON reads a rule, or a path alone.
func (r *Rule) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, &r.Path)
	}
	type plain Rule
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	err := dec.Decode((*plain)(r))
	if err != nil && strings.Contains(err.Error(), "unknown field") {
		err = fmt.Errorf("%w; a rule has path, to, from and when", err)
	}
	return err
}

// rule is a Rule that can be applied.
type rule struct {
	from     *tape.Side
	path, to *jsonpath.Pattern
	when     []condition
}

type condition struct {
	path *jsonpath.Pattern
	want scalar
}

// rules is a Matching that can be applied.
type rules struct {
	level               Level
	ignore, bind, exact []rule
}

// rules joins the options with what a cassette carries.
func (m *Matching) rules(carried []byte) (*rules, error) {
	out := &rules{level: m.Level}
	switch out.level {
	case "":
		out.level = Shape
	case Bytes, JSON, Shape, Script:
	default:
		return nil, fmt.Errorf("match %q is not bytes, json, shape or script", m.Level)
	}
	for _, text := range m.Ignore {
		if err := appendRule(&out.ignore, Rule{Path: text}); err != nil {
			return nil, fmt.Errorf("ignore: %w", err)
		}
	}
	var own Rules
	if len(carried) > 0 && !bytes.Equal(bytes.TrimSpace(carried), []byte("null")) {
		dec := json.NewDecoder(bytes.NewReader(carried))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&own); err != nil {
			return nil, fmt.Errorf("the cassette's rules: %w", err)
		}
	}
	for _, r := range []*Rules{&own, m.Rules} {
		if r == nil {
			continue
		}
		for _, list := range []struct {
			name string
			in   []Rule
			out  *[]rule
		}{{"ignore", r.Ignore, &out.ignore}, {"bind", r.Bind, &out.bind}, {"exact", r.Exact, &out.exact}} {
			for i, rule := range list.in {
				if (rule.To != "") != (list.name == "bind") {
					return nil, fmt.Errorf("rules: %s %d: a bind rule, and no other, needs \"to\"", list.name, i+1)
				}
				if err := appendRule(list.out, rule); err != nil {
					return nil, fmt.Errorf("rules: %s %d: %w", list.name, i+1, err)
				}
			}
		}
	}
	return out, nil
}

func appendRule(to *[]rule, r Rule) (err error) {
	made := rule{from: r.From}
	if made.path, err = jsonpath.Parse(r.Path); err != nil {
		return err
	}
	if r.To != "" {
		if made.to, err = jsonpath.Parse(r.To); err != nil {
			return err
		}
	}
	for text, raw := range r.When {
		c := condition{}
		if c.path, err = jsonpath.Parse(text); err != nil {
			return err
		}
		leaves, ok := jsonLeaves(raw, 0, nil)
		if !ok || len(leaves) != 1 || len(leaves[0].path) > 0 || leaves[0].kind == '{' || leaves[0].kind == '[' {
			return errors.New("the value of \"when\" at " + text + " is not a string, number, true, false or null")
		}
		c.want = leaves[0].scalar
		made.when = append(made.when, c)
	}
	*to = append(*to, made)
	return nil
}

// about reports whether a rule holds for messages like this one.
func (r *rule) about(from tape.Side, v *view) bool {
	if r.from != nil && *r.from != from {
		return false
	}
	for _, c := range r.when {
		found := false
		for i := range v.leaves {
			if l := &v.leaves[i]; c.path.Exactly(l.path) && equal(l.scalar, c.want) {
				found = true
				break
			}
		}
		if !found {
			return false
		}
	}
	return true
}

// covered reports whether one of the rules names a place in a message.
func covered(rules []rule, from tape.Side, v *view, at jsonpath.Path) bool {
	for i := range rules {
		if rules[i].path.Covers(at) && rules[i].about(from, v) {
			return true
		}
	}
	return false
}
