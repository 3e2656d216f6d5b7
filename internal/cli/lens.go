package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/pflag"

	"github.com/wstape/wstape/internal/decode"
	"github.com/wstape/wstape/internal/filter"
	"github.com/wstape/wstape/tape"
)

// lens is what commands look at messages through: a filter, and a protocol's view.
type lens struct {
	filterText, view string
	protos           []string         // .proto files
	message          string           // the Protobuf message that all are
	filter           *filter.Filter   // nil lets all pass
	protobuf         *decode.Protocol // with a schema; nil without
}

func (l *lens) addFlags(fs *pflag.FlagSet) {
	fs.StringVar(&l.filterText, "filter", "", "only messages for which this `EXPR` holds: 'from == \"client\" && len > 100' (see wstape help filter)")
	fs.StringVar(&l.view, "view", "", "say what messages mean in a `PROTOCOL`: auto, none, or one of "+strings.Join(viewNames(), ", "))
	fs.StringArrayVar(&l.protos, "proto", nil, "read messages as Protobuf with this schema (.proto `FILE`, may be given several times); with --message")
	fs.StringVar(&l.message, "message", "", "the `TYPE` of all messages in --proto's files: chat.v1.Envelope")
}

func viewNames() (names []string) {
	for _, p := range decode.Protocols() {
		names = append(names, p.Name)
	}
	return names
}

// compile reads the flags.
func (l *lens) compile(ctx context.Context) (err error) {
	if l.filterText != "" {
		if l.filter, err = filter.Compile(l.filterText); err != nil {
			return fail(exitUsage, "%w", err)
		}
	}
	if l.chosen() && l.view != decode.Auto && !slices.Contains(viewNames(), l.view) {
		return fail(exitUsage, "--view %q is not known: auto, none, %s", l.view, strings.Join(viewNames(), ", "))
	}
	if (len(l.protos) > 0) != (l.message != "") {
		return fail(exitUsage, "--proto FILE and --message TYPE belong together")
	}
	if l.message != "" {
		if l.view != "" && l.view != "protobuf" {
			return fail(exitUsage, "--proto is for --view protobuf, not %s", l.view)
		}
		p, err := decode.ProtobufOf(ctx, l.protos, l.message)
		if err != nil {
			return fail(exitUsage, "--proto: %w", err)
		}
		l.view, l.protobuf = "protobuf", &p
	}
	return nil
}

// noView is the value of --view that wants none.
const noView = "none"

// chosen reports whether the user asks what messages mean.
func (l *lens) chosen() bool { return l.view != "" && l.view != noView }

// shows reports whether views are shown: to who asks, and to people who do not
// refuse.
func (l *lens) shows(y layout, asJSON bool) bool {
	return l.chosen() || l.view == "" && y.table && !asJSON
}

// whole reports whether messages must be read whole.
func (l *lens) whole() bool { return l.filter != nil || l.chosen() }

// decodes reports whether messages are decoded, so that some may be remembered.
func (l *lens) decodes() bool { return l.chosen() || l.filter != nil && l.filter.NeedsView() }

// sight is a lens on one session, whose messages it must see in order.
type sight struct{ *filter.Sight }

func (l *lens) on(s *tape.Session) (*sight, error) { return l.sight(s, l.chosen()) }

// sight is on, with views also for those who did not ask for them.
func (l *lens) sight(s *tape.Session, views bool) (*sight, error) {
	if !views && (l.filter == nil || !l.filter.NeedsView()) {
		return &sight{filter.NewSight(l.filter, s, nil)}, nil
	}
	hint := decode.Hint{Subprotocol: s.Subprotocol, Target: s.URL}
	if l.protobuf != nil {
		return &sight{filter.NewSight(l.filter, s, l.protobuf.Open(hint))}, nil
	}
	name := decode.Auto
	if l.chosen() {
		name = l.view
	}
	decoder, err := decode.Open(name, hint)
	return &sight{filter.NewSight(l.filter, s, decoder)}, err
}

// seen is what a message looks like through a lens.
type seen struct {
	view    *decode.View
	latency time.Duration // of an answer, since its request
	passes  bool          // the filter
}

// see looks at a message.
func (s *sight) see(m *tape.Message) seen {
	x := s.See(m)
	return seen{x.View, x.Latency, x.Passes}
}

// shown reports whether a view is one to show people who did not ask for it:
// only what is understood. Who asks is told what is not.
func (x *seen) shown(asked bool) bool {
	return x.view != nil && (asked || x.view.Protocol != decode.Raw && x.view.Err == nil)
}

// viewJSON is a message's line with its view in it.
func viewJSON(l *tape.Line, x *seen) ([]byte, error) {
	line, err := l.MarshalJSON()
	if err != nil || x.view == nil {
		return append(line, '\n'), err
	}
	v := x.view
	about := struct {
		Protocol  string  `json:"protocol"`
		Type      string  `json:"type,omitempty"`
		Key       string  `json:"key,omitempty"`
		Answer    bool    `json:"answer,omitempty"`
		Heartbeat bool    `json:"heartbeat,omitempty"`
		Summary   string  `json:"summary,omitempty"`
		Latency   float64 `json:"latency,omitempty"`
		Error     string  `json:"error,omitempty"`
	}{v.Protocol, v.Type, v.Key, v.Answer, v.Heartbeat, v.Summary, x.latency.Seconds(), ""}
	if v.Err != nil {
		about.Error = v.Err.Error()
	}
	text, err := json.Marshal(about)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "%s,\"view\":%s}\n", bytes.TrimSuffix(line, []byte("}")), tape.EscapeJSON(text)), nil
}

// filterHelp explains the filter language.
func filterHelp() string {
	var out strings.Builder
	out.WriteString(`A filter is an expression over one message: https://expr-lang.org/docs/language-definition

  from == "client" && json.type == "subscribe" && len > 100
  text contains "BTC" || text matches "^\\d+"
  fate == "edited" && session.url startsWith "/chat"
  view.type == "next" && latency > 200ms && t < 5s

`)
	w := tabwriter.NewWriter(&out, 0, 4, 2, ' ', 0)
	for _, f := range filter.Fields() {
		fmt.Fprintf(w, "  %s\t%s\t%s\n", f.Name, f.Type, f.About)
	}
	_ = w.Flush() // a builder takes everything
	out.WriteString(`
Durations are written 200ms, 5s, 1m. What a message does not have is nil, "" or
0; where a value is not of the kind that the expression needs, it does not hold.
`)
	return out.String()
}
