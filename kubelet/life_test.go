package kubelet

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/lighter-k8s/lighter/client"
)

// TestRealPods runs pods in real containers, one machine for all of them.
func TestRealPods(t *testing.T) {
	m := newMachine(t)
	m.begin()
	run := func(name string, f func(m *machineUnderTest)) {
		t.Run(name, func(t *testing.T) {
			sub := *m
			sub.T = t
			defer func() { m.stop = sub.stop }() // also when it fails
			f(&sub)
		})
	}
	run("a pod comes and goes without a trace", podComesAndGoes)
	run("a pod that is deleted before its turn comes is not waited for", deletedBefore)
	run("a container that fails is restarted with back-off and tells why", crashes)
	run("init containers and sidecars run in their order", initAndSidecar)
	run("environments and volumes have what they name, and follow it", configuration)
	run("probes change readiness and restart containers", probes)
	run("hooks run after the start and before the end", hooks)
	run("security settings reach the process", security)
	run("pods that cannot run say why", cannotRun)
	run("a pod that fills the disk over its limit is evicted", evicted)
	run("a kubelet that comes back adopts what runs and ends what was deleted", adoption)
	run("a machine that was away restarts its pods", sandboxLost)
	run("static pods run and are mirrored", static)
	m.end()
	for _, dir := range []string{filepath.Join(m.config.RootDir, "pods"), m.config.LogDir} {
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("left behind in %s: %v", dir, left)
		}
	}
}

func podComesAndGoes(m *machineUnderTest) {
	began := time.Now()
	created := m.create(toolPod("a", "wait"))
	p := m.wait("a", "running", running)
	m.Logf("running after %v", time.Since(began))
	if p.Status.PodIP == "" || p.Status.HostIP != "127.0.0.1" || p.Status.QOSClass != corev1.PodQOSBestEffort || p.Status.StartTime == nil {
		m.Errorf("status: %+v", p.Status)
	}
	cs := p.Status.ContainerStatuses[0]
	if !strings.HasPrefix(cs.ContainerID, "containerd://") || cs.Image != "docker.io/library/tool:1" || cs.ImageID == "" || cs.Started == nil || !*cs.Started {
		m.Errorf("container status: %+v", cs)
	}
	cgroup := "/sys/fs/cgroup/memory" + m.config.CgroupParent + "/besteffort/pod" + string(created.UID)
	if _, err := os.Stat("/sys/fs/cgroup/memory"); err == nil {
		if _, err := os.Stat(cgroup); err != nil {
			m.Error(err)
		}
	}
	m.delete("a", 30)
	m.wait("a", "gone", gone)
	for _, want := range []string{"Pulled: Container image \"tool:1\" already present on machine", "Created: Container created", "Started: Container started", "Killing: Stopping container main"} {
		if said := m.said("a"); !strings.Contains(said, want) {
			m.Errorf("events lack %q: %s", want, said)
		}
	}
	m.eventually("control group removed", func() bool { _, err := os.Stat(cgroup); return os.IsNotExist(err) })
}

// deletedBefore: all turns to make a sandbox are taken, so the pod can only go if nobody waits for its own.
func deletedBefore(m *machineUnderTest) {
	k := under.Load()
	for range cap(k.sandboxes) {
		k.sandboxes <- struct{}{}
	}
	defer func() {
		for range cap(k.sandboxes) {
			<-k.sandboxes
		}
	}()
	m.create(toolPod("early", "wait"))
	m.wait("early", "seen", func(p *corev1.Pod) bool { return p != nil && p.Status.StartTime != nil })
	m.delete("early", 30)
	m.wait("early", "gone", gone)
	if said := m.said("early"); strings.Contains(said, "FailedCreatePodSandBox") {
		m.Error(said)
	}
}

// eventually waits for what no watch tells of.
func (m *machineUnderTest) eventually(what string, ok func() bool) {
	m.Helper()
	for deadline := time.Now().Add(40 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			m.Fatalf("not within 40 s: %s", what)
		}
	}
}

