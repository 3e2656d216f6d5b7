package script

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/dop251/goja"
	"github.com/evanw/esbuild/pkg/api"
	"github.com/google/go-cmp/cmp"

	"github.com/wstape/wstape/tape"
)

// declared returns the names of the members that wstape.d.ts declares of each
// interface, and of the globals with values ("").
func declared(t *testing.T) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	open, depth := "", 0
	begins := regexp.MustCompile(`^ *interface (\w+)`)
	extends := regexp.MustCompile(`extends (\w+)`)
	member := regexp.MustCompile(`^ +(?:readonly )?(\w+)(?:<[^(]*>)?\??[(:]`)
	global := regexp.MustCompile(`^declare (?:var|function) (\w+)`)
	for _, line := range strings.Split(Types(), "\n") {
		if m := global.FindStringSubmatch(line); m != nil {
			all[""] = append(all[""], m[1])
		}
		if m := begins.FindStringSubmatch(line); m != nil {
			open, depth = m[1], len(line)-len(strings.TrimLeft(line, " "))
			all[open] = nil
			if m := extends.FindStringSubmatch(line); m != nil {
				all[open] = slices.Clone(all[m[1]])
			}
			continue
		}
		if strings.TrimSpace(line) == "}" && len(line)-1 == depth {
			open = ""
		}
		if m := member.FindStringSubmatch(line); open != "" && m != nil && len(line)-len(strings.TrimLeft(line, " ")) == depth+4 {
			all[open] = append(all[open], m[1])
		}
	}
	for name := range all {
		slices.Sort(all[name])
	}
	return all
}

// What the runtime has is declared, and what is declared the runtime has.
func TestTypesAreTrue(t *testing.T) {
	types := declared(t)
	r := rehearse(t, Options{Env: map[string]string{"A": "1"}}, `export function onMessage() {}`)
	v := r.session.vms[0]
	rt := v.rt
	own := func(o *goja.Object) []string { return ownNames(t, rt, o) }
	prototype := func(name string) []string {
		names := own(rt.GlobalObject().Get(name).ToObject(rt).Get("prototype").ToObject(rt))
		return slices.DeleteFunc(names, func(n string) bool { return n == "constructor" })
	}
	message := newView(v, text("{}", 0), content{tape.Text, []byte("{}")})
	readOnly := v.headers(&headerList{readOnly: true})
	changing := []string{"set", "append", "delete"}
	for name, has := range map[string][]string{
		"Message":      message.Keys(),
		"Control":      message.Keys(),
		"Session":      (&sessionObject{vm: v}).Keys(),
		"SentRequest":  own(v.sessionObject().Get("request").ToObject(rt)),
		"Request":      own((&requestObject{head: head{vm: v}}).object()),
		"Response":     own((&responseObject{head: head{vm: v}}).object()),
		"Headers":      own(readOnly),
		"SentHeaders":  slices.DeleteFunc(own(readOnly), func(n string) bool { return slices.Contains(changing, n) }),
		"Store":        rt.GlobalObject().Get("store").ToObject(rt).Keys(),
		"Console":      rt.GlobalObject().Get("console").ToObject(rt).Keys(),
		"Crypto":       rt.GlobalObject().Get("crypto").ToObject(rt).Keys(),
		"SubtleCrypto": own(rt.GlobalObject().Get("crypto").ToObject(rt).Get("subtle").ToObject(rt)),
		"Performance":  own(rt.GlobalObject().Get("performance").ToObject(rt)),
		"TextEncoder":  prototype("TextEncoder"), "TextDecoder": prototype("TextDecoder"),
		"URL": prototype("URL"), "URLSearchParams": prototype("URLSearchParams"),
		"":       slices.Concat(lazyGlobals(t), timerNames(rt), []string{"test", "assert", "open"}),
		"Ending": {"kind", "code", "reason", "from", "why"},
	} {
		slices.Sort(has)
		if diff := cmp.Diff(has, types[name]); diff != "" {
			t.Errorf("%q: the runtime has -, wstape.d.ts declares +:\n%s", name, diff)
		}
	}
}

