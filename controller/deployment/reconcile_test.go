package deployment

import (
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/lighter-k8s/lighter/controller"
	world "github.com/lighter-k8s/lighter/controller/controllertest"
)

var app = map[string]string{"app": "web"}

func newDeployment(replicas int32, image, strategy string) *appsv1.Deployment {
	d := &appsv1.Deployment{ObjectMeta: v1.ObjectMeta{Namespace: "ns", Name: "web", UID: "d", Generation: 1}}
	d.Spec = appsv1.DeploymentSpec{Replicas: ptr.To(replicas), Selector: &v1.LabelSelector{MatchLabels: app},
		ProgressDeadlineSeconds: ptr.To[int32](600), RevisionHistoryLimit: ptr.To[int32](2),
		Template: corev1.PodTemplateSpec{ObjectMeta: v1.ObjectMeta{Labels: app}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: image}}}}}
	up, down, rolling := strings.Cut(strategy, "/")
	if d.Spec.Strategy.Type = appsv1.RecreateDeploymentStrategyType; rolling {
		d.Spec.Strategy.Type = appsv1.RollingUpdateDeploymentStrategyType
		d.Spec.Strategy.RollingUpdate = &appsv1.RollingUpdateDeployment{MaxSurge: ptr.To(intstr.Parse(up)), MaxUnavailable: ptr.To(intstr.Parse(down))}
	}
	return d
}

// sets reads ReplicaSets, oldest first, from words such as "v1:3/2" (image, size, available pods), with a third
// number for status.replicas if that is not the size.
func sets(d *appsv1.Deployment, words string, desired, most int32) (out []*appsv1.ReplicaSet) {
	for i, word := range strings.Fields(words) {
		image, numbers, _ := strings.Cut(word, ":")
		var n, ready, has int32
		if k, _ := fmt.Sscanf(strings.ReplaceAll(numbers, "/", " "), "%d %d %d", &n, &ready, &has); k == 2 {
			has = n
		}
		of := d.DeepCopy()
		of.Spec.Template.Spec.Containers[0].Image = image
		set := newSet(of, n, 0, int64(i+1))
		set.UID, set.Name = types.UID(image), image
		noteSize(set, desired, most)
		set.CreationTimestamp = v1.NewTime(world.Start.Add(time.Duration(i) * time.Second))
		set.Status = appsv1.ReplicaSetStatus{Replicas: has, ReadyReplicas: ready, AvailableReplicas: ready}
		out = append(out, set)
	}
	return out
}

// sizes shows what actions make of sets: "v1=2 v2=4 delete v0".
func sizes(todo []controller.Action) string {
	var out []string
	for _, a := range todo {
		switch set, ok := a.Object.(*appsv1.ReplicaSet); {
		case !ok:
		case a.Verb == controller.CreateObject:
			out = append(out, fmt.Sprintf("new=%d", *set.Spec.Replicas))
		case a.Verb == controller.DeleteObject:
			out = append(out, "delete "+set.Name)
		default:
			out = append(out, fmt.Sprintf("%s=%d", set.Name, *set.Spec.Replicas))
		}
	}
	return strings.Join(out, " ")
}

