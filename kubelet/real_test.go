package kubelet

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/kubelet/cri"
	"github.com/lighter-k8s/lighter/runtime"
	"github.com/lighter-k8s/lighter/runtime/image"
)

// insideEnv tells the test binary that it runs in a network namespace of its own.
const insideEnv = "KUBELET_TEST_INSIDE"

// TestMain moves the tests, as root, into a network namespace: containers get their bridge there.
func TestMain(m *testing.M) {
	if os.Getuid() != 0 || os.Getenv(insideEnv) != "" {
		if os.Getenv(insideEnv) != "" {
			if err := loopbackUp(); err != nil {
				fmt.Println(err)
			}
		}
		os.Exit(m.Run())
	}
	cmd := exec.Command(os.Args[0], os.Args[1:]...)
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	if err := cmd.Run(); err != nil {
		if e, ok := err.(*exec.ExitError); ok {
			os.Exit(e.ExitCode())
		}
		os.Exit(m.Run()) // no namespaces here: the tests that need one will say so
	}
	os.Exit(0)
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr)
}

// under is the kubelet that was begun last.
var under atomic.Pointer[Kubelet]

// machineUnderTest is a container runtime, a cluster in memory, and a kubelet that can be ended and begun again.
type machineUnderTest struct {
	*testing.T
	*cluster
	dirs   runtime.Dirs
	config Config
	stop   func()
}

var (
	toolOnce sync.Once
	toolTar  []byte
	toolErr  error
)

// toolImage is an image of testdata/tool, named tool:1.
func toolImage(t *testing.T) []byte {
	toolOnce.Do(func() {
		dir, err := os.MkdirTemp("", "tool")
		if err != nil {
			toolErr = err
			return
		}
		defer os.RemoveAll(dir)
		bin := filepath.Join(dir, "tool")
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", bin, "./testdata/tool")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			toolErr = fmt.Errorf("build tool: %v: %s", err, out)
			return
		}
		var b bytes.Buffer
		toolErr = image.Write(&b, image.Spec{Names: []string{"tool:1"}, Entrypoint: []string{"/tool"}, Layers: []image.Layer{image.Program("/tool", bin)}})
		toolTar = b.Bytes()
	})
	if toolErr != nil {
		t.Fatal(toolErr)
	}
	return toolTar
}

func newMachine(t *testing.T) *machineUnderTest {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: it starts containers")
	}
	if os.Getenv(insideEnv) == "" {
		t.Skip("needs network namespaces")
	}
	programs, err := runtime.Unpack(filepath.Join(os.TempDir(), "lighter-kubelet-test-programs"))
	if err != nil {
		t.Skipf("needs containerd: run `make test`, or `make payload` and go test -tags payload: %v", err)
	}
	dir := t.TempDir()
	log := slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	c, err := runtime.New(runtime.Options{DataDir: dir, Programs: programs, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	if err := runtime.WriteCNI(c.Dirs, runtime.CNI{Subnets: []netip.Prefix{netip.MustParsePrefix("10.77.0.0/24")}}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() { _ = c.Run(ctx) })
	group2 := "/lighter-kubelet-test-" + strconv.Itoa(os.Getpid())
	m := &machineUnderTest{T: t, cluster: newCluster(), dirs: c.Dirs}
	t.Cleanup(func() {
		m.end()
		cancel()
		group.Wait()
		if t.Failed() {
			log, _ := os.ReadFile(c.Dirs.Log)
			t.Logf("containerd's log:\n%s", log[max(0, len(log)-4000):])
		}
		end, stop := context.WithTimeout(context.Background(), time.Minute)
		defer stop()
		_ = runtime.EndPods(end, c.Dirs.Socket, 0)
		if err := runtime.Cleanup(end, runtime.Trace{DataDir: c.Dirs.Data, CgroupParent: group2}); err != nil {
			t.Error(err)
		}
	})
	if err := c.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := runtime.ImportImage(ctx, c.Dirs.Socket, bytes.NewReader(toolImage(t))); err != nil {
		t.Fatal(err)
	}
	m.config = Config{NodeName: "n1", Client: m.cluster, CRISocket: c.Dirs.Socket, RootDir: filepath.Join(dir, "kubelet"), LogDir: filepath.Join(dir, "pods"),
		CgroupParent: group2, ClusterDNS: []string{"10.96.0.10"}, NodeIPs: []string{"127.0.0.1"}, Logger: log}
	return m
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	if testing.Verbose() {
		fmt.Fprint(os.Stderr, string(p))
	}
	return len(p), nil
}

// begin runs a kubelet and waits until its node is ready.
func (m *machineUnderTest) begin() {
	m.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan error, 1)
	cfg := m.config
	var once sync.Once
	cfg.opened = func(k *Kubelet) { under.Store(k) }
	cfg.Ready = func() { once.Do(func() { close(ready) }) }
	go func() { done <- Run(ctx, cfg) }()
	m.stop = func() {
		cancel()
		if err := <-done; err != nil {
			m.Errorf("kubelet: %v", err)
		}
	}
	select {
	case <-ready:
	case err := <-done:
		done <- nil
		m.Fatalf("kubelet ended: %v", err)
	case <-time.After(30 * time.Second):
		m.Fatal("the node does not become ready")
	}
}

