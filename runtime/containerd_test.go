package runtime_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/lighter-k8s/lighter/runtime"
	"github.com/lighter-k8s/lighter/runtime/image"
)

// superviseEnv makes the test binary a supervisor of the data directory it names, so that a test
// can kill a real one.
const superviseEnv = "RUNTIME_TEST_SUPERVISE"

func TestMain(m *testing.M) {
	if dir := os.Getenv(superviseEnv); dir != "" {
		if err := supervise(dir); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// supervise runs until SIGTERM and writes "ready" when pods can be made.
func supervise(dir string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	programs, err := runtime.Unpack(filepath.Join(dir, "programs"))
	if err != nil {
		return err
	}
	c, err := runtime.New(runtime.Options{DataDir: dir, Programs: programs, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		return err
	}
	err = runtime.WriteCNI(c.Dirs, runtime.CNI{
		Subnets: []netip.Prefix{netip.MustParsePrefix("10.77.0.0/24"), netip.MustParsePrefix("fd77::/64")},
	})
	if err != nil {
		return err
	}
	go func() {
		if c.Ready(ctx) == nil {
			fmt.Println("ready")
		}
	}()
	return c.Run(ctx)
}

// node is a runtime in a temporary data directory and a network namespace of its own.
type node struct {
	*testing.T
	dirs    runtime.Dirs
	cri     cri.RuntimeServiceClient
	cgroups string
}

// TestContainerd is the life of a node's runtime, with real containers: adoption after the
// supervisor was killed, restart after containerd was killed, and nothing left at the end.
func TestContainerd(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: it starts containers")
	}
	if _, err := runtime.Unpack(t.TempDir()); err != nil {
		t.Skipf("needs containerd: run `make test`, or `make payload` and go test -tags payload: %v", err)
	}
	// Children that this thread starts are in a network namespace of their own.
	goruntime.LockOSThread() // and never unlocked: the thread ends with the test's goroutine
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("needs network namespaces: %v", err)
	}
	ctx := t.Context()
	dirs, err := runtime.NewDirs(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := runtime.Dial(dirs.Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	n := node{t, dirs, cri.NewRuntimeServiceClient(conn), "/lighter-test-" + strconv.Itoa(os.Getpid())}
	trace := runtime.Trace{DataDir: dirs.Data, CgroupParent: n.cgroups}
	t.Cleanup(func() { // also of a failed test
		if log, err := os.ReadFile(dirs.Log); t.Failed() {
			t.Logf("containerd: %v\n%s", err, log[max(0, len(log)-8000):])
		}
		if err := runtime.Cleanup(context.Background(), trace); err != nil {
			t.Error(err)
		}
	})

	first := n.supervisor()
	containerd := n.containerd()
	names, err := runtime.ImportImage(ctx, dirs.Socket, bytes.NewReader(helloImage(t)))
	if err != nil || !slices.Equal(names, []string{"docker.io/library/hello:1"}) {
		t.Fatalf("imported %q, %v", names, err)
	}
	names, err = runtime.ImportImage(ctx, dirs.Socket, bytes.NewReader(ociArchive(t)))
	if err != nil || !slices.Equal(names, []string{"example.com/oci:2"}) {
		t.Fatalf("imported %q, %v", names, err)
	}
	for what, archive := range map[string][]byte{"no archive": []byte("rubbish"), "half an archive": helloImage(t)[:1<<19], "nothing": nil} {
		if names, err := runtime.ImportImage(ctx, dirs.Socket, bytes.NewReader(archive)); err == nil {
			t.Errorf("imported %q from %s", names, what)
		}
	}
	images, err := runtime.ListImages(ctx, dirs.Socket)
	if names = []string{"docker.io/library/hello:1"}; err != nil || len(images) != 3 || !slices.Equal(images[0].Names, names) {
		t.Fatalf("images: %+v, %v", images, err)
	}
	sandbox, container := n.startPod()
	pid := n.pid(container)
	n.waitForLog("hello you noted / 1000")

	// The supervisor is killed: containerd runs on, and the next supervisor adopts it.
	_ = first.Process.Kill()
	_ = first.Wait()
	second := n.supervisor()
	if now := n.containerd(); now != containerd {
		t.Errorf("containerd was %d, now it is %d: not adopted", containerd, now)
	}

	// containerd is killed: it comes back, and the container never noticed.
	_ = syscall.Kill(containerd, syscall.SIGKILL)
	for deadline := time.Now().Add(10 * time.Second); ; {
		status, err := n.cri.Status(ctx, &cri.StatusRequest{})
		now := n.processes(filepath.Join(n.dirs.Run, "containerd-"))
		if err == nil && status.Status.Conditions[0].Status && len(now) == 1 && now[0] != containerd {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("containerd did not come back: %v, %v", status, err)
		}
	}
	if now := n.pid(container); now != pid {
		t.Errorf("the container's process was %d, now it is %d", pid, now)
	}
	if reply, err := n.cri.ExecSync(ctx, &cri.ExecSyncRequest{ContainerId: container, Cmd: []string{"/hello"}, Timeout: 1}); err == nil {
		t.Errorf("hello ended by itself: %v", reply) // it must run until the timeout: exec works again
	}

	// A supervisor that ends in an orderly way leaves it running, too.
	_ = second.Process.Signal(syscall.SIGTERM)
	if err := second.Wait(); err != nil {
		t.Errorf("supervisor: %v", err)
	}
	if now := n.pid(container); now != pid {
		t.Errorf("the container's process was %d, now it is %d", pid, now)
	}

	if err := runtime.EndPods(ctx, dirs.Socket, 5*time.Second); err != nil {
		t.Error(err)
	}
	n.waitForLog("bye")
	if pods, err := n.cri.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{}); err != nil || len(pods.Items) > 0 {
		t.Errorf("pods after EndPods: %v, %v (had %s)", pods, err, sandbox)
	}

	// The machine goes down with a pod that nobody stopped: of it remains what is on disk.
	third := n.supervisor()
	sandbox, _ = n.startPod()
	_ = third.Process.Kill()
	_ = third.Wait()
	addresses := filepath.Join(t.TempDir(), "addresses")
	if err := os.CopyFS(addresses, os.DirFS(dirs.CNIState)); err != nil {
		t.Fatal(err)
	}
	if err := runtime.Cleanup(ctx, trace); err != nil {
		t.Fatal(err)
	}
	n.nothingLeft()
	if err := os.CopyFS(dirs.CNIState, os.DirFS(addresses)); err != nil {
		t.Fatal(err)
	}
	stale := filepath.Join(dirs.State, "io.containerd.runtime.v2.task/k8s.io", sandbox)
	if err := os.MkdirAll(stale, 0o700); err != nil {
		t.Fatal(err)
	}
	n.supervisor()
	if _, err := os.Stat(stale); err == nil {
		t.Error("what ran before the reboot is still believed to run")
	}
	pods, err := n.cri.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{})
	if err != nil || len(pods.Items) != 1 || pods.Items[0].Id != sandbox || pods.Items[0].State != cri.PodSandboxState_SANDBOX_NOTREADY {
		t.Errorf("pods after a reboot: %v, %v; want %s not ready", pods, err, sandbox)
	}
	if err := runtime.EndPods(ctx, dirs.Socket, 0); err != nil {
		t.Errorf("remove the pod of before the reboot: %v", err)
	}
	if held, _ := filepath.Glob(filepath.Join(dirs.CNIState, "lighter/10.77.*")); held != nil {
		t.Errorf("addresses held by no pod: %q", held)
	}
	if images, err := runtime.ListImages(ctx, dirs.Socket); err != nil || len(images) != 3 {
		t.Errorf("images after a reboot: %v, %v", images, err)
	}
	n.startPod()
}

// supervisor starts one and returns when pods can be made.
func (n node) supervisor() *exec.Cmd {
	n.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), superviseEnv+"="+n.dirs.Data)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		n.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		n.Fatal(err)
	}
	n.Cleanup(func() { _ = cmd.Process.Kill() })
	said := make([]byte, 200)
	if read, err := out.Read(said); string(said[:read]) != "ready\n" {
		log, _ := os.ReadFile(n.dirs.Log)
		n.Fatalf("supervisor said %q, %v; containerd:\n%s", said[:read], err, log)
	}
	return cmd
}

