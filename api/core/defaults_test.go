package core

import (
	"strings"
	"testing"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/apitest"
)

func TestDefaults(t *testing.T) {
	tests := map[string]struct {
		of       *api.Info
		in, want string
	}{
		"a pod of one container": {Pod, `
spec: {containers: [{name: a, image: nginx}]}`, `
spec.containers[0].imagePullPolicy=Always
spec.containers[0].terminationMessagePath=/dev/termination-log
spec.containers[0].terminationMessagePolicy=File
spec.dnsPolicy=ClusterFirst
spec.enableServiceLinks=true
spec.restartPolicy=Always
spec.schedulerName=default-scheduler
spec.securityContext={}
spec.terminationGracePeriodSeconds=30`},
		"ports, probes and hooks": {Pod, `
spec:
  restartPolicy: Never
  dnsPolicy: Default
  enableServiceLinks: false
  schedulerName: mine
  terminationGracePeriodSeconds: 5
  securityContext: {runAsUser: 1}
  hostNetwork: true
  containers:
  - name: a
    image: localhost:5000/nginx:1.2
    terminationMessagePath: /x
    terminationMessagePolicy: FallbackToLogsOnError
    ports: [{containerPort: 80}]
    livenessProbe: {httpGet: {port: 80}}
    readinessProbe: {grpc: {port: 90}, periodSeconds: 1}
    lifecycle: {preStop: {httpGet: {port: 1, path: /bye}}}
    env: [{name: N, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]`, `
spec.containers[0].env[0].valueFrom.fieldRef.apiVersion=v1
spec.containers[0].imagePullPolicy=IfNotPresent
spec.containers[0].lifecycle.preStop.httpGet.scheme=HTTP
spec.containers[0].livenessProbe.failureThreshold=3
spec.containers[0].livenessProbe.httpGet.path=/
spec.containers[0].livenessProbe.httpGet.scheme=HTTP
spec.containers[0].livenessProbe.periodSeconds=10
spec.containers[0].livenessProbe.successThreshold=1
spec.containers[0].livenessProbe.timeoutSeconds=1
spec.containers[0].ports[0].hostPort=80
spec.containers[0].ports[0].protocol=TCP
spec.containers[0].readinessProbe.failureThreshold=3
spec.containers[0].readinessProbe.grpc.service=
spec.containers[0].readinessProbe.successThreshold=1
spec.containers[0].readinessProbe.timeoutSeconds=1`},
		"requests follow limits, and are rounded up": {Pod, pod(`
    resources: {limits: {cpu: 1, memory: 1Gi}, requests: {cpu: 0.0001}}`), `
spec.containers[0].resources.requests.cpu=1m
spec.containers[0].resources.requests.memory=1Gi`},
		"volumes": {Pod, pod(`
  volumes:
  - {name: a}
  - {name: b, secret: {secretName: s}}
  - {name: c, configMap: {name: c}}
  - {name: d, hostPath: {path: /d}}
  - {name: e, downwardAPI: {items: [{path: p, fieldRef: {fieldPath: metadata.name}}]}}
  - {name: f, projected: {sources: [{serviceAccountToken: {path: t}}]}}
  - {name: g, ephemeral: {volumeClaimTemplate: {spec: {accessModes: [ReadWriteOnce]}}}}
  - {name: h, image: {reference: "x@sha256:0123"}}`), `
spec.volumes[0].emptyDir={}
spec.volumes[1].secret.defaultMode=420
spec.volumes[2].configMap.defaultMode=420
spec.volumes[3].hostPath.type=
spec.volumes[4].downwardAPI.defaultMode=420
spec.volumes[4].downwardAPI.items[0].fieldRef.apiVersion=v1
spec.volumes[5].projected.defaultMode=420
spec.volumes[5].projected.sources[0].serviceAccountToken.expirationSeconds=3600
spec.volumes[6].ephemeral.volumeClaimTemplate.spec.volumeMode=Filesystem
spec.volumes[7].image.pullPolicy=IfNotPresent`},
		"the service account's older name": {Pod, pod(`
  serviceAccount: robot`), `
spec.serviceAccountName=robot`},
		"a service": {Service, `
spec: {ports: [{port: 80}], selector: {a: b}}`, `
spec.internalTrafficPolicy=Cluster
spec.ports[0].protocol=TCP
spec.ports[0].targetPort=80
spec.sessionAffinity=None
spec.type=ClusterIP`},
		"a load balancer with affinity": {Service, `
spec: {type: LoadBalancer, sessionAffinity: ClientIP, ports: [{port: 80, targetPort: web, protocol: UDP}]}`, `
spec.allocateLoadBalancerNodePorts=true
spec.externalTrafficPolicy=Cluster
spec.internalTrafficPolicy=Cluster
spec.sessionAffinityConfig.clientIP.timeoutSeconds=10800`},
		"an external name": {Service, `
spec: {type: ExternalName, externalName: a.b}`, `
spec.sessionAffinity=None`},
		"a namespace": {Namespace, `
metadata: {name: home}`, `
metadata.labels.kubernetes.io/metadata.name=home`},
		"a secret": {Secret, `
stringData: {a: b}`, `
data.a=Yg==
type=Opaque`},
		"a claim": {PersistentVolumeClaim, `
spec: {accessModes: [ReadWriteOnce]}`, `
spec.volumeMode=Filesystem
status.phase=Pending`},
		"a volume": {PersistentVolume, `
spec: {hostPath: {path: /a}}`, `
spec.hostPath.type=
spec.persistentVolumeReclaimPolicy=Retain
spec.volumeMode=Filesystem
status.phase=Pending`},
		"a replication controller": {ReplicationController, `
spec: {template: {metadata: {labels: {a: b}}, spec: {restartPolicy: Always, dnsPolicy: Default, schedulerName: s, terminationGracePeriodSeconds: 1, securityContext: {}}}}`, `
metadata.labels.a=b
spec.replicas=1
spec.selector.a=b`},
		"a limit range": {LimitRange, `
spec: {limits: [{type: Container, max: {cpu: 2}, min: {memory: 1Mi}}]}`, `
spec.limits[0].default.cpu=2
spec.limits[0].defaultRequest.cpu=2
spec.limits[0].defaultRequest.memory=1Mi`},
		"a node's allocatable": {Node, `
status: {capacity: {cpu: 2}}`, `
status.allocatable.cpu=2`},
		"endpoints": {Endpoints, `
subsets: [{ports: [{port: 1}]}]`, `
subsets[0].ports[0].protocol=TCP`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := apitest.Added(t, tt.of, tt.in); got != strings.TrimSpace(tt.want) {
				t.Errorf("defaulting adds\n%s\nwant%s", got, tt.want)
			}
		})
	}
}

// pod is a pod with one container whose plain defaults are all written out, and more below it.
func pod(more string) string {
	return `
metadata: {name: p, namespace: default}
spec:
  restartPolicy: Always
  dnsPolicy: ClusterFirst
  enableServiceLinks: true
  schedulerName: default-scheduler
  securityContext: {}
  terminationGracePeriodSeconds: 30
  containers:
  - name: a
    image: nginx:1
    imagePullPolicy: IfNotPresent
    terminationMessagePath: /dev/termination-log
    terminationMessagePolicy: File` + more
}

func TestEmptyObjectsDefaultTwiceAlike(t *testing.T) {
	for _, i := range All {
		apitest.Added(t, i, "{}")
	}
}

func TestImagePullPolicyFollowsTheTag(t *testing.T) {
	for image, want := range map[string]string{
		"a": "Always", "a:latest": "Always", "r.io:5000/a": "Always", "a:1": "IfNotPresent", "r.io:5000/a/b:v2": "IfNotPresent",
		"a@sha256:00": "IfNotPresent", "a:latest@sha256:00": "Always",
	} {
		if got := pullPolicy(image); string(got) != want {
			t.Errorf("%s: %s, want %s", image, got, want)
		}
	}
}
