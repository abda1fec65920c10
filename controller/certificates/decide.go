package certificates

import (
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
)

// How long requests are kept. Source: Kubernetes documentation, Certificates and CertificateSigningRequests, "Life cycle".
const (
	keepAnswered = time.Hour
	keepPending  = 24 * time.Hour
	retry        = time.Minute // before an author's rights are asked for again
)

// Decide answers the request, or deletes it when it is old.
func Decide(v View) []controller.Action {
	if at := expiry(v); !at.After(v.Now) {
		return []controller.Action{controller.Delete(client.CertificateSigningRequests, v.CSR, "old")}
	}
	r := v.CSR.DeepCopy()
	at := metav1.NewTime(v.Now)
	switch {
	case v.Approve != "":
		r.Status.Conditions = append(r.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{Type: certificatesv1.CertificateApproved,
			Status: corev1.ConditionTrue, Reason: "AutoApproved", Message: v.Approve, LastUpdateTime: at, LastTransitionTime: at})
		a := controller.Update(client.CertificateSigningRequests, r, "its author may have it")
		a.Subresource = "approval"
		return []controller.Action{a}
	case v.Certificate != nil:
		r.Status.Certificate = v.Certificate
		return []controller.Action{controller.Status(client.CertificateSigningRequests, r, "approved: signed")}
	case v.Refused != nil:
		r.Status.Conditions = append(r.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{Type: certificatesv1.CertificateFailed,
			Status: corev1.ConditionTrue, Reason: "SignerValidationFailure", Message: v.Refused.Error(), LastUpdateTime: at, LastTransitionTime: at})
		return []controller.Action{controller.Status(client.CertificateSigningRequests, r, "approved, but not signable")}
	case v.Later:
		return []controller.Action{controller.After(retry)}
	}
	return []controller.Action{controller.After(expiry(v).Sub(v.Now))}
}

// expiry is when the request has been kept for long enough.
func expiry(v View) time.Time {
	since := func(c *certificatesv1.CertificateSigningRequestCondition) time.Time {
		if c.LastUpdateTime.IsZero() {
			return v.CSR.CreationTimestamp.Add(keepAnswered)
		}
		return c.LastUpdateTime.Add(keepAnswered)
	}
	for _, t := range []certificatesv1.RequestConditionType{certificatesv1.CertificateDenied, certificatesv1.CertificateFailed} {
		if c := condition(v.CSR, t); c != nil {
			return since(c)
		}
	}
	if c := condition(v.CSR, certificatesv1.CertificateApproved); c != nil && len(v.CSR.Status.Certificate) > 0 {
		at := since(c)
		if !v.NotAfter.IsZero() && v.NotAfter.Before(at) {
			at = v.NotAfter
		}
		return at
	}
	return v.CSR.CreationTimestamp.Add(keepPending)
}
