package webhook

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/lighter-k8s/lighter/admission"
	"github.com/lighter-k8s/lighter/admission/matching"
	"github.com/lighter-k8s/lighter/api"
)

// validate asks all webhooks that are meant at once; the first, in their order, that refuses is the answer.
func (w *Webhooks) validate(ctx context.Context, a *admission.Attributes) error {
	hooks := w.validators()
	if len(hooks) == 0 || matching.Exempt(a) || admission.Exempted(ctx) {
		return nil
	}
	type call struct {
		hook *hook
		seen *seen
		got  answer
		took time.Duration
		err  error
	}
	var calls []*call
	views := map[*api.Info]*seen{}
	for _, h := range hooks {
		i, err := w.meant(ctx, h, a)
		if err != nil {
			return err
		}
		if i == nil {
			continue
		}
		if views[i] == nil {
			v, err := matching.See(a, i)
			if err != nil {
				return apierrors.NewInternalError(err)
			}
			s, err := see(v)
			if err != nil {
				return apierrors.NewInternalError(err)
			}
			views[i] = &s
		}
		calls = append(calls, &call{hook: h, seen: views[i]})
	}
	run := func(c *call) {
		defer func() {
			if p := recover(); p != nil {
				w.Log.Error("asking a webhook panicked", "object", c.hook.name, "err", fmt.Sprint(p), "stack", string(debug.Stack()))
				c.err = apierrors.NewInternalError(fmt.Errorf("ValidatingAdmissionWebhook %s: panic", c.hook.name))
			}
		}()
		start := time.Now()
		c.got, c.err = w.ask(ctx, c.hook, a, c.seen)
		c.took = time.Since(start)
	}
	if len(calls) == 1 {
		run(calls[0])
	} else {
		var wait sync.WaitGroup
		for _, c := range calls {
			wait.Go(func() { run(c) })
		}
		wait.Wait()
	}
	var refusal error
	for index, c := range calls {
		heed(c.hook, a, c.got)
		if err := w.settle(ctx, c.hook, index, a, c.took, c.err); err != nil && refusal == nil {
			refusal = err
		}
	}
	return refusal
}