func TestReconcile(t *testing.T) {
	tests := map[string]struct {
		strategy string
		replicas int32
		sets     string // the Deployment's template is v9
		desired  int32  // replicas when the sets were scaled; 0: as now
		pods     string
		paused   bool
		want     string
	}{
		"a first set gets all pods":                     {strategy: "25%/25%", replicas: 10, want: "new=10"},
		"a new set gets what surge allows":              {strategy: "30%/0", replicas: 10, sets: "v1:10/10", want: "new=3"},
		"surge is rounded up":                           {strategy: "25%/0", replicas: 3, sets: "v1:3/3", want: "new=1"},
		"without surge it begins empty":                 {strategy: "0/1", replicas: 3, sets: "v1:3/3", want: "new=0"},
		"and the old one makes room":                    {strategy: "0/1", replicas: 3, sets: "v1:3/3 v9:0/0", want: "v1=2"},
		"pods not yet deleted take room":                {strategy: "0/1", replicas: 3, sets: "v1:2/2/3 v9:0/0", want: ""},
		"room is used":                                  {strategy: "0/1", replicas: 3, sets: "v1:2/2 v9:0/0", want: "v9=1"},
		"nothing goes while the new is not ready":       {strategy: "1/0", replicas: 3, sets: "v1:3/3 v9:1/0", want: ""},
		"an old one goes for each that is available":    {strategy: "1/0", replicas: 3, sets: "v1:3/3 v9:1/1", want: "v1=2"},
		"maxUnavailable is rounded down":                {strategy: "1/25%", replicas: 3, sets: "v1:3/3 v9:1/0", want: ""},
		"both zero still moves":                         {strategy: "0/0", replicas: 3, sets: "v1:3/3 v9:0/0", want: "v1=2"},
		"broken old pods go first":                      {strategy: "1/1", replicas: 3, sets: "v1:3/1 v9:1/1", want: "v1=1"},
		"the oldest set goes first":                     {strategy: "2/2", replicas: 4, sets: "v1:2/2 v2:2/2 v9:2/0", want: "v1=0"},
		"a status older than the size counts for less":  {strategy: "1/0", replicas: 3, sets: "v1:2/3/3 v9:1/1", want: ""},
		"too many new pods shrink":                      {strategy: "1/1", replicas: 2, sets: "v9:5/5", want: "v9=2"},
		"paused: no new set":                            {strategy: "1/1", replicas: 3, sets: "v1:3/3", paused: true, want: ""},
		"paused: but scaling":                           {strategy: "1/1", replicas: 5, sets: "v1:3/3", desired: 3, paused: true, want: "v1=5"},
		"scaled up amid a rollout: each has its share":  {strategy: "3/2", replicas: 15, sets: "v1:8/8 v9:5/0", desired: 10, want: "v1=11 v9=7"},
		"scaled down amid a rollout: likewise":          {strategy: "3/2", replicas: 5, sets: "v1:8/8 v9:5/0", desired: 10, want: "v1=5 v9=3"},
		"scaled to none":                                {strategy: "3/2", replicas: 0, sets: "v1:8/8 v9:5/0", desired: 10, want: "v1=0 v9=0"},
		"recreate: old pods go first":                   {strategy: "Recreate", replicas: 3, sets: "v1:3/3", want: "v1=0"},
		"recreate: and are waited for":                  {strategy: "Recreate", replicas: 3, sets: "v1:0/0", pods: "a:Running,deleting", want: ""},
		"recreate: until they ended":                    {strategy: "Recreate", replicas: 3, sets: "v1:0/0", pods: "a:Failed", want: "new=3"},
		"old sets beyond the history limit are deleted": {strategy: "1/1", replicas: 1, sets: "v1:0/0 v2:0/0 v3:0/0 v4:0/0 v9:1/1", want: "delete v1 delete v2"},
		"but not amid a rollout":                        {strategy: "1/0", replicas: 1, sets: "v1:0/0 v2:0/0 v3:0/0 v4:0/0 v9:1/0", want: ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d := newDeployment(tt.replicas, "v9", tt.strategy)
			d.Spec.Paused = tt.paused
			if tt.paused {
				d.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Reason: paused}}
			}
			v := View{Deployment: d, Now: world.Start}
			s := newStep(v, nil)
			desired, most := tt.replicas, tt.replicas+s.surge
			if tt.desired > 0 {
				desired, most = tt.desired, tt.desired+s.surge
			}
			v.Sets = sets(d, tt.sets, desired, most)
			d.Annotations = map[string]string{revisionKey: fmt.Sprint(max(1, len(v.Sets)))}
			if newStep(v, v.Sets).current == nil && !tt.paused {
				d.Annotations[revisionKey] = fmt.Sprint(len(v.Sets) + 1)
			}
			if len(v.Sets) > 0 {
				v.Pods = world.Pods(tt.pods, v.Sets[0], appsv1.SchemeGroupVersion.WithKind("ReplicaSet"), app)
			}
			if got := sizes(reconcile(v)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestNames(t *testing.T) {
	d := newDeployment(1, "v1", "1/1")
	first := setName(d)
	if first != setName(d.DeepCopy()) {
		t.Error("the same template has two hashes")
	}
	v := View{Deployment: d, Namesake: &appsv1.ReplicaSet{ObjectMeta: v1.ObjectMeta{Name: first}}}
	todo := reconcile(v)
	got, ok := todo[0].Object.(*appsv1.Deployment)
	if len(todo) != 1 || !ok || ptr.Deref(got.Status.CollisionCount, 0) != 1 || setName(got) == first {
		t.Errorf("a taken name: %s", world.Show(todo))
	}
	d.Spec.Template.Spec.Containers[0].Image = "v2"
	if setName(d) == first {
		t.Error("two templates have one hash")
	}
}

func TestConditions(t *testing.T) {
	progressing := func(reason string, ago time.Duration) appsv1.DeploymentCondition {
		at := v1.NewTime(world.Start.Add(-ago))
		return appsv1.DeploymentCondition{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionTrue, Reason: reason, LastUpdateTime: at, LastTransitionTime: at}
	}
	tests := map[string]struct {
		sets   string
		was    appsv1.DeploymentCondition
		before appsv1.DeploymentStatus
		paused bool
		want   string // Progressing and Available
	}{
		"a new set":       {"", progressing(allAvailable, time.Hour), appsv1.DeploymentStatus{}, false, `NewReplicaSetCreated Created new replica set "NEW"; MinimumReplicasUnavailable`},
		"pods come":       {"v9:3/1", progressing("NewReplicaSetCreated", time.Minute), appsv1.DeploymentStatus{UpdatedReplicas: 2}, false, `ReplicaSetUpdated ReplicaSet "v9" is progressing.; MinimumReplicasUnavailable`},
		"all are there":   {"v9:3/3", progressing("ReplicaSetUpdated", time.Minute), appsv1.DeploymentStatus{}, false, `NewReplicaSetAvailable ReplicaSet "v9" has successfully progressed.; MinimumReplicasAvailable`},
		"nothing moves":   {"v9:3/1", progressing("ReplicaSetUpdated", 601*time.Second), appsv1.DeploymentStatus{UpdatedReplicas: 3, Replicas: 3, ReadyReplicas: 1, AvailableReplicas: 1}, false, `ProgressDeadlineExceeded ReplicaSet "v9" has timed out progressing.; MinimumReplicasUnavailable`},
		"not yet so long": {"v9:3/1", progressing("ReplicaSetUpdated", 599*time.Second), appsv1.DeploymentStatus{UpdatedReplicas: 3, Replicas: 3, ReadyReplicas: 1, AvailableReplicas: 1}, false, `ReplicaSetUpdated ; MinimumReplicasUnavailable`},
		"over is over":    {"v9:3/2", progressing(allAvailable, time.Hour), appsv1.DeploymentStatus{UpdatedReplicas: 3, Replicas: 3, ReadyReplicas: 3, AvailableReplicas: 3}, false, `NewReplicaSetAvailable ; MinimumReplicasAvailable`},
		"paused":          {"v9:3/3", progressing(allAvailable, time.Hour), appsv1.DeploymentStatus{}, true, `DeploymentPaused Deployment is paused; MinimumReplicasAvailable`},
		"resumed":         {"v9:3/3", progressing(paused, time.Hour), appsv1.DeploymentStatus{}, false, `DeploymentResumed Deployment is resumed; MinimumReplicasAvailable`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d := newDeployment(3, "v9", "1/1")
			d.Spec.Paused, d.Annotations = tt.paused, map[string]string{revisionKey: "1"}
			d.Status = tt.before
			d.Status.Conditions = []appsv1.DeploymentCondition{tt.was}
			var st appsv1.DeploymentStatus
			for _, a := range reconcile(View{Deployment: d, Sets: sets(d, tt.sets, 3, 4), Now: world.Start}) {
				if got, ok := a.Object.(*appsv1.Deployment); ok {
					st = got.Status
				}
			}
			p, av := condition(st, appsv1.DeploymentProgressing), condition(st, appsv1.DeploymentAvailable)
			if p == nil || av == nil {
				t.Fatalf("conditions %v", st.Conditions)
			}
			if got, want := p.Reason+" "+p.Message+"; "+av.Reason, strings.ReplaceAll(tt.want, "NEW", setName(d)); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}
