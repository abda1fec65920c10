package builtin

import "testing"

func TestNetworkingRules(t *testing.T) {
	ingress := func(spec string) string {
		return "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: a}\nspec: " + spec
	}
	policy := func(spec string) string {
		return "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a}\nspec: " + spec
	}
	class := func(spec string) string {
		return "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: a}\nspec: " + spec
	}
	cidr := func(list string) string {
		return "apiVersion: networking.k8s.io/v1\nkind: ServiceCIDR\nmetadata: {name: a}\nspec: {cidrs: " + list + "}"
	}
	address := func(name, ref string) string {
		return "apiVersion: networking.k8s.io/v1\nkind: IPAddress\nmetadata: {name: '" + name + "'}\nspec: {parentRef: " + ref + "}"
	}
	service := "{resource: services, namespace: default, name: kubernetes}"
	testRules(t, map[string]rule{
		"an ingress with one path": {doc: ingress(`{rules: [{host: a.example.com, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]}`)},
		"an ingress needs something": {doc: ingress(`{}`),
			want: "spec: Invalid value: null: either `defaultBackend` or `rules` must be specified"},
		"pathType is required": {doc: ingress(`{rules: [{http: {paths: [{path: /, backend: {service: {name: web, port: {name: http}}}}]}}]}`),
			want: `spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified`},
		"a path type that is none": {doc: ingress(`{rules: [{http: {paths: [{path: /, pathType: Regex, backend: {service: {name: web, port: {name: http}}}}]}}]}`),
			want: `spec.rules[0].http.paths[0].pathType: Unsupported value: "Regex": supported values: "Exact", "ImplementationSpecific", "Prefix"`},
		"a path goes from the root and does not climb": {doc: ingress(`{rules: [{http: {paths: [{path: a/../b, pathType: Exact, backend: {service: {name: web, port: {name: http}}}}]}}]}`),
			want: `spec.rules[0].http.paths[0].path: Invalid value: "a/../b": must be an absolute path
spec.rules[0].http.paths[0].path: Invalid value: "a/../b": must not contain '/../'`},
		"no paths": {doc: ingress(`{rules: [{http: {paths: []}}]}`), want: `spec.rules[0].http.paths: Required value`},
		"an address is no host": {doc: ingress(`{rules: [{host: 10.0.0.1}]}`),
			want: `spec.rules[0].host: Invalid value: "10.0.0.1": must be a DNS name, not an IP address`},
		"a star within a host": {doc: ingress(`{rules: [{host: 'a.*.com'}]}`),
			want: `spec.rules[0].host: Invalid value: "a.*.com": a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\*\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')`},
		"a backend of both kinds": {doc: ingress(`{defaultBackend: {service: {name: web, port: {number: 80}}, resource: {kind: Bucket, name: b}}}`),
			want: `spec.defaultBackend: Invalid value: "": cannot set both resource and service backends`},
		"a backend of no kind":   {doc: ingress(`{defaultBackend: {}}`), want: `spec.defaultBackend: Invalid value: "": resource or service backend is required`},
		"a service without port": {doc: ingress(`{defaultBackend: {service: {name: web}}}`), want: `spec.defaultBackend: Required value: port name or number is required`},
		"both annotation and class": {doc: "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: a, annotations: {kubernetes.io/ingress.class: x}}\nspec: {ingressClassName: z, defaultBackend: {service: {name: web, port: {number: 80}}}}",
			want: `annotations.kubernetes.io/ingress.class: Invalid value: "x": can not be set when the class field is also set`},

		"all pods, nothing in":  {doc: policy(`{podSelector: {}}`)},
		"a peer of no kind":     {doc: policy(`{podSelector: {}, ingress: [{from: [{}]}]}`), want: `spec.ingress[0].from[0]: Required value: must specify a peer`},
		"a peer of two kinds":   {doc: policy(`{podSelector: {}, egress: [{to: [{podSelector: {}, ipBlock: {cidr: 10.0.0.0/8}}]}]}`), want: `spec.egress[0].to[0]: Forbidden: may not specify both ipBlock and another peer`},
		"a block needs a range": {doc: policy(`{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: ''}}]}]}`), want: `spec.ingress[0].from[0].ipBlock.cidr: Required value`},
		"an exception outside": {doc: policy(`{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16, 11.0.0.0/16, 10.0.0.0/8]}}]}]}`),
			want: "spec.ingress[0].from[0].ipBlock.except[1]: Invalid value: \"11.0.0.0/16\": must be a strict subset of `cidr`\n" +
				"spec.ingress[0].from[0].ipBlock.except[2]: Invalid value: \"10.0.0.0/8\": must be a strict subset of `cidr`"},
		"ports out of order": {doc: policy(`{podSelector: {}, ingress: [{ports: [{port: 80, endPort: 70}, {endPort: 5}, {port: http, endPort: 9}]}]}`),
			want: "spec.ingress[0].ports[0].endPort: Invalid value: 70: must be greater than or equal to `port`\n" +
				"spec.ingress[0].ports[1].endPort: Invalid value: 5: may not be specified when `port` is not specified\n" +
				"spec.ingress[0].ports[2].endPort: Invalid value: 9: may not be specified when `port` is non-numeric"},
		"a policy type that is none": {doc: policy(`{podSelector: {}, policyTypes: [Both]}`), want: `spec.policyTypes[0]: Unsupported value: "Both": supported values: "Ingress", "Egress"`},
		"an unknown protocol":        {doc: policy(`{podSelector: {}, ingress: [{ports: [{protocol: ICMP}]}]}`), want: `spec.ingress[0].ports[0].protocol: Unsupported value: "ICMP": supported values: "TCP", "UDP", "SCTP"`},

		"a controller stays": {old: class(`{controller: a.io/x}`), doc: class(`{controller: a.io/y}`), want: `spec.controller: Invalid value: "a.io/y": field is immutable`},
		"namespaced parameters name the namespace": {doc: class(`{controller: a.io/x, parameters: {kind: P, name: p, scope: Namespace}}`),
			want: "spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'"},
		"cluster parameters have none": {doc: class(`{controller: a.io/x, parameters: {kind: P, name: p, namespace: ns}}`),
			want: "spec.parameters.namespace: Forbidden: `parameters.scope` is set to 'Cluster'"},

		"a range of each family": {doc: cidr(`[10.96.0.0/12, 'fd00::/108']`)},
		"two of one family":      {doc: cidr(`[10.96.0.0/12, 10.0.0.0/16]`), want: `spec.cidrs: Invalid value: ["10.96.0.0/12","10.0.0.0/16"]: may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64`},
		"no range":               {doc: cidr(`[]`), want: `spec.cidrs: Required value: at least one CIDR required`},
		"a range with host bits": {doc: cidr(`[10.96.0.1/12]`), want: `spec.cidrs[0]: Invalid value: "10.96.0.1/12": must not have bits set beyond the prefix length`},
		"a range stays":          {old: cidr(`[10.96.0.0/12]`), doc: cidr(`[10.97.0.0/16]`), want: `spec.cidrs[0]: Invalid value: "10.97.0.0/16": field is immutable`},
		"a second family joins":  {old: cidr(`[10.96.0.0/12]`), doc: cidr(`[10.96.0.0/12, 'fd00::/108']`)},

		"an address of a service":         {doc: address("10.96.0.1", service)},
		"an address spelt another way":    {doc: address("2001:DB8::1", service), want: `metadata.name: must be a canonical form IP address`},
		"a name that is no address":       {doc: address("web", service), want: `metadata.name: must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)`},
		"an address belongs to something": {doc: "apiVersion: networking.k8s.io/v1\nkind: IPAddress\nmetadata: {name: 10.96.0.1}", want: `spec.parentRef: Required value`},
	})
}