// containerd is the process id of the one containerd of this data directory.
func (n node) containerd() int {
	n.Helper()
	found := n.processes(filepath.Join(n.dirs.Run, "containerd-"))
	if len(found) != 1 {
		n.Fatalf("%d containerds run: %v", len(found), found)
	}
	return found[0]
}

// processes lists those with text in their command line.
func (n node) processes(text string) (pids []int) {
	all, _ := filepath.Glob("/proc/[1-9]*/cmdline")
	for _, path := range all {
		line, _ := os.ReadFile(path)
		if pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path))); bytes.Contains(line, []byte(text)) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func helloImage(t *testing.T) []byte {
	t.Helper()
	program := filepath.Join(t.TempDir(), "hello")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, "./testdata/hello")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build hello: %v\n%s", err, text)
	}
	var archive bytes.Buffer
	err := image.Write(&archive, image.Spec{
		Names: []string{"hello:1"}, Entrypoint: []string{"/hello"}, Env: []string{"WHO=you"}, User: "1000",
		Layers: []image.Layer{
			{Files: map[string]image.File{"/etc/note": {Data: []byte("hidden")}}},
			{Files: map[string]image.File{"/hello": {From: program}, "/etc/note": {Data: []byte("noted")}}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return archive.Bytes()
}

// ociArchive is an image for two platforms as an OCI image layout, compressed. Source: OCI image
// specification, image-layout.md and image-index.md.
func ociArchive(t *testing.T) []byte {
	t.Helper()
	type object = map[string]any
	var archive bytes.Buffer
	zip := gzip.NewWriter(&archive)
	out := tar.NewWriter(zip)
	add := func(name string, data []byte) {
		if err := out.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data))}); err != nil {
			t.Fatal(err)
		}
		_, _ = out.Write(data)
	}
	blob := func(mediaType string, content any) object {
		data, ok := content.([]byte)
		if !ok {
			data, _ = json.Marshal(content)
		}
		digest := fmt.Sprintf("%x", sha256.Sum256(data))
		add("blobs/sha256/"+digest, data)
		return object{"mediaType": mediaType, "digest": "sha256:" + digest, "size": len(data)}
	}
	const vendor = "application/vnd.oci.image."
	var manifests []object
	for _, arch := range []string{goruntime.GOARCH, "s390x"} {
		var layer bytes.Buffer
		files := tar.NewWriter(&layer)
		_ = files.WriteHeader(&tar.Header{Name: "arch-" + arch, Mode: 0o644})
		_ = files.Close()
		platform := object{"os": "linux", "architecture": arch}
		config := maps.Clone(platform)
		config["rootfs"] = object{"type": "layers", "diff_ids": []string{fmt.Sprintf("sha256:%x", sha256.Sum256(layer.Bytes()))}}
		manifest := blob(vendor+"manifest.v1+json", object{
			"schemaVersion": 2, "mediaType": vendor + "manifest.v1+json",
			"config": blob(vendor+"config.v1+json", config),
			"layers": []object{blob(vendor+"layer.v1.tar", layer.Bytes())},
		})
		manifest["platform"] = platform
		manifests = append(manifests, manifest)
	}
	index := blob(vendor+"index.v1+json", object{"schemaVersion": 2, "mediaType": vendor + "index.v1+json", "manifests": manifests})
	index["annotations"] = object{"org.opencontainers.image.ref.name": "example.com/oci:2"}
	text, err := json.Marshal(object{"schemaVersion": 2, "manifests": []object{index}})
	add("index.json", text)
	add("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	if err := errors.Join(err, out.Close(), zip.Close()); err != nil {
		t.Fatal(err)
	}
	return archive.Bytes()
}

