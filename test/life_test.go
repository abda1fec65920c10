package test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/lighter-k8s/lighter/test/rig"
)

// TestScripts runs testdata/*.txtar, each on a machine of its own: `on-machine lighter ...` runs there.
func TestScripts(t *testing.T) {
	rig.Root(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			c := rig.New(rig.NewWire(t).Machine(), "up")
			env.Vars = append(env.Vars, "D="+c.Dir, "NODE="+c.Name, "NET="+c.Enter(), "KUBECONFIG="+c.Kubeconfig(), "KUBECACHEDIR="+env.WorkDir,
				"LIGHTER="+rig.Binary(), "TOP="+rig.Top(t), "IMAGES="+rig.Guestbook(t), "PEER="+rig.Peer(t))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"on-machine": func(ts *testscript.TestScript, neg bool, args []string) {
				if args[0] == "lighter" {
					args[0] = rig.Binary()
				}
				onMachine(ts, neg, args...)
			},
			"kubectl": func(ts *testscript.TestScript, neg bool, args []string) {
				onMachine(ts, neg, append([]string{rig.Binary(), "kubectl"}, args...)...)
			},
			"exit": func(ts *testscript.TestScript, neg bool, args []string) { // exit CODE lighter ARGS
				err := ts.Exec("nsenter", append([]string{"--net=" + ts.Getenv("NET"), "--", rig.Binary()}, args[2:]...)...)
				var exit *exec.ExitError
				if !errors.As(err, &exit) || strconv.Itoa(exit.ExitCode()) != args[0] {
					ts.Fatalf("%v: %v, want exit code %s", args[1:], err, args[0])
				}
			},
		},
	})
}

func onMachine(ts *testscript.TestScript, neg bool, args ...string) {
	err := ts.Exec("nsenter", append([]string{"--net=" + ts.Getenv("NET"), "--"}, args...)...)
	if neg == (err == nil) {
		ts.Fatalf("%v: %v", args, err)
	}
}

// TestReboot takes everything away that a reboot does; `up` brings cluster, pods and data back.
func TestReboot(t *testing.T) {
	c := rig.Start(t)
	c.Load(rig.Peer(t))
	c.Apply(peers(2) + "---" + strings.Replace(peerPod("keeper", "labels: {app: keeper}", "volumes: [{name: data, emptyDir: {}}]"),
		"resources:", "volumeMounts: [{name: data, mountPath: /data}]\n      resources:", 1))
	c.Kubectl("rollout", "status", "deployment/peer", "--timeout=60s")
	c.Kubectl("wait", "--for=condition=Ready", "pod/keeper", "--timeout=30s")
	c.Kubectl("exec", "keeper", "--", "sh", "-c", "echo kept > /data/file")
	c.Kubectl("create", "configmap", "kept", "--from-literal=a=b")
	before := c.Pods("default", "app in (peer,keeper)")

	c.PowerOff()
	began := time.Now()
	c.Up()
	t.Logf("ready %s after the reboot", time.Since(began))
	c.Eventually(60*time.Second, "all pods are ready, and reached by name", func() error {
		pods := c.Pods("default", "app in (peer,keeper)")
		if len(pods) != 3 {
			return fmt.Errorf("pods: %v", slices.Collect(maps.Keys(pods)))
		}
		for name, p := range pods {
			if !rig.IsReady(p) || restarts(p) == 0 {
				return fmt.Errorf("%s: ready %v, restarts %d", name, rig.IsReady(p), restarts(p))
			}
			if before[name] == nil || before[name].UID != p.UID {
				t.Fatalf("%s is another pod", name)
			}
		}
		_, err := fetch(c.Machine, pods["keeper"], "http://peer.default.svc.cluster.local/")
		return err
	})
	t.Logf("pods are back %s after the reboot", time.Since(began))
	if text := c.Kubectl("exec", "keeper", "--", "cat", "/data/file"); text != "kept\n" {
		t.Errorf("the pod's file is %q", text)
	}
	if text := c.Kubectl("get", "configmap", "kept", "-o", "jsonpath={.data.a}"); text != "b" {
		t.Errorf("the ConfigMap is %q", text)
	}
}

// TestVersion tells what every start of the binary costs.
func TestVersion(t *testing.T) {
	binary := rig.Binary()
	if binary == "" {
		t.Skip("needs the binary: set LIGHTER to its path, as `make test` does")
	}
	info, err := os.Stat(binary)
	if err != nil {
		t.Fatal(err)
	}
	least := time.Hour
	var memory int64
	for range 5 {
		cmd := exec.Command(binary, "version")
		began := time.Now()
		out, err := cmd.CombinedOutput()
		least = min(least, time.Since(began))
		if err != nil || !strings.Contains(string(out), "Kubernetes v1.37") {
			t.Fatalf("%v: %s", err, out)
		}
		memory = cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss
	}
	t.Logf("%s: %.1f MB; `version` takes %s and %.1f MiB at its most", filepath.Base(binary), float64(info.Size())/1e6, least, float64(memory)/1024)
	if info.Size() > 150e6 || memory > 150<<10 || least > time.Second {
		t.Error("far too large, or far too slow")
	}
}
