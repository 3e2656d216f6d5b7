package cli

import (
	"io"
	"log/slog"
	"strings"

	"github.com/wstape/wstape/internal/config"
)

// maxAttr is how many bytes of a text a line of the log shows: peers choose some
// of them. What would move a cursor, slog quotes in text; in JSON it does not quote all of it.
const maxAttr = 1 << 10

// newLogger makes what tells of all that the live log does not show. With that, a
// session's beginning and end have been told already.
func newLogger(w io.Writer, c *config.Log) (all, sessions *slog.Logger) {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.Level)) // validated
	o := slog.HandlerOptions{Level: level, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		switch v := a.Value.Any().(type) {
		case string:
			a.Value = slog.StringValue(cut(v))
		case error:
			a.Value = slog.StringValue(cut(v.Error()))
		}
		return a
	}}
	build := func(o slog.HandlerOptions) *slog.Logger {
		if c.Format == "json" {
			return slog.New(slog.NewJSONHandler(&cleaner{out: w, json: true}, &o))
		}
		return slog.New(slog.NewTextHandler(w, &o))
	}
	all, sessions = build(o), build(o)
	if !c.Quiet && level == slog.LevelInfo {
		o.Level = slog.LevelWarn
		sessions = build(o)
	}
	return all, sessions
}

func cut(text string) string {
	if len(text) <= maxAttr {
		return text
	}
	return strings.ToValidUTF8(text[:maxAttr], "") + "…"
}
