package test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lighter-k8s/lighter/pki"
	"github.com/lighter-k8s/lighter/test/rig"
)

// identity writes a kubeconfig for a user of the cluster.
func identity(c *rig.Cluster, name string, who pki.Spec) string {
	c.T.Helper()
	dir := filepath.Join(c.Dir, "server", "pki")
	ca, err := pki.OpenAuthority(filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key"), "", pki.Lives{})
	if err != nil {
		c.T.Fatal(err)
	}
	pair, err := ca.Issue(who)
	if err != nil {
		c.T.Fatal(err)
	}
	key, err := pair.KeyPEM()
	if err != nil {
		c.T.Fatal(err)
	}
	path := filepath.Join(filepath.Dir(c.Dir), name+".kubeconfig")
	k := pki.Kubeconfig{Name: name, Server: "https://127.0.0.1:6443", CA: ca.PEM(), Cert: pair.CertPEM(), Key: key}
	if err := k.Write(path); err != nil {
		c.T.Fatal(err)
	}
	return path
}

// TestParts runs a cluster of one process per part, each with an identity of its own.
func TestParts(t *testing.T) {
	image := rig.Peer(t)
	c := rig.New(rig.NewWire(t).Machine(), "server", "--disable", "scheduler,controllers,cloud-controllers")
	c.Up()
	ca := filepath.Join(c.Dir, "server", "pki", "ca")
	c.Part("controllers", "--kubeconfig", identity(c, "controllers", pki.Client(pki.ControllersUser, pki.MastersGroup)),
		"--cluster-signing-cert-file", ca+".crt", "--cluster-signing-key-file", ca+".key")
	c.Part("scheduler", "--kubeconfig", identity(c, "scheduler", pki.Client(pki.SchedulerUser)))
	c.Part("kubelet", "--kubeconfig", identity(c, "kubelet", pki.Kubelet(c.Name)))
	c.Part("proxy", "--kubeconfig", identity(c, "proxy", pki.Client(pki.ProxyUser)))
	c.Eventually(30*time.Second, "the node is ready", func() error {
		_, err := c.TryKubectl("wait", "--for=condition=Ready", "node", c.Name, "--timeout=5s")
		return err
	})
	c.Load(image)
	c.Apply(peers(2))
	c.Kubectl("rollout", "status", "deployment/peer", "--timeout=60s")
	address := c.Kubectl("get", "service", "peer", "-o", "jsonpath={.spec.clusterIP}")
	pods := c.Pods("default", "app=peer")
	seen := map[string]bool{}
	c.Eventually(10*time.Second, "both pods answer through the Service", func() error {
		who, err := get(c.Machine, "http://"+address+"/")
		if err != nil {
			return err
		}
		if pods[who] == nil {
			t.Fatalf("%s answered", who)
		}
		if seen[who] = true; len(seen) < 2 {
			return fmt.Errorf("so far %v", seen)
		}
		return nil
	})
	c.Eventually(10*time.Second, "the kubelet's certificate is signed", func() error {
		if out := c.Kubectl("get", "csr", "--no-headers"); !strings.Contains(out, "Approved,Issued") {
			return errors.New(out)
		}
		return nil
	})
	for name := range pods {
		if out := c.Kubectl("logs", name); !strings.Contains(out, name) {
			t.Errorf("logs of %s: %q", name, out)
		}
		if out := c.Kubectl("exec", name, "--", "cat", "/etc/hostname"); strings.TrimSpace(out) != name {
			t.Errorf("exec in %s: %q", name, out)
		}
	}
	// A controller that comes back goes on where it was.
	c.Part("controllers", "--kubeconfig", filepath.Join(filepath.Dir(c.Dir), "controllers.kubeconfig"))
	c.Kubectl("scale", "deployment/peer", "--replicas=3")
	c.Kubectl("rollout", "status", "deployment/peer", "--timeout=60s")
}

// TestEtcd runs the guestbook on an etcd of its own.
func TestEtcd(t *testing.T) {
	rig.Root(t)
	etcd := os.Getenv("ETCD")
	if etcd == "" {
		t.Skip("needs etcd: set ETCD to its path, as `make test` does")
	}
	m := rig.NewWire(t).Machine()
	cmd := exec.Command(etcd, "--data-dir", filepath.Join(t.TempDir(), "etcd"), "--log-level", "error")
	cmd.Stderr = t.Output()
	if err := m.Run(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	m.Eventually(20*time.Second, "etcd answers", func() error {
		_, err := get(m, "http://127.0.0.1:2379/health")
		return err
	})
	b := beginOn(m, "--store", "etcd", "--etcd-endpoints", "http://127.0.0.1:2379")
	if err := b.sign("kept by etcd"); err != nil {
		t.Fatal(err)
	}
	b.Kill()
	b.Up()
	b.Eventually(10*time.Second, "the page after a crash", func() error {
		text, _, err := b.page(b.Machine)
		if err == nil && !strings.Contains(text, "kept by etcd") {
			err = fmt.Errorf("it lacks the message:\n%s", text)
		}
		return err
	})
	b.Kubectl("-n", ns, "scale", "deployment/web", "--replicas=1")
	b.Kubectl("-n", ns, "rollout", "status", "deployment/web", "--timeout=60s")
}