func (n node) startPod() (sandbox, container string) {
	n.Helper()
	ctx := n.Context()
	pod := &cri.PodSandboxConfig{
		Metadata:     &cri.PodSandboxMetadata{Name: "p", Namespace: "default", Uid: "u"},
		Hostname:     "p",
		LogDirectory: filepath.Join(n.dirs.Data, "podlogs"),
		Linux:        &cri.LinuxPodSandboxConfig{CgroupParent: n.cgroups + "/pod1"},
	}
	if err := os.MkdirAll(pod.LogDirectory, 0o755); err != nil {
		n.Fatal(err)
	}
	run, err := n.cri.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: pod})
	if err != nil {
		n.Fatal(err)
	}
	create, err := n.cri.CreateContainer(ctx, &cri.CreateContainerRequest{
		PodSandboxId: run.PodSandboxId, SandboxConfig: pod,
		Config: &cri.ContainerConfig{
			Metadata: &cri.ContainerMetadata{Name: "c"}, Image: &cri.ImageSpec{Image: "hello:1"}, LogPath: "c.log",
			Linux: &cri.LinuxContainerConfig{Resources: &cri.LinuxContainerResources{OomScoreAdj: -997, MemoryLimitInBytes: 64 << 20}},
		},
	})
	if err != nil {
		n.Fatal(err)
	}
	if _, err := n.cri.StartContainer(ctx, &cri.StartContainerRequest{ContainerId: create.ContainerId}); err != nil {
		n.Fatal(err)
	}
	status, err := n.cri.PodSandboxStatus(ctx, &cri.PodSandboxStatusRequest{PodSandboxId: run.PodSandboxId})
	if err != nil || !strings.HasPrefix(status.Status.GetNetwork().GetIp(), "10.77.0.") {
		n.Fatalf("pod's address: %v, %v", status.GetStatus().GetNetwork(), err)
	}
	return run.PodSandboxId, create.ContainerId
}

