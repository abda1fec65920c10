package rig

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Process is one process that belongs to a cluster.
type Process struct {
	PID     int
	Command string // its arguments
	Cgroup  string // below the node's; "" for lighter, containerd and shims
}

// Processes are those of the machine: programs that run from its data directory or name it, and its containers.
func (c *Cluster) Processes() (out []Process) {
	paths, _ := filepath.Glob("/proc/[0-9]*") // the pattern is right
	for _, path := range paths {
		pid, err := strconv.Atoi(filepath.Base(path))
		if err != nil || pid == os.Getpid() {
			continue
		}
		line, err := os.ReadFile(path + "/cmdline")
		if err != nil || len(line) == 0 {
			continue // it has ended; perhaps its parent has not looked yet
		}
		p := Process{PID: pid, Command: strings.TrimSpace(strings.ReplaceAll(string(line), "\x00", " "))}
		groups, _ := os.ReadFile(path + "/cgroup")
		for group := range strings.Lines(string(groups)) {
			if _, below, ok := strings.Cut(strings.TrimSpace(group), ":/lighter/"+c.Name+"/"); ok {
				p.Cgroup = below
			}
		}
		if p.Cgroup != "" || strings.Contains(p.Command, c.Dir+"/") || strings.Contains(p.Command, c.Dir+" ") || strings.HasSuffix(p.Command, c.Dir) {
			out = append(out, p)
		}
	}
	return out
}

// Containers are the processes in the containers of a pod, by its UID; "" is all pods.
func (c *Cluster) Containers(uid string) (out []Process) {
	for _, p := range c.Processes() {
		if p.Cgroup != "" && !strings.HasPrefix(p.Command, "/pause") && strings.Contains(p.Cgroup, uid) {
			out = append(out, p)
		}
	}
	return out
}

// PowerOff does what the loss of power does: every process ends at once, and cgroups, mounts and the
// namespace's links, addresses and packet rules that Lighter made are gone; files stay.
func (c *Cluster) PowerOff() {
	c.T.Helper()
	c.Kill()
	c.Eventually(20*time.Second, "nothing runs, nothing is mounted", c.erase)
	c.Rewire()
}

// erase ends all processes and removes mounts and cgroups, as far as they let go at once.
func (c *Cluster) erase() error {
	all := c.Processes()
	for _, p := range all {
		_ = syscall.Kill(p.PID, syscall.SIGKILL) // it may have ended
	}
	if len(all) > 0 {
		return fmt.Errorf("%v", all)
	}
	var errs []error
	for _, m := range slices.Backward(mounts(c.Dir)) {
		errs = append(errs, syscall.Unmount(m, syscall.MNT_DETACH))
	}
	for _, g := range c.cgroups() {
		if err := syscall.Rmdir(g); err != nil && err != syscall.ENOENT {
			errs = append(errs, fmt.Errorf("%s: %w", g, err))
		}
	}
	return errors.Join(errs...)
}

// sweep removes what tests left that were killed before they could: each cluster's folder names its owner.
var sweep = sync.OnceFunc(func() {
	owners, _ := filepath.Glob(filepath.Join(os.TempDir(), "lgt*", "owner"))
	for _, path := range owners {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // another test's cleanup was faster
		}
		pid, node, _ := strings.Cut(string(text), " ")
		if n, err := strconv.Atoi(pid); err != nil || syscall.Kill(n, 0) == nil {
			continue
		}
		c := &Cluster{Machine: &Machine{Name: node}, Dir: filepath.Join(filepath.Dir(path), "d")}
		for range 200 {
			if c.erase() == nil {
				_ = os.RemoveAll(filepath.Dir(path)) // the next run tries again
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
})

// cgroups are the node's, the deepest first.
func (c *Cluster) cgroups() (out []string) {
	tops, _ := filepath.Glob("/sys/fs/cgroup/*/lighter/" + c.Name)
	for _, top := range append(tops, "/sys/fs/cgroup/lighter/"+c.Name) {
		_ = filepath.WalkDir(top, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				out = append(out, path)
			}
			return nil
		})
	}
	slices.Reverse(out)
	return out
}

// mounts lists the mount points below a folder.
func mounts(below string) (out []string) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], below+"/") {
			out = append(out, f[4])
		}
	}
	return out
}

// nothingLeft checks that the machine is as it was: no process, mount, cgroup, link, route, rule, table, file.
func (c *Cluster) nothingLeft(network []string) {
	c.T.Helper()
	if left := c.Processes(); len(left) > 0 {
		c.T.Errorf("processes left behind: %v", left)
		for _, p := range left {
			_ = syscall.Kill(p.PID, syscall.SIGKILL)
		}
	}
	if left := mounts(c.Dir); len(left) > 0 {
		c.T.Errorf("mounts left behind: %v", left)
		for _, m := range slices.Backward(left) {
			_ = syscall.Unmount(m, syscall.MNT_DETACH)
		}
	}
	if left := c.cgroups(); len(left) > 0 {
		c.T.Errorf("cgroups left behind: %v", left)
	}
	if now := c.Network(); !slices.Equal(network, now) {
		c.T.Errorf("the machine's network was\n  %s\nand is\n  %s", strings.Join(network, "\n  "), strings.Join(now, "\n  "))
	}
	if _, err := os.Stat(c.Dir); !os.IsNotExist(err) {
		c.T.Errorf("data directory left behind: %v", err)
	}
}
