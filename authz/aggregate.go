package authz

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/lighter-k8s/lighter/client"
)

// Aggregate is what the rules of an aggregated ClusterRole are to be: the rules of all roles that its
// selectors match, in the order of their names, each once. ok is false for a role that aggregates nothing,
// whose rules are its own, and for selectors that cannot be read.
func Aggregate(role *rbacv1.ClusterRole, all []*rbacv1.ClusterRole) (rules []rbacv1.PolicyRule, ok bool) {
	if role.AggregationRule == nil {
		return nil, false
	}
	var selectors []labels.Selector
	for i := range role.AggregationRule.ClusterRoleSelectors {
		s, err := v1.LabelSelectorAsSelector(&role.AggregationRule.ClusterRoleSelectors[i])
		if err != nil {
			return nil, false
		}
		selectors = append(selectors, s)
	}
	sorted := slices.SortedFunc(slices.Values(all), func(a, b *rbacv1.ClusterRole) int { return cmp.Compare(a.Name, b.Name) })
	for _, from := range sorted {
		if from.Name == role.Name || !slices.ContainsFunc(selectors, func(s labels.Selector) bool { return s.Matches(labels.Set(from.Labels)) }) {
			continue
		}
		for _, rule := range from.Rules {
			if !slices.ContainsFunc(rules, func(r rbacv1.PolicyRule) bool { return equality.Semantic.DeepEqual(r, rule) }) {
				rules = append(rules, rule)
			}
		}
	}
	return rules, true
}

// AggregateAll returns, as copies, the aggregated roles whose rules are not what they are to be. A role that
// aggregates an aggregated one is right when this returns nothing for what it returned before.
func AggregateAll(all []*rbacv1.ClusterRole) (changed []*rbacv1.ClusterRole) {
	for _, role := range all {
		if rules, ok := Aggregate(role, all); ok && !equality.Semantic.DeepEqual(rules, role.Rules) {
			role = role.DeepCopy()
			role.Rules = rules
			changed = append(changed, role)
		}
	}
	return changed
}

// RunAggregation keeps the rules of aggregated ClusterRoles as they are to be, until ctx ends. c must be one that may do everything,
// or escalate. A write that fails is tried again when roles change, or after a delay that grows to a minute.
func RunAggregation(ctx context.Context, roles client.TypedView[*rbacv1.ClusterRole], c client.Client, log *slog.Logger) error {
	if err := roles.WaitSynced(ctx); err != nil {
		return nil // the end came first
	}
	changed := make(chan struct{}, 1)
	roles.Subscribe(ctx, func(old, new *rbacv1.ClusterRole) {
		select {
		case changed <- struct{}{}:
		default:
		}
	})
	var again <-chan time.Time
	for delay := time.Second; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-again:
		}
		again = nil
		for _, role := range AggregateAll(roles.List("")) {
			if _, err := client.ClusterRoles.Update(ctx, c, role); err != nil && ctx.Err() == nil {
				if !apierrors.IsConflict(err) {
					log.Warn("aggregated role not written", "object", role.Name, "err", err)
				}
				again = time.After(delay)
			}
		}
		if again == nil {
			delay = time.Second
		} else {
			delay = min(2*delay, time.Minute)
		}
	}
}
