package networking

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/api/validation/path"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validateIngress(i, old *networkingv1.Ingress) (errs field.ErrorList) {
	at := field.NewPath("spec")
	if old == nil {
		if v, ok := i.Annotations[annotationIngressClass]; ok && i.Spec.IngressClassName != nil {
			errs = append(errs, field.Invalid(field.NewPath("annotations").Child(annotationIngressClass), v, "can not be set when the class field is also set"))
		}
	}
	// What an older server let through may stay: only new names are checked.
	strictNames := old == nil || !slices.ContainsFunc(old.Spec.TLS, func(t networkingv1.IngressTLS) bool { return badSecretName(t.SecretName) })
	if len(i.Spec.Rules) == 0 && i.Spec.DefaultBackend == nil {
		errs = append(errs, field.Invalid(at, i.Spec.Rules, "either `defaultBackend` or `rules` must be specified"))
	}
	if b := i.Spec.DefaultBackend; b != nil {
		errs = append(errs, validateBackend(b, at.Child("defaultBackend"))...)
	}
	for n := range i.Spec.Rules {
		errs = append(errs, validateIngressRule(&i.Spec.Rules[n], at.Child("rules").Index(n))...)
	}
	for n, t := range i.Spec.TLS {
		for m, host := range t.Hosts {
			errs = append(errs, validateHost(host, at.Child("tls").Index(n).Child("hosts").Index(m))...)
		}
		if strictNames && t.SecretName != "" {
			for _, msg := range apivalidation.NameIsDNSSubdomain(t.SecretName, false) {
				errs = append(errs, field.Invalid(at.Child("tls").Index(n).Child("secretName"), t.SecretName, msg))
			}
		}
	}
	if name := i.Spec.IngressClassName; name != nil {
		for _, msg := range apivalidation.NameIsDNSSubdomain(*name, false) {
			errs = append(errs, field.Invalid(at.Child("ingressClassName"), *name, msg))
		}
	}
	return errs
}

func badSecretName(name string) bool {
	return name != "" && len(apivalidation.NameIsDNSSubdomain(name, false)) > 0
}

// validateHost takes a DNS name, or one whose first label is "*".
func validateHost(host string, at *field.Path) (errs field.ErrorList) {
	check := validation.IsDNS1123Subdomain
	if strings.Contains(host, "*") {
		check = validation.IsWildcardDNS1123Subdomain
	}
	for _, msg := range check(host) {
		errs = append(errs, field.Invalid(at, host, msg))
	}
	return errs
}

func validateIngressRule(r *networkingv1.IngressRule, at *field.Path) (errs field.ErrorList) {
	if r.Host != "" {
		if len(validation.IsValidIP(nil, r.Host)) == 0 {
			errs = append(errs, field.Invalid(at.Child("host"), r.Host, "must be a DNS name, not an IP address"))
		}
		errs = append(errs, validateHost(r.Host, at.Child("host"))...)
	}
	if r.HTTP == nil {
		return errs
	}
	at = at.Child("http", "paths")
	if len(r.HTTP.Paths) == 0 {
		errs = append(errs, field.Required(at, ""))
	}
	for i := range r.HTTP.Paths {
		p := &r.HTTP.Paths[i]
		errs = append(errs, validateIngressPath(p, at.Index(i))...)
		errs = append(errs, validateBackend(&p.Backend, at.Index(i).Child("backend"))...)
	}
	return errs
}

// What no exact path or prefix may have in it, and how none may end.
var (
	badInPath    = []string{"//", "/./", "/../", "%2f", "%2F"}
	badAtPathEnd = []string{"/..", "/."}
	pathTypes    = []networkingv1.PathType{networkingv1.PathTypeExact, networkingv1.PathTypeImplementationSpecific, networkingv1.PathTypePrefix}
)

