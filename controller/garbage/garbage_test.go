package garbage

import (
	"errors"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
	world "github.com/lighter-k8s/lighter/controller/controllertest"
)

func TestDecide(t *testing.T) {
	owner := func(s OwnerState) Owner {
		return Owner{Ref: metav1.OwnerReference{Name: string(s), UID: types.UID(s)}, State: s}
	}
	child := Dependent{Resource: client.Pods.Resource, Object: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "child"}}}
	busy := Dependent{Resource: client.Pods.Resource, Object: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "child", DeletionTimestamp: &metav1.Time{Time: world.Start},
		Finalizers: []string{metav1.FinalizerDeleteDependents}}}}
	failed := Owner{State: Unknown, Err: errors.New("timeout")}
	wrong := Owner{Ref: metav1.OwnerReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "d", UID: "u"}, State: Absent, Invalid: true}
	tests := map[string]struct {
		owners     []Owner
		dependents []Dependent
		want, how  string
	}{
		"the owner is there":                        {[]Owner{owner(Present)}, nil, "", ""},
		"the owner is gone":                         {[]Owner{owner(Absent)}, nil, "delete ReplicaSet o", "Background"},
		"one of two owners is gone":                 {[]Owner{owner(Absent), owner(Present)}, nil, "patch ReplicaSet o", ""},
		"one is gone, one of a kind we do not know": {[]Owner{owner(Absent), owner(Unknown)}, nil, "patch ReplicaSet o", ""},
		"an unknown kind owns for ever":             {[]Owner{owner(Unknown)}, nil, "", ""},
		"the API does not answer":                   {[]Owner{owner(Absent), failed}, nil, "again in 5s", ""},
		"the owner waits for it":                    {[]Owner{owner(Waiting)}, nil, "delete ReplicaSet o", "Background"},
		"it waits for its own dependents":           {[]Owner{owner(Waiting)}, []Dependent{child}, "delete ReplicaSet o", "Foreground"},
		"another owner wants it":                    {[]Owner{owner(Waiting), owner(Present)}, []Dependent{child}, "patch ReplicaSet o", ""},
		"a circle is opened":                        {[]Owner{owner(Waiting)}, []Dependent{busy}, "patch ReplicaSet o, delete ReplicaSet o", "Foreground"},
		"an owner in another namespace is none":     {[]Owner{wrong}, nil, "event OwnerRefInvalidNamespace, delete ReplicaSet o", "Background"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			o := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "o", UID: "self", ResourceVersion: "7"}}
			for _, w := range tt.owners {
				o.OwnerReferences = append(o.OwnerReferences, w.Ref)
			}
			todo := Decide(View{Resource: client.ReplicaSets.Resource, Object: o, Owners: tt.owners, Dependents: tt.dependents})
			if got := world.Show(todo); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			for _, a := range todo {
				if a.Verb == controller.DeleteObject && (string(*a.Delete.PropagationPolicy) != tt.how || *a.Delete.Preconditions.UID != "self") {
					t.Errorf("delete options %v, want %s", a.Delete, tt.how)
				}
			}
		})
	}
}

func TestInvalidNamespaceEvent(t *testing.T) {
	o := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "o"}}
	w := Owner{Ref: metav1.OwnerReference{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "r", UID: "u"}, State: Absent, Invalid: true}
	got := Decide(View{Resource: client.Pods.Resource, Object: o, Owners: []Owner{w}})[0].Event.Message
	if want := `ownerRef [apps/v1/ReplicaSet, namespace: a, name: r, uid: u] does not exist in namespace "a"`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