func TestEndpointSliceRules(t *testing.T) {
	slice := func(rest string) string {
		return "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: a}\n" + rest
	}
	testRules(t, map[string]rule{
		"one ready address":          {doc: slice("addressType: IPv4\nendpoints: [{addresses: [10.1.2.3]}]\nports: [{name: http, port: 80}]")},
		"a type is required":         {doc: slice("endpoints: []"), want: `addressType: Required value`},
		"a type that is none":        {doc: slice("addressType: IP"), want: `addressType: Unsupported value: "IP": supported values: "FQDN", "IPv4", "IPv6"`},
		"a type stays":               {old: slice("addressType: IPv4"), doc: slice("addressType: IPv6"), want: `addressType: Invalid value: null: field is immutable`},
		"an endpoint has an address": {doc: slice("addressType: IPv4\nendpoints: [{}]"), want: `endpoints[0].addresses: Required value`},
		"of the slice's family":      {doc: slice("addressType: IPv4\nendpoints: [{addresses: ['fd00::1']}]"), want: `endpoints[0].addresses[0]: Invalid value: "fd00::1": must be an IPv4 address`},
		"of the other family":        {doc: slice("addressType: IPv6\nendpoints: [{addresses: ['10.0.0.1']}]"), want: `endpoints[0].addresses[0]: Invalid value: "10.0.0.1": must be an IPv6 address`},
		"none of this node or link": {doc: slice("addressType: IPv4\nendpoints: [{addresses: [127.0.0.1]}, {addresses: [169.254.169.254]}, {addresses: [0.0.0.0]}, {addresses: [224.0.0.5]}]"),
			want: `endpoints[0].addresses[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)
endpoints[1].addresses[0]: Invalid value: "169.254.169.254": may not be in the link-local range (169.254.0.0/16, fe80::/10)
endpoints[2].addresses[0]: Invalid value: "0.0.0.0": may not be unspecified (0.0.0.0 or ::)
endpoints[3].addresses[0]: Invalid value: "224.0.0.5": may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)`},
		"port names differ":   {doc: slice("addressType: IPv4\nports: [{port: 80}, {port: 81}]"), want: `ports[1].name: Duplicate value: ""`},
		"a port out of range": {doc: slice("addressType: IPv4\nports: [{port: 70000}]"), want: `ports[0].port: Invalid value: 70000: must be between 1 and 65535, inclusive`},
	})
}

