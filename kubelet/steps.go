package kubelet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/kubelet/cri"
)

// do takes one step in a goroutine of its own.
func (w *worker) do(ctx context.Context, s Step) {
	key := s.key()
	w.k.Logger.Debug("pod step", "object", w.name(), "step", key, "reason", s.Reason)
	v := &w.view
	v.Busy[key] = true
	if s.Backoff.Delay > 0 {
		v.Crashes[s.Name] = s.Backoff
	}
	sctx, cancel := context.WithCancel(ctx)
	w.cancel[key] = cancel
	pod, seen := v.Pod, v.Seen
	w.steps.Add(1)
	go func() {
		defer w.steps.Done()
		then, err := w.guardedTake(sctx, s, pod, seen)
		stopped := sctx.Err() != nil
		cancel()
		w.post(func() {
			delete(v.Busy, key)
			delete(w.cancel, key)
			if err == nil {
				delete(w.fails, key)
				delete(v.NotBefore, key)
			} else if !stopped {
				w.k.Logger.Debug("pod step failed", "object", w.name(), "step", key, "err", err)
				v.NotBefore[key] = w.k.Now().Add(w.delay(key, 500*time.Millisecond, retryMost(s.Do)))
			}
			if then != nil {
				then()
			}
		})
	}()
}

// guardedTake is take, of which no pod whatsoever may end the kubelet.
func (w *worker) guardedTake(ctx context.Context, s Step, pod *corev1.Pod, seen *cri.Pod) (then func(), err error) {
	defer func() {
		if p := recover(); p != nil {
			w.k.Logger.Error("step of a pod failed", "object", w.uid, "step", s.key(), "err", fmt.Sprint(p), "stack", string(debug.Stack()))
			then, err = nil, fmt.Errorf("step %s: %v", s.key(), p)
		}
	}()
	return w.take(ctx, s, pod, seen)
}

func retryMost(v Verb) time.Duration {
	if v == Prepare {
		return 2 * time.Minute
	}
	return 10 * time.Second
}

