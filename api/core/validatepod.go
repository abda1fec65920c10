package core

import (
	"math"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
)

// ValidatePodTemplate checks the template of a workload.
func ValidatePodTemplate(t *corev1.PodTemplateSpec, path *field.Path) (errs field.ErrorList) {
	errs = append(errs, metavalidation.ValidateLabels(t.Labels, path.Child("labels"))...)
	errs = append(errs, apivalidation.ValidateAnnotations(t.Annotations, path.Child("annotations"))...)
	errs = append(errs, ValidatePodSpec(&t.Spec, path.Child("spec"))...)
	if len(t.Spec.EphemeralContainers) > 0 {
		errs = append(errs, field.Forbidden(path.Child("spec", "ephemeralContainers"), "ephemeral containers not allowed in pod template"))
	}
	return errs
}

// ValidatePodSpec checks a defaulted pod spec: of a pod or of a template.
func ValidatePodSpec(s *corev1.PodSpec, path *field.Path) (errs field.ErrorList) {
	volumes, bad := validateVolumes(s, path.Child("volumes"))
	errs = append(errs, bad...)
	errs = append(errs, validatePodClaims(s.ResourceClaims, path.Child("resourceClaims"))...)
	errs = append(errs, validateContainers(s, volumes, path)...)
	errs = append(errs, validateRestart(s, path)...)
	errs = append(errs, validateDNS(s, path)...)
	errs = append(errs, metavalidation.ValidateLabels(s.NodeSelector, path.Child("nodeSelector"))...)
	errs = append(errs, validatePodSecurity(s, path.Child("securityContext"))...)
	errs = append(errs, validateAffinityRules(s.Affinity, path.Child("affinity"))...)
	errs = append(errs, validateTolerations(s.Tolerations, path.Child("tolerations"))...)
	errs = append(errs, validateSpread(s.TopologySpreadConstraints, path.Child("topologySpreadConstraints"))...)
	errs = append(errs, validateGates(s, path)...)
	names := func(value, child string) {
		if value != "" {
			errs = append(errs, each(path.Child(child), value, api.DNSSubdomain(value))...)
		}
	}
	names(s.ServiceAccountName, "serviceAccountName")
	names(s.NodeName, "nodeName")
	names(s.PriorityClassName, "priorityClassName")
	if s.RuntimeClassName != nil {
		errs = append(errs, each(path.Child("runtimeClassName"), *s.RuntimeClassName, apivalidation.NameIsDNSSubdomain(*s.RuntimeClassName, false))...)
	}
	if d := s.ActiveDeadlineSeconds; d != nil && (*d < 1 || *d > math.MaxInt32) {
		errs = append(errs, field.Invalid(path.Child("activeDeadlineSeconds"), *d, validation.InclusiveRangeError(1, math.MaxInt32)))
	}
	if s.Hostname != "" {
		errs = append(errs, dnsLabel(s.Hostname, path.Child("hostname"))...)
	}
	if s.Subdomain != "" {
		errs = append(errs, dnsLabel(s.Subdomain, path.Child("subdomain"))...)
	}
	if h, at := s.HostnameOverride, path.Child("hostnameOverride"); h != nil {
		if len(*h) > 64 {
			errs = append(errs, field.TooLong(at, "", 64))
		}
		errs = append(errs, each(at, *h, api.DNSSubdomain(*h))...)
	}
	for i, a := range s.HostAliases {
		at := path.Child("hostAliases").Index(i)
		errs = append(errs, validation.IsValidIPForLegacyField(at.Child("ip"), a.IP, false, nil)...)
		for j, h := range a.Hostnames {
			errs = append(errs, each(at.Child("hostnames").Index(j), h, validation.IsDNS1123Subdomain(h))...)
		}
	}
	if p := s.PreemptionPolicy; p != nil {
		errs = append(errs, OneOf(*p, path.Child("preemptionPolicy"), corev1.PreemptLowerPriority, corev1.PreemptNever)...)
	}
	if s.OS != nil {
		if at := path.Child("os", "name"); s.OS.Name == "" {
			errs = append(errs, field.Required(at, ""))
		} else {
			errs = append(errs, OneOf(s.OS.Name, path.Child("os"), corev1.Linux, corev1.Windows)...)
		}
	}
	if s.Resources != nil {
		errs = append(errs, validatePodResources(s, path.Child("resources"))...)
	}
	errs = append(errs, ValidateOverhead(s.Overhead, path.Child("overhead"))...)
	return errs
}