func crashes(m *machineUnderTest) {
	m.create(toolPod("crash", "exit", "3", "it was the tool"))
	p := m.wait("crash", "in back-off", func(p *corev1.Pod) bool {
		s := p.Status.ContainerStatuses
		return len(s) > 0 && s[0].RestartCount == 1 && s[0].State.Waiting != nil && s[0].State.Waiting.Reason == "CrashLoopBackOff"
	})
	last := p.Status.ContainerStatuses[0].LastTerminationState.Terminated
	if last == nil || last.ExitCode != 3 || last.Message != "it was the tool" || last.Reason != "Error" {
		m.Errorf("last state: %+v", last)
	}
	if want := "back-off 10s restarting failed container=main pod=crash_default(" + string(p.UID) + ")"; p.Status.ContainerStatuses[0].State.Waiting.Message != want {
		m.Errorf("message %q", p.Status.ContainerStatuses[0].State.Waiting.Message)
	}
	if p.Status.Phase != corev1.PodRunning || isReady(p) {
		m.Errorf("phase %s", p.Status.Phase)
	}
	m.delete("crash", 30)
	m.wait("crash", "gone", gone)

	failed := toolPod("failed", "exit", "1")
	failed.Spec.RestartPolicy = corev1.RestartPolicyNever
	m.create(failed)
	p = m.wait("failed", "failed", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed })
	if p.Status.ContainerStatuses[0].RestartCount != 0 || p.Status.ContainerStatuses[0].State.Terminated.ExitCode != 1 {
		m.Errorf("status: %+v", p.Status)
	}
	m.delete("failed", 30)
	m.wait("failed", "gone", gone)
}

func initAndSidecar(m *machineUnderTest) {
	pod := toolPod("ordered", "say", "main")
	pod.Spec.RestartPolicy = corev1.RestartPolicyNever
	pod.Spec.InitContainers = []corev1.Container{
		{Name: "first", Image: "tool:1", Args: []string{"write", "/data/first", "from init"}, VolumeMounts: []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}},
		{Name: "side", Image: "tool:1", Args: []string{"wait"}, RestartPolicy: ptr.To(corev1.ContainerRestartPolicyAlways)},
		{Name: "second", Image: "tool:1", Args: []string{"cat", "/data/first"}, VolumeMounts: []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}},
	}
	pod.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	m.create(pod)
	p := m.wait("ordered", "succeeded", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodSucceeded })
	if log := m.log(p, "second", 0); !strings.Contains(log, "from init") {
		m.Errorf("log of the second init container: %q", log)
	}
	if log := m.log(p, "side", 0); !strings.Contains(log, "bye") {
		m.Errorf("log of the sidecar: %q", log)
	}
	if s := p.Status.InitContainerStatuses[1]; s.State.Terminated == nil || s.State.Terminated.ExitCode != 0 {
		m.Errorf("sidecar: %+v", s)
	}
	m.delete("ordered", 30)
	m.wait("ordered", "gone", gone)
}

