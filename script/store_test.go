package script

import (
	"fmt"
	"sync"
	"testing"

	"github.com/dop251/goja"
)

// storeRuntime makes a runtime with a store that others may share.
func storeRuntime(s *Store) *goja.Runtime {
	rt := goja.New()
	installGlobals(rt, &environment{store: s})
	return rt
}

func TestStore(t *testing.T) {
	checkRows(t, []row{
		{`[store.get("k"), store.has("k"), store.delete("k"), store.keys()]`, `[ undefined, false, false, [] ]`},
		{`store.set("k", { a: [1] }); [store.get("k"), store.has("k"), store.keys()]`, `[ { a: [ 1 ] }, true, [ 'k' ] ]`},
		{`store.set("b", 1); store.set("a", 1); store.set(7, 1); store.keys()`, `[ '7', 'a', 'b' ]`},
		{`const o = { n: 1 }; store.set("k", o); o.n = 2; store.get("k").n = 3; store.get("k")`, `{ n: 1 }`},
		{`store.set("k", 1); [store.delete("k"), store.get("k")]`, `[ true, undefined ]`},
		{`store.set("k", undefined); [store.has("k"), store.get("k")]`, `[ true, undefined ]`},
		{`[store.update("n", (n = 0) => n + 1), store.update("n", (n = 0) => n + 1), store.get("n")]`, `[ 1, 2, 2 ]`},
		{`store.set("k", 5); [store.update("k", () => {}), store.get("k")]`, `[ 5, 5 ]`},
		{`[store.update("k", () => null), store.get("k"), store.has("k")]`, `[ null, null, true ]`},
		{`const o = store.update("k", () => ({ n: 1 })); o.n = 2; store.get("k")`, `{ n: 1 }`},
		{`try { store.update("k", async () => 1) } catch (e) { [e.name, e.message] }`,
			`[ 'TypeError', 'store.update needs a plain function, not an async one: it may run again when another session was faster' ]`},
		{`try { store.update("k", 1) } catch (e) { e.name }`, `'TypeError'`},
		{`try { store.update("k", () => { throw new Error("mine") }) } catch (e) { e.message }`, `'mine'`},
		{`try { store.set("k", { f() {} }) } catch (e) { [e.name, e.message] }`, `[ 'TypeError', 'store.set: value.f is a function' ]`},
		{`try { store.set({}, 1) } catch (e) { e.message }`, `'store: a key is a string, not {}'`},
		{`try { store.get() } catch (e) { e.message }`, `'store: a key is a string, not undefined'`},
		{`let calls = 0; const v = store.update("k", old => { if (calls++ === 0) store.set("k", "other"); return old + "!" }); [v, calls]`, `[ 'other!', 2 ]`},
		{`let calls = 0; try { store.update("k", () => { store.set("k", calls++); return 1 }) } catch (e) { [e.message, calls] }`,
			`[ 'store.update: "k" was changed by others 100 times in a row', 100 ]`},
	})
}

func TestStoreIsBounded(t *testing.T) {
	rt := storeRuntime(NewStore(10_000))
	for _, row := range []row{
		{`store.set("a", "x".repeat(8000)); store.set("a", "y".repeat(8000)); store.get("a").length`, `8000`},
		{`try { store.set("b", "z".repeat(4000)) } catch (e) { [e.name, e.message] }`,
			`[ 'RangeError', 'store: the store is full: "b" would make it hold 12234 bytes, and it holds at most 10000' ]`},
		{`try { store.update("b", () => "z".repeat(4000)) } catch (e) { [e.name, store.has("b")] }`, `[ 'RangeError', false ]`},
		{`try { store.set("b", new Uint8Array(20000)) } catch (e) { e.message }`, `'store.set: value is too big to clone: more than 10000 bytes'`},
		{`store.delete("a"); store.set("b", "z".repeat(4000)); store.keys()`, `[ 'b' ]`},
	} {
		if got := evaluate(t, rt, row.source); got != row.want {
			t.Errorf("%s\n got %s\nwant %s", row.source, got, row.want)
		}
	}
}

func TestStoreCountsItsBytes(t *testing.T) {
	s := NewStore(0)
	rt := storeRuntime(s)
	evaluate(t, rt, `for (let i = 0; i < 50; i++) { store.set("k" + i % 7, "x".repeat(i)); store.delete("k" + i % 3) }
		for (const key of store.keys()) store.delete(key)`)
	if s.bytes != 0 {
		t.Errorf("an empty store holds %d bytes", s.bytes)
	}
}

// TestStoreIsShared counts from many runtimes at once: no update may be lost, and
// every session sees whole values only.
func TestStoreIsShared(t *testing.T) {
	const sessions, rounds = 16, 50
	s := NewStore(0)
	var group sync.WaitGroup
	for i := range sessions {
		group.Go(func() {
			rt := storeRuntime(s)
			// A hundred tries are not many for sixteen goroutines that do nothing else.
			_, err := rt.RunString(fmt.Sprintf(`for (let i = 0; i < %d; i++) {
				for (let done = false; !done;) {
					try {
						store.update("count", (c = { n: 0, twice: 0 }) => {
							if (c.twice !== 2 * c.n) throw new TypeError("half a value");
							return { n: c.n + 1, twice: c.twice + 2, by: "session %d" };
						});
						done = true;
					} catch (e) { if (e instanceof TypeError) throw e }
				}
				store.set("own%d", i); store.keys(); store.get("count").n++; store.has("x"); store.delete("x");
			}`, rounds, i, i))
			if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	rt := storeRuntime(s)
	if got := evaluate(t, rt, `[store.get("count").n, store.keys().length]`); got != fmt.Sprintf("[ %d, %d ]", sessions*rounds, sessions+1) {
		t.Errorf("got %s", got)
	}
}
