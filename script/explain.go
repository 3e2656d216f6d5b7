package script

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/dop251/goja"
)

// Explain says what a script's error is and where it happened, in the user's
// own files: a line with the error, then a line for each place, relative to
// the folder of the script. It may run the script's code (toString of what
// was thrown), so it belongs on the runtime's goroutine.
func Explain(err error) string {
	var (
		thrown      *goja.Exception
		interrupted *goja.InterruptedError
		overflow    *goja.StackOverflowError
	)
	switch {
	case errors.As(err, &interrupted):
		return fmt.Sprint(interrupted.Value()) + trace(interrupted.Stack())
	case errors.As(err, &overflow):
		return "RangeError: Maximum call stack size exceeded" + trace(overflow.Stack())
	case errors.As(err, &thrown):
		return preamble(err, thrown) + describe(thrown.Value()) + trace(thrown.Stack())
	}
	return err.Error()
}

// preamble returns what an error that wraps an exception says before it.
func preamble(err error, thrown *goja.Exception) (prefix string) {
	defer func() { _ = recover() }() // Error() runs the script's toString, which may throw
	prefix, _, _ = strings.Cut(err.Error(), thrown.Error())
	return prefix
}

// trace prints a stack, without the code that esbuild added.
func trace(stack []goja.StackFrame) string {
	var places []string
	for i := range stack {
		if at := stackLine(&stack[i]); at != "" {
			places = append(places, at)
		}
	}
	var text strings.Builder
	for shown := 0; len(places) > 0; shown++ {
		if shown == maxFrames {
			fmt.Fprintf(&text, "\n    … and %d more", len(places))
			break
		}
		again := 1 // recursion
		for again < len(places) && places[again] == places[0] {
			again++
		}
		text.WriteString("\n    at " + places[0])
		if again > 1 {
			fmt.Fprintf(&text, " (%d times)", again)
		}
		places = places[again:]
	}
	return text.String()
}

// stackLine is a line of a stack; "" if it is no code of the user's.
func stackLine(frame *goja.StackFrame) string {
	name := frame.FuncName()
	if frame.SrcName() == "<native>" {
		if strings.Contains(name, "/") { // a Go function without a name of its own
			return "native code"
		}
		return name + " (native)"
	}
	at := frame.Position()
	source := unescapePath(at.Filename)
	switch source {
	case bundleName:
		return ""
	case "":
		source = "<eval>"
	}
	where := fmt.Sprintf("%s:%d:%d", source, at.Line, at.Column)
	if name == "<anonymous>" || name == source { // esbuild's function around a whole file
		return where
	}
	return name + " (" + where + ")"
}

// unescapePath undoes gojaSourceMap's escaping.
func unescapePath(name string) string {
	if path, err := url.PathUnescape(name); err == nil {
		return path
	}
	return name
}

// maxCauses bounds the chain of an error's causes, which may be a ring.
const maxCauses = 4

// describe says what was thrown, with its causes.
func describe(v goja.Value) string {
	text := describeOne(v)
	for range maxCauses {
		o, ok := v.(*goja.Object)
		if !ok || o.ClassName() != "Error" {
			break
		}
		v = property(o, "cause")
		if v == nil || goja.IsUndefined(v) {
			break
		}
		text += "\n    caused by " + describeOne(v)
	}
	return text
}

func describeOne(v goja.Value) (text string) {
	defer func() {
		if recover() != nil { // its toString or toJSON throws
			text = "threw something that cannot be shown"
		}
	}()
	o, ok := v.(*goja.Object)
	switch {
	case v == nil:
		return "threw nothing"
	case ok && o.ClassName() == "Error":
		return v.String()
	case ok:
		data, err := o.MarshalJSON()
		if err != nil {
			return "threw " + v.String()
		}
		return "threw " + strings.ToValidUTF8(string(data[:min(len(data), 200)]), "")
	}
	if s, ok := v.(goja.String); ok {
		return "threw " + strconv.Quote(s.String())
	}
	return "threw " + v.String()
}

func property(o *goja.Object, name string) (v goja.Value) {
	defer func() { _ = recover() }() // a getter that throws has no value
	return o.Get(name)
}