func TestRBACRules(t *testing.T) {
	doc := func(kind, rest string) string {
		return "apiVersion: rbac.authorization.k8s.io/v1\nkind: " + kind + "\nmetadata: {name: 'system:a'}\n" + rest
	}
	testRules(t, map[string]rule{
		"a rule needs verbs":    {doc: doc("Role", "rules: [{apiGroups: [''], resources: [pods]}]"), want: `rules[0].verbs: Required value`},
		"and groups, resources": {doc: doc("Role", "rules: [{verbs: [get]}]"), want: "rules[0].apiGroups: Required value: resource rules must supply at least one api group\nrules[0].resources: Required value: resource rules must supply at least one resource"},
		"URLs in a namespace":   {doc: doc("Role", "rules: [{verbs: [get], nonResourceURLs: [/healthz]}]"), want: `rules[0].nonResourceURLs: Invalid value: ["/healthz"]: namespaced rules cannot apply to non-resource URLs`},
		"URLs in the cluster":   {doc: doc("ClusterRole", "rules: [{verbs: [get], nonResourceURLs: [/healthz]}]")},
		"URLs and resources":    {doc: doc("ClusterRole", "rules: [{verbs: [get], nonResourceURLs: [/x], apiGroups: [''], resources: [pods]}]"), want: `rules[0].nonResourceURLs: Invalid value: ["/x"]: rules cannot apply to both regular resources and non-resource URLs`},
		"an empty aggregation":  {doc: doc("ClusterRole", "aggregationRule: {}"), want: `aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector required if aggregationRule is non-nil`},
		"groups are filled in":  {doc: doc("ClusterRoleBinding", "roleRef: {kind: ClusterRole, name: x}\nsubjects: [{kind: User, name: u}, {kind: ServiceAccount, name: s, namespace: ns}]")},
		"the role stays": {old: doc("RoleBinding", "roleRef: {kind: Role, name: x}"), doc: doc("RoleBinding", "roleRef: {kind: Role, name: z}"),
			want: `roleRef: Invalid value: {"apiGroup":"rbac.authorization.k8s.io","kind":"Role","name":"z"}: field is immutable`},
		"a cluster binding of a role":   {doc: doc("ClusterRoleBinding", "roleRef: {kind: Role, name: x}"), want: `roleRef.kind: Unsupported value: "Role": supported values: "ClusterRole"`},
		"a service account's namespace": {doc: doc("ClusterRoleBinding", "roleRef: {kind: ClusterRole, name: x}\nsubjects: [{kind: ServiceAccount, name: s}]"), want: `subjects[0].namespace: Required value`},
		"a subject that is none":        {doc: doc("RoleBinding", "roleRef: {kind: Role, name: x}\nsubjects: [{kind: Pod, name: s}]"), want: `subjects[0].kind: Unsupported value: "Pod": supported values: "ServiceAccount", "User", "Group"`},
	})
}

