package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wstape/wstape/replay"
	"github.com/wstape/wstape/tape"
)

func (a *app) replayServerCommand() *cobra.Command {
	var f replayFlags
	var how replay.Serving
	var mode, upstream string
	cmd := &cobra.Command{
		Use:   "server RECORDING…",
		Short: "be the recorded server, to real clients",
		Long: `Serve recorded sessions: the n-th connection to a path gets the n-th recorded
session of that path, and what the client sends is compared with the recording.
Ids, times and tokens may be others than on the tape: see docs/replay.md.

The report tells each difference: the step, what was expected, what came. Exit
code 1 if there was one. Without --once it serves until Ctrl-C.`,
		Example: `  wstape replay server chat.cassette.jsonl
  wstape replay server 3 --tape t.db --listen 127.0.0.1:0 --addr-file addr.json --once
  wstape replay server chat.cassette.jsonl --match json --ignore '$.at' --report junit --report-file report.xml`,
		Args: atLeastOne(aRecording),
	}
	a.tapeFlag(cmd)
	fs := cmd.Flags()
	fs.String("listen", "127.0.0.1:8080", "serve on this `ADDR`; port 0 picks a free one")
	fs.String("addr-file", "", "write the bound address to this `FILE` as JSON once listening")
	fs.String("tls-cert", "", "serve wss with this certificate (PEM `FILE`)")
	fs.String("tls-key", "", "and this key (PEM `FILE`)")
	fs.BoolVar(&how.Once, "once", false, "end when each session has been played once")
	fs.BoolVar(&how.Loop, "loop", false, "start over when all sessions of a path have been played")
	fs.StringVar(&mode, "mode", modeNone, "record with --upstream: `none|once|new_episodes|all`")
	fs.StringVar(&upstream, "upstream", "", "the real server's `URL`, for --mode, --on-mismatch passthrough and --then upstream")
	fs.String("upstream-ca", "", "trust an upstream signed by this CA (PEM `FILE`)")
	fs.Bool("insecure-upstream", false, "do not check the upstream's certificate")
	f.add(fs)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, _, err := a.load(fs, nil)
		if err != nil {
			return err
		}
		if how.Once && how.Loop {
			return fail(exitUsage, "--once ends after the last session, --loop never does; use one of them")
		}
		o, err := f.options(a, c)
		if err != nil {
			return err
		}
		recordings, err := f.goLive(a, c, mode, upstream, args, &o, &how)
		if err != nil {
			return err
		}
		t := a.openTape()
		defer t.Close()
		r := &replay.Recording{Role: tape.Server}
		if recordings != nil {
			r, err = a.recording(cmd.Context(), t, tape.Server, recordings, o.Matching)
		}
		if err != nil {
			return err
		}
		if err := r.Check(&o.Live, nil); err != nil {
			return fail(exitUsage, "%w", err)
		}
		if err := f.checkUntil(r); err != nil && recordings != nil {
			return err
		}
		end, err := f.stages(a, c, &o)
		defer end()
		if err != nil {
			return err
		}
		ln, err := listen(c, nil)
		if err != nil {
			return err
		}
		defer ln.Close()
		o.Ended = a.sayOutcome
		scheme := "ws"
		if c.TLS.Cert != "" {
			scheme = "wss"
		}
		fmt.Fprintf(a.Stderr, "wstape: %s://%s plays %s of %s\n", scheme, ln.Addr(), count(len(r.Plans), "session"), strings.Join(args, " "))
		if c.AddrFile != "" {
			if err := writeAddrFile(cmd.Context(), c.AddrFile, addresses{Listen: ln.Addr().String()}); err != nil {
				return err
			}
		}
		report, err := replay.Serve(cmd.Context(), ln, r, o, how)
		if err != nil {
			return fail(exitReach, "%w", err)
		}
		report.Recording = strings.Join(args, " ")
		return f.writeReport(a, report)
	}
	return cmd
}