func configuration(m *machineUnderTest) {
	ctx := m.Context()
	cm := &corev1.ConfigMap{ObjectMeta: v1.ObjectMeta{Namespace: "default", Name: "cm"}, Data: map[string]string{"color": "blue", "shape": "round"}}
	if _, err := client.ConfigMaps.Create(ctx, m.cluster, cm); err != nil {
		m.Fatal(err)
	}
	if _, err := client.Services.Create(ctx, m.cluster, &corev1.Service{ObjectMeta: v1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec: corev1.ServiceSpec{ClusterIP: "10.96.1.1", Ports: []corev1.ServicePort{{Port: 80, Protocol: "TCP"}}}}); err != nil {
		m.Fatal(err)
	}
	pod := toolPod("configured", "env")
	pod.Labels = map[string]string{"app": "x"}
	pod.Spec.ServiceAccountName = "sa"
	pod.Spec.RestartPolicy = corev1.RestartPolicyNever
	pod.Spec.Subdomain = "sub"
	c := &pod.Spec.Containers[0]
	c.Env = []corev1.EnvVar{
		{Name: "COLOR", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "cm"}, Key: "color"}}},
		{Name: "BOTH", Value: "$(COLOR)-$(WEB_SERVICE_HOST)"},
		{Name: "IP", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIP"}}},
		{Name: "PASSWORD", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "secret"}, Key: "p"}}},
	}
	mounts := []corev1.VolumeMount{{Name: "cm", MountPath: "/cm"}, {Name: "token", MountPath: "/token"}, {Name: "down", MountPath: "/down"},
		{Name: "cm", MountPath: "/one", SubPath: "color"}}
	pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: "reads", Image: "tool:1", VolumeMounts: mounts,
		Args: []string{"cat", "/cm/color", "/token/token", "/down/labels", "/one", "/etc/hosts", "/etc/resolv.conf"}},
		corev1.Container{Name: "stays", Image: "tool:1", VolumeMounts: mounts, Args: []string{"wait"}})
	pod.Spec.Volumes = []corev1.Volume{
		{Name: "cm", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "cm"}}}},
		{Name: "token", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token"}}}}}},
		{Name: "down", VolumeSource: corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: []corev1.DownwardAPIVolumeFile{{Path: "labels", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels"}}}}}},
	}
	m.create(pod)
	m.wait("configured", "waiting for its secret", func(p *corev1.Pod) bool {
		s := p.Status.ContainerStatuses
		return len(s) > 0 && s[0].State.Waiting != nil && s[0].State.Waiting.Reason == "CreateContainerConfigError" && s[0].State.Waiting.Message == `secret "secret" not found`
	})
	if _, err := client.Secrets.Create(ctx, m.cluster, &corev1.Secret{ObjectMeta: v1.ObjectMeta{Namespace: "default", Name: "secret"}, Data: map[string][]byte{"p": []byte("hush")}}); err != nil {
		m.Fatal(err)
	}
	p := m.wait("configured", "running its third container", func(p *corev1.Pod) bool {
		s := p.Status.ContainerStatuses
		return len(s) == 3 && s[2].State.Running != nil && s[0].State.Terminated != nil && s[1].State.Terminated != nil
	})
	env := m.log(p, "main", 0)
	for _, want := range []string{"COLOR=blue", "BOTH=blue-10.96.1.1", "IP=" + p.Status.PodIP, "PASSWORD=hush", "WEB_PORT_80_TCP_ADDR=10.96.1.1", "HOSTNAME=configured"} {
		if !strings.Contains(env, want) {
			m.Errorf("environment lacks %s:\n%s", want, env)
		}
	}
	files := m.log(p, "reads", 0)
	for _, want := range []string{"bluetoken-1 for configuredapp=\"x\"blue# Kubernetes-managed hosts file.", p.Status.PodIP + "\tconfigured.sub.default.svc.cluster.local\tconfigured", "search default.svc.cluster.local svc.cluster.local cluster.local", "nameserver 10.96.0.10", "ndots:5"} {
		if !strings.Contains(strings.NewReplacer(" stdout F ", " stdout F ", " stdout P ", " stdout F ").Replace(flat(files)), want) {
			m.Errorf("files lack %q:\n%s", want, files)
		}
	}
	next := cm.DeepCopy()
	next.Data["color"] = "green"
	if _, err := client.ConfigMaps.Update(ctx, m.cluster, next); err != nil {
		m.Fatal(err)
	}
	file := filepath.Join(m.config.RootDir, "pods", string(p.UID), "volumes/kubernetes.io~configmap/cm/color")
	m.eventually("the volume follows the ConfigMap", func() bool { data, _ := os.ReadFile(file); return string(data) == "green" })
	m.delete("configured", 0)
	m.wait("configured", "gone", gone)
	m.eventually("its directory is removed", func() bool {
		_, err := os.Stat(filepath.Join(m.config.RootDir, "pods", string(p.UID)))
		return os.IsNotExist(err)
	})
}

// flat joins the text of CRI log lines.
func flat(log string) string {
	var b strings.Builder
	for _, l := range strings.Split(log, "\n") {
		if w := strings.SplitN(l, " ", 4); len(w) == 4 {
			b.WriteString(w[3])
			if w[2] == "F" {
				b.WriteString("\n")
			}
		}
	}
	return b.String()
}

func probes(m *machineUnderTest) {
	pod := toolPod("probed", "serve", "8080")
	c := &pod.Spec.Containers[0]
	get := corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/", Port: portOf("http")}}
	c.Ports = []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}}
	c.StartupProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: portOf("http")}}, PeriodSeconds: 1, FailureThreshold: 30}
	c.ReadinessProbe = &corev1.Probe{ProbeHandler: get, PeriodSeconds: 1, FailureThreshold: 1}
	c.LivenessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"/tool", "cat", "/data/alive"}}}, PeriodSeconds: 1, FailureThreshold: 2}
	c.VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
	pod.Spec.TerminationGracePeriodSeconds = ptr.To(int64(1))
	pod.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	p := m.create(pod)
	dir := filepath.Join(m.config.RootDir, "pods", string(p.UID), "volumes/kubernetes.io~empty-dir/data")
	m.eventually("the volume is there", func() bool { _, err := os.Stat(dir); return err == nil })
	touch(m, filepath.Join(dir, "alive"))
	m.wait("probed", "running, not ready", func(p *corev1.Pod) bool {
		s := p.Status.ContainerStatuses
		return len(s) > 0 && s[0].Started != nil && *s[0].Started && !s[0].Ready
	})
	touch(m, filepath.Join(dir, "ok"))
	m.wait("probed", "ready", running)
	if err := os.Remove(filepath.Join(dir, "ok")); err != nil {
		m.Fatal(err)
	}
	m.wait("probed", "unready", func(p *corev1.Pod) bool { return !isReady(p) })
	touch(m, filepath.Join(dir, "ok"))
	m.wait("probed", "ready again", running)
	if err := os.Remove(filepath.Join(dir, "alive")); err != nil {
		m.Fatal(err)
	}
	m.wait("probed", "restarted", func(p *corev1.Pod) bool { return p.Status.ContainerStatuses[0].RestartCount == 1 })
	said := m.said("probed")
	for _, want := range []string{"Unhealthy: Readiness probe failed: HTTP probe failed with statuscode: 503", "Unhealthy: Liveness probe failed: open /data/alive: no such file or directory",
		"Killing: Container main failed liveness probe, will be restarted"} {
		if !strings.Contains(said, want) {
			m.Errorf("events lack %q: %s", want, said)
		}
	}
	m.delete("probed", 1)
	m.wait("probed", "gone", gone)
}

