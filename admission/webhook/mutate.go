package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/lighter-k8s/lighter/admission"
	"github.com/lighter-k8s/lighter/admission/matching"
	"github.com/lighter-k8s/lighter/api"
)

// mutate asks one webhook after the other, each about what the ones before left. In a second pass those are asked again that want to
// be and were asked before somebody else changed the object.
func (w *Webhooks) mutate(ctx context.Context, a *admission.Attributes) error {
	hooks := w.mutators()
	if len(hooks) == 0 || matching.Exempt(a) || admission.Exempted(ctx) {
		return nil
	}
	round, ok := admission.Round[*hook](a, "MutatingAdmissionWebhook")
	if !ok {
		return nil
	}
	if err := a.Show(); err != nil {
		return err
	}
	index := 0
	for _, h := range hooks {
		if round.Skips(a, h) {
			continue
		}
		i, err := w.meant(ctx, h, a)
		if err != nil {
			return err
		}
		if i == nil {
			continue
		}
		changed, err := w.change(ctx, h, index, a, i)
		if err != nil {
			return err
		}
		note, _ := json.Marshal(map[string]any{"configuration": h.configuration.GetName(), "webhook": h.name, "mutated": changed}) // of strings: never fails
		a.Note("mutation.webhook.admission.k8s.io/"+call(a.Second, index), string(note))
		index++
		round.Did(a, h, changed, h.again)
	}
	if index == 0 || a.Object == nil {
		return nil
	}
	return round.Keep(a)
}

// change asks one webhook and applies its patch.
func (w *Webhooks) change(ctx context.Context, h *hook, index int, a *admission.Attributes, i *api.Info) (bool, error) {
	v, err := matching.See(a, i)
	if err != nil {
		return false, apierrors.NewInternalError(err)
	}
	s, err := see(v)
	if err != nil {
		return false, apierrors.NewInternalError(err)
	}
	start := time.Now()
	got, err := w.ask(ctx, h, a, &s)
	heed(h, a, got)
	if err != nil {
		return false, w.settle(ctx, h, index, a, time.Since(start), err)
	}
	if err := w.settle(ctx, h, index, a, time.Since(start), nil); err != nil || len(got.patch) == 0 {
		return false, err
	}
	if a.Object == nil {
		return false, apierrors.NewInternalError(fmt.Errorf("admission webhook %q attempted to modify the object, which is not supported for this operation", h.name))
	}
	patched, err := apply(s.object, got.patch)
	if err != nil {
		return false, apierrors.NewInternalError(fmt.Errorf("admission webhook %q: %w", h.name, err))
	}
	if bytes.Equal(patched, s.object) {
		return false, nil
	}
	obj, err := matching.Read(a, i, patched)
	if err != nil {
		return false, apierrors.NewInternalError(fmt.Errorf("admission webhook %q: decode patched object: %w", h.name, err))
	}
	changed, err := matching.Put(a, i, obj)
	if err != nil {
		return false, apierrors.NewInternalError(fmt.Errorf("admission webhook %q: %w", h.name, err))
	}
	return changed, nil
}

// apply applies a JSON patch.
func apply(object, patch []byte) ([]byte, error) {
	p, err := jsonpatch.DecodePatch(patch)
	if err != nil {
		return nil, fmt.Errorf("decode patch: %w", err)
	}
	out, err := p.Apply(object)
	if err != nil {
		return nil, fmt.Errorf("apply patch: %w", err)
	}
	return out, nil
}
