package cgroup

import (
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func tree(t *testing.T, mounts ...string) (*Tree, string) {
	t.Helper()
	root := t.TempDir()
	text := ""
	for _, m := range mounts {
		text += m
	}
	file := filepath.Join(t.TempDir(), "mounts")
	if err := os.WriteFile(file, []byte(os.Expand(text, func(string) string { return root })), 0o644); err != nil {
		t.Fatal(err)
	}
	tr, err := Open(file, "/lighter/n1")
	if err != nil {
		t.Fatal(err)
	}
	return tr, root
}

func TestLimits(t *testing.T) {
	v1 := []string{"cgroup $r/cpu cgroup rw,cpu 0 0\n", "cgroup $r/memory cgroup rw,memory 0 0\n", "cgroup $r/pids cgroup rw,pids 0 0\n",
		"cgroup2 $r/unified cgroup2 rw 0 0\n"}
	v2 := []string{"cgroup2 $r cgroup2 rw 0 0\n"}
	limits := Limits{Shares: 512, QuotaMicros: 50000, Memory: 1 << 20, Pids: 100}
	tests := map[string]struct {
		mounts []string
		limits Limits
		want   map[string]string
	}{
		"version 1": {v1, limits, map[string]string{"cpu/lighter/n1/burstable/podu/cpu.shares": "512",
			"cpu/lighter/n1/burstable/podu/cpu.cfs_quota_us": "50000", "memory/lighter/n1/burstable/podu/memory.limit_in_bytes": "1048576",
			"pids/lighter/n1/burstable/podu/pids.max": "100", "cpu/lighter/n1/besteffort/cpu.shares": "2"}},
		"version 2": {v2, limits, map[string]string{"lighter/n1/burstable/podu/cpu.weight": "20",
			"lighter/n1/burstable/podu/cpu.max": "50000 100000", "lighter/n1/burstable/podu/memory.max": "1048576"}},
		"version 2 without limits": {v2, Limits{QuotaMicros: -1, Memory: -1, Pids: -1}, map[string]string{
			"lighter/n1/burstable/podu/cpu.max": "max 100000", "lighter/n1/burstable/podu/memory.max": "max", "lighter/n1/burstable/podu/pids.max": "max"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tr, root := tree(t, tt.mounts...)
			path := tr.Pod(corev1.PodQOSBurstable, "u")
			if err := tr.Make(path, tt.limits); err != nil {
				t.Fatal(err)
			}
			for file, want := range tt.want {
				got, err := os.ReadFile(filepath.Join(root, file))
				if err != nil || string(got) != want {
					t.Errorf("%s: got %q, %v; want %q", file, got, err, want)
				}
			}
			if got := tr.Pods(); got["u"] != path || len(got) != 1 {
				t.Errorf("pods: %v", got)
			}
		})
	}
}

func TestRemoveTakesChildrenInEveryHierarchy(t *testing.T) {
	tr, root := tree(t, "cgroup $r/cpu cgroup rw,cpu 0 0\n", "cgroup2 $r/unified cgroup2 rw 0 0\n")
	path := tr.Pod(corev1.PodQOSGuaranteed, "u")
	for _, h := range []string{"cpu", "unified"} {
		if err := os.MkdirAll(filepath.Join(root, h, path, "container"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := tr.Remove(path); err != nil {
		t.Fatal(err)
	}
	for _, h := range []string{"cpu", "unified"} {
		if _, err := os.Stat(filepath.Join(root, h, path)); !os.IsNotExist(err) {
			t.Errorf("%s: still there: %v", h, err)
		}
	}
	if err := tr.Remove(path); err != nil {
		t.Errorf("second removal: %v", err)
	}
}
