package boltstore_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// kernel is the kernel with a disk that may be told to fail: system calls that
// write are held up by a seccomp filter until it has been decided what comes of
// them. It cannot be taken off, so tests with it have a process of their own.
type kernel struct {
	fd      int
	ended   chan struct{}
	mu      sync.Mutex
	closing bool
	decide  func(nr int) (err syscall.Errno) // 0 lets the call go on; nil lets all
}

// What the kernel hands over, and wants back: struct seccomp_notif and seccomp_notif_resp.
type (
	asked struct {
		id         uint64
		pid, flags uint32
		nr         int32
		arch       uint32
		ip         uint64
		args       [6]uint64
	}
	answer struct {
		id    uint64
		val   int64
		err   int32
		flags uint32
	}
)

func newKernel() (*kernel, error) {
	const load, equal, ret = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_RET | unix.BPF_K
	filter := []unix.SockFilter{
		{Code: load, K: 0}, // the call's number
		{Code: equal, K: unix.SYS_FDATASYNC, Jt: 3},
		{Code: equal, K: unix.SYS_PWRITE64, Jt: 2},
		{Code: equal, K: unix.SYS_FTRUNCATE, Jt: 1},
		{Code: ret, K: unix.SECCOMP_RET_ALLOW},
		{Code: ret, K: unix.SECCOMP_RET_USER_NOTIF},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return nil, err
	}
	flags := unix.SECCOMP_FILTER_FLAG_TSYNC | unix.SECCOMP_FILTER_FLAG_TSYNC_ESRCH | unix.SECCOMP_FILTER_FLAG_NEW_LISTENER
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, uintptr(flags), uintptr(unsafe.Pointer(&program)))
	runtime.KeepAlive(filter)
	if errno != 0 {
		return nil, errno
	}
	k := &kernel{fd: int(fd), ended: make(chan struct{})}
	go k.serve()
	return k, nil
}

func (k *kernel) serve() {
	defer close(k.ended)
	for {
		ready := []unix.PollFd{{Fd: int32(k.fd), Events: unix.POLLIN}}
		if n, err := unix.Poll(ready, 50); err == nil && n == 0 || err == unix.EINTR {
			if k.over() {
				return
			}
			continue
		}
		var in asked
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(k.fd), unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(&in))); errno != 0 {
			continue
		}
		out := answer{id: in.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
		if errno := k.verdict(int(in.nr)); errno != 0 {
			out.err, out.flags = -int32(errno), 0
		}
		_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(k.fd), unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&out)))
	}
}

func (k *kernel) over() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.closing
}

func (k *kernel) verdict(nr int) syscall.Errno {
	k.mu.Lock()
	decide := k.decide
	k.mu.Unlock()
	if decide == nil {
		return 0
	}
	return decide(nr)
}

func (k *kernel) set(decide func(nr int) syscall.Errno) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.decide = decide
}

func (k *kernel) close() {
	k.mu.Lock()
	k.closing = true
	k.mu.Unlock()
	<-k.ended
	_ = unix.Close(k.fd)
}

// failing is a fault of one system call.
func (k *kernel) failing(name string, nr int, err syscall.Errno) fault {
	return fault{name: name, says: err.Error(), end: func() { k.set(nil) }, begin: func() {
		k.set(func(called int) syscall.Errno {
			if called == nr {
				return err
			}
			return 0
		})
	}}
}

