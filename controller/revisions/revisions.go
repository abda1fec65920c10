// Package revisions keeps the history of a DaemonSet or StatefulSet: one
// ControllerRevision for each pod template that it had, as kubectl rollout history and undo read them.
package revisions

import (
	"cmp"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/rand"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
)

// Owner is a workload and its present template.
type Owner struct {
	client.Object
	Kind      schema.GroupVersionKind
	Template  *corev1.PodTemplateSpec
	Collision *int32 // status.collisionCount
	HashLabel string // under which a revision has its hash
}

// patch is what a revision holds: a strategic merge patch that brings the template back.
type patch struct {
	Spec struct {
		Template corev1.PodTemplateSpec `json:"template"`
	} `json:"spec"`
}

func (o Owner) data() []byte {
	raw, err := json.Marshal(o.Template)
	template := map[string]any{}
	if err == nil {
		err = json.Unmarshal(raw, &template)
	}
	template["$patch"] = "replace"
	data, err2 := json.Marshal(map[string]any{"spec": map[string]any{"template": template}})
	if err != nil || err2 != nil {
		panic(fmt.Sprint("a pod template does not encode: ", err, err2))
	}
	return data
}

// Hash is that of the present template; it is safe in names and labels.
func (o Owner) Hash() string {
	h := fnv.New32a()
	_, _ = h.Write(o.data())
	if o.Collision != nil {
		fmt.Fprint(h, *o.Collision)
	}
	return rand.SafeEncodeString(fmt.Sprint(h.Sum32()))
}

// Name is what the present template's revision is called if it has to be made.
func (o Owner) Name() string { return o.GetName() + "-" + o.Hash() }

// Template reads the pod template that a revision holds.
func Template(r *appsv1.ControllerRevision) (*corev1.PodTemplateSpec, error) {
	var p patch
	if err := json.Unmarshal(r.Data.Raw, &p); err != nil {
		return nil, fmt.Errorf("controller revision %s: %w", r.Name, err)
	}
	return &p.Spec.Template, nil
}

// Sort puts revisions in order, oldest first.
func Sort(list []*appsv1.ControllerRevision) []*appsv1.ControllerRevision {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b *appsv1.ControllerRevision) int {
		return cmp.Or(cmp.Compare(a.Revision, b.Revision), a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	return list
}

// Current is the revision of the present template, and what has to be done so that it exists and is the newest.
// known are the owner's revisions, oldest first; namesake is whoever has the name of Name now, or nil. taken
// tells that the name is somebody else's: the owner has to raise its collisionCount.
func (o Owner) Current(known []*appsv1.ControllerRevision, namesake *appsv1.ControllerRevision) (current *appsv1.ControllerRevision, todo []controller.Action, taken bool) {
	newest := int64(0)
	for _, r := range known {
		newest = max(newest, r.Revision)
		if t, err := Template(r); err == nil && equality.Semantic.DeepEqual(t, o.Template) {
			current = r
		}
	}
	switch {
	case current != nil && current.Revision == newest:
		return current, nil, false
	case current != nil: // an old template came back
		again := current.DeepCopy()
		again.Revision = newest + 1
		return again, []controller.Action{controller.Update(client.ControllerRevisions, again, "an old template came back")}, false
	case namesake != nil:
		return nil, nil, true
	}
	current = &appsv1.ControllerRevision{
		ObjectMeta: v1.ObjectMeta{Namespace: o.GetNamespace(), Name: o.Name(), Annotations: maps.Clone(o.GetAnnotations()),
			Labels: map[string]string{}, OwnerReferences: []v1.OwnerReference{*v1.NewControllerRef(o, o.Kind)}},
		Data: runtime.RawExtension{Raw: o.data()}, Revision: newest + 1,
	}
	maps.Copy(current.Labels, o.Template.Labels)
	current.Labels[o.HashLabel] = o.Hash()
	delete(current.Annotations, corev1.LastAppliedConfigAnnotation)
	return current, []controller.Action{controller.Create(client.ControllerRevisions, current, "new pod template")}, false
}

// Truncate deletes the oldest revisions that nobody uses, beyond limit.
func Truncate(known []*appsv1.ControllerRevision, used func(*appsv1.ControllerRevision) bool, limit int) (todo []controller.Action) {
	idle := slices.DeleteFunc(slices.Clone(known), used)
	for _, r := range idle[:max(0, len(idle)-max(0, limit))] {
		todo = append(todo, controller.Delete(client.ControllerRevisions, r, "beyond revisionHistoryLimit"))
	}
	return todo
}
