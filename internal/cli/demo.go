package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/wstape/wstape/internal/config"
	"github.com/wstape/wstape/internal/demo"
	"github.com/wstape/wstape/record"
)

// demoOnce is how long `demo --once` lets the clients talk.
const demoOnce = 3 * time.Second

func (a *app) demoCommand() *cobra.Command {
	var once bool
	var listen string
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "see wstape work: a server, clients and the proxy between them",
		Long: `Start a small real server (a chat room, a price ticker, an echo), wstape in front
of it, and a few clients that talk, and show what passes, until Ctrl-C.`,
		Args: noArguments,
	}
	cmd.Flags().BoolVar(&once, "once", false, "stop after a few seconds and print what was recorded")
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:0", "serve on this `ADDR`")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		if once {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, demoOnce)
			defer cancel()
		}
		return a.demo(ctx, listen, once)
	}
	return cmd
}

func (a *app) demo(ctx context.Context, listen string, once bool) (err error) {
	dir, err := os.MkdirTemp("", "wstape-demo-")
	if err != nil {
		return fail(exitReach, "make a directory for the tape: %w", err)
	}
	upstream, stop, err := startDemoServer()
	if err != nil {
		return err
	}
	defer stop()
	c, _, err := config.Load(config.Sources{Flags: map[string]any{
		"listen": listen, "upstream": "ws://" + upstream, "tape": filepath.Join(dir, "wstape.db"),
	}})
	if err != nil {
		_ = os.RemoveAll(dir)
		return fail(exitUsage, "%w", err)
	}
	s, err := a.startService(ctx, c, sockets{})
	if err != nil {
		_ = os.RemoveAll(dir)
		return err
	}
	a.demoGreeting(s)
	var clients sync.WaitGroup
	clients.Add(1)
	go func() {
		defer clients.Done()
		if err := demo.Talk(ctx, s.url()); err != nil {
			fmt.Fprintf(a.Stderr, "wstape: demo client: %v\n", err)
		}
	}()
	// The clients take their leave before the proxy does, so that the last
	// thing one sees is how sessions usually end.
	clients.Wait()
	if err := s.wait(ctx, a.hard); err != nil {
		return err
	}
	return a.demoSummary(c.Tape, once)
}

func (a *app) demoGreeting(s *service) {
	fmt.Fprintf(a.Stderr, `wstape demo: a server at %s, wstape in front of it at %s

  point a client of your own at  %s/chat?room=1  (also /ticker, /echo)
  look at the tape meanwhile     %[5]s ls   --tape %[4]s
                                 %[5]s tail --tape %[4]s

`, s.config.Upstream, s.url(), s.url(), s.config.Tape, self())
}

// self is how this program is called from a shell here.
func self() string {
	if _, err := exec.LookPath("wstape"); err == nil {
		return "wstape"
	}
	if path, err := os.Executable(); err == nil && !strings.Contains(path, "go-build") { // where go run puts it
		return path
	}
	return "go run ."
}

// startDemoServer serves the demo's upstream on a free port.
func startDemoServer() (address string, stop func(), err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, fail(exitReach, "listen for the demo's server: %w", err)
	}
	server := &http.Server{Handler: demo.NewServer(), ReadHeaderTimeout: 10 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(ln)
	}()
	return ln.Addr().String(), func() { _ = server.Close(); <-done }, nil
}

// demoSummary prints what was recorded, read back from the tape.
func (a *app) demoSummary(path string, list bool) error {
	t := openTape(path, "")
	defer t.Close()
	ctx := context.Background()
	var sessions, frames, bytes uint64
	out := newSessionList(a.Stdout, a.painter(a.Stdout), false)
	for e, err := range record.Sessions(ctx, t) {
		if err != nil {
			return err
		}
		sessions++
		frames += e.Frames.Client + e.Frames.Server
		bytes += e.Bytes.Client + e.Bytes.Server
		if !list {
			continue
		}
		if err := out.add(e); err != nil {
			return err
		}
	}
	if list {
		if err := out.flush(); err != nil {
			return err
		}
	}
	if frames == 0 {
		return errors.New("the demo recorded nothing")
	}
	fmt.Fprintf(a.Stdout, `
recorded %s, %s, %s; look again with
  %[5]s ls   --tape %[4]s
  %[5]s show --tape %[4]s 1
  %[5]s export --tape %[4]s 1
`, count(sessions, "session"), count(frames, "frame"), size(bytes), path, self())
	return nil
}
