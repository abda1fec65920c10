package cloud

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	cloudprovider "k8s.io/cloud-provider"
	cloudapi "k8s.io/cloud-provider/api"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
)

// runNodes gives each new node what the cloud knows of its machine, and removes nodes whose machine is gone.
// Source: Kubernetes documentation, Cloud Controller Manager, Node controller.
func runNodes(ctx context.Context, env controller.Env, instances cloudprovider.InstancesV2) error {
	nodes := client.Nodes.View(ctx, env.Client, client.Selection{})
	q := env.Queue("cloud_node")
	controller.FeedSelf(ctx, q, nodes)
	return work(ctx, q, func(ctx context.Context, name string) error {
		node, ok := nodes.Get("", name)
		if !ok || node.DeletionTimestamp != nil {
			return nil
		}
		if gone(node) {
			exists, err := instances.InstanceExists(ctx, node)
			if err != nil || exists {
				return err
			}
			env.Events.Event(corev1.SchemeGroupVersion.WithKind("Node"), node, corev1.EventTypeNormal, "DeletingNode",
				fmt.Sprintf("Deleting node %s because it does not exist in the cloud provider", name))
			err = client.Nodes.Delete(ctx, env.Client, "", name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(node.UID))})
			if apierrors.IsNotFound(err) {
				return nil
			}
			return err
		}
		if !uninitialized(node) {
			return nil
		}
		meta, err := instances.InstanceMetadata(ctx, node)
		if err != nil {
			return fmt.Errorf("machine of node %s: %w", name, err)
		}
		patch, err := initialize(node, meta)
		if err != nil || patch == nil {
			return err
		}
		_, err = client.Nodes.Patch(ctx, env.Client, "", name, "", types.MergePatchType, patch)
		return err
	}, nodes.View)
}

// gone: the node is silent, so its machine may be no more.
func gone(node *corev1.Node) bool {
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionUnknown
		}
	}
	return false
}

func uninitialized(node *corev1.Node) bool {
	return node.Spec.ProviderID == "" || slices.ContainsFunc(node.Spec.Taints, fresh)
}

func fresh(t corev1.Taint) bool { return t.Key == cloudapi.TaintExternalCloudProvider }

// initialize is the merge patch that gives a node its provider ID and labels and takes the taint off; nil: none is needed.
func initialize(node *corev1.Node, meta *cloudprovider.InstanceMetadata) ([]byte, error) {
	labels := map[string]string{}
	set := func(value string, keys ...string) {
		for _, k := range keys {
			if value != "" && node.Labels[k] != value {
				labels[k] = value
			}
		}
	}
	set(meta.InstanceType, corev1.LabelInstanceTypeStable, corev1.LabelInstanceType)
	set(meta.Zone, corev1.LabelTopologyZone, corev1.LabelFailureDomainBetaZone)
	set(meta.Region, corev1.LabelTopologyRegion, corev1.LabelFailureDomainBetaRegion)
	for k, v := range meta.AdditionalLabels {
		set(v, k)
	}
	spec := map[string]any{}
	if node.Spec.ProviderID == "" && meta.ProviderID != "" {
		spec["providerID"] = meta.ProviderID
	}
	if slices.ContainsFunc(node.Spec.Taints, fresh) {
		spec["taints"] = slices.DeleteFunc(slices.Clone(node.Spec.Taints), fresh)
	}
	if len(spec) == 0 && len(labels) == 0 {
		return nil, nil
	}
	// The node's version: taints are a list, and somebody else's must not get lost.
	patch := map[string]any{"metadata": map[string]any{"labels": maps.Clone(labels), "resourceVersion": node.ResourceVersion}, "spec": spec}
	return json.Marshal(patch)
}
