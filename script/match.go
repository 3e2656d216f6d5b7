package script

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/dop251/goja"

	"github.com/wstape/wstape/tape"
)

// Matches reports whether a script of the chain has an onMatch.
func (c *Chain) Matches() bool {
	return slices.ContainsFunc(c.scripts, func(src *source) bool {
		return src.hooks.Load().Match && !src.disabled.Load()
	})
}

// Match asks the scripts, in their order, whether the message that came is the
// recorded one. The first that has an opinion decides: by names it as the tape
// does, and why is what it says of messages that do not match. If by is "", none
// has an opinion; a script that fails has none, and neither has any of a message
// that cannot be read.
//
// Match returns when that is known, or too late, or the context is done. The
// messages are the caller's again then. It is not to be called by a [Conn], nor
// by the done of [Session.Message]: timers may wait for those to return.
func (s *Session) Match(ctx context.Context, expected, received *tape.Message) (matches bool, by, why string) {
	if expected.Error != "" || received.Error != "" {
		return false, "", ""
	}
	var messages []tape.Message // copies, which scripts may keep
	var o *opinion
	s.each(ctx, "onMatch", s.set.opts.AwaitTimeout, func() call {
		if messages == nil {
			messages = []tape.Message{copied(expected), copied(received)}
		}
		o = &opinion{}
		return call{
			args: func(v *vm) []goja.Value {
				return []goja.Value{v.shown(&messages[0]), v.shown(&messages[1]), v.sessionObject()}
			},
			done: o.take,
		}
	}, func(v *vm, err error) (goOn bool) {
		if err == nil && o.given {
			matches, by, why = o.matches, v.source.by(), o.why
		}
		return by == "" && ctx.Err() == nil
	})
	return matches, by, why
}

func copied(m *tape.Message) tape.Message {
	c := tape.Message{Content: m.Content, T: m.T, From: m.From}
	c.Payload = bytes.Clone(m.Payload)
	return c
}

// shown makes a view that the script only looks at.
func (v *vm) shown(m *tape.Message) *goja.Object {
	w := newView(v, m, content{m.Op, m.Payload})
	w.readOnly = true
	return w.object
}

// opinion is what an onMatch returned.
type opinion struct {
	given   bool
	matches bool
	why     string
}

// maxWhy is how long a reason may be, bytes.
const maxWhy = 1 << 10

// take reads what the hook returned.
func (o *opinion) take(v *vm, value goja.Value) error {
	if value == nil || goja.IsUndefined(value) || goja.IsNull(value) {
		return nil
	}
	if text, ok := value.(goja.String); ok {
		text = text.Substring(0, min(text.Length(), maxWhy+1)) // no more than shorten needs to see
		*o = opinion{given: true, why: shorten(string(encodeText(text)), maxWhy)}
		return nil
	}
	for _, said := range []bool{true, false} {
		if value.SameAs(v.rt.ToValue(said)) {
			*o = opinion{given: true, matches: said}
			return nil
		}
	}
	return fmt.Errorf("the hook returned %s; it may return true, false, a string that says why they do not match, or nothing", inspect(v.rt, value))
}
