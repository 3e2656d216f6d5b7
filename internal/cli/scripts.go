package cli

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/wstape/wstape/internal/config"
	"github.com/wstape/wstape/proxy"
	"github.com/wstape/wstape/script"
	"github.com/wstape/wstape/tape"
)

// openScripts loads the configuration's scripts, if there are any, and puts them
// into the routes.
func (s *service) openScripts(a *app, routes []proxy.Route) error {
	c := s.config
	var paths []string
	for _, path := range slices.Concat(c.Script.Files, routeScripts(c)) {
		if !slices.Contains(paths, path) {
			paths = append(paths, path)
		}
	}
	if paths == nil {
		return nil
	}
	o := scriptOptions(c, a.Getenv)
	o.Log = s.scriptLog
	if s.metrics != nil {
		o.Ran = s.metrics.Ran
	}
	set, err := script.NewSet(paths, o)
	if err != nil {
		return fail(exitUsage, "%s", script.Explain(err))
	}
	s.scripts = set
	if c.Script.Reload {
		if err := set.Watch(); err != nil {
			return fail(exitReach, "%w; set script.reload: false to go without", err)
		}
	}
	for i := range routes {
		files := c.Script.Files
		if i < len(c.Routes) { // what follows is the upstream itself
			files = slices.Concat(files, c.Routes[i].Script)
		}
		if len(files) == 0 {
			continue
		}
		chain, err := set.Chain(files)
		if err != nil {
			return fail(exitUsage, "%w", err)
		}
		routes[i].Stage = func(about tape.Session, h proxy.Handle) proxy.Stage { return chain.Open(about, h) }
	}
	return nil
}

func routeScripts(c *config.Config) (paths []string) {
	for _, r := range c.Routes {
		paths = append(paths, r.Script...)
	}
	return paths
}

func scriptOptions(c *config.Config, getenv func(string) string) script.Options {
	env := map[string]string{}
	for _, name := range c.Script.Env {
		if value := getenv(name); value != "" {
			env[name] = value
		}
	}
	when, _ := c.Script.Filter() // it was checked when the configuration was loaded
	return script.Options{
		When:    when,
		Timeout: c.Script.Timeout, AwaitTimeout: c.Script.AwaitTimeout, OnError: script.OnError(c.Script.OnError),
		Memory: int64(c.Script.Memory), StoreBytes: int64(c.Script.Store), Env: env,
	}
}

// scriptLog prints what scripts say that the live log does not show as a note of
// its session.
func (s *service) scriptLog(e script.Entry) {
	if e.Session != 0 && (!s.config.Log.Quiet || e.Level != "error") {
		return
	}
	s.log.Say(scriptLine(&e, s.config.Log.Format == "json"))
}

func scriptLine(e *script.Entry, asJSON bool) string {
	if asJSON {
		line, err := json.Marshal(struct {
			Time   time.Time `json:"time"`
			Event  string    `json:"event"`
			N      uint64    `json:"n,omitempty"`
			Script string    `json:"script"`
			Level  string    `json:"level"`
			Text   string    `json:"text"`
		}{time.Now().UTC(), "script", e.Session, e.Script, e.Level, e.Text})
		if err == nil {
			return string(tape.EscapeJSON(line))
		}
	}
	where := ""
	if e.Session != 0 {
		where = fmt.Sprintf(" #%d", e.Session)
	}
	level := ""
	if e.Level != "info" {
		level = e.Level + ": "
	}
	var lines []string
	for _, line := range strings.Split(e.Text, "\n") {
		lines = append(lines, safe(line, math.MaxInt))
	}
	return fmt.Sprintf("wstape: script %s%s: %s%s", e.Script, where, level, strings.Join(lines, "\n    "))
}
