// Package serviceaccounttoken fills the Secrets of type kubernetes.io/service-account-token that users make for programs
// outside the cluster: with a token of the account that they name, the root certificate and the namespace. Such
// a Secret goes when its account goes, and what an account lists under secrets goes with the Secret.
// Source: Kubernetes documentation, Managing Service Accounts, "ServiceAccount token Secret cleanup" and
// "token controller".
package serviceaccounttoken

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
	"github.com/lighter-k8s/lighter/pki"
)

// again is when a Secret is looked at once more whose token could not be made.
const again = 10 * time.Second

// View is everything Decide may know of one Secret.
type View struct {
	Secret  *corev1.Secret         // nil: it is gone, surely
	Account *corev1.ServiceAccount // that Secret names; nil: there is none, surely
	Listing *corev1.ServiceAccount // an account that lists the Secret that is gone, or nil
	Name    string                 // of the Secret
	CA      []byte                 // PEM; empty: nobody's
	Token   string                 // made for Account and Secret; only if Secret has none
	Fault   error                  // why something above is not known
}

// Decide fills the Secret, or removes it when its account is not there: none of that name, or another one with
// that name.
func Decide(v View) []controller.Action {
	switch {
	case v.Fault != nil:
		return []controller.Action{controller.After(again)}
	case v.Secret == nil && v.Listing != nil:
		left := v.Listing.DeepCopy()
		left.Secrets = slices.DeleteFunc(left.Secrets, func(r corev1.ObjectReference) bool { return r.Name == v.Name })
		return []controller.Action{controller.Update(client.ServiceAccounts, left, "secret "+v.Name+" is gone")}
	case v.Secret == nil || v.Secret.DeletionTimestamp != nil:
		return nil
	case v.Account == nil || !belongs(v.Secret, v.Account):
		name := v.Secret.Annotations[corev1.ServiceAccountNameKey]
		return []controller.Action{controller.Delete(client.Secrets, v.Secret, "service account "+name+" is gone")}
	}
	full := v.Secret.DeepCopy()
	if full.Data == nil {
		full.Data = map[string][]byte{}
	}
	if full.Annotations == nil {
		full.Annotations = map[string]string{}
	}
	changed := false
	put := func(key string, value []byte, replace bool) {
		if old := full.Data[key]; len(value) > 0 && !bytes.Equal(old, value) && (replace || len(old) == 0) {
			full.Data[key], changed = value, true
		}
	}
	put(corev1.ServiceAccountTokenKey, []byte(v.Token), false)
	put(corev1.ServiceAccountRootCAKey, v.CA, true)
	put(corev1.ServiceAccountNamespaceKey, []byte(full.Namespace), false)
	if uid := string(v.Account.UID); full.Annotations[corev1.ServiceAccountUIDKey] != uid {
		full.Annotations[corev1.ServiceAccountUIDKey], changed = uid, true
	}
	if !changed {
		return nil
	}
	return []controller.Action{controller.Update(client.Secrets, full, "token secret is not complete")}
}

// belongs says whether the Secret's token is, or is to be, that account's; a Secret without uid takes the one there is.
func belongs(s *corev1.Secret, a *corev1.ServiceAccount) bool {
	uid := s.Annotations[corev1.ServiceAccountUIDKey]
	return a.Name == s.Annotations[corev1.ServiceAccountNameKey] && (uid == "" || uid == string(a.UID))
}

func isToken(s *corev1.Secret) bool { return s.Type == corev1.SecretTypeServiceAccountToken }

// Run keeps the Secrets until ctx ends. ca goes into each as a PEM file; issue makes the token that
// a Secret of that name is to hold for the account.
func Run(ctx context.Context, env controller.Env, ca *pki.Trust, issue func(account *corev1.ServiceAccount, secret string) (string, error)) error {
	secrets := client.Secrets.View(ctx, env.Client, client.Selection{Fields: "type=" + string(corev1.SecretTypeServiceAccountToken)})
	accounts := client.ServiceAccounts.View(ctx, env.Client, client.Selection{})
	q := env.Queue("serviceaccount_tokens_service")
	controller.Feed(ctx, q, secrets, func(old, new *corev1.Secret) []string {
		if s := newer(old, new); isToken(s) {
			return []string{controller.Key(s.Namespace, s.Name)}
		}
		return nil
	})
	controller.Feed(ctx, q, accounts, func(old, new *corev1.ServiceAccount) (keys []string) {
		if old != nil && new != nil && old.UID == new.UID {
			return nil
		}
		a := newer(old, new)
		for _, s := range secrets.List(a.Namespace) {
			if isToken(s) && s.Annotations[corev1.ServiceAccountNameKey] == a.Name {
				keys = append(keys, controller.Key(s.Namespace, s.Name))
			}
		}
		return keys
	})
	ca.Tell(ctx, func() {
		for _, s := range secrets.List("") {
			q.Add(controller.Key(s.Namespace, s.Name))
		}
	})
	loop := controller.Loop[View]{Name: "serviceaccounttoken", Env: env, Queue: q, Views: []client.View{secrets.View, accounts.View}, Decide: Decide,
		Look: func(key string) (View, bool) {
			v := View{CA: ca.PEM()}
			v.Fault = v.look(ctx, env.Client, secrets, accounts, key)
			if v.Fault == nil && v.Secret != nil && v.Account != nil && belongs(v.Secret, v.Account) && len(v.Secret.Data[corev1.ServiceAccountTokenKey]) == 0 {
				v.Token, v.Fault = issue(v.Account, v.Name)
			}
			if v.Fault != nil && ctx.Err() == nil {
				env.Log.Warn("token secret is not done", "object", key, "err", v.Fault)
			}
			return v, true
		}}
	return loop.Run(ctx)
}

// look reads the views, and the server before it believes that something is not there: the two views may be of different
// moments, and what follows from an absence is a deletion.
func (v *View) look(ctx context.Context, c client.Client, secrets client.TypedView[*corev1.Secret], accounts client.TypedView[*corev1.ServiceAccount], key string) error {
	namespace, name := controller.SplitKey(key)
	v.Name = name
	if s, ok := secrets.Get(namespace, name); ok && isToken(s) {
		v.Secret = s
		account := s.Annotations[corev1.ServiceAccountNameKey]
		if v.Account, ok = accounts.Get(namespace, account); ok && belongs(s, v.Account) {
			return nil
		}
		var err error
		v.Account, err = fresh(ctx, c, client.ServiceAccounts, namespace, account)
		return err
	}
	for _, a := range accounts.List(namespace) {
		if slices.ContainsFunc(a.Secrets, func(r corev1.ObjectReference) bool { return r.Name == name }) {
			there, err := fresh(ctx, c, client.Secrets, namespace, name)
			if err == nil && there == nil {
				v.Listing = a
			}
			return err
		}
	}
	return nil
}

// fresh reads from the server; what is not there is nil.
func fresh[T client.Object](ctx context.Context, c client.Client, k client.Kind[T], namespace, name string) (none T, err error) {
	if name == "" {
		return none, nil
	}
	o, err := c.Get(ctx, k.Resource, namespace, name)
	if apierrors.IsNotFound(err) {
		return none, nil
	}
	if err != nil {
		return none, fmt.Errorf("read %s %s/%s: %w", k.Kind, namespace, name, err)
	}
	return o.(T), nil
}

func newer[T comparable](old, new T) T {
	var none T
	if new == none {
		return old
	}
	return new
}