func touch(m *machineUnderTest, file string) {
	m.Helper()
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		m.Fatal(err)
	}
}

func hooks(m *machineUnderTest) {
	dir := m.TempDir()
	pod := toolPod("hooked", "wait")
	c := &pod.Spec.Containers[0]
	c.VolumeMounts = []corev1.VolumeMount{{Name: "out", MountPath: "/out"}}
	pod.Spec.Volumes = []corev1.Volume{{Name: "out", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: dir, Type: ptr.To(corev1.HostPathDirectory)}}}}
	c.Lifecycle = &corev1.Lifecycle{PostStart: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"/tool", "write", "/out/post", "x"}}},
		PreStop: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"/tool", "write", "/out/pre", "x"}}}}
	m.create(pod)
	m.wait("hooked", "running", running)
	if _, err := os.Stat(filepath.Join(dir, "post")); err != nil {
		m.Errorf("postStart had not run when the pod was running: %v", err)
	}
	m.delete("hooked", 10)
	m.wait("hooked", "gone", gone)
	if _, err := os.Stat(filepath.Join(dir, "pre")); err != nil {
		m.Error(err)
	}
}

func security(m *machineUnderTest) {
	pod := toolPod("secured", "id")
	pod.Spec.RestartPolicy = corev1.RestartPolicyNever
	pod.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: ptr.To(int64(4000)), SupplementalGroups: []int64{5000},
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}}
	pod.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{RunAsUser: ptr.To(int64(1000)), RunAsGroup: ptr.To(int64(2000)), RunAsNonRoot: ptr.To(true),
		AllowPrivilegeEscalation: ptr.To(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}, ReadOnlyRootFilesystem: ptr.To(true)}
	pod.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi"), corev1.ResourceCPU: resource.MustParse("500m")}
	m.create(pod)
	p := m.wait("secured", "done", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodSucceeded })
	log := flat(m.log(p, "main", 0))
	for _, want := range []string{"Uid:\t1000\t1000", "Gid:\t2000\t2000", "5000", "4000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"} {
		if !strings.Contains(log, want) {
			m.Errorf("status lacks %q:\n%s", want, log)
		}
	}
	if p.Status.QOSClass != corev1.PodQOSGuaranteed {
		m.Errorf("class %s", p.Status.QOSClass)
	}
	m.delete("secured", 0)
	m.wait("secured", "gone", gone)
}

