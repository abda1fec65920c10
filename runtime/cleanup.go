package runtime

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// EndPods stops and removes every pod through CRI: all containers get grace to end after SIGTERM,
// then are killed; addresses are given back. The kubelet must have ended, or it makes them anew.
func EndPods(ctx context.Context, socket string, grace time.Duration) error {
	conn, err := Dial(socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	service := cri.NewRuntimeServiceClient(conn)
	pods, err := service.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{})
	if err != nil {
		return fmt.Errorf("list pods: %w", err)
	}
	containers, err := service.ListContainers(ctx, &cri.ListContainersRequest{})
	if err != nil {
		return fmt.Errorf("list containers: %w", err)
	}
	// All containers are asked at once: the slowest decides, not the sum.
	var group sync.WaitGroup
	for _, c := range containers.Containers {
		if c.State == cri.ContainerState_CONTAINER_RUNNING {
			group.Go(func() { // an error shows below, where the sandbox is stopped
				_, _ = service.StopContainer(ctx, &cri.StopContainerRequest{ContainerId: c.Id, Timeout: int64(grace.Seconds())})
			})
		}
	}
	group.Wait()
	slots := make(chan struct{}, 4)
	errs := make([]error, len(pods.Items))
	for i, pod := range pods.Items {
		group.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			_, err := service.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: pod.Id})
			if err == nil {
				_, err = service.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: pod.Id})
			}
			if err != nil {
				errs[i] = fmt.Errorf("end pod %s/%s: %w", pod.Metadata.GetNamespace(), pod.Metadata.GetName(), err)
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// Trace is what a node leaves on a machine outside its data directory.
type Trace struct {
	DataDir      string
	CgroupParent string // all pods' cgroups are below it: "/kubepods"; empty: none
	Bridge       string // the pod network's link, in this network namespace; empty: none
}

// Cleanup ends what still runs of a node and removes its mounts, cgroups, sockets and bridge; the
// data directory keeps its content but for run/ and the list of pod addresses in use. It asks
// nobody, so it works on the remains of any crash; call EndPods and Containerd.Stop before it where
// they can work, for the containers' sake.
func Cleanup(ctx context.Context, t Trace) error {
	dirs, err := NewDirs(t.DataDir)
	if err != nil {
		return err
	}
	c := Containerd{Dirs: dirs}
	if err := c.Stop(ctx); err != nil {
		return fmt.Errorf("stop containerd: %w", err)
	}
	groups := cgroups(t.CgroupParent)
	if err := kill(ctx, shims(dirs.Socket), groups); err != nil {
		return fmt.Errorf("end containers: %w", err)
	}
	var errs []error
	for _, dir := range []string{dirs.Run, dirs.Data} {
		errs = append(errs, unmountBelow(dir))
	}
	if err := errors.Join(errs...); err != nil {
		return err // removing files below a mount would remove what is mounted
	}
	for _, g := range groups {
		errs = append(errs, removeCgroup(ctx, g))
		if strings.Contains(strings.Trim(t.CgroupParent, "/"), "/") {
			_ = os.Remove(filepath.Dir(g)) // if no other node's are left in it
		}
	}
	if t.Bridge != "" {
		errs = append(errs, removeLink(t.Bridge))
	}
	errs = append(errs, os.RemoveAll(dirs.Run), os.RemoveAll(dirs.CNIState))
	_ = os.Remove("/run/lighter") // if it is empty now
	return errors.Join(errs...)
}

// shims lists the shims that serve the containerd at a socket.
func shims(socket string) []process {
	return processes(func(p process) bool {
		return strings.HasPrefix(filepath.Base(p.exe()), "containerd-shim") && p.arg("-address") == socket
	})
}

// cgroups lists the directories that a cgroup has: one per hierarchy (v1), or one (v2).
func cgroups(name string) (found []string) {
	if name = strings.Trim(name, "/"); name == "" || strings.Contains(name, "..") {
		return nil
	}
	const root = "/sys/fs/cgroup"
	hierarchies, _ := filepath.Glob(root + "/*")
	for _, h := range append(hierarchies, root) {
		at := filepath.Join(h, name)
		if _, err := os.Stat(filepath.Join(at, "cgroup.procs")); err == nil {
			found = append(found, at)
		}
	}
	return found
}

// cgroupTree lists a cgroup and all below it, the deepest first.
func cgroupTree(at string) (all []string) {
	_ = filepath.WalkDir(at, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			all = append(all, path)
		}
		return nil // a group may go while we look
	})
	slices.Reverse(all)
	return all
}

// kill kills the processes and all members of the cgroups, and waits for their end.
func kill(ctx context.Context, pids []process, groups []string) error {
	for {
		for _, group := range groups {
			for _, at := range cgroupTree(group) {
				_ = os.WriteFile(filepath.Join(at, "freezer.state"), []byte("THAWED"), 0) // v1: frozen ones do not die
				members, _ := os.ReadFile(filepath.Join(at, "cgroup.procs"))
				for _, text := range strings.Fields(string(members)) {
					if pid, err := strconv.Atoi(text); err == nil && pid > 1 && pid != os.Getpid() {
						pids = append(pids, process(pid))
					}
				}
			}
		}
		if pids == nil {
			return nil
		}
		slices.Sort(pids)
		var killed []process
		for _, pid := range slices.Compact(pids) {
			if unix.Kill(int(pid), unix.SIGKILL) == nil {
				killed = append(killed, pid)
			}
		}
		if err := end(ctx, killed, 0); err != nil {
			return err
		}
		pids = nil // and look for children born meanwhile
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// removeCgroup removes a cgroup and all below it. The kernel may need a moment after the last member's end.
func removeCgroup(ctx context.Context, group string) error {
	for _, at := range cgroupTree(group) {
		for {
			err := unix.Rmdir(at)
			if err == nil || errors.Is(err, unix.ENOENT) {
				break
			}
			if !errors.Is(err, unix.EBUSY) {
				return &os.PathError{Op: "remove cgroup", Path: at, Err: err}
			}
			select {
			case <-time.After(10 * time.Millisecond):
			case <-ctx.Done():
				return &os.PathError{Op: "remove cgroup", Path: at, Err: err}
			}
		}
	}
	return nil
}
