package controllertest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/config"
	"github.com/lighter-k8s/lighter/controller/pods"
	"github.com/lighter-k8s/lighter/role"
)

// serve runs a real control plane that forgets all, and gives a client with all rights.
func serve(t testing.TB) client.Client {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := config.Config{DataDir: t.TempDir()}
	c.Server.Store, c.Server.Listen, c.Server.Advertise =
		"memory", fmt.Sprintf("localhost:%d", free.Addr().(*net.TCPAddr).Port), "192.0.2.1" // an address for examples: nobody calls there
	c.Server.Disable = []string{"scheduler"} // hollow is one
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.Complete(); err != nil {
		t.Fatal(err)
	}
	out := io.Discard
	if testing.Verbose() {
		out = os.Stderr
	}
	log := slog.New(slog.NewTextHandler(out, nil))
	ctx, cancel := context.WithCancel(context.Background())
	s, err := role.NewServer(ctx, &c, log)
	if err != nil {
		t.Fatal(err)
	}
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- s.Run(ctx, func() { close(ready) }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	select {
	case <-ready:
	case err := <-done:
		done <- nil
		t.Fatal(err)
	}
	return s.Client("test", "system:masters")
}

// hollow is a scheduler and all kubelets: it binds every pod to n1, or where its affinity says, and makes it ready;
// a pod of a Job succeeds; one that is deleted ends.
func hollow(ctx context.Context, c client.Client) {
	all := client.Pods.View(ctx, c, client.Selection{})
	work := make(chan *corev1.Pod, 10000)
	all.Subscribe(ctx, func(_, p *corev1.Pod) {
		if p != nil {
			work <- p
		}
	})
	for range 16 {
		go func() {
			for {
				select {
				case <-ctx.Done():
					return
				case p := <-work:
					act(ctx, c, p)
				}
			}
		}()
	}
}

func act(ctx context.Context, c client.Client, p *corev1.Pod) {
	switch {
	case p.Spec.NodeName == "" && p.DeletionTimestamp == nil:
		node := "n1"
		if a := p.Spec.Affinity; a != nil && a.NodeAffinity != nil {
			node = a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms[0].MatchFields[0].Values[0]
		}
		_, _ = c.Create(ctx, client.Pods.Resource, p.Namespace, p.Name, "binding", &corev1.Binding{
			ObjectMeta: v1.ObjectMeta{Name: p.Name, Namespace: p.Namespace}, Target: corev1.ObjectReference{Kind: "Node", Name: node}})
	case p.DeletionTimestamp != nil:
		_ = client.Pods.Delete(ctx, c, p.Namespace, p.Name, v1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)})
	case !pods.Ready(p) && !pods.Finished(p):
		p = p.DeepCopy()
		p.Status.Phase = corev1.PodRunning
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: v1.Now()})
		if p.Labels["kind"] == "job" {
			p.Status.Phase, p.Status.Conditions = corev1.PodSucceeded, nil
		}
		_, _ = client.Pods.UpdateStatus(ctx, c, p)
	}
}

// until waits for the view to show what is asked for.
func until[T client.Object](t testing.TB, c client.Client, k client.Kind[T], name string, ok func(T) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	view := k.View(ctx, c, client.Selection{})
	for {
		at := view.Version()
		o, found := view.Get("live", name)
		if found && ok(o) {
			return
		}
		if err := view.WaitVersion(ctx, at+1); err != nil {
			t.Fatalf("%s %s never became so: %+v", k.Kind, name, o)
		}
	}
}

func create[T client.Object](t testing.TB, c client.Client, k client.Kind[T], o T) {
	t.Helper()
	o.SetNamespace("live")
	if !k.Namespaced {
		o.SetNamespace("")
	}
	if _, err := k.Create(context.Background(), c, o); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
}

func template(kind string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{ObjectMeta: v1.ObjectMeta{Labels: map[string]string{"kind": kind}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "v1"}}, TerminationGracePeriodSeconds: ptr.To[int64](1)}}
}

func selector(kind string) *v1.LabelSelector {
	return &v1.LabelSelector{MatchLabels: map[string]string{"kind": kind}}
}