// pid is the container's process id, of a running container.
func (n node) pid(container string) int {
	n.Helper()
	status, err := n.cri.ContainerStatus(n.Context(), &cri.ContainerStatusRequest{ContainerId: container, Verbose: true})
	if err != nil || status.Status.State != cri.ContainerState_CONTAINER_RUNNING {
		n.Fatalf("container: %v, %v", status.GetStatus(), err)
	}
	var info struct{ Pid int }
	if err := json.Unmarshal([]byte(status.Info["info"]), &info); err != nil || syscall.Kill(info.Pid, 0) != nil {
		n.Fatalf("container's process: %v, %v", info, err)
	}
	return info.Pid
}

// waitForLog waits until the container has written a line that ends so.
func (n node) waitForLog(line string) {
	n.Helper()
	path := filepath.Join(n.dirs.Data, "podlogs/c.log")
	for deadline := time.Now().Add(10 * time.Second); ; {
		text, _ := os.ReadFile(path)
		if strings.Contains(string(text), line+"\n") {
			return
		}
		if time.Now().After(deadline) {
			n.Fatalf("log has no %q:\n%s", line, text)
		}
	}
}

func (n node) nothingLeft() {
	n.Helper()
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, n.dirs.Data) {
			n.Errorf("mount left: %s", line)
		}
	}
	for _, pid := range n.processes(n.dirs.Data) {
		if pid != os.Getpid() {
			line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
			n.Errorf("process left: %d %q", pid, line)
		}
	}
	for _, pattern := range []string{"/sys/fs/cgroup" + n.cgroups, "/sys/fs/cgroup/*" + n.cgroups, n.dirs.Run} {
		if left, _ := filepath.Glob(pattern); left != nil {
			n.Errorf("left: %q", left)
		}
	}
}
