package certificates

import (
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	certificatesv1beta1 "k8s.io/api/certificates/v1beta1"
	"k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/lighter-k8s/lighter/api"
)

// CertificateSigningRequest asks a signer for a certificate. The registry sets
// spec.username, uid, groups and extra from the user who creates it.
var CertificateSigningRequest = api.Define(api.Resource[*certificatesv1.CertificateSigningRequest]{
	Group: group, Version: version, Plural: "certificatesigningrequests", Short: []string{"csr"}, Scope: api.Cluster,
	Prepare:  prepareRequest,
	Validate: validateRequest, ValidateName: path.ValidatePathSegmentName,
	Status: &api.Status[*certificatesv1.CertificateSigningRequest]{
		Copy:     CopyStatus,
		Validate: validateRequestStatus,
	},
	Subresources: []api.Subresource{{Name: "approval", Kind: "CertificateSigningRequest", Verbs: []string{"get", "patch", "update"}}},
	Fields: map[string]func(*certificatesv1.CertificateSigningRequest) string{
		"spec.signerName": func(r *certificatesv1.CertificateSigningRequest) string { return r.Spec.SignerName },
	},
	Columns: []api.Column[*certificatesv1.CertificateSigningRequest]{
		{Name: "Age"},
		{Name: "SignerName", Help: certificatesv1beta1.CertificateSigningRequestSpec{}.SwaggerDoc()["signerName"],
			Show: func(r *certificatesv1.CertificateSigningRequest) any {
				if r.Spec.SignerName == "" {
					return "<none>"
				}
				return r.Spec.SignerName
			}},
		{Name: "Requestor", Help: certificatesv1beta1.CertificateSigningRequestSpec{}.SwaggerDoc()["request"],
			Show: func(r *certificatesv1.CertificateSigningRequest) any { return r.Spec.Username }},
		{Name: "RequestedDuration", Help: certificatesv1.CertificateSigningRequestSpec{}.SwaggerDoc()["expirationSeconds"],
			Show: func(r *certificatesv1.CertificateSigningRequest) any {
				if r.Spec.ExpirationSeconds == nil {
					return "<none>"
				}
				return duration.HumanDuration(time.Duration(*r.Spec.ExpirationSeconds) * time.Second)
			}},
		{Name: "Condition", Help: certificatesv1beta1.CertificateSigningRequestStatus{}.SwaggerDoc()["conditions"], Show: showCondition},
	},
})

// prepareRequest drops the status of a new request and keeps an old one's spec, which nobody may change.
func prepareRequest(r, old *certificatesv1.CertificateSigningRequest) {
	if old == nil {
		r.Status = certificatesv1.CertificateSigningRequestStatus{}
		return
	}
	r.Spec = *old.Spec.DeepCopy()
}

// CopyStatus puts src's status into dst, as both the status and the approval
// subresource take it; what each may change of it is checked afterwards. Times
// of conditions that changed are set to now where src has none.
func CopyStatus(dst, src *certificatesv1.CertificateSigningRequest) {
	old := dst.Status.Conditions
	dst.Status = *src.Status.DeepCopy()
	stampConditions(dst.Status.Conditions, old, metav1.Now().Rfc3339Copy()) // as precise as JSON
}

func stampConditions(conditions, old []certificatesv1.CertificateSigningRequestCondition, now metav1.Time) {
	for i := range conditions {
		c := &conditions[i]
		if c.LastUpdateTime.IsZero() {
			c.LastUpdateTime = now
		}
		if !c.LastTransitionTime.IsZero() {
			continue
		}
		c.LastTransitionTime = now
		for _, o := range old {
			if o.Type == c.Type && o.Status == c.Status && !o.LastTransitionTime.IsZero() {
				c.LastTransitionTime = o.LastTransitionTime
			}
		}
	}
}

// showCondition gives "Pending", "Approved", "Approved,Issued", "Denied" or "Approved,Failed".
func showCondition(r *certificatesv1.CertificateSigningRequest) any {
	var approved, denied, failed bool
	for _, c := range r.Status.Conditions {
		switch c.Type {
		case certificatesv1.CertificateApproved:
			approved = true
		case certificatesv1.CertificateDenied:
			denied = true
		case certificatesv1.CertificateFailed:
			failed = true
		}
	}
	state := "Pending"
	if denied {
		state = "Denied"
	} else if approved {
		state = "Approved"
	}
	if failed {
		state += ",Failed"
	}
	if len(r.Status.Certificate) > 0 {
		state += ",Issued"
	}
	return state
}
