package crd

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/lighter-k8s/lighter/api"
)

// converter makes objects of one version into objects of another.
type converter struct {
	of       *definition
	webhooks Webhooks
	asks     bool // a webhook; else only apiVersion changes
}

// to gives an object of a version in another one; u may be written to. What the other's schema does not know goes.
// Source: Kubernetes documentation, Versions in CustomResourceDefinitions.
func (c *converter) to(target, from *version, u *unstructured.Unstructured) (api.Object, error) {
	gvk := target.info.GVK()
	if target == from {
		u.SetGroupVersionKind(gvk)
		return u, nil
	}
	if c.asks {
		crd, err := c.of.read()
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(context.Background(), webhookTimeout)
		defer cancel()
		if u, err = c.webhooks.convert(ctx, crd, gvk, u); err != nil {
			return nil, apierrors.NewInternalError(fmt.Errorf("conversion webhook for %v failed: %w", from.info.GVK(), err))
		}
	}
	u.SetGroupVersionKind(gvk)
	s, err := target.schema()
	if err != nil {
		return nil, err
	}
	if _, err := shape(u.Object, s.structural, true); err != nil {
		return nil, err
	}
	return u, nil
}

// webhookTimeout bounds one conversion. Source: kube-apiserver, 30 s.
const webhookTimeout = 30 * time.Second
