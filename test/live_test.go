package test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/test/rig"
)

// load is a client that opens a new connection for each of 20 requests a second and never retries.
type load struct {
	stop func() // waits for the last answer
	mu   sync.Mutex
	sent int
	bad  []string
	seen map[string]int // answers per version of the page
}

var version = regexp.MustCompile(`version (v\d)`)

func (b *book) load() *load {
	l := &load{seen: map[string]int{}}
	end := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-end:
				return
			case <-tick.C:
			}
			all.Go(func() {
				began := time.Now()
				text, pod, err := b.page(b.Machine)
				l.mu.Lock()
				defer l.mu.Unlock()
				l.sent++
				if err != nil {
					l.bad = append(l.bad, fmt.Sprintf("%s after %s, by %q: %v", began.Format("15:04:05.000"), time.Since(began), pod, err))
				}
				if m := version.FindStringSubmatch(text); m != nil {
					l.seen[m[1]]++
				}
			})
		}
	})
	l.stop = sync.OnceFunc(func() { close(end); all.Wait() })
	b.T.Cleanup(l.stop)
	return l
}

// rolled checks that a rollout lost no request.
func (l *load) check(t *testing.T, what string) {
	t.Helper()
	l.stop()
	t.Logf("%s: %d requests, answered by %v", what, l.sent, l.seen)
	if len(l.bad) > 0 {
		t.Errorf("%s: %d of %d requests failed:\n%s", what, len(l.bad), l.sent, strings.Join(l.bad[:min(10, len(l.bad))], "\n"))
	}
}

// restarts is how often the containers of a pod were restarted.
func restarts(p *rig.Pod) (n int32) {
	for _, c := range p.Status.ContainerStatuses {
		n += c.RestartCount
	}
	return n
}

// scales to 10 and back: as many pods, all in the Service.
func (b *book) scales(t *testing.T) {
	for _, n := range []int{10, 3} {
		b.Kubectl("-n", ns, "scale", "deployment/web", fmt.Sprintf("--replicas=%d", n))
		b.Kubectl("-n", ns, "rollout", "status", "deployment/web", "--timeout=90s")
		b.Eventually(30*time.Second, fmt.Sprintf("%d pods behind the Service", n), func() error {
			if have := b.endpoints(ns, "web"); len(have) != n {
				return fmt.Errorf("%v", have)
			}
			return nil
		})
		if have := b.pods("web"); len(have) != n {
			t.Errorf("scaled to %d: %d pods: %v", n, len(have), slices.Collect(maps.Keys(have)))
		}
	}
}

// endpoints are the names of the pods that are ready behind a Service.
func (b *book) endpoints(namespace, service string) (pods []string) {
	b.T.Helper()
	all, err := client.EndpointSlices.List(b.T.Context(), b.Client, namespace, client.Selection{Labels: discoveryv1.LabelServiceName + "=" + service})
	if err != nil {
		b.T.Fatal(err)
	}
	for _, s := range all {
		for _, e := range s.Endpoints {
			if e.Conditions.Ready != nil && *e.Conditions.Ready && e.TargetRef != nil {
				pods = append(pods, e.TargetRef.Name)
			}
		}
	}
	return pods
}

// rolls out another image and back under load; no request fails.
func (b *book) rolls(t *testing.T) {
	l := b.load()
	b.Kubectl("-n", ns, "set", "image", "deployment/web", "web=guestbook.example/web:v2")
	b.Kubectl("-n", ns, "rollout", "status", "deployment/web", "--timeout=90s")
	b.Eventually(10*time.Second, "v2 answers", func() error {
		if text, _, err := b.page(b.Machine); err != nil || !strings.Contains(text, "version v2") {
			return fmt.Errorf("%v: %s", err, text)
		}
		return nil
	})
	b.Kubectl("-n", ns, "rollout", "undo", "deployment/web")
	b.Kubectl("-n", ns, "rollout", "status", "deployment/web", "--timeout=90s")
	b.Eventually(20*time.Second, "the old pods are gone", func() error {
		all, err := client.Pods.List(t.Context(), b.Client, ns, client.Selection{Labels: "app=web"})
		if err == nil && len(all) != 3 {
			err = fmt.Errorf("%d pods", len(all))
		}
		return err
	})
	l.check(t, "rollout and undo")
	for name, p := range b.pods("web") {
		if image := p.Spec.Containers[0].Image; image != "guestbook.example/web:v1" {
			t.Errorf("after undo %s runs %s", name, image)
		}
	}
	if l.seen["v1"] == 0 || l.seen["v2"] == 0 {
		t.Errorf("want answers of both versions, have %v", l.seen)
	}
}