func prepare(t testing.TB) client.Client {
	c := serve(t)
	create(t, c, client.Namespaces, &corev1.Namespace{ObjectMeta: v1.ObjectMeta{Name: "live"}})
	create(t, c, client.ServiceAccounts, &corev1.ServiceAccount{ObjectMeta: v1.ObjectMeta{Name: "default"}})
	for i := range 3 {
		name := fmt.Sprint("n", i+1)
		create(t, c, client.Nodes, &corev1.Node{ObjectMeta: v1.ObjectMeta{Name: name}})
		room := map[string]any{"pods": "10000", "cpu": "1000", "memory": "1Ti"}
		if _, err := client.Nodes.Merge(context.Background(), c, "", name, "status", map[string]any{"status": map[string]any{"capacity": room, "allocatable": room,
			"conditions": []any{map[string]any{"type": "Ready", "status": "True", "reason": "KubeletReady", "lastHeartbeatTime": v1.Now(), "lastTransitionTime": v1.Now()}}}}); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Nodes.Merge(context.Background(), c, "", name, "", map[string]any{"spec": map[string]any{"taints": nil}}); err != nil { // it is new, and so not ready
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	hollow(ctx, c)
	return c
}

// All workloads, on a real control plane: its validation, its authorization, its defaults.
func TestWorkloads(t *testing.T) {
	c := prepare(t)
	ctx := context.Background()
	create(t, c, client.Deployments, &appsv1.Deployment{ObjectMeta: v1.ObjectMeta{Name: "web"},
		Spec: appsv1.DeploymentSpec{Replicas: ptr.To[int32](10), Selector: selector("web"), Template: template("web")}})
	create(t, c, client.DaemonSets, &appsv1.DaemonSet{ObjectMeta: v1.ObjectMeta{Name: "log"}, Spec: appsv1.DaemonSetSpec{Selector: selector("log"), Template: template("log")}})
	create(t, c, client.StatefulSets, &appsv1.StatefulSet{ObjectMeta: v1.ObjectMeta{Name: "db"},
		Spec: appsv1.StatefulSetSpec{Replicas: ptr.To[int32](3), ServiceName: "db", Selector: selector("db"), Template: template("db")}})
	rc := template("rc")
	create(t, c, client.ReplicationControllers, &corev1.ReplicationController{ObjectMeta: v1.ObjectMeta{Name: "rc"},
		Spec: corev1.ReplicationControllerSpec{Replicas: ptr.To[int32](2), Selector: map[string]string{"kind": "rc"}, Template: &rc}})
	once := template("job")
	once.Spec.RestartPolicy = corev1.RestartPolicyNever
	job := batchv1.JobSpec{Completions: ptr.To[int32](7), Parallelism: ptr.To[int32](3), CompletionMode: ptr.To(batchv1.IndexedCompletion), Template: once}
	create(t, c, client.Jobs, &batchv1.Job{ObjectMeta: v1.ObjectMeta{Name: "pi"}, Spec: job})
	create(t, c, client.CronJobs, &batchv1.CronJob{ObjectMeta: v1.ObjectMeta{Name: "tick"}, Spec: batchv1.CronJobSpec{Schedule: "@yearly", JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: once}}}})

	over := func(d *appsv1.Deployment) bool {
		for _, c := range d.Status.Conditions {
			if c.Type == appsv1.DeploymentProgressing && c.Reason == "NewReplicaSetAvailable" {
				return d.Status.ObservedGeneration == d.Generation && d.Status.UpdatedReplicas == 10 && d.Status.AvailableReplicas == 10 && d.Status.Replicas == 10
			}
		}
		return false
	}
	until(t, c, client.Deployments, "web", over)
	until(t, c, client.DaemonSets, "log", func(s *appsv1.DaemonSet) bool {
		return s.Status.NumberAvailable == 3 && s.Status.UpdatedNumberScheduled == 3
	})
	until(t, c, client.StatefulSets, "db", func(s *appsv1.StatefulSet) bool {
		return s.Status.AvailableReplicas == 3 && s.Status.CurrentReplicas == 3
	})
	until(t, c, client.ReplicationControllers, "rc", func(s *corev1.ReplicationController) bool { return s.Status.AvailableReplicas == 2 })
	until(t, c, client.Jobs, "pi", func(j *batchv1.Job) bool {
		n := len(j.Status.Conditions)
		return n == 2 && j.Status.Conditions[1].Type == batchv1.JobComplete && j.Status.CompletedIndexes == "0-6" && j.Status.CompletionTime != nil
	})

	image := []byte(`{"spec":{"template":{"spec":{"containers":[{"name":"c","image":"v2"}]}}}}`)
	for _, patch := range []func() error{
		func() error {
			_, err := client.Deployments.Patch(ctx, c, "live", "web", "", types.StrategicMergePatchType, image)
			return err
		},
		func() error {
			_, err := client.DaemonSets.Patch(ctx, c, "live", "log", "", types.StrategicMergePatchType, image)
			return err
		},
		func() error {
			_, err := client.StatefulSets.Patch(ctx, c, "live", "db", "", types.StrategicMergePatchType, image)
			return err
		},
	} {
		if err := patch(); err != nil {
			t.Fatal(err)
		}
	}
	until(t, c, client.Deployments, "web", func(d *appsv1.Deployment) bool {
		return d.Annotations["deployment.kubernetes.io/revision"] == "2" && over(d)
	})
	until(t, c, client.DaemonSets, "log", func(s *appsv1.DaemonSet) bool {
		return s.Status.ObservedGeneration == 2 && s.Status.NumberAvailable == 3 && s.Status.UpdatedNumberScheduled == 3
	})
	until(t, c, client.StatefulSets, "db", func(s *appsv1.StatefulSet) bool {
		return s.Status.ObservedGeneration == 2 && s.Status.CurrentRevision == s.Status.UpdateRevision && s.Status.AvailableReplicas == 3 && s.Status.CurrentReplicas == 3
	})
}

// BenchmarkDeploy is from creating a Deployment of 2,000 to 2,000 available pods, scheduler and kubelets hollow.
func BenchmarkDeploy(b *testing.B) {
	c := prepare(b)
	for i := 0; b.Loop(); i++ {
		name := fmt.Sprint("web", i)
		create(b, c, client.Deployments, &appsv1.Deployment{ObjectMeta: v1.ObjectMeta{Name: name},
			Spec: appsv1.DeploymentSpec{Replicas: ptr.To[int32](2000), Selector: selector(name), Template: template(name)}})
		until(b, c, client.Deployments, name, func(d *appsv1.Deployment) bool { return d.Status.AvailableReplicas == 2000 })
	}
	b.ReportMetric(2000*float64(b.N)/b.Elapsed().Seconds(), "pods/s")
}
