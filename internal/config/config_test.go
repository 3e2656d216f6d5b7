package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const example = "../../config.example.yaml"

func load(t *testing.T, text string, env map[string]string, flags map[string]any) (*Config, []Setting, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "wstape.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Load(Sources{File: path, Env: func(name string) string { return env[name] }, Flags: flags})
}

func TestExampleHasEveryKeyWithItsDefault(t *testing.T) {
	defaults, _, err := Load(Sources{})
	if err != nil {
		t.Fatal(err)
	}
	c, settings, err := Load(Sources{File: example})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(defaults, c); diff != "" {
		t.Errorf("the example differs from the defaults (-default +example):\n%s", diff)
	}
	for _, s := range settings {
		if s.Origin != "file" {
			t.Errorf("the example does not have %s", s.Key)
		}
	}
}

func TestTheManualHasEveryLimitWithItsDefault(t *testing.T) {
	manual, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, settings, err := Load(Sources{})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range settings {
		if !strings.HasPrefix(s.Key, "limits.") {
			continue
		}
		_, row, _ := strings.Cut(string(manual), "\n| `"+s.Key+"` | ")
		cell, _, _ := strings.Cut(row, " |")
		want := fmt.Sprint(s.Value)
		if d, err := time.ParseDuration(cell); err == nil {
			cell = d.String()
		}
		if cell != want && !(cell == "none" && want == "0") {
			t.Errorf("docs/operations.md says %q of %s, whose default is %s", cell, s.Key, want)
		}
	}
}

// keysOf lists the keys that a type's tags make.
func keysOf(t reflect.Type, prefix string) (keys []string) {
	for i := range t.NumField() {
		f := t.Field(i)
		key := prefix + f.Tag.Get("mapstructure")
		if f.Type.Kind() == reflect.Struct {
			keys = append(keys, keysOf(f.Type, key+".")...)
		} else {
			keys = append(keys, key)
		}
	}
	return keys
}

func TestEveryFieldHasADefault(t *testing.T) {
	for _, key := range keysOf(reflect.TypeFor[Config](), "") {
		if _, ok := defaults()[key]; !ok {
			t.Errorf("%s has no default, so its variable would be ignored", key)
		}
	}
}

func TestFlagsBeatVariablesBeatTheFileBeatTheDefaults(t *testing.T) {
	const file = "tape: file.db\nlisten: 127.0.0.1:1\nstrict: true\n"
	env := map[string]string{"WSTAPE_TAPE": "env.db", "WSTAPE_LISTEN": "127.0.0.1:2", "WSTAPE_RECORD_BUFFER": "2MiB"}
	c, settings, err := load(t, file, env, map[string]any{"tape": "flag.db"})
	if err != nil {
		t.Fatal(err)
	}
	if c.Tape != "flag.db" || c.Listen != "127.0.0.1:2" || !c.Strict || c.Record.Buffer != 2<<20 || c.Record.Flush != 50*time.Millisecond {
		t.Errorf("got %+v", c)
	}
	want := map[string]string{"tape": "flag", "listen": "WSTAPE_LISTEN", "strict": "file", "record.buffer": "WSTAPE_RECORD_BUFFER", "record.flush": "default"}
	for _, s := range settings {
		if origin, ok := want[s.Key]; ok && s.Origin != origin {
			t.Errorf("%s comes from %s, want %s", s.Key, s.Origin, origin)
		}
	}
}