// validatePodClaims checks the claims of a pod: each has a name of its own, and is one that is there or made from a template.
func validatePodClaims(list []corev1.PodResourceClaim, path *field.Path) (errs field.ErrorList) {
	again := api.Again[string]()
	for i, c := range list {
		at := path.Index(i)
		switch name := at.Child("name"); {
		case again(c.Name):
			errs = append(errs, field.Duplicate(name, c.Name))
		default:
			errs = append(errs, needDNSLabel(c.Name, name)...)
		}
		switch claim, template := c.ResourceClaimName, c.ResourceClaimTemplateName; {
		case claim != nil && template != nil:
			errs = append(errs, field.Invalid(at, api.GoNames(c), "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"))
		case claim != nil:
			errs = append(errs, each(at.Child("resourceClaimName"), *claim, api.DNSSubdomain(*claim))...)
		case template != nil:
			errs = append(errs, each(at.Child("resourceClaimTemplateName"), *template, api.DNSSubdomain(*template))...)
		default:
			errs = append(errs, field.Invalid(at, api.GoNames(c), "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"))
		}
	}
	return errs
}

func validateRestart(s *corev1.PodSpec, path *field.Path) (errs field.ErrorList) {
	if at := path.Child("restartPolicy"); s.RestartPolicy == "" {
		errs = append(errs, field.Required(at, ""))
	} else {
		errs = append(errs, OneOf(s.RestartPolicy, at, corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever)...)
	}
	if g := s.TerminationGracePeriodSeconds; g == nil {
		errs = append(errs, field.Required(path.Child("terminationGracePeriodSeconds"), ""))
	}
	return errs
}

func validateGates(s *corev1.PodSpec, path *field.Path) (errs field.ErrorList) {
	for i, g := range s.ReadinessGates {
		errs = append(errs, each(path.Child("readinessGates").Index(i).Child("conditionType"), string(g.ConditionType), validation.IsQualifiedName(string(g.ConditionType)))...)
	}
	seen := sets.New[string]()
	for i, g := range s.SchedulingGates {
		at := path.Child("schedulingGates").Index(i)
		errs = append(errs, each(at, g.Name, validation.IsQualifiedName(g.Name))...)
		if seen.Has(g.Name) {
			errs = append(errs, field.Duplicate(at, g.Name))
		}
		seen.Insert(g.Name)
	}
	return errs
}

// Limits of resolv.conf. Source: Kubernetes documentation, DNS for Services and Pods.
const (
	maxNameservers = 3
	maxSearches    = 32
	maxSearchChars = 2048
)

func validateDNS(s *corev1.PodSpec, path *field.Path) (errs field.ErrorList) {
	if at := path.Child("dnsPolicy"); s.DNSPolicy == "" {
		errs = append(errs, field.Required(at, ""))
	} else {
		errs = append(errs, OneOf(s.DNSPolicy, at, corev1.DNSClusterFirstWithHostNet, corev1.DNSClusterFirst, corev1.DNSDefault, corev1.DNSNone)...)
	}
	at, c := path.Child("dnsConfig"), s.DNSConfig
	if s.DNSPolicy == corev1.DNSNone {
		if c == nil {
			return append(errs, field.Required(at, "must provide `dnsConfig` when `dnsPolicy` is None"))
		}
		if len(c.Nameservers) == 0 {
			errs = append(errs, field.Required(at.Child("nameservers"), "must provide at least one DNS nameserver when `dnsPolicy` is None"))
		}
	}
	if c == nil {
		return errs
	}
	if len(c.Nameservers) > maxNameservers {
		errs = append(errs, field.Invalid(at.Child("nameservers"), c.Nameservers, "must not have more than 3 nameservers"))
	}
	for i, ns := range c.Nameservers {
		errs = append(errs, validation.IsValidIPForLegacyField(at.Child("nameservers").Index(i), ns, false, nil)...)
	}
	if len(c.Searches) > maxSearches {
		errs = append(errs, field.Invalid(at.Child("searches"), c.Searches, "must not have more than 32 search paths"))
	}
	if len(strings.Join(c.Searches, " ")) > maxSearchChars {
		errs = append(errs, field.Invalid(at.Child("searches"), c.Searches, "must not have more than 2048 characters (including spaces) in the search list"))
	}
	for i, search := range c.Searches {
		if search == "." {
			continue
		}
		errs = append(errs, each(at.Child("searches").Index(i), search, validation.IsDNS1123SubdomainWithUnderscore(strings.TrimSuffix(search, ".")))...)
	}
	for i, o := range c.Options {
		if o.Name == "" {
			errs = append(errs, field.Required(at.Child("options").Index(i), "must not be empty"))
		}
	}
	return errs
}

