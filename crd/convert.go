package crd

import (
	"context"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/callout"
)

// converter makes objects of one version into objects of another.
type converter struct {
	of       *definition
	webhooks *callout.Named
	asks     bool // a webhook; else only apiVersion changes

	mu   sync.Mutex
	kept map[state]*unstructured.Unstructured // what the webhook made of stored objects, shared
}

// state is one state of a stored object, in a version.
type state struct {
	uid               types.UID
	revision, version string
}

// mostKept bounds what is kept of a webhook's answers.
const mostKept = 1000

// to gives an object of a version in another one; u may be written to. stored: u is as it is stored, so that what the webhook said
// of it before counts. What the other version's schema does not know goes.
// Source: Kubernetes documentation, Versions in CustomResourceDefinitions.
func (c *converter) to(target, from *version, u *unstructured.Unstructured, stored bool) (api.Object, error) {
	gvk := target.info.GVK()
	if target == from {
		u.SetGroupVersionKind(gvk)
		return u, nil
	}
	if c.asks {
		known := c.find(u, target)
		switch {
		case stored && known != nil:
			u = known.DeepCopy()
		default:
			got, err := c.ask(target, from, []*unstructured.Unstructured{u})
			if err != nil {
				return nil, err
			}
			if u = got[0]; stored {
				c.keep(u.DeepCopy(), target)
			}
		}
	}
	u.SetGroupVersionKind(gvk)
	s, err := target.schema()
	if err != nil {
		return nil, err
	}
	if _, err := shape(u.Object, s, true); err != nil {
		return nil, err
	}
	return u, nil
}

// webhookTimeout bounds one conversion. Source: kube-apiserver, 30 s.
const webhookTimeout = 30 * time.Second

// ask lets the webhook convert objects of one version.
func (c *converter) ask(target, from *version, us []*unstructured.Unstructured) ([]*unstructured.Unstructured, error) {
	crd, err := c.of.read()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), webhookTimeout)
	defer cancel()
	got, err := convert(ctx, c.webhooks, crd, target.info.GVK(), us)
	if err != nil {
		return nil, apierrors.NewInternalError(fmt.Errorf("conversion webhook for %v failed: %w", from.info.GVK(), err))
	}
	return got, nil
}

func stateOf(u *unstructured.Unstructured, v *version) state {
	return state{u.GetUID(), u.GetResourceVersion(), v.name}
}

// find is what the webhook made of a stored object, or nil.
func (c *converter) find(u *unstructured.Unstructured, target *version) *unstructured.Unstructured {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.kept[stateOf(u, target)]
}

// keep remembers what the webhook made of a stored object. Nobody may write to it.
func (c *converter) keep(u *unstructured.Unstructured, target *version) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kept == nil || len(c.kept) >= mostKept {
		c.kept = map[state]*unstructured.Unstructured{}
	}
	c.kept[stateOf(u, target)] = u
}

// forget lets go of what is kept.
func (c *converter) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kept = nil
}

// warm has the webhook convert many stored objects at once that are about to be read in this version, one by one. What goes wrong is
// said then.
func (v *version) warm(raws [][]byte) {
	c := &v.of.convert
	asked := map[*version][]*unstructured.Unstructured{}
	for _, raw := range raws {
		obj, err := api.DecodeRaw(v.of.stored, raw)
		if err != nil {
			continue
		}
		u := obj.(*unstructured.Unstructured)
		from, err := v.of.settle(u)
		if err == nil && from != v && c.find(u, v) == nil {
			asked[from] = append(asked[from], u)
		}
	}
	for from, us := range asked {
		if len(us) < 2 {
			continue
		}
		got, err := c.ask(v, from, us)
		if err != nil {
			continue
		}
		for _, u := range got {
			c.keep(u, v)
		}
	}
}
