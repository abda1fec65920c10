package core

import (
	"strings"
	"unicode"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
)

// validateWindows checks what a container is on a Windows node. Source: Kubernetes documentation, "Configure
// RunAsUserName for Windows pods and containers" and "Configure GMSA for Windows Pods and containers".
func validateWindows(w *corev1.WindowsSecurityContextOptions, path *field.Path) (errs field.ErrorList) {
	if w == nil {
		return nil
	}
	if n := w.GMSACredentialSpecName; n != nil {
		errs = append(errs, each(path.Child("gmsaCredentialSpecName"), *n, api.DNSSubdomain(*n))...)
	}
	if c, at := w.GMSACredentialSpec, path.Child("gmsaCredentialSpec"); c != nil {
		switch {
		case *c == "":
			errs = append(errs, field.Invalid(at, *c, "gmsaCredentialSpec cannot be an empty string"))
		case len(*c) > 64<<10:
			errs = append(errs, field.Invalid(at, *c, "gmsaCredentialSpec size must be under 65536 bytes"))
		}
	}
	if w.RunAsUserName == nil {
		return errs
	}
	name, at := *w.RunAsUserName, path.Child("runAsUserName")
	domain, user, two := strings.Cut(name, `\`)
	if !two {
		domain, user = "", name
	}
	wrong := func(why string) { errs = append(errs, field.Invalid(at, name, why)) }
	switch {
	case name == "":
		wrong("runAsUserName cannot be an empty string")
	case strings.ContainsFunc(name, unicode.IsControl):
		wrong("runAsUserName cannot contain control characters")
	case strings.Contains(user, `\`):
		wrong("runAsUserName cannot contain more than one backslash")
	default:
		if two && len(domain) >= 256 {
			wrong("runAsUserName's Domain length must be under 256 characters")
		}
		if user == "" {
			wrong("runAsUserName's User cannot be empty")
		}
		if len(user) > 104 {
			wrong("runAsUserName's User length must not be longer than 104 characters")
		}
		if strings.ContainsAny(user, `"/\:;|=,+*?<>@[]`) {
			wrong("runAsUserName's User cannot contain the following characters: \"/\\:;|=,+*?<>@[]")
		}
		if user != "" && strings.Trim(user, ". ") == "" {
			wrong("runAsUserName's User cannot contain only periods or spaces")
		}
	}
	return errs
}
