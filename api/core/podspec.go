package core

import (
	"reflect"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// DefaultPodTemplate fills in what a pod template leaves out. It gives less than
// a pod gets: enableServiceLinks, host ports and requests are left to the pods made from it.
func DefaultPodTemplate(t *corev1.PodTemplateSpec) { DefaultPodSpec(&t.Spec) }

// DefaultPodSpec fills in the defaults that pods and pod templates share.
// Source: the comments of k8s.io/api/core/v1 types.
func DefaultPodSpec(s *corev1.PodSpec) {
	OrSet(&s.DNSPolicy, corev1.DNSClusterFirst)
	OrSet(&s.RestartPolicy, corev1.RestartPolicyAlways)
	OrSet(&s.SchedulerName, corev1.DefaultSchedulerName)
	OrNew(&s.SecurityContext, corev1.PodSecurityContext{})
	OrNew(&s.TerminationGracePeriodSeconds, int64(corev1.DefaultTerminationGracePeriodSeconds))
	mirrorServiceAccount(s)
	for i := range s.Volumes {
		defaultVolume(&s.Volumes[i].VolumeSource)
	}
	for c := range containers(s) {
		defaultContainer(c)
	}
	roundUp(s.Overhead)
	if s.Resources != nil {
		roundUp(s.Resources.Limits)
		roundUp(s.Resources.Requests)
	}
}

// mirrorServiceAccount keeps the deprecated twin of serviceAccountName equal to it.
func mirrorServiceAccount(s *corev1.PodSpec) {
	OrSet(&s.ServiceAccountName, s.DeprecatedServiceAccount)
	s.DeprecatedServiceAccount = s.ServiceAccountName
}

// containers yields init, ordinary and ephemeral containers, these as the Containers they are laid out as.
func containers(s *corev1.PodSpec) func(func(*corev1.Container) bool) {
	return func(yield func(*corev1.Container) bool) {
		for i := range s.InitContainers {
			if !yield(&s.InitContainers[i]) {
				return
			}
		}
		for i := range s.Containers {
			if !yield(&s.Containers[i]) {
				return
			}
		}
		for i := range s.EphemeralContainers {
			if !yield((*corev1.Container)(&s.EphemeralContainers[i].EphemeralContainerCommon)) {
				return
			}
		}
	}
}

func defaultContainer(c *corev1.Container) {
	OrSet(&c.ImagePullPolicy, pullPolicy(c.Image))
	OrSet(&c.TerminationMessagePath, corev1.TerminationMessagePathDefault)
	OrSet(&c.TerminationMessagePolicy, corev1.TerminationMessageReadFile)
	for i := range c.Ports {
		OrSet(&c.Ports[i].Protocol, corev1.ProtocolTCP)
	}
	for i := range c.Env {
		if from := c.Env[i].ValueFrom; from != nil {
			if from.FieldRef != nil {
				OrSet(&from.FieldRef.APIVersion, "v1")
			}
			if from.FileKeyRef != nil {
				OrNew(&from.FileKeyRef.Optional, false)
			}
		}
	}
	for _, p := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
		defaultProbe(p)
	}
	if l := c.Lifecycle; l != nil {
		for _, h := range []*corev1.LifecycleHandler{l.PostStart, l.PreStop} {
			if h != nil {
				defaultHTTPGet(h.HTTPGet)
			}
		}
	}
	roundUp(c.Resources.Limits)
	roundUp(c.Resources.Requests)
}

// pullPolicy is Always for images named without a tag or digest and for the tag "latest"; what is no image's name is
// not to be pulled again either.
func pullPolicy(image string) corev1.PullPolicy {
	name, _, digest := strings.Cut(image, "@")
	last := name[strings.LastIndex(name, "/")+1:]
	repository, tag, tagged := strings.Cut(last, ":")
	switch {
	case tag == "latest", !tagged && !digest:
		whole := strings.TrimSuffix(name, last) + repository
		if imagePath.MatchString(whole) && !imageID.MatchString(whole) && len("library/"+whole) <= 255 { // Source: OCI distribution specification
			return corev1.PullAlways
		}
	}
	return corev1.PullIfNotPresent
}

// imageID looks like the hash of an image, which no name may.
var imageID = regexp.MustCompile(`^[0-9a-f]{64}$`)

// imagePath is the name of an image without its tag: perhaps a registry, then parts in lower case.
// Source: OCI distribution specification, pulling manifests; the registry's name may have capitals and a port.
var imagePath = regexp.MustCompile(`^(([A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+(:[0-9]+)?|[A-Za-z0-9-]+:[0-9]+|\[[0-9a-fA-F:]+\](:[0-9]+)?|localhost)/)?[a-z0-9]+(([._]|__|-+)[a-z0-9]+)*(/[a-z0-9]+(([._]|__|-+)[a-z0-9]+)*)*$`)

func defaultProbe(p *corev1.Probe) {
	if p == nil {
		return
	}
	OrSet(&p.TimeoutSeconds, 1)
	OrSet(&p.PeriodSeconds, 10)
	OrSet(&p.SuccessThreshold, 1)
	OrSet(&p.FailureThreshold, 3)
	defaultHTTPGet(p.HTTPGet)
	if p.GRPC != nil {
		OrNew(&p.GRPC.Service, "")
	}
}

func defaultHTTPGet(a *corev1.HTTPGetAction) {
	if a != nil {
		OrSet(&a.Path, "/")
		OrSet(&a.Scheme, corev1.URISchemeHTTP)
	}
}