// TestKernelFaults has the kernel refuse what a disk that is broken, read-only
// or slow refuses.
func TestKernelFaults(t *testing.T) {
	if inChild(t) {
		return
	}
	k, err := newKernel()
	if err != nil {
		t.Skipf("SKIP: system calls cannot be made to fail here: %v", err)
	}
	defer k.close()
	path := func() string { return filepath.Join(quickDir(t), "t.db") }
	survive(t, k.failing("broken disk", unix.SYS_PWRITE64, unix.EIO), path)
	survive(t, k.failing("read-only disk", unix.SYS_PWRITE64, unix.EROFS), path)
	survive(t, k.failing("failing sync", unix.SYS_FDATASYNC, unix.EIO), path)
	survive(t, k.failing("no room to grow", unix.SYS_FTRUNCATE, unix.ENOSPC), path)

	// Only what comes last, the sync behind the header page: the change is there.
	last := k.failing("failing sync at the very end", unix.SYS_FDATASYNC, unix.EIO)
	last.begin = func() {
		syncs := 0
		k.set(func(nr int) syscall.Errno {
			if nr == unix.SYS_FDATASYNC {
				if syncs++; syncs%2 == 0 {
					return unix.EIO
				}
			}
			return 0
		})
	}
	t.Run(last.name, func(t *testing.T) {
		r := newTrial(t, path(), false)
		r.send(20)
		r.works()
		written := len(lines(t, r.store, 1))
		last.begin()
		r.failing()
		r.readable(written)
		last.end()
		r.works()
		r.send(100)
		if gone := r.done(); gone > 0 {
			t.Errorf("%d frames are missing", gone)
		}
	})
	t.Run("slow sync", func(t *testing.T) {
		r := newTrial(t, path(), false)
		release := make(chan struct{})
		k.set(func(nr int) syscall.Errno { <-release; return 0 })
		sent := make(chan struct{})
		go func() { defer close(sent); r.send(200) }()
		eventually(t, "the sender is held back", func() bool { return r.recorder.Waiting() >= trialBuffer })
		close(release)
		<-sent
		if gone := r.done(); gone > 0 {
			t.Errorf("%d frames are missing", gone)
		}
		r.spells(0)
	})
	t.Run("slow sync, drop", func(t *testing.T) {
		r := newTrial(t, path(), true)
		release := make(chan struct{})
		k.set(func(nr int) syscall.Errno { <-release; return 0 })
		r.send(300)
		close(release)
		r.works()
		if gone := r.done(); gone < 200 {
			t.Errorf("%d frames of 300 are in gaps, where there was room for some fifty", gone)
		}
	})
}

// TestMapThatCannotBeMade takes the address space away that bbolt needs for a
// longer map of its file, which leaves it without any.
func TestMapThatCannotBeMade(t *testing.T) {
	if inChild(t) {
		return
	}
	path := filepath.Join(quickDir(t), "t.db")
	var was unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_AS, &was))
	short := was
	short.Cur = addressSpace(t) + 1<<30 // no room for the map that a tape has from the start
	must(t, unix.Setrlimit(unix.RLIMIT_AS, &short))
	s := open(t, path)
	must(t, unix.Setrlimit(unix.RLIMIT_AS, &was))
	random := random(t)
	n := uint64(1)
	grow := func(until func(size int64, err error) bool) {
		for ; ; n++ {
			err := fat(s, n, chatter(random, 100_000))
			info, statErr := os.Stat(path)
			must(t, statErr)
			if until(info.Size(), err) {
				return
			}
		}
	}
	grow(func(size int64, _ error) bool { return size > 20<<20 })
	short.Cur = addressSpace(t) + 24<<20 // a map of 64 MiB does not fit, for which one of 32 goes
	must(t, unix.Setrlimit(unix.RLIMIT_AS, &short))
	var failed error
	grow(func(size int64, err error) bool { failed = err; return err != nil || size > 80<<20 })
	_, readErr := s.Sessions(t.Context(), 0)
	must(t, unix.Setrlimit(unix.RLIMIT_AS, &was))
	t.Logf("after %d sessions: %v; reading: %v", n, failed, readErr)
	if failed == nil {
		t.Skip("SKIP: the map was made all the same")
	}
	must(t, fat(s, n, "it is there again"))
	must(t, s.Close())
	if report := clean(t, path); report.Sessions != n {
		t.Errorf("%d sessions of %d are there", report.Sessions, n)
	}
}

// addressSpace is how much of it this process has taken.
func addressSpace(t *testing.T) uint64 {
	var pages uint64
	text, err := os.ReadFile("/proc/self/statm")
	must(t, err)
	_, err = fmt.Sscan(string(text), &pages)
	must(t, err)
	return pages * uint64(os.Getpagesize())
}