func cannotRun(m *machineUnderTest) {
	never := toolPod("never", "wait")
	never.Spec.Containers[0].Image, never.Spec.Containers[0].ImagePullPolicy = "nowhere:1", corev1.PullNever
	root := toolPod("root", "wait")
	root.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsNonRoot: ptr.To(true)}
	program := toolPod("program", "wait")
	program.Spec.Containers[0].Command = []string{"/nothing"}
	pull := toolPod("pull", "wait")
	pull.Spec.Containers[0].Image = "127.0.0.1:1/nowhere:1"
	big := toolPod("big", "wait")
	big.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1000")}
	claim := toolPod("claim", "wait")
	claim.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "c"}}}}
	waiting := func(reason, message string) func(p *corev1.Pod) bool {
		return func(p *corev1.Pod) bool {
			s := p.Status.ContainerStatuses
			return len(s) > 0 && s[0].State.Waiting != nil && s[0].State.Waiting.Reason == reason && strings.Contains(s[0].State.Waiting.Message, message)
		}
	}
	tests := []struct {
		pod *corev1.Pod
		ok  func(p *corev1.Pod) bool
	}{
		{never, waiting("ErrImageNeverPull", `Container image "nowhere:1" is not present with pull policy of Never`)},
		{root, waiting("CreateContainerConfigError", "container has runAsNonRoot and image will run as root")},
		{program, waiting("RunContainerError", "/nothing")},
		{pull, waiting("ImagePullBackOff", `Back-off pulling image "127.0.0.1:1/nowhere:1"`)},
		{big, func(p *corev1.Pod) bool {
			return p.Status.Phase == corev1.PodFailed && p.Status.Reason == "OutOfcpu" && strings.HasPrefix(p.Status.Message, "Pod was rejected: Node didn't have enough resource: cpu, requested: 1000000")
		}},
		{claim, func(p *corev1.Pod) bool {
			return strings.Contains(m.said("claim"), "FailedMount: MountVolume.SetUp failed for volume \"v\" :")
		}},
	}
	for _, tt := range tests {
		m.create(tt.pod)
	}
	for _, tt := range tests {
		m.wait(tt.pod.Name, "as expected", tt.ok)
	}
	for _, tt := range tests {
		m.delete(tt.pod.Name, 1)
	}
	for _, tt := range tests {
		m.wait(tt.pod.Name, "gone", gone)
	}
}

