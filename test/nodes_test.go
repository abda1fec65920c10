package test

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/test/rig"
)

// peers is a Deployment of the tests' program and its Service. Its pods leave a silent node after a second.
func peers(replicas int) string {
	return fmt.Sprintf(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: peer}
spec:
  replicas: %d
  selector: {matchLabels: {app: peer}}
  template:
    metadata: {labels: {app: peer}}
    spec:
      terminationGracePeriodSeconds: 1
      tolerations:
        - {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 1}
        - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 1}
      containers:
        - name: peer
          image: %s
          resources: {requests: {cpu: 10m, memory: 8Mi}}
          readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: peer}
spec: {selector: {app: peer}, ports: [{port: 80, targetPort: 8080}]}
`, replicas, rig.PeerImage)
}

// fetch gets a URL from inside a pod.
func fetch(from *rig.Machine, pod *rig.Pod, what string) (string, error) {
	return get(from, "http://"+pod.Status.PodIP+":8080/fetch?url="+url.QueryEscape(what))
}

func TestTwoNodes(t *testing.T) {
	wire := rig.NewWire(t)
	image := rig.Peer(t)
	// A node renews its lease every 10 s.
	first := rig.New(wire.Machine(), "up", "--node-monitor-grace-seconds", "12")
	first.Up()
	token, err := first.Lighter("token", "create", "--data-dir", first.Dir)
	if err != nil {
		t.Fatalf("%v: %s", err, token)
	}
	server := fmt.Sprintf("https://%s:6443", first.IP)
	second := rig.New(wire.Machine(), "agent", "--server", server, "--token", strings.TrimSpace(token))
	second.Up()
	first.Load(image)
	second.Load(image)
	first.Kubectl("wait", "--for=condition=Ready", "node", "--all", "--timeout=30s")
	if list := first.Kubectl("get", "nodes", "--no-headers"); strings.Count(list, "\n") != 2 {
		t.Fatalf("want two nodes:\n%s", list)
	}

	first.Apply(peers(4))
	first.Kubectl("rollout", "status", "deployment/peer", "--timeout=60s")
	nodes := map[string][]*rig.Pod{}
	pods := first.Pods("default", "app=peer")
	for _, p := range pods {
		nodes[p.Spec.NodeName] = append(nodes[p.Spec.NodeName], p)
	}
	if len(nodes) != 2 {
		t.Fatalf("all pods are on one node: %v", slices.Collect(maps.Keys(nodes)))
	}

	// Every pod reaches every pod, by address; asked from a machine that has none of them between.
	for _, a := range pods {
		for _, p := range pods {
			first.Eventually(5*time.Second, "pods reach each other", func() error {
				who, err := fetch(first.Machine, a, "http://"+p.Status.PodIP+":8080/")
				if err == nil && who != p.Name {
					err = fmt.Errorf("%s answered", who)
				}
				if err != nil {
					return fmt.Errorf("from %s on %s to %s on %s: %w", a.Name, a.Spec.NodeName, p.Name, p.Spec.NodeName, err)
				}
				return nil
			})
		}
	}
	// The Service balances over all, from pods on either node, by its DNS name.
	for node, of := range nodes {
		seen := map[string]int{}
		first.Eventually(10*time.Second, "all pods answer a pod on "+node, func() error {
			who, err := fetch(first.Machine, of[0], "http://peer.default.svc.cluster.local/")
			if err != nil {
				return err
			}
			if seen[who]++; len(seen) < 4 {
				return fmt.Errorf("so far %v", seen)
			}
			return nil
		})
	}
	// Logs and exec reach pods on the other node.
	far := nodes[second.Name][0]
	if out := first.Kubectl("exec", far.Name, "--", "cat", "/etc/hostname"); strings.TrimSpace(out) != far.Name {
		t.Errorf("exec on the other node: %q", out)
	}
	if out := first.Kubectl("logs", far.Name); !strings.Contains(out, far.Name) {
		t.Errorf("logs on the other node: %q", out)
	}

	second.Kill()
	killed := time.Now()
	first.Eventually(30*time.Second, "NotReady", func() error {
		n, err := client.Nodes.Get(t.Context(), first.Client, "", second.Name)
		if err != nil {
			return err
		}
		for _, c := range n.Status.Conditions {
			if c.Type == corev1.NodeReady && c.Status == corev1.ConditionUnknown && c.Reason == "NodeStatusUnknown" {
				return nil
			}
		}
		return errors.New("still ready")
	})
	t.Logf("NotReady %s after the kill, with a grace of 12 s", time.Since(killed))
	first.Eventually(30*time.Second, "pods are replaced on the first node", func() error {
		ready := 0
		for _, p := range first.Pods("default", "app=peer") {
			if rig.IsReady(p) && p.Spec.NodeName == first.Name {
				ready++
			}
		}
		if ready != 4 {
			return fmt.Errorf("%d of 4", ready)
		}
		return nil
	})
	t.Logf("replaced %s after the kill", time.Since(killed))
	service, err := client.Services.Get(t.Context(), first.Client, "default", "peer")
	if err != nil {
		t.Fatal(err)
	}
	here := first.Pods("default", "app=peer")
	for range 40 {
		who, err := get(first.Machine, "http://"+service.Spec.ClusterIP+"/")
		if err != nil || here[who] == nil || here[who].Spec.NodeName != first.Name {
			t.Errorf("the Service leads to %q: %v", who, err)
		}
	}

	// The agent comes back without its token: the node is Ready again, and what was evicted ends.
	second.Up()
	first.Kubectl("wait", "--for=condition=Ready", "node", second.Name, "--timeout=30s")
	first.Eventually(30*time.Second, "evicted pods have ended", func() error {
		all, err := client.Pods.List(t.Context(), first.Client, "default", client.Selection{Labels: "app=peer"})
		if err == nil && len(all) != 4 {
			err = fmt.Errorf("%d pods", len(all))
		}
		return err
	})
	for _, p := range nodes[second.Name] {
		second.Eventually(20*time.Second, "processes of "+p.Name+" have ended", func() error {
			if left := second.Containers(string(p.UID)); len(left) > 0 {
				return fmt.Errorf("%v", left)
			}
			return nil
		})
	}
}
