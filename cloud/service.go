package cloud

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	cloudprovider "k8s.io/cloud-provider"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
)

// finalizer keeps a Service until its load balancer is gone.
const finalizer = "service.kubernetes.io/load-balancer-cleanup"

// services keeps a load balancer for each Service that wants one.
// Source: Kubernetes documentation, Cloud Controller Manager, Service controller.
type services struct {
	env       controller.Env
	cluster   string
	balancers cloudprovider.LoadBalancer
	nodes     client.TypedView[*corev1.Node]
	all       client.TypedView[*corev1.Service]
	made      map[string]*corev1.Service // as its load balancer was last made, by key; of run's goroutine
	hosts     map[string]string          // the nodes that it was made for
}

func (s *services) run(ctx context.Context) error {
	s.hosts = map[string]string{}
	s.all = client.Services.View(ctx, s.env.Client, client.Selection{})
	s.nodes = client.Nodes.View(ctx, s.env.Client, client.Selection{})
	q := controller.NewQueue()
	controller.FeedSelf(ctx, q, s.all)
	controller.Feed(ctx, q, s.nodes, func(old, new *corev1.Node) (keys []string) {
		if old != nil && new != nil && target(old) == target(new) && equality.Semantic.DeepEqual(old.Status.Addresses, new.Status.Addresses) {
			return nil
		}
		for _, svc := range s.all.List("") {
			if wants(svc) {
				keys = append(keys, controller.KeyOf(svc))
			}
		}
		return keys
	})
	return work(ctx, q, s.sync, s.all.View, s.nodes.View)
}

// wants: the Service has a load balancer that is ours to make.
func wants(svc *corev1.Service) bool {
	return svc.Spec.Type == corev1.ServiceTypeLoadBalancer && svc.Spec.LoadBalancerClass == nil
}

// target: traffic may be sent to the node.
func target(node *corev1.Node) bool {
	if _, no := node.Labels[corev1.LabelNodeExcludeBalancers]; no || node.DeletionTimestamp != nil {
		return false
	}
	for _, t := range node.Spec.Taints {
		if t.Key == "ToBeDeletedByClusterAutoscaler" {
			return false
		}
	}
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func (s *services) sync(ctx context.Context, key string) error {
	namespace, name := controller.SplitKey(key)
	svc, ok := s.all.Get(namespace, name)
	if !ok {
		delete(s.made, key)
		delete(s.hosts, key)
		return nil
	}
	err := s.reconcile(ctx, key, svc)
	if err != nil && !apierrors.IsConflict(err) {
		s.say(svc, corev1.EventTypeWarning, "SyncLoadBalancerFailed", fmt.Sprintf("Error syncing load balancer: %v", err))
	}
	return err
}

func (s *services) say(svc *corev1.Service, kind, reason, message string) {
	s.env.Events.Event(corev1.SchemeGroupVersion.WithKind("Service"), svc, kind, reason, message)
}

func (s *services) reconcile(ctx context.Context, key string, svc *corev1.Service) error {
	held := slices.Contains(svc.Finalizers, finalizer)
	if svc.DeletionTimestamp != nil || !wants(svc) {
		if !held {
			return nil
		}
		s.say(svc, corev1.EventTypeNormal, "DeletingLoadBalancer", "Deleting load balancer")
		if err := s.balancers.EnsureLoadBalancerDeleted(ctx, s.cluster, svc.DeepCopy()); err != nil {
			return fmt.Errorf("failed to delete load balancer: %w", err)
		}
		delete(s.made, key)
		if svc.DeletionTimestamp == nil {
			if err := s.status(ctx, svc, &corev1.LoadBalancerStatus{}); err != nil {
				return err
			}
		}
		if err := s.finalizers(ctx, svc, slices.DeleteFunc(slices.Clone(svc.Finalizers), func(f string) bool { return f == finalizer })); err != nil {
			return err
		}
		s.say(svc, corev1.EventTypeNormal, "DeletedLoadBalancer", "Deleted load balancer")
		return nil
	}
	if !held {
		return s.finalizers(ctx, svc, append(slices.Clone(svc.Finalizers), finalizer)) // the change brings the Service back
	}
	nodes := slices.DeleteFunc(s.nodes.List(""), func(n *corev1.Node) bool { return !target(n) })
	hosts := describe(nodes)
	was := s.made[key]
	switch {
	case was != nil && was.UID == svc.UID && equality.Semantic.DeepEqual(was.Spec, svc.Spec) && equality.Semantic.DeepEqual(was.Annotations, svc.Annotations):
		if s.hosts[key] == hosts {
			return nil
		}
		if err := s.balancers.UpdateLoadBalancer(ctx, s.cluster, svc.DeepCopy(), nodes); err != nil {
			return fmt.Errorf("failed to update load balancer hosts: %w", err)
		}
		s.say(svc, corev1.EventTypeNormal, "UpdatedLoadBalancer", "Updated load balancer with new hosts")
	default:
		if len(svc.Status.LoadBalancer.Ingress) == 0 {
			s.say(svc, corev1.EventTypeNormal, "EnsuringLoadBalancer", "Ensuring load balancer")
		}
	}
	status, err := s.balancers.EnsureLoadBalancer(ctx, s.cluster, svc.DeepCopy(), nodes)
	if err != nil {
		return fmt.Errorf("failed to ensure load balancer: %w", err)
	}
	changed := !equality.Semantic.DeepEqual(*status, svc.Status.LoadBalancer)
	if err := s.status(ctx, svc, status); err != nil {
		return err
	}
	s.made[key], s.hosts[key] = svc, hosts
	if changed {
		s.say(svc, corev1.EventTypeNormal, "EnsuredLoadBalancer", "Ensured load balancer")
	}
	return nil
}

// describe is a text that changes when the set of nodes or their addresses do.
func describe(nodes []*corev1.Node) string {
	var b strings.Builder
	for _, n := range nodes {
		fmt.Fprint(&b, n.Name, n.Status.Addresses, ";")
	}
	return b.String()
}

func (s *services) finalizers(ctx context.Context, svc *corev1.Service, list []string) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"finalizers": list, "resourceVersion": svc.ResourceVersion}})
	if err != nil {
		return err
	}
	_, err = client.Services.Patch(ctx, s.env.Client, svc.Namespace, svc.Name, "status", types.MergePatchType, patch)
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func (s *services) status(ctx context.Context, svc *corev1.Service, status *corev1.LoadBalancerStatus) error {
	if equality.Semantic.DeepEqual(*status, svc.Status.LoadBalancer) {
		return nil
	}
	_, err := client.Services.Merge(ctx, s.env.Client, svc.Namespace, svc.Name, "status", map[string]any{"status": map[string]any{"loadBalancer": map[string]any{"ingress": status.Ingress}}})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
