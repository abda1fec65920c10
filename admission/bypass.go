package admission

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/authz"
	"github.com/lighter-k8s/lighter/client"
)

// Bypass is the annotation that an administrator sets on a configuration of webhooks, or on a policy, so that they are not asked until a
// time (RFC 3339).
const Bypass = "admission.lighter-k8s.io/bypass-until"

// BypassedUntil reads Bypass; the zero time: it is not set, or not a time.
func BypassedUntil(o metav1.Object) time.Time {
	t, err := time.Parse(time.RFC3339, o.GetAnnotations()[Bypass])
	if err != nil {
		return time.Time{}
	}
	return t
}

// longestBypass bounds how long webhooks and policies may be left out: a cluster whose rules are off is not to be forgotten.
const longestBypass = 24 * time.Hour

// BypassVerb is what somebody must be allowed to do with a configuration so that he may set Bypass; cluster-admin is.
const BypassVerb = "bypass"

// Bypasses lets nobody set Bypass but who may, and says who did.
type Bypasses struct {
	Authz  authz.Authorizer
	Now    func() time.Time
	Events *client.Recorder // nil: none are written
	Log    *slog.Logger
}

// bypassed are what Bypass may be set on, and what is not asked then.
var bypassed = map[string]string{"mutatingwebhookconfigurations": "webhooks", "validatingwebhookconfigurations": "webhooks",
	"mutatingadmissionpolicies": "policies", "validatingadmissionpolicies": "policies"}

// Guard is the plugin.
func (w *Bypasses) Guard() Plugin {
	return Plugin{Name: "AdmissionBypass", Validate: func(ctx context.Context, a *Attributes) error {
		what := bypassed[a.Info.Resource]
		if a.Info.Group != admissionv1.GroupName || a.Object == nil || what == "" {
			return nil
		}
		var before string
		if a.Old != nil {
			before = a.Old.GetAnnotations()[Bypass]
		}
		value := a.Object.GetAnnotations()[Bypass]
		if value == before || value == "" && BypassedUntil(a.Old).Before(w.Now()) {
			return nil
		}
		if value == "" {
			w.say(a, "BypassEnded", what+" are asked again, by "+a.User.Username)
			return nil
		}
		at := field.NewPath("metadata", "annotations").Key(Bypass)
		until := BypassedUntil(a.Object)
		switch {
		case until.IsZero():
			return apierrors.NewInvalid(a.Info.GVK().GroupKind(), a.Name, field.ErrorList{field.Invalid(at, value, "must be a time such as 2026-01-02T15:04:05Z")})
		case until.After(w.Now().Add(longestBypass)):
			return apierrors.NewInvalid(a.Info.GVK().GroupKind(), a.Name, field.ErrorList{field.Invalid(at, value, fmt.Sprintf("must be at most %v from now", longestBypass))})
		}
		q := authz.Attributes{User: a.User, Verb: BypassVerb, ResourceRequest: true, Group: a.Info.Group, Version: a.Info.Version, Resource: a.Info.Resource, Name: a.Name}
		if d, _, _ := w.Authz.Authorize(ctx, q); d != authz.Allow {
			return apierrors.NewForbidden(a.Info.GroupResource(), a.Name, fmt.Errorf("user %q may not %s %s (annotation %s)", a.User.Username, BypassVerb, what, Bypass))
		}
		w.say(a, "Bypassed", fmt.Sprintf("%s are not asked until %s, by %s", what, until.UTC().Format(time.RFC3339), a.User.Username))
		return nil
	}}
}

// say puts it on record that somebody left something out.
func (w *Bypasses) say(a *Attributes, reason, text string) {
	a.Note("bypass."+map[string]string{"webhooks": "webhook", "policies": "policy"}[bypassed[a.Info.Resource]]+".admission.lighter-k8s.io/"+a.Name, text)
	if a.DryRun {
		return
	}
	w.Log.Warn("admission bypass", "object", a.Info.Resource+"/"+a.Name, "user", a.User.Username, "reason", reason, "text", text)
	if w.Events != nil {
		w.Events.Event(a.Info.GVK(), a.Object, corev1.EventTypeWarning, reason, text)
	}
}
