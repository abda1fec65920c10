package core

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/apitest"
)

func TestHeaders(t *testing.T) {
	for i, want := range map[*api.Info]string{
		ComponentStatus:       "Name | Status | Message | Error",
		ConfigMap:             "Name | Data | Age",
		Endpoints:             "Name | Endpoints | Age",
		Event:                 "Last Seen | Type | Reason | Object | [Subobject] | [Source] | Message | [First Seen] | [Count] | [Name]",
		LimitRange:            "Name | Created At",
		Namespace:             "Name | Status | Age",
		Node:                  "Name | Status | Roles | Age | Version | [Internal-IP] | [External-IP] | [OS-Image] | [Kernel-Version] | [Container-Runtime]",
		PersistentVolume:      "Name | Capacity | Access Modes | Reclaim Policy | Status | Claim | StorageClass | VolumeAttributesClass | Reason | Age | [VolumeMode]",
		PersistentVolumeClaim: "Name | Status | Volume | Capacity | Access Modes | StorageClass | VolumeAttributesClass | Age | [VolumeMode]",
		Pod:                   "Name | Ready | Status | Restarts | Age | [IP] | [Node] | [Nominated Node] | [Readiness Gates]",
		PodTemplate:           "Name | Containers | Images | Pod Labels",
		ReplicationController: "Name | Desired | Current | Ready | Age | [Containers] | [Images] | [Selector]",
		ResourceQuota:         "Name | Request | Limit | Age",
		Secret:                "Name | Type | Data | Age",
		Service:               "Name | Type | Cluster-IP | External-IP | Port(s) | Age | [Selector]",
		ServiceAccount:        "Name | Age",
	} {
		if got := apitest.Header(i); got != want {
			t.Errorf("%s: %s, want %s", i.Kind, got, want)
		}
	}
}

