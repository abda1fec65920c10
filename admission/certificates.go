package admission

import (
	"context"
	"fmt"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/lighter-k8s/lighter/authz"
)

// maySigner tells whether the user may do something (approve, sign, attest) for a signer, or for all signers of its domain.
// Source: Kubernetes documentation, Certificate Signing Requests, Authorization.
func maySigner(ctx context.Context, judge authz.Authorizer, a *Attributes, verb, signer string) bool {
	domain, _, _ := strings.Cut(signer, "/")
	for _, name := range []string{signer, domain + "/*"} {
		d, _, _ := judge.Authorize(ctx, authz.Attributes{User: a.User, Verb: verb, ResourceRequest: true, Group: certificatesv1.GroupName, Version: "*",
			Resource: "signers", Name: name}) // an error is about rules that could not be read, and allows nothing
		if d == authz.Allow {
			return true
		}
	}
	return false
}

// refuseSigner is the answer to those who may not.
func refuseSigner(a *Attributes, format, signer string) error {
	return apierrors.NewForbidden(a.Info.GroupResource(), a.Name, fmt.Errorf(format, signer))
}