// take does what the step says. then changes the worker's own state afterwards, error or not.
func (w *worker) take(ctx context.Context, s Step, pod *corev1.Pod, seen *cri.Pod) (then func(), err error) {
	k, v := w.k, &w.view
	look := func() { w.changed(time.Now()) }
	call := func() (done func()) {
		w.calling.Add(1)
		return func() { w.calling.Add(-1); look() }
	}
	switch s.Do {
	case Prepare:
		renew, err := k.prepare(ctx, pod)
		if err != nil {
			if ctx.Err() == nil {
				k.event(pod, "", corev1.EventTypeWarning, "FailedMount", err.Error())
			}
			return nil, err
		}
		return func() { v.Prepared, w.renew = true, renew }, nil
	case Refresh:
		renew, err := k.volumes.Setup(ctx, pod)
		if err != nil {
			k.event(pod, "", corev1.EventTypeWarning, "FailedMount", err.Error())
			return func() { w.renew = k.Now().Add(2 * time.Second) }, nil
		}
		return func() { w.renew = renew }, nil
	case RunSandbox:
		defer call()()
		if s.Attempt > 0 {
			k.event(pod, "", corev1.EventTypeNormal, "SandboxChanged", s.Reason)
		}
		return nil, k.runSandbox(ctx, pod, s.Attempt)
	case Start:
		defer look()
		err := k.start(ctx, pod, s, seen, call)
		if errors.Is(err, context.Canceled) {
			return nil, err
		}
		return func() { w.started(s.Name, err) }, err
	case Kill:
		defer look()
		return nil, k.kill(ctx, pod, s, first(podIPs(pod, seen, k.NodeIPs)))
	case RemoveContainer:
		defer call()()
		if _, err := k.cri.Runtime.RemoveContainer(ctx, &runtimev1.RemoveContainerRequest{ContainerId: s.ID}); err != nil && !cri.IsNotFound(err) {
			return nil, err
		}
		for i := range seen.Containers {
			if c := &seen.Containers[i]; c.ID == s.ID {
				return nil, removeLogs(c.LogPath)
			}
		}
		return nil, nil
	case StopSandbox:
		defer call()()
		if _, err := k.cri.Runtime.StopPodSandbox(ctx, &runtimev1.StopPodSandboxRequest{PodSandboxId: s.ID}); err != nil && !cri.IsNotFound(err) {
			return nil, err
		}
		return func() { v.Stopped[s.ID] = true }, nil
	case RemoveSandbox:
		defer call()()
		if _, err := k.cri.Runtime.RemovePodSandbox(ctx, &runtimev1.RemovePodSandboxRequest{PodSandboxId: s.ID}); err != nil && !cri.IsNotFound(err) {
			return nil, err
		}
		return nil, nil
	case Clean:
		if err := k.volumes.Teardown(string(pod.UID)); err != nil {
			return nil, err
		}
		if path, ok := k.cgroups.Pods()[string(pod.UID)]; ok {
			if err := k.cgroups.Remove(path); err != nil {
				return nil, err
			}
		}
		return func() { v.Cleaned = true }, nil
	case Delete:
		o := v1.NewUIDPreconditions(string(pod.UID))
		zero := int64(0)
		err := client.Pods.Delete(ctx, k.Client, pod.Namespace, pod.Name, v1.DeleteOptions{GracePeriodSeconds: &zero, Preconditions: o})
		if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
			err = nil
		}
		return func() { v.NotBefore[string(Delete)] = k.Now().Add(10 * time.Second) }, err
	case Mirror:
		return nil, k.makeMirror(ctx, pod)
	case Forget:
		if m := k.mirror(pod); w.static && m != nil {
			if err := k.dropMirror(ctx, m); err != nil {
				return nil, err
			}
		}
		if err := errors.Join(os.RemoveAll(k.podDir(string(pod.UID))), os.RemoveAll(k.logDir(pod))); err != nil {
			return nil, err
		}
		return func() {
			w.done = true
			k.probes.Set(pod, nil)
			k.forget(w.uid)
			if err := k.balance(); err != nil {
				k.Logger.Debug("cpu weight of burstable pods", "err", err)
			}
		}, nil
	}
	return nil, fmt.Errorf("unknown step %q", s.Do)
}

// prepare makes what the pod needs before its sandbox: directories, control group, volumes.
func (k *Kubelet) prepare(ctx context.Context, pod *corev1.Pod) (renew time.Time, err error) {
	for _, dir := range []string{k.podDir(string(pod.UID)), k.logDir(pod)} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return renew, err
		}
	}
	if err := k.cgroups.Make(k.cgroups.Pod(qosClass(pod), string(pod.UID)), podLimits(pod, k.PodPids)); err != nil {
		return renew, err
	}
	if err := k.balance(); err != nil {
		return renew, err
	}
	return k.volumes.Setup(ctx, pod)
}

func (k *Kubelet) runSandbox(ctx context.Context, pod *corev1.Pod, attempt int) error {
	select {
	case k.sandboxes <- struct{}{}:
		defer func() { <-k.sandboxes }()
	case <-ctx.Done():
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	cfg, limited, err := k.sandboxConfig(pod, attempt)
	if err == nil {
		for _, message := range limited {
			k.event(pod, "", corev1.EventTypeWarning, "DNSConfigForming", message)
		}
		handler := ""
		if pod.Spec.RuntimeClassName != nil && *pod.Spec.RuntimeClassName != "" {
			rc, e := client.RuntimeClasses.Get(ctx, k.Client, "", *pod.Spec.RuntimeClassName)
			if err = e; e == nil {
				handler = rc.Handler
			}
		}
		if err == nil {
			// Not to be cut short by the end of the kubelet: the next one would find half of it.
			sctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 4*time.Minute)
			defer cancel()
			_, err = k.cri.Runtime.RunPodSandbox(sctx, &runtimev1.RunPodSandboxRequest{Config: cfg, RuntimeHandler: handler})
		}
	}
	if err != nil && ctx.Err() == nil {
		k.event(pod, "", corev1.EventTypeWarning, "FailedCreatePodSandBox", "Failed to create pod sandbox: "+err.Error())
	}
	return err
}

