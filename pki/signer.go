package pki

import (
	"errors"
	"fmt"
	"slices"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
)

// Answer signs an approved CertificateSigningRequest of one of Kubernetes' own signers (spec.signerName kubernetes.io/...)
// and returns status.certificate. A *Refusal is final: the request gets the condition Failed, reason
// SignerValidationFailure. ErrNotOurs is for other signers' requests. The certificate lives as all of this authority's do, or for
// spec.expirationSeconds if that is shorter. Source: Certificates and CertificateSigningRequests, Kubernetes signers.
func (a *Authority) Answer(csr *certificatesv1.CertificateSigningRequest) (certificate []byte, err error) {
	check, ok := signers[csr.Spec.SignerName]
	if !ok {
		return nil, ErrNotOurs
	}
	r, err := ParseRequest(csr.Spec.Request)
	if err != nil {
		return nil, &Refusal{err}
	}
	usages := words(csr)
	if err := check(r, usages); err != nil {
		return nil, &Refusal{err}
	}
	life := a.LeafLife()
	if s := csr.Spec.ExpirationSeconds; s != nil {
		life = min(life, time.Duration(*s)*time.Second)
	}
	if certificate, err = a.SignRequest(r, usages, life); err != nil {
		return nil, &Refusal{err}
	}
	return certificate, nil
}

// ErrNotOurs is the error of a request that another signer is to answer.
var ErrNotOurs = errors.New("not one of the cluster's own signers")

// Refusal is why a request is never signed.
type Refusal struct{ error }

func (r *Refusal) Unwrap() error { return r.error }

var signers = map[string]func(*Request, []string) error{
	certificatesv1.KubeAPIServerClientSignerName: func(_ *Request, usages []string) error {
		if !slices.Contains(usages, "client auth") {
			return errors.New(`usages must include "client auth"`)
		}
		for _, u := range usages {
			if !slices.Contains([]string{"client auth", "digital signature", "key encipherment"}, u) {
				return fmt.Errorf("usage %q is not allowed", u)
			}
		}
		return nil
	},
	certificatesv1.KubeAPIServerClientKubeletSignerName: func(r *Request, usages []string) error {
		_, err := CheckKubeletClient(r, usages)
		return err
	},
	certificatesv1.KubeletServingSignerName: func(r *Request, usages []string) error {
		_, err := CheckKubeletServing(r, usages)
		return err
	},
}

// Approval is what must be authorized for a request to be approved without a person: may its author (spec.username and
// so on) create certificatesigningrequests/<Subresource>? Message is that of the condition Approved, reason AutoApproved.
type Approval struct {
	Subresource string // nodeclient or selfnodeclient
	Node        string
	Message     string
}

// AutoApproval says how a kubelet's request for a client certificate comes to be approved: a node that has a
// certificate already asks for itself, one that joins has a bootstrap token. ok is false for every other request.
func AutoApproval(csr *certificatesv1.CertificateSigningRequest) (a Approval, ok bool) {
	if csr.Spec.SignerName != certificatesv1.KubeAPIServerClientKubeletSignerName {
		return a, false
	}
	r, err := ParseRequest(csr.Spec.Request)
	if err != nil {
		return a, false
	}
	if a.Node, err = CheckKubeletClient(r, words(csr)); err != nil {
		return Approval{}, false
	}
	a.Subresource, a.Message = "nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview."
	if csr.Spec.Username == r.Subject.CommonName {
		a.Subresource, a.Message = "selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview."
	}
	return a, true
}

func words(csr *certificatesv1.CertificateSigningRequest) (usages []string) {
	for _, u := range csr.Spec.Usages {
		usages = append(usages, string(u))
	}
	return usages
}
