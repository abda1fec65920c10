package core

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
)

// replaced are node labels of before 1.17 and what stands for them now.
var replaced = map[string]string{
	"beta.kubernetes.io/arch":                  "since v1.14; use \"kubernetes.io/arch\" instead",
	"beta.kubernetes.io/os":                    "since v1.14; use \"kubernetes.io/os\" instead",
	"failure-domain.beta.kubernetes.io/region": "since v1.17; use \"topology.kubernetes.io/region\" instead",
	"failure-domain.beta.kubernetes.io/zone":   "since v1.17; use \"topology.kubernetes.io/zone\" instead",
	"beta.kubernetes.io/instance-type":         "since v1.17; use \"node.kubernetes.io/instance-type\" instead",
}

// NameWarning tells of a workload whose name cannot be part of a host name as it is.
func NameWarning(name, use string) []string {
	msgs := api.DNSLabel(name)
	if name == "" || len(msgs) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("metadata.name: %s, which can result in surprising behavior; a DNS label is recommended: %v", use, msgs)}
}

// UsedInNames is how the names of workloads come to be host names.
const UsedInNames = "this is used in Pod names and hostnames"

// Warnings tells of what is valid in a pod spec but hardly meant.
func Warnings(s *corev1.PodSpec, path *field.Path) (list []string) {
	warn := func(at *field.Path, format string, args ...any) {
		list = append(list, at.String()+": "+fmt.Sprintf(format, args...))
	}
	for _, key := range SortedKeys(s.NodeSelector) {
		if text, ok := replaced[key]; ok {
			warn(path.Child("nodeSelector").Key(key), "deprecated %s", text)
		}
	}
	ips := map[string]int{}
	for i, a := range s.HostAliases {
		if first, ok := ips[a.IP]; ok {
			warn(path.Child("hostAliases").Index(i).Child("ip"), "duplicate ip %q, already defined in %s", a.IP, path.Child("hostAliases").Index(first))
			continue
		}
		ips[a.IP] = i
	}
	secrets := map[string]bool{}
	for i, r := range s.ImagePullSecrets {
		at := path.Child("imagePullSecrets").Index(i).Child("name")
		switch {
		case r.Name == "":
			warn(at, "invalid empty name %q", r.Name)
		case secrets[r.Name]:
			warn(at, "duplicate name %q", r.Name)
		}
		secrets[r.Name] = true
	}
	for _, name := range []corev1.ResourceName{corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
		if q, ok := s.Overhead[name]; ok && fractional(q) {
			warn(path.Child("overhead").Key(string(name)), "fractional byte value %q is invalid, must be an integer", q.String())
		}
	}
	labels := func(l *metav1.LabelSelector, at *field.Path) {
		if l == nil {
			warn(at.Child("labelSelector"), "a null labelSelector results in matching no pod")
		}
	}
	for i, c := range s.TopologySpreadConstraints {
		labels(c.LabelSelector, path.Child("topologySpreadConstraints").Index(i))
	}
	terms := func(required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm, at *field.Path) {
		for i, t := range required {
			labels(t.LabelSelector, at.Child("requiredDuringSchedulingIgnoredDuringExecution").Index(i))
		}
		for i, t := range preferred {
			labels(t.PodAffinityTerm.LabelSelector, at.Child("preferredDuringSchedulingIgnoredDuringExecution").Index(i).Child("podAffinityTerm"))
		}
	}
	if a := s.Affinity; a != nil && a.PodAffinity != nil {
		terms(a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution, a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution, path.Child("affinity", "podAffinity"))
	}
	if a := s.Affinity; a != nil && a.PodAntiAffinity != nil {
		terms(a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution, a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution, path.Child("affinity", "podAntiAffinity"))
	}
	for i, v := range s.Volumes {
		if v.Projected != nil && len(v.Projected.Sources) == 0 {
			list = append(list, fmt.Sprintf("volume %q (Projected) has no sources provided", v.Name))
		}
		if v.GitRepo != nil {
			warn(path.Child("volumes").Index(i).Child("gitRepo"), "deprecated in v1.11, and disabled by default in v1.33+")
		}
	}
	for _, c := range []struct {
		name string
		of   []corev1.Container
	}{{"initContainers", s.InitContainers}, {"containers", s.Containers}} {
		for i := range c.of {
			containerWarnings(&c.of[i], path.Child(c.name).Index(i), warn)
		}
	}
	if g := s.TerminationGracePeriodSeconds; g != nil && *g < 0 {
		warn(path.Child("terminationGracePeriodSeconds"), "must be >= 0; negative values are invalid and will be treated as 1")
	}
	return list
}

// fractional tells of a number of bytes that is none.
func fractional(q resource.Quantity) bool {
	return q.MilliValue()%1000 != 0 && strings.HasSuffix(q.String(), "m")
}

func containerWarnings(c *corev1.Container, path *field.Path, warn func(*field.Path, string, ...any)) {
	// Memory and storage come in whole bytes.
	for _, list := range []struct {
		name string
		of   corev1.ResourceList
	}{{"limits", c.Resources.Limits}, {"requests", c.Resources.Requests}} {
		for _, name := range []corev1.ResourceName{corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
			if q, ok := list.of[name]; ok && fractional(q) {
				warn(path.Child("resources", list.name).Key(string(name)), "fractional byte value %q is invalid, must be an integer", q.String())
			}
		}
	}
	env := map[string]bool{}
	for i, e := range c.Env {
		if env[e.Name] && e.Name != "" {
			warn(path.Child("env").Index(i), "hides previous definition of %q, which may be dropped when using apply", e.Name)
		}
		env[e.Name] = true
	}
	type port struct {
		protocol        corev1.Protocol
		ip              string
		host, container int32
	}
	ports := map[port]int{}
	for i, p := range c.Ports {
		key := port{p.Protocol, p.HostIP, p.HostPort, p.ContainerPort}
		if first, ok := ports[key]; ok {
			warn(path.Child("ports").Index(i), "duplicate port definition with %s", path.Child("ports").Index(first))
			continue
		}
		ports[key] = i
		if p.HostIP != "" && p.HostPort == 0 {
			warn(path.Child("ports").Index(i), "hostIP set without hostPort: %+v", struct {
				Name                    string
				HostPort, ContainerPort int32
				Protocol                corev1.Protocol
				HostIP                  string
			}{p.Name, p.HostPort, p.ContainerPort, p.Protocol, p.HostIP})
		}
	}
}
