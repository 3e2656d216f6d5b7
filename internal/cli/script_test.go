package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestScriptCommandsExitCodes(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for name, text := range map[string]string{
		"good.js": `export function onMessage() {}`, "good.test.js": `test("holds", () => {});`,
		"bad.js": `export function onMessage() {}`, "bad.test.js": `test("holds not", () => assert(false));`,
		"broken.js": `export function {`, "broken.test.js": `test("x", () => {});`,
		"warns.js":           `export function onMessage() { fetch("x"); }`,
		"fails.js":           `export function onMessage() { throw new Error("no"); }`,
		"chat.cassette.json": "", "chat.cassette.jsonl": `{"wstape":1,"session":{}}` + "\n" + `{"from":"client","text":"hi"}`,
	} {
		if err := os.WriteFile(at(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		code int
		args string
	}{
		{exitFine, "check good.js"}, {exitFine, "check warns.js"}, {exitUsage, "check broken.js"}, {exitUsage, "check gone.js"}, {exitUsage, "check"},
		{exitFine, "test good.js"}, {exitNo, "test good.js bad.js"}, {exitUsage, "test bad.js broken.js"}, {exitUsage, "test gone.js"}, {exitUsage, "test good.js --run other"},
		{exitFine, "run good.js chat.cassette.jsonl"}, {exitNo, "run fails.js chat.cassette.jsonl"}, {exitUsage, "run broken.js chat.cassette.jsonl"},
		{exitReach, "run good.js gone.cassette.jsonl"}, {exitReach, "run good.js 1 --tape gone.db"}, {exitUsage, "run good.js"},
		{exitFine, "types"}, {exitFine, "new one"}, {exitUsage, "new good.js"}, {exitReach, "new gone/two"}, {exitUsage, "none"}, {exitFine, ""},
	} {
		args := []string{"script"}
		for _, arg := range strings.Fields(tc.args) {
			if strings.Contains(arg, ".") || arg == "one" || strings.Contains(arg, "/") {
				arg = at(arg)
			}
			args = append(args, arg)
		}
		if code, lines := start(t, args...).wait(); code != tc.code {
			t.Errorf("script %s: exit code %d, want %d\n%s", tc.args, code, tc.code, strings.Join(lines, "\n"))
		}
	}
}

func TestSessionsFromTheEndAreNoFlags(t *testing.T) {
	a := &app{Env: Env{Getenv: func(string) string { return "" }}}
	for args, want := range map[string]string{
		"show -1":                                  "show @-1",
		"script run a.js -1":                       "script run a.js @-1",
		"script run a.js --session -1":             "script run a.js --session -1", // pflag takes the value as it is
		"script run a.js --tape -1 -2 --json":      "script run a.js --tape -1 @-2 --json",
		"script run --config w.yaml --session -3":  "script run --config w.yaml --session -3",
		"script test -1":                           "script test -1",
		"tag -1 -2":                                "tag @-1 -2",
		"proxy -1":                                 "proxy -1",
		"export -12 --out -1 --format -1 --from 2": "export @-12 --out -1 --format -1 --from 2",
		"show -2 --last -1 --full -3":              "show @-2 --last -1 --full @-3",
		"show --since -1 --since=-1 -1 --view -1":  "show --since -1 --since=-1 @-1 --view -1",
		"search -1 -C -2 -3 --count -4":            "search -1 -C -2 @-3 --count @-4",
		"tag --tape -1 -2 --note -3":               "tag --tape -1 @-2 --note -3",
		"--color never replay server -1 --pace -1": "replay server --color never @-1 --pace -1",
		"stats -1 --nonsense -2":                   "stats @-1 --nonsense @-2",
	} {
		if got := strings.Join(fromEnd(a.root(), strings.Fields(args)), " "); got != want {
			t.Errorf("%s: %s, want %s", args, got, want)
		}
	}
}

func TestDiffShowsWhatDiffers(t *testing.T) {
	for _, tc := range []struct{ expected, actual, want string }{
		{"a", "b", "- a\n+ b"},
		{"a\nb\nc", "a\nx\nc", "  a\n- b\n+ x\n  c"},
		{"a\nc", "a\nb\nc", "  a\n+ b\n  c"},
		{"a\nb", "", "- a\n- b\n+ "},
	} {
		if got := strings.Join(diff(tc.expected, tc.actual), "\n"); got != "- expected\n+ actual\n"+tc.want {
			t.Errorf("%q and %q:\n%s", tc.expected, tc.actual, got)
		}
	}
	long := strings.Repeat("a\n", 2000)
	if got := diff(long, "x\n"+long); len(got) != 2001+2002 {
		t.Errorf("long texts: %d lines", len(got))
	}
}

func TestFirstDifferenceIsShown(t *testing.T) {
	same := strings.Repeat("0123456789", 20)
	for _, tc := range []struct {
		a, b string
		room int
		want string // begins what is shown of b
	}{
		{"short", "shark", 60, "shark"},
		{same + "a", same + "b", 60, same[185:] + "b"},
		{same, "x" + same, 60, "x" + same},
		{strings.Repeat("é", 100) + "a", strings.Repeat("é", 100) + "b", 60, strings.Repeat("é", 8) + "b"},
		{same, same + "more", 60, same[185:] + "more"},
	} {
		if got := tc.b[firstDifference([]byte(tc.a), []byte(tc.b), tc.room):]; got != tc.want {
			t.Errorf("%.20s… and %.20s…: %s, want %s", tc.a, tc.b, got, tc.want)
		}
	}
}

func TestScriptRunSettlesWhatAwaitsOnBothSides(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "slow.js")
	if err := os.WriteFile(path, []byte(`
export function onOpen(session) { setTimeout(() => session.note("tick"), 2500); }
export async function onMessage(msg) { await new Promise(r => setTimeout(r, 1000)); return msg.text + "@" + new Date().toISOString().slice(17, 19); }`), 0o600); err != nil {
		t.Fatal(err)
	}
	cassette := filepath.Join(dir, "c.jsonl")
	text := `{"wstape":1,"session":{"started":"2026-01-01T00:00:00Z"}}` + "\n"
	for i := range 3 {
		text += fmt.Sprintf(`{"from":"client","text":"c%d","t":0.%d}`+"\n"+`{"from":"server","text":"s%d","t":0.%d}`+"\n", i, i, i, i)
	}
	if err := os.WriteFile(cassette, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c := start(t, "script", "run", path, cassette, "--json")
	code, lines := c.wait()
	if code != exitFine {
		t.Fatalf("exit code %d: %q", code, lines)
	}
	// Each side's messages wait for one another, and not for the other side's.
	for i, want := range []string{`"c0@01"`, `"s0@01"`, `"c1@02"`, `"s1@02"`, `"c2@03"`, `"s2@03"`, `"tick"`, "6 messages: 0 passed, 6 edited"} {
		if i >= len(lines) || !strings.Contains(lines[i], want) {
			t.Errorf("line %d is not about %s:\n%s", i, want, strings.Join(lines, "\n"))
		}
	}
}
