package stats

import (
	"iter"
	"time"
)

// request is one that may be answered.
type request struct {
	kind     string
	at       time.Duration
	counted  bool
	answered bool
}

// requests remembers the last requests of one side by their keys: at least
// [maxAsked], at most twice as many.
type requests struct {
	young, old map[string]*request
}

func (r *requests) find(key string) *request {
	if found := r.young[key]; found != nil {
		return found
	}
	return r.old[key]
}

// add remembers a request in place of one with the same key, and returns those
// for which there is no room any more.
func (r *requests) add(key string, q *request) (given map[string]*request) {
	delete(r.young, key)
	delete(r.old, key)
	if len(r.young) == maxAsked {
		given, r.old, r.young = r.old, r.young, nil
	}
	if r.young == nil {
		r.young = map[string]*request{}
	}
	r.young[key] = q
	return given
}

func (r *requests) all() iter.Seq[*request] {
	return func(yield func(*request) bool) {
		for _, generation := range []map[string]*request{r.young, r.old} {
			for _, q := range generation {
				if !yield(q) {
					return
				}
			}
		}
	}
}