// started takes in what came of a start.
func (w *worker) started(name string, err error) {
	v := &w.view
	var e *startError
	switch {
	case err == nil:
		delete(v.Trouble, name)
		delete(v.Pulls, name)
	case errors.As(err, &e):
		v.Trouble[name] = Trouble{e.reason, e.message}
		if e.pull {
			v.Pulls[name] = v.Pulls[name].next(w.k.Now(), w.k.Now())
		}
	}
}

// start pulls, creates and starts a container and runs its postStart hook. Errors: *startError.
func (k *Kubelet) start(ctx context.Context, pod *corev1.Pod, s Step, seen *cri.Pod, call func() (done func())) error {
	c := findContainer(pod, s.Name)
	say := func(kind, reason, message string) { k.event(pod, s.Name, kind, reason, message) }
	fail := func(reason string, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		e := &startError{reason: reason, message: cri.Message(err)}
		if !errors.As(err, &e) {
			say(corev1.EventTypeWarning, "Failed", "Error: "+e.message)
			return e
		}
		say(corev1.EventTypeWarning, "Failed", "Error: "+e.reason)
		return e
	}
	id := s.ID
	ips := podIPs(pod, seen, k.NodeIPs)
	var done func()
	if id == "" {
		img, err := k.images.ensure(ctx, pod, c, say)
		if err != nil {
			return fail("", err)
		}
		cfg, err := k.configure(ctx, pod, c, s, seen, img, ips)
		if err != nil {
			return fail("CreateContainerConfigError", err)
		}
		box, _, err := k.sandboxConfig(pod, int(seen.Current().Attempt))
		if err != nil {
			return fail("CreateContainerConfigError", err)
		}
		if err := os.MkdirAll(filepath.Join(k.logDir(pod), c.Name), 0o755); err != nil {
			return fail("CreateContainerError", err)
		}
		cctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
		defer cancel()
		done = call()
		r, err := k.cri.Runtime.CreateContainer(cctx, &runtimev1.CreateContainerRequest{PodSandboxId: seen.Current().ID, Config: cfg, SandboxConfig: box})
		if err != nil {
			done()
			return fail("CreateContainerError", err)
		}
		id = r.ContainerId
		say(corev1.EventTypeNormal, "Created", "Container created")
	} else {
		done = call()
	}
	// Once begun a start is not cut short: a container that was just starting is not to count as failed.
	sctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
	defer cancel()
	_, err := k.cri.Runtime.StartContainer(sctx, &runtimev1.StartContainerRequest{ContainerId: id})
	done()
	if err != nil {
		return fail("RunContainerError", err)
	}
	say(corev1.EventTypeNormal, "Started", "Container started")
	if c.Lifecycle != nil && c.Lifecycle.PostStart != nil {
		if err := k.hook(ctx, pod, c, id, first(ips), c.Lifecycle.PostStart); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			say(corev1.EventTypeWarning, "FailedPostStartHook", "PostStartHook failed")
			kill := Step{Do: Kill, Name: c.Name, ID: id, Grace: grace(pod), Reason: "FailedPostStartHook"}
			if e := k.kill(ctx, pod, kill, first(ips)); e != nil {
				err = errors.Join(err, e)
			}
			return &startError{reason: "PostStartHookError", message: err.Error()}
		}
	}
	return nil
}

// configure makes the container's configuration for the runtime.
func (k *Kubelet) configure(ctx context.Context, pod *corev1.Pod, c *corev1.Container, s Step, seen *cri.Pod, img *runtimev1.Image, ips []string) (*runtimev1.ContainerConfig, error) {
	target := ""
	for i := range pod.Spec.EphemeralContainers {
		if e := &pod.Spec.EphemeralContainers[i]; e.Name == c.Name && e.TargetContainerName != "" {
			t := seen.Find(e.TargetContainerName)
			if t == nil {
				return nil, fmt.Errorf("unable to find target container %q", e.TargetContainerName)
			}
			target = t.ID
		}
	}
	user := imageUser{name: img.Username}
	if img.Uid != nil {
		user.uid = &img.Uid.Value
	}
	security, err := securityContext(pod, c, user, target, filepath.Join(k.RootDir, "seccomp"), nil)
	if err != nil {
		return nil, err
	}
	if !k.services.Synced() {
		sctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		if k.services.WaitSynced(sctx) != nil {
			return nil, errors.New("services have not yet been read at least once, cannot construct envs")
		}
	}
	env, err := environment(pod, c, k.envSource(ctx, pod, ips))
	if err != nil {
		return nil, err
	}
	mounts, err := k.mounts(pod, c, s.Attempt, ips, env)
	if err != nil {
		return nil, err
	}
	return k.containerConfig(pod, c, s.Attempt, img.Id, env, mounts, security), nil
}