// killed: a container whose process is killed restarts, and RESTARTS shows 1.
func (b *book) killed(t *testing.T) {
	for name, p := range b.pods("web") {
		processes := b.Containers(string(p.UID))
		if len(processes) != 1 {
			t.Fatalf("pod %s has the processes %v", name, processes)
		}
		if err := syscall.Kill(processes[0].PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		b.Eventually(20*time.Second, "RESTARTS 1", func() error {
			out := b.Kubectl("-n", ns, "get", "pod", name, "--no-headers")
			if f := strings.Fields(out); len(f) < 4 || f[1] != "1/1" || f[2] != "Running" || f[3] != "1" {
				return errors.New(out)
			}
			return nil
		})
		last := b.pods("web")[name].Status.ContainerStatuses[0].LastTerminationState.Terminated
		if last == nil || last.ExitCode != 137 || last.Reason != "Error" {
			t.Errorf("last state is %+v, want exit code 137, reason Error", last)
		}
		return // one is enough
	}
}

// replaced: a deleted pod is replaced by one with another name, and no request fails meanwhile.
func (b *book) replaced(t *testing.T) {
	before := b.pods("web")
	name := slices.Collect(maps.Keys(before))[0]
	l := b.load()
	b.Kubectl("-n", ns, "delete", "pod", name, "--wait=false")
	b.Eventually(30*time.Second, "another pod", func() error {
		now := b.endpoints(ns, "web")
		if len(now) != 3 || slices.Contains(now, name) {
			return fmt.Errorf("%v", now)
		}
		return nil
	})
	for range 30 {
		if _, pod, err := b.page(b.Machine); err == nil && pod == name {
			t.Errorf("the Service still leads to %s", name)
		}
	}
	b.Kubectl("-n", ns, "wait", "--for=delete", "pod/"+name, "--timeout=30s")
	l.check(t, "deleted pod")
	if _, same := b.pods("web")[name]; same {
		t.Errorf("%s is there again", name)
	}
}

// outage: while lighter is dead, and containerd after it, the page answers as before.
func (b *book) outage(t *testing.T) {
	l := b.load()
	b.Kill()
	time.Sleep(time.Second) // this long it is dead
	b.Up()
	for _, p := range b.Processes() {
		if p.Cgroup == "" && strings.Contains(p.Command, "/containerd --config") {
			if err := syscall.Kill(p.PID, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}
	b.Kubectl("run", "after", "--image="+rig.PeerImage)
	b.Kubectl("wait", "--for=condition=Ready", "pod/after", "--timeout=30s")
	b.Kubectl("delete", "pod", "after", "--wait=false")
	l.check(t, "outage")
	for name, p := range b.pods("redis") {
		if n := restarts(p); n > 0 || !rig.IsReady(p) {
			t.Errorf("%s: %d restarts, ready: %v", name, n, rig.IsReady(p))
		}
	}
}

// tools: logs, exec, cp and port-forward of the real kubectl.
func (b *book) tools(t *testing.T) {
	b.Apply(peerPod("tools", `labels: {app: tools}`, ""))
	b.Kubectl("wait", "--for=condition=Ready", "pod/tools", "--timeout=30s")
	if out := b.Kubectl("logs", "tools"); !strings.Contains(out, "peer tools") {
		t.Errorf("logs: %q", out)
	}
	if out := b.Kubectl("exec", "tools", "--", "sh", "-c", "echo $HOSTNAME; echo to stderr >&2"); out != "tools\n" {
		t.Errorf("exec: %q", out)
	}
	var exit *exec.ExitError
	if out, err := b.TryKubectl("exec", "tools", "--", "sh", "-c", "exit 7"); !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("exec of exit 7: %v: %s", err, out)
	}
	dir := t.TempDir()
	content := strings.Repeat("a line of a file\n", 20000)
	if err := os.WriteFile(filepath.Join(dir, "to"), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	b.Kubectl("cp", filepath.Join(dir, "to"), "tools:/tmp/there")
	b.Kubectl("cp", "tools:/tmp/there", filepath.Join(dir, "back"))
	if back, err := os.ReadFile(filepath.Join(dir, "back")); err != nil || string(back) != content {
		t.Errorf("cp there and back: %d bytes of %d: %v", len(back), len(content), err)
	}

	forward := b.Command("port-forward", "pod/tools", ":8080")
	out, err := forward.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Run(forward); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("port-forward: %v", err)
	}
	at := regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(line)
	for range 3 {
		if text, err := b.get("http://" + at + "/"); err != nil || text != "tools" {
			t.Errorf("through port-forward: %q, %v", text, err)
		}
	}
	_ = forward.Process.Kill()
	_ = forward.Wait() // it was killed

	follow := b.Command("logs", "-f", "tools")
	if out, err = follow.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	if err := b.Run(follow); err != nil {
		t.Fatal(err)
	}
	b.Kubectl("delete", "pod", "tools")
	text, err := io.ReadAll(out)
	if err := errors.Join(err, follow.Wait()); err != nil || !strings.Contains(string(text), "peer tools") {
		t.Errorf("logs -f until the pod's end: %v: %q", err, text)
	}
}

// get fetches a URL from the cluster's machine.
func (b *book) get(url string) (string, error) { return get(b.Machine, url) }

func get(from *rig.Machine, url string) (string, error) {
	resp, err := from.HTTP(4 * time.Second).Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, body)
	}
	return string(body), err
}

