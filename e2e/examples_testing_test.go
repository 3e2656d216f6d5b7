package e2e

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// havePytest imports the library once.
var havePytest = sync.OnceValue(func() bool { return exec.Command(pythonPath(), "-c", "import pytest").Run() == nil })

// TestExamplesOfTests runs the folders of examples/testing with the commands
// that its README names, and in each the test that must fail.
func TestExamplesOfTests(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile(filepath.Join("..", "examples", "testing", "README.md"))
	must(t, err)
	for _, example := range []struct {
		folder, right, wrong string
		needs                func(t *testing.T)
		report               []string // of the wrong one
	}{
		{
			"go", "go test .", "go test -tags wrong -run TestWrong .", func(*testing.T) {},
			[]string{"changed message at step 3 ", `differs   $.task: "open the door" → "open the window"`},
		},
		{
			"pytest", "python3 -m pytest", "python3 -m pytest wrong.py", requirePytest,
			[]string{"changed message at step 1 ", `differs   $.subscribe: "BTC" → "ETH"`},
		},
		{
			"node", "node --test", "node --test wrong.js", func(t *testing.T) { requireExampleModule(t, "ws") },
			[]string{"changed message at step 3 ", `differs   $.text: "I am, alice." → "Leave me alone."`},
		},
		{
			"playwright", "node --test", "node --test wrong.js", requireExamplePage,
			[]string{"changed message at step 1 ", `differs   $.subscribe: "BTC" → "ETH"`},
		},
	} {
		t.Run(example.folder, func(t *testing.T) {
			t.Parallel()
			example.needs(t)
			for _, command := range []string{example.right, example.wrong} {
				if !strings.Contains(string(readme), "`"+command+"`") {
					t.Errorf("the README does not say %q", command)
				}
			}
			if out, ok := runExample(t, example.folder, example.right); !ok {
				t.Errorf("%s: %s failed:\n%s", example.folder, example.right, out)
			}
			out, ok := runExample(t, example.folder, example.wrong)
			if ok {
				t.Errorf("%s: %s passed", example.folder, example.wrong)
			}
			for _, want := range example.report {
				if !strings.Contains(out, want) {
					t.Errorf("%s: %s does not say %q:\n%s", example.folder, example.wrong, want, out)
				}
			}
		})
	}
}

func requirePytest(t *testing.T) {
	t.Helper()
	requirePython(t)
	requirePeer(t, "python3-pytest", havePytest(), installHint)
}

func requireExampleModule(t *testing.T, name string) {
	t.Helper()
	requireNode(t)
	_, err := os.Stat(filepath.Join("..", "examples", "testing", "node_modules", name))
	requirePeer(t, "node module "+name+" of examples/testing", err == nil, installHint)
}

func requireExamplePage(t *testing.T) {
	t.Helper()
	requireChromium(t)
	requireExampleModule(t, "playwright-core")
}

var colour = regexp.MustCompile("\x1b\\[[0-9;]*m")

// runExample runs a README's command in a folder of examples/testing.
func runExample(t *testing.T, folder, command string) (out string, ok bool) {
	t.Helper()
	words := strings.Fields(command)
	switch words[0] {
	case "python3":
		words[0] = pythonPath()
	case "node":
		words[0] = nodePath()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience) // go test compiles
	defer cancel()
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Dir = filepath.Join("..", "examples", "testing", folder)
	cmd.Env = append(cleanEnv(), "WSTAPE="+binary, "WSTAPE_CHROMIUM="+chromiumPath(), "PYTHONDONTWRITEBYTECODE=1", "PYTEST_ADDOPTS=-p no:cacheprovider")
	text, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return colour.ReplaceAllString(string(text), ""), err == nil
}
