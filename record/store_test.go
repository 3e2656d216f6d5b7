package record_test

import (
	"maps"
	"testing"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/record/storetest"
	"github.com/wstape/wstape/tape"
)

func TestMemoryIsAStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) record.Store { return record.NewMemory() })
}

func TestLabelIsNotChangedByWhatIsTaggedLater(t *testing.T) {
	type tags = map[string]string
	for name, c := range map[string]struct{ label, before, now, want tags }{
		"nothing later":         {tags{"a": "1"}, tags{"b": "2"}, tags{"b": "2"}, tags{"a": "1"}},
		"one later":             {tags{"a": "1"}, nil, tags{"b": "2"}, tags{"a": "1", "b": "2"}},
		"changed later":         {tags{"b": "1"}, tags{"b": "2"}, tags{"b": "3"}, tags{"b": "3"}},
		"removed, and later on": {nil, tags{"b": "2"}, tags{"b": "3"}, tags{"b": "3"}},
		"removed":               {nil, tags{"b": ""}, tags{"b": ""}, nil},
	} {
		e := record.Entry{Session: tape.Session{Tags: c.before}}
		a := record.Attach(record.Label{Tags: c.label, Notes: []string{"n"}}, &e)
		label := maps.Clone(c.label)
		e.Tags = c.now
		a.Apply(&e)
		if !maps.Equal(e.Tags, c.want) || !maps.Equal(c.label, label) || len(e.Notes) != 1 {
			t.Errorf("%s: shows %v, want %v; the label is %v", name, e.Tags, c.want, c.label)
		}
	}
}
