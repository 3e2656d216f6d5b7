package config

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"regexp/syntax"
	"strings"
	"unicode/utf8"

	"github.com/wstape/wstape/internal/jsonpath"
)

// Redact says what is replaced by pseudonyms before anything is written.
type Redact struct {
	Headers    []string    `mapstructure:"headers"`
	Query      []string    `mapstructure:"query"`
	JSON       []string    `mapstructure:"json"`
	Text       Expressions `mapstructure:"text"`
	MaxMessage Bytes       `mapstructure:"max_message"`
	MaxHeld    Bytes       `mapstructure:"max_held"`
}

// Expressions are regular expressions; in a variable one a line, because commas
// have a meaning in them.
type Expressions []string

// expressionsHook keeps what is one text from being split at commas.
func expressionsHook(_, to reflect.Type, data any) (any, error) {
	if text, ok := data.(string); ok && to == reflect.TypeFor[Expressions]() {
		return strings.FieldsFunc(text, func(c rune) bool { return c == '\n' }), nil
	}
	return data, nil
}

// Paths are the places that Redact.JSON names.
func (r *Redact) Paths() (out []*jsonpath.Pattern, err error) {
	for _, text := range r.JSON {
		p, err := jsonpath.Parse(text)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// Compile compiles them. An error says where the mistake stands.
func (e Expressions) Compile() (out []*regexp.Regexp, err error) {
	for _, text := range e {
		if text == "" {
			return nil, errors.New("a regular expression is empty")
		}
		re, err := regexp.Compile(text)
		var wrong *syntax.Error
		switch {
		case errors.As(err, &wrong):
			column := utf8.RuneCountInString(text[:max(0, strings.Index(text, wrong.Expr))]) + 1
			return nil, fmt.Errorf("regular expression %q, column %d: %s", text, column, wrong.Code)
		case err != nil:
			return nil, err
		}
		out = append(out, re)
	}
	return out, nil
}

// validate reports what is wrong with the rules for payloads.
func (r *Redact) validate(bad func(key, format string, args ...any)) {
	if _, err := r.Paths(); err != nil {
		bad("record.redact.json", "%w", err)
	}
	if _, err := r.Text.Compile(); err != nil {
		bad("record.redact.text", "%w", err)
	}
	if r.MaxMessage < 1<<10 {
		bad("record.redact.max_message", "%v is less than 1KiB", r.MaxMessage)
	}
	if r.MaxHeld < r.MaxMessage {
		bad("record.redact.max_held", "%v is less than record.redact.max_message, %v", r.MaxHeld, r.MaxMessage)
	}
}