func TestVariablesReachEveryKindOfKey(t *testing.T) {
	c, _, err := load(t, "", map[string]string{
		"WSTAPE_STRICT": "true", "WSTAPE_LIMITS_SESSIONS": "7", "WSTAPE_LIMITS_CLOSE_TIMEOUT": "3s",
		"WSTAPE_RECORD_REDACT_QUERY": "a,b*", "WSTAPE_UPSTREAM_TLS_SNI": "name",
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !c.Strict || c.Limits.Sessions != 7 || c.Limits.CloseTimeout != 3*time.Second || len(c.Record.Redact.Query) != 2 || c.UpstreamTLS.SNI != "name" {
		t.Errorf("got %+v", c)
	}
}

func TestMistakesAreNamed(t *testing.T) {
	for file, want := range map[string]string{
		"lisen: 1":            `unknown key "lisen"; did you mean "listen"?`,
		"record: {flsh: 1ms}": `unknown key "record.flsh"; did you mean "record.flush"?`,
		"flush: 1ms":          `unknown key "flush"; did you mean "record.flush"?`,
		"qqqqqqqqqqqqqqqq: 1": `unknown key "qqqqqqqqqqqqqqqq"; wstape config print lists all keys`,
		"routes: [{pth: /a, upstream: 'ws://a'}]": `unknown key "routes[0].pth"; did you mean "path"?`,
		"routes: [{path: /a}]":                    `routes[0].upstream: is missing`,
		"routes: [{path: a, upstream: 'ws://a'}]": `routes[0].path: "a" does not begin with /`,
		"record: {flush: 3 parsecs}":              `record.flush: "3 parsecs" is not a duration`,
		"record: {flush: 2s}":                     `record.flush: 2s is not between 1ms and 500ms`,
		"record: {buffer: lots}":                  `record.buffer: "lots" is not an amount of bytes`,
		"record: {buffer: 10}":                    `record.buffer: 10B is less than 1MiB`,
		"record: {keep: {age: -1s}}":              `record.keep.age: -1s is negative`,
		"record: {keep: {size: 10}}":              `record.keep.size: 10B is less than 1MiB`,
		"record: {keep: {sessions: -1}}":          `record.keep.sessions: -1 is negative`,
		"record: {when_full: panic}":              `record.when_full: "panic" is not one of block, drop`,
		"listen: here":                            `listen: "here" is not host:port`,
		"admin: here":                             `admin.listen: "here" is neither host:port`,
		"admin: {lisen: 127.0.0.1:1}":             `unknown key "admin.lisen"; did you mean "admin.listen"?`,
		"admin: {tls: {cert: a.pem}}":             `admin.tls: a certificate and its key go together`,
		"log: {level: loud}":                      `log.level: "loud" is not one of debug, info, warn, error`,
		"limits: {drain_timeout: -1s}":            `limits.drain_timeout: -1s is negative`,
		"tls: {cert: a.pem}":                      `tls: a certificate and its key go together`,
		"headers: [nonsense]":                     `headers: header "nonsense" is not of the form`,
		"headers: [\"A: b\\r\\nC: d\"]":           `line break`,
		"limits: {sessions: -1}":                  `limits.sessions: -1 is negative`,
		"limits: {close_timeout: 0s}":             `limits.close_timeout: 0s is not a positive duration`,
		"record: {redact: {json: [$.a, b]}}":      `record.redact.json: pattern "b", column 1: a pattern begins with $`,
		"record: {redact: {text: ['a', 'x(b']}}":  `record.redact.text: regular expression "x(b", column 1: missing closing )`,
		"record: {redact: {text: ['ab[z-a]']}}":   `record.redact.text: regular expression "ab[z-a]", column 4: invalid character class range`,
		"record: {redact: {text: ['']}}":          `record.redact.text: a regular expression is empty`,
		"record: {redact: {max_message: 100}}":    `record.redact.max_message: 100B is less than 1KiB`,
		"record: {redact: {max_held: 1MiB}}":      `record.redact.max_held: 1MiB is less than record.redact.max_message, 4MiB`,
		"a: [":                                    `yaml`,
	} {
		_, _, err := load(t, file, nil, nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %s", file, err, want)
		}
	}
	if _, _, err := Load(Sources{File: "none.yaml"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}

// TestExpressionsAreNotSplitAtCommas: half of one would let secrets through.
func TestExpressionsAreNotSplitAtCommas(t *testing.T) {
	for name, src := range map[string]struct {
		file string
		env  map[string]string
	}{
		"list":     {file: "record: {redact: {text: ['a{1,3}', b]}}"},
		"variable": {env: map[string]string{"WSTAPE_RECORD_REDACT_TEXT": "a{1,3}\nb\n"}},
		"text":     {file: "record:\n  redact:\n    text: |\n      a{1,3}\n      b\n"},
	} {
		c, _, err := load(t, src.file, src.env, nil)
		if err != nil || !slices.Equal(c.Record.Redact.Text, Expressions{"a{1,3}", "b"}) {
			t.Errorf("%s: %v, %v", name, c, err)
		}
	}
	c, _, err := load(t, "", map[string]string{"WSTAPE_RECORD_REDACT_JSON": "$.a,$..b"}, nil)
	if err != nil || len(c.Record.Redact.JSON) != 2 {
		t.Errorf("%v, %v", c, err)
	}
}

// TestAnAdminSideThatOthersReachIsGuarded is about what must not be served.
func TestAnAdminSideThatOthersReachIsGuarded(t *testing.T) {
	const guarded = "token_file: t, tls: {cert: c, key: k}"
	for file, want := range map[string]string{
		"admin: off":                                                   "",
		"admin: 127.0.0.1:0":                                           "",
		"admin: '[::1]:9090'":                                          "",
		"admin: LocalHost:9090":                                        "",
		"admin: '127.8.0.1:9090'":                                      "",
		"admin: 0.0.0.0:9090":                                          "admin.listen: 0.0.0.0:9090 can be reached from other machines",
		"admin: ':9090'":                                               "admin.listen: :9090 can be reached",
		"admin: '[::]:9090'":                                           "admin.listen: [::]:9090 can be reached",
		"admin: 192.0.2.1:9090":                                        "admin.listen: 192.0.2.1:9090 can be reached",
		"admin: example.com:9090":                                      "admin.listen: example.com:9090 can be reached",
		"admin: '127.0.0.1.x.y:1'":                                     "admin.listen: 127.0.0.1.x.y:1 can be reached",
		"admin: {listen: '0.0.0.0:1', token_file: t}":                  "admin.listen: 0.0.0.0:1 can be reached",
		"admin: {listen: '0.0.0.0:1', tls: {cert: c, key: k}}":         "admin.listen: 0.0.0.0:1 can be reached",
		"admin: {listen: '0.0.0.0:1', " + guarded + "}":                "",
		"admin: {listen: '0.0.0.0:1', pprof: true, " + guarded + "}":   "admin.pprof: profiles are shown on a loopback address only",
		"admin: {listen: '[::ffff:127.0.0.1]:1', pprof: true}":         "",
		"admin: {listen: 'localhost:1', pprof: true, hosts: [a, b]}":   "",
		"admin: {listen: '10.0.0.1:1', pprof: true, token_file: none}": "admin.pprof: profiles",
	} {
		_, _, err := load(t, file, nil, nil)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: error %v, want %q", file, err, want)
		}
	}
}

func TestSeveralMistakesComeTogether(t *testing.T) {
	_, _, err := load(t, "strict: true\nadmin: x\nlog: {format: xml}", nil, nil)
	var field *FieldError
	if !errors.As(err, &field) || !strings.Contains(err.Error(), "admin.listen:") || !strings.Contains(err.Error(), "log.format:") {
		t.Errorf("got %v", err)
	}
}

func TestBytes(t *testing.T) {
	for text, want := range map[string]Bytes{"0": 0, "17": 17, "64KiB": 64 << 10, "32 MiB": 32 << 20, "1GiB": 1 << 30, "5B": 5} {
		got, err := ParseBytes(text)
		if err != nil || got != want {
			t.Errorf("ParseBytes(%q) = %d, %v", text, got, err)
		}
		if back, err := ParseBytes(got.String()); err != nil || back != got {
			t.Errorf("%v does not come back: %d, %v", got, back, err)
		}
	}
	for _, text := range []string{"", "KiB", "-1", "1.5MiB", "99999999999GiB", "12 parsecs"} {
		if got, err := ParseBytes(text); err == nil {
			t.Errorf("ParseBytes(%q) = %d", text, got)
		}
	}
}

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{"0": 0, "50ms": 50 * time.Millisecond, "7d": 7 * 24 * time.Hour, "1d12h": 36 * time.Hour, "-1s": -time.Second} {
		if got, err := ParseDuration(text); err != nil || got != want {
			t.Errorf("ParseDuration(%q) = %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "d", "-1d", "1.5d", "1d-1h", "99999999d", "7 d", "1h1d"} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("ParseDuration(%q) = %v", text, got)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add("listen: 127.0.0.1:1\nroutes: [{path: /a, upstream: 'ws://b'}]\n")
	f.Add("record: {redact: {query: [a, b]}, flush: 10ms}")
	f.Add("a: &a [*a]")
	f.Fuzz(func(t *testing.T, text string) {
		c, settings, err := load(t, text, nil, nil)
		if err == nil && (c == nil || len(settings) != len(Keys())) {
			t.Errorf("no error and %v, %d settings", c, len(settings))
		}
	})
}
