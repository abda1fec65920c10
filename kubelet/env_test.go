package kubelet

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/utils/ptr"
)

func TestExpand(t *testing.T) {
	known := func(n string) (string, bool) { v, ok := map[string]string{"A": "1", "B": ""}[n]; return v, ok }
	for in, want := range map[string]string{"x": "x", "$(A)": "1", "$(A)$(A)": "11", "$(B)": "", "$(C)": "$(C)", "$$(A)": "$(A)", "$$$(A)": "$1", "$": "$", "$(A": "$(A", "a$b": "a$b", "$$": "$", "$()": "$()"} {
		if got := expand(in, known); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestResourceFields(t *testing.T) {
	pod := podOf("a", corev1.RestartPolicyAlways)
	pod.Spec.Containers[0].Resources = corev1.ResourceRequirements{Limits: corev1.ResourceList{"cpu": resource.MustParse("1500m")}, Requests: corev1.ResourceList{"memory": resource.MustParse("65Mi")}}
	node := corev1.ResourceList{"memory": resource.MustParse("1Gi")}
	for _, tt := range []struct{ field, divisor, want string }{
		{"limits.cpu", "1", "2"}, {"limits.cpu", "1m", "1500"}, {"limits.cpu", "0", "2"}, {"requests.memory", "1Mi", "65"}, {"requests.memory", "10M", "7"},
		{"limits.memory", "1Mi", "1024"}, {"requests.cpu", "1m", "0"},
	} {
		got, err := resourceValue(pod, nil, &corev1.ResourceFieldSelector{ContainerName: "a", Resource: tt.field, Divisor: resource.MustParse(tt.divisor)}, node)
		if err != nil || got != tt.want {
			t.Errorf("%s by %s: got %q, %v; want %q", tt.field, tt.divisor, got, err, tt.want)
		}
	}
}

func TestEnvironment(t *testing.T) {
	pod := podOf("a", corev1.RestartPolicyAlways)
	pod.Namespace = "default"
	pod.Labels = map[string]string{"app": "web"}
	src := envSource{podIPs: []string{"10.0.0.1", "fd00::1"}, services: []*corev1.Service{
		{ObjectMeta: v1.ObjectMeta{Namespace: "default", Name: "my-db"}, Spec: corev1.ServiceSpec{ClusterIP: "10.1.1.1", Ports: []corev1.ServicePort{{Name: "sql", Port: 5432, Protocol: "TCP"}}}},
		{ObjectMeta: v1.ObjectMeta{Namespace: "default", Name: "headless"}, Spec: corev1.ServiceSpec{ClusterIP: "None", Ports: []corev1.ServicePort{{Port: 1}}}}},
		configMap: func(name string) (*corev1.ConfigMap, bool, error) {
			return &corev1.ConfigMap{Data: map[string]string{"k": "v", "2bad=": "x"}}, name == "cm", nil
		},
		secret: func(name string) (*corev1.Secret, bool, error) { return nil, false, nil }}
	ref := func(name string) corev1.LocalObjectReference { return corev1.LocalObjectReference{Name: name} }
	tests := map[string]struct {
		from  []corev1.EnvFromSource
		env   []corev1.EnvVar
		links bool
		want  string // "NAME=value" that must be there, or "error: text"
	}{
		"later entries see earlier ones":     {nil, []corev1.EnvVar{{Name: "A", Value: "1"}, {Name: "B", Value: "$(A)2"}}, false, "B=12"},
		"not the other way round":            {nil, []corev1.EnvVar{{Name: "B", Value: "$(A)2"}, {Name: "A", Value: "1"}}, false, "B=$(A)2"},
		"a prefix":                           {[]corev1.EnvFromSource{{Prefix: "P_", ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: ref("cm")}}}, nil, false, "P_k=v"},
		"env over envFrom":                   {[]corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: ref("cm")}}}, []corev1.EnvVar{{Name: "k", Value: "mine"}}, false, "k=mine"},
		"a service":                          {nil, nil, true, "MY_DB_PORT_5432_TCP=tcp://10.1.1.1:5432"},
		"a service's named port":             {nil, nil, true, "MY_DB_SERVICE_PORT_SQL=5432"},
		"a label":                            {nil, []corev1.EnvVar{{Name: "L", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels['app']"}}}}, false, "L=web"},
		"addresses":                          {nil, []corev1.EnvVar{{Name: "I", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIPs"}}}}, false, "I=10.0.0.1,fd00::1"},
		"a missing secret":                   {nil, []corev1.EnvVar{{Name: "S", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: ref("s"), Key: "k"}}}}, false, `error: secret "s" not found`},
		"a missing key":                      {nil, []corev1.EnvVar{{Name: "S", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: ref("cm"), Key: "no"}}}}, false, "error: couldn't find key no in ConfigMap default/cm"},
		"an optional secret is left out":     {nil, []corev1.EnvVar{{Name: "A", Value: "1"}, {Name: "S", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: ref("s"), Key: "k", Optional: ptr.To(true)}}}}, false, "A=1"},
		"a missing ConfigMap to take all of": {[]corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: ref("none")}}}, nil, false, `error: configmap "none" not found`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := pod.DeepCopy()
			p.Spec.EnableServiceLinks = &tt.links
			p.Spec.Containers[0].Env, p.Spec.Containers[0].EnvFrom = tt.env, tt.from
			env, err := environment(p, &p.Spec.Containers[0], src)
			var got []string
			for _, kv := range env {
				got = append(got, kv.Key+"="+string(kv.Value))
			}
			if err != nil {
				got = []string{"error: " + err.Error()}
			}
			if !slices.Contains(got, tt.want) || slices.ContainsFunc(got, func(s string) bool {
				return strings.HasPrefix(s, "2bad") || strings.HasPrefix(s, "S=") || strings.HasPrefix(s, "HEADLESS")
			}) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestDNS(t *testing.T) {
	host := parseResolvConf("# the node's\nnameserver 1.1.1.1\nsearch corp.example. example\noptions rotate\n")
	tests := map[string]struct {
		policy  corev1.DNSPolicy
		network bool
		config  *corev1.PodDNSConfig
		want    string
	}{
		"cluster first":           {corev1.DNSClusterFirst, false, nil, "10.0.0.10 | ns.svc.cluster.local svc.cluster.local cluster.local corp.example example | ndots:5"},
		"on the host's network":   {corev1.DNSClusterFirst, true, nil, "1.1.1.1 | corp.example example | rotate"},
		"and the cluster's still": {corev1.DNSClusterFirstWithHostNet, true, nil, "10.0.0.10 | ns.svc.cluster.local svc.cluster.local cluster.local corp.example example | ndots:5"},
		"the node's":              {corev1.DNSDefault, false, nil, "1.1.1.1 | corp.example example | rotate"},
		"the pod's own":           {corev1.DNSNone, false, &corev1.PodDNSConfig{Nameservers: []string{"9.9.9.9"}, Searches: []string{"x"}, Options: []corev1.PodDNSConfigOption{{Name: "edns0"}}}, "9.9.9.9 | x | edns0"},
		"both": {corev1.DNSClusterFirst, false, &corev1.PodDNSConfig{Nameservers: []string{"9.9.9.9", "10.0.0.10"}, Options: []corev1.PodDNSConfigOption{{Name: "ndots", Value: ptr.To("2")}}},
			"10.0.0.10 9.9.9.9 | ns.svc.cluster.local svc.cluster.local cluster.local corp.example example | ndots:2"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			pod := podOf("a", corev1.RestartPolicyAlways)
			pod.Spec.DNSPolicy, pod.Spec.HostNetwork, pod.Spec.DNSConfig = tt.policy, tt.network, tt.config
			cfg, limited := dnsConfig(pod, []string{"10.0.0.10"}, "cluster.local", host)
			if got := dnsWords(cfg); got != tt.want || limited != nil {
				t.Errorf("got %s, %v; want %s", got, limited, tt.want)
			}
		})
	}
	pod := podOf("a", corev1.RestartPolicyAlways)
	pod.Spec.DNSPolicy, pod.Spec.DNSConfig = corev1.DNSNone, &corev1.PodDNSConfig{Nameservers: []string{"1", "2", "3", "4"}}
	if cfg, limited := dnsConfig(pod, nil, "", host); len(cfg.Servers) != 3 || len(limited) != 1 {
		t.Errorf("four servers: %v, %q", cfg, limited)
	}
}

