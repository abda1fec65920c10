package runtime

import (
	"fmt"
	"os"
	"strconv"
	"time"
)

// monitorSlack is by how much the system may let the monitor of the Go runtime oversleep. That thread looks every 20 us, as long as any other of its
// process does something, whether one has to be relieved of its goroutines because it waits for the system. Where timers are dear, as in virtual machines,
// that was a fifth of what a write by a lone client costs. Later than this nobody is relieved.
const monitorSlack = 500 * time.Microsecond

// SlackenMonitor gives the monitor of a process that is written in Go its slack, for as long as the process runs. It needs CAP_SYS_NICE.
// Source: proc_pid_timerslack_ns(5).
func SlackenMonitor(pid int) error {
	id, err := monitor(pid)
	if err != nil {
		return err
	}
	return os.WriteFile(slackPath(id), []byte(strconv.FormatInt(monitorSlack.Nanoseconds(), 10)), 0)
}

// monitor finds the thread: the runtime makes it before any other. Should the system have begun again with low numbers between the two, it is
// some other thread, whose timers are then late by no more than that.
func monitor(pid int) (id int, err error) {
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return 0, err
	}
	for _, t := range tasks {
		if n, err := strconv.Atoi(t.Name()); err == nil && n != pid && (id == 0 || n < id) {
			id = n
		}
	}
	if id == 0 {
		return 0, fmt.Errorf("process %d has no threads yet", pid)
	}
	return id, nil
}

// slackPath is where the slack of a thread stands, in nanoseconds.
func slackPath(id int) string { return fmt.Sprintf("/proc/%d/timerslack_ns", id) }
