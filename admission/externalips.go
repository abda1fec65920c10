package admission

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// DenyServiceExternalIPs refuses Services that take over addresses of others (CVE-2020-8554): external IPs may be removed and kept, not
// added. Source: Kubernetes documentation, Admission Control, DenyServiceExternalIPs.
func DenyServiceExternalIPs() Plugin {
	return Plugin{Name: "DenyServiceExternalIPs", Validate: func(_ context.Context, a *Attributes) error {
		if a.Operation != Create && a.Operation != Update || a.Resource() != "services" {
			return nil
		}
		var had []string
		if a.Old != nil {
			had = a.Old.(*corev1.Service).Spec.ExternalIPs
		}
		for _, ip := range a.Object.(*corev1.Service).Spec.ExternalIPs {
			if !slices.Contains(had, ip) {
				return apierrors.NewForbidden(a.Info.GroupResource(), a.Name, fmt.Errorf("Use of external IPs is denied by admission control"))
			}
		}
		return nil
	}}
}
