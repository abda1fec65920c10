package authn

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/google/uuid"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Seconds of a token's life.
const (
	defaultLife  = 60 * 60
	shortestLife = 10 * 60
	// watchedLife is what admission writes into the token volume of a pod that did not ask for one. Programs of old read
	// their token once; so that they do not fail, the token lives a year, and its use after this time is
	// what "warnafter" is for. The kubelet, told this time, replaces it early. Source: KEP-1205.
	watchedLife  = 60*60 + 7
	extendedLife = 365 * 24 * 60 * 60
)

// Issue answers a TokenRequest for a service account: what it returns has the defaults and the status filled in.
// Its errors are API errors, though style leaves those to the registry: which object a token is bound to, and
// whether it is the right one, is known only here and told to the caller word by word.
func (t *Tokens) Issue(account *corev1.ServiceAccount, r *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error) {
	out := r.DeepCopy()
	switch {
	case out.Namespace != "" && out.Namespace != account.Namespace:
		return nil, apierrors.NewBadRequest("the namespace of the provided object does not match the namespace sent on the request")
	case out.Name != "" && out.Name != account.Name:
		return nil, apierrors.NewInvalid(requestKind, account.Name, field.ErrorList{
			field.Invalid(field.NewPath("metadata", "name"), out.Name, "must match the service account name if specified")})
	}
	out.Name = account.Name
	out.Namespace = account.Namespace
	if len(out.Spec.Audiences) == 0 {
		out.Spec.Audiences = slices.Clone(t.audiences)
	}
	if out.Spec.ExpirationSeconds == nil {
		life := int64(defaultLife)
		out.Spec.ExpirationSeconds = &life
	}
	if errs := validate(out); len(errs) > 0 {
		return nil, apierrors.NewInvalid(requestKind, r.Name, errs)
	}
	now, life := time.Now(), *out.Spec.ExpirationSeconds
	c := claims{
		Audiences: out.Spec.Audiences, Issuer: t.issuer, ID: uuid.NewString(), Subject: ServiceAccountPrefix + account.Namespace + ":" + account.Name,
		IssuedAt: now.Unix(), NotBefore: now.Unix(), Expiry: now.Unix() + life,
		Kubernetes: kubernetes{Namespace: account.Namespace, ServiceAccount: ref{account.Name, account.UID}},
	}
	if err := t.bind(&c.Kubernetes, account, out.Spec.BoundObjectRef); err != nil {
		return nil, err
	}
	ours := func(a string) bool { return slices.Contains(t.audiences, a) }
	if life == watchedLife && c.Kubernetes.Pod != nil && !slices.ContainsFunc(out.Spec.Audiences, func(a string) bool { return !ours(a) }) {
		c.Kubernetes.WarnAfter, c.Expiry = c.Expiry, now.Unix()+extendedLife
	}
	by := t.ring.Load()
	token, err := sign(by.key, by.signer, c)
	if err != nil {
		return nil, err
	}
	out.Status = authenticationv1.TokenRequestStatus{Token: token, ExpirationTimestamp: v1.NewTime(time.Unix(now.Unix()+life, 0))}
	return out, nil
}

var requestKind = schema.GroupKind{Group: authenticationv1.GroupName, Kind: "TokenRequest"}

func validate(r *authenticationv1.TokenRequest) (errs field.ErrorList) {
	at := field.NewPath("spec", "expirationSeconds")
	switch life := *r.Spec.ExpirationSeconds; {
	case life < shortestLife:
		errs = append(errs, field.Invalid(at, life, "may not specify a duration less than 10 minutes"))
	case life > math.MaxUint32+1:
		errs = append(errs, field.Invalid(at, life, "may not specify a duration larger than 2^32 seconds"))
	}
	return errs
}

// bind looks up the object that the token is to live and die with.
func (t *Tokens) bind(k *kubernetes, account *corev1.ServiceAccount, to *authenticationv1.BoundObjectReference) error {
	if to == nil {
		return nil
	}
	gvk := schema.FromAPIVersionAndKind(to.APIVersion, to.Kind)
	var o v1.Object
	var resource schema.GroupResource
	found := false
	switch gvk.GroupKind() { // upstream takes any version
	case schema.GroupKind{Kind: "Pod"}:
		resource.Resource = "pods"
		pod, ok := t.views.Pods.Get(account.Namespace, to.Name)
		if o, found = pod, ok; !ok {
			break
		}
		if pod.Spec.ServiceAccountName != account.Name {
			return apierrors.NewBadRequest(fmt.Sprintf("cannot bind token for serviceaccount %q to pod running with different serviceaccount name.", account.Name))
		}
		k.Pod = &ref{pod.Name, pod.UID}
		if pod.Spec.NodeName != "" {
			if node, ok := t.views.Nodes.Get("", pod.Spec.NodeName); ok {
				k.Node = &ref{node.Name, node.UID}
			}
		}
	case schema.GroupKind{Kind: "Secret"}:
		resource.Resource = "secrets"
		secret, ok := t.views.Secrets.Get(account.Namespace, to.Name)
		if o, found = secret, ok; ok {
			k.Secret = &ref{secret.Name, secret.UID}
		}
	case schema.GroupKind{Kind: "Node"}:
		resource.Resource = "nodes"
		node, ok := t.views.Nodes.Get("", to.Name)
		if o, found = node, ok; ok {
			k.Node = &ref{node.Name, node.UID}
		}
	default:
		return apierrors.NewBadRequest(fmt.Sprintf("cannot bind token to object of type %s", gvk.String()))
	}
	if to.Name == "" {
		return apierrors.NewBadRequest("Name parameter required.")
	}
	if !found {
		return apierrors.NewNotFound(resource, to.Name)
	}
	if to.UID != "" && to.UID != o.GetUID() {
		return apierrors.NewConflict(schema.GroupResource{Resource: gvk.Kind}, to.Name, fmt.Errorf("the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", to.UID))
	}
	return nil
}
