package script

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dop251/goja"
)

// TestStats counts failures and tells how long scripts run, awaits not included.
func TestStats(t *testing.T) {
	var mu sync.Mutex
	ran := map[string]time.Duration{}
	o := Options{Ran: func(script string, took time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		ran[script] += took
	}}
	bubble(t, o, func(r *rig) {
		clear(ran) // of the trial
		l := r.open()
		for range 3 {
			if got := l.say("throw"); got != "passed " {
				t.Errorf("after a failure: %s", got)
			}
		}
		l.in(func(v *vm) {
			_ = v.rt.Set("nap", func(goja.FunctionCall) goja.Value { <-time.After(50 * time.Millisecond); return nil })
		})
		l.say("wait")
		l.say("nap")
		synctest.Wait()
		if got, want := r.set.Stats(), []Stats{{Script: "a.js", Failures: 3}, {Script: "b.js"}}; !slices.Equal(got, want) {
			t.Errorf("figures %+v, want %+v", got, want)
		}
		if took, ok := ran["b.js"]; !ok || ran["a.js"] != 50*time.Millisecond || took != 0 {
			t.Errorf("they ran for %v", ran)
		}
	}, `
		export async function onMessage(m) {
			if (m.text === "throw") throw new Error("no")
			if (m.text === "wait") await new Promise(r => setTimeout(r, 5000))
			if (m.text === "nap") nap()
		}`, `export function onMessage() {}`)
}
