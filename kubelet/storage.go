package kubelet

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/lighter-k8s/lighter/kubelet/cri"
)

// storageEvery is how often the disk use of pods with a limit is measured.
const storageEvery = 10 * time.Second

// watchStorage ends pods that use more of the node's disk than their limits allow. Pods without
// such limits cost nothing. Source: "Local ephemeral storage", how limits are enforced.
func (k *Kubelet) watchStorage(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(storageEvery):
		}
		for _, w := range k.all() {
			w.mu.Lock()
			pod, gone := w.pod, w.gone
			w.mu.Unlock()
			if gone || terminal(pod.Status.Phase) || !storageLimited(pod) {
				continue
			}
			if why := k.overStorage(ctx, pod, w.snapshot.Load()); why != "" {
				w.mu.Lock()
				w.evict = why
				w.mu.Unlock()
				w.poke()
			}
		}
	}
}

// storageLimited tells whether the pod has any limit on the disk it uses.
func storageLimited(pod *corev1.Pod) bool {
	for i := range pod.Spec.Volumes {
		if e := pod.Spec.Volumes[i].EmptyDir; e != nil && e.SizeLimit != nil && e.SizeLimit.Sign() > 0 {
			return true
		}
	}
	for i := range pod.Spec.Containers {
		if !pod.Spec.Containers[i].Resources.Limits.StorageEphemeral().IsZero() {
			return true
		}
	}
	return false
}

// overStorage measures and returns why the pod must go, or "".
func (k *Kubelet) overStorage(ctx context.Context, pod *corev1.Pod, seen *cri.Pod) string {
	dir, total := k.podDir(string(pod.UID)), du(k.logDir(pod))
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.EmptyDir == nil {
			continue
		}
		used := du(filepath.Join(dir, "volumes/kubernetes.io~empty-dir", v.Name))
		if l := v.EmptyDir.SizeLimit; l != nil && l.Sign() > 0 && used > l.Value() {
			return fmt.Sprintf("Usage of EmptyDir volume %q exceeds the limit %q. ", v.Name, l.String())
		}
		if v.EmptyDir.Medium == corev1.StorageMediumDefault {
			total += used
		}
	}
	total += du(filepath.Join(dir, "etc-hosts"))
	limit := resource.Quantity{}
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		l := c.Resources.Limits.StorageEphemeral()
		if l.IsZero() {
			continue
		}
		limit.Add(*l)
		used := du(filepath.Join(k.logDir(pod), c.Name))
		if seen != nil {
			if s := seen.Find(c.Name); s != nil && s.State == cri.Running {
				if r, err := k.cri.Runtime.ContainerStats(ctx, &runtimev1.ContainerStatsRequest{ContainerId: s.ID}); err == nil {
					layer := int64(r.GetStats().GetWritableLayer().GetUsedBytes().GetValue())
					used, total = used+layer, total+layer
				}
			}
		}
		if used > l.Value() {
			return fmt.Sprintf("Container %s exceeded its local ephemeral storage limit %q. ", c.Name, l.String())
		}
	}
	if !limit.IsZero() && total > limit.Value() {
		return fmt.Sprintf("Pod ephemeral local storage usage exceeds the total limit of containers %s. ", limit.String())
	}
	return ""
}

// du is the disk space of a file, or of all below a directory, in bytes.
func du(path string) (sum int64) {
	_ = filepath.WalkDir(path, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if info, err := e.Info(); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok && (st.Nlink == 1 || e.IsDir()) {
				sum += st.Blocks * 512
			} else if ok {
				sum += st.Blocks * 512 / int64(st.Nlink)
			}
		}
		return nil
	})
	return sum
}
