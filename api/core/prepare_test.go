package core

import (
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/apitest"
)

// prepared is an object as the registry stores it.
func prepared(t *testing.T, i *api.Info, text string, old api.Object) api.Object {
	o := apitest.Defaulted(t, i, text)
	i.Prepare(o, old)
	return o
}

func TestUsersDoNotWriteStatus(t *testing.T) {
	for i, text := range map[*api.Info]string{
		Pod: "status: {phase: Running, podIP: 1.1.1.1}", Namespace: "status: {phase: Terminating}", Service: "spec: {type: LoadBalancer}\nstatus: {loadBalancer: {ingress: [{ip: 1.1.1.1}]}}",
		PersistentVolume: "status: {phase: Bound, lastPhaseTransitionTime: '2026-01-01T00:00:00Z'}", PersistentVolumeClaim: "status: {phase: Bound}", ResourceQuota: "status: {used: {pods: 1}}",
		ReplicationController: "status: {replicas: 3}",
	} {
		o := prepared(t, i, text, nil)
		for _, word := range []string{"Running", "Terminating", "1.1.1.1", "Bound", "pods", "replicas:3"} {
			if strings.Contains(apitest.Row(i, o), word) {
				t.Errorf("a new %s shows %q: %s", i.Kind, word, apitest.Row(i, o))
			}
		}
		old := apitest.Defaulted(t, i, text) // stored with that status
		spec, _, _ := strings.Cut(text, "status:")
		next := prepared(t, i, spec, old)
		back := i.New()
		i.CopyStatus(back, next)
		want := i.New()
		i.CopyStatus(want, old)
		if !same(back, want) {
			t.Errorf("an update of %s changes its status", i.Kind)
		}
	}
}

func TestNamespacesHoldOntoTheirFinalizers(t *testing.T) {
	n := prepared(t, Namespace, "metadata: {name: a}", nil).(*corev1.Namespace)
	if len(n.Spec.Finalizers) != 1 || n.Spec.Finalizers[0] != "kubernetes" || n.Status.Phase != corev1.NamespaceActive {
		t.Errorf("new namespace: %v %v", n.Spec.Finalizers, n.Status.Phase)
	}
	next := prepared(t, Namespace, "metadata: {name: a}\nspec: {finalizers: []}", n).(*corev1.Namespace)
	if len(next.Spec.Finalizers) != 1 {
		t.Errorf("an update took the finalizers: %v", next.Spec.Finalizers)
	}
}

