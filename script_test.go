package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/wstape/wstape/internal/cli"
	"github.com/wstape/wstape/internal/wstest"
)

// TestMain lets the scripts run wstape and two small independent peers from the
// test binary itself.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"wstape": func() { os.Exit(cli.Main(cli.System())) },
		"wsecho": func() { exit(wsecho()) },
		"wssay":  func() { exit(wssay()) },
	})
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// TestScripts runs the whole-program tests, which read like a manual.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"waitaddr": waitaddr,
			"until":    until,
			"flip":     flip,
			"terminal": terminal,
		},
		RequireExplicitExec: true,
	})
}

// waitaddr VAR FILE waits until an --addr-file is there and sets VAR to its
// address, and VAR_ADMIN to the admin side's.
func waitaddr(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: waitaddr VAR FILE")
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); <-tick.C {
		text, err := os.ReadFile(ts.MkAbs(args[1]))
		var addr struct{ Listen, Admin string }
		if err == nil && json.Unmarshal(text, &addr) == nil && addr.Listen != "" {
			ts.Setenv(args[0], addr.Listen)
			ts.Setenv(args[0]+"_ADMIN", addr.Admin)
			return
		}
	}
	ts.Fatalf("%s did not appear", args[1])
}

// until PATTERN COMMAND… runs a command again and again until its output matches.
func until(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: until PATTERN COMMAND…")
	}
	pattern, err := regexp.Compile(args[0])
	ts.Check(err)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); <-tick.C {
		if ts.Exec(args[1], args[2:]...) == nil && pattern.MatchString(ts.ReadFile("stdout")) {
			return
		}
	}
	ts.Fatalf("%q never matched what %v writes", args[0], args[1:])
}

// terminal [-press TEXT KEYS]… COLUMNS ROWS COMMAND… runs a command in a terminal
// of that size. Its stdout is what the terminal shows, with \e for ESC.
func terminal(ts *testscript.TestScript, neg bool, args []string) {
	var presses []wstest.Press
	for ; len(args) > 3 && args[0] == "-press"; args = args[3:] {
		presses = append(presses, wstest.Press{When: args[1], Keys: args[2]})
	}
	if len(args) < 3 {
		ts.Fatalf("usage: terminal [-press TEXT KEYS]… COLUMNS ROWS COMMAND…")
	}
	columns, err := strconv.ParseUint(args[0], 10, 16)
	ts.Check(err)
	rows, err := strconv.ParseUint(args[1], 10, 16)
	ts.Check(err)
	path, err := exec.LookPath(args[2])
	ts.Check(err)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args[3:]...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = append(os.Environ(), "TERM=xterm", "LESS=", "PAGER="+ts.Getenv("PAGER"), "WSTAPE_PAGER="+ts.Getenv("WSTAPE_PAGER"), "NO_COLOR="+ts.Getenv("NO_COLOR"))
	shown, err := wstest.RunOnTerminal(cmd, uint16(columns), uint16(rows), presses...)
	shown = bytes.ReplaceAll(bytes.ReplaceAll(shown, []byte("\r\n"), []byte("\n")), []byte("\x1b"), []byte(`\e`))
	_, writeErr := ts.Stdout().Write(shown)
	ts.Check(writeErr)
	if (err != nil) != neg {
		ts.Fatalf("%v: %v", args[2:], err)
	}
}

// flip FILE TEXT changes one bit wherever TEXT stands in FILE: bbolt leaves old
// copies behind, in pages that are free.
func flip(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs(args[0])
	data, err := os.ReadFile(path)
	ts.Check(err)
	if !bytes.Contains(data, []byte(args[1])) {
		ts.Fatalf("%q is not in %s", args[1], args[0])
	}
	flipped := []byte(args[1])
	flipped[0] ^= 1
	data = bytes.ReplaceAll(data, []byte(args[1]), flipped)
	ts.Check(os.WriteFile(path, data, 0o600))
}

// wsecho ADDRFILE serves an echo until interrupted: /refuse answers 403, "/" is
// a page, everything else echoes.
func wsecho() error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	upgrader := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }, Subprotocols: []string{"echo.v1"}}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/refuse":
			http.Error(w, "members only", http.StatusForbidden)
			return
		case !websocket.IsWebSocketUpgrade(r):
			fmt.Fprintln(w, "a page at", r.URL.Path)
			return
		}
		conn, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer conn.Close()
		for {
			kind, message, err := conn.ReadMessage()
			if err != nil || conn.WriteMessage(kind, message) != nil {
				return
			}
		}
	})}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt)
	go func() { <-stop; _ = server.Close() }()
	text := fmt.Sprintf(`{"listen":%q}`, ln.Addr())
	if err := os.WriteFile(os.Args[1], []byte(text), 0o644); err != nil {
		return err
	}
	if err := server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// wssay [-hold] [-get [-bearer FILE]] URL MESSAGE… says each message, waits for its echo and
// prints it, then closes with 1000. -hold waits for the server to close instead
// and prints how it did; -get makes a plain HTTP request, with the token in a file.
func wssay() error {
	hold := flag.Bool("hold", false, "wait for the server to close")
	get := flag.Bool("get", false, "make a plain HTTP request")
	bearer := flag.String("bearer", "", "with the token in this `FILE`")
	flag.Parse()
	url := flag.Arg(0)
	if *get {
		return httpGet(url, *bearer)
	}
	conn, res, err := websocket.DefaultDialer.Dial(url, nil)
	if err != nil {
		if res != nil {
			return fmt.Errorf("refused: %s", res.Status)
		}
		return err
	}
	defer conn.Close()
	for _, message := range flag.Args()[1:] {
		if err := conn.WriteMessage(websocket.TextMessage, []byte(message)); err != nil {
			return err
		}
		_, echo, err := conn.ReadMessage()
		if err != nil {
			return err
		}
		fmt.Println(string(echo))
	}
	if !*hold {
		bye := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "done")
		if err := conn.WriteMessage(websocket.CloseMessage, bye); err != nil {
			return err
		}
	}
	_, _, err = conn.ReadMessage()
	var closed *websocket.CloseError
	if *hold && errors.As(err, &closed) {
		fmt.Println("closed", closed.Code, closed.Text)
	}
	return nil
}

func httpGet(url, bearer string) error {
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	if bearer != "" {
		token, err := os.ReadFile(bearer)
		if err != nil {
			return err
		}
		r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	fmt.Println(res.Status)
	fmt.Println(res.Header)
	_, err = io.Copy(os.Stdout, res.Body)
	return err
}