// peerPod is the manifest of a pod of the tests' own program; meta and spec are further lines of it.
func peerPod(name, meta, spec string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata:
  name: %s
  %s
spec:
  terminationGracePeriodSeconds: 2
  %s
  containers:
    - name: peer
      image: %s
      resources: {requests: {cpu: 10m, memory: 8Mi}}
      readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1, failureThreshold: 2}
---`, name, meta, spec, rig.PeerImage)
}

// unready: a probe that reaches its failureThreshold takes the pod out of the Service within a second.
func (b *book) unready(t *testing.T) {
	b.Apply(peerPod("good", "labels: {app: peer}", "") + peerPod("bad", "labels: {app: peer}", "") + `
apiVersion: v1
kind: Service
metadata: {name: peer}
spec: {selector: {app: peer}, ports: [{port: 80, targetPort: 8080}]}`)
	b.Kubectl("wait", "--for=condition=Ready", "pod/good", "pod/bad", "--timeout=30s")
	service, err := client.Services.Get(t.Context(), b.Client, "default", "peer")
	if err != nil {
		t.Fatal(err)
	}
	direct := "http://" + b.Pods("default", "app=peer")["bad"].Status.PodIP + ":8080"
	through := "http://" + service.Spec.ClusterIP + "/"
	var last, slice time.Time // when the pod answered last through the Service; when its slice said it is out
	answered := func() (string, error) {
		who, err := b.get(through)
		if who == "bad" {
			last = time.Now()
		}
		return who, err
	}
	b.Eventually(10*time.Second, "both answer", func() error {
		if who, err := answered(); who != "bad" {
			return fmt.Errorf("%q, %v", who, err)
		}
		return nil
	})
	slices := client.EndpointSlices.View(t.Context(), b.Client, client.Selection{Namespace: "default", Labels: discoveryv1.LabelServiceName + "=peer"})
	out := make(chan time.Time, 1)
	slices.Subscribe(t.Context(), func(_, s *discoveryv1.EndpointSlice) {
		if s == nil {
			return
		}
		for _, e := range s.Endpoints {
			if e.TargetRef != nil && e.TargetRef.Name == "bad" && e.Conditions.Ready != nil && !*e.Conditions.Ready {
				select {
				case out <- time.Now():
				default:
				}
			}
		}
	})
	resp, err := b.HTTP(2*time.Second).Post(direct+"/unready", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	for end := time.Now().Add(15 * time.Second); slice.IsZero() || time.Since(slice) < time.Second; {
		if time.Now().After(end) {
			t.Fatal("never taken out of the slice")
		}
		if who, err := answered(); err != nil {
			t.Errorf("%q, %v", who, err)
		}
		select {
		case slice = <-out:
		case <-time.After(5 * time.Millisecond):
		}
	}
	text, err := b.get(direct + "/refused")
	if err != nil {
		t.Fatal(err)
	}
	var refused []time.Time
	if err := json.Unmarshal([]byte(text), &refused); err != nil || len(refused) < 2 {
		t.Fatalf("probes: %v: %s", err, text)
	}
	reached := refused[1]
	t.Logf("after the probe that reached the threshold: slice changed in %s, last answer through the Service at %s", slice.Sub(reached), last.Sub(reached))
	if slice.Sub(reached) > time.Second || last.Sub(reached) > time.Second {
		t.Errorf("want both within a second")
	}
	b.Kubectl("delete", "service/peer", "pod/good", "pod/bad", "--wait=false")
}

// tooLarge: a pod that asks for 1000 CPUs is Pending, and says why.
func (b *book) tooLarge(t *testing.T) {
	b.Apply(strings.Replace(peerPod("large", "labels: {app: large}", ""), "cpu: 10m", "cpu: 1000", 1))
	const want = "0/1 nodes are available: 1 Insufficient cpu."
	b.Eventually(10*time.Second, "condition and event", func() error {
		p := b.Pods("default", "app=large")["large"]
		if p.Status.Phase != corev1.PodPending || len(p.Status.Conditions) == 0 {
			return fmt.Errorf("%+v", p.Status)
		}
		c := p.Status.Conditions[0]
		if c.Type != corev1.PodScheduled || c.Status != corev1.ConditionFalse || c.Reason != corev1.PodReasonUnschedulable || !strings.HasPrefix(c.Message, want) {
			return fmt.Errorf("%+v", c)
		}
		out := b.Kubectl("describe", "pod", "large")
		if !strings.Contains(out, "FailedScheduling") || strings.Count(out, want) < 1 {
			return errors.New(out)
		}
		return nil
	})
	b.Kubectl("delete", "pod", "large")
}
