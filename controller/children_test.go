package controller_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
	world "github.com/lighter-k8s/lighter/controller/controllertest"
)

func TestClaim(t *testing.T) {
	kind, app := appsv1.SchemeGroupVersion.WithKind("ReplicaSet"), map[string]string{"app": "web"}
	tests := map[string]struct {
		pods     string
		deleting bool // the owner is, by what the view shows
		gone     bool // and by what the server says
		mine     string
		owners   string // how many owners each pod has at the end
		conflict bool
	}{
		"what it controls":                   {pods: "a:Running b:Failed", mine: "[a b]", owners: "a1 b1"},
		"an orphan is adopted":               {pods: "a:orphan", mine: "[a]", owners: "a1"},
		"one that does not match is not":     {pods: "a:orphan,other", mine: "[]", owners: "a0"},
		"what no longer matches is let go":   {pods: "a:other b:", mine: "[b]", owners: "a0 b1"},
		"who is deleted adopts none":         {pods: "a:orphan b:other", deleting: true, mine: "[]", owners: "a0 b1"},
		"even if the view does not show it":  {pods: "a:orphan", gone: true, mine: "[a]", owners: "a0", conflict: true},
		"a pod that is deleted is left be":   {pods: "a:orphan,deleting", mine: "[]", owners: "a0"},
		"but it counts if it is controlled ": {pods: "a:deleting", mine: "[a]", owners: "a1"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := world.New(func() time.Time { return world.Start })
			set := &appsv1.ReplicaSet{ObjectMeta: v1.ObjectMeta{Namespace: "ns", Name: "web", UID: "set", Finalizers: []string{"orphan"}}}
			if tt.deleting {
				set.DeletionTimestamp = &v1.Time{Time: world.Start}
			}
			set = world.Put(w, client.ReplicaSets, set)
			if tt.gone {
				world.Change(w, client.ReplicaSets, "ns", "web", func(s *appsv1.ReplicaSet) { s.DeletionTimestamp = &v1.Time{Time: world.Start} })
			}
			for _, p := range world.Pods(tt.pods, set, kind, app) {
				p.Finalizers = []string{"keep"}
				world.Put(w, client.Pods, p)
			}
			mine, todo := controller.Claim(set, kind, labels.SelectorFromSet(app), client.Pods, world.List(w, client.Pods), "")
			if got := fmt.Sprint(world.Names(mine)); got != tt.mine {
				t.Errorf("mine %s, want %s", got, tt.mine)
			}
			if err := w.Do(todo); (err != nil) != tt.conflict || err != nil && !strings.Contains(err.Error(), "it is being deleted") {
				t.Errorf("error %v (conflict %v)", err, apierrors.IsConflict(err))
			}
			var got []string
			for _, p := range world.List(w, client.Pods) {
				got = append(got, fmt.Sprint(p.Name, len(p.OwnerReferences)))
			}
			if got := strings.Join(got, " "); got != tt.owners {
				t.Errorf("owners %s, want %s", got, tt.owners)
			}
		})
	}
}
