package cli

import (
	"errors"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wstape/wstape/replay"
	"github.com/wstape/wstape/tape"
)

func (a *app) replayClientCommand() *cobra.Command {
	var f replayFlags
	var load loadFlags
	cmd := &cobra.Command{
		Use:   "client RECORDING… URL",
		Short: "be the recorded client, to a real server",
		Long: `Drive a real server with what the recorded client sent, each message when what it
answers has come, and compare the server's answers with the recording. Several
sessions are played at once where they were recorded so, in the order of the tape.

Ids, times and tokens may be others than on the tape: see docs/replay.md. A URL
without a path asks for what the recorded client asked for.` + loadHelp,
		Example: `  wstape replay client chat.cassette.jsonl ws://localhost:8765
  wstape replay client 1 2 ws://localhost:8765 --tape t.db --pace instant
  wstape replay client login.cassette.jsonl wss://stage.example.com --secret Authorization=env:API_TOKEN
  wstape replay client chat.cassette.jsonl ws://localhost:8765 --clients 100 --ramp 10s --fail-if 'p99>200ms'`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 2 {
				return errors.New("client: name a recording and the server's URL")
			}
			return nil
		},
	}
	a.tapeFlag(cmd)
	fs := cmd.Flags()
	fs.String("upstream-ca", "", "trust servers signed by this CA (PEM `FILE`)")
	fs.Bool("insecure-upstream", false, "do not check the server's certificate")
	fs.String("upstream-cert", "", "show the server this client certificate (PEM `FILE`)")
	fs.String("upstream-key", "", "and prove it with this key (PEM `FILE`)")
	fs.String("upstream-sni", "", "the `NAME` to ask for and to expect in the server's certificate")
	f.add(fs)
	load.add(fs)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, _, err := a.load(fs, nil)
		if err != nil {
			return err
		}
		thresholds, err := load.thresholds(&f, fs)
		if err != nil {
			return err
		}
		o, err := f.options(a, c)
		if err != nil {
			return err
		}
		if o.OnMismatch == replay.Passthrough || f.then == "upstream" {
			return fail(exitUsage, "replay client already talks to the real server: there is no upstream to go on with; use --on-mismatch skip, or --then stdin")
		}
		to := replay.Dialing{}
		recordings, address := args[:len(args)-1], args[len(args)-1]
		if to.URL, err = serverURL(address); err != nil {
			return err
		}
		if to.TLS, err = upstreamTLS(&c.UpstreamTLS); err != nil {
			return err
		}
		t := a.openTape()
		defer t.Close()
		r, err := a.recording(cmd.Context(), t, tape.Client, recordings, o.Matching)
		if err != nil {
			return err
		}
		if err := r.Check(&o.Live, to.URL); err != nil {
			return fail(exitUsage, "%w", err)
		}
		if err := f.checkUntil(r); err != nil {
			return err
		}
		end, err := f.stages(a, c, &o)
		defer end()
		if err != nil {
			return err
		}
		name := strings.Join(recordings, " ")
		if load.wanted(fs) {
			return load.run(cmd.Context(), a, &f, r, name, to, o, thresholds)
		}
		report, err := r.Drive(cmd.Context(), to, o)
		report.Recording = name
		written := f.writeReport(a, report)
		if err != nil {
			first, _, _ := strings.Cut(err.Error(), "\n") // sessions fail alike
			return fail(exitReach, "%s", first)
		}
		return written
	}
	return cmd
}

// serverURL reads where a fake client is to connect.
func serverURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err == nil {
		switch u.Scheme {
		case "http":
			u.Scheme = "ws"
		case "https":
			u.Scheme = "wss"
		}
	}
	if err != nil || u.Scheme != "ws" && u.Scheme != "wss" || u.Host == "" {
		return nil, fail(exitUsage, "%q is not a server's URL: ws://HOST:PORT or wss://…, as the last argument", text)
	}
	return u, nil
}