func validateIngressPath(p *networkingv1.HTTPIngressPath, at *field.Path) (errs field.ErrorList) {
	if p.PathType == nil {
		return append(errs, field.Required(at.Child("pathType"), "pathType must be specified"))
	}
	switch *p.PathType {
	case networkingv1.PathTypeExact, networkingv1.PathTypePrefix:
		if !strings.HasPrefix(p.Path, "/") {
			errs = append(errs, field.Invalid(at.Child("path"), p.Path, "must be an absolute path"))
		}
		for _, bad := range badInPath {
			if strings.Contains(p.Path, bad) {
				errs = append(errs, field.Invalid(at.Child("path"), p.Path, fmt.Sprintf("must not contain '%s'", bad)))
			}
		}
		for _, bad := range badAtPathEnd {
			if strings.HasSuffix(p.Path, bad) {
				errs = append(errs, field.Invalid(at.Child("path"), p.Path, fmt.Sprintf("cannot end with '%s'", bad)))
			}
		}
	case networkingv1.PathTypeImplementationSpecific:
		if p.Path != "" && !strings.HasPrefix(p.Path, "/") {
			errs = append(errs, field.Invalid(at.Child("path"), p.Path, "must be an absolute path"))
		}
	default:
		errs = append(errs, field.NotSupported(at.Child("pathType"), *p.PathType, pathTypes))
	}
	return errs
}

func validateBackend(b *networkingv1.IngressBackend, at *field.Path) (errs field.ErrorList) {
	switch {
	case b.Resource != nil && b.Service != nil:
		return append(errs, field.Invalid(at, "", "cannot set both resource and service backends"))
	case b.Resource != nil:
		return validateTypedReference(b.Resource, at.Child("resource"))
	case b.Service == nil:
		return append(errs, field.Invalid(at, "", "resource or service backend is required"))
	}
	service := at.Child("service")
	if b.Service.Name == "" {
		errs = append(errs, field.Required(service.Child("name"), ""))
	} else {
		for _, msg := range apivalidation.NameIsDNSLabel(b.Service.Name, false) {
			errs = append(errs, field.Invalid(service.Child("name"), b.Service.Name, msg))
		}
	}
	port := b.Service.Port
	switch {
	case port.Name != "" && port.Number != 0:
		errs = append(errs, field.Invalid(at, "", "cannot set both port name & port number"))
	case port.Name != "":
		for _, msg := range validation.IsValidPortName(port.Name) {
			errs = append(errs, field.Invalid(service.Child("port", "name"), port.Name, msg))
		}
	case port.Number != 0:
		for _, msg := range validation.IsValidPortNum(int(port.Number)) {
			errs = append(errs, field.Invalid(service.Child("port", "number"), port.Number, msg))
		}
	default:
		errs = append(errs, field.Required(at, "port name or number is required"))
	}
	return errs
}

func validateTypedReference(r *corev1.TypedLocalObjectReference, at *field.Path) (errs field.ErrorList) {
	if r.APIGroup != nil {
		for _, msg := range validation.IsDNS1123Subdomain(*r.APIGroup) {
			errs = append(errs, field.Invalid(at.Child("apiGroup"), *r.APIGroup, msg))
		}
	}
	errs = append(errs, validateSegment(r.Kind, "", at.Child("kind"))...)
	return append(errs, validateSegment(r.Name, "", at.Child("name"))...)
}

// validateSegment wants a value that can be a part of a URL's path.
func validateSegment(s, missing string, at *field.Path) (errs field.ErrorList) {
	if s == "" {
		return append(errs, field.Required(at, missing))
	}
	for _, msg := range path.IsValidPathSegmentName(s) {
		errs = append(errs, field.Invalid(at, s, msg))
	}
	return errs
}

func validateIngressStatus(i, _ *networkingv1.Ingress) (errs field.ErrorList) {
	at := field.NewPath("status", "loadBalancer", "ingress")
	for n, p := range i.Status.LoadBalancer.Ingress {
		if p.IP != "" {
			errs = append(errs, validation.IsValidIPForLegacyField(at.Index(n).Child("ip"), p.IP, false, nil)...)
		}
		if p.Hostname != "" {
			for _, msg := range validation.IsDNS1123Subdomain(p.Hostname) {
				errs = append(errs, field.Invalid(at.Index(n).Child("hostname"), p.Hostname, msg))
			}
			if len(validation.IsValidIP(nil, p.Hostname)) == 0 {
				errs = append(errs, field.Invalid(at.Index(n).Child("hostname"), p.Hostname, "must be a DNS name, not an IP address"))
			}
		}
	}
	return errs
}
