// Package cgroup keeps one control group per pod, below one per quality of service class, below the node's
// parent, in cgroup v1 (every hierarchy) and v2. The runtime makes the containers' groups inside a pod's.
package cgroup

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Tree is the part of the machine's control groups below one parent.
type Tree struct {
	parent string
	dirs   map[string]string // v1: controller to mount point, "name=systemd" and "unified" too; v2: "" to the mount point
	v2     bool
}

// Limits of one group. Zero fields are left alone; negative ones mean without limit.
type Limits struct {
	Shares      int64 // relative CPU weight, 2 to 262144
	QuotaMicros int64 // CPU time per 100 ms
	Memory      int64 // bytes
	Pids        int64
}

const period = 100000 // microseconds, the kernel's default

// Open finds the mounted hierarchies (mounts is usually /proc/self/mounts) and makes the parent and the
// groups of the two lower classes in them.
func Open(mounts, parent string) (*Tree, error) {
	f, err := os.Open(mounts)
	if err != nil {
		return nil, fmt.Errorf("find control groups: %w", err)
	}
	defer f.Close()
	t := &Tree{parent: filepath.Clean("/" + parent), dirs: map[string]string{}}
	unified := ""
	for s := bufio.NewScanner(f); s.Scan(); {
		w := strings.Fields(s.Text())
		if len(w) < 4 {
			continue
		}
		switch w[2] {
		case "cgroup2":
			unified = w[1]
		case "cgroup":
			for _, o := range strings.Split(w[3], ",") {
				if slices.Contains(controllers, o) || strings.HasPrefix(o, "name=") {
					t.dirs[o] = w[1]
				}
			}
		}
	}
	if len(t.dirs) == 0 {
		if unified == "" {
			return nil, errors.New("find control groups: none is mounted")
		}
		t.v2, t.dirs[""] = true, unified
	} else if unified != "" {
		t.dirs["unified"] = unified
	}
	for _, qos := range []corev1.PodQOSClass{corev1.PodQOSBurstable, corev1.PodQOSBestEffort} {
		if err := t.make(t.Class(qos)); err != nil {
			return nil, err
		}
	}
	return t, t.Set(t.Class(corev1.PodQOSBestEffort), Limits{Shares: 2})
}

