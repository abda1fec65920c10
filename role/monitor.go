package role

import (
	"fmt"
	"os"
	"strconv"
	"time"
)

// monitorSlack is by how much the system may let the monitor of the Go runtime oversleep. That thread looks every 20 us, as long as any other
// does something, whether one has to be relieved of its goroutines because it waits for the system. Where timers are dear, as in virtual machines,
// that was a fifth of what a write by a lone client costs. Later than this nobody is relieved.
const monitorSlack = 500 * time.Microsecond

// SlackenMonitor gives the runtime's monitor its slack, for as long as the process runs. It needs CAP_SYS_NICE. Source: proc_pid_timerslack_ns(5).
func SlackenMonitor() error {
	id, err := monitor()
	if err != nil {
		return err
	}
	return os.WriteFile(slackPath(id), []byte(strconv.FormatInt(monitorSlack.Nanoseconds(), 10)), 0)
}

// monitor finds the thread: the runtime makes it before any other. Should the system have begun again with low numbers between the two, it is
// some other thread, whose timers are then late by no more than that.
func monitor() (id int, err error) {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return 0, err
	}
	for _, t := range tasks {
		if n, err := strconv.Atoi(t.Name()); err == nil && n != os.Getpid() && (id == 0 || n < id) {
			id = n
		}
	}
	if id == 0 {
		return 0, fmt.Errorf("the runtime has no threads yet")
	}
	return id, nil
}

// slackPath is where the slack of a thread stands, in nanoseconds.
func slackPath(id int) string { return fmt.Sprintf("/proc/%d/timerslack_ns", id) }
