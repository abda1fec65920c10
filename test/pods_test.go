package test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lighter-k8s/lighter/test/rig"
)

// TestPods runs what a kubelet does for pods against the whole cluster: the kubelet's own tests hold the details.
func TestPods(t *testing.T) {
	rig.Root(t)
	static := t.TempDir()
	c := rig.Start(t, "--static-pods", static)
	c.Load(rig.Peer(t))
	c.Apply(fmt.Sprintf(`
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {color: red}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: reader}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader}
rules: [{apiGroups: [""], resources: [configmaps], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: reader}]
---
apiVersion: v1
kind: Pod
metadata: {name: all, labels: {app: all, tier: test}}
spec:
  serviceAccountName: reader
  terminationGracePeriodSeconds: 1
  initContainers:
    - {name: first, image: %[1]s, command: [sh, -c, "echo first > /shared/order"], volumeMounts: [{name: shared, mountPath: /shared}]}
    - name: sidecar
      image: %[1]s
      restartPolicy: Always
      command: [sh, -c, "echo sidecar >> /shared/order; exec sleep 1000"]
      volumeMounts: [{name: shared, mountPath: /shared}]
  containers:
    - name: main
      image: %[1]s
      env:
        - {name: CPU, valueFrom: {resourceFieldRef: {resource: limits.cpu, divisor: 1m}}}
        - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
      resources: {requests: {cpu: 50m, memory: 16Mi}, limits: {cpu: 200m, memory: 48Mi}}
      volumeMounts:
        - {name: shared, mountPath: /shared}
        - {name: settings, mountPath: /settings}
        - {name: about, mountPath: /about}
  volumes:
    - {name: shared, emptyDir: {}}
    - {name: settings, configMap: {name: settings}}
    - {name: about, downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}
---`, rig.PeerImage))
	if err := os.WriteFile(filepath.Join(static, "fixed.yaml"), []byte(peerPod("fixed", "labels: {app: fixed}", "")), 0o644); err != nil {
		t.Fatal(err)
	}
	c.Kubectl("wait", "--for=condition=Ready", "pod/all", "--timeout=30s")
	in := func(script string) string { return c.Kubectl("exec", "all", "-c", "main", "--", "sh", "-c", script) }
	for _, step := range []struct{ what, script, want string }{
		{"init container, then sidecar", "cat /shared/order", "first\nsidecar\n"},
		{"environment", "echo $CPU $NODE", "200 " + c.Name + "\n"},
		{"downward API", "cat /about/labels", "app=\"all\"\ntier=\"test\"\ntopology.kubernetes.io/region=\"local\"\ntopology.kubernetes.io/zone=\"local\""},
		{"namespace of the account", "cat /var/run/secrets/kubernetes.io/serviceaccount/namespace", "default"},
	} {
		if got := in(step.script); got != step.want {
			t.Errorf("%s: %q, want %q", step.what, got, step.want)
		}
	}

	// The projected token is the account's: the API takes it for that, no more.
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte(in("cat /var/run/secrets/kubernetes.io/serviceaccount/token")), 0o600); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(token)
	if err != nil {
		t.Fatal(err)
	}
	as := func(args ...string) (string, error) {
		return c.Lighter("kubectl", append([]string{"--kubeconfig", "/dev/null", "--server", "https://10.96.0.1:443", "--insecure-skip-tls-verify", "--token", strings.TrimSpace(string(text))}, args...)...)
	}
	if out, err := as("get", "configmap", "settings", "-o", "jsonpath={.data.color}"); err != nil || out != "red" {
		t.Errorf("with the pod's token: %v: %s", err, out)
	}
	if out, err := as("get", "secrets"); err == nil || !strings.Contains(out, `User "system:serviceaccount:default:reader" cannot list resource "secrets"`) {
		t.Errorf("what the account may not: %v: %s", err, out)
	}

	// A ConfigMap's change reaches the running pod.
	c.Kubectl("patch", "configmap", "settings", "-p", `{"data":{"color":"blue"}}`)
	began := time.Now()
	c.Eventually(90*time.Second, "the new value", func() error {
		if got := in("cat /settings/color"); got != "blue" {
			return errors.New(got)
		}
		return nil
	})
	t.Logf("the ConfigMap's change was in the pod after %s", time.Since(began))

	// Limits are in the container's cgroups.
	for name, p := range c.Pods("default", "app=all") {
		got := map[string]string{}
		for _, process := range c.Containers(string(p.UID)) {
			if strings.HasPrefix(process.Command, "/peer") {
				at := "/lighter/" + c.Name + "/" + process.Cgroup
				for file, other := range map[string]string{"memory/memory.limit_in_bytes": "memory.max", "cpu/cpu.cfs_quota_us": "cpu.max"} {
					dir, base := filepath.Split(file)
					value, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", dir, at, base))
					if err != nil {
						value, err = os.ReadFile(filepath.Join("/sys/fs/cgroup", at, other))
					}
					if err != nil {
						t.Fatal(err)
					}
					got[other] = strings.Fields(string(value))[0]
				}
			}
		}
		if got["memory.max"] != fmt.Sprint(48<<20) || got["cpu.max"] != "20000" {
			t.Errorf("limits of %s: %v", name, got)
		}
	}

	// A static pod runs, and its mirror shows it; it goes when its file goes.
	mirror := "fixed-" + c.Name
	c.Eventually(30*time.Second, "mirror of the static pod", func() error {
		if p := c.Pods("default", "app=fixed")[mirror]; p == nil || !rig.IsReady(p) {
			return fmt.Errorf("%v", p)
		}
		return nil
	})
	c.Kubectl("delete", "pod", mirror, "--wait=false")
	c.Eventually(20*time.Second, "the mirror is back", func() error {
		if p := c.Pods("default", "app=fixed")[mirror]; p == nil || !rig.IsReady(p) || restarts(p) != 0 {
			return fmt.Errorf("%v", p)
		}
		return nil
	})
	if err := os.Remove(filepath.Join(static, "fixed.yaml")); err != nil {
		t.Fatal(err)
	}
	c.Eventually(60*time.Second, "the static pod is gone", func() error {
		if left := c.Pods("default", "app=fixed"); len(left) > 0 {
			return errors.New("still there")
		}
		return nil
	})
}
