package script

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// watching returns a watcher of files in dir, and what it tells, relative to dir.
func watching(t *testing.T, dir string, names ...string) (w *watcher, changes <-chan string) {
	t.Helper()
	told := make(chan string, 100)
	w, err := newWatcher(func(path string) {
		name, err := filepath.Rel(dir, path)
		if err != nil {
			t.Error(err)
		}
		told <- filepath.ToSlash(name)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.close)
	if err := w.files(within(dir, names...)); err != nil {
		t.Fatal(err)
	}
	return w, told
}

func within(dir string, names ...string) []string {
	paths := make([]string, len(names))
	for i, name := range names {
		paths[i] = filepath.Join(dir, filepath.FromSlash(name))
	}
	return paths
}

// wantChange fails unless name is told next. The same again, from a burst that
// this machine was too busy to write at once, may come before.
func wantChange(t *testing.T, changes <-chan string, name string, before ...string) {
	t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		select {
		case got := <-changes:
			if got == name {
				return
			}
			if len(before) == 0 || got != before[0] {
				t.Fatalf("%s changed, want %s", got, name)
			}
		case <-timeout:
			t.Fatalf("%s did not change", name)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// replace is what many editors do on saving: write a new file, rename it over.
func replace(t *testing.T, path, text string) {
	t.Helper()
	write(t, path+".tmp~", text)
	must(t, os.Rename(path+".tmp~", path))
}

func TestWatchSeesWaysOfSaving(t *testing.T) {
	for _, c := range []struct {
		name string
		save func(t *testing.T, path string)
	}{
		{"truncate and write", func(t *testing.T, path string) { write(t, path, "new") }},
		{"the same size", func(t *testing.T, path string) { write(t, path, "OLD") }},
		{"append", func(t *testing.T, path string) {
			f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
			must(t, err)
			_, err = f.WriteString("more")
			must(t, err)
			must(t, f.Close())
		}},
		{"write another and rename it over", func(t *testing.T, path string) { replace(t, path, "new") }},
		{"vim: rename the old away, write the new, remove the old", func(t *testing.T, path string) {
			must(t, os.Rename(path, path+"~"))
			write(t, path, "new")
			must(t, os.Remove(path+"~"))
		}},
		{"remove and write", func(t *testing.T, path string) {
			must(t, os.Remove(path))
			write(t, path, "new")
		}},
		{"a burst", func(t *testing.T, path string) {
			for range 20 {
				write(t, path, "new")
				replace(t, path, "newer")
			}
		}},
		{"remove and write the folder", func(t *testing.T, path string) {
			must(t, os.RemoveAll(filepath.Dir(path)))
			write(t, path, "new")
		}},
		{"put another folder in the place of the folder", func(t *testing.T, path string) {
			dir := filepath.Dir(path)
			write(t, filepath.Join(dir+".new", filepath.Base(path)), "new")
			must(t, os.Rename(dir, dir+".old"))
			must(t, os.Rename(dir+".new", dir))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := folder(t, map[string]string{"src/a.ts": "old", "src/b.ts": "old", "c/c.ts": "old"})
			_, changes := watching(t, dir, "src/a.ts", "c/c.ts")
			for range 3 { // the watch lasts
				c.save(t, filepath.Join(dir, "src", "a.ts"))
				wantChange(t, changes, "src/a.ts", "src/a.ts")
				os.RemoveAll(filepath.Join(dir, "src.old"))
			}
			// What is not watched is not told: the next that is told is c.ts.
			write(t, filepath.Join(dir, "src", "b.ts"), "new")
			write(t, filepath.Join(dir, "c", "c.ts"), "new")
			wantChange(t, changes, "c/c.ts", "src/a.ts")
		})
	}
}

func TestWatchSeesFilesAppear(t *testing.T) {
	dir := folder(t, map[string]string{"src/a.ts": "old", "b.ts": "old"})
	_, changes := watching(t, dir, "src/a.ts", "b.ts", "not/yet/there.ts")

	// That a file goes is not told, only that it is there again.
	must(t, os.Remove(filepath.Join(dir, "src", "a.ts")))
	write(t, filepath.Join(dir, "b.ts"), "new")
	wantChange(t, changes, "b.ts")
	write(t, filepath.Join(dir, "src", "a.ts"), "new")
	wantChange(t, changes, "src/a.ts")

	write(t, filepath.Join(dir, "not", "yet", "there.ts"), "new")
	wantChange(t, changes, "not/yet/there.ts")
	write(t, filepath.Join(dir, "not", "yet", "there.ts"), "newer")
	wantChange(t, changes, "not/yet/there.ts", "not/yet/there.ts")
}

func TestWatchFollowsLinks(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("symbolic links need a privilege")
	}
	t.Run("a config map of Kubernetes", func(t *testing.T) {
		dir := folder(t, map[string]string{"..v1/a.ts": "one", "..v2/a.ts": "two", "..v3/a.ts": "three"})
		must(t, os.Symlink("..v1", filepath.Join(dir, "..data")))
		must(t, os.Symlink(filepath.Join("..data", "a.ts"), filepath.Join(dir, "a.ts")))
		_, changes := watching(t, dir, "a.ts")
		for _, version := range []string{"..v2", "..v3"} {
			must(t, os.Symlink(version, filepath.Join(dir, "..data_tmp")))
			must(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
			wantChange(t, changes, "a.ts")
		}
		write(t, filepath.Join(dir, "..v3", "a.ts"), "four")
		wantChange(t, changes, "a.ts")
	})
	t.Run("a linked file is written", func(t *testing.T) {
		dir := folder(t, map[string]string{"real/a.ts": "one"})
		must(t, os.Symlink(filepath.Join(dir, "real", "a.ts"), filepath.Join(dir, "a.ts")))
		_, changes := watching(t, dir, "a.ts")
		replace(t, filepath.Join(dir, "real", "a.ts"), "two")
		wantChange(t, changes, "a.ts")
	})
	t.Run("a link that leads nowhere, and in a ring", func(t *testing.T) {
		dir := folder(t, nil)
		must(t, os.Symlink("to", filepath.Join(dir, "from")))
		must(t, os.Symlink("ring", filepath.Join(dir, "ring")))
		_, changes := watching(t, dir, "from", "ring")
		write(t, filepath.Join(dir, "to"), "one")
		wantChange(t, changes, "from")
	})
}

func TestWatchReplacesTheSet(t *testing.T) {
	dir := folder(t, map[string]string{"src/a.ts": "old", "b.ts": "old"})
	w, changes := watching(t, dir, "src/a.ts")
	must(t, w.files(within(dir, "b.ts")))
	write(t, filepath.Join(dir, "src", "a.ts"), "new")
	write(t, filepath.Join(dir, "b.ts"), "new")
	wantChange(t, changes, "b.ts")
	must(t, w.files(nil))
	if len(w.folders) != 0 {
		t.Errorf("%v are still watched", w.folders)
	}
	must(t, w.files(within(dir, "src/a.ts")))
	write(t, filepath.Join(dir, "src", "a.ts"), "newer")
	wantChange(t, changes, "src/a.ts", "b.ts")
}

// TestWatchCalls: changed may replace the set, is never called twice at a time,
// and not any more when close has returned.
func TestWatchCalls(t *testing.T) {
	dir := folder(t, map[string]string{"a.ts": "old", "b.ts": "old"})
	entered, leave := make(chan string), make(chan struct{})
	var w *watcher
	w, err := newWatcher(func(path string) {
		if err := w.files(within(dir, "a.ts", "b.ts")); err != nil {
			t.Error(err)
		}
		entered <- filepath.Base(path)
		<-leave
	})
	must(t, err)
	must(t, w.files(within(dir, "a.ts")))
	write(t, filepath.Join(dir, "a.ts"), "new")
	if got := <-entered; got != "a.ts" {
		t.Errorf("%s changed, want a.ts", got)
	}
	write(t, filepath.Join(dir, "b.ts"), "new")
	select {
	case name := <-entered:
		t.Errorf("%s is told while a.ts is", name)
	default:
	}
	leave <- struct{}{}
	if got := <-entered; got != "b.ts" {
		t.Errorf("%s changed, want b.ts", got)
	}
	closed := make(chan struct{})
	go func() { w.close(); close(closed) }()
	select {
	case <-closed:
		t.Error("close has not waited")
	case leave <- struct{}{}:
	}
	<-closed
	w.close() // once more does no harm
	must(t, os.Remove(filepath.Join(dir, "a.ts")))
}

func TestWatchAfterClose(t *testing.T) {
	dir := folder(t, map[string]string{"a.ts": "old"})
	w, _ := watching(t, dir)
	w.close()
	if err := w.files(within(dir, "a.ts")); err == nil {
		t.Error("no error from a watcher that is closed")
	}
}
