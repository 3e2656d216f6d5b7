package script

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestExportsThatAreNearlyHooks(t *testing.T) {
	for name, want := range map[string]string{
		"onmessage": "did you mean onMessage?", "onMessages": "did you mean onMessage?", "onMesage": "did you mean onMessage?",
		"onopen": "did you mean onOpen?", "OnClose": "did you mean onClose?", "onReqest": "did you mean onRequest?",
		"onData": "which is no hook; there are", "once": "", "helper": "", "message": "", "one": "", "open": "", "only": "",
	} {
		got := mistyped(name)
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestGlobalsThatDoNotExist(t *testing.T) {
	for src, want := range map[string]string{
		`fetch("x")`:                                 "1:31 fetch",
		`fetch("x"); fetch("y")`:                     "1:31 fetch",
		`new WebSocket(process.env.URL)`:             "1:35 WebSocket, 1:45 process",
		`const { fetch } = m; fetch("x")`:            "",
		`m.fetch("x"); m.process.window`:             "",
		`return { window: 1, document: 2 }`:          "",
		`const o = { window }; return o`:             "1:43 window",
		`function Buffer() {}; new Buffer()`:         "",
		`if (typeof fetch === "function") fetch()`:   "",
		`process.env.NODE_ENV`:                       "",
		`globalThis.fetch; "fetch()"; /* fetch() */`: "",
		`structuredClone(new URL("x:")); setTimeout; console; store; env; crypto; queueMicrotask; atob`: "",
		`location.href`: "1:31 location",
	} {
		path := filepath.Join(t.TempDir(), "a.js")
		if err := os.WriteFile(path, []byte("export function onMessage(m){ "+src+" }"), 0o600); err != nil {
			t.Fatal(err)
		}
		i, err := Inspect(path, Options{})
		if err != nil {
			t.Errorf("%s: %v", src, err)
			continue
		}
		var got []string
		for _, w := range i.Warnings {
			name, _, _ := strings.Cut(w.Text, " ")
			got = append(got, strings.TrimSpace(strings.Join([]string{place(w), name}, " ")))
		}
		if strings.Join(got, ", ") != want {
			t.Errorf("%s: %s\nwant %s", src, got, want)
		}
	}
}

func place(p Problem) string {
	at, _, _ := strings.Cut(strings.TrimPrefix(p.Describe(), "script "+p.File+":"), ": ")
	return at
}