func TestSmallGroupsRules(t *testing.T) {
	priority := func(name, rest string) string {
		return "apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {name: " + name + "}\n" + rest
	}
	runtime := func(rest string) string {
		return "apiVersion: node.k8s.io/v1\nkind: RuntimeClass\nmetadata: {name: a}\n" + rest
	}
	lease := func(spec string) string {
		return "apiVersion: coordination.k8s.io/v1\nkind: Lease\nmetadata: {name: a}\nspec: " + spec
	}
	review := func(kind, spec string) string {
		return "apiVersion: authorization.k8s.io/v1\nkind: " + kind + "\nspec: " + spec
	}
	testRules(t, map[string]rule{
		"a user's priority":      {doc: priority("a", "value: 1000000000")},
		"above users' range":     {doc: priority("a", "value: 1000000001"), want: `value: Forbidden: maximum allowed value of a user defined priority is 1000000000`},
		"a system name":          {doc: priority("system-x", "value: 1"), want: `metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: system-x is not a known system priority class`},
		"the system's own":       {doc: priority("system-node-critical", "value: 2000001000")},
		"a value stays":          {old: priority("a", "value: 1"), doc: priority("a", "value: 2"), want: `value: Forbidden: may not be changed in an update.`},
		"an unknown preemption":  {doc: priority("a", "preemptionPolicy: Always"), want: `preemptionPolicy: Unsupported value: "Always": supported values: "PreemptLowerPriority", "Never"`},
		"a handler is a label":   {doc: runtime("handler: a.b"), want: `handler: Invalid value: "a.b": must not contain dots`},
		"a handler stays":        {old: runtime("handler: a"), doc: runtime("handler: b"), want: `handler: Invalid value: null: field is immutable`},
		"a toleration twice":     {doc: runtime("handler: a\nscheduling: {tolerations: [{key: k, operator: Exists}, {key: k, operator: Exists}]}"), want: `scheduling.tolerations[1]: Duplicate value: {"key":"k","operator":"Exists"}`},
		"a lease lasts":          {doc: lease("{leaseDurationSeconds: 0}"), want: `spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0`},
		"transitions count up":   {doc: lease("{leaseTransitions: -1}"), want: `spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0`},
		"a review of both":       {doc: review("SelfSubjectAccessReview", "{resourceAttributes: {}, nonResourceAttributes: {path: /x}}"), want: `spec: Invalid value: {"Path":"/x","Verb":""}: exactly one of nonResourceAttributes or resourceAttributes must be specified`},
		"a review of nobody":     {doc: review("SubjectAccessReview", "{resourceAttributes: {verb: get}}"), want: `spec.user: Invalid value: "": at least one of user or group must be specified`},
		"a local review of URLs": {doc: review("LocalSubjectAccessReview", "{user: u, nonResourceAttributes: {path: /x}}"), want: `spec.nonResourceAttributes: Invalid value: {"Path":"/x","Verb":""}: disallowed on this kind of request`},
	})
}

func TestStorageRules(t *testing.T) {
	doc := func(kind, rest string) string {
		return "apiVersion: storage.k8s.io/v1\nkind: " + kind + "\nmetadata: {name: a.example.com}\n" + rest
	}
	testRules(t, map[string]rule{
		"a class with defaults": {doc: doc("StorageClass", "provisioner: a.io/x")},
		"a class needs one":     {doc: doc("StorageClass", ""), want: `provisioner: Required value`},
		"what a class may not change": {old: doc("StorageClass", "provisioner: a.io/x"), doc: doc("StorageClass", "provisioner: a.io/y\nparameters: {a: b}\nreclaimPolicy: Retain\nvolumeBindingMode: WaitForFirstConsumer"),
			want: `parameters: Invalid value: null: field is immutable
provisioner: Invalid value: null: field is immutable
reclaimPolicy: Invalid value: null: field is immutable
volumeBindingMode: Invalid value: null: field is immutable`},
		"a policy that is none":   {doc: doc("StorageClass", "provisioner: a.io/x\nreclaimPolicy: Recycle"), want: `reclaimPolicy: Unsupported value: "Recycle": supported values: "Delete", "Retain"`},
		"an attachment's source":  {doc: doc("VolumeAttachment", "spec: {attacher: a.io, nodeName: n1, source: {}}"), want: `spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName`},
		"a driver with defaults":  {doc: doc("CSIDriver", "spec: {}")},
		"a short token":           {doc: doc("CSIDriver", "spec: {tokenRequests: [{audience: a, expirationSeconds: 5}, {audience: a}]}"), want: "spec.tokenRequests[0].expirationSeconds: Invalid value: 5: may not specify a duration less than 10 minutes\nspec.tokenRequests[1].audience: Duplicate value: \"a\""},
		"a node's driver twice":   {doc: doc("CSINode", "spec: {drivers: [{name: a.io, nodeID: x, topologyKeys: []}, {name: a.io, nodeID: x, topologyKeys: []}]}"), want: `spec.drivers[1].name: Duplicate value: "a.io"`},
		"a negative capacity":     {doc: doc("CSIStorageCapacity", "storageClassName: x\ncapacity: -1Gi"), want: `capacity: Invalid value: "-1Gi": must be greater than or equal to 0`},
		"attributes need a value": {doc: doc("VolumeAttributesClass", "driverName: a.io"), want: `parameters: Required value: must contain at least one key/value pair`},
	})
}
