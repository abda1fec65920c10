package core

import (
	"strings"
	"testing"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/apitest"
)

func TestValidation(t *testing.T) {
	tests := map[string]struct {
		of       *api.Info
		in, want string
	}{
		"a good pod": {Pod, pod(``), ``},
		"no containers": {Pod, `
spec: {}`, `
spec.containers: Required value`},
		"names of containers and volumes": {Pod, `
spec:
  containers:
  - {name: A_b, image: x}
  - {name: b, image: " x"}
  - {name: b}
  volumes: [{name: v}, {name: v}]`, `
spec.volumes[1].name: Duplicate value: "v"
spec.containers[0].name: Invalid value: "A_b": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
spec.containers[1].image: Invalid value: " x": must not have leading or trailing whitespace
spec.containers[2].name: Duplicate value: "b"
spec.containers[2].image: Required value`},
		"words that are none": {Pod, `
spec:
  restartPolicy: Sometimes
  dnsPolicy: Best
  containers: [{name: a, image: x, imagePullPolicy: maybe, ports: [{containerPort: 70000, protocol: tcp, name: TOO-long-port-name}]}]`, `
spec.containers[0].ports[0].name: Invalid value: "TOO-long-port-name": must be no more than 15 characters
spec.containers[0].ports[0].name: Invalid value: "TOO-long-port-name": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)
spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive
spec.containers[0].ports[0].protocol: Unsupported value: "tcp": supported values: "SCTP", "TCP", "UDP"
spec.containers[0].imagePullPolicy: Unsupported value: "maybe": supported values: "Always", "IfNotPresent", "Never"
spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never"
spec.dnsPolicy: Unsupported value: "Best": supported values: "ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"`},
		"mounts": {Pod, pod(`
    volumeMounts: [{name: lost, mountPath: /a}, {name: v, mountPath: /a, subPath: ../x}]
  volumes: [{name: v, emptyDir: {}, secret: {secretName: s}}]`), `
spec.volumes[0].secret: Forbidden: may not specify more than 1 volume type
spec.containers[0].volumeMounts[0].name: Not found: "lost"
spec.containers[0].volumeMounts[1].name: Not found: "v"
spec.containers[0].volumeMounts[1].mountPath: Invalid value: "/a": must be unique
spec.containers[0].volumeMounts[1].subPath: Invalid value: "../x": must not contain '..'`},
		"environment": {Pod, pod(`
    env:
    - {name: "", value: x}
    - {name: a=b}
    - {name: c, valueFrom: {}}
    - {name: d, value: x, valueFrom: {secretKeyRef: {name: s, key: "a b"}}}
    - {name: e, valueFrom: {fieldRef: {fieldPath: spec.hostNetwork}}}
    - {name: f, valueFrom: {fieldRef: {fieldPath: spec.what}}}
    - {name: g, valueFrom: {resourceFieldRef: {resource: limits.x}}}
    envFrom: [{prefix: p}]`), `
spec.containers[0].env[0].name: Required value
spec.containers[0].env[1].name: Invalid value: "a=b": a valid environment variable name must consist only of printable ASCII characters other than '='
spec.containers[0].env[2].valueFrom: Invalid value: "": must specify one of: ` + "`fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`" + `
spec.containers[0].env[3].valueFrom.secretKeyRef.key: Invalid value: "a b": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')
spec.containers[0].env[3].valueFrom: Invalid value: "": may not be specified when ` + "`value`" + ` is not empty
spec.containers[0].env[4].valueFrom.fieldRef.fieldPath: Unsupported value: "spec.hostNetwork": supported values: "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"
spec.containers[0].env[5].valueFrom.fieldRef.fieldPath: Invalid value: "spec.what": error converting fieldPath: field label not supported: spec.what
spec.containers[0].env[6].valueFrom.resourceFieldRef.resource: Unsupported value: "limits.x": supported values: "limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage", "requests.memory"
spec.containers[0].envFrom: Invalid value: "": must specify one of: ` + "`configMapRef` or `secretRef`"},
		"probes": {Pod, pod(`
    livenessProbe: {}
    readinessProbe: {tcpSocket: {port: 0}, periodSeconds: -1, httpGet: {port: 1}}
    startupProbe: {exec: {command: [x]}, successThreshold: 2, timeoutSeconds: 1}`), `
spec.containers[0].livenessProbe: Required value: must specify a handler type
spec.containers[0].readinessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type
spec.containers[0].readinessProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0
spec.containers[0].startupProbe.successThreshold: Invalid value: 2: must be 1`},
		"resources": {Pod, pod(`
    resources: {requests: {cpu: 2, memory: -1, foo: 1}, limits: {cpu: 1}}`), `
spec.containers[0].resources.requests[foo]: Invalid value: "foo": must be a standard resource type or fully qualified
spec.containers[0].resources.requests[foo]: Invalid value: "foo": must be a standard resource for containers
spec.containers[0].resources.requests[memory]: Invalid value: "-1": must be greater than or equal to 0
spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1`},
		"tolerations": {Pod, pod(`
  tolerations: [{operator: Equal}, {key: a, operator: Exists, value: b, effect: NoSchedule, tolerationSeconds: 1}]`), `
spec.tolerations[0].operator: Invalid value: "Equal": operator must be Exists when ` + "`key`" + ` is empty, which means "match all values and all keys"
spec.tolerations[1].effect: Invalid value: "NoSchedule": effect must be 'NoExecute' when ` + "`tolerationSeconds`" + ` is set
spec.tolerations[1].operator: Invalid value: "b": value must be empty when ` + "`operator`" + ` is 'Exists'`},
		"init containers": {Pod, pod(`
  initContainers:
  - {name: i, image: x, readinessProbe: {exec: {command: [x]}}}
  - {name: s, image: x, restartPolicy: Always, readinessProbe: {exec: {command: [x]}}}`), `
spec.initContainers[0].readinessProbe: Forbidden: may not be set for init containers without restartPolicy=Always`},
		"a service without ports": {Service, `
spec: {clusterIP: 10.0.0.1}`, `
spec.ports: Required value`},
		"service ports": {Service, `
spec:
  ports:
  - {port: 80}
  - {port: 80, name: a, nodePort: 30000, targetPort: a_x}`, `
spec.ports[0].name: Required value
spec.ports[1].targetPort: Invalid value: "a_x": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)
spec.ports[1].nodePort: Forbidden: may not be used when ` + "`type`" + ` is 'ClusterIP'
spec.ports[1]: Duplicate value: {"protocol":"TCP","port":80,"targetPort":0}`},
		"a pod's addresses": {Pod, pod("\n  hostAliases: [{ip: 01.1.1.1}, {ip: x}]"), `
spec.hostAliases[1].ip: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)
spec.hostAliases[0].ip: Invalid value: "01.1.1.1": must not have leading 0s`},
		"addresses with leading zeros": {Service, "spec: {ports: [{port: 1}], externalIPs: [010.0.0.1], type: LoadBalancer, loadBalancerSourceRanges: [10.0.0.1/8]}", `
spec.externalIPs[0]: Invalid value: "010.0.0.1": must not have leading 0s
spec.LoadBalancerSourceRanges[0]: Invalid value: "10.0.0.1/8": must not have bits set beyond the prefix length`},
		"service words": {Service, `
spec: {type: Cluster, sessionAffinity: Cookie, ports: [{port: 1, protocol: ICMP}]}`, `
spec.type: Unsupported value: "Cluster": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"
spec.ports[0].protocol: Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"
spec.sessionAffinity: Unsupported value: "Cookie": supported values: "ClientIP", "None"`},
		"keys of a config map": {ConfigMap, `
data: {"a/b": x, ok: y}
binaryData: {ok: eQ==}`, `
data[a/b]: Invalid value: "a/b": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')
data[ok]: Invalid value: "ok": duplicate of key present in binaryData`},
		"a config map over 1 MiB": {ConfigMap, "data: {a: " + strings.Repeat("x", 1<<20+1) + "}", `
[]: Too long: may not be more than 1048576 bytes`},
		"a config map of 1 MiB": {ConfigMap, "data: {a: " + strings.Repeat("x", 1<<20) + "}", ``},
		"a TLS secret": {Secret, `
type: kubernetes.io/tls
data: {tls.key: eA==}`, `
data[tls.crt]: Required value`},
		"a docker secret": {Secret, `
type: kubernetes.io/dockerconfigjson
stringData: {.dockerconfigjson: "{"}`, `
data[.dockerconfigjson]: Invalid value: "<secret contents redacted>": unexpected end of JSON input`},
		"a replication controller that selects nothing of its own": {ReplicationController, `
spec: {replicas: -1, selector: {a: b}, template: {metadata: {labels: {a: c}}, spec: {restartPolicy: Never, containers: [{name: a, image: x}]}}}`, `
spec.replicas: Invalid value: -1: must be greater than or equal to 0
spec.template.metadata.labels: Invalid value: {"a":"c"}: ` + "`selector` does not match template `labels`" + `
spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"`},
		"a claim": {PersistentVolumeClaim, `
spec: {accessModes: [RWO]}`, `
spec.accessModes: Unsupported value: "RWO": supported values: "ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"
spec.resources[storage]: Required value`},
		"a volume of nothing": {PersistentVolume, `
spec: {accessModes: [ReadWriteOnce], capacity: {storage: 1Gi}}`, `
spec: Required value: must specify a volume type`},
		"a quota": {ResourceQuota, `
spec: {hard: {pods: 1500m, foo: 1, requests.cpu: 1}, scopes: [BestEffort, NotBestEffort]}`, `
spec.hard[foo]: Invalid value: "foo": must be a standard resource type or fully qualified
spec.hard[foo]: Invalid value: "foo": must be a standard resource for quota
spec.hard[pods]: Invalid value: "1500m": must be an integer
spec.scopes: Invalid value: ["BestEffort","NotBestEffort"]: conflicting scopes`},
		"a quota of very much": {ResourceQuota, "spec: {hard: {gold.storageclass.storage.k8s.io/requests.storage: 500Pi, requests.storage: 500Pi}}", ``},
		"a limit range": {LimitRange, `
spec: {limits: [{type: Container, min: {cpu: 2}, max: {cpu: 1}, default: {cpu: 1}, defaultRequest: {cpu: 1}}, {type: Pod, default: {cpu: 1}}]}`, `
spec.limits[0].defaultRequest[cpu]: Invalid value: "1": min value 2 is greater than default request value 1
spec.limits[0].default[cpu]: Invalid value: "2": min value 2 is greater than default value 1
spec.limits[0].min[cpu]: Invalid value: "2": min value 2 is greater than max value 1
spec.limits[1].default: Forbidden: may not be specified when ` + "`type`" + ` is 'Pod'`},
		"taints": {Node, `
spec: {taints: [{key: a, effect: Never}, {key: b, effect: NoExecute}, {key: b, effect: NoExecute}]}`, `
metadata.taints[0].effect: Unsupported value: "Never": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute"
metadata.taints[2]: Duplicate value: {"key":"b","effect":"NoExecute"}: taints must be unique by key and effect pair`},
		"an event of elsewhere": {Event, `
metadata: {namespace: a}
involvedObject: {namespace: b}`, `
involvedObject.namespace: Invalid value: "b": does not match event.namespace`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := apitest.Check(t, tt.of, tt.in, ""); got != strings.TrimSpace(tt.want) {
				t.Errorf("complaints\n%s\nwant%s", got, tt.want)
			}
		})
	}
}

