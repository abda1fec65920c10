package apps

import (
	"strings"
	"testing"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/apitest"
)

// template is one whose plain defaults are all written out.
const template = `
  template:
    metadata: {labels: {app: web}}
    spec:
      restartPolicy: Always
      dnsPolicy: ClusterFirst
      schedulerName: default-scheduler
      securityContext: {}
      terminationGracePeriodSeconds: 30
      containers: [{name: a, image: "nginx:1", imagePullPolicy: IfNotPresent, terminationMessagePath: /dev/termination-log, terminationMessagePolicy: File}]`

const selected = `
metadata: {name: w}
spec:
  selector: {matchLabels: {app: web}}` + template

func TestDefaults(t *testing.T) {
	tests := map[string]struct {
		of       *api.Info
		in, want string
	}{
		"a deployment": {Deployment, selected, `
spec.progressDeadlineSeconds=600
spec.replicas=1
spec.revisionHistoryLimit=10
spec.strategy.rollingUpdate.maxSurge=25%
spec.strategy.rollingUpdate.maxUnavailable=25%
spec.strategy.type=RollingUpdate`},
		"a deployment that is made anew": {Deployment, selected + `
  strategy: {type: Recreate}`, `
spec.progressDeadlineSeconds=600
spec.replicas=1
spec.revisionHistoryLimit=10`},
		"a template gets less than a pod": {Deployment, `
spec: {template: {spec: {hostNetwork: true, containers: [{name: a, image: b, ports: [{containerPort: 1}], resources: {limits: {cpu: 1}}}]}}}`, `
spec.progressDeadlineSeconds=600
spec.replicas=1
spec.revisionHistoryLimit=10
spec.strategy.rollingUpdate.maxSurge=25%
spec.strategy.rollingUpdate.maxUnavailable=25%
spec.strategy.type=RollingUpdate
spec.template.spec.containers[0].imagePullPolicy=Always
spec.template.spec.containers[0].ports[0].protocol=TCP
spec.template.spec.containers[0].terminationMessagePath=/dev/termination-log
spec.template.spec.containers[0].terminationMessagePolicy=File
spec.template.spec.dnsPolicy=ClusterFirst
spec.template.spec.restartPolicy=Always
spec.template.spec.schedulerName=default-scheduler
spec.template.spec.securityContext={}
spec.template.spec.terminationGracePeriodSeconds=30`},
		"a replica set": {ReplicaSet, selected, `spec.replicas=1`},
		"a daemon set": {DaemonSet, selected, `
spec.revisionHistoryLimit=10
spec.updateStrategy.rollingUpdate.maxSurge=0
spec.updateStrategy.rollingUpdate.maxUnavailable=1
spec.updateStrategy.type=RollingUpdate`},
		"a stateful set": {StatefulSet, selected + `
  volumeClaimTemplates: [{metadata: {name: data}, spec: {accessModes: [ReadWriteOnce]}}]`, `
spec.persistentVolumeClaimRetentionPolicy.whenDeleted=Retain
spec.persistentVolumeClaimRetentionPolicy.whenScaled=Retain
spec.podManagementPolicy=OrderedReady
spec.replicas=1
spec.revisionHistoryLimit=10
spec.updateStrategy.rollingUpdate.maxUnavailable=1
spec.updateStrategy.rollingUpdate.partition=0
spec.updateStrategy.type=RollingUpdate
spec.volumeClaimTemplates[0].apiVersion=v1
spec.volumeClaimTemplates[0].kind=PersistentVolumeClaim
spec.volumeClaimTemplates[0].spec.volumeMode=Filesystem
spec.volumeClaimTemplates[0].status.phase=Pending`},
		"a stateful set that waits to be deleted": {StatefulSet, selected + `
  updateStrategy: {type: OnDelete}`, `
spec.persistentVolumeClaimRetentionPolicy.whenDeleted=Retain
spec.persistentVolumeClaimRetentionPolicy.whenScaled=Retain
spec.podManagementPolicy=OrderedReady
spec.replicas=1
spec.revisionHistoryLimit=10`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := apitest.Added(t, tt.of, tt.in); got != strings.TrimSpace(tt.want) {
				t.Errorf("defaulting adds\n%s\nwant%s", got, tt.want)
			}
		})
	}
}

