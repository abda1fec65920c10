package registry

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/quota"
	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/watch"
)

// charge takes what a write adds to a namespace's use from its quotas, in the write's own transaction: whoever loses a race
// for the last of it is refused, and what is not written is not charged. What objects no longer use controller/resourcequota
// gives back. Source: Kubernetes documentation, Resource Quotas.
func (r *Registry) charge(req Request, obj, old api.Object) ([]store.Op, error) {
	info := r.State.Info("resourcequotas")
	if info == nil || r.State.Empty(info) || obj == nil || !req.Info.Namespaced {
		return nil, nil
	}
	items, _ := r.State.List(info, watch.Filter{Namespace: obj.GetNamespace()})
	var ops []store.Op
	for _, item := range items {
		o, err := item.Object()
		if err != nil {
			return nil, apierrors.NewInternalError(err)
		}
		q := o.(*corev1.ResourceQuota)
		next, err := r.charged(req, q, obj, old)
		if err != nil {
			return nil, apierrors.NewForbidden(req.Info.GroupResource(), obj.GetName(), err)
		}
		if next == nil {
			continue
		}
		_, value, err := encode(info, next)
		if err != nil {
			return nil, err
		}
		ops = append(ops, store.Op{Key: watch.Key(info, q.Namespace, q.Name), Value: value, Expect: store.Revision(item.Revision)})
	}
	return ops, nil
}

// charged is the quota after the write; nil: it stays as it is. The error says why it cannot bear the write.
func (r *Registry) charged(req Request, q *corev1.ResourceQuota, obj, old api.Object) (*corev1.ResourceQuota, error) {
	obj, old = req.Info.AsStored(obj), req.Info.AsStored(old)
	hard := q.Status.Hard
	if len(hard) == 0 {
		hard = q.Spec.Hard
	}
	gr := req.Info.GroupResource()
	added := corev1.ResourceList{}
	if quota.Counts(q, obj) {
		if pod, ok := obj.(*corev1.Pod); ok && old == nil {
			if unsaid := quota.Unsaid(hard, pod); unsaid != "" {
				return nil, fmt.Errorf("failed quota: %s: must specify %s", q.Name, unsaid)
			}
		}
		added = quota.Masked(quota.Usage(gr, obj, r.Now()), hard)
	}
	if old != nil && quota.Counts(q, old) {
		for name, was := range quota.Masked(quota.Usage(gr, old, r.Now()), hard) {
			now := added[name]
			now.Sub(was)
			added[name] = now
		}
	}
	maps.DeleteFunc(added, func(_ corev1.ResourceName, n resource.Quantity) bool { return n.Sign() <= 0 })
	if len(added) == 0 {
		return nil, nil
	}
	var unknown, over []string
	next := q.DeepCopy()
	if next.Status.Used == nil {
		next.Status.Used = corev1.ResourceList{}
	}
	for _, name := range slices.Sorted(maps.Keys(added)) {
		if _, known := q.Status.Used[name]; !known {
			unknown = append(unknown, string(name))
			continue
		}
		total := q.Status.Used[name].DeepCopy()
		total.Add(added[name])
		if most := hard[name]; total.Cmp(most) > 0 {
			over = append(over, string(name))
		}
		next.Status.Used[name] = total
	}
	switch {
	case len(unknown) > 0:
		return nil, fmt.Errorf("status unknown for quota: %s, resources: %s", q.Name, strings.Join(unknown, ","))
	case len(over) > 0:
		return nil, fmt.Errorf("exceeded quota: %s, requested: %s, used: %s, limited: %s", q.Name, amounts(added, over), amounts(q.Status.Used, over), amounts(hard, over))
	}
	return next, nil
}

// amounts shows some of a list: "cpu=1,pods=2".
func amounts(list corev1.ResourceList, names []string) string {
	words := make([]string, 0, len(names))
	for _, name := range names {
		q := list[corev1.ResourceName(name)]
		words = append(words, name+"="+q.String())
	}
	return strings.Join(words, ",")
}
