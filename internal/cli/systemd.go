package cli

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
)

// sockets are listeners that whoever started wstape has opened for it
// (LISTEN_FDS); nil for those that it has not.
type sockets struct{ listen, admin net.Listener }

// inherit takes over what was opened for this process. The admin side's socket is
// the one that is named so; the other one is for clients.
func inherit() (s sockets, err error) {
	byName, err := activation.ListenersWithNames()
	if err != nil {
		return s, fail(exitReach, "take over the sockets of LISTEN_FDS: %w", err)
	}
	for name, list := range byName {
		for _, ln := range list {
			slot := &s.listen
			if name == "admin" {
				slot = &s.admin
			}
			if *slot != nil {
				return s, fail(exitUsage, "two sockets were passed for the same (%s and %s): one is wanted, and one named admin (FileDescriptorName=admin)",
					(*slot).Addr(), ln.Addr())
			}
			*slot = ln
		}
	}
	return s, nil
}

// manager is the service manager that waits to hear of this process
// (NOTIFY_SOCKET), if there is one: without, nothing is sent.
type manager struct{}

func (manager) tell(format string, args ...any) {
	_, _ = daemon.SdNotify(false, fmt.Sprintf(format, args...)) // who does not listen has nothing to be told
}

// statusEvery is how often the manager hears how many sessions are open.
const statusEvery = 5 * time.Second

// attend tells the manager every now and then that all is well, by asking how
// many sessions are open: a proxy that does not answer is one to be restarted.
// It returns when ctx is done.
func (m manager) attend(ctx context.Context, sessions func() int) error {
	every := statusEvery
	watchdog, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return fail(exitUsage, "%w", err)
	}
	if watchdog > 0 {
		every = min(every, watchdog/3)
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			m.tell("WATCHDOG=1\nSTATUS=%s open", count(sessions(), "session"))
		}
	}
}
