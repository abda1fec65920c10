package kubelet

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	resourcehelper "k8s.io/component-helpers/resource"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// envSource is where the values of a container's environment come from. found is false when the object
// does not exist; err is any other trouble.
type envSource struct {
	services  []*corev1.Service // of the pod's namespace, and default/kubernetes
	podIPs    []string
	nodeName  string
	hostIPs   []string
	capacity  corev1.ResourceList // of the node, for containers without limits
	configMap func(name string) (cm *corev1.ConfigMap, found bool, err error)
	secret    func(name string) (s *corev1.Secret, found bool, err error)
	file      func(volume, path string) (map[string]string, bool, error)
}

// environment makes a container's environment, in the order in which later entries win: Services,
// envFrom, env. Source: "Define dependent environment variables" and the Container API type.
func environment(pod *corev1.Pod, c *corev1.Container, src envSource) ([]*runtimev1.KeyValue, error) {
	vars := map[string]string{}
	var names []string
	put := func(name, value string) {
		if _, ok := vars[name]; !ok {
			names = append(names, name)
		}
		vars[name] = value
	}
	service := map[string]string{}
	links := pod.Spec.EnableServiceLinks == nil || *pod.Spec.EnableServiceLinks
	for _, s := range src.services {
		if links && s.Namespace == pod.Namespace || s.Namespace == "default" && s.Name == "kubernetes" {
			serviceEnv(service, s)
		}
	}
	for _, from := range c.EnvFrom {
		data := map[string]string{}
		switch {
		case from.ConfigMapRef != nil:
			cm, found, err := src.configMap(from.ConfigMapRef.Name)
			if err != nil {
				return nil, err
			}
			if !found {
				if optional(from.ConfigMapRef.Optional) {
					continue
				}
				return nil, fmt.Errorf("configmap %q not found", from.ConfigMapRef.Name)
			}
			data = cm.Data
		case from.SecretRef != nil:
			s, found, err := src.secret(from.SecretRef.Name)
			if err != nil {
				return nil, err
			}
			if !found {
				if optional(from.SecretRef.Optional) {
					continue
				}
				return nil, fmt.Errorf("secret %q not found", from.SecretRef.Name)
			}
			for k, v := range s.Data {
				data[k] = string(v)
			}
		}
		for _, k := range slices.Sorted(maps.Keys(data)) {
			if len(validation.IsRelaxedEnvVarName(from.Prefix+k)) == 0 {
				put(from.Prefix+k, data[k])
			}
		}
	}
	known := func(name string) (string, bool) {
		if v, ok := vars[name]; ok {
			return v, true
		}
		v, ok := service[name]
		return v, ok
	}
	for _, e := range c.Env {
		if e.ValueFrom == nil {
			put(e.Name, expand(e.Value, known))
			continue
		}
		v, ok, err := valueFrom(pod, c, e.ValueFrom, src)
		if err != nil {
			return nil, err
		}
		if ok {
			put(e.Name, v)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(service)) {
		if _, ok := vars[name]; !ok {
			put(name, service[name])
		}
	}
	out := make([]*runtimev1.KeyValue, 0, len(names))
	for _, n := range names {
		out = append(out, &runtimev1.KeyValue{Key: n, Value: []byte(vars[n])})
	}
	return out, nil
}

func optional(o *bool) bool { return o != nil && *o }

func valueFrom(pod *corev1.Pod, c *corev1.Container, f *corev1.EnvVarSource, src envSource) (string, bool, error) {
	switch {
	case f.FieldRef != nil:
		v, err := fieldValue(pod, f.FieldRef.FieldPath, src)
		return v, true, err
	case f.ResourceFieldRef != nil:
		v, err := resourceValue(pod, c, f.ResourceFieldRef, src.capacity)
		return v, true, err
	case f.ConfigMapKeyRef != nil:
		r := f.ConfigMapKeyRef
		cm, found, err := src.configMap(r.Name)
		if err != nil {
			return "", false, err
		}
		if !found {
			if optional(r.Optional) {
				return "", false, nil
			}
			return "", false, fmt.Errorf("configmap %q not found", r.Name)
		}
		if v, ok := cm.Data[r.Key]; ok {
			return v, true, nil
		}
		if optional(r.Optional) {
			return "", false, nil
		}
		return "", false, fmt.Errorf("couldn't find key %s in ConfigMap %s/%s", r.Key, pod.Namespace, r.Name)
	case f.SecretKeyRef != nil:
		r := f.SecretKeyRef
		s, found, err := src.secret(r.Name)
		if err != nil {
			return "", false, err
		}
		if !found {
			if optional(r.Optional) {
				return "", false, nil
			}
			return "", false, fmt.Errorf("secret %q not found", r.Name)
		}
		if v, ok := s.Data[r.Key]; ok {
			return string(v), true, nil
		}
		if optional(r.Optional) {
			return "", false, nil
		}
		return "", false, fmt.Errorf("couldn't find key %s in Secret %s/%s", r.Key, pod.Namespace, r.Name)
	case f.FileKeyRef != nil:
		r := f.FileKeyRef
		data, found, err := src.file(r.VolumeName, r.Path)
		if err != nil {
			return "", false, err
		}
		if v, ok := data[r.Key]; found && ok {
			return v, true, nil
		}
		if optional(r.Optional) {
			return "", false, nil
		}
		return "", false, fmt.Errorf("environment variable key %q not found in file %q", r.Key, r.Path)
	}
	return "", false, nil
}

// fieldValue is what a downward API fieldRef means, in an environment or a volume.
func fieldValue(pod *corev1.Pod, path string, src envSource) (string, error) {
	switch path {
	case "spec.nodeName":
		return pod.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return pod.Spec.ServiceAccountName, nil
	case "status.hostIP":
		return first(src.hostIPs), nil
	case "status.hostIPs":
		return strings.Join(src.hostIPs, ","), nil
	case "status.podIP":
		return first(src.podIPs), nil
	case "status.podIPs":
		return strings.Join(src.podIPs, ","), nil
	case "metadata.name":
		return pod.Name, nil
	case "metadata.namespace":
		return pod.Namespace, nil
	case "metadata.uid":
		return string(pod.UID), nil
	case "metadata.labels":
		return lines(pod.Labels), nil
	case "metadata.annotations":
		return lines(pod.Annotations), nil
	}
	if key, ok := subscript(path, "metadata.labels"); ok {
		return pod.Labels[key], nil
	}
	if key, ok := subscript(path, "metadata.annotations"); ok {
		return pod.Annotations[key], nil
	}
	return "", fmt.Errorf("unsupported fieldPath: %s", path)
}

func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

// subscript takes the key out of base['key'].
func subscript(path, base string) (string, bool) {
	rest, ok := strings.CutPrefix(path, base+"['")
	if !ok {
		return "", false
	}
	return strings.CutSuffix(rest, "']")
}

// lines is a map in the downward API's form: key="value", sorted, escaped as Go does.
func lines(m map[string]string) string {
	var b strings.Builder
	for i, k := range slices.Sorted(maps.Keys(m)) {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "%s=%q", k, m[k])
	}
	return b.String()
}