func TestValidationOfUpdates(t *testing.T) {
	frozen := frozenPod + "\n"
	tests := map[string]struct {
		of            *api.Info
		old, in, want string
	}{
		"a pod's image":                  {Pod, pod(``), strings.Replace(pod(``), "nginx:1", "nginx:2", 1), ``},
		"a pod's toleration, added":      {Pod, pod(``), pod("\n  tolerations: [{key: a, operator: Exists}]"), ``},
		"a pod's toleration, taken":      {Pod, pod("\n  tolerations: [{key: a, operator: Exists}]"), pod(``), `spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds`},
		"a pod's deadline, set":          {Pod, pod(``), pod("\n  activeDeadlineSeconds: 5"), ``},
		"a pod's deadline, put off":      {Pod, pod("\n  activeDeadlineSeconds: 5"), pod("\n  activeDeadlineSeconds: 6"), `spec.activeDeadlineSeconds: Invalid value: 6: must be less than or equal to previous value`},
		"a pod's command":                {Pod, pod(``), pod("\n    command: [x]"), `spec: Forbidden: ` + frozen},
		"a pod's node":                   {Pod, pod(``), pod("\n  nodeName: n"), `spec: Forbidden: ` + frozen},
		"another container":              {Pod, pod(``), pod("\n  - {name: b, image: x}"), `spec.containers: Forbidden: pod updates may not add or remove containers`},
		"a gate, taken":                  {Pod, pod("\n  schedulingGates: [{name: g}]"), pod(``), ``},
		"a gate, added":                  {Pod, pod(``), pod("\n  schedulingGates: [{name: g}]"), `spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'g'`},
		"a gated pod's node selector":    {Pod, pod("\n  schedulingGates: [{name: g}]"), pod("\n  schedulingGates: [{name: g}]\n  nodeSelector: {a: b}"), ``},
		"an ungated pod's node selector": {Pod, pod(``), pod("\n  nodeSelector: {a: b}"), `spec: Forbidden: ` + frozen},
		"an immutable config map": {ConfigMap, "{immutable: true, data: {a: b}}", "{data: {a: c}}", `
immutable: Forbidden: field is immutable when ` + "`immutable`" + ` is set
data: Forbidden: field is immutable when ` + "`immutable`" + ` is set`},
		"a secret's type":               {Secret, "{}", "{type: example.com/x}", `type: Invalid value: "example.com/x": field is immutable`},
		"a service's address":           {Service, "{spec: {clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1], ports: [{port: 1}]}}", "{spec: {clusterIP: 10.0.0.2, clusterIPs: [10.0.0.2], ports: [{port: 1}]}}", `spec.clusterIPs[0]: Invalid value: ["10.0.0.2"]: may not change once set`},
		"a service's address, left out": {Service, "{spec: {clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1], ports: [{port: 1}]}}", "{spec: {ports: [{port: 1}]}}", ``},
		"from node port to cluster IP": {Service, "{spec: {type: NodePort, clusterIP: 10.0.0.1, ports: [{port: 1, nodePort: 30000}]}}",
			"{spec: {type: ClusterIP, externalTrafficPolicy: Cluster, clusterIP: 10.0.0.1, ports: [{port: 1, nodePort: 30000}]}}", ``},
		"from cluster IP to external name": {Service, "{spec: {clusterIP: 10.0.0.1, ports: [{port: 1}]}}", "{spec: {type: ExternalName, externalName: a.b, internalTrafficPolicy: Cluster, clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1]}}", ``},
		"a loose address that was there":   {Service, "{spec: {ports: [{port: 1}], externalIPs: [010.0.0.1]}}", "{spec: {ports: [{port: 2}], externalIPs: [010.0.0.1]}}", ``},
		"a node's provider":                {Node, "{spec: {providerID: a}}", "{spec: {providerID: b}}", `spec.providerID: Invalid value: null: field cannot be modified once set`},
		"a quota's scopes":                 {ResourceQuota, "{spec: {scopes: [BestEffort]}}", "{}", `spec.scopes: Invalid value: null: field is immutable`},
		"a claim's class": {PersistentVolumeClaim, "{spec: {storageClassName: a, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1}}}}", "{spec: {storageClassName: b, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1}}}}",
			"spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, want := apitest.Check(t, tt.of, tt.in, tt.old), strings.TrimLeft(tt.want, "\n")
			if got != want && !(strings.HasSuffix(want, "\n") && strings.HasPrefix(got, want) && strings.Contains(got, "+")) { // a difference follows
				t.Errorf("complaints\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// A new pod, from defaults to checks: what each create costs beyond decoding and storing.
func BenchmarkNewPod(b *testing.B) {
	text := pod(`
    ports: [{containerPort: 80, name: web}]
    resources: {requests: {cpu: 100m, memory: 64Mi}}
    readinessProbe: {httpGet: {port: web}}
    volumeMounts: [{name: v, mountPath: /v}]
  volumes: [{name: v, configMap: {name: c}}]`)
	o := apitest.Read(b, Pod, text)
	b.ReportAllocs()
	for b.Loop() {
		p := o.DeepCopyObject().(api.Object)
		Pod.Default(p)
		Pod.Prepare(p, nil)
		if errs := Pod.Validate(p, nil); len(errs) > 0 {
			b.Fatal(errs)
		}
	}
}
