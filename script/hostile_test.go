package script

import (
	"fmt"
	"os"
	"time"

	"github.com/wstape/wstape/tape"
)

const hostileVariable = "WSTAPE_HOSTILE"

var hostileScripts = map[string]string{}

// hostileChild
func hostileChild(name string) int {
	src, err := os.ReadFile(name)
	if err != nil {
		panic(err)
	}
	dir, _ := os.MkdirTemp("", "h")
	defer os.RemoveAll(dir)
	p := dir + "/a.js"
	os.WriteFile(p, src, 0o600)
	j := newJournal()
	set, err := NewSet([]string{p}, Options{Log: j.log, Memory: 64 << 20})
	if err != nil {
		fmt.Println("NewSet", err)
		return 3
	}
	c, _ := set.Chain([]string{p})
	s := c.Open(tape.Session{N: 1}, j)
	s.Opened("")
	other := c.Open(tape.Session{N: 2}, newJournal())
	for i, t := range []string{"go", "hi"} {
		for k, s := range []*Session{s, other} {
			if k == 1 && i == 0 {
				continue
			}
			d := make(chan tape.Verdict, 1)
			at := time.Now()
			go s.Message(message(tape.Server, tape.Text, t), func(v tape.Verdict) { d <- v })
			select {
			case v := <-d:
				fmt.Println(t, verdict(v), time.Since(at).Round(time.Millisecond))
			case <-time.After(10 * time.Second):
				fmt.Println(t, "NO VERDICT")
				return 4
			}
		}
	}
	for _, l := range j.lines {
		if len(l) > 300 {
			l = l[:300]
		}
		fmt.Println("  ", l)
	}
	at := time.Now()
	for set.order[0].stuck.Load() > 0 && time.Since(at) < 25*time.Second {
		time.Sleep(50 * time.Millisecond)
	}
	fmt.Println("stuck", set.order[0].stuck.Load(), time.Since(at).Round(100*time.Millisecond))
	return 0
}