func evicted(m *machineUnderTest) {
	pod := toolPod("greedy", "wait")
	pod.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
	pod.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: ptr.To(resource.MustParse("1Mi"))}}}}
	p := m.create(pod)
	m.wait("greedy", "running", running)
	if err := os.WriteFile(filepath.Join(m.config.RootDir, "pods", string(p.UID), "volumes/kubernetes.io~empty-dir/data/big"), make([]byte, 2<<20), 0o600); err != nil {
		m.Fatal(err)
	}
	p = m.wait("greedy", "failed", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed })
	if p.Status.Reason != "Evicted" || p.Status.Message != `Usage of EmptyDir volume "data" exceeds the limit "1Mi". ` {
		m.Errorf("%s: %s", p.Status.Reason, p.Status.Message)
	}
	m.delete("greedy", 0)
	m.wait("greedy", "gone", gone)
}

func adoption(m *machineUnderTest) {
	for _, name := range []string{"kept", "dropped", "vanished"} {
		m.create(toolPod(name, "wait"))
	}
	before := m.wait("kept", "running", running)
	for _, name := range []string{"dropped", "vanished"} {
		m.wait(name, "running", running)
	}
	m.end()
	m.delete("dropped", 5)
	m.delete("vanished", 0)
	m.cluster.late = 500 * time.Millisecond // its pods are looked at before they have workers
	defer func() { m.cluster.late = 0 }()
	m.begin()
	m.wait("dropped", "gone", gone)
	after := m.wait("kept", "running", running)
	a, b := before.Status.ContainerStatuses[0], after.Status.ContainerStatuses[0]
	if a.ContainerID != b.ContainerID || b.RestartCount != 0 {
		m.Errorf("was %+v\nis %+v", a, b)
	}
	if !before.Status.Conditions[2].LastTransitionTime.Equal(&after.Status.Conditions[2].LastTransitionTime) {
		m.Errorf("ready since %v, then %v", before.Status.Conditions[2], after.Status.Conditions[2])
	}
	m.delete("kept", 5)
	m.wait("kept", "gone", gone)
	m.eventually("the orphan's directory is removed", func() bool {
		left, _ := os.ReadDir(filepath.Join(m.config.RootDir, "pods"))
		return len(left) == 0
	})
}

func sandboxLost(m *machineUnderTest) {
	m.create(toolPod("again", "wait"))
	m.wait("again", "running", running)
	m.killSandbox("again")
	p := m.wait("again", "running anew", func(p *corev1.Pod) bool {
		return running(p) && p.Status.ContainerStatuses[0].RestartCount >= 1 && strings.Contains(m.said("again"), "SandboxChanged")
	})
	if last := p.Status.ContainerStatuses[0].LastTerminationState.Terminated; last == nil {
		m.Errorf("status: %+v", p.Status.ContainerStatuses[0])
	}
	m.delete("again", 5)
	m.wait("again", "gone", gone)
}

func static(m *machineUnderTest) {
	m.end()
	m.config.StaticPodDir = m.TempDir()
	defer func() { m.config.StaticPodDir = "" }()
	m.begin()
	manifest := "apiVersion: v1\nkind: Pod\nmetadata: {name: fixed, labels: {a: b}}\nspec:\n  containers:\n  - {name: main, image: 'tool:1', args: [wait]}\n"
	file := filepath.Join(m.config.StaticPodDir, "fixed.yaml")
	if err := os.WriteFile(file, []byte(manifest), 0o644); err != nil {
		m.Fatal(err)
	}
	p := m.wait("fixed-n1", "running", running)
	if p.Annotations[corev1.MirrorPodAnnotationKey] == "" || p.Annotations["kubernetes.io/config.source"] != "file" || len(p.OwnerReferences) != 1 {
		m.Errorf("mirror: %+v", p.ObjectMeta)
	}
	m.delete("fixed-n1", 0)
	m.wait("fixed-n1", "running again", func(now *corev1.Pod) bool { return now != nil && now.UID != p.UID && running(now) })
	if err := os.Remove(file); err != nil {
		m.Fatal(err)
	}
	m.wait("fixed-n1", "gone", gone)
	m.eventually("its directory is removed", func() bool {
		left, _ := os.ReadDir(filepath.Join(m.config.RootDir, "pods"))
		return len(left) == 0
	})
	m.end()
	m.begin()
}