func (m *machineUnderTest) end() {
	if m.stop != nil {
		m.stop()
		m.stop = nil
	}
}

// create stores a pod with the defaults that the API server would give it.
func (m *machineUnderTest) create(pod *corev1.Pod) *corev1.Pod {
	m.Helper()
	pod.Namespace, pod.Spec.NodeName = "default", "n1"
	setPodDefaults(pod)
	pod.Status.Phase = corev1.PodPending
	got, err := m.Create(m.Context(), client.Pods.Resource, pod.Namespace, pod.Name, "", pod)
	if err != nil {
		m.Fatal(err)
	}
	return got.(*corev1.Pod)
}

// wait waits until the pod is as ok wants it; a nil pod is one that is gone.
func (m *machineUnderTest) wait(name, what string, ok func(p *corev1.Pod) bool) *corev1.Pod {
	m.Helper()
	deadline := time.Now().Add(40 * time.Second)
	for {
		o, err := m.Get(m.Context(), client.Pods.Resource, "default", name)
		var pod *corev1.Pod
		if err == nil {
			pod = o.(*corev1.Pod)
		}
		if ok(pod) {
			return pod
		}
		if time.Now().After(deadline) {
			if pod != nil {
				m.Logf("%+v", pod.Status)
			}
			m.Fatalf("pod %s is not %s; events: %s", name, what, m.said(name))
		}
		v := m.view(client.Pods.Resource)
		ctx, cancel := context.WithTimeout(m.Context(), 200*time.Millisecond)
		_ = v.WaitVersion(ctx, v.Version()+1)
		cancel()
	}
}

// said are the events about an object, oldest first.
func (m *machineUnderTest) said(name string) string {
	list, _, _ := m.List(m.Context(), client.Events.Resource, "", client.Selection{})
	var b strings.Builder
	for _, o := range list {
		if e := o.(*corev1.Event); e.InvolvedObject.Name == name {
			fmt.Fprintf(&b, "%s: %s\n", e.Reason, e.Message)
		}
	}
	return b.String()
}

func (m *machineUnderTest) delete(name string, grace int64) {
	m.Helper()
	if err := m.Delete(m.Context(), client.Pods.Resource, "default", name, v1.DeleteOptions{GracePeriodSeconds: &grace}); err != nil {
		m.Fatal(err)
	}
}

func (m *machineUnderTest) log(p *corev1.Pod, container string, attempt int) string {
	data, _ := os.ReadFile(filepath.Join(m.config.LogDir, fmt.Sprintf("%s_%s_%s", p.Namespace, p.Name, p.UID), container, strconv.Itoa(attempt)+".log"))
	return string(data)
}

func running(p *corev1.Pod) bool {
	return p != nil && p.Status.Phase == corev1.PodRunning && isReady(p)
}

func isReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func gone(p *corev1.Pod) bool { return p == nil }

func toolPod(name string, args ...string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: v1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "tool:1", Args: args}}}}
}

// killSandbox ends a pod's sandbox behind the kubelet's back.
func (m *machineUnderTest) killSandbox(name string) {
	m.Helper()
	rt, err := cri.Dial(m.dirs.Socket)
	if err != nil {
		m.Fatal(err)
	}
	defer rt.Close()
	list, err := rt.Runtime.ListPodSandbox(m.Context(), &runtimev1.ListPodSandboxRequest{})
	if err != nil {
		m.Fatal(err)
	}
	for _, b := range list.Items {
		if b.Metadata.Name == name {
			m.eventually("its sandbox is stopped", func() bool { // the kubelet stops it too, and one may be in the other's way
				_, err := rt.Runtime.StopPodSandbox(m.Context(), &runtimev1.StopPodSandboxRequest{PodSandboxId: b.Id})
				return err == nil
			})
		}
	}
}

func portOf(name string) intstr.IntOrString { return intstr.FromString(name) }
