package webhook

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lighter-k8s/lighter/admission"
	"github.com/lighter-k8s/lighter/admission/expression"
	"github.com/lighter-k8s/lighter/admission/matching"
	"github.com/lighter-k8s/lighter/api"
)

// meant tells in which version a webhook is to be asked about a request; nil: not at all. The error refuses the request.
func (w *Webhooks) meant(ctx context.Context, h *hook, a *admission.Attributes) (*api.Info, error) {
	if h.broken != nil {
		return nil, apierrors.NewInternalError(fmt.Errorf("webhook %q: %w", h.name, h.broken))
	}
	i, err := w.World.Match(&h.criteria, a)
	if i == nil || err != nil || w.bypassed(h, a) {
		return nil, err
	}
	if h.conditions == nil {
		return i, nil
	}
	v, err := matching.See(a, i)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	conditions, start := h.conditions(), time.Now()
	got := conditions.Match(ctx, expression.Attributes(a, v), nil, expression.Judge{Authorizer: w.Authz})
	w.Metrics.judged(h, a, time.Since(start), got.Matches, got.Error)
	switch {
	case got.Error != nil:
		forbidden := apierrors.NewForbidden(a.Info.GroupResource(), a.Name, fmt.Errorf("match condition error for webhook %s: %w", h.name, got.Error))
		return nil, forbidden
	case !got.Matches:
		return nil, nil
	}
	return i, nil
}

// bypassed tells whether the webhook is left out now, and notes it.
func (w *Webhooks) bypassed(h *hook, a *admission.Attributes) bool {
	if h.bypass.IsZero() || !w.Now().Before(h.bypass) {
		return false
	}
	a.Note("bypassed.webhook.admission.lighter-k8s.io/"+h.configuration.GetName(), h.name)
	return true
}

// failure is a webhook that could not be asked, or gave no answer that can be read.
type failure struct {
	hook *hook
	err  error
}

func (f *failure) Error() string {
	return fmt.Sprintf("failed calling webhook %q: %v", f.hook.name, f.err)
}

func (f *failure) Unwrap() error { return f.err }

// ask asks one webhook. A *failure says that there is no answer, other errors refuse the request.
func (w *Webhooks) ask(ctx context.Context, h *hook, a *admission.Attributes, s *seen) (answer, error) {
	if a.DryRun && !h.dry {
		return answer{}, apierrors.NewBadRequest(fmt.Sprintf("admission webhook %q does not support dry run", h.name))
	}
	if h.version == "" {
		return answer{}, &failure{h, errors.New("webhook does not accept known AdmissionReview versions (v1, v1beta1)")}
	}
	uid := types.UID(uuid.NewString())
	body, err := question(h.version, uid, a, s)
	if err != nil {
		return answer{}, apierrors.NewInternalError(err)
	}
	timeout := h.timeout
	if end, ok := ctx.Deadline(); ok {
		if left := time.Until(end); left <= 0 {
			return answer{}, &failure{h, context.DeadlineExceeded}
		} else if left < timeout { // the rest of the request's time
			timeout = left.Truncate(time.Millisecond) + time.Millisecond
		}
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	data, err := w.call(ctx, &h.client, timeout, body)
	if err != nil {
		return answer{}, &failure{h, fmt.Errorf("failed to call webhook: %w", err)}
	}
	got, err := read(h.version, uid, h.mutating, data)
	if err != nil {
		return answer{}, &failure{h, fmt.Errorf("received invalid webhook response: %w", err)}
	}
	if !got.allowed {
		return got, refused(h.name, got.result)
	}
	return got, nil
}

// settle decides what becomes of a request after a webhook was asked, as one of several (index): nil means that it goes on.
func (w *Webhooks) settle(ctx context.Context, h *hook, index int, a *admission.Attributes, took time.Duration, err error) error {
	var f *failure
	if !errors.As(err, &f) {
		w.Metrics.asked(h, a, took, err, err == nil)
		if err != nil {
			w.Obstacles.Refused(h.configuration, h.reference(), fmt.Sprintf("webhook %q", h.name), a, err)
		}
		return err
	}
	if h.ignore && (ctx.Err() == nil || !errors.Is(ctx.Err(), context.Canceled)) {
		w.Metrics.failedOpen(h, a, took)
		kind := "validating"
		if h.mutating {
			kind = "mutating"
		}
		a.Note("failed-open."+kind+".webhook.admission.k8s.io/"+call(a.Second, index), h.name)
		w.Log.Warn("webhook could not be asked, the request goes on", "object", h.configuration.GetName(), "webhook", h.name, "err", f.err)
		return nil
	}
	w.Metrics.failedClosed(h, a, took)
	w.Log.Warn("webhook could not be asked, the request is refused", "object", h.configuration.GetName(), "webhook", h.name, "err", f.err)
	w.own(h, a, f)
	w.Obstacles.Refused(h.configuration, h.reference(), fmt.Sprintf("webhook %q, which could not be asked,", h.name), a, f)
	return apierrors.NewInternalError(f)
}

// heed passes on what an answer says beside the decision.
func heed(h *hook, a *admission.Attributes, got answer) {
	for k, v := range got.annotations {
		a.Note(h.name+"/"+k, v)
	}
	if a.Warn != nil {
		for _, text := range got.warnings {
			a.Warn(text)
		}
	}
}

// reference names the configuration's kind for events.
func (h *hook) reference() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: admissionregistrationv1.GroupName, Version: "v1", Kind: h.kind}
}

// code is how metrics show what a client was answered.
func code(err error) string {
	var s apierrors.APIStatus
	switch {
	case err == nil:
		return "200"
	case errors.As(err, &s):
		return strconv.Itoa(int(min(s.Status().Code, 600)))
	}
	return "500"
}

// call is how the audit trail numbers calls.
func call(second bool, index int) string {
	n := 0
	if second {
		n = 1
	}
	return "round_" + strconv.Itoa(n) + "_index_" + strconv.Itoa(index)
}
