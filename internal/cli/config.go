package cli

import (
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/wstape/wstape/internal/config"
	"github.com/wstape/wstape/internal/filter"
)

// flagKeys says which key each flag of `proxy` sets.
func flagKeys() map[string]string {
	return map[string]string{
		"listen": "listen", "tape": "tape", "key-file": "record.key_file", "addr-file": "addr_file", "strict": "strict",
		"admin": "admin.listen", "admin-token-file": "admin.token_file", "pprof": "admin.pprof",
		"host-header": "host_header", "header": "headers", "tls-cert": "tls.cert", "tls-key": "tls.key",
		"upstream-ca": "upstream_tls.ca", "upstream-cert": "upstream_tls.cert", "upstream-key": "upstream_tls.key",
		"upstream-sni": "upstream_tls.sni", "insecure-upstream": "upstream_tls.insecure",
		"redact-json": "record.redact.json", "redact-text": "record.redact.text",
		"script": "script.files", "quiet": "log.quiet", "log-format": "log.format", "log-level": "log.level",
	}
}

// proxyFlags declares the flags that set keys. Their defaults are the config's,
// so they are only shown here.
func proxyFlags(fs *pflag.FlagSet) {
	fs.String("config", "", "read settings from this YAML `FILE` (see config.example.yaml)")
	fs.String("listen", "127.0.0.1:8080", "serve on this `ADDR`; port 0 picks a free one")
	fs.String("tape", "wstape.db", "record to this `FILE`")
	fs.String("key-file", "", "encrypt a new tape with the key in this `FILE`, and open one with it")
	fs.Bool("no-record", false, "record nothing")
	fs.String("admin", "off", "serve health, metrics and the like on this `ADDR`, or off")
	fs.String("admin-token-file", "", "who uses the admin side must know what is in this `FILE` (default: one beside the tape, made if need be)")
	fs.Bool("pprof", false, "show profiles of wstape on the admin side")
	fs.String("addr-file", "", "write the bound addresses to this `FILE` as JSON once listening")
	redactFlags(fs)
	fs.StringArray("script", nil, "run this JavaScript or TypeScript `FILE` on the messages (may be given several times: a chain, in order)")
	fs.Bool("strict", false, "end a session that violates RFC 6455 instead of passing it on, marked")
	fs.Bool("quiet", false, "no live log")
	fs.String("log-format", "text", "log as `text|json`")
	fs.String("log-level", "info", "tell what matters this much: `debug|info|warn|error`")
	fs.String("tls-cert", "", "serve wss with this certificate (PEM `FILE`)")
	fs.String("tls-key", "", "and this key (PEM `FILE`)")
	fs.String("upstream-ca", "", "trust upstreams signed by this CA (PEM `FILE`)")
	fs.Bool("insecure-upstream", false, "do not check the upstream's certificate")
	fs.String("upstream-cert", "", "show the upstream this client certificate (PEM `FILE`)")
	fs.String("upstream-key", "", "and prove it with this key (PEM `FILE`)")
	fs.String("upstream-sni", "", "the server `NAME` to ask for and to expect in the upstream's certificate")
	fs.StringArray("header", nil, "add `'Name: value'` to the upstream handshake (may be given several times)")
	fs.String("host-header", "rewrite", "the Host that the upstream sees: its own (`rewrite`) or the client's (keep)")
}

// load gathers the configuration of a command with proxyFlags; an argument
// names the upstream.
func (a *app) load(fs *pflag.FlagSet, args []string) (*config.Config, []config.Setting, error) {
	flags := map[string]any{}
	fs.Visit(func(f *pflag.Flag) {
		key, ok := flagKeys()[f.Name]
		switch list, isList := f.Value.(pflag.SliceValue); {
		case f.Name == "no-record":
			flags["record.enabled"] = f.Value.String() != "true"
		case !ok:
		case isList:
			flags[key] = list.GetSlice()
		default:
			flags[key] = f.Value.String()
		}
	})
	if len(args) > 0 {
		flags["upstream"] = args[0]
	}
	file, _ := fs.GetString("config")
	if file == "" {
		file = a.Getenv("WSTAPE_CONFIG")
	}
	c, settings, err := config.Load(config.Sources{File: file, Env: a.Getenv, Flags: flags})
	if err != nil {
		err = fail(exitUsage, "config: %s", mistakes(err))
	}
	return c, settings, err
}

// mistakes writes what is wrong with a configuration in one line, but for a
// filter that shows where.
func mistakes(err error) string {
	var wrong *filter.Error
	text := err.Error()
	if many, ok := err.(interface{ Unwrap() []error }); errors.As(err, &wrong) && (!ok || len(many.Unwrap()) == 1) {
		return text
	}
	return strings.ReplaceAll(text, "\n", "; ")
}

func (a *app) configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "check and print the configuration",
		Args:  noSuchCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	check := &cobra.Command{
		Use:     "check [FILE]",
		Short:   "say what is wrong with a configuration",
		Example: "  wstape config check wstape.yaml",
		Args:    atMost(1, "one configuration FILE"),
	}
	show := &cobra.Command{
		Use:   "print [FILE]",
		Short: "print the effective values and where each came from",
		Args:  atMost(1, "one configuration FILE"),
	}
	for _, sub := range []*cobra.Command{check, show} {
		proxyFlags(sub.Flags())
		cmd.AddCommand(sub)
	}
	check.RunE = func(cmd *cobra.Command, args []string) error {
		c, _, err := a.loadFile(cmd.Flags(), args)
		if err == nil && (c.Upstream != "" || len(c.Routes) > 0) { // else the command line names the upstream
			_, err = routes(c)
		}
		if err != nil {
			return err
		}
		fmt.Fprintln(a.Stdout, "the configuration is fine")
		return nil
	}
	show.RunE = func(cmd *cobra.Command, args []string) error {
		_, settings, err := a.loadFile(cmd.Flags(), args)
		w := tabwriter.NewWriter(a.Stdout, 0, 4, 2, ' ', 0)
		for _, s := range settings {
			fmt.Fprintf(w, "%s:\t%s\t# %s\n", s.Key, settingText(s.Value), s.Origin)
		}
		if flushErr := w.Flush(); flushErr != nil {
			return flushErr
		}
		return err
	}
	return cmd
}

// loadFile is load where the argument names the file.
func (a *app) loadFile(fs *pflag.FlagSet, args []string) (*config.Config, []config.Setting, error) {
	if len(args) > 0 {
		if err := fs.Set("config", args[0]); err != nil {
			return nil, nil, err
		}
	}
	return a.load(fs, nil)
}

// settingText writes a value as YAML would.
func settingText(v any) string {
	switch v := v.(type) {
	case string:
		return fmt.Sprintf("%q", v)
	case []string:
		return fmt.Sprintf("%q", v)
	}
	return fmt.Sprint(v)
}