// envSource reads what environments are made of.
func (k *Kubelet) envSource(ctx context.Context, pod *corev1.Pod, ips []string) envSource {
	return envSource{
		services: append(k.services.List(pod.Namespace), k.masterService()...),
		podIPs:   ips, hostIPs: k.NodeIPs, nodeName: k.NodeName, capacity: k.allocatable(),
		configMap: func(name string) (*corev1.ConfigMap, bool, error) {
			cm, err := k.ConfigMap(ctx, pod.Namespace, name)
			return cm, cm != nil, err
		},
		secret: func(name string) (*corev1.Secret, bool, error) {
			s, err := k.Secret(ctx, pod.Namespace, name)
			return s, s != nil, err
		},
		file: func(vol, path string) (map[string]string, bool, error) {
			data, err := k.volumes.ReadFile(pod, vol, path, 64<<10)
			if errors.Is(err, os.ErrNotExist) {
				return nil, false, nil
			}
			return parseEnvFile(string(data)), err == nil, err
		},
	}
}

func (k *Kubelet) masterService() []*corev1.Service {
	if s, ok := k.services.Get("default", "kubernetes"); ok {
		return []*corev1.Service{s}
	}
	return nil
}

// kill runs the preStop hook and ends the container, within the step's grace.
func (k *Kubelet) kill(ctx context.Context, pod *corev1.Pod, s Step, ip string) error {
	c := findContainer(pod, s.Name)
	message := s.Reason
	if message != "Stopping container "+s.Name {
		message += ", will be restarted"
	}
	k.event(pod, s.Name, corev1.EventTypeNormal, "Killing", message)
	deadline := time.Now().Add(s.Grace)
	if c.Lifecycle != nil && c.Lifecycle.PreStop != nil && s.Grace > 0 {
		hctx, cancel := context.WithDeadline(ctx, deadline)
		err := k.hook(hctx, pod, c, s.ID, ip, c.Lifecycle.PreStop)
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			k.event(pod, s.Name, corev1.EventTypeWarning, "FailedPreStopHook", "PreStopHook failed")
		}
		deadline = maxTime(deadline, time.Now().Add(minGrace))
	}
	seconds := int64((max(time.Until(deadline), 0) + time.Second - 1) / time.Second)
	sctx, cancel := context.WithTimeout(ctx, time.Duration(seconds)*time.Second+2*time.Minute)
	defer cancel()
	_, err := k.cri.Runtime.StopContainer(sctx, &runtimev1.StopContainerRequest{ContainerId: s.ID, Timeout: seconds})
	if cri.IsNotFound(err) {
		return nil
	}
	return err
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// event records something about the pod, or about one of its containers.
func (k *Kubelet) event(pod *corev1.Pod, container, kind, reason, message string) {
	if len(pod.Spec.Containers) == 0 {
		return // what is known of an orphan is too little to speak of
	}
	ref := client.Reference(corev1.SchemeGroupVersion.WithKind("Pod"), pod)
	if container != "" {
		field := "spec.containers{" + container + "}"
		for i := range pod.Spec.InitContainers {
			if pod.Spec.InitContainers[i].Name == container {
				field = "spec.initContainers{" + container + "}"
			}
		}
		for i := range pod.Spec.EphemeralContainers {
			if pod.Spec.EphemeralContainers[i].Name == container {
				field = "spec.ephemeralContainers{" + container + "}"
			}
		}
		ref.FieldPath = field
	}
	k.events.EventOn(ref, kind, reason, message)
}