func TestRows(t *testing.T) {
	tests := map[string]struct {
		of       *api.Info
		in, want string
	}{
		"a pod without status": {Pod, "metadata: {name: p}\nspec: {containers: [{name: a}, {name: b}]}",
			"p | 0/2 |  | 0 | <unknown> | [<none>] | [<none>] | [<none>] | [<none>]"},
		"a cluster IP service": {Service, "metadata: {name: s}\nspec: {clusterIP: 10.0.0.1, ports: [{port: 80}, {port: 53, protocol: UDP}], selector: {a: b}}",
			"s | ClusterIP | 10.0.0.1 | <none> | 80/TCP,53/UDP | <unknown> | [a=b]"},
		"a load balancer that waits": {Service, "metadata: {name: s}\nspec: {type: LoadBalancer, clusterIP: 10.0.0.1, ports: [{port: 80, nodePort: 30080}]}",
			"s | LoadBalancer | 10.0.0.1 | <pending> | 80:30080/TCP | <unknown> | [<none>]"},
		"a load balancer that is there": {Service, "metadata: {name: s}\nspec: {type: LoadBalancer, clusterIP: 10.0.0.1, externalIPs: [9.9.9.9]}\nstatus: {loadBalancer: {ingress: [{ip: 2.2.2.2}, {hostname: h.x}, {ip: 1.1.1.1}]}}",
			"s | LoadBalancer | 10.0.0.1 | 1.1.1.1,2.2.2.2,h.x,9.9.9.9 | <none> | <unknown> | [<none>]"},
		"an external name": {Service, "metadata: {name: s}\nspec: {type: ExternalName, externalName: a.b}",
			"s | ExternalName | <none> | a.b | <none> | <unknown> | [<none>]"},
		"a node": {Node, "metadata: {name: n1, labels: {node-role.kubernetes.io/worker: '', node-role.kubernetes.io/control-plane: ''}}\nspec: {unschedulable: true}\nstatus: {conditions: [{type: Ready, status: 'True'}], addresses: [{type: InternalIP, address: 10.1.1.1}], nodeInfo: {kubeletVersion: v1.37.0, osImage: Debian}}",
			"n1 | Ready,SchedulingDisabled | control-plane,worker | <unknown> | v1.37.0 | [10.1.1.1] | [<none>] | [Debian] | [<unknown>] | [<unknown>]"},
		"a node that is silent": {Node, "metadata: {name: n1}\nstatus: {conditions: [{type: Ready, status: Unknown}]}",
			"n1 | NotReady | <none> | <unknown> |  | [<none>] | [<none>] | [<unknown>] | [<unknown>] | [<unknown>]"},
		"an event": {Event, "metadata: {name: e}\ninvolvedObject: {kind: Pod, name: p, fieldPath: 'spec.containers{a}'}\nreason: Started\ntype: Normal\nmessage: ' go '\nsource: {component: kubelet, host: n1}\ncount: 2",
			"<unknown> | Normal | Started | pod/p | [spec.containers{a}] | [kubelet, n1] | go | [<unknown>] | [2] | [e]"},
		"endpoints": {Endpoints, "metadata: {name: e}\nsubsets: [{addresses: [{ip: 1.1.1.1}, {ip: 1.1.1.2}], ports: [{port: 1}, {port: 2}]}]",
			"e | 1.1.1.1:1,1.1.1.2:1,1.1.1.1:2 + 1 more... | <unknown>"},
		"a quota": {ResourceQuota, "metadata: {name: q}\nstatus: {hard: {requests.cpu: 2, limits.cpu: 4, pods: 10}, used: {pods: 1}}",
			"q | pods: 1/10, requests.cpu: 0/2 | limits.cpu: 0/4 | <unknown>"},
		"a claim that is bound": {PersistentVolumeClaim, "metadata: {name: c}\nspec: {volumeName: v, storageClassName: fast}\nstatus: {phase: Bound, capacity: {storage: 1Gi}, accessModes: [ReadWriteMany, ReadWriteOnce]}",
			"c | Bound | v | 1Gi | RWO,RWX | fast | <unset> | <unknown> | [Filesystem]"},
		"a volume": {PersistentVolume, "metadata: {name: v}\nspec: {capacity: {storage: 1Gi}, accessModes: [ReadWriteOncePod], claimRef: {namespace: a, name: b}}\nstatus: {phase: Bound}",
			"v | 1Gi | RWOP | Retain | Bound | a/b |  | <unset> |  | <unknown> | [Filesystem]"},
		"a controller": {ReplicationController, "metadata: {name: r}\nspec: {template: {metadata: {labels: {a: b}}, spec: {containers: [{name: x, image: i}, {name: z, image: j}]}}}\nstatus: {replicas: 2, readyReplicas: 1}",
			"r | 1 | 2 | 1 | <unknown> | [x,z] | [i,j] | [a=b]"},
		"a sick component": {ComponentStatus, "metadata: {name: c}\nconditions: [{type: Healthy, status: 'False', message: m, error: e}]", "c | Unhealthy | m | e"},
		"a limit range":    {LimitRange, "metadata: {name: l, creationTimestamp: '2026-01-02T03:04:05Z'}", "l | 2026-01-02T03:04:05Z"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := apitest.Row(tt.of, apitest.Defaulted(t, tt.of, tt.in)); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// Each status is what kubectl get pods shows of a pod with two containers, a and b.
func TestPodSummary(t *testing.T) {
	ago := time.Now().Add(-5 * time.Minute).UTC().Format(time.RFC3339)
	sidecar := "spec: {containers: [{name: a}], initContainers: [{name: s, restartPolicy: Always}, {name: i}]}\n"
	inits := "spec: {containers: [{name: a}], initContainers: [{name: i}, {name: j}]}\n"
	both := "spec: {containers: [{name: a}, {name: b}]}\n"
	tests := map[string]struct{ in, want string }{
		"starts": {both + "status: {phase: Pending, containerStatuses: [{name: a, state: {waiting: {reason: ContainerCreating}}}, {name: b, state: {waiting: {reason: ContainerCreating}}}]}", "0/2 ContainerCreating 0"},
		"runs":   {both + "status: {phase: Running, containerStatuses: [{name: a, ready: true, state: {running: {}}}, {name: b, ready: true, state: {running: {}}}]}", "2/2 Running 0"},
		"crashes again and again": {both + "status: {phase: Running, containerStatuses: [{name: a, ready: true, state: {running: {}}}, {name: b, restartCount: 3, state: {waiting: {reason: CrashLoopBackOff}}, lastState: {terminated: {exitCode: 1, finishedAt: '" + ago + "'}}}]}",
			"1/2 CrashLoopBackOff 3 (5m ago)"},
		"is done":                          {both + "status: {phase: Succeeded, containerStatuses: [{name: a, state: {terminated: {reason: Completed}}}, {name: b, state: {terminated: {reason: Completed}}}]}", "0/2 Completed 0"},
		"is half done and ready":           {both + "status: {phase: Running, conditions: [{type: Ready, status: 'True'}], containerStatuses: [{name: a, state: {terminated: {reason: Completed}}}, {name: b, ready: true, state: {running: {}}}]}", "1/2 Running 0"},
		"is half done and not ready":       {both + "status: {phase: Running, containerStatuses: [{name: a, state: {terminated: {reason: Completed}}}, {name: b, ready: true, state: {running: {}}}]}", "1/2 NotReady 0"},
		"ended by a signal":                {both + "status: {phase: Failed, containerStatuses: [{name: a, state: {terminated: {signal: 9}}}]}", "0/2 Signal:9 0"},
		"ended with a code":                {both + "status: {phase: Failed, containerStatuses: [{name: a, state: {terminated: {exitCode: 3}}}]}", "0/2 ExitCode:3 0"},
		"was evicted":                      {both + "status: {phase: Failed, reason: Evicted}", "0/2 Evicted 0"},
		"is gated":                         {both + "status: {phase: Pending, conditions: [{type: PodScheduled, status: 'False', reason: SchedulingGated}]}", "0/2 SchedulingGated 0"},
		"terminates":                       {"metadata: {deletionTimestamp: '2026-01-01T00:00:00Z'}\n" + both + "status: {phase: Running, containerStatuses: [{name: a, ready: true, state: {running: {}}}]}", "1/2 Terminating 0"},
		"is over and goes":                 {"metadata: {deletionTimestamp: '2026-01-01T00:00:00Z'}\n" + both + "status: {phase: Succeeded, containerStatuses: [{name: a, state: {terminated: {reason: Completed}}}]}", "0/2 Completed 0"},
		"is on a lost node":                {"metadata: {deletionTimestamp: '2026-01-01T00:00:00Z'}\n" + both + "status: {phase: Running, reason: NodeLost}", "0/2 Unknown 0"},
		"runs its first init container":    {inits + "status: {phase: Pending, initContainerStatuses: [{name: i, state: {running: {}}}, {name: j, state: {waiting: {reason: PodInitializing}}}]}", "0/1 Init:0/2 0"},
		"runs its second init container":   {inits + "status: {phase: Pending, initContainerStatuses: [{name: i, state: {terminated: {}}}, {name: j, state: {running: {}}}]}", "0/1 Init:1/2 0"},
		"has an init container that fails": {inits + "status: {phase: Pending, initContainerStatuses: [{name: i, restartCount: 2, state: {terminated: {exitCode: 1, reason: Error}}}]}", "0/1 Init:Error 2"},
		"has one that backs off":           {inits + "status: {phase: Pending, initContainerStatuses: [{name: i, state: {waiting: {reason: CrashLoopBackOff}}}]}", "0/1 Init:CrashLoopBackOff 0"},
		"has one that ended with a code":   {inits + "status: {phase: Pending, initContainerStatuses: [{name: i, state: {terminated: {exitCode: 2}}}]}", "0/1 Init:ExitCode:2 0"},
		"is past its init containers":      {inits + "status: {phase: Pending, initContainerStatuses: [{name: i, restartCount: 4, state: {terminated: {}}}, {name: j, state: {terminated: {}}}], containerStatuses: [{name: a, state: {waiting: {reason: PodInitializing}}}]}", "0/1 PodInitializing 0"},
		"has a sidecar that runs":          {sidecar + "status: {phase: Running, initContainerStatuses: [{name: s, started: true, ready: true, restartCount: 1, state: {running: {}}}, {name: i, state: {terminated: {}}}], containerStatuses: [{name: a, ready: true, state: {running: {}}}]}", "2/2 Running 1"},
		"has a sidecar that starts":        {sidecar + "status: {phase: Pending, initContainerStatuses: [{name: s, started: false, state: {running: {}}}]}", "0/2 Init:0/2 0"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := summarize(apitest.Read(t, Pod, tt.in).(*corev1.Pod))
			if got := fmt.Sprint(s.readiness(), " ", s.status, " ", s.restarts()); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestPodGraceAndClass(t *testing.T) {
	n := func(i int64) *int64 { return &i }
	for name, tt := range map[string]struct {
		in        string
		requested *int64
		want      int64
	}{
		"not on a node":     {"spec: {terminationGracePeriodSeconds: 30}", n(7), 0},
		"its own":           {"spec: {nodeName: n, terminationGracePeriodSeconds: 30}", nil, 30},
		"as asked":          {"spec: {nodeName: n, terminationGracePeriodSeconds: 30}", n(7), 7},
		"at once":           {"spec: {nodeName: n, terminationGracePeriodSeconds: 30}", n(0), 0},
		"below zero is one": {"spec: {nodeName: n, terminationGracePeriodSeconds: -5}", nil, 1},
		"over already":      {"spec: {nodeName: n, terminationGracePeriodSeconds: 30}\nstatus: {phase: Failed}", nil, 0},
	} {
		if got := Pod.Grace(apitest.Read(t, Pod, tt.in), tt.requested); got != tt.want {
			t.Errorf("%s: %d, want %d", name, got, tt.want)
		}
	}
	for in, want := range map[string]corev1.PodQOSClass{
		"spec: {containers: [{name: a}]}":                                                                 "BestEffort",
		"spec: {containers: [{name: a, resources: {requests: {cpu: 1}}}]}":                                "Burstable",
		"spec: {containers: [{name: a, resources: {limits: {cpu: 1}}}]}":                                  "Burstable",
		"spec: {containers: [{name: a, resources: {limits: {cpu: 1, memory: 1}}}]}":                       "Guaranteed",
		"spec: {containers: [{name: a, resources: {limits: {cpu: 1, memory: 1}}}, {name: b}]}":            "Burstable",
		"spec: {containers: [{name: a, resources: {limits: {cpu: 1, memory: 1}, requests: {cpu: 0.5}}}]}": "Burstable",
		"spec: {resources: {limits: {cpu: 1, memory: 1}}, containers: [{name: a}]}":                       "Guaranteed",
	} {
		p := apitest.Defaulted(t, Pod, in).(*corev1.Pod)
		Pod.Prepare(p, nil)
		if p.Status.QOSClass != want || p.Status.Phase != corev1.PodPending {
			t.Errorf("%s: %s %s, want Pending %s", in, p.Status.Phase, p.Status.QOSClass, want)
		}
	}
}