func TestServicesChangeType(t *testing.T) {
	const port = "ports: [{port: 80, nodePort: 30080}]"
	tests := map[string]struct{ old, in, want string }{
		"what was allocated stays": {
			"{type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: 31000, clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1], " + port + "}",
			"{type: LoadBalancer, externalTrafficPolicy: Local, ports: [{port: 80}]}",
			"10.0.0.1 [10.0.0.1] 30080 31000 Local"},
		"a node port moves with its port only": {
			"{type: NodePort, clusterIP: 10.0.0.1, " + port + "}", "{type: NodePort, ports: [{port: 81}]}", "10.0.0.1 [10.0.0.1] 0 0 Cluster"},
		"node ports go with their type": {
			"{type: NodePort, clusterIP: 10.0.0.1, " + port + "}", "{type: ClusterIP, externalTrafficPolicy: Cluster, clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1], " + port + "}",
			"10.0.0.1 [10.0.0.1] 0 0 "},
		"an external name has no address": {
			"{clusterIP: 10.0.0.1, ports: [{port: 80}]}", "{type: ExternalName, externalName: a.b, clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1], ports: [{port: 80}]}", " [] 0 0 "},
		"a new address replaces the list of one": {
			"{type: ExternalName, externalName: a.b, ports: [{port: 80}]}", "{clusterIP: 10.0.0.9, ports: [{port: 80}]}", "10.0.0.9 [10.0.0.9] 0 0 "},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			old := prepared(t, Service, "spec: "+tt.old, nil)
			s := prepared(t, Service, "spec: "+tt.in, old).(*corev1.Service).Spec
			if got := strings.Join([]string{s.ClusterIP, "[" + strings.Join(s.ClusterIPs, ",") + "]", number(s.Ports[0].NodePort), number(s.HealthCheckNodePort), string(s.ExternalTrafficPolicy)}, " "); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func number(n int32) string { return strconv.Itoa(int(n)) }

func TestPodIPsFollowPodIP(t *testing.T) {
	for in, want := range map[string]string{
		"{podIP: 1.1.1.1}": "1.1.1.1 1.1.1.1", "{podIPs: [{ip: 1.1.1.1}, {ip: '::1'}]}": "1.1.1.1 1.1.1.1,::1",
		"{podIP: 1.1.1.2, podIPs: [{ip: 1.1.1.1}]}": "1.1.1.2 1.1.1.2", "{}": " ",
	} {
		dst := &corev1.Pod{}
		Pod.CopyStatus(dst, apitest.Read(t, Pod, "status: "+in))
		if got := dst.Status.PodIP + " " + podIPs(dst); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

func TestLabelKeysBecomeSelectors(t *testing.T) {
	p := prepared(t, Pod, `
metadata: {labels: {a: "1", b: "2"}}
spec:
  topologySpreadConstraints: [{maxSkew: 1, topologyKey: k, whenUnsatisfiable: DoNotSchedule, labelSelector: {}, matchLabelKeys: [a, lost]}]
  affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: k, labelSelector: {}, matchLabelKeys: [a], mismatchLabelKeys: [b]}]}}`, nil).(*corev1.Pod)
	spread := SelectorString(p.Spec.TopologySpreadConstraints[0].LabelSelector)
	anti := SelectorString(p.Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution[0].LabelSelector)
	if spread != "a in (1)" || anti != "a in (1),b notin (2)" {
		t.Errorf("spread %q, anti-affinity %q", spread, anti)
	}
}

func TestGatesOfPodsAndOfFeatures(t *testing.T) {
	p := prepared(t, Pod, "spec: {schedulingGates: [{name: g}], schedulingGroup: {podGroupName: x}, volumes: [{name: v, emptyDir: {mode: 7}}]}", nil).(*corev1.Pod)
	if c := podCondition(p, corev1.PodScheduled); c == nil || c.Reason != "SchedulingGated" || c.Status != corev1.ConditionFalse {
		t.Errorf("condition of a gated pod: %v", c)
	}
	if p.Spec.SchedulingGroup != nil || p.Spec.Volumes[0].EmptyDir.Mode != nil {
		t.Error("fields of features that are off stay")
	}
}

func complaints(errs field.ErrorList) string {
	var list []string
	for _, err := range errs {
		first, _, _ := strings.Cut(err.Error(), "\n")
		list = append(list, first)
	}
	return strings.Join(list, "\n")
}

func TestResize(t *testing.T) {
	with := func(resources, more string) string { return pod("\n    resources: " + resources + more) }
	for name, tt := range map[string]struct{ old, in, want string }{
		"more CPU":                  {"{requests: {cpu: 1}}", with("{requests: {cpu: 2}}", ""), ""},
		"a limit besides":           {"{requests: {cpu: 1}}", with("{requests: {cpu: 1}, limits: {cpu: 2}}", ""), ""},
		"a request taken away":      {"{requests: {cpu: 1, memory: 1}}", with("{requests: {cpu: 1}}", ""), `spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed`},
		"another class of service":  {"{requests: {cpu: 1}}", with("{requests: {cpu: 1, memory: 1}, limits: {cpu: 1, memory: 1}}", ""), `spec: Invalid value: "Burstable": Pod QOS Class may not change as a result of resizing`},
		"another image besides":     {"{requests: {cpu: 1}}", strings.Replace(with("{requests: {cpu: 2}}", ""), "nginx:1", "nginx:2", 1), `spec: Forbidden: only cpu and memory resources are mutable`},
		"ephemeral storage":         {"{requests: {cpu: 1, ephemeral-storage: 1}}", with("{requests: {cpu: 1, ephemeral-storage: 2}}", ""), `spec: Forbidden: only cpu and memory resources are mutable`},
		"a request above its limit": {"{requests: {cpu: 1}, limits: {cpu: 2}}", with("{requests: {cpu: 3}, limits: {cpu: 2}}", ""), `spec.containers[0].resources.requests: Invalid value: "3": must be less than or equal to cpu limit of 2`},
	} {
		old := prepared(t, Pod, with(tt.old, ""), nil).(*corev1.Pod)
		p := apitest.Defaulted(t, Pod, tt.in).(*corev1.Pod)
		if got := complaints(Pod.ValidateUpdate("resize", p, old)); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

func TestEphemeralContainers(t *testing.T) {
	e := func(list string) string { return pod("\n  ephemeralContainers: " + list) }
	const one = "[{name: e, image: x}]"
	for name, tt := range map[string]struct{ old, in, want string }{
		"one is added":         {"[]", one, ""},
		"its name is taken":    {"[]", "[{name: a, image: x}]", `spec.ephemeralContainers[0].name: Duplicate value: "a"`},
		"it may not be probed": {"[]", "[{name: e, image: x, livenessProbe: {exec: {command: [x]}}}]", `spec.ephemeralContainers[0].livenessProbe: Forbidden: cannot be set for an Ephemeral Container`},
		"its target is there":  {"[]", "[{name: e, image: x, targetContainerName: b}]", `spec.ephemeralContainers[0].targetContainerName: Not found: "b"`},
		"none goes":            {one, "[]", `spec.ephemeralContainers: Forbidden: existing ephemeral containers "e" may not be removed`},
		"none changes":         {one, "[{name: e, image: other}]", `spec.ephemeralContainers: Forbidden: existing ephemeral containers "e" may not be changed`},
	} {
		old := prepared(t, Pod, e(tt.old), nil).(*corev1.Pod)
		p := apitest.Defaulted(t, Pod, e(tt.in)).(*corev1.Pod)
		if got := complaints(Pod.ValidateUpdate("ephemeralcontainers", p, old)); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

func TestStatusUpdates(t *testing.T) {
	const ended = "\nstatus: {containerStatuses: [{name: a, state: {terminated: {exitCode: 1}}}]}"
	const runs = "\nstatus: {containerStatuses: [{name: a, state: {running: {}}}]}"
	never := strings.Replace(pod(""), "Always", "Never", 1)
	for name, tt := range map[string]struct {
		of            *api.Info
		old, in, want string
	}{
		"what ended for good stays ended": {Pod, never + ended, never + runs, `status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state`},
		"what is restarted runs again":    {Pod, pod("") + ended, pod("") + runs, ``},
		"an address that is none":         {Pod, pod(""), pod("") + "\nstatus: {podIPs: [{ip: x}]}", `status.podIPs[0]: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)`},
		"ingress of no load balancer":     {Service, "{}", "status: {loadBalancer: {ingress: [{ip: 1.1.1.1}]}}", `status.loadBalancer.ingress: Forbidden: may only be used when ` + "`spec.type`" + ` is 'LoadBalancer'`},
		"more ready than there are":       {ReplicationController, "{}", "status: {replicas: 1, readyReplicas: 2}", `status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas`},
		"a namespace that is not deleted": {Namespace, "{}", "status: {phase: Terminating}", "status.Phase: Invalid value: \"Terminating\": may only be 'Active' if `deletionTimestamp` is empty"},
		"one address twice":               {Node, "{}", "status: {addresses: [{type: InternalIP, address: a}, {type: InternalIP, address: a}]}", `status.addresses[1]: Duplicate value: {"type":"InternalIP","address":"a"}`},
	} {
		if got := complaints(tt.of.ValidateStatus(apitest.Defaulted(t, tt.of, tt.in), apitest.Defaulted(t, tt.of, tt.old))); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

func TestWarnings(t *testing.T) {
	p := apitest.Defaulted(t, Pod, `
metadata: {name: a.b}
spec:
  nodeSelector: {beta.kubernetes.io/os: linux}
  hostAliases: [{ip: 1.1.1.1}, {ip: 1.1.1.1}]
  imagePullSecrets: [{}, {name: s}, {name: s}]
  volumes: [{name: g, gitRepo: {repository: r}}]
  terminationGracePeriodSeconds: -1
  containers:
  - name: a
    image: x
    resources: {limits: {memory: 100m}}
    env: [{name: E}, {name: E}]
    ports: [{containerPort: 1}, {containerPort: 1}]`)
	want := `metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]
spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead
spec.hostAliases[1].ip: duplicate ip "1.1.1.1", already defined in spec.hostAliases[0]
spec.imagePullSecrets[0].name: invalid empty name ""
spec.imagePullSecrets[2].name: duplicate name "s"
spec.volumes[0].gitRepo: deprecated in v1.11, and disabled by default in v1.33+
spec.containers[0].resources.limits[memory]: fractional byte value "100m" is invalid, must be an integer
spec.containers[0].resources.requests[memory]: fractional byte value "100m" is invalid, must be an integer
spec.containers[0].env[1]: hides previous definition of "E", which may be dropped when using apply
spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]
spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1`
	if got := strings.Join(Pod.Warnings(p, nil), "\n"); got != want {
		t.Errorf("warnings\n%s\nwant\n%s", got, want)
	}
	if got := Pod.Warnings(apitest.Defaulted(t, Pod, pod("")), nil); len(got) > 0 {
		t.Errorf("warnings of a good pod: %q", got)
	}
}
