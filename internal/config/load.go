package config

import (
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/spf13/viper"

	"github.com/wstape/wstape/internal/levenshtein"
)

// EnvPrefix begins the names of the environment variables that set keys:
// record.flush is WSTAPE_RECORD_FLUSH.
const EnvPrefix = "WSTAPE_"

// Sources are where values come from; flags beat variables beat the file beat
// the defaults.
type Sources struct {
	File  string                   // path of a YAML file; "" for none
	Env   func(name string) string // "" means not set
	Flags map[string]any           // by key, those that were given
}

// Setting is one key's effective value and where it came from.
type Setting struct {
	Key    string
	Value  any
	Origin string // "default", "file", "WSTAPE_…" or "flag"
}

// defaults has every key. A key that is not here does not exist.
func defaults() map[string]any {
	return map[string]any{
		"listen":                    "127.0.0.1:8080",
		"upstream":                  "",
		"routes":                    []Route{},
		"tape":                      "wstape.db",
		"admin.listen":              Off,
		"admin.token_file":          "",
		"admin.tls.cert":            "",
		"admin.tls.key":             "",
		"admin.hosts":               []string{},
		"admin.pprof":               false,
		"addr_file":                 "",
		"strict":                    false,
		"host_header":               "rewrite",
		"headers":                   []string{},
		"tls.cert":                  "",
		"tls.key":                   "",
		"upstream_tls.ca":           "",
		"upstream_tls.cert":         "",
		"upstream_tls.key":          "",
		"upstream_tls.sni":          "",
		"upstream_tls.insecure":     false,
		"log.quiet":                 false,
		"log.format":                "text",
		"log.level":                 "info",
		"record.enabled":            true,
		"record.flush":              50 * time.Millisecond,
		"record.buffer":             "16MiB",
		"record.when_full":          "block",
		"record.key_file":           "",
		"record.keep.age":           time.Duration(0),
		"record.keep.size":          "0",
		"record.keep.sessions":      0,
		"record.redact.headers":     []string{"authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "x-*-token"},
		"record.redact.query":       []string{"*token*", "*secret*", "*passw*", "*apikey*", "*api_key*", "*api-key*", "*signature*", "*auth*", "*credential*", "jwt", "key", "sig"},
		"record.redact.json":        []string{},
		"record.redact.text":        []string{},
		"record.redact.max_message": "4MiB",
		"record.redact.max_held":    "64MiB",
		"script.files":              []string{},
		"script.when":               "",
		"script.timeout":            100 * time.Millisecond,
		"script.await_timeout":      30 * time.Second,
		"script.on_error":           "pass",
		"script.memory":             "256MiB",
		"script.store":              "64MiB",
		"script.env":                []string{},
		"script.reload":             true,
		"limits.handshake_timeout":  30 * time.Second,
		"limits.handshake_bytes":    "64KiB",
		"limits.close_timeout":      15 * time.Second,
		"limits.idle_timeout":       2 * time.Minute,
		"limits.stall_timeout":      time.Hour,
		"limits.keepalive":          15 * time.Second,
		"limits.drain_timeout":      time.Duration(0),
		"limits.shutdown_timeout":   5 * time.Second,
		"limits.sessions":           0,
		"limits.connections":        20000,
		"limits.message":            "16MiB",
		"limits.held":               "4MiB",
		"limits.inflate":            "64MiB",
	}
}

// Keys lists every key, sorted.
func Keys() []string {
	var keys []string
	for key := range defaults() {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// EnvName is the variable that sets a key.
func EnvName(key string) string {
	return EnvPrefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// Load gathers, decodes and validates. The settings come back even if the
// values are wrong, so that they can be shown.
func Load(src Sources) (*Config, []Setting, error) {
	v := viper.New()
	for key, value := range defaults() {
		v.SetDefault(key, value)
	}
	inFile := map[string]bool{}
	if src.File != "" {
		if err := readFile(v, src.File, inFile); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", src.File, err)
		}
	}
	origin := map[string]string{}
	for _, key := range Keys() {
		origin[key] = "default"
		if inFile[key] {
			origin[key] = "file"
		}
		if src.Env != nil && key != "routes" {
			if text := src.Env(EnvName(key)); text != "" {
				v.Set(key, text)
				origin[key] = EnvName(key)
			}
		}
		if value, ok := src.Flags[key]; ok {
			v.Set(key, value)
			origin[key] = "flag"
		}
	}
	var c Config
	err := v.UnmarshalExact(&c, viper.DecodeHook(mapstructure.ComposeDecodeHookFunc(
		durationHook, expressionsHook, mapstructure.StringToSliceHookFunc(","), bytesHook)))
	if err != nil {
		return nil, nil, whence(decodeError(err), origin, src.File)
	}
	var settings []Setting
	for _, key := range Keys() {
		settings = append(settings, Setting{key, v.Get(key), origin[key]})
	}
	return &c, settings, whence(c.Validate(), origin, src.File)
}

// whence says in each wrong field where it was set.
func whence(err error, origin map[string]string, file string) error {
	list, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return err
	}
	for _, one := range list.Unwrap() {
		var field *FieldError
		if !errors.As(one, &field) {
			continue
		}
		key, _, _ := strings.Cut(field.Key, "[") // routes[0].path is of routes
		switch from := origin[key]; from {
		case "file":
			field.From = file
		case "default", "flag":
		default:
			field.From = from
		}
	}
	return err
}

// readFile reads the file and refuses keys that do not exist.
func readFile(v *viper.Viper, path string, inFile map[string]bool) error {
	only := viper.New() // the file without the defaults
	only.SetConfigFile(path)
	only.SetConfigType("yaml")
	if err := only.ReadInConfig(); err != nil {
		var p *fs.PathError
		if errors.As(err, &p) {
			return p.Err
		}
		var parse viper.ConfigParseError
		if errors.As(err, &parse) {
			err = parse.Unwrap()
		}
		return err
	}
	settings := only.AllSettings()
	for section, key := range shortFor() {
		switch short := settings[section].(type) {
		case string, []any:
			settings[section] = map[string]any{key: short}
		}
	}
	if err := v.MergeConfigMap(settings); err != nil {
		return err
	}
	known := Keys()
	var unknown []error
	for _, key := range only.AllKeys() {
		if sub, ok := shortFor()[key]; ok {
			if _, short := settings[key].(map[string]any); short {
				key += "." + sub
			}
		}
		if !slices.Contains(known, key) {
			unknown = append(unknown, fmt.Errorf("unknown key %q%s", key, didYouMean(key, known)))
		}
		inFile[key] = true
	}
	return errors.Join(append(unknown, routeKeys(only)...)...)
}

// shortFor says which key of a section its bare value is for: script: chat.ts
// says the same as script.files.
func shortFor() map[string]string { return map[string]string{"script": "files", "admin": "listen"} }

// routeKeys refuses unknown keys inside the list of routes.
func routeKeys(v *viper.Viper) (unknown []error) {
	list, _ := v.Get("routes").([]any)
	var known []string
	for t, i := reflect.TypeFor[Route](), 0; i < t.NumField(); i++ {
		known = append(known, t.Field(i).Tag.Get("mapstructure"))
	}
	for i, route := range list {
		m, _ := route.(map[string]any)
		for key := range m {
			if !slices.Contains(known, key) {
				unknown = append(unknown, fmt.Errorf("unknown key %q%s", fmt.Sprintf("routes[%d].%s", i, key), didYouMean(key, known)))
			}
		}
	}
	return unknown
}

// didYouMean names the nearest known key, if one is near.
func didYouMean(key string, known []string) string {
	best, distance := "", len(key)/2+1
	for _, k := range known {
		if d := levenshtein.Distance(key, k); d < distance {
			best, distance = k, d
		}
	}
	for _, k := range known { // a key at the wrong level is near too
		if i := strings.LastIndex(k, "."); i > 0 && levenshtein.Distance(key, k[i+1:]) < min(distance, 2) {
			best, distance = k, levenshtein.Distance(key, k[i+1:])
		}
	}
	if best == "" {
		return "; wstape config print lists all keys"
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

func durationHook(_, to reflect.Type, data any) (any, error) {
	text, ok := data.(string)
	if !ok || to != reflect.TypeFor[time.Duration]() {
		return data, nil
	}
	return ParseDuration(text)
}

func bytesHook(_, to reflect.Type, data any) (any, error) {
	if text, ok := data.(string); ok && to == reflect.TypeFor[Bytes]() {
		return ParseBytes(text)
	}
	return data, nil
}

// decodeError says which key could not be read as what it should be.
func decodeError(err error) error {
	all := []error{err}
	if many, ok := err.(interface{ WrappedErrors() []error }); ok {
		all = many.WrappedErrors()
	}
	for i, one := range all {
		var field *mapstructure.DecodeError
		if errors.As(one, &field) {
			all[i] = &FieldError{Key: field.Name(), Err: field.Unwrap()}
		}
	}
	return errors.Join(all...)
}