func dnsWords(c *runtimev1.DNSConfig) string {
	return strings.Join(c.Servers, " ") + " | " + strings.Join(c.Searches, " ") + " | " + strings.Join(c.Options, " ")
}

func TestFits(t *testing.T) {
	with := func(cpu string, port int32) *corev1.Pod {
		p := podOf("a", corev1.RestartPolicyAlways)
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{"cpu": resource.MustParse(cpu)}
		p.Spec.Containers[0].Ports = []corev1.ContainerPort{{HostPort: port, Protocol: "TCP"}}
		return p
	}
	picky := with("1", 0)
	picky.Spec.NodeSelector = map[string]string{"disk": "ssd"}
	widget := with("1", 0)
	widget.Spec.Containers[0].Resources.Requests["example.com/widget"] = resource.MustParse("1")
	node := &corev1.Node{ObjectMeta: v1.ObjectMeta{Name: "n1", Labels: map[string]string{"disk": "hdd"}}}
	room := corev1.ResourceList{"cpu": resource.MustParse("2"), "pods": resource.MustParse("2")}
	tests := map[string]struct {
		pod    *corev1.Pod
		others []*corev1.Pod
		want   string
	}{
		"fits":                    {with("1", 80), []*corev1.Pod{with("1", 81)}, ""},
		"what nobody here counts": {widget, nil, ""},
		"too much CPU":            {with("1500m", 0), []*corev1.Pod{with("1", 0)}, "OutOfcpu: Node didn't have enough resource: cpu, requested: 1500, used: 1000, capacity: 2000"},
		"too many pods":           {with("0", 0), []*corev1.Pod{with("0", 0), with("0", 0)}, "OutOfpods: Node didn't have enough resource: pods, requested: 1, used: 2, capacity: 2"},
		"wrong node":              {picky, nil, "NodeAffinity: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"},
		"a taken port":            {with("1", 80), []*corev1.Pod{with("1", 80)}, "NodePorts: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			reason, message := fits(tt.pod, tt.others, room, node)
			if got := strings.TrimSuffix(reason+": "+message, ": "); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestSecretAuths(t *testing.T) {
	s := &corev1.Secret{Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte(`{"auths":{"https://index.docker.io/v1/":{"auth":"dTpw"},"reg.example:5000/team":{"username":"x","password":"y"}}}`)}}
	for image, want := range map[string]string{"nginx": "u:p", "docker.io/library/nginx:1": "u:p", "reg.example:5000/team/app:1": "x:y", "reg.example:5000/teams/app": "", "evil.example/index.docker.io/x": ""} {
		got := ""
		for _, a := range secretAuths(s, image) {
			got += a.Username + ":" + a.Password
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", image, got, want)
		}
	}
}
