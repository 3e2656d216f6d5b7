package wire_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/wstape/wstape/internal/wire"
	"github.com/wstape/wstape/tape"
)

func TestParseExtensions(t *testing.T) {
	tests := []struct {
		name   string
		values []string
		want   []wire.Extension
	}{
		{"nothing", nil, nil},
		{"empty elements", []string{" , ,", ""}, nil},
		{"one", []string{"permessage-deflate"}, []wire.Extension{{Name: "permessage-deflate", Text: "permessage-deflate"}}},
		{"names are case-insensitive", []string{"Permessage-Deflate; Client_Max_Window_Bits"}, []wire.Extension{
			{Name: "permessage-deflate", Params: [][2]string{{"client_max_window_bits", ""}}, Text: "Permessage-Deflate; Client_Max_Window_Bits"}}},
		{"spaces", []string{"  a ;b = 1\t; c  ,d"}, []wire.Extension{
			{Name: "a", Params: [][2]string{{"b", "1"}, {"c", ""}}, Text: "a ;b = 1\t; c"}, {Name: "d", Text: "d"}}},
		{"several lines", []string{"a", "b, c"}, []wire.Extension{{Name: "a", Text: "a"}, {Name: "b", Text: "b"}, {Name: "c", Text: "c"}}},
		{"quoted", []string{`a; b="10"`}, []wire.Extension{{Name: "a", Params: [][2]string{{"b", "10"}}, Text: `a; b="10"`}}},
		{"separators in quotes", []string{`a; b="x,y;z=1", c`}, []wire.Extension{
			{Name: "a", Params: [][2]string{{"b", "x,y;z=1"}}, Text: `a; b="x,y;z=1"`}, {Name: "c", Text: "c"}}},
		{"escapes in quotes", []string{`a; b="x\"\\,y"`}, []wire.Extension{
			{Name: "a", Params: [][2]string{{"b", `x"\,y`}}, Text: `a; b="x\"\\,y"`}}},
		{"a quote that never ends", []string{`a; b="x, c`}, []wire.Extension{
			{Name: "a", Params: [][2]string{{"b", `"x, c`}}, Text: `a; b="x, c`}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := wire.ParseExtensions(test.values)
			if err != nil || !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %+v, %v\nwant %+v", got, err, test.want)
			}
		})
	}
	for _, bad := range []string{"; x", "a; ", "a;;b", "a; =1", "=1"} {
		if got, err := wire.ParseExtensions([]string{bad}); err == nil {
			t.Errorf("%q: got %+v, want an error", bad, got)
		}
	}
}

func TestTheOfferKeepsOnlyWhatCanBeFollowed(t *testing.T) {
	tests := []struct {
		offer, kept string
		removed     []string
	}{
		{"", "", nil},
		{"permessage-deflate; client_max_window_bits", "permessage-deflate; client_max_window_bits", nil},
		{" permessage-deflate ,permessage-deflate;server_max_window_bits=10 ", " permessage-deflate ,permessage-deflate;server_max_window_bits=10 ", nil},
		{"x-webkit-deflate-frame", "", []string{"x-webkit-deflate-frame"}},
		{"a; b=1, permessage-deflate, c", "permessage-deflate", []string{"a; b=1", "c"}},
		{`a; q="1, permessage-deflate", PERMESSAGE-deflate`, "PERMESSAGE-deflate", []string{`a; q="1, permessage-deflate"`}},
		{"permessage-deflate; future_parameter=7", "permessage-deflate; future_parameter=7", nil}, // the server declines or grants it
		{"permessage-deflate;;", "", []string{"permessage-deflate;;"}},
	}
	for _, test := range tests {
		kept, removed := wire.FilterOffer(test.offer)
		if kept != test.kept || !reflect.DeepEqual(removed, test.removed) {
			t.Errorf("%q: kept %q, removed %q; want %q, %q", test.offer, kept, removed, test.kept, test.removed)
		}
	}
}

func TestGranted(t *testing.T) {
	full := wire.Compression{On: true, ServerWindowBits: 15, ClientWindowBits: 15}
	with := func(change func(*wire.Compression)) wire.Compression { c := full; change(&c); return c }
	tests := []struct {
		answer []string
		want   wire.Compression
		other  string
		err    string
	}{
		{nil, wire.Compression{}, "", ""},
		{[]string{"permessage-deflate"}, full, "", ""},
		{[]string{"permessage-deflate; client_no_context_takeover"}, with(func(c *wire.Compression) { c.NoTakeover[tape.Client] = true }), "", ""},
		{[]string{"permessage-deflate; server_no_context_takeover"}, with(func(c *wire.Compression) { c.NoTakeover[tape.Server] = true }), "", ""},
		{[]string{`permessage-deflate; server_max_window_bits="8"; client_max_window_bits=10`}, with(func(c *wire.Compression) { c.ServerWindowBits, c.ClientWindowBits = 8, 10 }), "", ""},
		{[]string{"x-other; a=1"}, wire.Compression{}, "x-other; a=1", ""},
		{[]string{"permessage-deflate", "x-other"}, full, "x-other", ""},
		{[]string{"permessage-deflate, permessage-deflate; server_no_context_takeover"}, full, "permessage-deflate; server_no_context_takeover", ""},
		{[]string{"permessage-deflate; server_max_window_bits=7"}, full, "", "8 to 15"},
		{[]string{"permessage-deflate; server_max_window_bits=16"}, full, "", "8 to 15"},
		{[]string{"permessage-deflate; client_max_window_bits"}, full, "", "8 to 15"},
		{[]string{"permessage-deflate; shiny=1"}, full, "", "unknown parameter"},
		{[]string{";"}, wire.Compression{}, "", "empty name"},
	}
	for _, test := range tests {
		got, other, err := wire.Granted(test.answer)
		if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%q: error %v, want %q", test.answer, err, test.err)
			continue
		}
		if err == nil && (got != test.want || other != test.other) {
			t.Errorf("%q: got %+v, %q; want %+v, %q", test.answer, got, other, test.want, test.other)
		}
	}
}

// FuzzParseExtensions wants each element's own text to read as that element,
// and what is kept of an offer to hold nothing to be removed.
func FuzzParseExtensions(f *testing.F) {
	f.Add("permessage-deflate; client_max_window_bits, x; y=\"a,b\"")
	f.Add(`a; b="x\"\\,y", c`)
	f.Add(`a; b="x, c`)
	f.Fuzz(func(t *testing.T, value string) {
		exts, err := wire.ParseExtensions([]string{value})
		kept, removed := wire.FilterOffer(value)
		if err != nil {
			if kept != "" || len(removed) != 1 {
				t.Errorf("%q cannot be read, and %q of it is kept", value, kept)
			}
			return
		}
		for _, ext := range exts {
			again, err := wire.ParseExtensions([]string{ext.Text})
			if err != nil || len(again) != 1 || !reflect.DeepEqual(again[0], ext) {
				t.Errorf("%q reads as %+v, %v, its text as %+v", value, ext, err, again)
			}
		}
		keptExts, err := wire.ParseExtensions([]string{kept})
		if err != nil || len(keptExts)+len(removed) != len(exts) {
			t.Errorf("%q: kept %q, removed %q, %v", value, kept, removed, err)
		}
		for _, ext := range keptExts {
			if ext.Name != wire.Deflate {
				t.Errorf("%q: kept %q", value, kept)
			}
		}
	})
}
