package kubelet

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/lighter-k8s/lighter/kubelet/probe"
)

// hook runs a postStart or preStop handler of a container that runs.
func (k *Kubelet) hook(ctx context.Context, pod *corev1.Pod, c *corev1.Container, id, ip string, h *corev1.LifecycleHandler) error {
	switch {
	case h.Exec != nil:
		timeout := int64(0)
		if t, ok := ctx.Deadline(); ok {
			timeout = max(int64(time.Until(t)/time.Second), 1)
		}
		r, err := k.cri.Runtime.ExecSync(ctx, &runtimev1.ExecSyncRequest{ContainerId: id, Cmd: h.Exec.Command, Timeout: timeout})
		if err != nil {
			return fmt.Errorf("hook %q: %w", strings.Join(h.Exec.Command, " "), err)
		}
		if r.ExitCode != 0 {
			return fmt.Errorf("command '%s' exited with %d: %s", strings.Join(h.Exec.Command, " "), r.ExitCode, r.Stderr)
		}
		return nil
	case h.HTTPGet != nil:
		return probe.Get(ctx, h.HTTPGet, c, ip)
	case h.TCPSocket != nil:
		return probe.Connect(ctx, h.TCPSocket, c, ip)
	case h.Sleep != nil:
		t := time.NewTimer(time.Duration(h.Sleep.Seconds) * time.Second)
		defer t.Stop()
		select {
		case <-t.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return fmt.Errorf("invalid handler of container %s of pod %s/%s", c.Name, pod.Namespace, pod.Name)
}
