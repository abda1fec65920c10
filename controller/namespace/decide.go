package namespace

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
)

// Decide lists what to do to empty the namespace, and lets it go when it is empty.
func Decide(v View) []controller.Action {
	if !slices.Contains(v.Namespace.Spec.Finalizers, corev1.FinalizerKubernetes) {
		return nil // not for us to hold; the API lets it go when others do
	}
	todo := deletes(v, "")
	if len(todo) > 0 {
		return append(todo, controller.After(10*time.Millisecond)) // to see what is left
	}
	if len(v.Content) == 0 {
		ns := v.Namespace.DeepCopy()
		ns.Spec.Finalizers = slices.DeleteFunc(ns.Spec.Finalizers, func(f corev1.FinalizerName) bool { return f == corev1.FinalizerKubernetes })
		a := controller.Update(client.Namespaces, ns, "it is empty")
		a.Subresource = "finalize"
		return []controller.Action{a}
	}
	return append(status(v, nil), controller.After(wait(v)))
}

// Failed goes on with the resources after the one that could not be deleted, and says so in the status.
func Failed(v View, a controller.Action, err error) []controller.Action {
	if a.Verb != controller.DeleteObject {
		return nil
	}
	return append(deletes(v, a.Resource.GroupResource().String()), status(v, err)...)
}

// deletes lists what is not being deleted yet: pods, and only once there are none the rest, so that policies,
// secrets and services outlive those who use them. Source: KEP-5080, Ordered Namespace Deletion.
func deletes(v View, except string) (todo []controller.Action) {
	pods := slices.ContainsFunc(v.Content, func(c Content) bool { return isPods(c.Resource) })
	for _, c := range v.Content {
		if pods && !isPods(c.Resource) || c.Resource.GroupResource().String() == except {
			continue
		}
		for _, o := range c.Objects {
			if o.GetDeletionTimestamp() == nil {
				todo = append(todo, controller.Delete(client.Kind[client.Object]{Resource: c.Resource}, o, "its namespace is deleted"))
			}
		}
	}
	return todo
}

func isPods(r client.Resource) bool {
	return r.Group == "" && r.GroupVersionResource.Resource == "pods"
}

// wait grows with the time that has passed, so that what takes long is asked for seldom.
func wait(v View) time.Duration {
	return min(15*time.Second, max(200*time.Millisecond, v.Now.Sub(v.Namespace.DeletionTimestamp.Time)/4))
}

// status writes the conditions, if they are others now. failed is why something could not be deleted.
func status(v View, failed error) []controller.Action {
	var unlisted, remaining, held []string
	finalizers := map[string]int{}
	for _, c := range v.Content {
		if c.Err != nil {
			unlisted = append(unlisted, c.Err.Error())
			continue
		}
		remaining = append(remaining, fmt.Sprintf("%s.%s has %d resource instances", c.Resource.GroupVersionResource.Resource, c.Resource.Group, len(c.Objects)))
		for _, o := range c.Objects {
			for _, f := range o.GetFinalizers() {
				finalizers[f]++
			}
		}
	}
	for _, f := range slices.Sorted(maps.Keys(finalizers)) {
		held = append(held, fmt.Sprintf("%s in %d resource instances", f, finalizers[f]))
	}
	slices.Sort(remaining)
	if failed != nil {
		unlisted = append(unlisted, failed.Error())
	}
	ns := *v.Namespace
	ns.Status.Conditions = slices.Clone(ns.Status.Conditions)
	ns.Status.Phase = corev1.NamespaceTerminating
	changed := v.Namespace.Status.Phase != ns.Status.Phase
	set := func(t corev1.NamespaceConditionType, bad bool, reasons, messages [2]string) {
		c := corev1.NamespaceCondition{Type: t, Status: corev1.ConditionFalse, Reason: reasons[0], Message: messages[0], LastTransitionTime: metav1.NewTime(v.Now)}
		if bad {
			c.Status, c.Reason, c.Message = corev1.ConditionTrue, reasons[1], messages[1]
		}
		i := slices.IndexFunc(ns.Status.Conditions, func(o corev1.NamespaceCondition) bool { return o.Type == t })
		switch {
		case i < 0:
			ns.Status.Conditions, changed = append(ns.Status.Conditions, c), true
		case ns.Status.Conditions[i].Status != c.Status || ns.Status.Conditions[i].Reason != c.Reason || ns.Status.Conditions[i].Message != c.Message:
			if ns.Status.Conditions[i].Status == c.Status {
				c.LastTransitionTime = ns.Status.Conditions[i].LastTransitionTime
			}
			ns.Status.Conditions[i], changed = c, true
		}
	}
	// The resources are given to us: what upstream discovers and parses has been, when we begin.
	set(corev1.NamespaceDeletionDiscoveryFailure, false, [2]string{"ResourcesDiscovered"}, [2]string{"All resources successfully discovered"})
	set(corev1.NamespaceDeletionGVParsingFailure, false, [2]string{"ParsedGroupVersions"}, [2]string{"All legacy kube types successfully parsed"})
	set(corev1.NamespaceDeletionContentFailure, len(unlisted) > 0, [2]string{"ContentDeleted", "ContentDeletionFailed"},
		[2]string{"All content successfully deleted, may be waiting on finalization",
			fmt.Sprintf("Failed to delete all resource types, %d remaining: %s", len(unlisted), strings.Join(unlisted, ", "))})
	set(corev1.NamespaceContentRemaining, len(remaining) > 0, [2]string{"ContentRemoved", "SomeResourcesRemain"},
		[2]string{"All content successfully removed", "Some resources are remaining: " + strings.Join(remaining, ", ")})
	set(corev1.NamespaceFinalizersRemaining, len(held) > 0, [2]string{"ContentHasNoFinalizers", "SomeFinalizersRemain"},
		[2]string{"All content-preserving finalizers finished", "Some content in the namespace has finalizers remaining: " + strings.Join(held, ", ")})
	if !changed {
		return nil
	}
	return []controller.Action{controller.Status(client.Namespaces, &ns, "what is left")}
}