func TestValidation(t *testing.T) {
	tests := map[string]struct {
		of            *api.Info
		in, old, want string
	}{
		"a deployment":  {Deployment, selected, "", ``},
		"a daemon set":  {DaemonSet, selected, "", ``},
		"a replica set": {ReplicaSet, selected, "", ``},
		"a stateful set whose pods mount a claim": {StatefulSet, strings.Replace(selected, "imagePullPolicy", "volumeMounts: [{name: data, mountPath: /d}], imagePullPolicy", 1) + `
  volumeClaimTemplates: [{metadata: {name: data}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}]`, "", ``},
		"a selector that does not match its template": {Deployment, strings.Replace(selected, "matchLabels: {app: web}", "matchLabels: {app: other}", 1), "",
			"spec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: `selector` does not match template `labels`"},
		"no selector": {Deployment, "spec:" + template, "", `
spec.selector: Required value
spec.template.metadata.labels: Invalid value: {"app":"web"}: ` + "`selector` does not match template `labels`"},
		"an empty selector": {Deployment, "spec:\n  selector: {}" + template, "", `
spec.selector: Invalid value: {}: empty selector is invalid for deployment`},
		"negative replicas": {Deployment, selected + "\n  replicas: -1", "", `spec.replicas: Invalid value: -1: must be greater than or equal to 0`},
		"a rollout that cannot move": {Deployment, selected + "\n  strategy: {rollingUpdate: {maxSurge: 0, maxUnavailable: 0%}}", "",
			"spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"0%\": may not be 0 when `maxSurge` is 0"},
		"more than all": {Deployment, selected + "\n  strategy: {rollingUpdate: {maxUnavailable: 101%, maxSurge: many}}", "", `
spec.strategy.rollingUpdate.maxSurge: Invalid value: "many": a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')
spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "101%": must not be greater than 100%`},
		"recreate with rolling parameters": {Deployment, selected + "\n  strategy: {type: Recreate, rollingUpdate: {}}", "",
			"spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"},
		"a deadline before ready":       {Deployment, selected + "\n  progressDeadlineSeconds: 5\n  minReadySeconds: 5", "", `spec.progressDeadlineSeconds: Invalid value: 5: must be greater than minReadySeconds`},
		"pods that end":                 {Deployment, strings.Replace(selected, "restartPolicy: Always", "restartPolicy: OnFailure", 1), "", `spec.template.spec.restartPolicy: Unsupported value: "OnFailure": supported values: "Always"`},
		"pods with a deadline":          {DaemonSet, strings.Replace(selected, "restartPolicy: Always", "activeDeadlineSeconds: 3", 1), "", `spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in DaemonSet is not Supported`},
		"a daemon set that cannot move": {DaemonSet, selected + "\n  updateStrategy: {rollingUpdate: {maxUnavailable: 0}}", "", `spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0`},
		"another selector": {Deployment, strings.ReplaceAll(selected, "app: web", "app: other"), selected,
			`spec.selector: Invalid value: {"matchLabels":{"app":"other"}}: field is immutable`},
		"a stateful set's service": {StatefulSet, selected + "\n  serviceName: x", selected,
			`spec.serviceName: Invalid value: "x": field is immutable`},
		"a stateful set's replicas": {StatefulSet, selected + "\n  replicas: 3", selected, ``},
		"a revision's data":         {ControllerRevision, "{revision: 1, data: {a: 1}}", "{revision: 1, data: {a: 2}}", `data: Invalid value: {"a":1}: field is immutable`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := apitest.Check(t, tt.of, tt.in, tt.old); got != strings.TrimSpace(tt.want) {
				t.Errorf("complaints\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

func TestTables(t *testing.T) {
	tests := map[string]struct {
		of               *api.Info
		in, header, want string
	}{
		"deployment": {Deployment, selected + "\nstatus: {readyReplicas: 1, updatedReplicas: 2, availableReplicas: 3}",
			"Name | Ready | Up-to-date | Available | Age | [Containers] | [Images] | [Selector]", "w | 1/1 | 2 | 3 | <unknown> | [a] | [nginx:1] | [app=web]"},
		"replica set": {ReplicaSet, selected + "\nstatus: {replicas: 2, readyReplicas: 1}",
			"Name | Desired | Current | Ready | Age | [Containers] | [Images] | [Selector]", "w | 1 | 2 | 1 | <unknown> | [a] | [nginx:1] | [app=web]"},
		"daemon set": {DaemonSet, selected + "\nstatus: {desiredNumberScheduled: 5, currentNumberScheduled: 4, numberReady: 3, updatedNumberScheduled: 2, numberAvailable: 1}",
			"Name | Desired | Current | Ready | Up-to-date | Available | Node Selector | Age | [Containers] | [Images] | [Selector]",
			"w | 5 | 4 | 3 | 2 | 1 | <none> | <unknown> | [a] | [nginx:1] | [app=web]"},
		"stateful set": {StatefulSet, selected + "\n  replicas: 3\nstatus: {readyReplicas: 2}", "Name | Ready | Age | [Containers] | [Images]", "w | 2/3 | <unknown> | [a] | [nginx:1]"},
		"revision": {ControllerRevision, "metadata: {name: r, ownerReferences: [{apiVersion: apps/v1, kind: DaemonSet, name: d, uid: u, controller: true}]}\nrevision: 4",
			"Name | Controller | Revision | Age", "r | daemonset.apps/d | 4 | <unknown>"},
	}
	for name, tt := range tests {
		if got := apitest.Header(tt.of); got != tt.header {
			t.Errorf("%s: header %s, want %s", name, got, tt.header)
		}
		if got := apitest.Row(tt.of, apitest.Defaulted(t, tt.of, tt.in)); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

func TestDaemonSetCountsItsTemplates(t *testing.T) {
	const key = "deprecated.daemonset.template.generation"
	old := apitest.Defaulted(t, DaemonSet, selected)
	DaemonSet.Prepare(old, nil)
	same := apitest.Defaulted(t, DaemonSet, selected)
	DaemonSet.Prepare(same, old)
	next := apitest.Defaulted(t, DaemonSet, strings.Replace(selected, "nginx:1", "nginx:2", 1))
	DaemonSet.Prepare(next, old)
	for i, o := range []api.Object{old, same, next} {
		if got, want := o.GetAnnotations()[key], []string{"1", "1", "2"}[i]; got != want {
			t.Errorf("object %d: %s, want %s", i, got, want)
		}
	}
}

func TestScale(t *testing.T) {
	for _, i := range []*api.Info{Deployment, ReplicaSet, StatefulSet} {
		o := apitest.Defaulted(t, i, selected+"\nstatus: {replicas: 2}")
		i.SetScale(o, 5)
		if got, want := i.GetScale(o), (api.ScaleView{Spec: 5, Status: 2, Selector: "app=web"}); got != want {
			t.Errorf("%s: %+v, want %+v", i.Kind, got, want)
		}
	}
}
