package garbage

import (
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
	world "github.com/lighter-k8s/lighter/controller/controllertest"
)

// An owner of a kind that is not followed counts as being there; when the kind comes to be followed, it is looked for.
func TestOwnersOfUnknownKinds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := world.New(time.Now)
		c := &collector{env: w.Env(), queue: controller.NewQueue(), graph: newGraph(), unknown: map[schema.GroupKind]map[string]bool{}}
		c.follow(t.Context(), client.ConfigMaps.Resource)
		world.Put(w, client.ConfigMaps, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "a",
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: "gone", UID: "1"}}}})
		synctest.Wait()
		k := key(0, "ns", "a")
		if v, ok := c.look(t.Context(), k); !ok || v.Owners[0].State != Unknown {
			t.Fatalf("before: %v %v", v, ok)
		}
		c.follow(t.Context(), client.Pods.Resource)
		synctest.Wait()
		if len(c.unknown) != 0 {
			t.Errorf("still waiting: %v", c.unknown)
		}
		for queued := range c.queue.All(t.Context()) { // or the test never ends
			if queued != k {
				t.Errorf("%s is queued", queued)
			}
			break
		}
		if v, ok := c.look(t.Context(), k); !ok || v.Owners[0].State != Absent {
			t.Errorf("after: %v %v", v, ok)
		}
	})
}