func validatePod(p, old *corev1.Pod) (errs field.ErrorList) {
	spec := field.NewPath("spec")
	errs = ValidatePodSpec(&p.Spec, spec)
	errs = append(errs, validateHostNetworkPorts(&p.Spec, spec)...)
	if api.Enough(errs) { // what is compared below may be long
		return errs
	}
	if old != nil {
		return append(errs, validatePodUpdate(p, old)...)
	}
	errs = append(errs, strictIPs(&p.Spec, spec)...)
	if len(p.Spec.EphemeralContainers) > 0 {
		errs = append(errs, field.Forbidden(spec.Child("ephemeralContainers"), "cannot be set on create"))
	}
	if p.Spec.NodeName != "" && len(p.Spec.SchedulingGates) > 0 {
		errs = append(errs, field.Forbidden(spec.Child("nodeName"), "cannot be set until all schedulingGates have been cleared"))
	}
	return errs
}

// strictIPs refuses in new pods the loosely written addresses that older ones may have (since 1.36).
func strictIPs(s *corev1.PodSpec, path *field.Path) (errs field.ErrorList) {
	check := func(ip string, at *field.Path) {
		if len(validation.IsValidIPForLegacyField(at, ip, false, nil)) == 0 {
			errs = append(errs, validation.IsValidIPForLegacyField(at, ip, true, nil)...)
		}
	}
	for i, a := range s.HostAliases {
		check(a.IP, path.Child("hostAliases").Index(i).Child("ip"))
	}
	if s.DNSConfig != nil {
		for i, ip := range s.DNSConfig.Nameservers {
			check(ip, path.Child("dnsConfig", "nameservers").Index(i))
		}
	}
	return errs
}

func validateHostNetworkPorts(s *corev1.PodSpec, path *field.Path) (errs field.ErrorList) {
	if !s.HostNetwork {
		return nil
	}
	for _, list := range []struct {
		name string
		of   []corev1.Container
	}{{"containers", s.Containers}, {"initContainers", s.InitContainers}} {
		for i := range list.of {
			for j, p := range list.of[i].Ports {
				if p.HostPort != p.ContainerPort {
					errs = append(errs, field.Invalid(path.Child(list.name).Index(i).Child("ports").Index(j).Child("containerPort"),
						p.ContainerPort, "must match `hostPort` when `hostNetwork` is true"))
				}
			}
		}
	}
	return errs
}

// staysEnded complains of containers that come back though nothing restarts them.
func staysEnded(now, was []corev1.ContainerStatus, list []corev1.Container, policy corev1.RestartPolicy, path *field.Path) (errs field.ErrorList) {
	by := map[string]*corev1.Container{}
	for i := range slices.Backward(list) {
		by[list[i].Name] = &list[i]
	}
	running := map[string][]int{}
	for i := range now {
		if now[i].State.Terminated == nil {
			running[now[i].Name] = append(running[now[i].Name], i)
		}
	}
	for _, old := range was {
		ended := old.State.Terminated
		if ended == nil {
			continue
		}
		restarts := policy == corev1.RestartPolicyAlways || policy == corev1.RestartPolicyOnFailure && ended.ExitCode != 0
		if c := by[old.Name]; c != nil {
			restarts = restarts || c.RestartPolicy != nil || len(c.RestartPolicyRules) > 0 // a policy of its own
		}
		if restarts {
			continue
		}
		for _, i := range running[old.Name] {
			errs = append(errs, field.Forbidden(path.Index(i).Child("state"), "may not be transitioned to non-terminated state"))
		}
	}
	return errs
}
