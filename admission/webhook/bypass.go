package webhook

import (
	"context"
	"fmt"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/admission"
	"github.com/lighter-k8s/lighter/authz"
)

// Bypass is the annotation that an administrator sets on a configuration so that its webhooks are not asked until a time (RFC 3339).
const Bypass = "admission.lighter-k8s.io/bypass-until"

// BypassedUntil reads Bypass; the zero time: it is not set, or not a time.
func BypassedUntil(o metav1.Object) time.Time {
	t, err := time.Parse(time.RFC3339, o.GetAnnotations()[Bypass])
	if err != nil {
		return time.Time{}
	}
	return t
}

// bypassed tells whether the webhook is left out now, and notes it.
func (w *Webhooks) bypassed(h *hook, a *admission.Attributes) bool {
	if h.bypass.IsZero() || !w.Now().Before(h.bypass) {
		return false
	}
	a.Note("bypassed.webhook.admission.lighter-k8s.io/"+h.configuration.GetName(), h.name)
	return true
}

// longestBypass bounds how long webhooks may be left out: a cluster whose rules are off is not to be forgotten.
const longestBypass = 24 * time.Hour

// BypassVerb is what somebody must be allowed to do with a configuration so that he may set Bypass; cluster-admin is.
const BypassVerb = "bypass"

// Guard is the plugin that lets nobody set Bypass but who may, and says who did.
func (w *Webhooks) Guard() admission.Plugin {
	return admission.Plugin{Name: "WebhookBypass", Validate: func(ctx context.Context, a *admission.Attributes) error {
		if a.Info.Group != admissionv1.GroupName || a.Object == nil || (a.Info.Resource != "mutatingwebhookconfigurations" && a.Info.Resource != "validatingwebhookconfigurations") {
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
			w.say(a, "BypassEnded", "webhooks are asked again, by "+a.User.Username)
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
			return apierrors.NewForbidden(a.Info.GroupResource(), a.Name, fmt.Errorf("user %q may not %s webhooks (annotation %s)", a.User.Username, BypassVerb, Bypass))
		}
		w.say(a, "Bypassed", fmt.Sprintf("webhooks are not asked until %s, by %s", until.UTC().Format(time.RFC3339), a.User.Username))
		return nil
	}}
}

// say puts it on record that somebody left webhooks out.
func (w *Webhooks) say(a *admission.Attributes, reason, text string) {
	a.Note("bypass.webhook.admission.lighter-k8s.io/"+a.Name, text)
	if a.DryRun {
		return
	}
	w.Log.Warn("webhook bypass", "object", a.Info.Resource+"/"+a.Name, "user", a.User.Username, "reason", reason, "text", text)
	if w.Events != nil {
		w.Events.Event(a.Info.GVK(), a.Object, corev1.EventTypeWarning, reason, text)
	}
}
