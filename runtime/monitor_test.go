package runtime

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestSlackenMonitor: the thread that gets the slack is the one that sleeps for a moment again and again while another works.
func TestSlackenMonitor(t *testing.T) {
	id, err := monitor(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(slackPath(id))
	if err != nil {
		t.Fatal(err)
	}
	if err := SlackenMonitor(os.Getpid()); err != nil {
		t.Fatal(err)
	}
	defer os.WriteFile(slackPath(id), before, 0)
	if got, err := os.ReadFile(slackPath(id)); err != nil || strings.TrimSpace(string(got)) != strconv.FormatInt(monitorSlack.Nanoseconds(), 10) {
		t.Errorf("slack %s, %v", got, err)
	}
	sleeps := fmt.Sprintf("%d ", unix.SYS_NANOSLEEP)
	for until := time.Now().Add(10 * time.Second); ; {
		call, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/syscall", id)) // what it waits in
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(string(call), sleeps) {
			return
		}
		if time.Now().After(until) {
			t.Fatalf("thread %d was never seen asleep; last in %s", id, call)
		}
	}
}