func defaultVolume(v *corev1.VolumeSource) {
	if reflect.ValueOf(*v).IsZero() {
		v.EmptyDir = &corev1.EmptyDirVolumeSource{}
	}
	mode := int32(0o644)
	if v.Secret != nil { // one that has two sources is refused later, for the right reason
		OrNew(&v.Secret.DefaultMode, mode)
	}
	if v.ConfigMap != nil {
		OrNew(&v.ConfigMap.DefaultMode, mode)
	}
	switch {
	case v.HostPath != nil:
		OrNew(&v.HostPath.Type, corev1.HostPathUnset)
	case v.DownwardAPI != nil:
		OrNew(&v.DownwardAPI.DefaultMode, mode)
		defaultDownward(v.DownwardAPI.Items)
	case v.Projected != nil:
		OrNew(&v.Projected.DefaultMode, mode)
		for _, s := range v.Projected.Sources {
			if s.DownwardAPI != nil {
				defaultDownward(s.DownwardAPI.Items)
			}
			if s.ServiceAccountToken != nil {
				OrNew(&s.ServiceAccountToken.ExpirationSeconds, 60*60)
			}
		}
	case v.Ephemeral != nil:
		if t := v.Ephemeral.VolumeClaimTemplate; t != nil {
			DefaultClaimSpec(&t.Spec)
		}
	case v.Image != nil:
		OrSet(&v.Image.PullPolicy, pullPolicy(v.Image.Reference))
	case v.ISCSI != nil:
		OrSet(&v.ISCSI.ISCSIInterface, "default")
	case v.RBD != nil:
		OrSet(&v.RBD.RBDPool, "rbd")
		OrSet(&v.RBD.RadosUser, "admin")
		OrSet(&v.RBD.Keyring, "/etc/ceph/keyring")
	case v.ScaleIO != nil:
		OrSet(&v.ScaleIO.StorageMode, "ThinProvisioned")
		OrSet(&v.ScaleIO.FSType, "xfs")
	case v.AzureDisk != nil:
		defaultAzureDisk(v.AzureDisk)
	}
}

func defaultAzureDisk(a *corev1.AzureDiskVolumeSource) {
	OrNew(&a.CachingMode, corev1.AzureDataDiskCachingReadWrite)
	OrNew(&a.Kind, corev1.AzureSharedBlobDisk)
	OrNew(&a.FSType, "ext4")
	OrNew(&a.ReadOnly, false)
}

func defaultDownward(items []corev1.DownwardAPIVolumeFile) {
	for i := range items {
		if r := items[i].FieldRef; r != nil {
			OrSet(&r.APIVersion, "v1")
		}
	}
}

// roundUp rounds amounts up to thousandths, the finest that resources have.
func roundUp(l corev1.ResourceList) {
	for name, q := range l {
		if q.RoundUp(resource.Milli) {
			continue // exact already
		}
		l[name] = q
	}
}

// defaultRequests gives a container the requests that it only has limits for.
func defaultRequests(r *corev1.ResourceRequirements) {
	for name, limit := range r.Limits {
		if _, ok := r.Requests[name]; !ok {
			if r.Requests == nil {
				r.Requests = make(corev1.ResourceList, len(r.Limits))
			}
			r.Requests[name] = limit.DeepCopy()
		}
	}
}

// defaultPodRequests does the same for the pod's own resources; what its containers
// request counts before its limit.
func defaultPodRequests(s *corev1.PodSpec) {
	if s.Resources == nil {
		return
	}
	for name, limit := range s.Resources.Limits {
		if _, ok := s.Resources.Requests[name]; ok || !podLevelResource(name) {
			continue
		}
		request, found := containersRequest(s, name)
		if !found || strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) {
			request = limit.DeepCopy()
		}
		if s.Resources.Requests == nil {
			s.Resources.Requests = corev1.ResourceList{}
		}
		s.Resources.Requests[name] = request
	}
}

// containersRequest is what the containers together need of a resource: the most that
// run at once, sidecars counted from where they start.
func containersRequest(s *corev1.PodSpec, name corev1.ResourceName) (sum resource.Quantity, found bool) {
	var sidecars, most resource.Quantity
	for i := range s.InitContainers {
		c := &s.InitContainers[i]
		q, ok := c.Resources.Requests[name]
		found = found || ok
		now := sidecars.DeepCopy()
		now.Add(q)
		if isSidecar(c) {
			sidecars = now
		}
		if now.Cmp(most) > 0 {
			most = now
		}
	}
	sum = sidecars
	for i := range s.Containers {
		q, ok := s.Containers[i].Resources.Requests[name]
		found = found || ok
		sum.Add(q)
	}
	if most.Cmp(sum) > 0 {
		sum = most
	}
	return sum, found
}

func isSidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// DefaultClaimSpec fills in a claim's spec.
func DefaultClaimSpec(s *corev1.PersistentVolumeClaimSpec) {
	OrNew(&s.VolumeMode, corev1.PersistentVolumeFilesystem)
	roundUp(s.Resources.Limits)
	roundUp(s.Resources.Requests)
}

// defaultHostPorts gives a host port to each container port of a pod in the host's network.
func defaultHostPorts(s *corev1.PodSpec) {
	if !s.HostNetwork {
		return
	}
	for _, list := range [][]corev1.Container{s.InitContainers, s.Containers} {
		for i := range list {
			for j := range list[i].Ports {
				OrSet(&list[i].Ports[j].HostPort, list[i].Ports[j].ContainerPort)
			}
		}
	}
}
