package scheduler

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"github.com/lighter-k8s/lighter/client"
)

var (
	isFarFromVolume = reason{"node(s) didn't match PersistentVolume's node affinity", byVolumes, true}
	hasLostVolume   = reason{"node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)", byVolumes, true}
)

// selectedNode tells a provisioner for which node a claim's volume is to be made.
const selectedNode = "volume.kubernetes.io/selected-node"

// claim is a volume of a waiting pod that a PersistentVolumeClaim stands for.
type claim struct {
	name      string
	ephemeral bool // made from the pod's own template
}

func readClaims(a *ask) {
	for i := range a.obj.Spec.Volumes {
		v := &a.obj.Spec.Volumes[i]
		switch {
		case v.PersistentVolumeClaim != nil:
			a.claims = append(a.claims, claim{v.PersistentVolumeClaim.ClaimName, false})
		case v.Ephemeral != nil:
			a.claims = append(a.claims, claim{a.obj.Name + "-" + v.Name, true})
		}
	}
}

// storage is what is known of volumes.
type storage struct {
	claims  client.TypedView[*corev1.PersistentVolumeClaim]
	volumes client.TypedView[*corev1.PersistentVolume]
	classes client.TypedView[*storagev1.StorageClass]
}

func (v *storage) follow(ctx context.Context, s *scheduler) []client.View {
	v.claims = client.PersistentVolumeClaims.View(ctx, s.Client, client.Selection{})
	v.volumes = client.PersistentVolumes.View(ctx, s.Client, client.Selection{})
	v.classes = client.StorageClasses.View(ctx, s.Client, client.Selection{})
	all := []client.View{v.claims.View, v.volumes.View, v.classes.View}
	for _, view := range all {
		view.Subscribe(ctx, func(c client.Change) {
			if c.New != nil {
				s.post(func() { s.queue.wake(byVolumes, s.Now()) })
			}
		})
	}
	return all
}

// surveyVolumes looks at a pod's claims. A text is why no node can take the pod. The volumes that exist bind it to
// their nodes; for the claims that wait for its node, volumes are made there later.
func (v *storage) surveyVolumes(a *ask) (text string) {
	a.bound, a.lost, a.unbound = a.bound[:0], false, a.unbound[:0]
	immediate := false
	for _, k := range a.claims {
		c, ok := v.claims.Get(a.obj.Namespace, k.name)
		switch {
		case !ok && k.ephemeral:
			return fmt.Sprintf("waiting for ephemeral volume controller to create the persistentvolumeclaim %q", k.name)
		case !ok:
			return fmt.Sprintf("persistentvolumeclaim %q not found", k.name)
		case c.Status.Phase == corev1.ClaimLost:
			return fmt.Sprintf("persistentvolumeclaim %q bound to non-existent persistentvolume %q", k.name, c.Spec.VolumeName)
		case c.DeletionTimestamp != nil:
			return fmt.Sprintf("persistentvolumeclaim %q is being deleted", k.name)
		case c.Spec.VolumeName == "" && v.waits(c):
			a.unbound = append(a.unbound, c)
		case c.Spec.VolumeName == "" || c.Status.Phase != corev1.ClaimBound:
			immediate = true
		default:
			pv, ok := v.volumes.Get("", c.Spec.VolumeName)
			if !ok {
				a.lost = true
			} else if pv.Spec.NodeAffinity != nil && pv.Spec.NodeAffinity.Required != nil {
				if sel, err := nodeaffinity.NewNodeSelector(pv.Spec.NodeAffinity.Required); err == nil { // validated by the API server
					a.bound = append(a.bound, sel)
				}
			}
		}
	}
	if immediate {
		return "pod has unbound immediate PersistentVolumeClaims"
	}
	return ""
}

// waits tells whether a claim's volume is made once a pod that uses it has a node.
func (v *storage) waits(c *corev1.PersistentVolumeClaim) bool {
	if c.Spec.StorageClassName == nil {
		return false
	}
	class, ok := v.classes.Get("", *c.Spec.StorageClassName)
	return ok && class.VolumeBindingMode != nil && *class.VolumeBindingMode == storagev1.VolumeBindingWaitForFirstConsumer
}

// reachesVolumes is the filter for volumes that can be used from some nodes only.
func reachesVolumes(_ *cache, a *ask, n *node, why []reason) []reason {
	if a.lost {
		return append(why, hasLostVolume)
	}
	for _, sel := range a.bound {
		if !sel.Match(n.obj) {
			return append(why, isFarFromVolume)
		}
	}
	return why
}

// claimsNode is the node for which a volume of the pod is already being made; nil: none.
func (c *cache) claimsNode(a *ask) *node {
	for _, k := range a.unbound {
		if n := c.byName[k.Annotations[selectedNode]]; n != nil && n.obj != nil {
			return n
		}
	}
	return nil
}

// makeVolumes asks for volumes on the chosen node. The pod is decided on again once they are there.
func (s *scheduler) makeVolumes(ctx context.Context, e *entry, node string) {
	s.queue.putAside(e, byVolumes|byNode, s.Now())
	e.ready, e.tries = s.Now(), 0 // it was not refused
	for _, k := range e.ask.unbound {
		if k.Annotations[selectedNode] == node {
			continue
		}
		s.out.do(func() {
			patch := map[string]any{"metadata": map[string]any{"uid": k.UID, "annotations": map[string]string{selectedNode: node}}}
			if _, err := client.PersistentVolumeClaims.Merge(ctx, s.Client, k.Namespace, k.Name, "", patch); err != nil && ctx.Err() == nil {
				s.Log.Info("node of claim not written", "object", k.Namespace+"/"+k.Name, "node", node, "err", err)
				s.post(func() { s.wakeIfAside(e) })
			}
		})
	}
}