func ownNames(t *testing.T, rt *goja.Runtime, o *goja.Object) (names []string) {
	t.Helper()
	_ = rt.Set("it", o)
	list, err := rt.RunString("Object.getOwnPropertyNames(it)")
	if err != nil {
		t.Fatal(err)
	}
	if err := rt.ExportTo(list, &names); err != nil {
		t.Fatal(err)
	}
	return names
}

// timerNames are the globals that a session adds to those of JavaScript.
func timerNames(rt *goja.Runtime) (names []string) {
	plain := goja.New().GlobalObject()
	for _, name := range []string{"setTimeout", "setInterval", "clearTimeout", "clearInterval", "setImmediate"} {
		if rt.GlobalObject().Get(name) != nil && plain.Get(name) == nil {
			names = append(names, name)
		}
	}
	return names
}

// lazyGlobals reads from the source which globals are made when asked for, for
// they cannot be enumerated.
func lazyGlobals(t *testing.T) (names []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "globals.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Name.Name != "make" {
			continue
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if c, ok := n.(*ast.CaseClause); ok {
				for _, e := range c.List {
					name, err := strconv.Unquote(e.(*ast.BasicLit).Value)
					if err != nil {
						t.Fatal(err)
					}
					names = append(names, name)
				}
			}
			return true
		})
	}
	if len(names) == 0 {
		t.Fatal("globals.go has no globals.make any more")
	}
	return names
}

func TestTestTypesAreTrue(t *testing.T) {
	types := declared(t)
	suite := writeSuite(t, `export function onRequest(req) { if (req.url === "/no") req.reject(); } export function onMessage() {}`, `
const names = (o) => Object.getOwnPropertyNames(o).sort().join();
test("names", () => {
  const s = open(), no = open({ url: "/no" });
  s.tags; // opens it
  console.log("TestSession", names(s));
  console.log("Outcome", names(s.client("x")) + ",by");
  console.log("Sendable", names(s.client("x").out[0]));
  console.log("TestRequest", names(no.request()));
  console.log("TestResponse", names(open().response()) + ",refusal");
  console.log("Assert", names(assert));
  console.log("Test", names(test));
});`)
	outcomes, err := suite.Run(SuiteOptions{})
	if err != nil || outcomes[0].Failure != nil {
		t.Fatal(err, outcomes)
	}
	for _, line := range outcomes[0].Log {
		name, list, _ := strings.Cut(line, " ")
		has := slices.DeleteFunc(strings.Split(list, ","), func(n string) bool { return slices.Contains([]string{"name", "length", "prototype"}, n) })
		slices.Sort(has)
		if diff := cmp.Diff(has, types[name]); diff != "" {
			t.Errorf("%s: the runtime has -, wstape.d.ts declares +:\n%s", name, diff)
		}
	}
	if len(outcomes[0].Log) < 7 {
		t.Errorf("only %q", outcomes[0].Log)
	}
}

func TestTypesAreTypeScript(t *testing.T) {
	result := api.Transform(Types(), api.TransformOptions{Loader: api.LoaderTS})
	for _, e := range result.Errors {
		t.Errorf("%s: %+v", e.Text, e.Location)
	}
	for _, hook := range hookList() {
		if !strings.Contains(Types(), "export function "+hook+"(") || !strings.Contains(Types(), "type "+strings.ToUpper(hook[:1])+hook[1:]+" = ") {
			t.Errorf("wstape.d.ts says nothing about %s", hook)
		}
	}
}

// writeSuite writes a script and its tests.
func writeSuite(t *testing.T, script, tests string) Suite {
	t.Helper()
	dir := t.TempDir()
	s := Suite{Script: filepath.Join(dir, "a.js"), File: filepath.Join(dir, "a.test.js")}
	for path, text := range map[string]string{s.Script: script, s.File: tests} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return s
}