var controllers = []string{"cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "hugetlb", "net_cls", "net_prio", "perf_event", "rdma", "misc"}

// V2 tells whether the machine has the unified hierarchy only.
func (t *Tree) V2() bool { return t.v2 }

// Parent is the group of all pods of the node.
func (t *Tree) Parent() string { return t.parent }

// Class is the group of all pods of a quality of service class; of guaranteed ones the parent.
func (t *Tree) Class(qos corev1.PodQOSClass) string {
	switch qos {
	case corev1.PodQOSBurstable:
		return t.parent + "/burstable"
	case corev1.PodQOSBestEffort:
		return t.parent + "/besteffort"
	}
	return t.parent
}

// Pod is the path of a pod's group from the root of each hierarchy.
func (t *Tree) Pod(qos corev1.PodQOSClass, uid string) string { return t.Class(qos) + "/pod" + uid }

// Make makes the group and gives it limits.
func (t *Tree) Make(path string, l Limits) error {
	if err := t.make(path); err != nil {
		return err
	}
	return t.Set(path, l)
}

func (t *Tree) make(path string) error {
	for name, dir := range t.dirs {
		if t.v2 {
			if err := t.delegate(path); err != nil {
				return err
			}
			continue
		}
		if name == "unified" {
			continue // no controllers of ours in it; the runtime makes what it wants
		}
		if err := os.MkdirAll(dir+path, 0o755); err != nil {
			return fmt.Errorf("make control group %s: %w", path, err)
		}
		if name == "cpuset" {
			inherit(dir, path)
		}
	}
	return nil
}

// delegate makes a v2 group and hands down the controllers from each level above it.
func (t *Tree) delegate(path string) error {
	at := t.dirs[""]
	for _, part := range strings.Split(strings.Trim(path, "/"), "/") {
		for _, c := range []string{"+cpu", "+cpuset", "+memory", "+pids", "+io", "+hugetlb"} {
			_ = os.WriteFile(at+"/cgroup.subtree_control", []byte(c), 0o644) // one the kernel lacks is no error
		}
		at += "/" + part
		if err := os.Mkdir(at, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("make control group %s: %w", path, err)
		}
	}
	return nil
}

// inherit fills in a v1 cpuset level by level: a new one is empty and takes no process.
func inherit(dir, path string) {
	at := dir
	for _, part := range strings.Split(strings.Trim(path, "/"), "/") {
		up := at
		at += "/" + part
		for _, f := range []string{"cpuset.cpus", "cpuset.mems"} {
			have, _ := os.ReadFile(at + "/" + f)
			if strings.TrimSpace(string(have)) == "" {
				want, _ := os.ReadFile(up + "/" + f)
				_ = os.WriteFile(at+"/"+f, want, 0o644)
			}
		}
	}
}

// Set changes the limits of a group.
func (t *Tree) Set(path string, l Limits) error {
	for file, value := range t.files(l) {
		controller, _, _ := strings.Cut(file, ".")
		dir, ok := t.dirs[controller]
		if t.v2 {
			dir, ok = t.dirs[""], true
		}
		if !ok {
			continue
		}
		if err := os.WriteFile(dir+path+"/"+file, []byte(value), 0o644); err != nil {
			return fmt.Errorf("limit control group %s: %w", path, err)
		}
	}
	return nil
}

// files are the files that hold the limits, and what belongs into them.
func (t *Tree) files(l Limits) map[string]string {
	out := map[string]string{}
	set := func(file string, value int64, none string) {
		if value > 0 {
			out[file] = strconv.FormatInt(value, 10)
		} else if value < 0 {
			out[file] = none
		}
	}
	set("pids.max", l.Pids, "max")
	if !t.v2 {
		set("cpu.shares", l.Shares, "2")
		set("cpu.cfs_quota_us", l.QuotaMicros, "-1")
		set("memory.limit_in_bytes", l.Memory, "-1")
		return out
	}
	set("memory.max", l.Memory, "max")
	if l.Shares > 0 {
		out["cpu.weight"] = strconv.FormatInt(Weight(l.Shares), 10)
	}
	if l.QuotaMicros != 0 {
		q := "max"
		if l.QuotaMicros > 0 {
			q = strconv.FormatInt(l.QuotaMicros, 10)
		}
		out["cpu.max"] = q + " " + strconv.Itoa(period)
	}
	return out
}

// Weight turns v1 shares (2 to 262144) into a v2 weight (1 to 10000). Source: KEP-2254.
func Weight(shares int64) int64 { return 1 + (min(max(shares, 2), 262144)-2)*9999/262142 }

// Remove removes the group and what is below it from every hierarchy; one that is gone is no error, one
// that has processes is.
func (t *Tree) Remove(path string) error {
	var errs []error
	for _, dir := range t.dirs {
		errs = append(errs, remove(dir+path))
	}
	return errors.Join(errs...)
}

func remove(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := remove(dir + "/" + e.Name()); err != nil {
				return err
			}
		}
	}
	// The last process may be a moment away from being reaped: the kernel then says busy.
	for try := 0; ; try++ {
		err = os.Remove(dir)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if try == 5 {
			return fmt.Errorf("remove control group: %w", err)
		}
		time.Sleep(time.Millisecond << (2 * try))
	}
}

// Pods lists the paths of all pods' groups by the pod's UID.
func (t *Tree) Pods() map[string]string {
	out := map[string]string{}
	for _, dir := range t.dirs {
		for _, qos := range []corev1.PodQOSClass{corev1.PodQOSGuaranteed, corev1.PodQOSBurstable, corev1.PodQOSBestEffort} {
			entries, _ := os.ReadDir(dir + t.Class(qos))
			for _, e := range entries {
				if uid, ok := strings.CutPrefix(e.Name(), "pod"); ok && e.IsDir() {
					out[uid] = t.Class(qos) + "/" + e.Name()
				}
			}
		}
	}
	return out
}

// CPU reads the CPU time used by all pods of a class or pod, in nanoseconds; 0 when it cannot be read.
func (t *Tree) CPU(path string) uint64 {
	if dir, ok := t.dirs["cpuacct"]; ok {
		return number(dir + path + "/cpuacct.usage")
	}
	b, _ := os.ReadFile(t.dirs[""] + path + "/cpu.stat")
	for _, line := range strings.Split(string(b), "\n") {
		if v, ok := strings.CutPrefix(line, "usage_usec "); ok {
			n, _ := strconv.ParseUint(v, 10, 64)
			return n * 1000
		}
	}
	return 0
}

func number(file string) uint64 {
	b, _ := os.ReadFile(file)
	n, _ := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	return n
}
