package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// crashes is how often the proxy is killed, and crashFrames how much must have
// passed before.
const (
	crashes     = 20
	crashFrames = 1000
	// record.flush is 50 ms; a frame that was delivered this long before the
	// kill is on the tape however busy the machine is.
	longDelivered = time.Second
)

// TestKilledProxyLosesNothingOld kills the proxy during traffic, again and
// again, on one tape.
func TestKilledProxyLosesNothingOld(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("WSTAPE_SEED"); text != "" {
		seed, _ = strconv.ParseUint(text, 10, 64)
	}
	t.Logf("WSTAPE_SEED=%d", seed)
	for group := range 4 {
		t.Run(fmt.Sprint("tape", group), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, uint64(group)))
			upstream := plainEcho(t)
			tape := tapeFile{t, t.TempDir() + "/t.db"}
			for round := range crashes / 4 {
				crash(t, upstream, tape, random, round+1)
			}
		})
	}
}

// crash runs one proxy on the tape until it is killed; its session is the n-th.
func crash(t *testing.T, upstream string, tape tapeFile, random *rand.Rand, n int) {
	t.Helper()
	p := startProxy(t, upstream, "--quiet", "--tape", tape.path)
	talk := newTalker(t, p.url("/"))
	talk.until(t, crashFrames/2+random.IntN(500))
	first := time.Now()
	talk.untilTime(t, first.Add(longDelivered+time.Duration(random.IntN(50))*time.Millisecond))
	killed := time.Now()
	p.kill()
	talk.end()

	if out, code := tape.run("check"); code != 0 {
		t.Fatalf("check after crash %d: exit code %d:\n%s", n, code, out)
	}
	sessions := tape.sessions()
	if len(sessions) != n || sessions[n-1].State != "interrupted" || sessions[n-1].Ending != nil {
		t.Fatalf("after crash %d the tape has %+v", n, sessions)
	}
	next := map[string]int{}
	for _, m := range read[message](tape, "show", strconv.Itoa(n), "--json") {
		if m.Op != "text" || m.Text == nil || *m.Text != talk.message(next[m.From]) {
			t.Fatalf("message %d from the %s is %+v", next[m.From], m.From, m)
		}
		next[m.From]++
	}
	must := talk.deliveredBefore(killed.Add(-longDelivered))
	if next["client"] < must || next["server"] < must {
		t.Errorf("crash %d: %d messages were echoed %v before the kill, on the tape are %v", n, must, longDelivered, next)
	}
	if next["client"] > talk.sent {
		t.Errorf("crash %d: %d messages were sent, on the tape are %d", n, talk.sent, next["client"])
	}
}

// plainEcho serves an echo and returns its URL.
func plainEcho(t *testing.T) string {
	var upgrader websocket.Upgrader
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer conn.Close()
		for {
			kind, message, err := conn.ReadMessage()
			if err != nil || conn.WriteMessage(kind, message) != nil {
				return
			}
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// talker sends numbered messages through an echo, a few in flight, and notes
// when each came back.
type talker struct {
	conn    *websocket.Conn
	running sync.WaitGroup

	mu       sync.Mutex
	echoed   []time.Time
	sent     int
	progress chan struct{} // something was echoed
}

func newTalker(t *testing.T, url string) *talker {
	t.Helper()
	conn, _, err := websocket.DefaultDialer.Dial(url, nil)
	must(t, err)
	k := &talker{conn: conn, progress: make(chan struct{}, 1)}
	inFlight := make(chan struct{}, 8)
	gone := make(chan struct{})
	k.running.Add(2)
	go func() {
		defer k.running.Done()
		for {
			select {
			case inFlight <- struct{}{}:
			case <-gone:
				return
			}
			k.mu.Lock()
			k.sent++
			text := k.message(k.sent - 1)
			k.mu.Unlock()
			if conn.WriteMessage(websocket.TextMessage, []byte(text)) != nil {
				return
			}
		}
	}()
	go func() {
		defer k.running.Done()
		defer close(gone)
		for {
			if _, _, err := conn.ReadMessage(); err != nil {
				return
			}
			k.mu.Lock()
			k.echoed = append(k.echoed, time.Now())
			k.mu.Unlock()
			<-inFlight
			select {
			case k.progress <- struct{}{}:
			default:
			}
		}
	}()
	return k
}

func (k *talker) message(n int) string { return fmt.Sprintf(`{"n":%d,"padding":"%0*d"}`, n, n%200, n) }

// until waits until n messages have been echoed.
func (k *talker) until(t *testing.T, n int) {
	t.Helper()
	for {
		receive(t, "an echo", k.progress)
		k.mu.Lock()
		enough := len(k.echoed) >= n
		k.mu.Unlock()
		if enough {
			return
		}
	}
}

// untilTime goes on talking until then.
func (k *talker) untilTime(t *testing.T, then time.Time) {
	t.Helper()
	for time.Now().Before(then) {
		receive(t, "an echo", k.progress)
	}
}

func (k *talker) end() {
	_ = k.conn.Close()
	k.running.Wait()
}

func (k *talker) deliveredBefore(then time.Time) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := 0
	for n < len(k.echoed) && k.echoed[n].Before(then) {
		n++
	}
	return n
}