// resourceValue is what a resourceFieldRef means, divided by its divisor and rounded up.
func resourceValue(pod *corev1.Pod, c *corev1.Container, r *corev1.ResourceFieldSelector, capacity corev1.ResourceList) (string, error) {
	if r.ContainerName != "" && (c == nil || c.Name != r.ContainerName) {
		c = nil
		for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
			for i := range list {
				if list[i].Name == r.ContainerName {
					c = &list[i]
				}
			}
		}
	}
	if c == nil {
		return "", fmt.Errorf("container %s not found", r.ContainerName)
	}
	kind, name, ok := strings.Cut(r.Resource, ".")
	if !ok {
		return "", fmt.Errorf("unsupported container resource : %v", r.Resource)
	}
	res := corev1.ResourceName(name)
	var q resource.Quantity
	switch kind {
	case "limits":
		if q, ok = c.Resources.Limits[res]; !ok || q.IsZero() {
			q = capacity[res]
			if pod.Spec.Resources != nil {
				if l, ok := resourcehelper.PodLimits(pod, resourcehelper.PodResourcesOptions{})[res]; ok {
					q = l
				}
			}
		}
	case "requests":
		q = c.Resources.Requests[res]
	default:
		return "", fmt.Errorf("unsupported container resource : %v", r.Resource)
	}
	div := r.Divisor
	if div.IsZero() {
		div = resource.MustParse("1")
	}
	if res == corev1.ResourceCPU {
		return strconv.FormatInt(int64(math.Ceil(float64(q.MilliValue())/float64(div.MilliValue()))), 10), nil
	}
	return strconv.FormatInt(int64(math.Ceil(float64(q.Value())/float64(div.Value()))), 10), nil
}

// expand replaces $(NAME) by what known says, leaves what it does not know, and makes $$ one dollar.
func expand(s string, known func(string) (string, bool)) string {
	if !strings.Contains(s, "$") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '$' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		switch s[i+1] {
		case '$':
			b.WriteByte('$')
			i++
		case '(':
			end := strings.IndexByte(s[i:], ')')
			if end < 0 {
				b.WriteString("$(")
				i++
				continue
			}
			name := s[i+2 : i+end]
			if v, ok := known(name); ok {
				b.WriteString(v)
			} else {
				b.WriteString(s[i : i+end+1])
			}
			i += end
		default:
			b.WriteByte('$')
			b.WriteByte(s[i+1])
			i++
		}
	}
	return b.String()
}

// serviceEnv adds the variables that tell of one Service. Source: "Discovering services", environment variables.
func serviceEnv(env map[string]string, s *corev1.Service) {
	ip := s.Spec.ClusterIP
	if ip == "" || ip == corev1.ClusterIPNone || len(s.Spec.Ports) == 0 {
		return
	}
	name := strings.ToUpper(strings.ReplaceAll(s.Name, "-", "_"))
	env[name+"_SERVICE_HOST"] = ip
	env[name+"_SERVICE_PORT"] = strconv.Itoa(int(s.Spec.Ports[0].Port))
	for i, p := range s.Spec.Ports {
		port := strconv.Itoa(int(p.Port))
		if p.Name != "" {
			env[name+"_SERVICE_PORT_"+strings.ToUpper(strings.ReplaceAll(p.Name, "-", "_"))] = port
		}
		proto := string(cmp.Or(p.Protocol, corev1.ProtocolTCP))
		url := strings.ToLower(proto) + "://" + net.JoinHostPort(ip, port)
		if i == 0 {
			env[name+"_PORT"] = url
		}
		prefix := name + "_PORT_" + port + "_" + proto
		env[prefix], env[prefix+"_PROTO"], env[prefix+"_PORT"], env[prefix+"_ADDR"] = url, strings.ToLower(proto), port, ip
	}
}
