package script

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Editors and deployments write in bursts: changes are told when none has come
// for quietTime, and at the latest after patience, should they never end.
const (
	quietTime = 50 * time.Millisecond
	patience  = time.Second
)

// watcher tells when files have been written, replaced, or have appeared again.
// It watches folders: most editors put a new file in the place of the old one.
// Symbolic links on the way to a file are watched too; Kubernetes updates
// mounted files by turning over a link to their folder.
type watcher struct {
	notify  *fsnotify.Watcher
	changed func(path string)
	done    chan struct{} // closed when run has ended

	wake   chan struct{} // says that there are events; closed with the watcher
	late   sync.Mutex    // guards events
	events map[string]fsnotify.Op

	mu      sync.Mutex
	watched map[string]*watchedFile
	by      map[string][]*watchedFile // by each name on the way to the file
	folders map[string]bool           // that are being watched
}

type watchedFile struct {
	path    string
	touched bool        // something on the way to it has changed
	seen    fs.FileInfo // when it was last looked at; nil: was not there
}

// newWatcher returns a watcher of no files. It calls changed with the path of
// each file that has changed, one after the other; changed may call files, but
// not close.
func newWatcher(changed func(path string)) (*watcher, error) {
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch files: %w (on Linux, fs.inotify.max_user_instances may be too low)", err)
	}
	w := &watcher{
		notify: notify, changed: changed, done: make(chan struct{}), wake: make(chan struct{}, 1),
		watched: map[string]*watchedFile{}, folders: map[string]bool{},
	}
	go w.receive()
	go w.run()
	return w, nil
}

// files replaces the set of files to watch with those of the given absolute
// paths, which need not exist. The error is about folders that cannot be
// watched; the others are.
func (w *watcher) files(paths []string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	watched := map[string]*watchedFile{}
	for _, path := range paths {
		watched[path] = w.watched[path]
		if watched[path] == nil {
			watched[path] = &watchedFile{path: path, seen: look(path)}
		}
	}
	w.watched = watched
	return w.follow()
}

// close ends the watching, and waits for a call of changed to return.
func (w *watcher) close() {
	_ = w.notify.Close()
	<-w.done
}

// lostEvents is noted in the place of a name when events were lost.
const lostEvents = ""

// receive collects what happens in the folders. It never waits for run: on
// Windows, fsnotify cannot add a folder while an event waits to be received.
func (w *watcher) receive() {
	defer close(w.wake)
	for {
		name, op := lostEvents, fsnotify.Op(0)
		select {
		case event, ok := <-w.notify.Events:
			if !ok {
				return
			}
			if event.Op == fsnotify.Chmod {
				continue // indexers and backups touch files all the time
			}
			name, op = event.Name, event.Op
		case _, ok := <-w.notify.Errors:
			if !ok {
				return
			}
		}
		w.late.Lock()
		if w.events == nil {
			w.events = map[string]fsnotify.Op{}
		}
		w.events[name] |= op
		w.late.Unlock()
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// run waits for quiet and tells what has changed, until the watcher is closed.
func (w *watcher) run() {
	defer close(w.done)
	quiet := time.NewTimer(0)
	<-quiet.C
	var since time.Time // when what is to be told began; zero if nothing is
	for {
		select {
		case _, ok := <-w.wake:
			if !ok {
				return
			}
			if !w.touch() {
				continue
			}
			if since.IsZero() {
				since = time.Now()
			}
			quiet.Reset(min(quietTime, time.Until(since.Add(patience))))
		case <-quiet.C:
			since = time.Time{}
			for _, path := range w.settle() {
				w.changed(path)
			}
		}
	}
}

// touch marks the files that the events are about, and reports whether there is
// anything to look at.
func (w *watcher) touch() (any bool) {
	w.late.Lock()
	events := w.events
	w.events = nil
	w.late.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	for name, op := range events {
		if w.folders[name] && op&(fsnotify.Remove|fsnotify.Rename) != 0 {
			_ = w.notify.Remove(name) // if it was renamed, the watch went along
			delete(w.folders, name)
			any = true
		}
		for _, f := range w.by[name] {
			f.touched = true
			any = true
		}
		any = any || name == lostEvents // look at all files
	}
	return any
}

// settle returns the files that have changed since the last time and are there.
func (w *watcher) settle() (changed []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	_ = w.follow() // a folder that cannot be watched now may be there later
	for _, path := range slices.Sorted(maps.Keys(w.watched)) {
		f := w.watched[path]
		before := f.seen
		f.seen = look(path)
		// What happened before the new folders were watched shows in the file only.
		if f.seen != nil && (f.touched || before == nil || !same(before, f.seen)) {
			changed = append(changed, path)
		}
		f.touched = false
	}
	return changed
}

// follow watches the folders of all names on the way to the files, and no others.
// It must be called with mu held.
func (w *watcher) follow() error {
	var failed []error
	for range 3 { // links may turn over while they are followed
		by, folders := w.ways()
		settled := maps.EqualFunc(by, w.by, slices.Equal[[]*watchedFile])
		w.by, failed = by, nil
		for folder := range folders {
			if err := w.watchFolder(folder); err != nil {
				failed = append(failed, err)
			}
		}
		for folder := range w.folders {
			if !folders[folder] {
				_ = w.notify.Remove(folder)
				delete(w.folders, folder)
			}
		}
		if settled {
			break
		}
	}
	return errors.Join(failed...)
}

// ways returns the files by each name on the way to them, and the folders of
// the names.
func (w *watcher) ways() (by map[string][]*watchedFile, folders map[string]bool) {
	by, folders = map[string][]*watchedFile{}, map[string]bool{}
	for _, path := range slices.Sorted(maps.Keys(w.watched)) {
		for _, name := range way(path) {
			by[name] = append(by[name], w.watched[path])
			folders[filepath.Dir(name)] = true
		}
	}
	return by, folders
}

func (w *watcher) watchFolder(folder string) error {
	if w.folders[folder] {
		return nil
	}
	err := w.notify.Add(folder)
	switch {
	case errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("watch folder %s: too many folders are watched; raise fs.inotify.max_user_watches", folder)
	case err != nil:
		return fmt.Errorf("watch folder %s: %w", folder, err)
	}
	w.folders[folder] = true
	return nil
}

// way returns the names in the file system that lead from an absolute path to
// a file: each symbolic link, and the file at the end or the first name that is
// not there. The folders of the names are real ones, without links.
func way(path string) (names []string) {
	const maxLinks = 40 // as Linux has it
	for range maxLinks {
		name, rest, linked := firstLink(filepath.Clean(path))
		names = append(names, name)
		if !linked {
			return names
		}
		target, err := os.Readlink(name)
		if err != nil {
			return names
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(name), target)
		}
		path = filepath.Join(target, rest)
	}
	return names
}

// firstLink returns the first name on a path that is a symbolic link, and the
// rest of the path behind it; or, if there is none, the end of the path or the
// first name on it that is not there.
func firstLink(path string) (name, rest string, linked bool) {
	name = filepath.VolumeName(path) + string(filepath.Separator)
	rest = strings.TrimPrefix(path, name)
	for rest != "" {
		var part string
		part, rest, _ = strings.Cut(rest, string(filepath.Separator))
		name = filepath.Join(name, part)
		info, err := os.Lstat(name)
		if err != nil {
			return name, "", false
		}
		if info.Mode()&fs.ModeSymlink != 0 {
			return name, rest, true
		}
	}
	return name, "", false
}

// look returns what there is at path, nil if it is no file.
func look(path string) fs.FileInfo {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return nil
	}
	return info
}

func same(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}
